"""The certificate: what was checked of a model on this machine, and one verdict.

It says which files were looked at, that the net and its weights fit, how far each engine is from real Caffe (or, where
there is none, from the default engine), and what in this net trips other readers.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import pycam
from pycam import engines
from pycam.errors import EngineError
from pycam.net import Net, layers
from pycam.tables import Table
from pycam.verification.compare import TOLERANCE, compare, run
from pycam.zoo.checksums import checksum


@dataclass(frozen=True)
class EngineCheck:
    """One engine held against the reference.

    Attributes
    ----------
    engine, description
        Its name; its version and device.
    reference
        The engine it was compared with.
    blobs
        How many blobs were compared.
    worst_layer, max_rel
        Where the two lie furthest apart, and how far as a part of the blob's largest value.
    first_departure
        The first layer beyond the tolerance, None when there is none.
    refused
        Why the engine could not be asked, empty when it could.
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
    """What `pycam verify` found.

    Attributes
    ----------
    model
        The model's name.
    files
        File -> SHA-256.
    published
        Whether the weights are the published ones, as far as this can be known.
    facts
        Layers, parameters, multiply-adds, input, outputs, where class maps come from.
    pitfalls
        What in this net trips other readers.
    engines
        One entry an engine.
    tolerance
        What was allowed.
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
        """One of four: verified against real Caffe; engines agree without it; departs; nothing to compare."""
        asked = [check for check in self.engines if not check.refused]
        if any(check.first_departure for check in asked):
            return "departs"
        if any(check.reference == "caffe" for check in asked):
            return "verified against real Caffe"
        return "engines agree, real Caffe was not asked" if asked else "no engine could be compared"

    @property
    def good(self) -> bool:
        """Whether every engine that was asked agrees, and at least two were."""
        return self.verdict.startswith(("verified", "engines agree"))

    def as_dict(self) -> dict[str, Any]:
        """Give the certificate as JSON has it."""
        return asdict(self) | {"verdict": self.verdict}

    def as_markdown(self) -> str:
        """Give the certificate as people read it."""
        lines = [f"# {self.model}: {self.verdict}", "", self.machine, "", "## Files", ""]
        lines += [f"- `{name}` SHA-256 `{digest}`" for name, digest in self.files.items()]
        lines += [f"- weights: {self.published}", "", "## Net", ""]
        lines += [f"- {name}: {value}" for name, value in self.facts.items()]
        lines += ["", "## What trips others in this net", ""]
        lines += [f"- {pitfall}" for pitfall in self.pitfalls]
        return "\n".join(lines) + "\n\n" + self._engines_table().markdown()

    def _engines_table(self) -> Table:
        from pandas import DataFrame

        rows = [
            (
                check.description or check.engine,
                check.reference,
                check.blobs or "–",
                f"not asked: {check.refused}" if check.refused else f"{check.max_rel:.1e}",
                check.worst_layer or "–",
                "–" if check.refused else check.first_departure or "nowhere",
            )
            for check in self.engines
        ]
        columns = ["engine", "compared with", "blobs", "furthest apart", "at layer", "departs first at"]
        note = f"Every blob, as a part of its largest value; {self.tolerance:g} is allowed."
        return Table("Engines", DataFrame(rows, columns=columns), note)


def certify(
    model: str,
    net: Net,
    *,
    published: str,
    names: Sequence[str] = tuple(engines.ENGINES),
    inputs: dict[str, NDArray[np.float32]] | None = None,
    tolerance: float = TOLERANCE,
) -> Certificate:
    """Check a model.

    Parameters
    ----------
    model
        What to call it.
    net
        With parameters, read from files.
    published
        What is known of the weights' origin.
    names
        Engines to ask. Real Caffe, when among them and there, is the reference; else the first that runs.
    inputs
        What the engines are given; None for seeded noise in the range of an image less its mean.
    tolerance
        As a part of a blob's largest value.

    Returns
    -------
    Certificate
    """
    inputs = inputs or noise(net)
    blobs: dict[str, dict[str, NDArray[np.float32]]] = {}
    described: dict[str, str] = {}
    refused: dict[str, str] = {}
    for name in sorted(names, key=lambda name: name != "caffe"):
        try:
            with engines.make(name, net, [net.outputs[-1]]) as made:
                described[name] = made.description
            blobs[name] = run(net, name, inputs)
        except EngineError as error:
            refused[name] = str(error)
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


def noise(net: Net, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Give seeded values for a net's inputs, batch 1, in the range of an image less its mean."""
    rng = np.random.default_rng(seed)
    return {name: rng.uniform(-120, 140, net.shapes[name]).astype(np.float32) for name in net.inputs}


def pitfalls(net: Net) -> list[str]:
    """Say what in a net other readers of Caffe's files get wrong without a word."""
    found = ["images are BGR, 0…255, less their mean: not RGB, not scaled to 1"]
    grouped = [layer.name for layer in net.layers if isinstance(layer, layers.Convolution) and layer.group > 1]
    if grouped:
        found.append(f"group convolutions: {_some(grouped)}")
    in_place = [blob for blob in net.shapes if any(value.startswith(f"{blob}@") for value in net.value_shapes)]
    if in_place:
        found.append(
            f"{len(in_place)} blobs are changed in place: after the net has run, {_some(in_place)} hold the values "
            "behind the last such layer (ReLU, say), which readers that name outputs by layer give before it"
        )
    pools = [layer for layer in net.layers if isinstance(layer, layers.Pooling) and not layer.is_global]
    up = [layer.name for layer in pools if any(n > p for n, p in zip(layer.overhang, layer.pad, strict=True))]
    if up:
        found.append(f"pooling whose size rounds up: {_some(up)}")
    uneven = [
        layer.name for layer in pools if layer.method == "AVE" and (len(set(layer.covers[0])) > 1 or any(layer.pad))
    ]
    if uneven:
        found.append(f"average pooling that counts padding: {_some(uneven)}")
    lrn = [layer.name for layer in net.layers if isinstance(layer, layers.LRN)]
    if lrn:
        found.append(f"LRN divides alpha by its size: {_some(lrn)}")
    return found


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
        "multiply-adds an image": net.multiply_adds,
        "inputs": {name: net.shapes[name] for name in net.inputs},
        "outputs": {name: net.shapes[name] for name in net.outputs},
        "class activation maps": str(net.cam_head or "none: no global average pooling before the scores"),
        "weights of layers that the net does not have": list(net.ignored_weights),
    }
