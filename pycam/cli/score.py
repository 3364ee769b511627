"""`pycam score`: the errors of guesses or maps that were made elsewhere, with the baselines beside them."""

from __future__ import annotations

import json
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from pycam.cli import options
from pycam.errors import UsageError
from pycam.evaluation.figures import errors_table
from pycam.ilsvrc import wsol
from pycam.ilsvrc.baselines import Baselines, accuracies, known_class_errors
from pycam.ilsvrc.ground_truth import GroundTruth, read_ground_truth
from pycam.ilsvrc.metrics import box_warnings, score_predictions
from pycam.ilsvrc.predictions import read_predictions
from pycam.ilsvrc.score_maps import find_map, read_map


class Baseline(str, Enum):
    """What needs no maps."""

    CENTER = "center"
    WHOLE = "whole"


def score(
    ground_truth: Annotated[
        Path,
        typer.Option(help="XML folder, devkit cache (.mat), WSOL metadata folder, or list of labels."),
    ],
    predictions: Annotated[
        Path | None, typer.Option(help="Submission file: up to 5 times `label xmin ymin xmax ymax` a line.")
    ] = None,
    maps: Annotated[
        Path | None, typer.Option(help="Folder of a .npy an image: the map of its true class, in [0, 1].")
    ] = None,
    baseline: Annotated[
        Baseline | None,
        typer.Option(help="Score a Gaussian in the center, or the whole image, as the maps."),
    ] = None,
    labels: options.TrueLabels = None,
    blacklist: options.Blacklist = None,
    meta: options.Meta = None,
    as_json: options.Json = False,
) -> None:
    """Score a submission file (ILSVRC's errors) or maps (MaxBoxAcc) against ground truth."""
    if sum(given is not None for given in (predictions, maps, baseline)) != 1:
        raise UsageError("give one of --predictions FILE, --maps DIR and --baseline NAME")
    truth = read_ground_truth(ground_truth, labels=labels, blacklist=blacklist, meta=meta)
    result: dict[str, Any] = {
        "ground_truth": str(ground_truth),
        "images": len(truth),
        "blacklisted": int(truth.blacklisted.sum()),
        "notes": list(truth.notes),
    }
    if predictions is not None:
        guesses = read_predictions(predictions)
        result |= {"predictions": str(predictions)} | score_predictions(guesses, truth).figures()
        result |= known_class_errors(Baselines.of(truth))
        result["notes"] += box_warnings(guesses, truth)
    elif maps is not None:
        files = [find_map(maps, name) for name in truth.counted_names]
        result |= {"maps": str(maps)} | _accuracies(wsol.score_maps(map(read_map, files), truth), truth)
    elif baseline is Baseline.CENTER:
        result |= {"maps": "center Gaussian"} | _accuracies(wsol.center_gaussian(truth), truth)
    else:
        result |= {"maps": "whole image"} | _accuracies(wsol.whole_image(truth), truth)
    if as_json:
        print(json.dumps(result, indent=2))
        return
    print(f"{result['images']} images, {result['blacklisted']} of them on the blacklist")
    errors_table({"": result}, every_k=True).show()
    for note in result["notes"]:
        print(f"note: {note}")


def _accuracies(accuracy: wsol.BoxAccuracy, truth: GroundTruth) -> dict[str, Any]:
    baselines = Baselines.of(truth)
    assert baselines is not None, "maps were judged by this truth"
    first, second = accuracy.intervals().tolist()
    return accuracies(accuracy, baselines) | {"intervals": {"max_box_acc": first, "max_box_acc_v2": second}}
