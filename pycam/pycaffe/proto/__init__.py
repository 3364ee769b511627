"""`caffe.proto`: the module `caffe_pb2` of Caffe's messages.

Only the messages under pycaffe's names belong here; the table of their fields belongs to `pycam.formats`.
"""

from __future__ import annotations

from pycam.pycaffe.proto import caffe_pb2

__all__ = ["caffe_pb2"]
