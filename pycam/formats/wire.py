"""Protobuf's wire format, read from a file: the values of blobs are read directly into their arrays."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from typing import Any

import numpy as np
from numpy.typing import NDArray

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
WIDTHS = {FIXED64: 8, FIXED32: 4}

MOST_FIELDS = 200_000
LONGEST_TEXT = 4096
MOST_AXES = 32
"""Limits above any file: reading more would only cost time and memory."""

LEGACY_AXES = (1, 2, 3, 4)
DATA, SHAPE, DOUBLE_DATA = 5, 7, 8
"""The fields of a `BlobProto` that are read; the four old axes are num, channels, height and width."""

RAW_TYPE, RAW_DATA, LAST_FIELD = 10, 12, 13
RAW_DTYPES = {0: "<f8", 1: "<f4", 2: "<f2"}
RAW_NAMES = {3: "INT", 4: "UINT"}
"""The fields with which NVIDIA's Caffe stores values of several types, the last field of its blobs, and the types."""


class WireError(Exception):
    """A file breaks the wire format, or a blob contradicts itself.

    Attributes
    ----------
    position : int
        The byte in the file, from 0.
    reason : str
        What is wrong there.
    """

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"byte {position}: {reason}")
        self.position = position
        self.reason = reason


class ForeignError(WireError):
    """A sound blob of a fork of Caffe, with values that pycam does not read."""


@dataclass(frozen=True)
class Field:
    """A field of a message.

    Attributes
    ----------
    number : int
        The number of the field.
    kind : int
        The wire type: `VARINT`, `FIXED64`, `BYTES` or `FIXED32`.
    value : int
        The value of a varint, else the number of bytes of the payload.
    start, end : int
        The range of the payload in the file.
    """

    number: int
    kind: int
    value: int
    start: int
    end: int


class Wire:
    """A file of protobuf messages, read from beginning to end.

    Attributes
    ----------
    size : int
        The number of bytes in the file.
    foreign : str
        The form of the values in which Caffe 1.0 cannot read a blob; empty if there is no such blob.

    Raises
    ------
    WireError
        In every method: the file breaks the wire format, exceeds a limit, or a blob contradicts itself.
    """

    def __init__(self, file: BufferedReader) -> None:
        self.foreign = ""
        self.size = os.fstat(file.fileno()).st_size
        self._file = file
        self._position = 0
        self._fields = 0

    def fields(self, end: int) -> Iterator[Field]:
        """Yield the fields from here to `end`; the part of a payload that the caller does not read is skipped."""
        while self._position < end:
            begin = self._position
            self._fields += 1
            if self._fields > MOST_FIELDS:
                raise WireError(begin, f"more than {MOST_FIELDS:,} fields: this is not a caffemodel")
            tag = self._varint(end)
            number, kind = tag >> 3, tag & 7
            if number == 0 or kind not in (VARINT, FIXED64, BYTES, FIXED32):
                raise WireError(begin, f"no protobuf field begins with {tag}")
            value = self._varint(end) if kind in (VARINT, BYTES) else WIDTHS[kind]
            length = 0 if kind == VARINT else value
            field = Field(number, kind, value, self._position, self._position + length)
            if field.end > end:
                raise WireError(begin, f"a field needs {length} bytes, {end - field.start} are left")
            yield field
            if self._position < field.end:
                self._seek(field.end)

    def text(self, field: Field) -> str:
        """Read a string; bytes that are not UTF-8 become escapes."""
        if field.end - field.start > LONGEST_TEXT:
            raise WireError(field.start, f"a name of {field.end - field.start} bytes")
        return self._read(field.end - field.start).decode("utf-8", "backslashreplace")

    def blob(self, end: int) -> NDArray[np.float32]:
        """Read the `BlobProto` from here to `end` as a float32 array of the shape in the file."""
        begin = self._position
        legacy: dict[int, int] = {}
        dims: list[int] = []
        pieces: dict[int, list[NDArray[Any]]] = {DATA: [], DOUBLE_DATA: []}
        raw: NDArray[np.uint8] | None = None
        raw_type = -1
        unknown = 0
        for field in self.fields(end):
            if field.number in LEGACY_AXES and field.kind == VARINT:
                legacy[field.number] = _signed(field.value)
            elif field.number == SHAPE and field.kind == BYTES:
                dims += self._dims(field)
            elif field.number == DATA and field.kind in (BYTES, FIXED32):
                pieces[DATA].append(self._values(field, "<f4", end))
            elif field.number == DOUBLE_DATA and field.kind in (BYTES, FIXED64):
                pieces[DOUBLE_DATA].append(self._values(field, "<f8", end))
            elif field.number == RAW_TYPE and field.kind == VARINT:
                raw_type = field.value
            elif field.number == RAW_DATA and field.kind == BYTES:
                raw = np.empty(field.end - field.start, np.uint8)
                self._read_into(raw)
            elif field.kind in WIDTHS:
                self._run(field, f"V{WIDTHS[field.kind]}", end)
            elif field.number > LAST_FIELD and field.kind == BYTES:
                unknown = field.number
        # As in Caffe, doubles take precedence over floats, and the four old axes over a shape.
        chunks = pieces[DOUBLE_DATA] or pieces[DATA] or [self._raw_values(raw, raw_type, begin)]
        shape = tuple(legacy.get(axis, 0) for axis in LEGACY_AXES) if legacy else tuple(dims)
        count = sum(chunk.size for chunk in chunks)
        if unknown and not count:
            raise ForeignError(
                begin,
                f"a blob of shape {_product(shape)} without values, but with field {unknown}, which Caffe 1.0 does not "
                "have: a fork of Caffe wrote it; convert the file with that fork",
            )
        if len(shape) > MOST_AXES or min(shape, default=1) < 1 or math.prod(shape) != count:
            raise WireError(begin, f"a blob of shape {_product(shape)} has {count} values")
        values = chunks[0] if len(chunks) == 1 else np.concatenate(chunks)
        with np.errstate(over="ignore", invalid="ignore"):
            return values.astype(np.float32, copy=False).reshape(shape)

    def _raw_values(self, raw: NDArray[np.uint8] | None, kind: int, begin: int) -> NDArray[Any]:
        if raw is None:
            return np.empty(0, np.float32)
        if kind not in RAW_DTYPES:
            name = RAW_NAMES.get(kind, f"number {kind}" if kind >= 0 else "none")
            raise ForeignError(
                begin,
                f"a blob as NVIDIA's Caffe stores it, with values of type {name}; expected DOUBLE, FLOAT or FLOAT16: "
                "save the net with `store_blobs_in_old_format: true` in its solver",
            )
        dtype = np.dtype(RAW_DTYPES[kind])
        if raw.size % dtype.itemsize:
            raise WireError(begin, f"{raw.size} bytes are not a whole number of values")
        self.foreign = f"raw_data of type {dtype.newbyteorder('=').name}, as NVIDIA's Caffe writes it"
        return raw.view(dtype)

    def _dims(self, shape: Field) -> list[int]:
        dims: list[int] = []
        for field in self.fields(shape.end):
            if field.number == 1 and field.kind == VARINT:
                dims.append(_signed(field.value))
            elif field.number == 1 and field.kind == BYTES:
                while self._position < field.end and len(dims) <= MOST_AXES:
                    dims.append(_signed(self._varint(field.end)))
        return dims

    def _values(self, field: Field, dtype: str, end: int) -> NDArray[Any]:
        if field.kind != BYTES:
            return self._run(field, dtype, end)
        width = np.dtype(dtype).itemsize
        if (field.end - field.start) % width:
            raise WireError(field.start, f"{field.end - field.start} bytes are not a whole number of values")
        values = np.empty((field.end - field.start) // width, dtype)
        self._read_into(values)
        return values

    def _run(self, first: Field, dtype: str, end: int) -> NDArray[Any]:
        """Read a value with a tag of its own, and all that follow with the same tag, as in old files."""
        record = np.dtype([("tag", "u1"), ("value", dtype)])
        tag = first.number << 3 | first.kind
        pieces = [np.frombuffer(self._read(first.value), dtype)]
        step = 16
        while self._position + record.itemsize <= end:
            start = self._position
            records = np.empty(min(step, (end - start) // record.itemsize), record)
            self._read_into(records)
            others = np.flatnonzero(records["tag"] != tag)
            count = int(others[0]) if others.size else records.size
            pieces.append(records["value"][:count])
            if count < records.size:
                self._seek(start + count * record.itemsize)
                break
            step = min(2 * step, 1 << 18)
        return np.concatenate(pieces)

    def _varint(self, end: int) -> int:
        value = shift = 0
        begin = self._position
        while True:
            if self._position >= end:
                raise WireError(begin, "a number is cut off")
            byte = self._read(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
            if shift == 70:
                raise WireError(begin, "a number of more than 10 bytes")
        return value & 0xFFFF_FFFF_FFFF_FFFF

    def _read(self, count: int) -> bytes:
        data = self._file.read(count)
        if len(data) != count:
            raise WireError(self._position, "the file ended during reading")
        self._position += count
        return data

    def _read_into(self, values: NDArray[Any]) -> None:
        if values.size and self._file.readinto(values.view(np.uint8).data) != values.nbytes:
            raise WireError(self._position, "the file ended during reading")
        self._position += values.nbytes

    def _seek(self, position: int) -> None:
        self._file.seek(position)
        self._position = position


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _product(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape[:MOST_AXES])) or "()"


def varint(value: int) -> bytes:
    """Encode a non-negative number as protobuf does."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
