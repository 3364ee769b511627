"""How fast `pycam evaluate` is beside its engine alone, and how flat its memory: `python benchmarks/evaluate.py`.

Rate: images a second of a run, from its first batch that is kept to its last, beside those of the engine alone with
batches of the same size, in interleaved rounds; medians. Memory: what the command and its workers hold after 300
images, and later in a longer run (`--soak 20000 --soak-only`). Weights are random with a fixed seed, unless given:
they do not change how long a net takes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from skimage import data

from pycam import zoo
from pycam.engines import Options
from pycam.evaluation.plan import Plan, Recipe, Sources
from pycam.evaluation.run import evaluate
from pycam.formats import caffemodel
from pycam.ilsvrc.synsets import synsets
from pycam.net import random_weights, read_net
from pycam.predict import load
from pycam.protocols import protocol

LEAST_RATIO = 0.85
MOST_GROWTH = 0.05
MARKS = (300, 1_000, 3_000, 5_000, 10_000, 20_000, 50_000)


def write_set(folder: Path, count: int) -> Sources:
    """Write images of 500×375, and an annotation for each."""
    photograph = cv2.resize(data.chelsea()[..., ::-1], (500, 375), interpolation=cv2.INTER_CUBIC)
    images, annotations = folder / "images", folder / "annotations"
    images.mkdir(parents=True)
    annotations.mkdir()
    for number in range(count):
        name = f"{number:06}"
        cv2.imwrite(str(images / f"{name}.jpg"), np.roll(photograph, 7 * number, axis=1))
        (annotations / f"{name}.xml").write_text(
            f"<annotation><size><width>500</width><height>375</height></size><object><name>{synsets().wnids[281]}</name>"
            "<bndbox><xmin>50</xmin><ymin>50</ymin><xmax>400</xmax><ymax>300</ymax></bndbox></object></annotation>"
        )
    return Sources(str(images), str(annotations))


def write_weights(model: str, folder: Path) -> str:
    net = read_net(zoo.prototxt_path(zoo.card(model)))
    path = folder / f"{model}.caffemodel"
    caffemodel.write(path, net.message, random_weights(net))
    return str(path)


def rate_of_run(plan: Plan, folder: Path, workers: int) -> float:
    """Images a second between the first batch and the last: without what begins and ends a run."""
    moments: list[tuple[float, int]] = []
    evaluate(plan, folder, workers=workers, progress=lambda done: moments.append((time.perf_counter(), done)))
    (start, before), (end, after) = moments[1], moments[-1]
    return (after - before) / (end - start)


def rate_of_engine(recipe: Recipe, batch: int, repeats: int) -> float:
    with load(recipe.model, weights=recipe.weights, engine=recipe.engine) as cam:
        (name,) = cam.model.net.inputs
        shape = (batch, *cam.model.net.shapes[name][1:])
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
            recipe = Recipe(
                protocol("paper"), model, engine, weights=weights, options=Options(threads=max(1, cores // workers))
            )
            alone.append(rate_of_engine(recipe, batch, 12))
            rates.append(rate_of_run(Plan.read(recipe, sources, batch), folder / f"run-{number}-{workers}", workers))
    best = statistics.median(alone)
    print(f"{model}, {engine}, batches of {batch}: the engine alone {best:.1f} images a second")
    for workers, rates in runs.items():
        rate = statistics.median(rates)
        print(f"  evaluate, {workers} workers: {rate:.1f}, ratio {rate / best:.2f}, limit {LEAST_RATIO}")


def resident(process: int) -> float:
    """Give what a process holds in memory, in MB."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def repeated(sources: Sources, folder: Path, count: int) -> Sources:
    """Make a larger set of a small one: its images again and again, as links, each with an annotation of its own."""
    images = sorted(Path(sources.images).iterdir())
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for number in range(count):
        image, name = images[number % len(images)], f"{number:06}"
        (folder / "images" / f"{name}{image.suffix}").symlink_to(image.absolute())
        annotation = (Path(sources.ground_truth) / f"{image.stem}.xml").read_text()
        (folder / "annotations" / f"{name}.xml").write_text(annotation.replace(image.stem, name))
    return Sources(str(folder / "images"), str(folder / "annotations"))


def measure_memory(folder: Path, recipe: Recipe, sources: Sources, batch: int, workers: int) -> None:
    marks = [mark for mark in MARKS if mark <= len(list(Path(sources.images).iterdir()))]
    held: dict[int, list[float]] = {}

    def note(done: int) -> None:
        if len(held) < len(marks) and done >= marks[len(held)]:
            processes = [os.getpid(), *sorted(child.pid or 0 for child in multiprocessing.active_children())]
            held[done] = [resident(process) for process in processes]

    start = time.perf_counter()
    evaluate(Plan.read(recipe, sources, batch), folder, workers=workers, progress=note)
    seconds = time.perf_counter() - start
    print(f"{recipe.name}, {recipe.engine}, {workers} workers, {seconds:.0f} s: MB held by the command, by each worker")
    first = next(iter(held.values()))
    for done, memory in held.items():
        growth = max(now / before for now, before in zip(memory, first, strict=True)) - 1
        kept = "kept" if growth <= MOST_GROWTH else "EXCEEDED"
        megabytes = ", ".join(f"{each:.0f}" for each in memory)
        print(f"  {done:6} images: {megabytes}; {growth:+.1%}, limit {MOST_GROWTH:+.0%} {kept}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="googlenet-cam")
    parser.add_argument("--engine", default="onnxruntime")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--images", type=int, default=240, help="for the rate")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--soak", type=int, default=3000, help="images, for the memory")
    parser.add_argument("--soak-only", action="store_true", help="do not measure the rate")
    parser.add_argument("--weights", help="real ones of SqueezeNet, for the memory")
    parser.add_argument("--set", nargs=2, metavar=("IMAGES", "ANNOTATIONS"), help="real images, for the memory")
    options = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not options.soak_only:
            measure_rate(folder, options.model, options.engine, options.batch, options.images, options.rounds)
        cores = os.cpu_count() or 1
        small = Sources(*options.set) if options.set else write_set(folder / "small", MARKS[0])
        large = repeated(small, folder / "large", options.soak)
        weights = options.weights or write_weights("squeezenet-v1.0", folder)
        for workers in (1, cores):
            recipe = Recipe(
                protocol("paper"),
                "squeezenet-v1.0",
                options.engine,
                weights=weights,
                options=Options(threads=max(1, cores // workers)),
            )
            measure_memory(folder / f"soak-{workers}", recipe, large, options.batch, workers)


if __name__ == "__main__":
    main()
