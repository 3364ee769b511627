"""What the page makes of an image and of the outputs of the net, in a real Chromium, and what Python makes of them."""

from __future__ import annotations

import base64
import io
import itertools
import struct
import zlib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import CHROMIUM
from PIL import Image as PILImage, ImageCms

from pycam.errors import ImageError
from pycam.images.read import LARGEST, LARGEST_FILE, read_image
from pycam.images.resize import resize
from pycam.images.views import view_of
from pycam.protocols import CHOICES
from pycam.report.viewer_data import view_record

pytestmark = pytest.mark.browser

VIEWER = Path(str(resources.files("pycam.report") / "viewer"))
BROWSER = Path(str(resources.files("pycam.page") / "browser"))
SCRIPTS = [
    VIEWER / "resize.js",
    VIEWER / "maps.js",
    *(BROWSER / f"{name}.js" for name in ("resizers", "pixels", "record", "headers", "png", "decode")),
]


@pytest.fixture(scope="module")
def page() -> Iterator:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--headless", "--no-sandbox"])
        page = browser.new_page()
        for script in SCRIPTS:
            page.add_script_tag(path=script)
        page.evaluate("""() => {
            globalThis.encode = ({ buffer, byteOffset, byteLength }) => {
                let text = "";
                const bytes = new Uint8Array(buffer, byteOffset, byteLength);
                for (const byte of bytes) text += String.fromCharCode(byte);
                return btoa(text);
            };
        }""")
        yield page
        browser.close()


def encoded(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def rgba(bgr: np.ndarray) -> np.ndarray:
    """Return pixels as a browser has them; their alpha must not matter."""
    return np.dstack([bgr[:, :, ::-1], np.arange(bgr.shape[0] * bgr.shape[1]).reshape(*bgr.shape[:2], 1) % 256]).astype(
        np.uint8
    )


def input_of(page, bgr: np.ndarray, recipe: dict) -> np.ndarray:
    values = page.evaluate(
        "([rgba, width, height, recipe]) => encode(netInput(decodeBytes(rgba), width, height, recipe))",
        [encoded(rgba(bgr)), bgr.shape[1], bgr.shape[0], recipe],
    )
    crops, size = recipe["view"]["crops"], recipe["view"]["size"]
    return np.frombuffer(base64.b64decode(values), "<f4").reshape(len(crops), -1, *size)


def some_images() -> Iterator[np.ndarray]:
    """Random pixels, hard edges and one colour, of sizes that grow, shrink, or shrink by whole factors."""
    rng = np.random.default_rng(5)
    for height, width in [(120, 171), (300, 41), (64, 96), (96, 64), (3, 500), (1, 1), (48, 64)]:
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        yield pixels
        yield np.where(pixels < 128, 0, 255).astype(np.uint8)
    yield np.full((50, 60, 3), (3, 130, 255), np.uint8)


def resized(pixels: np.ndarray, height: int, width: int, resizer: str) -> np.ndarray:
    if resizer not in ("pillow_bilinear", "pillow_bicubic"):
        return resize(pixels, height, width, resizer)
    # Pillow's order of the passes depends on its version; one pass at a time does not.
    rows_first = pixels.shape[0] - height > max(0, 2 * (pixels.shape[1] - width))
    sizes = [(height, pixels.shape[1]) if rows_first else (pixels.shape[0], width), (height, width)]
    for size in sizes:
        pixels = resize(pixels, *size, resizer)
    return pixels


@pytest.mark.parametrize("grey", [False, True], ids=["bgr", "grey"])
@pytest.mark.parametrize("resizer", CHOICES["resizer"])
def test_resizers_are_pythons(page, resizer, grey):
    wrong = total = 0
    for pixels in some_images():
        view = view_of("full", (32, 48))
        if grey:
            pixels = np.repeat(cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)[:, :, np.newaxis], 3, axis=2)
        values = pixels[:, :, :1] if grey else pixels
        planes = values.shape[2]
        recipe = {
            "view": {"name": "full", **view_record(view)},
            "resizer": resizer,
            "channels": "grey" if grey else "bgr",
            "mean": [0] * planes,
            "scale": [1] * planes,
        }
        found = input_of(page, pixels, recipe)[0]
        expected = resized(values, 32, 48, resizer).transpose(2, 0, 1)
        if resizer in ("matlab_bilinear", "caffe_bilinear"):
            assert np.abs(found - expected).max() <= 5e-5
        elif resizer == "opencv_cubic":
            # Intel's library computes it for larger images, OpenCV for smaller ones and on other processors.
            difference = np.abs(found - expected)
            assert difference.max() <= 1
            wrong, total = wrong + np.count_nonzero(difference), total + difference.size
        else:
            assert np.array_equal(found, expected)
    assert wrong <= 0.02 * total


def test_grey_is_opencvs(page):
    pixels = np.random.default_rng(6).integers(0, 256, (200, 300, 3), dtype=np.uint8)
    values = page.evaluate("([rgba]) => encode(greyOf(decodeBytes(rgba), 300, 200).values)", [encoded(rgba(pixels))])
    grey = np.frombuffer(base64.b64decode(values), np.uint8).reshape(200, 300)
    assert np.array_equal(grey, cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY))


ADAM7 = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    samples: np.ndarray, colours: int, depth: int, interlaced: bool = False, extra: bytes = b"", keep: int | None = None
) -> bytes:
    """Write a PNG of (H, W, samples) values with every filter, or only the first bytes of its image data."""
    height, width, _ = samples.shape
    lines = bytearray()
    for left, top, across, down in ADAM7 if interlaced else [(0, 0, 1, 1)]:
        part = samples[top::down, left::across]
        above: list[int] = []
        for number, row in enumerate(part if part.size else []):
            bits = np.unpackbits(row.astype(">u2").view(np.uint8).reshape(-1, 16 // 8), axis=1)[:, 16 - depth :]
            line = np.packbits(bits.ravel()).tolist()
            size = max(1, samples.shape[2] * depth // 8)
            above = above or [0] * len(line)
            lines += filtered(number % 5, line, above, size)
            above = line
    data = zlib.compress(bytes(lines))[:keep]
    half = len(data) // 2
    header = struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, interlaced)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", data[:half])
        + chunk(b"IDAT", data[half:])
        + chunk(b"IEND", b"")
    )


def filtered(kind: int, line: list[int], above: list[int], size: int) -> bytes:
    def predicted(i: int) -> int:
        left, up, corner = (line[i - size], above[i], above[i - size]) if i >= size else (0, above[i], 0)
        paeth = min((left, up, corner), key=lambda value: abs(left + up - corner - value))
        return [0, left, up, (left + up) // 2, paeth][kind]

    return bytes([kind, *((value - predicted(i)) % 256 for i, value in enumerate(line))])


def encoded_as(image: PILImage.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def exif(orientation: int) -> PILImage.Exif:
    made = PILImage.Exif()
    made[0x0112] = orientation
    return made


def some_files() -> Iterator[tuple[str, bytes]]:
    """Files of every kind that the page reads, with alpha, orientations, 16 bits, palettes and profiles."""
    rng = np.random.default_rng(8)
    y, x = np.mgrid[:38, :53]
    waves = [128 + 110 * np.sin(x / 7), 128 + 90 * np.cos(y / 5), 128 + 100 * np.sin((x + y) / 9)]
    smooth = PILImage.fromarray(np.stack(waves, axis=2).astype(np.uint8))
    for subsampling, progressive in itertools.product((0, 2), (False, True)):
        yield "JPEG", encoded_as(smooth, "JPEG", subsampling=subsampling, progressive=progressive, quality=85)
    yield "grey JPEG", encoded_as(smooth.convert("L"), "JPEG")
    # With its profile, red would be green.
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = (profile.index(tag, 132) + 4 for tag in (b"rXYZ", b"gXYZ"))
    profile[red : red + 8], profile[green : green + 8] = profile[green : green + 8], profile[red : red + 8]
    for format in ("JPEG", "PNG", "WEBP"):
        yield f"{format} with a profile", encoded_as(smooth, format, icc_profile=bytes(profile))
    for orientation in range(1, 9):
        yield f"JPEG, orientation {orientation}", encoded_as(smooth, "JPEG", exif=exif(orientation))
    for format in ("PNG", "WEBP"):
        yield f"{format}, orientation 6", encoded_as(smooth, format, exif=exif(6))
    alpha = PILImage.fromarray((rng.integers(0, 3, (38, 53)) * 100).astype(np.uint8))
    transparent = smooth.copy()
    transparent.putalpha(alpha)
    yield "lossy WebP with alpha", encoded_as(transparent, "WEBP", quality=70)
    yield "lossless WebP", encoded_as(smooth, "WEBP", lossless=True)
    yield "GIF", encoded_as(smooth.quantize(60), "GIF")
    yield "GIF with a transparent colour", encoded_as(smooth.quantize(60), "GIF", transparency=2)
    yield "BMP", encoded_as(smooth, "BMP")
    yield "BMP of 32 bits", encoded_as(transparent, "BMP")
    depths = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
    for colours, count in SAMPLES.items():
        for depth, interlaced in itertools.product(depths[colours], (False, True)):
            samples = rng.integers(0, 1 << depth, (19, 21, count))
            extra = b""
            if colours == 3:
                extra = chunk(b"PLTE", rng.bytes(3 << depth)) + chunk(b"tRNS", b"\0\x40")
            elif colours in (0, 2):
                extra = chunk(b"tRNS", b"\0\1" * count)
            yield f"PNG {colours} {depth} {interlaced}", png(samples, colours, depth, interlaced, extra)
    yield "narrow PNG", png(rng.integers(0, 256, (2, 1, 4)), 6, 8, True)


DECODE = """([files, recipe]) => Promise.all(files.map(async (file) => {
    try {
        const { rgba, width, height, note, preview } = await decoded(new Blob([decodeBytes(file)]), recipe);
        return { rgba: encode(rgba), width, height, note, preview: encode(new Uint8Array(await preview.arrayBuffer())) };
    } catch (error) {
        return { error: error.message };
    }
}))"""


def decoded(page, files: list[bytes], exif: str = "ignore", pixels: int = LARGEST) -> list[dict]:
    recipe = {"exif": exif, "limits": {"pixels": pixels, "bytes": LARGEST_FILE}}
    return page.evaluate(DECODE, [[encoded(np.frombuffer(file, np.uint8)) for file in files], recipe])


@pytest.mark.parametrize("exif", ["ignore", "apply"])
def test_files_are_decoded_as_python_decodes_them(page, exif):
    files = dict(some_files())
    for (name, data), found in zip(files.items(), decoded(page, list(files.values()), exif), strict=True):
        expected = read_image(data, exif=exif)
        assert "error" not in found, (name, found)
        assert (found["width"], found["height"]) == expected.size, name
        pixels = np.frombuffer(base64.b64decode(found["rgba"]), np.uint8).reshape(*expected.pixels.shape[:2], 4)
        assert np.array_equal(pixels[:, :, 2::-1], expected.pixels), name
        applied = "applied" if exif == "apply" else "not applied"
        orientation = expected.exif_orientation
        assert found["note"] == ("" if orientation == 1 else f"EXIF orientation {orientation} {applied}"), name
        preview = read_image(base64.b64decode(found["preview"]))
        assert preview.size == expected.size
        assert np.abs(cv2.blur(preview.pixels, (9, 9)).astype(float) - cv2.blur(expected.pixels, (9, 9))).mean() < 8, (
            name
        )
