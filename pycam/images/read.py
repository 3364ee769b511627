"""Reading images: 8-bit BGR pixels as OpenCV's `imread` gives them, and a clear error for all that is none.

A JPEG is decoded by OpenCV, because the published figures were made with it; every other format by Pillow,
which gives the same pixels as `imread` and notices damage. What is no regular file, is cut short, or would be
too large is refused before it is decoded.
"""

from __future__ import annotations

import io
import os
import re
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from pycam.errors import ImageError
from pycam.formats.opening import open_file

LARGEST = 100_000_000
"""The most pixels an image may have (300 MB when decoded); more is taken for a decompression bomb."""

FORMATS = ("PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
"""What is read besides JPEG, by Pillow's names."""

MOST_SCANS = 100
"""The most passes over a progressive JPEG; ten are usual, and each takes time even if nothing is in it."""

_SOI, _EOI, _START_OF_SCAN = b"\xff\xd8", b"\xff\xd9", b"\xff\xda"
_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = frozenset(range(0xD0, 0xD9)) | {0x01}
_SCAN, _END, _APP1 = 0xDA, 0xD9, 0xE1

_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION

# Pillow's warnings are silenced through state of the whole process, so one image at a time.
_PILLOW = threading.Lock()


@dataclass(frozen=True, eq=False)
class Image:
    """A decoded image.

    Attributes
    ----------
    pixels : uint8 (H, W, 3)
        BGR, 0…255, C-contiguous, as stored in the file: the EXIF orientation is not applied.
    path : str
        Where it was read from; empty for bytes and arrays.
    exif_orientation : int
        1…8 as the file says, 1 if it says nothing.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    path: str = ""
    exif_orientation: int = 1

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Columns."""
        return int(self.pixels.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """(width, height)."""
        return self.width, self.height


def read_image(source: str | os.PathLike[str] | bytes | NDArray[np.uint8], largest: int = LARGEST) -> Image:
    """Read an image from a file, from a file's bytes, or from pixels.

    The pixels are those of `cv2.imread(path, IMREAD_COLOR | IMREAD_IGNORE_ORIENTATION)`, which Caffe's users
    had: grey is repeated into three channels; of 16 bits the upper eight are taken; alpha is dropped (that of
    a TIFF too, which `imread` blends with black); a CMYK or YCCK JPEG is converted by OpenCV's formula, which
    takes the inks as inverted, as Adobe writes them; of an animation the first frame is taken. The content of
    a file decides its format, not its name. A TIFF's orientation belongs to the format and is applied, as by
    `imread`; an EXIF orientation is only reported.

    A JPEG must reach its end marker, and its data must last for the whole image, or libjpeg would fill the
    rest with grey. Other damage in its compressed data cannot be known, as a JPEG has no checksum: libjpeg
    decodes on and may write a line to stderr.

    Parameters
    ----------
    source : path, bytes, or array
        A file, the content of one, or uint8 pixels: (H, W, 3) BGR or (H, W) grey.
    largest : int
        The most pixels a file's image may have.

    Returns
    -------
    Image

    Raises
    ------
    ImageError
        The file is missing, unreadable, no regular file, no image, damaged, truncated, or has more than
        `largest` pixels; or the array is not as above.
    """
    if isinstance(source, np.ndarray):
        return Image(_bgr_of_array(source))
    if isinstance(source, (bytes, bytearray, memoryview)):
        pixels, orientation = _decode(bytes(source), f"image of {len(source)} bytes", largest)
        return Image(pixels, "", orientation)
    path = os.fspath(source)
    with open_file(path, "an image", ImageError) as file:
        pixels, orientation = _decode(file.read(), path, largest)
    return Image(pixels, path, orientation)


def decode(data: bytes, name: str, flags: int) -> NDArray[Any]:
    """Decode an image in one of OpenCV's ways, after the same checks as `read_image`.

    Parameters
    ----------
    data
        The content of a file.
    name
        What messages call it.
    flags
        Of OpenCV's `imdecode`.

    Returns
    -------
    array
        As `imdecode` gives it: (H, W) grey or (H, W, C), BGR or BGRA, of 8 or 16 bits.

    Raises
    ------
    ImageError
        As `read_image`.
    """
    if not data:
        raise _damaged(name, "empty, 0 bytes")
    if data.startswith(_SOI):
        return _decode_jpeg(data, name, LARGEST, flags)[0]
    with _pillows_errors(data, name, LARGEST):
        _verify(data, name, FORMATS, LARGEST)
    return _imdecode(data, name, flags, "an image")


def _bgr_of_array(array: NDArray[Any]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8 and array.size:
        if array.ndim == 2:
            return _grey_to_bgr(array)
        if array.ndim == 3 and array.shape[2] == 3:
            return np.ascontiguousarray(array)
    raise ImageError(
        f"array of shape {array.shape} and type {array.dtype} is no image: "
        "give uint8 pixels, (height, width, 3) in BGR order or (height, width) grey"
    )


def _decode(data: bytes, name: str, largest: int) -> tuple[NDArray[np.uint8], int]:
    if not data:
        raise _damaged(name, "empty, 0 bytes")
    if data.startswith(_SOI):
        return _decode_jpeg(data, name, largest)
    return _decode_with_pillow(data, name, FORMATS, largest)


def _decode_jpeg(data: bytes, name: str, largest: int, flags: int = _AS_STORED) -> tuple[NDArray[np.uint8], int]:
    width = height = 0
    orientation = 1
    at = len(_SOI)
    marker = None
    while marker != _SCAN:
        found = _MARKER.search(data, at)
        if not found or found[1][0] == _END or len(data) < found.end() + 2:
            raise _damaged(name, f"a JPEG that ends before its image begins, after {len(data)} bytes")
        marker, at = found[1][0], found.end()
        if marker in _STANDALONE:
            continue
        (length,) = struct.unpack_from(">H", data, at)
        segment = data[at + 2 : at + length]
        if marker in _FRAMES and len(segment) >= 5:
            height, width = struct.unpack_from(">HH", segment, 1)
            _check_size(width, height, name, largest)
        elif marker == _APP1 and segment.startswith(b"Exif\0\0"):
            orientation = _orientation(segment)
        at += length

    if data.count(_START_OF_SCAN, at) > MOST_SCANS:
        raise _damaged(name, f"a JPEG of more than {MOST_SCANS} scans, which would take minutes to decode")
    # Compressed data never contain an end marker, and a thumbnail's lies before `at`.
    if data.rfind(_EOI, at) < 0:
        raise _damaged(name, f"a truncated JPEG, without its end after {len(data)} bytes")
    pixels = _imdecode(data, name, flags, f"a JPEG of {width}×{height}")
    # 128 is what libjpeg fills with; an image may well be as grey there, so ask.
    if (pixels[-1, -1] == 128).all() and _stops_early(data, at, name):
        raise _damaged(name, "a JPEG whose data stop before the image is complete")
    return pixels, orientation


def _imdecode(data: bytes, name: str, flags: int, kind: str) -> NDArray[Any]:
    try:
        pixels: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(str(error)) from None
        raise _damaged(name, f"{kind} that OpenCV refuses ({error.err})") from None
    if pixels is None:
        raise _damaged(name, f"{kind} that cannot be decoded")
    return pixels


def _stops_early(data: bytes, scan: int, name: str) -> bool:
    """Tell whether a JPEG's decoder would go on if there were more data before its end marker."""
    end = data.index(_EOI, scan)
    # The first byte is 0 so that an 0xff before it stays data.
    longer = data[:end] + bytes(range(64)) + data[end:]
    # By Pillow, whose libjpeg says nothing about the surplus.
    as_is, _ = _decode_with_pillow(data, name, ("JPEG",), LARGEST)
    with_more, _ = _decode_with_pillow(longer, name, ("JPEG",), LARGEST)
    return not np.array_equal(as_is, with_more)


def _decode_with_pillow(
    data: bytes, name: str, formats: tuple[str, ...], largest: int
) -> tuple[NDArray[np.uint8], int]:
    with _pillows_errors(data, name, largest):
        _verify(data, name, formats, largest)
        with PIL.Image.open(io.BytesIO(data), formats=formats) as pil:
            return _bgr_of_pil(pil), _orientation(pil.info.get("exif", b""))


def _verify(data: bytes, name: str, formats: tuple[str, ...], largest: int) -> None:
    """Check what can be checked without decoding: the size in pixels, a PNG's checksums and lengths."""
    with PIL.Image.open(io.BytesIO(data), formats=formats) as pil:
        _check_size(pil.width, pil.height, name, largest)
        pil.verify()


@contextmanager
def _pillows_errors(data: bytes, name: str, largest: int) -> Iterator[None]:
    """Turn what Pillow says of an image into what the user can do about it."""
    with _PILLOW, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except UnidentifiedImageError:
            raise ImageError(
                f"{name}: not an image, it begins with {data[:16]!r}; "
                f"convert it to one of JPEG, {', '.join(FORMATS)}, or fetch it again"
            ) from None
        except PIL.Image.DecompressionBombError:
            raise _too_large(name, largest) from None
        except (ImageError, MemoryError):
            raise
        # Pillow's readers let all kinds of exceptions through when a file is damaged.
        except Exception as error:
            raise _damaged(name, f"a damaged image ({error})") from None


def _bgr_of_pil(pil: PIL.Image.Image) -> NDArray[np.uint8]:
    if pil.mode.startswith("I"):
        samples = np.asarray(pil)
        if samples.min() >= 0 and samples.max() <= 0xFFFF:
            return _grey_to_bgr((samples >> 8).astype(np.uint8))
    if pil.mode.startswith(("I", "F")):
        raise ValueError("samples of more than 16 bits")
    bgr: NDArray[np.uint8] = cv2.cvtColor(np.asarray(pil.convert("RGB")), cv2.COLOR_RGB2BGR)
    return bgr


def _grey_to_bgr(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)


def _orientation(exif: bytes) -> int:
    """Give the orientation (tag 0x0112) of an EXIF block's first directory; 1 if there is no valid one."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = "<" if tiff.startswith(b"II") else ">"
    try:
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(entries):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, directory + 2 + 12 * entry)
            if tag == 0x0112:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def _check_size(width: int, height: int, name: str, largest: int) -> None:
    if width * height > largest:
        raise _too_large(name, largest)


def _too_large(name: str, largest: int) -> ImageError:
    return ImageError(f"{name}: has more than {largest / 10**6:g} million pixels; scale it down first")


def _damaged(name: str, cause: str) -> ImageError:
    return ImageError(f"{name}: {cause}; fetch it again")
