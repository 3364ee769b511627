"""The certificate: what was checked of a model on this machine, and one verdict.

It names the files, says that the net and its weights fit, how far each engine is from real Caffe (or from the first
engine that runs, where there is no Caffe), and lists the known pitfalls of this net.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from operator import gt
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pycam
from pycam import engines
from pycam.errors import EngineError
from pycam.net import Net, describe_heads, layers
from pycam.tables import Table
from pycam.verification.compare import TOLERANCE, compare, run
from pycam.zoo.checksums import checksum


@dataclass(frozen=True)
class EngineCheck:
    """An engine compared with the reference.

    Attributes
    ----------
    engine : str
        Its name.
    reference : str
        The engine that it was compared with.
    description : str
        Its version and device.
    blobs : int
        Number of compared blobs.
    worst_layer : str
        The layer with the largest difference.
    max_rel : float
        The largest difference, relative to the blob's largest value.
    first_departure : str or None
        The first layer beyond the tolerance.
    refused : str
        Why the engine could not run the net; empty when it could.
    """

    engine: str
    reference: str
    description: str = ""
    blobs: int = 0
    worst_layer: str = ""
    max_rel: float = 0.0
    first_departure: str | None = None
    refused: str = ""


@dataclass(frozen=True)
class Certificate:
    """The result of `pycam verify`.

    Attributes
    ----------
    model : str
        The model's name.
    files : dict
        File name -> SHA-256.
    published : str
        Whether the weights are the published ones, as far as this can be known.
    facts : dict
        Layers, parameters, multiply-adds, inputs, outputs, and where class activation maps come from.
    pitfalls : tuple of str
        What other readers of Caffe's files get wrong in this net.
    engines : tuple of EngineCheck
        One entry per engine.
    tolerance : float
        The allowed difference, relative to the blob's largest value.
    machine : str
        Processor, system and version of pycam.
    """

    model: str
    files: dict[str, str]
    published: str
    facts: dict[str, Any]
    pitfalls: tuple[str, ...]
    engines: tuple[EngineCheck, ...]
    tolerance: float
    machine: str = field(default_factory=lambda: f"{platform.machine()} {platform.system()}, pycam {pycam.__version__}")

    @property
    def verdict(self) -> str:
        """One of: verified against real Caffe; engines agree without it; departs; nothing could be compared."""
        asked = [check for check in self.engines if not check.refused]
        if any(check.first_departure for check in asked):
            return "departs"
        if any(check.reference == "caffe" for check in asked):
            return "verified against real Caffe"
        return "engines agree, without real Caffe" if asked else "no engine could be compared"

    @property
    def good(self) -> bool:
        """True when at least two engines ran and all agree."""
        return self.verdict.startswith(("verified", "engines agree"))

    def as_dict(self) -> dict[str, Any]:
        """Return the certificate as a value for JSON."""
        return asdict(self) | {"verdict": self.verdict}

    def as_markdown(self) -> str:
        """Return the certificate as Markdown."""
        lines = [f"# {self.model}: {self.verdict}", "", self.machine, "", "## Files", ""]
        lines += [f"- `{name}` SHA-256 `{digest}`" for name, digest in self.files.items()]
        lines += [f"- weights: {self.published}", "", "## Net", ""]
        lines += [f"- {name}: {_told(value)}" for name, value in self.facts.items()]
        lines += ["", "## Known pitfalls of this net", ""]
        lines += [f"- {pitfall}" for pitfall in self.pitfalls]
        return "\n".join(lines) + "\n\n" + self._engines_table().markdown()

    def _engines_table(self) -> Table:
        from pandas import DataFrame

        rows = [
            (
                check.description or check.engine,
                check.reference,
                check.blobs or "–",
                f"not run: {check.refused}" if check.refused else f"{check.max_rel:.1e}",
                check.worst_layer or "–",
                "–" if check.refused else check.first_departure or "none",
            )
            for check in self.engines
        ]
        columns = ["engine", "compared with", "blobs", "largest difference", "at layer", "first departure"]
        note = f"Differences are relative to the largest value of each blob; {self.tolerance:g} is allowed."
        return Table("Engines", DataFrame(rows, columns=columns), note)


def certify(
    model: str,
    net: Net,
    *,
    published: str,
    names: Sequence[str] = tuple(engines.ENGINES),
    inputs: dict[str, NDArray[np.float32]] | None = None,
    tolerance: float = TOLERANCE,
    progress: Callable[[int, int], None] = lambda done, count: None,
) -> Certificate:
    """Check a model.

    Parameters
    ----------
    model : str
        Its name.
    net : Net
        With parameters, read from files.
    published : str
        What is known about the origin of the weights.
    names : sequence of str
        Engines to compare. Real Caffe is the reference when it is among them and installed; else the first that runs.
    inputs : dict, optional
        Input blob -> float32 values; by default seeded noise in the range of an image less its mean.
    tolerance : float
        The allowed difference, relative to the blob's largest value.
    progress : callable
        Called after each engine, with the number of finished and of all engines.

    Returns
    -------
    Certificate
    """
    inputs = inputs or noise(net)
    blobs: dict[str, dict[str, NDArray[np.float32]]] = {}
    described: dict[str, str] = {}
    refused: dict[str, str] = {}
    for done, name in enumerate(sorted(names, key=lambda name: name != "caffe"), start=1):
        try:
            with engines.make(name, net, list(net.value_shapes)[-1:]) as made:
                described[name] = made.description
            blobs[name] = run(net, name, inputs)
        except EngineError as error:
            refused[name] = str(error)
        progress(done, len(names))
    reference = next(iter(blobs), "none")
    checks = []
    for name in names:
        if name in refused:
            checks.append(EngineCheck(name, reference, refused=refused[name]))
        elif name != reference:
            rows = compare(net, blobs[name], blobs[reference])
            worst = max(rows, key=lambda row: row.max_rel if row.max_rel == row.max_rel else np.inf)
            first = next((row.layer for row in rows if row.departs(tolerance)), None)
            checks.append(EngineCheck(name, reference, described[name], len(rows), worst.layer, worst.max_rel, first))
    return Certificate(model, _hashes(net), published, _facts(net), tuple(pitfalls(net)), tuple(checks), tolerance)


_KEEP_VALUES = (layers.Split, layers.Slice, layers.Concat, layers.Flatten, layers.Reshape, layers.Crop, layers.Tile)
"""The types of layers whose outputs have only values of their inputs."""


def noise(net: Net, seed: int = 0, scale: NDArray[np.float32] | None = None) -> dict[str, NDArray[np.float32]]:
    """Return seeded float32 values for a net's inputs.

    The values are noise in the range of an image less its mean; `scale`, (C,), is the factor of each channel of inputs
    of C channels, so that the noise has the scale that the net expects. An input that a loss or an accuracy reads as
    labels has whole numbers from 0 to less than the number of classes. The batch is 1, or the only one that Caffe can
    run.
    """
    rng = np.random.default_rng(seed)
    classes = _label_classes(net)

    def draw(value: str) -> NDArray[np.float32]:
        shape = (net.fixed_batch or 1, *net.value_shapes[value][1:])
        if value in classes:
            return rng.integers(0, classes[value], shape).astype(np.float32)
        drawn = rng.uniform(-120, 140, shape).astype(np.float32)
        if scale is not None and len(shape) == 4 and shape[1] == len(scale):
            drawn *= scale.reshape(-1, 1, 1)
        return drawn

    return {blob: draw(value) for blob, value in net.input_values.items()}


def _label_classes(net: Net) -> dict[str, int]:
    """Return the values that are read as labels, each with the smallest number of classes of their readers."""
    classes: dict[str, int] = {}
    for layer in reversed(net.layers):
        found = [classes[value] for value in layer.outputs if value in classes]
        if isinstance(layer, layers.Classification):
            labels, count = layer.inputs[1:], layer.class_count
        elif found and isinstance(layer, _KEEP_VALUES):
            labels, count = layer.inputs, min(found)
        else:
            continue
        classes |= {value: min(count, classes.get(value, count)) for value in labels}
    return classes


def pitfalls(net: Net) -> list[str]:
    """List what other readers of Caffe's files silently get wrong in a net."""
    found = ["images are BGR, 0…255, less their mean: not RGB, not scaled to 1"]
    in_place = [blob for blob in net.shapes if any(value.startswith(f"{blob}@") for value in net.value_shapes)]
    if in_place:
        found.append(
            f"{len(in_place)} blobs are changed in place: after the net has run, {_some(in_place)} hold the values "
            "after the last such layer (ReLU, say); readers that name outputs by layer return those before it"
        )
    pools = [layer for layer in net.layers if isinstance(layer, layers.Pooling) and not layer.is_global]
    averages = [pool for pool in pools if pool.method == "AVE"]
    affected: dict[str, list[layers.Layer]] = {
        "group convolutions": [x for x in net.layers if isinstance(x, layers.Convolution) and x.group > 1],
        "pooling whose size rounds up": [x for x in pools if any(map(gt, x.overhang, x.pad))],
        "average pooling that counts padding": [x for x in averages if len(set(x.covers[0])) > 1 or any(x.pad)],
        "LRN divides alpha by its size": [x for x in net.layers if isinstance(x, layers.LRN)],
    }
    return found + [f"{text}: {_some([x.name for x in each])}" for text, each in affected.items() if each]


def _told(fact: Any) -> str:
    """Return a fact for readers: a number with thousands, blobs with shapes, layers with types, or a list."""
    if isinstance(fact, int):
        return f"{fact:,}"
    if isinstance(fact, dict):
        fact = [f"{name} {each if isinstance(each, str) else layers.dims(each)}" for name, each in fact.items()]
    return fact if isinstance(fact, str) else ", ".join(map(str, fact)) or "none"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _hashes(net: Net) -> dict[str, str]:
    if net.sources is None:
        return {}
    paths = [Path(path) for path in (net.sources.prototxt, net.sources.caffemodel) if path is not None]
    return {path.name: checksum(path, "sha256") for path in paths}


def _facts(net: Net) -> dict[str, Any]:
    return {
        "layers": len(net.layers),
        "parameters": net.param_count,
        "multiply-adds per image": net.multiply_adds,
        "inputs": {name: net.shapes[name] for name in net.inputs},
        "outputs": {name: net.shapes[name] for name in net.outputs},
        "class activation maps": "; ".join(describe_heads(net)),
        "weights of layers that the net does not have": list(net.ignored_weights),
        **({"layers of forks, which Caffe 1.0 lacks": net.fork_types} if net.fork_types else {}),
        **({"changes to read the file of a fork": list(net.notes)} if net.notes else {}),
    }
