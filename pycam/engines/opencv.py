"""OpenCV's DNN module, which reads Caffe's files itself: an independent engine for comparisons.

OpenCV names outputs by layer, computes some layers differently from Caffe without an error, and has no Caffe importer
since version 5. This module refuses the layers that OpenCV cannot compute exactly.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pycam.engines.base import Engine, failure
from pycam.engines.threads import Turn
from pycam.errors import EngineError
from pycam.formats import caffemodel, prototxt, schema
from pycam.net import Net, layers as L

if not hasattr(cv2.dnn, "readNetFromCaffe"):
    raise ImportError(f"OpenCV {cv2.__version__} has no Caffe importer, version 4 has one")

_SETTINGS = Turn()
"""OpenCV has one number of threads for the whole process."""


class OpenCvEngine(Engine):
    """A net read by OpenCV's own importer of Caffe's files."""

    name = "opencv"
    library = f"OpenCV {cv2.__version__}"

    def _load(self, net: Net) -> None:
        if self.options.device not in (None, "cpu"):
            raise EngineError(f"engine 'opencv' has no device {self.options.device!r}: it runs on the CPU")
        layers = net.layers_before(self.outputs)
        for layer in layers:
            if reason := _inexact(layer):
                raise EngineError(f"engine 'opencv' cannot be exact on layer {layer.name!r}: {reason}")
        self._layers = [_output_layer(net, output) for output in self.outputs]
        self._values = net.input_values
        self._dnn = _read(net, layers, [self._values[blob] for blob in net.inputs_before(self.outputs)])
        # With fusion, the blobs between fused layers have undefined values.
        self._dnn.enableFusion(False)
        self._dnn.enableWinograd(False)

    def _run(self, inputs: Mapping[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        with _SETTINGS:
            before = cv2.getNumThreads()
            try:
                cv2.setNumThreads(self.options.threads_per_stream)
                for name, values in inputs.items():
                    self._dnn.setInput(np.ascontiguousarray(values), self._values[name])
                wanted = list(dict.fromkeys(self._layers))
                found = dict(zip(wanted, self._dnn.forward(wanted), strict=True))
                return [np.array(found[layer], np.float32) for layer in self._layers]
            except cv2.error as error:
                raise failure("OpenCV failed", error) from None
            finally:
                cv2.setNumThreads(before)


def _read(net: Net, layers: Sequence[L.Layer], inputs: Sequence[str]) -> cv2.dnn.Net:
    with tempfile.TemporaryDirectory() as folder:
        text, weights = Path(folder, "net.prototxt"), Path(folder, "net.caffemodel")
        message = schema.NetParameter()
        for value in inputs:
            shape = {"dim": net.value_shapes[value]}
            message.layer.add(name=value, type="Input", top=[value], input_param={"shape": [shape]})
        for layer in layers:
            if not isinstance(layer, L.Source):
                message.layer.append(_explicit(layer))
        prototxt.write(text, message)
        params = {layer.outputs[0]: net.params[layer.name] for layer in layers if layer.param_shapes}
        caffemodel.write(weights, message, params)
        try:
            net_read: cv2.dnn.Net = cv2.dnn.readNetFromCaffe(str(text), str(weights))  # type: ignore[attr-defined,unused-ignore]
            return net_read
        except cv2.error as error:
            raise failure("OpenCV cannot load the net", error) from None


def _explicit(layer: L.Layer) -> Any:
    """Return a copy of a layer's message with the values that OpenCV would infer or read differently."""
    written = copy.deepcopy(layer.message)
    # OpenCV names some layers by themselves and some by their top. With values in place of blobs, each has one name.
    written.name = layer.outputs[0]
    written.bottom[:], written.top[:] = layer.inputs, layer.outputs
    for rules in ("include", "exclude"):
        written.ClearField(rules)
    match layer:
        case L.Pooling():
            written.pooling_param.ClearField("round_mode")  # OpenCV's schema lacks it.
        case L.LRN():
            written.lrn_param.alpha = written.lrn_param.alpha  # OpenCV's default differs from Caffe's.
        case L.Slice(points=points):
            # Without points OpenCV counts only the tops that another layer reads.
            written.slice_param.slice_point[:] = points
        case L.Scale(axis=axis):
            written.scale_param.axis = axis  # OpenCV's Scale and Reshape do not support negative axes.
        case L.Reshape(output_shapes=(shape,)):
            written.reshape_param.Clear()
            written.reshape_param.shape.dim.extend([0, *shape[1:]])
    return written


def _output_layer(net: Net, value: str) -> str:
    """Return the name of OpenCV's layer whose output is a value; OpenCV omits layers without an effect."""
    layer = net.producer[value]
    while isinstance(layer, L.Dropout | L.Split):
        layer = net.producer[layer.inputs[0]]
    if isinstance(layer, L.Source):
        raise EngineError(f"engine 'opencv' cannot return blob {value!r}: it is the input itself")
    if value in layer.outputs[1:]:
        raise EngineError(f"engine 'opencv' cannot return blob {value!r}: OpenCV names only the first top of a layer")
    return layer.outputs[0]


def _inexact(layer: L.Layer) -> str:
    """Return the reason why OpenCV does not compute a layer as Caffe does, or an empty string if it does."""
    match layer:
        case L.Pooling(overhang=overhang, pad=pad) if layer.message.pooling_param.round_mode == 1 and (
            overhang[0] < pad[0] or overhang[1] < pad[1]
        ):
            return "OpenCV's importer of Caffe's files ignores round_mode FLOOR"
        case L.LRN(within_channel=False, k=k) if k != 1:
            return f"OpenCV's LRN ignores k {k}"
        case L.ShuffleChannel():
            return "OpenCV's importer of Caffe's files does not read its group"
        case L.InnerProduct(transpose=True):
            return "OpenCV's InnerProduct ignores transpose"
        case L.Deconvolution(dilation=dilation) if dilation != (1, 1):
            return "OpenCV's Deconvolution ignores dilation"
        case L.Scale(factor_shape=()) | L.PReLU(param_shapes=((),)):
            return f"OpenCV's {layer.type} has no single factor for a whole blob"
        case L.Tile() | L.Reduction() | L.ArgMax():
            return f"OpenCV's importer has no {layer.type}"
        case L.Log(scale=scale, shift=shift, factor=factor) if (scale, shift, factor) != (1, 0, 1):
            return "OpenCV's Log ignores base, scale and shift"
        case L.Comparison():
            return f"OpenCV's importer has no {layer.type}"
    return ""
