"""What the page makes of an image and of the outputs of the net, in a real Chromium, and what Python makes of them."""

from __future__ import annotations

import base64
import io
import itertools
import json
import struct
import zlib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pytest
import samples
from PIL import Image as PILImage, ImageCms

from pycam.errors import UsageError
from pycam.formats import prototxt
from pycam.images.read import Image, read_image
from pycam.images.resize import resize
from pycam.images.views import net_input, view_of
from pycam.model import Model, Preprocessing
from pycam.net import net_from_message
from pycam.page.recipe import LARGEST, LARGEST_FILE, input_record, output_record
from pycam.protocols import CHOICES, PROTOCOLS, Protocol
from pycam.report.viewer_data import Entry, classes_record, image_record, view_record
from pycam.zoo.cards import Mean

pytestmark = pytest.mark.browser

VIEWER = Path(str(resources.files("pycam.report") / "viewer"))
BROWSER = Path(str(resources.files("pycam.page") / "browser"))
SCRIPTS = [
    VIEWER / "resize.js",
    VIEWER / "maps.js",
    *(BROWSER / f"{name}.js" for name in ("resizers", "pixels", "record", "headers", "png", "decode")),
]


@pytest.fixture(scope="module")
def page(launch):
    page = launch().new_page()
    for script in SCRIPTS:
        page.add_script_tag(path=script)
    page.evaluate("""() => {
        globalThis.encode = ({ buffer, byteOffset, byteLength }) => {
            let text = "";
            const bytes = new Uint8Array(buffer, byteOffset, byteLength);
            const size = 8192; // arguments of a call
            for (let i = 0; i < bytes.length; i += size) {
                text += String.fromCharCode(...bytes.subarray(i, i + size));
            }
            return btoa(text);
        };
    }""")
    return page


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


def png(samples: np.ndarray, colours: int, depth: int, interlaced: bool = False, extra: bytes = b"") -> bytes:
    """Write a PNG of (H, W, samples) values; its lines use every filter."""
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
    data = zlib.compress(bytes(lines))
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
        yield (
            f"JPEG, {subsampling} {progressive}",
            encoded_as(smooth, "JPEG", subsampling=subsampling, progressive=progressive, quality=85),
        )
    yield "JPEG that is grey at its end", encoded_as(PILImage.new("RGB", (20, 30), (128, 128, 128)), "JPEG")
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
    yield "lossless WebP with alpha", encoded_as(transparent, "WEBP", lossless=True, exact=True, exif=exif(3))
    for format, first in itertools.product(("PNG", "WEBP", "GIF"), (smooth, transparent)):
        frames = [first.rotate(90), first.rotate(180)]
        options = {"lossless": True, "exact": True} if format == "WEBP" else {}
        yield (
            f"animated {format} {first.mode}",
            encoded_as(first, format, save_all=True, append_images=frames, **options),
        )
    yield "animated PNG", encoded_as(smooth, "PNG", save_all=True, append_images=frames, default_image=True)
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
        const { rgba, width, height, note, shown } = await decodeImage(new Blob([decodeBytes(file)]), recipe);
        const jpeg = new Uint8Array(await shown.arrayBuffer());
        return { rgba: encode(rgba), width, height, note, shown: encode(jpeg) };
    } catch (error) {
        return { error: error.message };
    }
}))"""


def decoded(page, files: list[bytes], exif: str = "ignore", **limits: int) -> list[dict]:
    recipe = {"exif": exif, "limits": {"pixels": LARGEST, "bytes": LARGEST_FILE} | limits}
    return page.evaluate(DECODE, [[encoded(np.frombuffer(file, np.uint8)) for file in files], recipe])


@pytest.mark.parametrize("exif", ["ignore", "apply"])
def test_files_are_decoded_as_python_decodes_them(page, exif):
    names, files = zip(*some_files(), strict=True)
    for name, data, found in zip(names, files, decoded(page, list(files), exif), strict=True):
        expected = read_image(data, exif=exif)
        assert "error" not in found, (name, found)
        assert (found["width"], found["height"]) == expected.size, name
        pixels = np.frombuffer(base64.b64decode(found["rgba"]), np.uint8).reshape(*expected.pixels.shape[:2], 4)
        assert np.array_equal(pixels[:, :, 2::-1], expected.pixels), name
        applied = "applied" if exif == "apply" else "not applied"
        orientation = expected.exif_orientation
        assert found["note"] == ("" if orientation == 1 else f"EXIF orientation {orientation} {applied}"), name
        shown = read_image(base64.b64decode(found["shown"]))
        assert shown.size == expected.size
        assert np.abs(cv2.blur(shown.pixels, (9, 9)).astype(float) - cv2.blur(expected.pixels, (9, 9))).mean() < 8, name


def bad_files() -> dict[str, bytes]:
    """Files that the page refuses, by a part of the sentence."""
    files = dict(some_files())
    webp, gif, bmp = (files[name] for name in ("lossless WebP", "GIF", "BMP"))
    jpeg = encoded_as(
        PILImage.fromarray(np.random.default_rng(9).integers(0, 256, (70, 90, 3), dtype=np.uint8)), "JPEG"
    )
    samples = np.random.default_rng(9).integers(0, 256, (40, 40, 4))
    whole = png(samples, 6, 8)
    opaque = encoded_as(PILImage.fromarray(samples[:, :, :3].astype(np.uint8)), "PNG")
    middle = len(whole) // 2
    end = b"\xff\xd9"
    return {
        "an empty file; get the file again": b"",
        "not an image: this page reads JPEG, PNG, GIF, WebP, BMP": b"fox, 0.93\n" * 50,
        "a TIFF: this page reads": encoded_as(PILImage.new("RGB", (8, 8)), "TIFF"),
        "an image in the form PPM: this page reads": encoded_as(PILImage.new("RGB", (8, 8)), "PPM"),
        "an AVIF or HEIC image: this page reads": b"\0\0\0\x20ftypheic\0\0\0\0mif1heic" + bytes(50),
        "an SVG drawing: this page reads": b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        "a JPEG that ends": jpeg[:100],
        "a truncated JPEG, without an end marker": jpeg[: len(jpeg) // 2],
        "a JPEG that ends before its image data": jpeg[:2] + end,
        "a JPEG whose data end before the image is complete; get the file again": jpeg[:-900] + end,
        "a JPEG with more than 100 scans": jpeg[:-2] + b"\xff\xda" * 101 + end,
        "a PNG that ends": whole[: len(whole) // 2],
        "a PNG with damaged image data": whole[:middle] + b"????" + whole[middle + 4 :],
        "a PNG whose data are not those of an image of its size": whole.replace(b"\0\x28\x08", b"\0\x27\x08", 1),
        "a PNG with a damaged header": whole[:24] + b"\x07" + whole[25:],
        "the browser cannot decode a PNG of 40 × 40: the file is damaged": opaque[:middle]
        + b"????"
        + opaque[middle + 4 :],
        "a GIF that ends": gif[:40],
        "the browser cannot decode a GIF of 53 × 38: the file is damaged": gif[: len(gif) // 2],
        "the browser cannot decode a WebP of 53 × 38: the file is damaged": webp[: len(webp) // 2],
        "the browser cannot decode a BMP of 53 × 38: the file is damaged": bmp[: len(bmp) // 2],
        "a BMP that ends": bmp[:16],
    }


def large_files() -> list[bytes]:
    """Small files that say that they have 20000 × 16000 pixels."""
    jpeg = encoded_as(PILImage.new("RGB", (8, 8)), "JPEG")
    frame = jpeg.index(b"\xff\xc0") + 5
    gif = encoded_as(PILImage.new("L", (8, 8)), "GIF")
    bmp = encoded_as(PILImage.new("RGB", (8, 8)), "BMP")
    sides = struct.pack("<II", 20000, 16000)
    vp8x = b"VP8X" + struct.pack("<I", 10) + bytes(4) + struct.pack("<IH", 19999 | (15999 & 0xFF) << 24, 15999 >> 8)
    return [
        png(np.zeros((1, 1, 3), int), 2, 8).replace(struct.pack(">II", 1, 1), struct.pack(">II", 20000, 16000), 1),
        jpeg[:frame] + struct.pack(">HH", 16000, 20000) + jpeg[frame + 4 :],
        gif[:6] + struct.pack("<HH", 20000, 16000) + gif[10:],
        b"RIFF" + struct.pack("<I", 4 + len(vp8x)) + b"WEBP" + vp8x,
        bmp[:18] + sides + bmp[26:],
    ]


def test_what_cannot_be_decoded_is_a_sentence(page):
    files = bad_files()
    errors = [found.get("error", "no error") for found in decoded(page, list(files.values()))]
    wrong = [(sentence, error) for sentence, error in zip(files, errors, strict=True) if not error.startswith(sentence)]
    assert wrong == []
    for found in decoded(page, large_files()):
        assert found["error"] == "the image has 320 million pixels, and the page takes up to 50: make it smaller"
    data = encoded_as(PILImage.new("RGB", (30, 20)), "PNG")
    for limits, fits in [({"pixels": 600}, True), ({"pixels": 599}, False), ({"bytes": len(data) - 1}, False)]:
        (found,) = decoded(page, [data], **limits)
        assert ("error" not in found) == fits


def test_memory_refused_is_a_sentence(page):
    # What a browser without memory does.
    refused = page.evaluate(
        """async ([file, recipe]) => {
            const { getContext } = OffscreenCanvas.prototype;
            OffscreenCanvas.prototype.getContext = () => null;
            try {
                return await decodeImage(new Blob([decodeBytes(file)]), recipe).catch((error) => error.message);
            } finally {
                OffscreenCanvas.prototype.getContext = getContext;
            }
        }""",
        [
            encoded(np.frombuffer(encoded_as(PILImage.new("RGB", (30, 20)), "JPEG"), np.uint8)),
            {"exif": "apply", "limits": {"pixels": LARGEST, "bytes": LARGEST_FILE}},
        ],
    )
    assert refused == "the browser has no memory for an image of 30 × 20: make it smaller, or close other tabs"


def model(size: tuple[int, int] = (227, 227), channels: int = 3, **preprocessing) -> Model:
    """Make a net for inputs of a size, without weights."""
    text = samples.NET.replace("dim: 3 dim: 227 dim: 227", f"dim: {channels} dim: {size[0]} dim: {size[1]}")
    defaults = {"mean": Mean(tuple(range(100, 100 + channels))), "channels": channels}
    net = net_from_message(prototxt.parse(text).message)
    return Model("blobs", net, Preprocessing(**(defaults | preprocessing)), samples.LABELS)


RNG = np.random.default_rng(10)
INPUTS = {
    **{name: (row, model()) for name, row in PROTOCOLS.items() if row.mean != "image"},
    "ten crops, other sides, scale": (PROTOCOLS["paper"].with_choices(view="ten"), model((32, 49), input_scale=0.017)),
    "center crop, std": (PROTOCOLS["paper"], model((64, 48), std=(58.4, 57.1, 57.4))),
    "grey, one mean": (PROTOCOLS["paper"], model((60, 60), 1)),
    **{
        f"{name}, mean image": (PROTOCOLS[name], model(override=RNG.normal(120, 9, (3, 256, 256)).astype(np.float32)))
        for name in ("matlab_demo", "released", "paper")
    },
    "mean image of another size": (
        PROTOCOLS["released"].with_choices(view="full"),
        model((40, 56), override=RNG.normal(120, 9, (3, 256, 256)).astype(np.float32)),
    ),
    "grey mean image": (
        PROTOCOLS["released"],
        model((64, 64), 1, override=RNG.normal(120, 9, (1, 73, 73)).astype(np.float32)),
    ),
}


@pytest.mark.parametrize("name", INPUTS)
def test_input_is_pythons(page, name):
    row, made = INPUTS[name]
    row = row.for_view("full")
    recipe = json.loads(json.dumps(input_record(made, row)))
    y, x = np.mgrid[:300, :210]
    pixels = np.stack([x % 256, (x + y) % 256, (x * y // 50) % 256], axis=2).astype(np.uint8)
    view = view_of(row.view, made.input_size)
    scale = made.preprocessing.scale(row.input_scale)
    values = pixels if made.channels == 3 else cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)[:, :, np.newaxis]
    if row.resizer.startswith("pillow_bi"):
        values = resized(values, *view.canvas, row.resizer)
    expected = net_input(values, view, made.preprocessing.mean_values(row.mean), row.resizer, scale)
    found = input_of(page, pixels, recipe)
    assert found.shape == expected.shape
    if row.resizer == "opencv_cubic":
        assert np.abs(found - expected).max() <= 1.001 * scale.max()
        assert np.mean(found != expected) <= 0.02
    else:
        exact = row.resizer not in ("matlab_bilinear", "caffe_bilinear")
        assert np.abs(found - expected).max() <= (0 if exact else 5e-5 * scale.max())


@pytest.mark.parametrize("view", ["center", "full", "ten"])
def test_record_is_pythons(page, view):
    image = samples.image(3, 133, 201)
    with samples.cam("paper", view) as cam:
        every = cam(image, classes=list(range(8)))
        expected = image_record(Entry("a.jpg", Image(image.pixels, "a.jpg", 6), {"": cam(image, top=3)}), "blob:x")
        _, inputs = cam.prepare([image])[0]
        outputs = cam.engine.forward({"data": inputs})
        run = output_record(cam.model, cam.protocol, "onnxruntime")
    found = page.evaluate(
        """([image, run, classes, scores, maps, [crops, count, height, width]]) => {
            const all = decodeFloats(maps);
            const means = meanScores(decodeFloats(scores), crops);
            const size = height * width;
            const mapsOf = (index) => {
                const parts = Array.from({ length: crops }, (_, crop) => (crop * count + index) * size);
                const values = new Float32Array(crops * size);
                parts.forEach((start, crop) => values.set(all.subarray(start, start + size), crop * size));
                return { shape: [crops, height, width], values };
            };
            const record = imageRecord(image, { scores: means, mapsOf }, run, classes, bestClasses(means, 3));
            const [first] = record.runs;
            const placed = ({ maps }) => placeOnImage(decodeMaps(maps), first.placement, image.height, image.width);
            const boxes = first.top.map((item) => paperBox(placed(item), first.threshold));
            for (const item of first.top) item.maps.values = encode(item.maps.values);
            return [record, boxes];
        }""",
        [
            {"name": "a.jpg", "src": "blob:x", "width": 201, "height": 133, "note": expected["note"]},
            json.loads(json.dumps(run)),
            classes_record(cam.model.labels),
            encoded(outputs["prob"]),
            encoded(every.feature_maps),
            every.feature_maps.shape,
        ],
    )
    record, boxes = found
    expected = json.loads(json.dumps(expected))
    tops = record["runs"][0].pop("top"), expected["runs"][0].pop("top")
    assert record == expected
    for number, (item, wanted) in enumerate(zip(*tops, strict=True)):
        assert item.pop("score") == pytest.approx(wanted.pop("score"), abs=1e-7)
        assert item.pop("box") is None
        assert boxes[number] == wanted.pop("box")
        assert item == wanted


def test_best_classes_are_in_pythons_order(page):
    assert page.evaluate("bestClasses(new Float32Array([0.1, 0.3, 0.3, 0, 0.3]), 4)") == [4, 2, 1, 0]
    with pytest.raises(Exception, match="the net computed scores that are not finite"):
        page.evaluate("meanScores(new Float32Array([0.5, NaN]), 1)")


MEAN = np.zeros((3, 9, 9), np.float32)
REFUSED = {
    "takes 4 channels, but a page makes one": (PROTOCOLS["paper"], model(channels=4)),
    "class activation maps only, and no maps by Grad-CAM": (PROTOCOLS["paper"].with_choices(method="gradcam"), model()),
    "class activation maps only, and no maps by Score-CAM": (
        PROTOCOLS["paper"].with_choices(method="scorecam"),
        model(),
    ),
    "a page finds boxes by the rule 'paper' only, not 'released'": (
        PROTOCOLS["paper"].with_choices(box_rule="released"),
        model(),
    ),
    "does not fit the view 'center'": (PROTOCOLS["released"].with_choices(view="center"), model(override=MEAN)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_a_page_cannot_do_is_refused(message):
    row, made = REFUSED[message]
    with pytest.raises(UsageError, match=message) as raised:
        made_records(made, row)
    assert "\n" not in str(raised.value)


def made_records(made: Model, row: Protocol) -> tuple[dict, dict]:
    return input_record(made, row), output_record(made, row, "onnxruntime-web")
