"""The ablation: each row has the results of an ordinary run of the changed protocol; the net runs once per input."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas
import pytest
from runs import make_recipe, write_images, write_model, write_sources

from pycam.errors import RunError, UsageError
from pycam.evaluation import ablation as ablation_module, evaluator
from pycam.evaluation.ablation import CHANGES, COLUMNS, make_ablation
from pycam.evaluation.plan import Plan
from pycam.evaluation.run import evaluate
from pycam.ilsvrc.predictions import read_predictions
from pycam.ilsvrc.scores import score_predictions
from pycam.metrics.intervals import interval, resampled_means
from pycam.protocols import protocol
from pycam.tables import text

COUNT = 8
MEAN = "104,117,123"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A released run whose first predictions are often correct, because its ground truth is made of them."""
    place = tmp_path_factory.mktemp("ablation")
    model = write_model(place)
    images, truth = place / "images", place / "truth"
    images.mkdir()
    truth.mkdir()
    write_images(images, COUNT)
    recipe = make_recipe(model, "released", mean=MEAN)
    right = {}
    with recipe.make(recipe.load()) as cam:
        for path in sorted(images.iterdir()):
            top = cam(path).top
            x0, y0, x1, y1 = top[len(right) % 3].box
            right[path.stem] = top[len(right) % 3].index, (x0 + 1, y0 + 1, x1 - 1, y1)
    evaluate(Plan.read(recipe, write_sources(truth, images, right), batch=3), place / "run")
    return place / "run"


@pytest.fixture(scope="module")
def ablation(folder):
    return make_ablation(folder)


def errors_of(ablation) -> dict[str, float]:
    """Errors of the released run, in percent."""
    return {row["error of"]: row["released"] for row in ablation[0].rows()}


def predictions_of(folder: Path) -> bytes:
    return (folder / "predictions.txt").read_bytes()


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_a_row_has_the_results_of_a_run_of_the_changed_protocol(folder, ablation, tmp_path, change):
    plan = Plan.restore(folder)
    row = protocol("released").with_choices(**change.choices)
    assert row != protocol("released")
    report = evaluate(replace(plan, recipe=replace(plan.recipe, protocol=row)), tmp_path)
    assert predictions_of(tmp_path) == predictions_of(folder / "ablation" / change.name)
    (found,) = [row for row in ablation[1].rows() if row["change"] == change.name]
    errors = report.get("submissions", {"bbox1": report})["bbox1"]
    expected = [errors[f"{kind}_error"][k] for kind in ("classification", "localization") for k in ("top1", "top5")]
    before = errors_of(ablation)
    assert tuple(before) == COLUMNS
    after = [(before[column] + found[column]) / 100 for column in COLUMNS]
    assert after == pytest.approx([*expected, errors["gt_known_error"]])


def test_effects_are_differences_of_the_same_images(folder, ablation):
    truth = Plan.restore(folder).truth
    before = score_predictions(read_predictions(folder / "predictions.txt"), truth).localized[:, 0]
    assert errors_of(ablation)["localization, top-1"] == pytest.approx(100 * np.mean(~before))
    assert 0 < np.mean(before) < 1
    for row in ablation[1].rows():
        predictions = read_predictions(folder / "ablation" / row["change"] / "predictions.txt")
        after = score_predictions(predictions, truth).localized[:, 0]
        difference, low, high = (row[f"localization, top-1{bound}"] / 100 for bound in ("", " low", " high"))
        assert difference == pytest.approx(np.mean(~after) - np.mean(~before))
        means = resampled_means(np.stack([before, after], axis=1))
        assert [low, high] == pytest.approx(interval(means[:, 0] - means[:, 1]).tolist())
        assert low <= difference <= high


def test_the_net_runs_once_for_each_input(folder, tmp_path, monkeypatch):
    computed = []
    forward = evaluator.forward

    def counted(cam, batch, prepared):
        computed.extend(task.position for task in batch)
        return forward(cam, batch, prepared)

    monkeypatch.setattr(evaluator, "forward", counted)
    plan = Plan.restore(folder)
    evaluate(plan, tmp_path)
    first = text(make_ablation(tmp_path), ".json")
    # The released input, the mean value, and two other views.
    assert sorted(computed) == sorted(list(range(COUNT)) * 4)
    computed.clear()
    assert text(make_ablation(tmp_path), ".json") == first
    assert computed == []
    assert (tmp_path / "ablation.json").read_text() == first
    assert f"{COUNT} images" in json.loads(first)[0]["title"]


def test_skipped_images_are_in_no_row_with_any_number_of_workers(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(ablation_module, "CHANGES", [change for change in CHANGES if change.name == "jpeg"])
    plan = Plan.restore(folder)
    images = tmp_path / "images"
    images.mkdir()
    for path in plan.images:
        (images / path.name).write_bytes(path.read_bytes())
    (images / "002.png").write_bytes(b"")
    assert plan.sources is not None
    sources = replace(plan.sources, images=str(images))
    evaluate(Plan.read(plan.recipe, sources, batch=3), tmp_path / "run", skip=True)
    ablation = make_ablation(tmp_path / "run", workers=2)
    assert f"{COUNT - 1} images" in ablation[0].title
    lines = predictions_of(folder / "ablation/jpeg").splitlines()
    assert predictions_of(tmp_path / "run/ablation/jpeg").splitlines() == [
        line for row, line in enumerate(lines) if row != 2
    ]


def test_only_released_runs_have_an_ablation(folder, tmp_path):
    plan = Plan.restore(folder)
    evaluate(replace(plan, recipe=replace(plan.recipe, protocol=protocol("paper"))), tmp_path)
    with pytest.raises(UsageError, match="a run of protocol 'paper': an ablation needs a run of protocol 'released'"):
        make_ablation(tmp_path)
    with pytest.raises(RunError, match="not the folder of a run"):
        make_ablation(tmp_path / "none")


def test_table_and_csv(ablation):
    errors, effects = (table.section() for table in ablation)
    assert errors["rows"] == [[column, f"{error:.2f}%"] for column, error in errors_of(ablation).items()]
    assert effects["columns"] == ["change", "released", "instead", *(f"{column} (95 %)" for column in COLUMNS)]
    assert len(effects["rows"]) == len(CHANGES)
    effect = ablation[1].frame.loc[0, "localization, top-5"]
    assert effects["rows"][0][6].startswith(f"{effect:+.2f} (")
    assert ablation[1].markdown().count("\n| ") == 2 + len(CHANGES)
    read = pandas.read_csv(io.StringIO(text(ablation, ".csv")))
    assert len(read) == len(COLUMNS) + len(CHANGES)
    assert read.loc[read["change"] == "thresholds", "localization, top-5"].item() == pytest.approx(effect)
