"""How fast `pycam evaluate` is beside its engine alone, and how flat its memory: `python benchmarks/evaluate.py`.

Rate: pictures a second of a run, from its first batch that is kept to its last, beside those of the engine alone with
batches of the same size, in interleaved rounds; medians. Memory: what the process holds after 300 pictures, and at the
end of a longer run. Weights are random with a fixed seed: they do not change how long a net takes.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from road import random_weights
from skimage import data

from pycam import zoo
from pycam.evaluation.plan import Plan, Recipe, Sources
from pycam.evaluation.run import evaluate
from pycam.formats import caffemodel
from pycam.ilsvrc.synsets import synsets
from pycam.net import read_net
from pycam.predict import load
from pycam.protocols import protocol

LEAST_RATIO = 0.85
MOST_GROWTH = 0.05
SETTLED = 300


def write_set(folder: Path, count: int) -> Sources:
    """Write pictures of 500×375, and an annotation for each."""
    photograph = cv2.resize(data.chelsea()[..., ::-1], (500, 375), interpolation=cv2.INTER_CUBIC)
    pictures, annotations = folder / "pictures", folder / "annotations"
    pictures.mkdir(parents=True)
    annotations.mkdir()
    for number in range(count):
        name = f"{number:06}"
        cv2.imwrite(str(pictures / f"{name}.jpg"), np.roll(photograph, 7 * number, axis=1))
        (annotations / f"{name}.xml").write_text(
            f"<annotation><size><width>500</width><height>375</height></size><object><name>{synsets().wnids[281]}</name>"
            "<bndbox><xmin>50</xmin><ymin>50</ymin><xmax>400</xmax><ymax>300</ymax></bndbox></object></annotation>"
        )
    return Sources(str(pictures), str(annotations))


def write_weights(model: str, folder: Path) -> str:
    net = read_net(zoo.prototxt_path(zoo.card(model)))
    path = folder / f"{model}.caffemodel"
    caffemodel.write(path, net.message, random_weights(net))
    return str(path)


def rate_of_run(plan: Plan, folder: Path, workers: int) -> float:
    """Pictures a second between the first batch and the last: without what begins and ends a run."""
    moments: list[tuple[float, int]] = []
    evaluate(plan, folder, workers=workers, progress=lambda done: moments.append((time.perf_counter(), done)))
    (start, before), (end, after) = moments[1], moments[-1]
    return (after - before) / (end - start)


def rate_of_engine(recipe: Recipe, batch: int, repeats: int) -> float:
    with load(recipe.model, weights=recipe.weights, engine=recipe.engine) as cam:
        (name,) = cam.net.inputs
        shape = (batch, *cam.net.shapes[name][1:])
        x = {name: np.random.default_rng(0).uniform(-120, 140, shape).astype(np.float32)}
        times = []
        for _ in range(repeats + 1):
            start = time.perf_counter()
            cam.engine.forward(x)
            times.append(time.perf_counter() - start)
    return batch / statistics.median(times[1:])


def measure_rate(folder: Path, model: str, engine: str, batch: int, count: int, rounds: int) -> None:
    cores = os.cpu_count() or 1
    sources = write_set(folder / "rate", count)
    weights = write_weights(model, folder)
    alone: list[float] = []
    runs: dict[int, list[float]] = {1: [], cores: []}
    for number in range(rounds):
        for workers, rates in runs.items():
            recipe = Recipe(protocol("paper"), model, engine, weights=weights, threads=max(1, cores // workers))
            alone.append(rate_of_engine(recipe, batch, 12))
            rates.append(rate_of_run(Plan.read(recipe, sources, batch), folder / f"run-{number}-{workers}", workers))
    best = statistics.median(alone)
    print(f"{model}, {engine}, batches of {batch}: the engine alone {best:.1f} pictures a second")
    for workers, rates in runs.items():
        rate = statistics.median(rates)
        print(f"  evaluate, {workers} workers: {rate:.1f}, ratio {rate / best:.2f}, limit {LEAST_RATIO}")


def resident() -> float:
    """Give what this process holds in memory, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure_memory(folder: Path, model: str, engine: str, batch: int, count: int) -> None:
    sources = write_set(folder / "memory", SETTLED)
    names = sorted(Path(sources.pictures).iterdir())
    for number in range(SETTLED, count):
        name = f"{number:06}"
        (Path(sources.pictures) / f"{name}.jpg").symlink_to(names[number % SETTLED])
        annotation = Path(sources.ground_truth) / f"{names[number % SETTLED].stem}.xml"
        (Path(sources.ground_truth) / f"{name}.xml").symlink_to(annotation)
    recipe = Recipe(protocol("paper"), model, engine, weights=write_weights(model, folder))
    held: dict[int, float] = {}

    def note(done: int) -> None:
        held[done] = resident()

    evaluate(Plan.read(recipe, sources, batch), folder / "long", progress=note)
    settled = next(memory for done, memory in held.items() if done >= SETTLED)
    growth = max(memory for done, memory in held.items() if done >= SETTLED) / settled - 1
    print(f"{model}, {engine}: {settled:.0f} MB after {SETTLED} pictures, at most {growth:+.1%} until {count}")
    print(f"  limit {MOST_GROWTH:+.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="googlenet-cam")
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--pictures", type=int, default=240, help="for the rate")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--long", type=int, default=3000, help="pictures, for the memory")
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        measure_rate(folder, options.model, options.engine, options.batch, options.pictures, options.rounds)
        measure_memory(folder, "squeezenet-v1.0", options.engine, options.batch, options.long)


if __name__ == "__main__":
    main()
