"""Caffemodel, Caffe's binary weights: those of all three dialects read, those of the current one written."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pycam.errors import FormatError, NetError
from pycam.formats import schema
from pycam.formats.files import atomic_open
from pycam.formats.opening import DOWNLOAD_AGAIN, HEAD, foreign, open_file
from pycam.formats.schema import Message
from pycam.formats.wire import BYTES, Field, Wire, WireError, blob_parts, varint

EXPECTED = "Caffe weights"
MOST_LAYERS = 10_000
LARGEST = (1 << 31) - 1
"""Protobuf in C++, and so Caffe, reads no larger file."""


class _Numbers(NamedTuple):
    """The numbers of a layer's fields in a dialect. V1's inner layer is V0's."""

    name: int
    blobs: int
    inner: int = 0


LAYER, V1_LAYERS = 100, 2
CURRENT = _Numbers(name=1, blobs=7)
V1 = _Numbers(name=4, blobs=6, inner=1)
V0 = _Numbers(name=1, blobs=50)
DIALECTS = {LAYER: CURRENT, V1_LAYERS: V1}


@dataclass(frozen=True)
class Weights:
    """What a caffemodel holds.

    Attributes
    ----------
    layers
        The blobs of each layer that has any, float32, in the order of the file and the shape that it gives;
        in files of old every shape has four axes. Of two layers of a name the later one is kept, as in Caffe.
    path
        The file, for messages.
    """

    layers: dict[str, tuple[NDArray[np.float32], ...]]
    path: str


def read(path: str | os.PathLike[str]) -> Weights:
    """Read a caffemodel of any dialect and size.

    The arrays are the only copy of the values: reading takes the memory and the time of reading the file.
    Gradients (`diff`) are skipped.

    Raises
    ------
    FormatError
        The file is not there, is something else, is damaged or cut off, or holds no weights.
        A file cut off between two layers looks whole: that a layer lacks its weights is for the net to tell.
    """
    name = os.fspath(path)
    layers: dict[str, tuple[NDArray[np.float32], ...]] = {}
    last, count = "", 0
    with open_file(path, EXPECTED) as file:
        head = file.read(HEAD)
        file.seek(0)
        wire = Wire(file)
        try:
            for field in wire.fields(wire.size):
                if field.kind == BYTES and field.number in DIALECTS:
                    count += 1
                    if count > MOST_LAYERS:
                        raise WireError(field.start, f"more than {MOST_LAYERS:,} layers: no caffemodel has as many")
                    last, blobs = _read_layer(wire, field, DIALECTS[field.number])
                    if blobs:
                        layers[last] = blobs
        except WireError as error:
            after = f", after layer {last!r}" if last else ""
            raise foreign(path, EXPECTED, head) or FormatError(
                f"{name}: {error}{after}: the file was cut off or damaged: {DOWNLOAD_AGAIN}"
            ) from None
    if not layers:
        raise foreign(path, EXPECTED, head) or FormatError(
            f"{name}: no layer holds weights ({count} layers): expected the .caffemodel of a trained net"
        )
    return Weights(layers, name)


def _read_layer(wire: Wire, layer: Field, numbers: _Numbers) -> tuple[str, tuple[NDArray[np.float32], ...]]:
    """Read a layer's name and blobs."""
    name = ""
    blobs: list[NDArray[np.float32]] = []
    try:
        for field in wire.fields(layer.end):
            if field.kind != BYTES:
                continue
            if field.number == numbers.name:
                name = wire.text(field)
            elif field.number == numbers.blobs:
                blobs.append(wire.blob(field.end))
            elif field.number == numbers.inner:
                name, inner_blobs = _read_layer(wire, field, V0)
                blobs += inner_blobs
    except WireError as error:
        raise WireError(error.position, f"in layer {name!r}: {error.reason}") from None
    return name, tuple(blobs)


def write(path: str | os.PathLike[str], net: Message, params: Mapping[str, Sequence[NDArray[Any]]]) -> None:
    """Write a net and its weights as Caffe writes them: current dialect, `shape`, packed floats.

    Parameters
    ----------
    path
        The file; it is in place as a whole or not at all.
    net
        A `NetParameter` in the current dialect. Blobs that it holds itself are left out.
    params
        The blobs of each layer that has any, of any shape; they are stored as float32.

    Raises
    ------
    NetError
        Parameters of a layer that the net does not have, or more bytes than Caffe can read (2 GiB).
    """
    if strangers := params.keys() - {layer.name for layer in net.layer}:
        raise NetError(f"{os.fspath(path)}: the net has no layer {min(strangers)!r}, but parameters for it")
    if sum(4 * blob.size for blobs in params.values() for blob in blobs) > LARGEST:
        raise NetError(f"{os.fspath(path)}: the weights need more than 2 GiB, which no Caffe can read")
    frame = schema.NetParameter()
    frame.CopyFrom(net)
    frame.ClearField("layer")
    with atomic_open(path) as file:
        file.write(frame.SerializeToString())
        for layer in net.layer:
            bare = schema.LayerParameter()
            bare.CopyFrom(layer)
            bare.ClearField("blobs")
            body = bare.SerializeToString()
            blobs = [_blob_field(blob) for blob in params.get(layer.name, ())]
            length = len(body) + sum(len(start) + values.nbytes for start, values in blobs)
            file.write(_tag(LAYER) + varint(length) + body)
            for start, values in blobs:
                file.write(start)
                file.write(values.data)


def _blob_field(blob: NDArray[Any]) -> tuple[bytes, NDArray[np.float32]]:
    start, values = blob_parts(blob)
    return _tag(CURRENT.blobs) + varint(len(start) + values.nbytes) + start, values


def _tag(number: int) -> bytes:
    return varint(number << 3 | BYTES)
