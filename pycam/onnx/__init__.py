"""ONNX files as nets: the graph of a user's model becomes a `Net` whose head has class activation maps.

What finds the global pooling, the features and the class weights in a graph belongs here. The format of the files
belongs to `pycam.formats`; writing a `Net` as ONNX, and running it, belong to `pycam.engines`; what follows the engine
knows no ONNX. `pycam.onnx.reader` imports ONNX Runtime, so that it is imported where a file is read.
"""

from pycam.onnx.preprocessing import PREPROCESSINGS, NamedPreprocessing, preprocessing_of

__all__ = ["PREPROCESSINGS", "NamedPreprocessing", "preprocessing_of"]
