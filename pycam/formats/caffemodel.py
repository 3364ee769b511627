"""Caffemodel, Caffe's binary weights: read all three formats (V0, V1, current), write the current one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pycam.errors import FormatError, NetError
from pycam.formats import hdf5, schema
from pycam.formats.files import atomic_open
from pycam.formats.opening import DOWNLOAD_AGAIN, HEAD, TEXT, foreign, open_file, recognise
from pycam.formats.schema import Message
from pycam.formats.wire import BYTES, DATA, Field, ForeignError, Wire, WireError, varint

EXPECTED = "Caffe weights"
MOST_LAYERS = 10_000
LARGEST = (1 << 31) - 1
"""The most bytes of a file that protobuf in C++, and so Caffe, can read."""


class _Numbers(NamedTuple):
    """The numbers of a layer's fields in one format.

    Attributes
    ----------
    name, blobs : int
        The fields of the layer's name and of its blobs.
    inner : int
        The field of the V0 layer inside a V1 layer, 0 if there is none.
    """

    name: int
    blobs: int
    inner: int = 0


LAYER, V1_LAYERS = 100, 2
CURRENT = _Numbers(name=1, blobs=7)
V1 = _Numbers(name=4, blobs=6, inner=1)
V0 = _Numbers(name=1, blobs=50)
FORMATS = {LAYER: CURRENT, V1_LAYERS: V1}


@dataclass(frozen=True)
class Weights:
    """The content of a caffemodel.

    Attributes
    ----------
    layers : dict
        Layer name -> its blobs, float32 arrays of the shapes in the file, for each layer that has any, in the order of
        the file. In old files every shape has four axes. If two layers have the same name, the later one counts, as in
        Caffe.
    path : str
        The file, for messages.
    foreign : str
        The form of the file or of its blobs if Caffe 1.0 cannot read it as a caffemodel; empty otherwise.
    """

    layers: dict[str, tuple[NDArray[np.float32], ...]]
    path: str
    foreign: str = ""


def read(path: str | os.PathLike[str]) -> Weights:
    """Read a caffemodel of any format and size, or Caffe's weights in HDF5 (`.caffemodel.h5`).

    The arrays are the only copy of the values: it takes no more time and memory than reading the file.
    Gradients (`diff`) are skipped.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    Weights

    Raises
    ------
    FormatError
        The file is missing, of another kind, damaged or cut off, or has no weights.
        A file that is cut off between two layers looks complete: `pycam.net` finds the layers without weights.
    """
    name = os.fspath(path)
    layers: dict[str, tuple[NDArray[np.float32], ...]] = {}
    last, count = "", 0
    with open_file(path, EXPECTED) as file:
        head = file.read(HEAD)
        if head.startswith(hdf5.SIGNATURE):
            return Weights(hdf5.read_weights(path), name, "HDF5")
        if b"blobs {" in head and recognise(head)[0] == TEXT:
            raise FormatError(f"{name}: weights as text, which Caffe does not read either: save the net in binary form")
        file.seek(0)
        wire = Wire(file)
        try:
            for field in wire.fields(wire.size):
                if field.kind == BYTES and field.number in FORMATS:
                    count += 1
                    if count > MOST_LAYERS:
                        raise WireError(field.start, f"more than {MOST_LAYERS:,} layers: this is not a caffemodel")
                    last, blobs = _read_layer(wire, field, FORMATS[field.number])
                    if blobs:
                        layers[last] = blobs
        except ForeignError as error:
            raise FormatError(f"{name}: {error}") from None
        except WireError as error:
            after = f", after layer {last!r}" if last else ""
            raise foreign(path, EXPECTED, head) or FormatError(
                f"{name}: {error}{after}: the file was cut off or damaged: {DOWNLOAD_AGAIN}"
            ) from None
    if not layers:
        raise foreign(path, EXPECTED, head) or FormatError(
            f"{name}: no layer has weights ({count} layers): expected the .caffemodel of a trained net"
        )
    return Weights(layers, name, wire.foreign)


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
        raise type(error)(error.position, f"in layer {name!r}: {error.reason}") from None
    return name, tuple(blobs)


def write(path: str | os.PathLike[str], net: Message, params: Mapping[str, Sequence[NDArray[Any]]]) -> None:
    """Write a net and its weights as Caffe writes them: current format, `shape`, packed floats.

    Parameters
    ----------
    path : path
        The file. It is complete or absent.
    net : NetParameter
        The net in the current format. Its own blobs are not written.
    params : mapping
        Layer name -> its blobs, arrays of any shape and type, for each layer that has any. They are stored as float32.

    Raises
    ------
    NetError
        Parameters for a layer that the net does not have, or more bytes than Caffe can read (2 GiB).
    """
    if strangers := params.keys() - {layer.name for layer in net.layer}:
        raise NetError(
            f"{os.fspath(path)}: the parameters are for layer {min(strangers)!r}, which the net does not have"
        )
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
    """Return the bytes of a blob's field before its values, and its values, flat, copied only if necessary."""
    values = np.ascontiguousarray(blob, "<f4").reshape(-1)
    shape = schema.BlobProto(shape=schema.BlobShape(dim=blob.shape)).SerializeToString()
    start = shape + _tag(DATA) + varint(values.nbytes)
    return _tag(CURRENT.blobs) + varint(len(start) + values.nbytes) + start, values


def _tag(number: int) -> bytes:
    return varint(number << 3 | BYTES)
