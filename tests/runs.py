"""Runs that take little time: a net with ILSVRC's 1000 classes, small images, and their ground truth."""

from __future__ import annotations

import json
import os
import re
import resource
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from pycam.engines import Options
from pycam.evaluation import evaluator
from pycam.evaluation.plan import Identity, Plan, Recipe, Sources, find_images
from pycam.evaluation.record import Batch, Result
from pycam.formats import caffemodel, prototxt
from pycam.ilsvrc.ground_truth import GroundTruth
from pycam.ilsvrc.synsets import synsets
from pycam.protocols import Protocol, protocol

NET = """
name: "tiny"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 10 dim: 3 dim: 32 dim: 32 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 8 kernel_size: 5 stride: 4 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 1000 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
TRAINING_NET = """
layer {{ name: "data" type: "ImageData" top: "data" top: "label"
  image_data_param {{ source: "{0}/list.txt" root_folder: "{0}/train/" batch_size: 2 }} }}
layer {{ name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param {{ num_output: 2 }} }}
layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }}
"""
TRAINING = 'base_lr: 0.01 lr_policy: "fixed" max_iter: 2 solver_mode: CPU snapshot_prefix: "out/tiny"'
WIDTH, HEIGHT = 60, 50
COUNT = 30
BATCH = 2

FILES = ("predictions.txt", "predictions.csv", "report.json", "report.md")
LOG = "PYCAM_TEST_LOG"
"""The environment variable with the path of the file in which processes log what they have computed."""

Model = tuple[Path, Path]
"""Prototxt and weights."""


def write_model(folder: Path, seed: int = 0, classes: int = 1000) -> Model:
    rng = np.random.default_rng(seed)
    net, weights = folder / "tiny.prototxt", folder / f"tiny{seed}.caffemodel"
    text = NET.replace("num_output: 1000", f"num_output: {classes}")
    net.write_text(text)
    params = {
        "conv": (rng.normal(0, 0.01, (8, 3, 5, 5)).astype(np.float32), np.full(8, 0.1, np.float32)),
        "fc": (rng.normal(size=(classes, 8)).astype(np.float32), np.zeros(classes, np.float32)),
    }
    caffemodel.write(weights, prototxt.parse(text).message, params)
    return net, weights


def write_images(folder: Path, count: int = COUNT) -> Path:
    rng = np.random.default_rng(1)
    for number in range(count):
        small = rng.integers(0, 256, (5, 6, 3), np.uint8)
        # OpenCV's own writer ends the process where a folder's name cannot be decoded.
        encoded = cv2.imencode(".png", cv2.resize(small, (WIDTH, HEIGHT)))[1]
        (folder / f"{number:03}.png").write_bytes(encoded.tobytes())
    return folder


def make_truth(names: list[str], seed: int = 0) -> GroundTruth:
    rng = np.random.default_rng(seed)
    corner = rng.integers(1, 20, (len(names), 2))
    boxes = np.hstack([corner, corner + rng.integers(5, 20, (len(names), 2))])
    classes = rng.integers(0, 1000, len(names))
    rows = np.arange(len(names))
    sizes = np.tile([WIDTH, HEIGHT], (len(names), 1))
    return GroundTruth(tuple(names), classes, boxes, classes.copy(), rows, sizes, rows % 7 == 3)


def make_plan(model: Model, images: Path, row: str | Protocol = "paper", batch: int = BATCH, **choices) -> Plan:
    """Plan a run whose ground truth is not in a file."""
    names = sorted(path.stem for path in images.iterdir())
    return Plan(make_recipe(model, row, **choices), make_truth(names), find_images(images, names), batch)


def make_recipe(model: Model, row: str | Protocol, **choices) -> Recipe:
    net, weights = model
    row = protocol(row) if isinstance(row, str) else row
    return Recipe(row, prototxt=str(net), weights=str(weights), options=Options(threads=1), **choices)


def write_sources(folder: Path, images: Path, right: dict[str, tuple[int, tuple[int, int, int, int]]]) -> Sources:
    """Write annotations from each image's name, class (a network index) and box."""
    for name, (index, (x0, y0, x1, y1)) in right.items():
        (folder / f"{name}.xml").write_text(
            f"<annotation><filename>{name}</filename>"
            f"<size><width>{WIDTH}</width><height>{HEIGHT}</height></size>"
            f"<object><name>{synsets().wnids[index]}</name><bndbox>"
            f"<xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object></annotation>"
        )
    return Sources(str(images), str(folder))


def write_training(folder: Path, solver: str) -> None:
    """Write four images with their list in a folder, a net of one layer, and a solver with these fields, too."""
    (folder / "train").mkdir()
    for number in range(4):
        cv2.imwrite(str(folder / "train" / f"{number}.png"), np.full((8, 8, 3), 60 * number, np.uint8))
    (folder / "list.txt").write_text("".join(f"{number}.png {number % 2}\n" for number in range(4)))
    (folder / "train.prototxt").write_text(TRAINING_NET.format(folder))
    (folder / "solver.prototxt").write_text(f'net: "{folder}/train.prototxt" {TRAINING} {solver}\n')


def assert_same(folder: Path, whole: Path) -> None:
    for name in FILES:
        assert without_timing(folder / name) == without_timing(whole / name), name


def without_timing(path: Path) -> bytes:
    """The content of a file of a run, without the lines that no two runs have in common."""
    return re.sub(rb',\n  "timing": (null|{[^}]*})', b"", path.read_bytes())


def log(batch: Batch) -> None:
    with open(os.environ[LOG], "a") as file:
        file.write("".join(f"{task.position}\n" for task in batch))


def logged_batch(recipe: Recipe, expected: Identity, batch: Batch) -> list[Result]:
    """Evaluate a batch in a worker, and log it."""
    found = evaluator.evaluate_batch(recipe, expected, batch)
    log(batch)
    return found


def starved_batch(recipe: Recipe, expected: Identity, batch: Batch) -> list[Result]:
    """Evaluate a batch in a worker; the first worker that reaches the fifth batch has no memory left for it."""
    starved = Path(os.environ[LOG]).with_name("starved")
    if batch[0].position >= 4 * BATCH and not starved.exists():
        starved.touch()
        hoard, limits = [], resource.getrlimit(resource.RLIMIT_AS)
        use_up_memory(hoard)
        try:
            return logged_batch(recipe, expected, batch)
        finally:
            # A batch that got through on scraps leaves a worker whose other threads go on.
            hoard.clear()
            resource.setrlimit(resource.RLIMIT_AS, limits)
    return logged_batch(recipe, expected, batch)


def use_up_memory(hoard: list[bytearray]) -> None:
    """Use all memory that this process may use, until the hoard is cleared."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held, resource.getrlimit(resource.RLIMIT_AS)[1]))
    with suppress(MemoryError):
        while True:
            hoard.append(bytearray(100_000))


def dead_batch(recipe: Recipe, expected: Identity, batch: Batch) -> list[Result]:
    """Die at any batch."""
    os._exit(1)


def errors(top1: float, top5: float) -> dict:
    figures = {f"top{k}": top1 if k < 3 else top5 for k in range(1, 6)}
    return {"classification_error": figures, "localization_error": figures, "gt_known_error": top5} | {
        "intervals": {
            "classification_error": {k: [value - 0.01, value + 0.01] for k, value in figures.items()},
            "localization_error": {k: [value - 0.02, value + 0.02] for k, value in figures.items()},
            "gt_known_error": [0, 1],
        }
    }


def made_report(model: str, method: str = "cam", submissions: bool = False, **others: object) -> dict:
    found = (
        {"submissions": {"bbox1": errors(0.4, 0.2), "bbox2": errors(0.4, 0.3), "bboxCombine": errors(0.4, 0.1)}}
        if submissions
        else errors(0.5, 0.3)
    )
    return {
        "model": model,
        "engine": "onnxruntime",
        "images": 300,
        "blacklisted": 4,
        "skipped": [],
        "notes": [],
        "whole_image_gt_known_error": 0.6,
        "center_gaussian_gt_known_error": None,
        "protocol": "released" if submissions else "paper",
        "overrides": {},
        "identity": {"weights": "0123456789abcdef", "method": method},
        **found,
        **others,
    }


def write_report(folder: Path, report: dict) -> Path:
    """Write a folder that looks like that of a finished run without a plan."""
    folder.mkdir(parents=True)
    (folder / "report.json").write_text(json.dumps(report))
    return folder
