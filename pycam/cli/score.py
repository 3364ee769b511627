"""`pycam score`: the errors of predictions or maps from any program, next to those of the baselines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from pycam.cli import options
from pycam.console import print_json, print_line
from pycam.errors import UsageError
from pycam.evaluation.figures import errors_table
from pycam.ilsvrc import map_scores
from pycam.ilsvrc.baselines import Baselines, accuracies, known_class_errors
from pycam.ilsvrc.ground_truth import GroundTruth, read_ground_truth
from pycam.ilsvrc.maps import find_maps, read_map
from pycam.ilsvrc.predictions import read_predictions
from pycam.ilsvrc.scores import box_warnings, score_predictions
from pycam.metrics.box_accuracy import BoxAccuracy

BASELINES = {
    "center": ("center Gaussian", map_scores.center_gaussian),
    "whole": ("whole image", map_scores.whole_image),
}
"""Score maps that are the same for every image: names in results, and functions that score them."""


@options.grouped
def score(
    source: options.TruthOptions,
    predictions: Annotated[
        Path | None, typer.Option(help="Submission file: up to 5 times `label xmin ymin xmax ymax` per line.")
    ] = None,
    maps: Annotated[
        Path | None,
        typer.Option(help="Folder with one .npy per image: the map of its ground-truth class, in [0, 1]."),
    ] = None,
    baseline: Annotated[
        str | None, options.one_of(BASELINES, "Score a Gaussian in the center, or the whole image, in place of maps")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Score a submission file (ILSVRC's errors) or maps (MaxBoxAcc) against ground truth."""
    if sum(given is not None for given in (predictions, maps, baseline)) != 1:
        raise UsageError("give exactly one of --predictions FILE, --maps DIR and --baseline NAME")
    if baseline not in (None, *BASELINES):
        raise UsageError(f"no baseline is called {baseline!r}: the baselines are {', '.join(BASELINES)}")
    truth = read_ground_truth(source.ground_truth, labels=source.labels, blacklist=source.blacklist, meta=source.meta)
    result: dict[str, Any] = {
        "ground_truth": str(source.ground_truth),
        "images": len(truth),
        "blacklisted": int(truth.blacklisted.sum()),
        "notes": list(truth.notes),
    }
    if predictions is not None:
        submitted = read_predictions(predictions)
        result |= {"predictions": str(predictions)} | score_predictions(submitted, truth).figures()
        result |= known_class_errors(Baselines.of(truth))
        result["notes"] += box_warnings(submitted, truth)
    elif maps is not None:
        files = find_maps(maps, truth.counted_names)
        result |= {"maps": str(maps)} | _accuracies(map_scores.score_maps(map(read_map, files), truth), truth)
    else:
        name, scored = BASELINES[baseline or ""]
        result |= {"maps": name} | _accuracies(scored(truth), truth)
    if as_json:
        print_json(result)
        return
    print_errors(result, every_k=True)


def print_errors(report: Mapping[str, Any], every_k: bool = False) -> None:
    """Print the errors of a report of `pycam score` or `pycam evaluate`, and its notes."""
    print_line(f"{report['images']} images, {report['blacklisted']} of them on the blacklist")
    errors_table({"": report}, every_k=every_k).show()
    for each in report.get("skipped", ()):
        print_line(f"skipped: {each['image']}: {each['reason']}")
    for note in report["notes"]:
        print_line(f"note: {note}")


def _accuracies(accuracy: BoxAccuracy, truth: GroundTruth) -> dict[str, Any]:
    baselines = Baselines.of(truth)
    assert baselines is not None, "maps were scored against this ground truth"
    first, second = accuracy.intervals().tolist()
    return accuracies(accuracy, baselines) | {"intervals": {"max_box_acc": first, "max_box_acc_v2": second}}
