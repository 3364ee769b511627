"""How fast the engines run a net on this machine, each beside what the processor can multiply.

Engines take turns, so that a machine that becomes slower or faster does so for all of them; figures are medians.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from math import ceil
from statistics import median

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from pycam import engines
from pycam.engines import DEFAULT_ENGINE, Options, cores
from pycam.engines.base import Engine
from pycam.errors import PycamError
from pycam.net import Net, find_heads
from pycam.net.heads import CamHead
from pycam.verification.compare import TOLERANCE, compare, run

ROUNDS = 5
SECONDS = 0.3
"""How long an engine's turn takes at least."""

SIDE = 1536
"""The side of the matrices whose product is timed."""

EQUAL = 1.05
"""Engines whose rates have a smaller ratio are equally fast: two measurements differ by as much."""


@dataclass(frozen=True)
class Speed:
    """The speed of one engine.

    Attributes
    ----------
    engine : str
        The name of the engine.
    description : str
        Its version, device and precision; empty if it was not measured.
    one : float
        Images per second, one after another, each on all threads.
    many : float
        Images per second in `streams` streams at the same time.
    streams : int
        The number of streams with which the engine is used for many images.
    gflops : float
        10⁹ additions and multiplications per second at the better of the two rates, counted as direct convolution.
    of_peak : float
        `gflops` as a fraction of the measured peak. Above 1, the engine does with fewer multiplications.
    max_rel : float or None
        The largest difference of any blob from the reference, relative to the blob's largest value; None for the
        reference.
    refused : str
        Why the engine does not run the net; empty if it does.
    """

    engine: str
    description: str = ""
    one: float = 0.0
    many: float = 0.0
    streams: int = 1
    gflops: float = 0.0
    of_peak: float = 0.0
    max_rel: float | None = None
    refused: str = ""


@dataclass(frozen=True)
class Comparison:
    """The speeds of engines for one net.

    Attributes
    ----------
    speeds : tuple of Speed
        One per engine, in the order in which they were given.
    reference : str or None
        The engine that the blobs are compared with: real Caffe if it runs, otherwise the first that does; None if no
        engine runs.
    peak : float
        The measured peak of this machine in GFLOP/s, see `sgemm_peak`.
    """

    speeds: tuple[Speed, ...]
    reference: str | None
    peak: float


def measure(
    net: Net,
    names: Sequence[str],
    options: Options,
    inputs: Mapping[str, NDArray[np.float32]],
    progress: Callable[[int, int], None] = lambda done, count: None,
) -> Comparison:
    """Measure engines.

    Parameters
    ----------
    net : Net
        A net with parameters.
    names : sequence of str
        Keys of `pycam.engines.ENGINES`.
    options : Options
        Device, threads and precision. The number of streams does not matter.
    inputs : mapping of str to float32 array
        Input blob -> values for one image, or for the only batch that Caffe can run.
    progress : callable
        Called after each engine's first run and after each round, with the number of finished and of all steps.

    Returns
    -------
    Comparison

    Raises
    ------
    UsageError
        There is no engine of such a name.
    """
    for name in names:
        if name not in engines.ENGINES:
            engines.engine_class(name)  # raises the error
    refused: dict[str, str] = {}
    blobs: dict[str, Mapping[str, NDArray[np.float32]]] = {}
    with ExitStack() as stack:
        made: dict[str, tuple[Engine, Engine]] = {}
        for done, name in enumerate(names, start=1):
            try:
                blobs[name] = run(net, name, inputs, replace(options, streams=1))
                made[name] = _engines(net, name, options, stack)
            except PycamError as error:
                refused[name] = str(error)
            progress(done, len(names) + ROUNDS)
        rates, peak = _rates(
            made, inputs, options.threads or cores(), lambda done: progress(len(names) + done, len(names) + ROUNDS)
        )
    reference = next((name for name in ("caffe", *names) if name in made), None)
    work = 2 * net.multiply_adds / 1e9

    def speed(name: str) -> Speed:
        if name in refused:
            return Speed(name, refused=refused[name])
        engine, wide = made[name]
        one, many = rates[name]
        gflops = work * max(one, many)
        apart = None
        if reference is not None and name != reference:
            rows = compare(net, blobs[name], blobs[reference])
            apart = max((row.max_rel if row.max_rel == row.max_rel else np.inf for row in rows), default=0.0)
        streams = wide.options.streams
        return Speed(name, engine.description, one, many, streams, gflops, gflops / peak, apart)

    return Comparison(tuple(speed(name) for name in names), reference, peak)


def _engines(net: Net, name: str, options: Options, stack: ExitStack) -> tuple[Engine, Engine]:
    """Make an engine with one stream, and one with the best number of streams, the same if that is one."""
    heads = [head for head in find_heads(net).values() if isinstance(head, CamHead)]
    # What class activation maps are made of; only the values of outputs are kept.
    outputs = [heads[0].feature_blob, heads[0].score_blob] if heads else net.outputs
    streams = engines.best_streams(name, options)
    one = stack.enter_context(engines.make(name, net, outputs, replace(options, streams=1)))
    if streams == 1:
        return one, one
    return one, stack.enter_context(engines.make(name, net, outputs, replace(options, streams=streams)))


def _rates(
    made: Mapping[str, tuple[Engine, Engine]],
    inputs: Mapping[str, NDArray[np.float32]],
    threads: int,
    progress: Callable[[int], None],
) -> tuple[dict[str, tuple[float, float]], float]:
    """Return the images per second of each engine, for one and for many, and the peak of the processor."""
    images = max((len(values) for values in inputs.values()), default=1)
    counts = {name: [_repeats(engine, inputs) for engine in pair] for name, pair in made.items()}
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in made}
    peak = 0.0
    for done in range(1, ROUNDS + 1):
        peak = max(peak, sgemm_peak(threads))
        for name, (one, many) in made.items():
            each = counts[name][0] * images / _seconds(one, inputs, counts[name][0])
            all_ = each if many is one else counts[name][1] * images / _seconds(many, inputs, counts[name][1])
            found[name].append((each, all_))
        progress(done)
    return {
        name: (median(one for one, _ in rates), median(many for _, many in rates)) for name, rates in found.items()
    }, peak


def _repeats(engine: Engine, inputs: Mapping[str, NDArray[np.float32]]) -> int:
    """Run an engine until it is warm; return how many runs fill its turn, a multiple of its streams."""
    streams = engine.options.streams
    _seconds(engine, inputs, 2 * streams)
    seconds = _seconds(engine, inputs, streams)
    return streams * ceil(SECONDS / max(seconds, 1e-6))


def _seconds(engine: Engine, inputs: Mapping[str, NDArray[np.float32]], repeats: int) -> float:
    """Return how long so many runs take in the engine's streams; in a single one, by the median run."""
    streams = engine.options.streams
    if streams == 1:
        return repeats * median(_seconds_of_run(engine, inputs) for _ in range(repeats))
    with ThreadPoolExecutor(streams) as pool:
        start = time.perf_counter()
        for future in [pool.submit(engine.forward, inputs) for _ in range(repeats)]:
            future.result()
        return time.perf_counter() - start


def _seconds_of_run(engine: Engine, inputs: Mapping[str, NDArray[np.float32]]) -> float:
    start = time.perf_counter()
    engine.forward(inputs)
    return time.perf_counter() - start


def sgemm_peak(threads: int) -> float:
    """Time the product of two large matrices in single precision with NumPy's BLAS.

    Parameters
    ----------
    threads : int
        The number of threads of the BLAS.

    Returns
    -------
    float
        10⁹ additions and multiplications per second: close to what the processor can do without shortcuts.
    """
    a = np.random.default_rng(0).normal(size=(SIDE, SIDE)).astype(np.float32)
    with threadpool_limits(threads, "blas"):
        a @ a  # starts the threads
        start = time.perf_counter()
        a @ a
        return 2 * SIDE**3 / (time.perf_counter() - start) / 1e9


def advice(speeds: Sequence[Speed]) -> str:
    """Say in one line which engine to use.

    Parameters
    ----------
    speeds : sequence of Speed
        The engines. Those that departed from the reference by more than `TOLERANCE` are not advised.
    """
    right = [speed for speed in speeds if not speed.refused and (speed.max_rel or 0.0) <= TOLERANCE]
    if not right:
        return "no engine runs this net here within the tolerance"
    many, one = _fastest(right, _for_many), _fastest(right, _for_one)
    if many is one:
        return f"fastest: {_beside(many, right, _for_many)}"
    return f"fastest: {_beside(many, right, _for_many)}; one image at a time: {_beside(one, right, _for_one)}"


def _for_many(speed: Speed) -> float:
    return max(speed.one, speed.many)


def _for_one(speed: Speed) -> float:
    return speed.one


def _fastest(speeds: Sequence[Speed], rate: Callable[[Speed], float]) -> Speed:
    """Return the fastest engine, or the default one if that is equally fast."""
    first = max(speeds, key=rate)
    return next((s for s in speeds if s.engine == DEFAULT_ENGINE and rate(first) < EQUAL * rate(s)), first)


def _beside(first: Speed, speeds: Sequence[Speed], rate: Callable[[Speed], float]) -> str:
    """Return an engine as an option, and its ratio to the default engine or, if it is that, to the next one."""
    others = sorted((speed for speed in speeds if speed is not first), key=rate, reverse=True)
    named = f"--engine {first.engine}" + (", the default" if first.engine == DEFAULT_ENGINE else "")
    if not others:
        return f"{named}, the only one that runs here"
    other = next((speed for speed in others if speed.engine == DEFAULT_ENGINE), others[0])
    ratio = rate(first) / rate(other)
    return f"{named}, as fast as {other.engine}" if ratio < EQUAL else f"{named}, {ratio:.1f} × {other.engine}"
