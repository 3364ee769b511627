"""Measure how fast a report of 2,000 images opens and scrolls in Chromium, and how fast a threshold re-scores 300.

`python benchmarks/viewer.py`.

Needs playwright, and Chromium at /usr/bin/chromium or at the path in PYCAM_CHROMIUM.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import Browser, sync_playwright

from pycam.images.read import Image
from pycam.images.views import view_of
from pycam.maps.placement import Placement
from pycam.prediction import Prediction
from pycam.protocols import protocol
from pycam.report.html import Entry, Heading, write_html
from pycam.report.outcomes import judge
from pycam.report.rescoring import PERCENTS, rescore
from pycam.report.viewer_data import Truth
from pycam.zoo.labels import Labels

IMAGES = 2000
LIMIT = 3.0
RESCORED = 300
RESCORE_LIMIT = 100
RESCORE = """() => {
    const times = report.thresholds.map((_, step) => {
        const start = performance.now();
        rescore((37 * step) % report.thresholds.length);
        document.body.getBoundingClientRect();
        return performance.now() - start;
    });
    return times.sort((a, b) => a - b);
}"""
SCORES = np.array([0.9 / (rank + 1) for rank in range(5)], np.float32)
LABELS = Labels(tuple(f"class {rank}" for rank in range(5)), tuple(f"n{rank:08}" for rank in range(5)))
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SCROLL = """async () => {
    const frames = [];
    let last = performance.now();
    for (let step = 0; step < 200; step++) {
        window.scrollBy(0, 100);
        await new Promise(requestAnimationFrame);
        frames.push(performance.now() - last);
        last = performance.now();
    }
    return frames.sort((a, b) => a - b);
}"""


def entries(count: int, live: bool = False) -> Iterator[Entry]:
    random = np.random.default_rng(0)
    placement = Placement(view_of("center", (224, 224)), "opencv_bilinear", "single", "in_place")
    grounds = [
        cv2.resize(random.integers(0, 256, (9, 12, 3), np.uint8), (500, 375), interpolation=cv2.INTER_CUBIC)
        for _ in range(20)
    ]
    for number in range(count):
        maps = cv2.GaussianBlur(random.normal(size=(14, 14, 5)).astype(np.float32), (0, 0), 2).transpose(2, 0, 1)
        prediction = Prediction(
            np.arange(5), SCORES, maps[None], (500, 375), placement, protocol("default"), "model", "engine", LABELS
        )
        truth = Truth(0, "class 0", [(100, 40, 460, 300)])
        outcome = judge(0, 0.9, prediction.top[0].box, 0, truth.boxes)
        rescored = [rescore(prediction, truth, False, PERCENTS)] if live else []
        yield Entry(f"{number:04}.jpg", Image(grounds[number % 20]), {"": prediction}, truth, [outcome], rescored)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        places = {"one file": Path(folder) / "report.html", "a folder": Path(folder) / "report"}
        chromium = playwright.chromium.launch(
            executable_path=os.environ.get("PYCAM_CHROMIUM", "/usr/bin/chromium"), args=FLAGS
        )
        for name, place in places.items():
            write_html(place, entries(IMAGES), Heading("Many images", {"": []}))
            address = place if place.suffix else place / "index.html"
            page = chromium.new_page(viewport={"width": 1280, "height": 900})
            start = time.perf_counter()
            page.goto(address.as_uri())
            page.wait_for_selector(".card img")
            page.evaluate("document.querySelector('.card img').decode()")
            opened = time.perf_counter() - start
            frames = page.evaluate(SCROLL)
            size = sum(file.stat().st_size for file in [place, *place.rglob("*")] if file.is_file()) / 1e6
            print(f"{IMAGES} images in {name} ({size:.0f} MB): opened in {opened:.2f} s, limit {LIMIT:.0f} s")
            print(f"  scrolling: {frames[100]:.0f} ms per frame; 5 % of the frames took more than {frames[190]:.0f} ms")
            page.close()
        measure_rescoring(chromium, Path(folder) / "live.html")


def measure_rescoring(chromium: Browser, place: Path) -> None:
    """Measure a change of the threshold, to the finished layout, with every card drawn."""
    start = time.perf_counter()
    write_html(
        place, entries(RESCORED, live=True), Heading("Images of a run", {"": []}, threshold=0.2, thresholds=PERCENTS)
    )
    written = time.perf_counter() - start
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    page.goto(place.as_uri())
    for card in page.locator(".card").all():
        card.scroll_into_view_if_needed()
    times = page.evaluate(RESCORE)
    print(f"{RESCORED} images ({place.stat().st_size / 1e6:.1f} MB, written in {written:.1f} s), another threshold:")
    middle, longest = times[len(times) // 2], times[-1]
    print(f"  {middle:.0f} ms, the slowest of {len(times)} {longest:.0f} ms; limit {RESCORE_LIMIT} ms")


if __name__ == "__main__":
    main()
