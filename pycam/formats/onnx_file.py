"""ONNX files: the message of a model, with the values of its external files, and the arrays of its constants."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from pycam.errors import FormatError
from pycam.formats.files import is_file
from pycam.formats.onnx_messages import EXTERNAL, FLOAT, MESSAGES
from pycam.formats.opening import HEAD, ONNX, TEXT, open_file, recognise
from pycam.formats.schema import Message

MOST_BYTES = 2**31 - 1
"""The most bytes of a message of protobuf, and so of a model that ONNX Runtime takes as one."""

EXPORT_IT = "convert it to ONNX first, as with torch.onnx.export"
FRAMEWORKS = {"a zip archive": "PyTorch's?", "a Python pickle": "PyTorch's?", "an HDF5 file": "Keras's?"}
"""Kinds of files that people take for models in ONNX."""

CAFFES = dict.fromkeys(
    (TEXT, "Caffe weights"), "a net of Caffe is given with --prototxt, and its weights with --weights"
)
"""What to do with the files of Caffe's nets."""

LOOK_ALIKE = ("a solver state", "a blob such as a mean file", "Caffe weights")
"""Kinds of other files that begin as an ONNX model can."""


def read_onnx_file(path: str | os.PathLike[str]) -> tuple[Message, tuple[Path, ...]]:
    """Read a model in ONNX.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    model : ModelProto
        The model; no values are left in other files.
    files : tuple of Path
        The other files that it has values in: its external data.

    Raises
    ------
    FormatError
        The file is no model in ONNX, is damaged or larger than 2 GB with its external data, or a file of its external
        data is missing, too short, or outside of the model's folder.
    """
    shown = os.fspath(path)
    with open_file(path, ONNX) as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(HEAD)
        what, fix = recognise(head)
        if what in FRAMEWORKS:
            raise FormatError(f"{shown}: expected an ONNX model, found {what} ({FRAMEWORKS[what]}): {EXPORT_IT}")
        if what and what not in (ONNX, *LOOK_ALIKE):
            raise FormatError(f"{shown}: expected an ONNX model, found {what}: {CAFFES.get(what, fix)}")
        if size > MOST_BYTES:
            raise FormatError(f"{shown}: {_gigabytes(size)}; an ONNX model has at most 2 GB: {_TOO_LARGE}")
    with open_file(path, ONNX) as file:
        data = file.read()  # a head before the rest would be a copy of the whole
    try:
        model = MESSAGES["ModelProto"].FromString(data)
        whole = bool(model.graph.node) and bool(model.opset_import)
        # protobuf gives a text that is no UTF-8 as bytes, or an error.
        if not all(isinstance(text, str) for text in _texts(model)):
            raise DecodeError
    except (DecodeError, UnicodeDecodeError):
        raise FormatError(
            f"{shown}: expected an ONNX model, but its {len(data):,} bytes are cut off or damaged: download or export "
            "the file again"
        ) from None
    if not whole and what in LOOK_ALIKE:
        raise FormatError(f"{shown}: expected an ONNX model, found {what}: {CAFFES.get(what, fix)}")
    if not whole:
        missing = "nodes" if model.opset_import else "opset_import, the version of its operators"
        raise FormatError(f"{shown}: expected an ONNX model, found a file without {missing}: is it a model in ONNX?")
    files: dict[Path, None] = {}
    total = len(data)
    for tensor in _tensors(model.graph):
        if tensor.data_location == EXTERNAL:
            total += _inline(tensor, Path(path), files)
            if total > MOST_BYTES:
                raise FormatError(
                    f"{shown}: more than 2 GB with its external data, {next(iter(files))}; pycam reads ONNX models of "
                    f"at most 2 GB: {_TOO_LARGE}"
                )
    return model, tuple(files)


_TOO_LARGE = "use a smaller net, or export it in float16"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


def _tensors(graph: Message) -> Iterator[Message]:
    """Yield the tensors of a graph, of its nodes, and of the graphs in its nodes."""
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            for inner in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _tensors(inner)


@lru_cache
def _kinds_of_fields(kind: Any) -> tuple[list[str], list[str]]:
    """Return the names of the fields of a kind of message that have texts, and of those that have messages."""
    types = {field.name: field.type for field in kind.fields}
    texts, messages = FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE
    return [name for name in types if types[name] == texts], [name for name in types if types[name] == messages]


def _texts(message: Message) -> Iterator[Any]:
    """Yield all texts in a message and in the messages inside it."""
    texts, messages = _kinds_of_fields(message.DESCRIPTOR)
    for name in texts:
        value = getattr(message, name)
        yield from value if hasattr(value, "extend") else (value,)
    for name in messages:
        value = getattr(message, name)
        if hasattr(value, "extend"):
            for each in value:
                yield from _texts(each)
        elif message.HasField(name):
            yield from _texts(value)


def _inline(tensor: Message, model: Path, files: dict[Path, None]) -> int:
    """Read a tensor's values from its file into the tensor, and return the number of bytes."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    about = f"{model}: tensor {tensor.name!r}"
    location = entries.get("location", "")
    folder = model.parent.resolve()
    path = folder / location
    if not location or "\0" in location or not path.resolve().is_relative_to(folder):
        raise FormatError(
            f"{about} has its values in {location!r}; expected a file in the folder of the model: put it there, and "
            "save the model again"
        )
    if not is_file(path):
        raise FormatError(
            f"{about} has its values in {location}, which is not beside the model: put the file into {model.parent}"
        )
    try:
        offset = int(entries.get("offset", "0"))
        length = int(entries.get("length", path.stat().st_size - offset))
    except ValueError:
        raise FormatError(f"{about} has a place in {location} that is no number: export the model again") from None
    with open_file(path, "external data of an ONNX model") as file:
        size = os.fstat(file.fileno()).st_size
        if offset < 0 or not 0 <= length <= size - offset:
            raise FormatError(
                f"{about} has its values in bytes {offset:,} to {offset + length:,} of {location}, which has {size:,}: "
                "is it cut off, or the file of another model?"
            )
        if length > MOST_BYTES:
            raise FormatError(f"{about} has {_gigabytes(length)} of values; at most 2 GB: {_TOO_LARGE}")
        file.seek(offset)
        tensor.raw_data = file.read(length)
    files[path] = None
    del tensor.external_data[:]
    tensor.ClearField("data_location")
    return length


def float_array(tensor: Message, path: str) -> NDArray[np.float32] | None:
    """Return the values of a tensor of float32, None for another type.

    Raises
    ------
    FormatError
        It has another number of values than its shape says; `path` is the model's, for the message.
    """
    if tensor.data_type != FLOAT:
        return None
    shape = tuple(tensor.dims)
    values: NDArray[Any]
    raw = tensor.raw_data
    if raw and len(raw) % 4 == 0:
        values = np.frombuffer(raw, "<f4")
    else:
        values = np.array(tensor.float_data, np.float32)
    if min(shape, default=1) < 0 or values.size != int(np.prod(shape, dtype=object)):
        raise FormatError(
            f"{path}: tensor {tensor.name!r} has {values.size} values, but its shape is {list(shape)}: the file is "
            "damaged, export the model again"
        )
    return values.reshape(shape)
