"""Caffe's layers: one frozen dataclass per layer type, which makes explicit everything that a prototxt leaves implicit.

A layer class turns a `LayerParameter` and the shapes of its bottoms into plain numbers: kernel, stride and padding per
side, the divisors of an average, the axes of a slice. The translator of an engine writes these numbers down and decides
nothing. Shapes are those of Caffe's blobs at batch 1; where axis 0 is the batch, translators leave it open.

The semantics are those of Caffe 1.0 (docs/caffe.md, "Layers"), and for ShuffleChannel those of its fork.

Each family of layers has one file. Reading files and linking layers to a net belong to `pycam.net`.
"""

from __future__ import annotations

from pycam.net.layers.activation import ELU, AbsVal, Dropout, Exp, Log, Power, PReLU, ReLU, Sigmoid, Softmax, TanH
from pycam.net.layers.base import LAYER_TYPES, MAX_BLOB_COUNT, Layer, Pair, Shape, dims, single
from pycam.net.layers.combination import Concat, Eltwise, Silence, Slice, Split, Tile
from pycam.net.layers.convolution import Convolution, Deconvolution
from pycam.net.layers.data import Data, DummyData, HDF5Data, ImageData, Input, MemoryData, Source, WindowData
from pycam.net.layers.inner_product import InnerProduct
from pycam.net.layers.loss import (
    Accuracy,
    Classification,
    Comparison,
    ContrastiveLoss,
    EuclideanLoss,
    HingeLoss,
    MultinomialLogisticLoss,
    SigmoidCrossEntropyLoss,
    SoftmaxWithLoss,
    loss_weights,
)
from pycam.net.layers.normalization import LRN, BatchNorm, Scale
from pycam.net.layers.onnx_node import OnnxNode, OnnxOrigin
from pycam.net.layers.pooling import Pooling
from pycam.net.layers.reduction import ArgMax, Reduction
from pycam.net.layers.shape import Crop, Flatten, Reshape, ShuffleChannel

__all__ = ["LAYER_TYPES", "MAX_BLOB_COUNT", "Layer", "Pair", "Shape", "dims", "loss_weights", "single"]
__all__ += ["ELU", "AbsVal", "Dropout", "Exp", "Log", "PReLU", "Power", "ReLU", "Sigmoid", "Softmax", "TanH"]
__all__ += ["ArgMax", "Concat", "Convolution", "Crop", "Deconvolution", "Eltwise", "Flatten", "InnerProduct", "Pooling"]
__all__ += ["LRN", "Accuracy", "BatchNorm", "Data", "DummyData", "ImageData", "Input", "MemoryData", "Reduction"]
__all__ += ["Comparison", "Reshape", "Scale", "ShuffleChannel", "Silence", "Slice", "SoftmaxWithLoss", "Source"]
__all__ += ["Classification", "ContrastiveLoss", "EuclideanLoss", "HingeLoss", "MultinomialLogisticLoss"]
__all__ += ["OnnxNode", "OnnxOrigin", "SigmoidCrossEntropyLoss"]
__all__ += ["HDF5Data", "Split", "Tile", "WindowData"]
