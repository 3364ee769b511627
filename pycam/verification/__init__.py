"""Proof that engines compute what Caffe computes: comparison by layer, the certificate, and `doctor`.

What checks this machine or two sets of blobs belongs here. Engines themselves belong to `pycam.engines`.
"""
