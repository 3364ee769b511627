"""OpenCV's DNN module, which reads Caffe's files itself: a peer to compare with.

It knows outputs by the name of a layer, computes a few things otherwise than Caffe without a word, and lost its Caffe
importer in version 5; what it cannot be exact on is refused here.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pycam.engines.base import Engine, failure
from pycam.errors import EngineError
from pycam.formats import caffemodel, prototxt
from pycam.net import Net
from pycam.net import layers as L

if not hasattr(cv2.dnn, "readNetFromCaffe"):
    raise ImportError(f"OpenCV {cv2.__version__} has no Caffe importer any more, version 4 has one")


class OpenCvEngine(Engine):
    """Runs a net through OpenCV's own importer of Caffe's files."""

    name = "opencv"

    def _load(self, net: Net) -> None:
        if self.options.device not in (None, "cpu"):
            raise EngineError(f"engine 'opencv' has no device {self.options.device!r}: it runs on the CPU")
        for layer in net.layers:
            reason = _inexact(layer)
            if reason:
                raise EngineError(f"engine 'opencv' cannot be exact on layer {layer.name!r}: {reason}")
        self._layers = [_output_layer(net, output) for output in self.outputs]
        self._dnn = _read(net)
        # Fused layers leave garbage in the blobs between them.
        self._dnn.enableFusion(False)
        self._dnn.enableWinograd(False)

    def _run(self, inputs: Mapping[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        before = cv2.getNumThreads()
        try:
            cv2.setNumThreads(self.options.threads_per_stream)
            for name, values in inputs.items():
                self._dnn.setInput(np.ascontiguousarray(values), name)
            wanted = list(dict.fromkeys(self._layers))
            found = dict(zip(wanted, self._dnn.forward(wanted), strict=True))
            return [np.array(found[layer], np.float32) for layer in self._layers]
        except cv2.error as error:
            raise failure("OpenCV failed", error) from None
        finally:
            cv2.setNumThreads(before)

    @property
    def description(self) -> str:
        return f"OpenCV {cv2.__version__}, cpu, fp32"


def _read(net: Net) -> cv2.dnn.Net:
    with tempfile.TemporaryDirectory() as folder:
        text, weights = Path(folder, "net.prototxt"), Path(folder, "net.caffemodel")
        message = _spelt_out(net)
        prototxt.write(text, message)
        caffemodel.write(weights, message, net.params)
        try:
            net_read: cv2.dnn.Net = cv2.dnn.readNetFromCaffe(str(text), str(weights))  # type: ignore[attr-defined,unused-ignore]
            return net_read
        except cv2.error as error:
            raise failure("OpenCV cannot load the net", error) from None


def _spelt_out(net: Net) -> Any:
    """Copy the net's message and say in it what OpenCV would otherwise guess or misread."""
    message = copy.deepcopy(net.message)
    for spelt in message.layer:
        match net.by_name.get(spelt.name):
            case L.LRN():
                spelt.lrn_param.alpha = spelt.lrn_param.alpha  # OpenCV has another default than Caffe.
            case L.Slice(points=points):
                # Without points OpenCV counts only the tops that are read.
                spelt.slice_param.slice_point[:] = points
            case L.Scale(axis=axis):
                spelt.scale_param.axis = axis  # OpenCV's Scale and Reshape count no axis from behind.
            case L.Reshape(output_shapes=(shape,)):
                spelt.reshape_param.Clear()
                spelt.reshape_param.shape.dim.extend([0, *shape[1:]])
    return message


def _output_layer(net: Net, value: str) -> str:
    """Name the layer whose output holds a value; layers that do nothing are not there in OpenCV's net."""
    layer = net.producer[value]
    while isinstance(layer, L.Dropout | L.Split):
        layer = net.producer[layer.inputs[0]]
    if isinstance(layer, L.Input):
        raise EngineError(f"engine 'opencv' cannot give blob {value!r}: it is the input itself")
    if value in layer.outputs[1:]:
        raise EngineError(f"engine 'opencv' cannot give blob {value!r}: OpenCV names only the first top of a layer")
    return layer.name


def _inexact(layer: L.Layer) -> str:
    """Say why OpenCV computes a layer otherwise than Caffe, or nothing if it does not."""
    match layer:
        case L.LRN(within_channel=False, k=k) if k != 1:
            return f"OpenCV's LRN ignores k {k}"
        case L.InnerProduct(transpose=True):
            return "OpenCV's InnerProduct ignores transpose"
        case L.Deconvolution(dilation=dilation) if dilation != (1, 1):
            return "OpenCV's Deconvolution ignores dilation"
        case L.Scale(factor_shape=()) | L.PReLU(param_shapes=((),)):
            return f"OpenCV's {layer.type} has no single factor for a whole blob"
    return ""
