"""What the page makes of an image and of the outputs of the net, in a real Chromium, and what Python makes of them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import CHROMIUM

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
    *(BROWSER / f"{name}.js" for name in ("resizers", "pixels", "record")),
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
