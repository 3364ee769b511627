"""Reading images: 8-bit BGR pixels as OpenCV's `imread` returns them, and a clear error for everything else.

A net of one channel gets OpenCV's grey decoding of the file, as in Caffe; one of four gets BGRA; one of any other
number gets the planes of an array.

OpenCV decodes JPEGs, because the published figures were made with it. Pillow decodes all other formats: it returns the
same pixels as `imread` and detects damage. Files that are not regular, truncated, or too large are refused before they
are decoded.
"""

from __future__ import annotations

import io
import os
import re
import struct
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any

import cv2
import numpy as np
import PIL.Image
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from pycam.errors import ImageError, UsageError
from pycam.formats.npy import NPY, numbers_in
from pycam.formats.opening import open_file
from pycam.images.blocks import row_blocks
from pycam.images.foreign import refuse_address, what_it_is
from pycam.images.scaling import min_max_scale

LARGEST = 100_000_000
"""Maximal number of pixels of an image (300 MB decoded); a larger one counts as a decompression bomb."""

LARGEST_FILE = 1 << 30
"""Maximal number of bytes of a file: more than `LARGEST` pixels take in any format."""

FORMATS = ("PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
"""The formats besides JPEG, by Pillow's names."""

SPARE = 16 << 20
"""The bytes that a process with memory left can allocate."""

MOST_SCANS = 100
"""Maximal number of scans of a progressive JPEG; ten are usual, and each takes time even if it is empty."""

_SOI, _EOI, _START_OF_SCAN = b"\xff\xd8", b"\xff\xd9", b"\xff\xda"
_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = frozenset(range(0xD0, 0xD9)) | {0x01}
_SCAN, _END, _APP1 = 0xDA, 0xD9, 0xE1

_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
_GREY = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION


@dataclass(frozen=True, eq=False)
class FileContent:
    """The content of a file that was read before.

    Attributes
    ----------
    data : bytes
        The content.
    path : str
        Path of the file, for `Image.path` and messages.
    """

    data: bytes = field(repr=False)
    path: str


Source = str | os.PathLike[str] | bytes | FileContent | NDArray[Any] | PIL.Image.Image
"""What an image is read from."""

# The filter for Pillow's warnings is state of the whole process: only one image at a time.
_PILLOW = threading.Lock()


_UPRIGHT: Mapping[int, Callable[[NDArray[Any]], NDArray[Any]]] = {
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored[::-1].swapaxes(0, 1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored[:, ::-1].swapaxes(0, 1),
}
"""EXIF orientation -> function from (H, W, C) stored pixels to those of the upright image; 1 is upright."""


@dataclass(frozen=True, eq=False)
class Image:
    """A decoded image.

    Attributes
    ----------
    pixels : uint8 (H, W, 3)
        BGR, 0…255, C-contiguous: as stored in the file, or upright if the EXIF orientation is applied. Maps are drawn
        over these, and boxes count in these.
    path : str
        Path of the file; empty for bytes and arrays.
    exif_orientation : int
        Orientation in the file, 1…8; 1 if the file has none.
    exif_applied : bool
        Whether the orientation is applied, so that the pixels are upright.
    planes : uint8 or float32 (H, W, C), optional
        The values for a net of another number of channels than three.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    path: str = ""
    exif_orientation: int = 1
    exif_applied: bool = False
    planes: NDArray[Any] | None = field(default=None, repr=False)

    @property
    def values(self) -> NDArray[Any]:
        """The values for the net, (H, W, C): `planes`, or else `pixels`."""
        return self.pixels if self.planes is None else self.planes

    @property
    def channels(self) -> int:
        """Number of channels of `values`."""
        return int(self.values.shape[2])

    @property
    def height(self) -> int:
        """Number of rows."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Number of columns."""
        return int(self.pixels.shape[1])

    @property
    def size(self) -> tuple[int, int]:
        """The pair (width, height)."""
        return self.width, self.height

    def upright(self) -> Image:
        """Return the image with its EXIF orientation applied; an upright image is returned as it is."""
        turn = _UPRIGHT.get(self.exif_orientation)
        if turn is None or self.exif_applied:
            return self
        planes = None if self.planes is None else np.ascontiguousarray(turn(self.planes))
        return replace(self, pixels=np.ascontiguousarray(turn(self.pixels)), planes=planes, exif_applied=True)

    def part(self, box: tuple[int, int, int, int]) -> Image:
        """Return a part of the image: x0, y0, x1, y1 in pixels, 0-based, half-open."""
        x0, y0, x1, y1 = box
        inside = np.s_[y0:y1, x0:x1]
        planes = None if self.planes is None else np.ascontiguousarray(self.planes[inside])
        return replace(self, pixels=np.ascontiguousarray(self.pixels[inside]), planes=planes)


def read_image(
    source: Source,
    largest: int = LARGEST,
    channels: int = 3,
    path: str = "",
    *,
    exif: str = "ignore",
    rgb: bool = False,
) -> Image:
    """Read an image from a file, from a file's bytes, from an array, or from Pillow's image.

    The pixels of a file are those of `cv2.imread(path, IMREAD_COLOR | IMREAD_IGNORE_ORIENTATION)`, as Caffe's users had
    them; with `exif="apply"`, those of `cv2.imread(path)`:

    - grey is repeated in three channels, and only the upper eight of 16 bits are kept;
    - alpha is dropped (also that of a TIFF, which `imread` blends with black);
    - a CMYK or YCCK JPEG is converted by OpenCV's formula, which expects inverted inks, as Adobe writes them;
    - an animation gives its first frame;
    - the content of a file decides its format, not its name;
    - a TIFF's own orientation is always applied, as `imread` does.

    A net of another number of channels than three gets `Image.planes`:

    - one channel: the grey image that `imread` returns with `IMREAD_GRAYSCALE`, which is not always the same as the
      colour image converted to grey; or a grey array as it is, or a BGR array converted by OpenCV;
    - four channels: BGRA; a file without alpha is refused;
    - any other number: an array, or a `.npy` file with one.

    A JPEG must have its end marker, and data for the whole image, because libjpeg would fill the rest with grey. Other
    damage in its compressed data cannot be detected, because a JPEG has no checksum: libjpeg continues to decode and
    may write a line to stderr.

    Parameters
    ----------
    source : path, bytes, FileContent, array, or PIL.Image.Image
        A file, the content of a file, or an array: (H, W, 3) uint8 BGR or (H, W) uint8 grey. For another number of
        channels than three, also (H, W, channels), and float32; (H, W) is one channel. Pillow's image in any mode of
        at most 8 bits is converted as the file of the same mode would be.
    largest : int
        Maximal number of pixels of a file's image. A `.npy` may have three bytes for each.
    channels : int
        Number of channels of the net.
    path : str
        The file that bytes were read from, for `Image.path` and messages.
    exif : str
        `apply` or `ignore` the EXIF orientation, of a file or of Pillow's image.
    rgb : bool
        Whether an array has the order RGB or RGBA; for arrays of uint8 only.

    Returns
    -------
    Image

    Raises
    ------
    ImageError
        The file is missing, unreadable, not a regular file, not an image, damaged, truncated, too large, or has not
        the channels of the net; or the array has another shape or dtype, or values that are not finite.
    UsageError
        `rgb` is given, but the source is no array: files and Pillow's images have one order only; or `exif` is neither.
    """
    if exif not in ("apply", "ignore"):
        raise UsageError(f"exif is {exif!r}; expected apply or ignore")
    if rgb:
        source = bgr_of_rgb(source)
    if isinstance(source, np.ndarray):
        return _image_of_array(source, channels)
    if isinstance(source, PIL.Image.Image):
        image = _image_of_pil(source, largest, channels, path)
    else:
        image = _image_of_file(source, largest, channels, path)
    return image.upright() if exif == "apply" else image


def _image_of_file(
    source: str | os.PathLike[str] | bytes | FileContent, largest: int, channels: int, path: str
) -> Image:
    if isinstance(source, (bytes, bytearray, memoryview)):
        data = bytes(source)
    elif isinstance(source, FileContent):
        path, data = source.path, source.data
    elif isinstance(source, (str, os.PathLike)):
        path, data = os.fspath(source), read_bytes(source)
    else:
        kind = type(source).__name__
        raise ImageError(
            f"an object of type {kind} is not an image: give a path, the bytes of a file, a uint8 array "
            "(height, width, 3) in BGR order (or RGB with rgb=True), or Pillow's image"
        )
    name = path or f"image of {len(data)} bytes"
    if data.startswith(NPY):
        array = numbers_in(data, name, ImageError)
        if array.nbytes > 3 * largest:
            raise ImageError(f"{name}: an array of more than {3 * largest / 10**6:g} MB; make it smaller")
        return _image_of_array(array, channels, path)
    if channels not in (1, 3, 4):
        raise ImageError(
            f"{name}: an image file, but the net takes {channels} channels: give a .npy with an array "
            f"(height, width, {channels}), uint8 or float32"
        )
    if data.startswith(_SOI):
        pixels, orientation = _decode_jpeg(data, name, largest)
        alpha = None
    else:
        pixels, orientation, alpha = _decode_with_pillow(data, name, FORMATS, largest, wants_alpha=channels == 4)
    if channels == 3:
        return Image(pixels, path, orientation)
    if channels == 1:
        grey = _imdecode(data, name, _GREY, "an image")[:, :, np.newaxis]
        return Image(pixels, path, orientation, planes=grey)
    return Image(pixels, path, orientation, planes=_bgra(pixels, alpha, name))


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read the file of an image, without decoding it.

    Raises
    ------
    ImageError
        The file is missing, unreadable, not a regular file, empty, or larger than the file of any image. An error of
        the operating system is its `__cause__`.
    """
    name = os.fspath(path)
    refuse_address(name)
    try:
        with open_file(path, "an image", ImageError) as file:
            if (size := os.fstat(file.fileno()).st_size) > LARGEST_FILE:
                raise ImageError(f"{name}: expected an image, found a file of {size:,} bytes: is it another file?")
            return file.read()
    except OSError as error:
        raise ImageError(f"{name}: expected an image, but: {error.strerror or error}") from error


def decode(data: bytes, name: str, flags: int) -> NDArray[Any]:
    """Decode an image with flags of OpenCV's, after the same checks as `read_image`.

    Parameters
    ----------
    data : bytes
        The content of a file.
    name : str
        Name of the image in messages.
    flags : int
        Flags of OpenCV's `imdecode`.

    Returns
    -------
    uint8 or uint16 array
        The result of `imdecode`: (H, W) grey or (H, W, C), BGR or BGRA.

    Raises
    ------
    ImageError
        The same errors as those of `read_image`.
    """
    if data.startswith(_SOI):
        return _decode_jpeg(data, name, LARGEST, flags)[0]
    with _pillows_errors(data, name, LARGEST):
        _verify(data, name, FORMATS, LARGEST)
    return _imdecode(data, name, flags, "an image")


def _image_of_array(array: NDArray[Any], channels: int, path: str = "") -> Image:
    planes = array.shape[2:]
    if channels == 3:
        fits = array.ndim == 2 or planes == (3,)
        wanted = "uint8 pixels, (height, width, 3) in BGR order or (height, width) grey"
    elif channels == 1:
        fits = array.ndim == 2 or planes == (1,) or (planes == (3,) and array.dtype == np.uint8)
        wanted = "uint8 or float32 values, (height, width), or uint8 pixels, (height, width, 3) in BGR order"
    else:
        fits = planes == (channels,)
        wanted = f"uint8 or float32 values, (height, width, {channels})"
    is_float = channels != 3 and array.dtype.kind == "f" and array.dtype.itemsize == 4
    where = f"{path}: " if path else ""
    if not (fits and array.size and (array.dtype == np.uint8 or is_float)):
        purpose = "" if channels == 3 else f" for {channels} channels" if channels > 1 else " for one channel"
        raise ImageError(
            f"{where}an array of shape {array.shape} and type {array.dtype} is not an image{purpose}: give {wanted}"
            f"{_of_array(array) if channels == 3 else ''}"
        )
    if is_float and not np.isfinite(array).all():
        raise ImageError(f"{where}the array has values that are not finite: give finite ones")
    values: NDArray[Any] = np.ascontiguousarray(array, np.float32 if is_float else np.uint8).reshape(
        *array.shape[:2], -1
    )
    if values.shape[2] == 3 and channels in (1, 3):
        grey = cv2.cvtColor(values, cv2.COLOR_BGR2GRAY)[:, :, np.newaxis] if channels == 1 else None
        return Image(values, path, planes=grey)
    if channels == 3:
        return Image(_grey_to_bgr(values[:, :, 0]), path)
    if channels == 4 and not is_float:
        return Image(np.ascontiguousarray(values[:, :, :3]), path, planes=values)
    first = values[:, :, 0]
    shown = np.rint(255 * min_max_scale(first)).astype(np.uint8) if is_float else first
    return Image(_grey_to_bgr(shown), path, planes=values)


def bgr_of_rgb(array: object) -> NDArray[Any]:
    """Return an array of RGB or RGBA pixels, (H, W, 3) or (H, W, 4) uint8, in the order BGR or BGRA.

    Raises
    ------
    ImageError
        The array has another shape or type.
    UsageError
        It is no array.
    """
    if not isinstance(array, np.ndarray):
        raise UsageError("rgb=True is for arrays: files and Pillow's images have one order only; leave it out")
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (3, 4):
        raise ImageError(
            f"an array of shape {array.shape} and type {array.dtype} with rgb=True: give uint8 pixels, "
            f"(height, width, 3) or (height, width, 4){_of_array(array)}"
        )
    return array[:, :, [2, 1, 0, 3][: array.shape[2]]]


def _of_array(array: NDArray[Any]) -> str:
    """Return how to make pixels of an array as other libraries have them; empty if nothing is known."""
    steps = ""
    if array.ndim == 4 and len(array) == 1:
        array, steps = array[0], "[0]"
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3, 4):
        array, steps = array.transpose(1, 2, 0), f"{steps}.transpose(1, 2, 0)"
    if array.ndim == 3 and array.shape[2] == 4:
        steps += "[:, :, :3]"
    if array.dtype.kind == "f" and array.size and array.min() >= 0 and array.max() <= 1:
        return f", as in (255 * array{steps}).round().astype('uint8')"
    if array.dtype.kind in "iu" and array.dtype != np.uint8 and array.size and array.min() >= 0 and array.max() <= 255:
        steps += ".astype('uint8')"
    return f", as in array{steps}" if steps else ""


def _image_of_pil(pil: PIL.Image.Image, largest: int, channels: int, path: str) -> Image:
    path = path or os.fsdecode(getattr(pil, "filename", "") or "")
    name = path or "Pillow's image"
    if channels not in (1, 3, 4):
        raise ImageError(
            f"{name}: an image, but the net takes {channels} channels: give an array (height, width, {channels}), "
            "uint8 or float32"
        )
    if pil.mode == "F" or not pil.width * pil.height:
        raise ImageError(
            f"{name}: {pil.width}×{pil.height} values of mode {pil.mode!r}; give an image of 8 bits, such as mode 'RGB'"
        )
    _check_size(pil.width, pil.height, name, largest)
    with _pillows_errors(b"", name, largest):
        pixels = _bgr_of_pil(pil)
        orientation = pil.getexif().get(0x0112, 1)
        alpha = _alpha_of_pil(pil) if channels == 4 else None
    image = Image(pixels, path, orientation if orientation in _UPRIGHT else 1)
    if channels == 3:
        return image
    if channels == 1:
        return replace(image, planes=cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)[:, :, np.newaxis])
    return replace(image, planes=_bgra(pixels, alpha, name))


def _alpha_of_pil(pil: PIL.Image.Image) -> NDArray[np.uint8] | None:
    return np.asarray(pil.convert("RGBA").getchannel("A")) if pil.has_transparency_data else None


def _bgra(pixels: NDArray[np.uint8], alpha: NDArray[np.uint8] | None, name: str) -> NDArray[np.uint8]:
    if alpha is None:
        raise ImageError(
            f"{name}: an image without alpha, but the net takes 4 channels: give one with alpha (PNG, WebP, TIFF), "
            "or a .npy with an array (height, width, 4)"
        )
    return np.dstack([pixels, alpha])


def _decode_jpeg(data: bytes, name: str, largest: int, flags: int = _AS_STORED) -> tuple[NDArray[np.uint8], int]:
    width = height = 0
    orientation = 1
    at = len(_SOI)
    marker = None
    while marker != _SCAN:
        found = _MARKER.search(data, at)
        if not found or found[1][0] == _END or len(data) < found.end() + 2:
            raise _damaged(name, f"a JPEG that ends before its image data, after {len(data)} bytes")
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
        raise _damaged(name, f"a JPEG with more than {MOST_SCANS} scans, which would take minutes to decode")
    # Compressed data never contain an end marker, and the end of a thumbnail is before `at`.
    if data.rfind(_EOI, at) < 0:
        raise _damaged(name, f"a truncated JPEG, without an end marker in its {len(data)} bytes")
    pixels = _imdecode(data, name, flags, f"a JPEG of {width}×{height}")
    # libjpeg fills with 128, but an image may really be grey there.
    if (pixels[-1, -1] == 128).all() and _stops_early(data, at, name):
        raise _damaged(name, "a JPEG whose data end before the image is complete")
    return pixels, orientation


def _imdecode(data: bytes, name: str, flags: int, kind: str) -> NDArray[Any]:
    try:
        pixels: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(str(error)) from None
        raise _damaged(name, f"{kind} that OpenCV refuses ({error.err})") from None
    if pixels is None:
        _check_memory()
        raise _damaged(name, f"{kind} that cannot be decoded")
    return pixels


def _check_memory() -> None:
    """Raise a `MemoryError` if no memory is left: decoders then fail as if the image were damaged."""
    bytearray(SPARE)


def _stops_early(data: bytes, scan: int, name: str) -> bool:
    """Return whether a JPEG's decoder would use more data before the end marker."""
    end = data.index(_EOI, scan)
    # The first byte is 0 so that an 0xff before it stays data.
    longer = data[:end] + bytes(range(64)) + data[end:]
    # Pillow's libjpeg prints no message about extra data.
    as_is, *_ = _decode_with_pillow(data, name, ("JPEG",), LARGEST)
    with_more, *_ = _decode_with_pillow(longer, name, ("JPEG",), LARGEST)
    return not np.array_equal(as_is, with_more)


def _decode_with_pillow(
    data: bytes, name: str, formats: tuple[str, ...], largest: int, wants_alpha: bool = False
) -> tuple[NDArray[np.uint8], int, NDArray[np.uint8] | None]:
    """Return the BGR pixels, the EXIF orientation, and the alpha, (H, W), if it is wanted and the image has one."""
    with _pillows_errors(data, name, largest):
        _verify(data, name, formats, largest)
        with PIL.Image.open(io.BytesIO(data), formats=formats) as pil:
            alpha = _alpha_of_pil(pil) if wants_alpha else None
            return _bgr_of_pil(pil), _orientation(pil.info.get("exif", b"")), alpha


def _verify(data: bytes, name: str, formats: tuple[str, ...], largest: int) -> None:
    """Check the size in pixels, and a PNG's checksums and lengths, without decoding the image."""
    with PIL.Image.open(io.BytesIO(data), formats=formats) as pil:
        _check_size(pil.width, pil.height, name, largest)
        pil.verify()


@contextmanager
def _pillows_errors(data: bytes, name: str, largest: int) -> Iterator[None]:
    """Convert Pillow's errors inside the block to `ImageError`s."""
    with _PILLOW, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except UnidentifiedImageError:
            otherwise = (
                f"not an image, its first bytes are {data[:16]!r}; "
                f"convert it to one of JPEG, {', '.join(FORMATS)}, or get the file again"
            )
            raise ImageError(f"{name}: {what_it_is(data, name) or otherwise}") from None
        except PIL.Image.DecompressionBombError:
            raise _too_large(name, largest) from None
        except (ImageError, MemoryError):
            raise
        # Pillow's readers raise many kinds of exceptions if a file is damaged, and also if there is no memory.
        except Exception as error:
            _check_memory()
            raise _damaged(name, f"a damaged image ({error})") from None


def _bgr_of_pil(pil: PIL.Image.Image) -> NDArray[np.uint8]:
    pil.load()
    bgr = np.empty((pil.height, pil.width, 3), np.uint8)
    for rows in row_blocks(pil.height, pil.width):
        part = pil.crop((0, rows.start, pil.width, rows.stop))
        if pil.mode.startswith("I"):
            samples = np.asarray(part)
            if samples.min() < 0 or samples.max() > 0xFFFF:
                raise ValueError("samples of more than 16 bits")
            bgr[rows] = (samples >> 8).astype(np.uint8)[:, :, np.newaxis]
        elif pil.mode.startswith("F"):
            raise ValueError("samples of more than 16 bits")
        else:
            cv2.cvtColor(np.asarray(part.convert("RGB")), cv2.COLOR_RGB2BGR, dst=bgr[rows])
    return bgr


def _grey_to_bgr(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.repeat(grey[:, :, np.newaxis], 3, axis=2)


def _orientation(exif: bytes) -> int:
    """Return the orientation (tag 0x0112) in an EXIF block's first directory; 1 if there is no valid one."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = "<" if tiff.startswith(b"II") else ">"
    with suppress(struct.error):
        (directory,) = struct.unpack_from(f"{order}I", tiff, 4)
        (entries,) = struct.unpack_from(f"{order}H", tiff, directory)
        for entry in range(entries):
            tag, _, _, value = struct.unpack_from(f"{order}HHIH", tiff, directory + 2 + 12 * entry)
            if tag == 0x0112:
                return value if 1 <= value <= 8 else 1
    return 1


def _check_size(width: int, height: int, name: str, largest: int) -> None:
    if width * height > largest:
        raise _too_large(name, largest)


def _too_large(name: str, largest: int) -> ImageError:
    return ImageError(f"{name}: the image has more than {largest / 10**6:g} million pixels; make it smaller")


def _damaged(name: str, cause: str) -> ImageError:
    return ImageError(f"{name}: {cause}; get the file again")
