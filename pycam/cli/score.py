"""`pycam score`: the errors of predictions or maps from any program, and the faithfulness of our own maps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from pycam.cli import options
from pycam.cli.faithfulness import score_faithfulness
from pycam.cli.heatmap import raise_failures
from pycam.cli.images import all_images
from pycam.console import Notes, print_json, print_line
from pycam.errors import UsageError
from pycam.evaluation.faithfulness import faithfulness_table
from pycam.evaluation.figures import errors_table
from pycam.ilsvrc import map_scores
from pycam.ilsvrc.baselines import Baselines, accuracies, known_class_errors
from pycam.ilsvrc.chosen import BEST, Chosen, Rule
from pycam.ilsvrc.ground_truth import GroundTruth, label_file
from pycam.ilsvrc.maps import find_maps
from pycam.ilsvrc.masks import read_masks
from pycam.ilsvrc.predictions import names_images, read_classes, read_predictions
from pycam.ilsvrc.scores import Scores, box_warnings, score_predictions
from pycam.maps.rules import box_rules
from pycam.metrics.box_accuracy import BoxAccuracy, thresholds as thresholds_of
from pycam.metrics.errors import classification_hits
from pycam.metrics.faithfulness import STEPS

BASELINES = {
    "center": ("center Gaussian", map_scores.center_gaussian),
    "whole": ("whole image", map_scores.whole_image),
}
"""Score maps that are the same for every image: names in results, and functions that score them."""

ERRORS_ONLY = (
    "predictions",
    "maps",
    "masks",
    "mask_root",
    "threshold",
    "threshold_from",
    "box_rule",
    "step",
    "baseline",
    "blacklist",
)
"""Options that faithfulness does not have."""
FAITHFULNESS_ONLY = (
    *("images", "class_name", "steps", "out", "quiet"),
    *(options.HeadOptions, options.MethodOptions, options.EngineOptions),
)
"""Options that only faithfulness has, because it runs a net."""


@options.grouped
def score(
    context: typer.Context,
    images: Annotated[
        list[str] | None,
        typer.Argument(help="With --faithfulness: images, as for `pycam heatmap`.", show_default=False),
    ] = None,
    faithfulness: Annotated[
        bool,
        typer.Option("--faithfulness", help="Run a model on masked images: what do their scores owe to the maps?"),
    ] = False,
    source: options.TruthOptions = options.NO_TRUTH,
    net: options.HeadOptions = options.HeadOptions(),
    methods: options.MethodOptions = options.MethodOptions(),
    engine: options.EngineOptions = options.EngineOptions(),
    class_name: Annotated[
        str | None,
        typer.Option("--class", help="With --faithfulness: class, in place of the best one of each image."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of insertion and deletion; RISE has 224.")] = STEPS,
    out: Annotated[
        Path | None,
        typer.Option(
            help="With --faithfulness: folder that keeps what is measured; the same command resumes an interrupted one."
        ),
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            help="Up to 5 times `label xmin ymin xmax ymax` per line (ILSVRC), or `image,class,…` without boxes."
        ),
    ] = None,
    maps: Annotated[
        Path | None,
        typer.Option(help="Maps of the ground-truth classes: a folder with one .npy or 8-bit image each, or a .npz."),
    ] = None,
    masks: Annotated[
        Path | None,
        typer.Option(help="Ground-truth masks, for PxAP: a folder with the WSOL benchmark's localization.txt."),
    ] = None,
    mask_root: Annotated[Path | None, typer.Option(help="Folder of the files that --masks names.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Threshold of localization errors. Default: the best one for these maps.")
    ] = None,
    threshold_from: Annotated[
        Path | None, typer.Option(help="Use the best thresholds of another set: its `pycam score --json`, or a run.")
    ] = None,
    box_rule: Annotated[
        str | None, options.one_of(box_rules, "Box rule of localization errors, in place of the largest contour")
    ] = None,
    step: Annotated[float, typer.Option(help="Distance of the thresholds that maps are cut at.")] = 0.001,
    baseline: Annotated[
        str | None, options.one_of(BASELINES, "Score a Gaussian in the center, or the whole image, in place of maps")
    ] = None,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Score predictions (ILSVRC's errors) or maps (MaxBoxAcc, PxAP, localization) against ground truth.

    With --faithfulness: score the maps of a model by what masked images do to the scores of their classes.
    """
    if faithfulness:
        options.refuse(context, "--faithfulness scores the maps of a model", *ERRORS_ONLY)
        if not images:
            raise UsageError("--faithfulness needs images: pycam score --faithfulness IMAGES --model MODEL")
        if source.ground_truth is None:
            options.refuse(context, "no --ground-truth is given", "ground_truth_classes", "meta")
        else:
            options.refuse(context, "--ground-truth names the class of each image", "class_name")
        truth = None if source.ground_truth is None else source.read()
        model = net.load(quiet, labels=source.labels, needs_maps=methods.needs_maps)
        if truth is not None and source.labels is None and (file := label_file(truth, model.labels)) is not None:
            truth = replace(source, labels=file).read()
        notes = Notes(quiet)
        paths = all_images(images, notes)
        measured, failures = score_faithfulness(
            paths, model, methods, engine, truth=truth, class_name=class_name, steps=steps, out=out, notes=notes
        )
        if measured["methods"] and as_json:
            print_json(measured)
        elif measured["methods"]:
            faithfulness_table(measured).show()
        raise_failures(failures, len(paths))
        return
    options.refuse(
        context, "only --faithfulness runs a model", *FAITHFULNESS_ONLY, fix="add --faithfulness, or leave it out"
    )
    if source.ground_truth is None:
        raise UsageError("no ground truth is given: give --ground-truth PATH, or --faithfulness and images")
    if (maps, baseline, predictions) == (None, None, None) or (baseline is not None and (maps or predictions)):
        raise UsageError("give --predictions FILE, --maps PATH, both of them, or --baseline NAME")
    if baseline not in (None, *BASELINES):
        raise UsageError(f"no baseline is called {baseline!r}: the baselines are {', '.join(BASELINES)}")
    if maps is None:
        options.refuse(context, "only maps have them", "masks", "mask_root", "threshold", "threshold_from", "box_rule")
        if baseline is None:
            options.refuse(context, "only maps have thresholds", "step")
    if masks is None:
        options.refuse(context, "no --masks are given", "mask_root")
    truth = source.read()
    result: dict[str, Any] = {
        "ground_truth": str(source.ground_truth),
        "images": len(truth),
        "blacklisted": int(truth.blacklisted.sum()),
        "notes": list(truth.notes),
    }
    if maps is not None:
        if box_rule is not None:
            options.refuse(context, "a box rule has a threshold of its own: give --threshold", "threshold_from")
        rule = None if box_rule is None else Rule.of(box_rule, threshold)
        chosen = BEST if rule else Chosen.of(threshold, threshold_from)
        _score_maps(result, maps, truth, masks, mask_root, predictions, chosen, rule, step)
    elif predictions is not None and names_images(predictions):
        result |= Scores(_classification_hits(result, predictions, truth), None).figures()
    elif predictions is not None:
        submitted = read_predictions(predictions, truth.class_names)
        result |= {"predictions": str(predictions)} | score_predictions(submitted, truth).figures()
        result |= known_class_errors(Baselines.of(truth))
        result["notes"] += box_warnings(submitted, truth)
        if not truth.class_names:
            result["notes"].append(
                "the ground truth has no names of classes: labels of predictions are read as ILSVRC2014 IDs"
            )
    else:
        name, scored = BASELINES[baseline or ""]
        result |= {"maps": name} | _accuracies(scored(truth, _thresholds(step)), truth)
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


def _score_maps(
    result: dict[str, Any],
    path: Path,
    truth: GroundTruth,
    masks: Path | None,
    mask_root: Path | None,
    predictions: Path | None,
    chosen: Chosen,
    rule: Rule | None,
    step: float,
) -> None:
    """Add the scores of maps, of all kinds that the ground truth allows, to a result."""
    names = truth.counted_names
    found = find_maps(path, names, truth.names)
    targets = None if masks is None else read_masks(masks, names, mask_root)
    classified = None if predictions is None else _classification_hits(result, predictions, truth)
    if not truth.has_boxes and (chosen != BEST or rule):
        given = "--box-rule" if rule else chosen.option
        raise UsageError(f"{given} has no effect: {path.name} is scored without boxes; leave it out")
    shown = Notes().each("maps", found, len(names))
    scores = map_scores.score_maps(shown, truth, targets, _thresholds(step), rule.find_boxes if rule else None)
    result["maps"] = str(path)
    if classified is not None:
        result |= Scores(classified, None).figures()
    if scores.boxes is not None:
        intervals = result.pop("intervals", {})
        result |= _accuracies(scores.boxes, scores.truth)
        result |= rule.figures() if rule else chosen.figures(scores.boxes)
        box = f"box rule {rule.name}" if rule else "the box of the largest contour"
        at = (
            "" if result["threshold"] is None else f" at threshold {result['threshold']:g} ({result['threshold_from']})"
        )
        result["notes"].append(f"localization, with {box}{at}")
        right = chosen.right(scores.boxes) if scores.rule_hits is None else scores.rule_hits
        located = map_scores.localization(
            scores.boxes, right, None if classified is None else classified[truth.counted]
        )
        result["intervals"] |= intervals | located.pop("intervals")
        result |= located
    for key, figures in scores.pixel_figures().items():
        result[key] = result.get(key, {}) | figures if isinstance(figures, dict) else figures
    lists = {"zero_maps": scores.zero_maps, "nan_maps": scores.nan_maps, "extra_maps": found.extra}
    result |= {key: list(each) for key, each in lists.items()}
    result["notes"] += scores.notes
    if found.extra:
        result["notes"].append(f"{map_scores.listed(found.extra, 'map')} of no image of the ground truth: not scored")


def _classification_hits(result: dict[str, Any], path: Path, truth: GroundTruth) -> NDArray[np.bool_]:
    """Read which classes are predicted, note in a result what is not scored, and return which are correct: (n, 5)."""
    classes, extra = read_classes(path, truth)
    result |= {"predictions": str(path), "extra_predictions": list(extra)}
    if extra:
        shown = map_scores.listed(extra, "prediction")
        result["notes"].append(f"{shown} of no image of the ground truth: not scored")
    return classification_hits(classes, truth.classes)


def _accuracies(accuracy: BoxAccuracy, truth: GroundTruth) -> dict[str, Any]:
    baselines = Baselines.of(truth, accuracy.thresholds)
    assert baselines is not None, "maps were scored against this ground truth"
    return accuracies(accuracy, baselines) | known_class_errors(baselines) | {"intervals": accuracy.intervals()}


def _thresholds(step: float) -> Any:
    if not 0 < step <= 1 or abs(1 / step - round(1 / step)) > 1e-6:
        raise UsageError(f"--step {step:g}: 1 divided by a whole number was expected, as in 0.001 or 0.01")
    return thresholds_of(1 / round(1 / step))
