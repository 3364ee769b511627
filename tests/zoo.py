"""Run public nets with seeded weights in every engine, and compare every value with real Caffe's.

    python tests/zoo.py [--all] [--engine ENGINE] [NAME…]

The nets are those of the shared test data: all, those whose file name contains a NAME, or a sample. There is one row
per net and engine. A difference is relative to the largest value of its blob. The exit code is 1 if an engine deviates
or fails, also if it was asked for the outputs of the net alone and could fuse layers.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from conftest import SHARED
from nets import worst

from pycam import engines
from pycam.errors import EngineError, PycamError
from pycam.formats import schema
from pycam.formats.upgrade import CAFFE_TYPES
from pycam.net import Net, layers as L, net_from_message, read_net
from pycam.tables import Table
from pycam.verification.certificate import noise
from pycam.verification.compare import TOLERANCE

Array = np.ndarray
Blobs = dict[str, Array]

ENGINES = tuple(name for name in engines.ENGINES if name != "caffe")
SAMPLE_SIZE = 20

SPREAD = 1.0
"""The root mean square of what a layer with weights computes."""
SPREAD_BEFORE_LRN = 30.0
"""The same up to the last LRN: as in trained nets, so that LRN changes its values."""


@dataclass(frozen=True)
class Case:
    """A net with seeded weights and inputs, and the values to compare with.

    Attributes
    ----------
    reference : str
        What computed `truth`: Caffe with the file, Caffe with what pycam made of it, or torch.
    truth : dict
        Every value that a layer computes, by name.
    """

    net: Net
    inputs: Blobs
    reference: str
    truth: Blobs


@dataclass(frozen=True)
class Row:
    """An engine on a net.

    Attributes
    ----------
    values : int or None
        The number of values compared; None if there was no comparison, for the reason in `note`.
    largest : float or None
        The largest difference of all values.
    at : str
        The value with this difference.
    outputs : float or None
        The largest difference of the outputs of the net, computed alone.
    """

    net: str
    engine: str
    reference: str
    values: int | None = None
    largest: float | None = None
    at: str = ""
    outputs: float | None = None
    seconds: float | None = None
    note: str = ""
    failed: bool = False

    @property
    def deviates(self) -> bool:
        """Whether a difference exceeds the tolerance or is not a number, or the engine failed."""
        found = [each for each in (self.largest, self.outputs) if each is not None]
        return self.failed or not all(each < TOLERANCE for each in found)


def made_by_caffe(folder: Path) -> dict[str, Any]:
    """Return what real Caffe makes of each file of the folder; `refused` if it does not build the net."""
    return json.loads((folder / "caffe.json").read_text())


def sample(folder: Path) -> list[str]:
    """Return the names of a few nets that Caffe builds: the cheapest of each set of layer types, of these the first."""
    kinds: dict[frozenset[str], tuple[float, str]] = {}
    for name, found in made_by_caffe(folder).items():
        if "refused" in found:
            continue
        try:
            net = read_net(folder / "files" / name)
        except PycamError:
            continue
        kind = frozenset(layer.type for layer in net.layers)
        # Drawing a weight takes about as long as a hundred multiplications with one.
        cost = net.multiply_adds + 100 * net.param_count
        kinds[kind] = min(kinds.get(kind, (math.inf, "")), (cost, name))
    return [name for _, name in sorted(kinds.values())[:SAMPLE_SIZE]]


def case(folder: Path, name: str) -> Case:
    """Read a net, give it weights and inputs, and compute all of its values with the reference.

    Raises
    ------
    PycamError
        pycam refuses the net, or Caffe fails on it.
    """
    net = read_net(folder / "files" / name)
    inputs = noise(net)
    net = seeded(net, inputs)
    wanted = [value for layer in running(net) for value in layer.outputs]
    if "refused" not in made_by_caffe(folder)[name]:
        reference, engine, given = "Caffe", "caffe", net
    elif all(layer.type in CAFFE_TYPES for layer in net.layers):
        reference, engine, given = "Caffe, file of pycam", "caffe", for_caffe(net)
    else:
        reference, engine, given = "torch", "torch", net
    with engines.make(engine, given, wanted) as made:
        return Case(net, inputs, reference, made.forward(inputs))


def running(net: Net) -> list[L.Layer]:
    """Return the layers that engines run: all but data layers, and losses and accuracies, which are for training."""
    return [layer for layer in net.layers if not isinstance(layer, L.Source | L.Comparison)]


def for_caffe(net: Net) -> Net:
    """Return a net of Caffe 1.0's layers without its file, which Caffe cannot read: its data layers become inputs."""
    message = schema.NetParameter(name=net.name)
    for layer in net.layers:
        if not isinstance(layer, L.Source):
            message.layer.add().CopyFrom(layer.message)
            continue
        made = message.layer.add(name=layer.name, type="Input", top=layer.tops)
        for shape in layer.output_shapes:
            made.input_param.shape.add(dim=shape)
    return net_from_message(message).with_params(net.params)


def seeded(net: Net, inputs: Blobs, seed: int = 0) -> Net:
    """Return a net with random weights that keep the values of its layers in the range of trained nets.

    Layer by layer, weights are scaled by the size of the values that they meet, and the statistics of BatchNorm are
    about those of its values: otherwise the values of deep nets grow or vanish, and rounding errors with them.
    """
    rng = np.random.default_rng(seed)
    normalized = [value for layer in net.layers if isinstance(layer, L.LRN) for value in layer.outputs]
    before_lrn = {layer.name for layer in net.layers_before(normalized)}
    values = {net.input_values[blob]: array for blob, array in inputs.items()}
    params: dict[str, list[Array]] = {}
    for layer in running(net):
        spread = SPREAD_BEFORE_LRN if layer.name in before_lrn else SPREAD
        own = _params(layer, values, spread, rng)
        made = _run(layer, values, own)
        # A sum of large terms that happens to be small has a large rounding error.
        while isinstance(layer, _WEIGHTED) and np.abs(made[0]).max() < spread / 2:
            own = _params(layer, values, spread, rng)
            made = _run(layer, values, own)
        if own:
            params[layer.name] = own
        values.update(zip(layer.outputs, made, strict=True))
    return net.with_params(params)


_WEIGHTED = (L.Convolution, L.InnerProduct, L.Deconvolution)


def _params(layer: L.Layer, values: Blobs, spread: float, rng: np.random.Generator) -> list[Array]:
    """Draw the parameters of a layer for given values of its inputs."""
    if not layer.param_shapes:
        return []
    found = values[layer.inputs[0]]
    if isinstance(layer, L.BatchNorm):
        channels, factor = layer.param_shapes[0], np.float32(998.5)
        mean = found.mean() + found.std() * rng.normal(0, 0.3, channels)
        variance = found.var() * rng.uniform(0.5, 2, channels)
        return [*(each.astype(np.float32) * factor for each in (mean, variance)), np.full(1, factor)]
    if isinstance(layer, _WEIGHTED):
        factor = spread / (_rms(found) * math.sqrt(_fan_in(layer)))
        weights, *biases = (rng.standard_normal(shape, np.float32) for shape in layer.param_shapes)
        return [weights * np.float32(factor), *(bias * np.float32(0.1 * spread) for bias in biases)]
    # Scale and PReLU.
    return [rng.normal(0.5, 0.3, shape).astype(np.float32) for shape in layer.param_shapes]


def _rms(found: Array) -> float:
    return math.sqrt(np.square(found, dtype=np.float64).mean())


def _fan_in(layer: L.Convolution | L.InnerProduct | L.Deconvolution) -> float:
    """Return how many values a value of the layer is a sum of, on average."""
    if isinstance(layer, L.Deconvolution):
        inputs, _, *kernel = layer.param_shapes[0]
        return inputs / layer.group * math.prod(kernel) / math.prod(layer.stride)
    return math.prod(layer.param_shapes[0]) / layer.num_output


def _run(layer: L.Layer, values: Blobs, params: Sequence[Array]) -> list[Array]:
    """Run a single layer."""
    layer = replace(layer, bottoms=layer.inputs, tops=layer.outputs)
    shapes = dict(zip(layer.inputs, layer.input_shapes, strict=True))
    sources = [
        L.Input(
            name=f"the input {value}",
            bottoms=(),
            tops=(value,),
            inputs=(),
            outputs=(value,),
            input_shapes=(),
            output_shapes=(shape,),
            shapes_in_file=(shape,),
        )
        for value, shape in shapes.items()
    ]
    net = Net("", (*sources, layer), {layer.name: tuple(params)} if params else {})
    with engines.make("onnxruntime", net, layer.outputs) as engine:
        return list(engine.forward({value: values[value] for value in shapes}).values())


def compare(name: str, engine: str, found: Case) -> Row:
    """Compare an engine with the reference: all values at once, and the outputs of the net alone."""
    net, truth = found.net, found.truth
    row = Row(name, engine, found.reference)
    read = {value for layer in running(net) for value in layer.inputs}
    outputs = {value: array for value, array in truth.items() if value not in read}
    differences: list[tuple[float, str]] = []
    started = time.perf_counter()
    for wanted in (truth, outputs):
        try:
            made = engines.make(engine, net, list(wanted))
        except PycamError as error:
            # An engine that cannot be exact names the layer or its blob; anything else is a failure.
            parts = [*(f"layer {name!r}" for name in net.by_name), *(f"blob {value!r}" for value in truth)]
            named = any(part in str(error) for part in parts)
            return replace(row, note=f"{'refused' if named else 'failed'}: {error}", failed=not named)
        with made:
            try:
                differences.append(worst(made.forward(found.inputs), wanted))
            except PycamError as error:
                return replace(row, note=f"failed: {error}", failed=True)
    (largest, at), (alone, _) = differences
    seconds = time.perf_counter() - started
    return replace(row, values=len(truth), largest=largest, at=at, outputs=alone, seconds=seconds)


def rows(folder: Path, names: Sequence[str], chosen: Sequence[str]) -> Iterator[Row]:
    """Compare engines on nets."""
    for name in names:
        print(f"{name} …", file=sys.stderr, flush=True)
        try:
            found = case(folder, name)
        except EngineError as error:
            yield Row(name, "", "", note=f"failed: {error}", failed=True)
            continue
        except PycamError as error:
            yield Row(name, "", "", note=f"refused: {error}")
            continue
        for engine in chosen:
            if engine != found.reference:
                yield compare(name, engine, found)
        del found  # the next one is made before the name is bound again


def main() -> int:
    """Compare; print a table and a summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only nets whose file name contains this")
    parser.add_argument("--all", action="store_true", help="all nets, not a sample")
    parser.add_argument("--engine", action="append", choices=ENGINES, help="may be repeated; default: all")
    options = parser.parse_args()
    folder = SHARED / "data/prototxt-zoo"
    files = list(made_by_caffe(folder))
    if options.names:
        names = [name for name in files if any(part in name for part in options.names)]
        if not names:
            parser.error(f"no file name in {folder / 'files'} contains {' or '.join(options.names)}")
    else:
        names = files if options.all else sample(folder)
    chosen = options.engine or ENGINES
    try:
        for engine in chosen:
            engines.engine_class(engine)
    except EngineError as error:
        parser.error(f"{error}, or choose others with --engine")
    found = list(rows(folder, names, chosen))
    from pandas import DataFrame

    deviating = [row for row in found if row.deviates]
    compared = [row for row in found if row.values]
    failed = sum(row.failed for row in found)
    note = (
        f"{len(names)} nets; {sum(row.values or 0 for row in compared)} values compared in {len(compared)} runs; "
        f"{len(deviating) - failed} deviate by {TOLERANCE:g} or more, {failed} failed, "
        f"{len(found) - len(compared) - failed} refused"
    )
    columns = [{key: value for key, value in asdict(row).items() if key != "failed"} for row in found]
    formats = {
        "largest": "{:.1e}".format,
        "outputs": "{:.1e}".format,
        "seconds": "{:.1f}".format,
        "values": "{:.0f}".format,
    }
    Table("Nets and engines", DataFrame(columns), note, formats).show([row.deviates for row in found])
    return 1 if deviating else 0


if __name__ == "__main__":
    sys.exit(main())
