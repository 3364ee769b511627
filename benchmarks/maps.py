"""How long MATLAB's resize, the ten-crop merge and the released boxes take: `python benchmarks/maps.py`.

Everything runs on one core. Times are the best of many, in milliseconds.
"""

# ruff: noqa: E402

from __future__ import annotations

import os

for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import time
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image

from pycam.images.matlab import imresize
from pycam.maps.boxes import grey_heatmap, paper_box, released_boxes
from pycam.maps.cam import merge_column_maps

LIMIT_RESIZE = 3.0
LIMIT_IMAGE = 60.0


def best(work: Callable[[], object], repeats: int = 100) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) * 1000


def blobs(random: np.random.Generator, count: int, side: int) -> np.ndarray:
    """Give smooth maps with two hills each, as nets make them."""
    y, x = np.mgrid[:side, :side] / side
    hills = random.uniform(0.2, 0.8, (count, 2, 2, 1, 1))
    heights = random.uniform(0.5, 1.0, (count, 2, 1, 1))
    distance = (y - hills[:, :, 0]) ** 2 + (x - hills[:, :, 1]) ** 2
    return (heights * np.exp(-distance / 0.03)).sum(axis=1) + random.normal(0, 0.05, (count, side, side))


def main() -> None:
    cv2.setNumThreads(1)
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (375, 500, 3), np.uint8)
    pil = Image.fromarray(image)
    column_maps = blobs(random, 50, 14).reshape(10, 5, 14, 14).astype(np.float32)
    merged = merge_column_maps(column_maps, 224)
    on_image = imresize(merged.transpose(1, 2, 0), (375, 500)).transpose(2, 0, 1)
    heatmaps = [grey_heatmap(map) for map in on_image]

    pillow = best(lambda: pil.resize((256, 256), Image.Resampling.BICUBIC))
    ours = best(lambda: imresize(image, (256, 256)))
    merge = best(lambda: merge_column_maps(column_maps, 224))
    boxes = best(lambda: [released_boxes(heatmap) for heatmap in heatmaps])
    enlarge = best(lambda: imresize(merged.transpose(1, 2, 0), (375, 500)))
    jpeg = best(lambda: [grey_heatmap(map) for map in on_image])
    paper = best(lambda: [paper_box(map) for map in on_image])

    print(f"imresize, 500×375×3, 8-bit, to 256×256    {ours:6.2f} ms")
    print(f"Pillow's bicubic, the same                {pillow:6.2f} ms")
    print(f"  ratio {ours / pillow:.2f}, limit {LIMIT_RESIZE}")
    print(f"ten maps of 14×14 merged, five classes    {merge:6.2f} ms")
    print(f"released boxes of five maps of 500×375    {boxes:6.2f} ms")
    print(f"  together {merge + boxes:.1f} ms an image, limit {LIMIT_IMAGE:.0f}")
    print(f"five merged maps resized to 500×375       {enlarge:6.2f} ms")
    print(f"five heat maps through JPEG               {jpeg:6.2f} ms")
    print(f"paper boxes of five maps of 500×375       {paper:6.2f} ms")


if __name__ == "__main__":
    main()
