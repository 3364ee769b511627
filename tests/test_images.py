from __future__ import annotations

import io
import os
import re
import struct
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PILImage, ImageOps

from pycam.errors import ImageError, UsageError
from pycam.images.read import read_image

AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
ADOBE = b"\xff\xee\x00\x0eAdobe"

RANDOM = np.random.default_rng(7)
NOISE = RANDOM.integers(0, 256, (40, 50, 3), dtype=np.uint8)
SMOOTH = cv2.resize(NOISE[:6, :8], (50, 40), interpolation=cv2.INTER_CUBIC)  # BGR
ALPHA = PILImage.fromarray(NOISE[:, :, 0])
COLOUR = PILImage.fromarray(SMOOTH[:, :, ::-1])
RGB = np.asarray(COLOUR)


def encode(image: PILImage.Image, format: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def with_alpha(mode: str) -> PILImage.Image:
    image = COLOUR.convert(mode)
    image.putalpha(ALPHA)
    return image


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def blank_png(width: int, height: int) -> bytes:
    """A complete 1-bit PNG, small in the file and large in memory."""
    rows = zlib.compressobj(1)
    content = b"".join(rows.compress(bytes(1 + (width + 7) // 8)) for _ in range(height)) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", content) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def opencv(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), AS_STORED)


# ---- what comes out


def test_an_image_has_its_path_and_size(tmp_path):
    path = tmp_path / "red.png"
    PILImage.new("RGB", (3, 2), (255, 0, 10)).save(path)
    image = read_image(path)
    assert image.path == str(path)
    assert (image.width, image.height) == image.size == (3, 2)
    assert image.pixels.dtype == np.uint8
    assert image.pixels.flags.c_contiguous
    assert (image.pixels == [10, 0, 255]).all()
    assert np.array_equal(read_image(str(path)).pixels, image.pixels)
    assert read_image(path.read_bytes()).path == ""


@pytest.mark.shared
def test_real_jpegs_are_what_opencv_reads(shared):
    paths = [
        *(shared / "data/samples").iterdir(),
        *(shared / "data/ilsvrc-mini/ILSVRC2012_img_val").iterdir(),
    ]
    assert len(paths) >= 320
    for path in paths:
        assert np.array_equal(read_image(path).pixels, cv2.imread(str(path), AS_STORED)), path.name


PALETTE = COLOUR.quantize(16)
SIXTEEN_BITS = PILImage.fromarray(RANDOM.integers(0, 65536, (40, 50), dtype=np.uint16))
COLOURS_OF_16_BITS = RANDOM.integers(0, 65536, (9, 7, 4), dtype=np.uint16)
KINDS = {
    "grey JPEG": encode(COLOUR.convert("L"), "JPEG"),
    "colour JPEG": encode(COLOUR, "JPEG"),
    "progressive JPEG": encode(COLOUR, "JPEG", progressive=True),
    "JPEG without subsampling": encode(COLOUR, "JPEG", subsampling=0),
    "CMYK JPEG": encode(COLOUR.convert("CMYK"), "JPEG"),
    "YCCK JPEG": encode(COLOUR.convert("CMYK"), "JPEG").replace(
        ADOBE + b"\0\x64\0\0\0\0\0", ADOBE + b"\0\x64\0\0\0\0\2"
    ),
    "JPEG with bare markers and fill bytes": encode(COLOUR, "JPEG").replace(
        b"\xff\xdb", b"\xff\x01\xff\xd3\xff\xff\xff\xdb", 1
    ),
    "JPEG with something behind it": encode(COLOUR, "JPEG") + b"\0trailing \xff garbage",
    "PNG": encode(COLOUR, "PNG"),
    "grey PNG": encode(COLOUR.convert("L"), "PNG"),
    "1-bit PNG": encode(COLOUR.convert("1"), "PNG"),
    "LA PNG": encode(with_alpha("LA"), "PNG"),
    "RGBA PNG": encode(with_alpha("RGBA"), "PNG"),
    "palette PNG": encode(PALETTE, "PNG"),
    "palette PNG with one transparent colour": encode(PALETTE, "PNG", transparency=3),
    "palette PNG with alpha": encode(PALETTE, "PNG", transparency=bytes(range(0, 160, 10))),
    "PNG with a transparent colour": encode(COLOUR, "PNG", transparency=(1, 2, 3)),
    "16-bit grey PNG": encode(SIXTEEN_BITS, "PNG"),
    "16-bit colour PNG": cv2.imencode(".png", COLOURS_OF_16_BITS[:, :, :3])[1].tobytes(),
    "16-bit PNG with alpha": cv2.imencode(".png", COLOURS_OF_16_BITS)[1].tobytes(),
    "BMP": encode(COLOUR, "BMP"),
    "palette BMP": encode(PALETTE, "BMP"),
    "lossless WebP": encode(COLOUR, "WEBP", lossless=True),
    "TIFF": encode(COLOUR, "TIFF"),
    "LZW TIFF": encode(COLOUR, "TIFF", compression="tiff_lzw"),
    "turned TIFF": encode(COLOUR, "TIFF", tiffinfo={274: 6}),
    "16-bit TIFF": encode(SIXTEEN_BITS, "TIFF"),
    "PPM": encode(COLOUR, "PPM"),
    "16-bit PGM": b"P5 50 40 65535\n" + np.asarray(SIXTEEN_BITS).astype(">u2").tobytes(),
    "PNG of one pixel": encode(COLOUR.crop((0, 0, 1, 1)), "PNG"),
    "JPEG of one pixel": encode(COLOUR.crop((0, 0, 1, 1)), "JPEG"),
    "thin JPEG": encode(PILImage.new("RGB", (1, 10000), (9, 99, 200)), "JPEG"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_what_opencv_reads(kind):
    expected = opencv(KINDS[kind])
    assert expected is not None
    assert np.array_equal(read_image(KINDS[kind]).pixels, expected)


def test_cmyk_jpeg_by_opencvs_formula():
    data = KINDS["CMYK JPEG"]
    with PILImage.open(io.BytesIO(data)) as image:
        ink = np.asarray(image).astype(int)  # 255 is full ink, turned round from the file's values by Pillow
    key = 255 - ink[:, :, 3:]
    rgb = key - (ink[:, :, :3] * key >> 8)
    assert np.array_equal(read_image(data).pixels, rgb[:, :, ::-1])


def test_ycck_jpeg_is_not_taken_for_cmyk():
    assert KINDS["YCCK JPEG"] != KINDS["CMYK JPEG"]
    assert not np.array_equal(read_image(KINDS["YCCK JPEG"]).pixels, read_image(KINDS["CMYK JPEG"]).pixels)


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_dropped(mode, format):
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    expected = np.asarray(COLOUR.convert(mode[:-1]).convert("RGB"))[:, :, ::-1]
    assert np.array_equal(read_image(encode(with_alpha(mode), format, **options)).pixels, expected)


@pytest.mark.parametrize("format", ["GIF", "WEBP"])
def test_the_first_frame_of_an_animation(format):
    options = {"lossless": True} if format == "WEBP" else {}
    moving = encode(PALETTE, format, save_all=True, append_images=[PALETTE.rotate(90)], **options)
    expected = np.asarray(PALETTE.convert("RGB"))[:, :, ::-1]
    assert np.array_equal(read_image(moving).pixels, expected)


def test_the_content_decides_not_the_name(tmp_path):
    path = tmp_path / "n02119789_1.JPEG"
    path.write_bytes(KINDS["PNG"])
    assert np.array_equal(read_image(path).pixels, SMOOTH)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation_is_reported_and_not_applied(format, orientation):
    exif = PILImage.Exif()
    exif[271], exif[274] = "A maker", orientation
    options = {"lossless": True} if format == "WEBP" else {}
    image = read_image(encode(COLOUR, format, exif=exif, **options))
    assert image.exif_orientation == orientation
    assert np.array_equal(image.pixels, read_image(encode(COLOUR, format, **options)).pixels)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied_as_pillow_does(format, orientation):
    exif = PILImage.Exif()
    exif[274] = orientation
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95, "subsampling": 0}}.get(format, {})
    data = encode(COLOUR, format, exif=exif, **options)
    pillow = PILImage.open(io.BytesIO(data))
    expected = np.asarray(ImageOps.exif_transpose(pillow).convert("RGB"))[:, :, ::-1]
    image, grey = read_image(data, exif="apply"), read_image(data, channels=1, exif="apply")
    # Only the two decoders of JPEG may differ, in rounding.
    assert np.abs(image.pixels.astype(int) - expected).max() <= (2 if format == "JPEG" else 0)
    assert image.upright() is image and image.pixels.flags.c_contiguous
    assert grey.planes.shape == (*expected.shape[:2], 1) and np.array_equal(grey.pixels, image.pixels)
    if format == "JPEG":
        assert np.array_equal(image.pixels, cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR))
        assert np.array_equal(grey.planes[:, :, 0], cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE))
    assert np.array_equal(read_image(PILImage.open(io.BytesIO(data)), exif="apply").pixels, expected)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_pillows_images_are_converted_as_pillow_does(mode):
    pil = (
        PILImage.fromarray(np.arange(35, dtype=np.uint16).reshape(5, 7) * 1800)
        if mode == "I;16"
        else COLOUR.convert(mode)
    )
    image = read_image(pil)
    deep = mode == "I;16"
    expected = np.dstack([np.asarray(pil) >> 8] * 3) if deep else np.asarray(pil.convert("RGB"))[:, :, ::-1]
    assert np.array_equal(image.pixels, expected)
    assert image.path == "" and image.exif_orientation == 1
    grey = read_image(pil, channels=1).planes[:, :, 0]
    assert np.array_equal(grey, cv2.cvtColor(image.pixels, cv2.COLOR_BGR2GRAY))


def test_pillows_images_of_other_kinds_are_refused(tmp_path):
    with pytest.raises(ImageError, match="mode 'F'; give an image of 8 bits"):
        read_image(PILImage.fromarray(np.zeros((4, 4), np.float32)))
    with pytest.raises(ImageError, match="without alpha, but the net takes 4 channels"):
        read_image(COLOUR, channels=4)
    with pytest.raises(ImageError, match=r"takes 7 channels: give an array \(height, width, 7\)"):
        read_image(COLOUR, channels=7)
    rgba = np.dstack([RGB, RGB[:, :, 0]])
    assert np.array_equal(read_image(PILImage.fromarray(rgba), channels=4).planes, rgba[:, :, [2, 1, 0, 3]])
    path = tmp_path / "cut.png"
    path.write_bytes(KINDS["PNG"][:-30])
    with PILImage.open(path) as opened, pytest.raises(ImageError, match=r"cut\.png: a damaged image"):
        read_image(opened)


def test_arrays_in_rgb():
    assert np.array_equal(read_image(RGB, rgb=True).pixels, SMOOTH)
    rgba = np.dstack([RGB, RGB[:, :, 0]])
    assert np.array_equal(read_image(rgba, channels=4, rgb=True).planes, rgba[:, :, [2, 1, 0, 3]])
    for other in ("fox.jpg", KINDS["PNG"], COLOUR):
        with pytest.raises(UsageError, match="rgb=True is for arrays"):
            read_image(other, rgb=True)
    with pytest.raises(UsageError, match=r"^exif is 'aply'; expected apply or ignore$"):
        read_image(COLOUR, exif="aply")


PIXELS = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)


@pytest.mark.parametrize(
    "array",
    [
        PIXELS / 255,
        (PIXELS / 255).astype(np.float32).transpose(2, 0, 1)[np.newaxis],
        PIXELS.transpose(2, 0, 1),
        PIXELS.astype(np.int64),
        np.dstack([PIXELS, PIXELS[:, :, 0]]),
        np.dstack([PIXELS, PIXELS[:, :, 0]]) / 255,
    ],
    ids=["0 to 1", "torch's batch", "planes first", "int64", "alpha", "matplotlib's PNG"],
)
def test_the_advice_for_arrays_of_other_libraries_is_right(array):
    with pytest.raises(ImageError, match=r"is not an image: give .*, as in ") as raised:
        read_image(array)
    advice = str(raised.value).rpartition(", as in ")[2]
    assert np.array_equal(read_image(eval(advice, {"array": array})).pixels, PIXELS)


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", r"HEIC, which is not read: convert it to JPEG or PNG, `magick "),
        (b"\0\0\0\x1cftypmif1\0\0\0\0avifmif1miaf", "the form AVIF, which is not read"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0isommp42", r"a video \(MP4 or MOV\), not an image"),
        (b"<!DOCTYPE html><html>", "a web page, not an image: download the file itself again"),
        (b"<svg xmlns='x'/>", "an SVG drawing, which has no pixels"),
        (b"%PDF-1.7 x", "a PDF, which is not read"),
        (b"8BPS\0\1", "a Photoshop document, which is not read"),
        (b"version https://git-lfs.github.com/spec/v1", "a git-LFS pointer, not an image: fetch the file"),
        (b"PK\x03\x04xx", "a zip archive, not an image: unpack it first"),
        (b"no image", "not an image, its first bytes are b'no image'; convert it to one of JPEG"),
    ],
)
def test_files_of_other_kinds_are_named(data, told, tmp_path):
    path = tmp_path / "my fox.jpg"
    path.write_bytes(data)
    with pytest.raises(ImageError, match=told):
        read_image(path)


def test_the_command_that_converts_a_photo_replaces_no_file(tmp_path):
    data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    path = tmp_path / "my fox.heic"
    path.write_bytes(data)

    def told(source):
        with pytest.raises(ImageError, match=r"a photo in the form HEIC, which is not read") as raised:
            read_image(source)
        return str(raised.value).partition("JPEG or PNG")[2]

    assert told(path) == f", `magick '{path}' '{tmp_path / 'my fox.jpg'}'`"
    (tmp_path / "my fox.jpg").write_bytes(data)
    for source in (path, tmp_path / "my fox.jpg"):
        assert told(source) == f", `magick '{source}' '{tmp_path / 'my fox.png'}'`"
    (tmp_path / "my fox.png").touch()
    assert told(path) == ""
    # Bytes without a file, as those of an upload, have no name for a command.
    assert told(data) == ""


def test_no_bytes_are_no_image(tmp_path):
    with pytest.raises(ImageError, match=r"^image of 0 bytes: empty, not an image$"):
        read_image(b"")
    (tmp_path / "a.png").touch()
    with pytest.raises(
        ImageError, match=r"a\.png: expected an image, found an empty file: download the file itself again$"
    ):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("https://a.org/x/fox.jpg?w=3&h=4", "`curl -L -o fox.jpg 'https://a.org/x/fox.jpg?w=3&h=4'`"),
        ("http://a.org/", "`curl -L -o image.jpg http://a.org/`"),
        (Path("https://a.org/my fox.png"), "`curl -L -o 'my fox.png' 'https://a.org/my fox.png'`"),
        ("s3://bucket/fox.jpg", "s3://bucket/fox.jpg: images are read from this machine only: copy it here"),
    ],
)
def test_addresses_are_refused_with_the_command_that_downloads(name, told):
    with pytest.raises(ImageError, match=re.escape(told)):
        read_image(name)


def test_what_is_no_image_at_all():
    with pytest.raises(ImageError, match="an object of type list is not an image: give a path"):
        read_image([1, 2])


@pytest.mark.parametrize(
    ("exif", "orientation"),
    [
        (b"MM\0*\0\0\0\x08\0\1\x01\x12\0\3\0\0\0\1\0\x06\0\0\0\0\0\0", 6),
        (b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x03\0\0\0\0\0\0\0", 3),
        (b"II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\x09\0\0\0\0\0\0\0", 1),
        (b"II*\0\xff\xff\xff\xff", 1),
        (b"II*\0\x08\0\0\0\xff\xff\0\0", 1),
        (b"garbage", 1),
        (b"", 1),
    ],
)
def test_exif_of_either_byte_order_or_damaged(exif, orientation):
    content = b"Exif\0\0" + exif
    segment = b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content
    plain = KINDS["colour JPEG"]
    assert read_image(plain[:2] + segment + plain[2:]).exif_orientation == orientation


# ---- arrays


def test_arrays_are_taken_as_bgr_pixels():
    assert np.array_equal(read_image(NOISE).pixels, NOISE)
    turned = read_image(NOISE[:, ::-1, ::-1]).pixels
    assert turned.flags.c_contiguous
    assert np.array_equal(turned, NOISE[:, ::-1, ::-1])
    grey = read_image(NOISE[:, :, 1]).pixels
    assert grey.flags.c_contiguous
    assert np.array_equal(grey, np.dstack([NOISE[:, :, 1]] * 3))


@pytest.mark.parametrize(
    "array",
    [
        NOISE / 255,
        NOISE.astype(int),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        NOISE[0, 0],
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_other_arrays_are_refused(array):
    with pytest.raises(ImageError, match="give uint8 pixels"):
        read_image(array)


# ---- other numbers of channels than three


@pytest.mark.parametrize("kind", KINDS)
def test_grey_is_opencvs_grey_decoding(kind):
    image = read_image(KINDS[kind], channels=1)
    expected = cv2.imdecode(np.frombuffer(KINDS[kind], np.uint8), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    assert np.array_equal(image.values[:, :, 0], expected)
    assert (image.channels, image.values.dtype, image.pixels.shape) == (1, np.uint8, (*expected.shape, 3))
    assert np.array_equal(image.pixels, read_image(KINDS[kind]).pixels)


def test_grey_of_a_jpeg_is_not_the_colour_image_converted():
    image = read_image(KINDS["colour JPEG"], channels=1)
    assert not np.array_equal(image.values[:, :, 0], cv2.cvtColor(image.pixels, cv2.COLOR_BGR2GRAY))


@pytest.mark.parametrize(
    "kind", ["RGBA PNG", "LA PNG", "palette PNG with alpha", "WebP with alpha", "16-bit PNG with alpha"]
)
def test_alpha_is_the_fourth_channel(kind):
    data = KINDS.get(kind) or encode(with_alpha("RGBA"), "WEBP", lossless=True, exact=True)
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    expected = (expected >> 8).astype(np.uint8) if expected.dtype == np.uint16 else expected
    image = read_image(data, channels=4)
    assert np.array_equal(image.values, expected)
    assert np.array_equal(image.pixels, read_image(data).pixels)


@pytest.mark.parametrize("kind", ["PNG", "colour JPEG", "palette PNG", "grey PNG", "BMP", "TIFF"])
def test_a_file_without_alpha_is_refused_for_four_channels(kind):
    with pytest.raises(ImageError, match="an image without alpha, but the net takes 4 channels: give one with alpha"):
        read_image(KINDS[kind], channels=4)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@pytest.mark.parametrize("wrap", [lambda array: array, npy], ids=["array", "npy"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 4, 5, 20])
def test_arrays_of_any_number_of_channels(channels, dtype, wrap):
    array = RANDOM.integers(0, 256, (9, 7, channels)).astype(dtype)
    for given in (array, np.asfortranarray(array), array.astype(array.dtype.newbyteorder(">"))):
        image = read_image(wrap(given), channels=channels)
        assert np.array_equal(image.values, array)
        assert image.values.dtype == dtype
        assert image.values.flags.c_contiguous
        assert image.pixels.shape == (9, 7, 3)
        assert image.pixels.dtype == np.uint8
    if channels == 1:
        assert np.array_equal(read_image(wrap(array[:, :, 0]), channels=1).values, array)


def test_what_is_drawn_of_arrays():
    flow = RANDOM.normal(0, 9, (9, 7, 20)).astype(np.float32)
    drawn = read_image(flow, channels=20).pixels
    assert (drawn.min(), drawn.max()) == (0, 255)
    assert np.array_equal(drawn[:, :, 0], np.rint(255 * (flow[..., 0] - flow[..., 0].min()) / np.ptp(flow[..., 0])))
    bytes_ = RANDOM.integers(0, 256, (9, 7, 5), dtype=np.uint8)
    assert np.array_equal(read_image(bytes_, channels=5).pixels, np.dstack([bytes_[:, :, 0]] * 3))
    assert np.array_equal(read_image(bytes_[..., :4], channels=4).pixels, bytes_[..., :3])


def test_a_colour_array_for_one_channel_is_converted_by_opencv():
    image = read_image(NOISE, channels=1)
    assert np.array_equal(image.values[:, :, 0], cv2.cvtColor(NOISE, cv2.COLOR_BGR2GRAY))
    assert np.array_equal(image.pixels, NOISE)


@pytest.mark.parametrize(
    ("source", "channels", "reason"),
    [
        (
            KINDS["PNG"],
            20,
            r"an image file, but the net takes 20 channels: give a \.npy with an array \(height, width, 20\)",
        ),
        (NOISE, 4, r"shape \(40, 50, 3\) and type uint8 is not an image for 4 channels: give .* \(height, width, 4\)"),
        (npy(NOISE), 2, r"not an image for 2 channels"),
        (np.zeros((4, 4, 2)), 2, "type float64 is not an image for 2 channels: give uint8 or float32"),
        (np.zeros((4, 4, 3), np.float32), 1, "for one channel"),
        (np.zeros((0, 4, 2), np.uint8), 2, "is not an image"),
        (np.full((4, 4, 2), np.nan, np.float32), 2, "values that are not finite"),
        (npy(np.full((4, 4), np.inf, np.float32)), 1, "values that are not finite"),
        (npy(np.array([{}])), 2, r"not a readable \.npy of numbers"),
        (npy(NOISE)[:-1], 3, r"not a readable \.npy of numbers"),
        (npy(NOISE)[:40], 3, r"not a readable \.npy of numbers"),
        (npy(NOISE).replace(b"(40, 50, 3)", b"(40, -5, 3)"), 3, r"not a readable \.npy of numbers"),
        (
            npy(NOISE).replace(b"(40, 50, 3), }        ", b"(9999999999, 50, 3), }"),
            3,
            r"not a readable \.npy of numbers",
        ),
    ],
)
def test_what_does_not_fit_the_channels_is_refused_in_one_line(source, channels, reason):
    with pytest.raises(ImageError, match=reason) as caught:
        read_image(source, channels=channels)
    assert "\n" not in str(caught.value)


def test_a_large_npy_is_refused():
    with pytest.raises(ImageError, match=r"an array of more than 0\.006 MB; make it smaller"):
        read_image(npy(np.zeros((41, 50, 3), np.uint8)), 2000)
    assert read_image(npy(NOISE), 2000).size == (50, 40)


# ---- what is refused


CUTTABLE = ["colour JPEG", "progressive JPEG", "CMYK JPEG", "PNG", "BMP", "lossless WebP", "LZW TIFF", "PPM"]


@pytest.mark.parametrize("percent", [1, 10, 50, 98])
@pytest.mark.parametrize("kind", CUTTABLE)
def test_cut_images_are_refused_quietly(kind, percent, capfd):
    data = KINDS[kind]
    with pytest.raises(ImageError, match="get the file again") as caught:
        read_image(data[: int(len(data) * percent / 100)])
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("format", "options"), [("JPEG", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("PPM", {})], ids=str
)
def test_a_cut_at_any_byte_is_an_error_or_loses_nothing(format, options):
    data = encode(COLOUR.resize((19, 13)), format, **options)
    whole = read_image(data).pixels
    for length in range(len(data)):
        try:
            image = read_image(data[:length])
        except ImageError:
            continue
        assert np.array_equal(image.pixels, whole), length


def jpeg_with_thumbnail() -> bytes:
    thumbnail = encode(COLOUR.resize((16, 16)), "JPEG")
    content = b"Exif\0\0" + b"II*\0\x08\0\0\0\0\0\0\0\0\0" + thumbnail
    plain = KINDS["colour JPEG"]
    return plain[:2] + b"\xff\xe1" + struct.pack(">H", len(content) + 2) + content + plain[2:]


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_image():
    data = jpeg_with_thumbnail()
    assert np.array_equal(read_image(data).pixels, opencv(data))
    with pytest.raises(ImageError, match="truncated JPEG"):
        read_image(data[:-2])


@pytest.mark.parametrize("percent", [40, 60, 90])
@pytest.mark.parametrize("kind", ["colour JPEG", "grey JPEG", "JPEG without subsampling"])
def test_a_jpeg_closed_too_early_is_not_filled_with_grey(kind, percent):
    data = KINDS[kind]
    scan = data.index(b"\xff\xda") + 14
    closed = data[: scan + (len(data) - scan) * percent // 100] + b"\xff\xd9"
    assert (opencv(closed)[-1, -1] == 128).all()
    with pytest.raises(ImageError, match="data end before the image is complete"):
        read_image(closed)


@pytest.mark.shared
def test_real_jpegs_closed_too_early_are_not_filled_with_grey(shared):
    for number, path in enumerate(sorted((shared / "data/samples").iterdir())):
        data = path.read_bytes()
        # At an 0xff, too: the end marker must not swallow it.
        for cut in (len(data) * (20 + 3 * number) // 100, data.index(b"\xff\0", len(data) // 2) + 1):
            with pytest.raises(ImageError, match="get the file again"):
                read_image(data[:cut] + b"\xff\xd9")


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_as_grey_as_the_filler_is_read(mode, capfd):
    data = encode(PILImage.new(mode, (70, 50), 128 if mode == "L" else (128, 128, 128)), "JPEG")
    assert (read_image(data).pixels == 128).all()
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("image", [COLOUR, PALETTE], ids=["colours", "palette"])
def test_a_flipped_bit_in_a_png_is_an_error_or_changes_nothing(image):
    data = encode(image.resize((19, 13)), "PNG")
    whole = read_image(data).pixels
    for place in range(len(data)):
        flipped = bytearray(data)
        flipped[place] ^= 4
        try:
            image = read_image(bytes(flipped))
        except ImageError:
            continue
        assert np.array_equal(image.pixels, whole), place


def large_jpeg() -> bytes:
    data = bytearray(KINDS["colour JPEG"])
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 20000, 20000)
    return bytes(data)


@pytest.mark.parametrize(
    "data",
    [blank_png(20000, 20000), blank_png(10001, 10000), large_jpeg(), b"P5 20000 20000 255\n" + bytes(99)],
    ids=["PNG", "PNG just above the limit", "JPEG", "PGM"],
)
def test_bombs_are_refused_before_they_are_decoded(data, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", pytest.fail)
    monkeypatch.setattr(PILImage.Image, "load", pytest.fail)
    monkeypatch.setattr(PILImage.Image, "convert", pytest.fail)
    with pytest.raises(ImageError, match="more than 100 million pixels; make it smaller"):
        read_image(data)


def test_a_jpeg_of_endless_scans_is_refused():
    data = KINDS["progressive JPEG"]
    last = data[data.rindex(b"\xff\xda") : -2]
    with pytest.raises(ImageError, match="a JPEG with more than 100 scans"):
        read_image(data[:-2] + last * 100 + b"\xff\xd9")


NO_IMAGES = {
    "text": b"just some words\n" * 9,
    "web page": b"<!DOCTYPE html>\n<html><body>404</body></html>",
    "SVG": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n",
    "FITS": b"SIMPLE  =                    T".ljust(2880),
    "zeros": bytes(1000),
    "two bytes": b"BM",
    "the start of a JPEG": b"\xff\xd8",
    "a JPEG of nothing": b"\xff\xd8\xff\xd9",
    "a JPEG without a frame": b"\xff\xd8\xff\xda\0\x08\1\1\0\0\x3f\0\0\xff\xd9",
    "32-bit values": encode(PILImage.fromarray(np.full((4, 4), 7.5, np.float32)), "TIFF"),
    "32-bit integers": encode(PILImage.fromarray(np.full((4, 4), 70000, np.int32)), "TIFF"),
}


@pytest.mark.parametrize("content", NO_IMAGES.values(), ids=NO_IMAGES)
def test_what_is_no_image_is_refused_in_one_line(content, tmp_path, capfd):
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    fix = "get the file again|download the file itself again|convert it to JPEG or PNG"
    with pytest.raises(ImageError, match=rf"image\.jpg: .*(not an image|damaged|JPEG|SVG).*({fix})") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_an_empty_file(tmp_path):
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(ImageError, match=r"empty\.jpg: expected an image, found an empty file"):
        read_image(tmp_path / "empty.jpg")


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("gone.jpg")
    (tmp_path / "file").touch()
    for name, reason in {
        "missing.jpg": r"missing\.jpg: expected an image, but: No such file",
        ".": "expected an image, found a folder",
        "pipe": "pipe: expected an image, found a pipe or device",
        "link": r"link: .*, but: it is a link to gone\.jpg, which does not exist",
        "file/a.jpg": r"a\.jpg: .*, but: Not a directory",
        "a\0b.jpg": r"a\\x00b\.jpg: expected an image, but: ",
        "x" * 300: "but: File name too long",
        "../" * 20 + os.devnull: "found a pipe or device",
    }.items():
        with pytest.raises(ImageError, match=reason):
            read_image(f"{tmp_path}/{name}")


@pytest.mark.unprivileged
def test_a_file_without_permission(tmp_path):
    (tmp_path / "secret.png").write_bytes(KINDS["PNG"])
    (tmp_path / "secret.png").chmod(0)
    with pytest.raises(ImageError, match=r"secret\.png: .*, but: Permission denied"):
        read_image(tmp_path / "secret.png")


@pytest.mark.parametrize("name", ["two\nlines.jpg", "-dash.jpg", "fuchs 狐.jpg", "undecodable\udcff.jpg"])
def test_odd_names(name, tmp_path):
    path = tmp_path / name
    path.write_bytes(KINDS["PNG"])
    assert read_image(path).path == str(path)
    path.write_bytes(b"")
    with pytest.raises(ImageError) as caught:
        read_image(path)
    message = str(caught.value)
    assert message.isprintable()
    assert name.replace("\n", "\\n").replace("\udcff", "\\udcff") in message


def test_reading_leaves_the_process_as_it_was(recwarn):
    before = list(warnings.filters), PILImage.MAX_IMAGE_PIXELS
    read_image(KINDS["palette PNG with alpha"])
    with pytest.raises(ImageError):
        read_image(KINDS["LZW TIFF"][:-50])
    assert (list(warnings.filters), PILImage.MAX_IMAGE_PIXELS) == before
    assert not recwarn.list


@pytest.mark.parametrize("kind", ["png", "jpg"])
def test_a_decoder_without_memory_does_not_blame_the_image(kind, tmp_path, monkeypatch):
    """Decoders say of an image that it is damaged if they get no memory."""
    path = tmp_path / f"a.{kind}"
    cv2.imwrite(str(path), np.zeros((40, 40, 3), np.uint8))
    whole = path.read_bytes()
    path.write_bytes(whole[:-40] + bytes(38) + whole[-2:])
    monkeypatch.setattr("cv2.imdecode", lambda *_: None)
    with pytest.raises(ImageError):
        read_image(path)
    monkeypatch.setattr("pycam.images.read.SPARE", 1 << 62)
    with pytest.raises(MemoryError):
        read_image(path)
