"""How the time of each command grows with the number of images: `python benchmarks/scaling.py [--counts 1000 10000]`.

The exponent of a command is log(t2 / t1) / log(n2 / n1): 1 is linear, 2 is quadratic. What a command needs to start
lowers it. Times are those of the processor, for other programs do not change them much. The net is tiny and so are the
images, which all have the same name, in different folders, where a command allows it.
"""

from __future__ import annotations

import argparse
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from pycam.formats import caffemodel, prototxt
from pycam.ilsvrc.synsets import synsets

MOST = 1.1
"""The largest exponent that counts as linear: the second run also fills caches."""

NET = """
name: "tiny"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 32 dim: 32 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 8 kernel_size: 5 stride: 4 } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 1000 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
WIDTH, HEIGHT = 40, 36
XML = (
    "<annotation><size><width>{width}</width><height>{height}</height></size><object><name>{wnid}</name><bndbox>"
    "<xmin>5</xmin><ymin>5</ymin><xmax>30</xmax><ymax>30</ymax></bndbox></object></annotation>"
)


def write_net(folder: Path) -> list[str]:
    rng = np.random.default_rng(0)
    net, weights = folder / "tiny.prototxt", folder / "tiny.caffemodel"
    net.write_text(NET)
    params = {
        "conv": (rng.normal(0, 0.01, (8, 3, 5, 5)).astype(np.float32), np.full(8, 0.1, np.float32)),
        "fc": (rng.normal(size=(1000, 8)).astype(np.float32), np.zeros(1000, np.float32)),
    }
    caffemodel.write(weights, prototxt.parse(NET).message, params)
    return ["--prototxt", str(net), "--weights", str(weights), "--mean", "104,117,123", "--threads", "1"]


def write_images(folder: Path, count: int) -> list[str]:
    """Write images of one name in folders of their own, and the same under numbers with an annotation each."""
    image = cv2.imencode(".png", np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))[1].tobytes()
    annotation = XML.format(width=WIDTH, height=HEIGHT, wnid=synsets().wnids[281])
    same = []
    for place in ("images", "xml", "maps"):
        (folder / place).mkdir(parents=True)
    for number in range(count):
        own = folder / "same" / str(number)
        own.mkdir(parents=True)
        same.append(f"same/{number}/image.png")
        (own / "image.png").write_bytes(image)
        (folder / "images" / f"{number:06}.png").write_bytes(image)
        (folder / "xml" / f"{number:06}.xml").write_text(annotation)
        np.save(folder / "maps" / f"{number:06}.npy", np.eye(8, dtype=np.float32))
    return same


def commands(net: list[str], same: list[str]) -> dict[str, list[str]]:
    truth = ["--ground-truth", "xml"]
    evaluate = ["evaluate", "--images", "images", *truth, *net, "--quiet"]
    return {
        "heatmap": ["heatmap", *same, *net, "--quiet", "--out", "heatmaps"],
        "activations": ["activations", *same, *net[:-2], "--threads", "1", "--layers", "conv", "--out", "activations"],
        "evaluate": [*evaluate, "--out", "run"],
        "evaluate, released": [*evaluate, "--protocol", "released", "--out", "released"],
        "evaluate, resumed": [*evaluate, "--out", "run"],
        "report html, run": ["report", "html", "run", "--out", "page", "--quiet"],
        "report html, images": ["report", "html", *same, *net, "--out", "pages", "--quiet"],
        "score --predictions": ["score", *truth, "--predictions", "run/predictions.txt"],
        "score --maps": ["score", *truth, "--maps", "maps"],
    }


def seconds(arguments: list[str], folder: Path) -> float:
    """Run a command, and return its processor time."""
    before = os.times()
    done = subprocess.run(
        [sys.executable, "-m", "pycam", *arguments], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    if done.returncode:
        sys.exit(f"pycam {' '.join(arguments)[:200]}: {done.stderr.decode()}")
    after = os.times()
    return sum(after[2:4]) - sum(before[2:4])  # user's and system's, of ended children


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", nargs=2, type=int, default=[1_000, 10_000])
    options = parser.parse_args()
    few, many = options.counts
    print(f"{os.cpu_count()} cores")
    print(f"| command | {few:,} images | {many:,} images | exponent |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        times: dict[str, list[float]] = {}
        for count in options.counts:
            folder = Path(temporary) / str(count)
            same = write_images(folder, count)
            for name, arguments in commands(write_net(folder), same).items():
                times.setdefault(name, []).append(seconds(arguments, folder))
    steep = []
    for name, (first, second) in times.items():
        exponent = math.log(second / first) / math.log(many / few)
        print(f"| {name} | {first:.1f} s | {second:.1f} s | {exponent:.2f} |")
        if exponent > MOST:
            steep.append(name)
    if steep:
        sys.exit(f"more than linear (exponent above {MOST}): {', '.join(steep)}")


if __name__ == "__main__":
    main()
