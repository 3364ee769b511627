"""Reading a caffemodel of 70 MB and touching every value, against reading its bytes and touching as many.

Prints the median times and their ratio; ends with 1 when the ratio is above 1.3.

    python benchmarks/reading.py
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pycam.formats import caffemodel, prototxt

REPEATS = 31
MOST = 1.3
SHAPES = {
    "conv1": (64, 3, 7, 7),
    "conv2": (512, 256, 3, 3),
    "fc6": (2048, 6400),
    "fc7": (1024, 2048),
    "fc8": (1000, 1024),
}


def write_files(model: Path, plain: Path) -> None:
    """Write a caffemodel, and its values alone."""
    random = np.random.default_rng(0)
    text = "\n".join(f'layer {{ name: "{name}" type: "InnerProduct" }}' for name in SHAPES)
    params = {
        name: [random.standard_normal(shape, np.float32), random.standard_normal(shape[0], np.float32)]
        for name, shape in SHAPES.items()
    }
    caffemodel.write(model, prototxt.parse(text).message, params)
    plain.write_bytes(b"".join(blob.tobytes() for blobs in params.values() for blob in blobs))


def read_model(path: Path) -> float:
    layers = caffemodel.read(path).layers
    return sum(float(blob.sum()) for blobs in layers.values() for blob in blobs)


def read_bytes(path: Path) -> float:
    with open(path, "rb") as file:
        data = file.read()
    return float(np.frombuffer(data, np.float32).sum())


def seconds(action: Callable[[Path], float], path: Path) -> float:
    start = time.perf_counter()
    action(path)
    return time.perf_counter() - start


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        path, plain_path = Path(folder) / "model.caffemodel", Path(folder) / "values"
        write_files(path, plain_path)
        pairs = [(seconds(read_model, path), seconds(read_bytes, plain_path)) for _ in range(REPEATS)]
        size = path.stat().st_size
    model, plain = (statistics.median(times) for times in zip(*pairs, strict=True))
    ratio = model / plain
    print(f"{size / 1e6:.1f} MB: caffemodel.read {model * 1e3:.1f} ms, open().read() {plain * 1e3:.1f} ms")
    print(f"ratio {ratio:.2f} (at most {MOST})")
    return int(ratio > MOST)


if __name__ == "__main__":
    sys.exit(main())
