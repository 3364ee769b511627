"""Measure a page of `pycam page` in Chromium: until its net is ready, and from a dropped image to its map.

`python benchmarks/page.py [MODEL]`, by default the bundled model.

Needs playwright, Chromium at /usr/bin/chromium or at the path in PYCAM_CHROMIUM, and ONNX Runtime Web, which npm
fetches.
"""

from __future__ import annotations

import base64
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import BrowserType, sync_playwright

import pycam
from pycam.page.build import write_page
from pycam.page.runtime import find_runtime

MODEL = "squeezenet-cam-caltech101"
LIMIT = 3.0
FLAGS = ["--headless", "--no-sandbox", "--disable-background-networking"]
SOFTWARE_WEBGPU = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader", "--enable-features=Vulkan"]
"""WebGPU without a graphics processor: it shows that the net runs so, not how fast."""
AS_HARDWARE = """() => {
    const info = globalThis.GPUAdapterInfo?.prototype;
    if (info) Object.defineProperty(info, "isFallbackAdapter", { value: false });
}"""
CHROMIUM = os.environ.get("PYCAM_CHROMIUM", "/usr/bin/chromium")
SIZES = ((480, 640), (3000, 4000))
DROP = """(name) => new Promise((resolve) => {
    const start = performance.now();
    const strip = document.querySelector(".strip");
    const drawn = () => requestAnimationFrame(() => setTimeout(() => resolve((performance.now() - start) / 1000)));
    new MutationObserver((_, observer) => (observer.disconnect(), drawn())).observe(strip, { childList: true });
    desk.take([new File([image], name)]);
})"""
HOLD = """(base64) => {
    globalThis.image = Uint8Array.from(atob(base64), (each) => each.charCodeAt(0));
}"""


def photograph(height: int, width: int) -> str:
    """Return a JPEG as base64."""
    spots = np.random.default_rng(0).integers(0, 256, (12, 16, 3), np.uint8)
    pixels = cv2.resize(spots, (width, height), interpolation=cv2.INTER_CUBIC)
    return base64.b64encode(cv2.imencode(".jpg", pixels)[1].tobytes()).decode()


def main(model: str = MODEL) -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        place = Path(folder) / "page.html"
        with pycam.load(model) as cam:
            write_page(place, cam, find_runtime())
        print(f"{model}: {place.stat().st_size / 1e6:.1f} MB in one file")
        measure(playwright.chromium, place, ["--disable-gpu"], SIZES, repeats=5)
        measure(playwright.chromium, place, SOFTWARE_WEBGPU, SIZES[:1], repeats=2)


def measure(
    chromium: BrowserType, place: Path, flags: Sequence[str], sizes: Sequence[tuple[int, int]], repeats: int
) -> None:
    browser = chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, *flags])
    page = browser.new_page()
    page.add_init_script(f"({AS_HARDWARE})()")
    start = time.perf_counter()
    page.goto(place.as_uri())
    engine = page.locator(".engine:not(:empty)")
    engine.wait_for(timeout=120_000)
    print(f"  ready {time.perf_counter() - start:.2f} s after the file is opened. {engine.inner_text()}")
    for height, width in sizes:
        page.evaluate(HOLD, photograph(height, width))
        times = [page.evaluate(DROP, f"{number}.jpg") for number in range(repeats)]
        then = np.median(times[1:])
        print(
            f"  {width} × {height}: {times[0]:.2f} s from the drop to the map, then {then:.2f} s; limit {LIMIT:.0f} s"
        )
    browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
