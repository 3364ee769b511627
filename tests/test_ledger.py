"""The ledger: each row is what an ordinary run of the changed protocol gives, and the net runs once an input."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from runs import make_recipe, write_model, write_pictures, write_sources

from pycam.errors import RunError, UsageError
from pycam.evaluation import bench
from pycam.evaluation import ledger as ledger_module
from pycam.evaluation.ledger import CHANGES, COLUMNS, make_ledger
from pycam.evaluation.plan import Plan
from pycam.evaluation.run import evaluate
from pycam.ilsvrc.bootstrap import interval, resampled_means
from pycam.ilsvrc.metrics import score_guesses
from pycam.ilsvrc.predictions import read_predictions
from pycam.protocols import protocol
from pycam.report import ledger as ledger_table
from pycam.report.text import markdown

COUNT = 8
MEAN = "104,117,123"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A released run whose first guesses are mostly right, by a truth made of them."""
    place = tmp_path_factory.mktemp("ledger")
    model = write_model(place)
    pictures, truth = place / "pictures", place / "truth"
    pictures.mkdir()
    truth.mkdir()
    write_pictures(pictures, COUNT)
    recipe = make_recipe(model, "released", mean=MEAN)
    right = {}
    with recipe.load() as cam:
        for path in sorted(pictures.iterdir()):
            top = cam(path).top
            x0, y0, x1, y1 = top[len(right) % 3].box
            right[path.stem] = top[len(right) % 3].index, (x0 + 1, y0 + 1, x1 - 1, y1)
    evaluate(Plan.read(recipe, write_sources(truth, pictures, right), batch=3), place / "run")
    return place / "run"


@pytest.fixture(scope="module")
def ledger(folder):
    return make_ledger(folder)


def guesses(folder: Path) -> bytes:
    return (folder / "predictions.txt").read_bytes()


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.name)
def test_a_row_is_what_a_run_of_the_changed_protocol_gives(folder, ledger, tmp_path, change):
    plan = Plan.restore(folder)
    row = protocol("released").with_choices(**change.choices)
    assert row != protocol("released")
    report = evaluate(replace(plan, recipe=replace(plan.recipe, protocol=row)), tmp_path)
    assert guesses(tmp_path) == guesses(folder / "ledger" / change.name)
    (found,) = [row for row in ledger.rows if row.name == change.name]
    errors = report.get("submissions", {"bbox1": report})["bbox1"]
    expected = [errors[f"{kind}_error"][k] for kind in ("classification", "localization") for k in ("top1", "top5")]
    assert [effect.error for effect in found.effects.values()] == pytest.approx([*expected, errors["gt_known_error"]])
    assert tuple(found.effects) == COLUMNS


def test_effects_are_differences_of_the_same_pictures(folder, ledger):
    truth = Plan.restore(folder).truth
    before = score_guesses(read_predictions(folder / "predictions.txt"), truth).localized[:, 0]
    assert ledger.errors["localization, top-1"] == np.mean(~before)
    assert 0 < np.mean(before) < 1
    for row in ledger.rows:
        after = score_guesses(read_predictions(folder / "ledger" / row.name / "predictions.txt"), truth).localized[:, 0]
        effect = row.effects["localization, top-1"]
        assert effect.difference == pytest.approx(np.mean(~after) - np.mean(~before))
        means = resampled_means(np.stack([before, after], axis=1))
        assert [effect.low, effect.high] == pytest.approx(interval(means[:, 0] - means[:, 1]).tolist())
        assert effect.low <= effect.difference <= effect.high


def test_the_net_runs_once_for_each_input(folder, tmp_path, monkeypatch):
    seen = []
    look = bench.Bench.look

    def counted(self, batch, prepared):
        seen.extend(task.position for task in batch)
        return look(self, batch, prepared)

    monkeypatch.setattr(bench.Bench, "look", counted)
    plan = Plan.restore(folder)
    evaluate(plan, tmp_path)
    first = make_ledger(tmp_path)
    # The released input, the mean pixel, and two other views.
    assert sorted(seen) == sorted(list(range(COUNT)) * 4)
    seen.clear()
    assert make_ledger(tmp_path) == first
    assert seen == []
    assert json.loads((tmp_path / "ledger.json").read_text())["pictures"] == COUNT


def test_pictures_that_were_left_out_are_in_no_row_whoever_works(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(ledger_module, "CHANGES", [change for change in CHANGES if change.name == "jpeg"])
    plan = Plan.restore(folder)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for path in plan.pictures:
        (pictures / path.name).write_bytes(path.read_bytes())
    (pictures / "002.png").write_bytes(b"")
    assert plan.sources is not None
    sources = replace(plan.sources, pictures=str(pictures))
    evaluate(Plan.read(plan.recipe, sources, batch=3), tmp_path / "run", skip=True)
    ledger = make_ledger(tmp_path / "run", workers=2)
    assert ledger.pictures == COUNT - 1
    lines = guesses(folder / "ledger/jpeg").splitlines()
    assert guesses(tmp_path / "run/ledger/jpeg").splitlines() == [line for row, line in enumerate(lines) if row != 2]


def test_only_released_runs_have_a_ledger(folder, tmp_path):
    plan = Plan.restore(folder)
    evaluate(replace(plan, recipe=replace(plan.recipe, protocol=protocol("paper"))), tmp_path)
    with pytest.raises(
        UsageError, match="a run of protocol 'paper': the ledger takes one of protocol 'released' apart"
    ):
        make_ledger(tmp_path)
    with pytest.raises(RunError, match="not the folder of a run"):
        make_ledger(tmp_path / "none")


def test_table_and_csv(ledger):
    section = ledger_table.section(ledger)
    assert section["columns"] == ["released", "instead", *COLUMNS]
    assert section["rows"][0][2] == f"{ledger.errors[COLUMNS[0]]:.2%}"
    assert len(section["rows"]) == 1 + len(CHANGES)
    effect = ledger.rows[0].effects["localization, top-5"]
    assert section["rows"][1][5].startswith(f"{100 * effect.difference:+.2f} (")
    assert markdown(section).count("\n| ") == 2 + len(section["rows"])
    rows = list(csv.DictReader(ledger_table.csv_text(ledger).splitlines()))
    assert len(rows) == len(COLUMNS) * (1 + len(CHANGES))
    (row,) = [row for row in rows if (row["change"], row["error of"]) == ("thresholds", "localization, top-5")]
    assert float(row["difference"]) == pytest.approx(100 * effect.difference, abs=1e-4)
