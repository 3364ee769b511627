"""Caffe's layers, one frozen dataclass a type, with everything that a layer leaves implicit made explicit.

A layer class turns a `LayerParameter` and the shapes that reach it into plain numbers: kernel, stride and padding a
side, the divisors of an average, the axes of a slice. An engine's translator spells these numbers and decides nothing.
Shapes are those of Caffe's blobs at batch 1; where axis 0 is the batch, translators leave it open.

Semantics are those of Caffe 1.0 (docs/caffe.md, "Layers").

One file per family of layers. Reading files and linking layers to a net belong to `pycam.net`.
"""

from __future__ import annotations

from pycam.net.layers.activation import ELU as ELU
from pycam.net.layers.activation import AbsVal as AbsVal
from pycam.net.layers.activation import Dropout as Dropout
from pycam.net.layers.activation import Power as Power
from pycam.net.layers.activation import PReLU as PReLU
from pycam.net.layers.activation import ReLU as ReLU
from pycam.net.layers.activation import Sigmoid as Sigmoid
from pycam.net.layers.activation import Softmax as Softmax
from pycam.net.layers.activation import TanH as TanH
from pycam.net.layers.base import LAYER_TYPES as LAYER_TYPES
from pycam.net.layers.base import MAX_BLOB_COUNT as MAX_BLOB_COUNT
from pycam.net.layers.base import MAX_SIDE as MAX_SIDE
from pycam.net.layers.base import Layer as Layer
from pycam.net.layers.base import Pair as Pair
from pycam.net.layers.base import Shape as Shape
from pycam.net.layers.base import dims as dims
from pycam.net.layers.base import single as single
from pycam.net.layers.combination import Concat as Concat
from pycam.net.layers.combination import Eltwise as Eltwise
from pycam.net.layers.combination import Slice as Slice
from pycam.net.layers.combination import Split as Split
from pycam.net.layers.convolution import Convolution as Convolution
from pycam.net.layers.convolution import Deconvolution as Deconvolution
from pycam.net.layers.data import Data as Data
from pycam.net.layers.data import ImageData as ImageData
from pycam.net.layers.data import Input as Input
from pycam.net.layers.inner_product import InnerProduct as InnerProduct
from pycam.net.layers.loss import Accuracy as Accuracy
from pycam.net.layers.loss import SoftmaxWithLoss as SoftmaxWithLoss
from pycam.net.layers.normalization import LRN as LRN
from pycam.net.layers.normalization import BatchNorm as BatchNorm
from pycam.net.layers.normalization import Scale as Scale
from pycam.net.layers.pooling import Pooling as Pooling
from pycam.net.layers.shape import Crop as Crop
from pycam.net.layers.shape import Flatten as Flatten
from pycam.net.layers.shape import Reshape as Reshape
