"""Pages of finished runs: their values are those of the run's report, and their maps are those of its boxes."""

from __future__ import annotations

import itertools
import json
import shutil
import sqlite3
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_html_report import Blocks

from pycam.cli import main
from pycam.engines import Options
from pycam.errors import ImageError, RunError, UsageError
from pycam.evaluation.plan import Plan, Recipe, Sources
from pycam.evaluation.run import evaluate
from pycam.maps.boxes import iou
from pycam.maps.rules import box_rules
from pycam.protocols import protocol
from pycam.report.html import NO_LABELS, write_html
from pycam.report.runs import Run, run_page

pytestmark = pytest.mark.shared

IMAGES = 8


@pytest.fixture(scope="module")
def runs(shared, tmp_path_factory) -> dict[str, Path]:
    """Runs of a few images, by the name of their protocol."""
    mini = shared / "data" / "ilsvrc-mini"
    weights = str(shared / "data/weights/squeezenet_v1.0.caffemodel")
    mean = str(shared / "data/mean/ilsvrc_2012_mean.npy")
    folder = tmp_path_factory.mktemp("runs")
    rows = {
        "paper": protocol("paper"),
        "full": protocol("paper").with_choices(view="full"),
        "released": protocol("released"),
        "sweep": protocol("sweep"),
    }
    for name, row in rows.items():
        recipe = Recipe(row, model="squeezenet-v1.0", weights=weights, mean=mean, options=Options(threads=1))
        truth = str(mini / "ILSVRC2012_bbox_val")
        sources = Sources(
            str(mini / "ILSVRC2012_img_val"), truth, ground_truth_classes=str(mini / "val.txt"), limit=IMAGES
        )
        evaluate(Plan.read(recipe, sources, batch=4), folder / name)
    return {name: folder / name for name in rows}


@pytest.mark.parametrize("name", ["paper", "full", "released", "sweep"])
def test_page_says_what_the_run_says(runs, name):
    with Run.open(runs[name]) as run:
        heading, entries = run_page([run])
        shown = list(entries)
    report = json.loads((runs[name] / "report.json").read_text())
    errors = report.get("submissions", {"bbox1": report})["bbox1"]
    wrong = [not entry.outcomes[0].right for entry in shown]
    assert np.mean(wrong) == pytest.approx(errors["localization_error"]["top1"])
    misnamed = [entry.outcomes[0].name == "wrong class" for entry in shown]
    assert np.mean(misnamed) == pytest.approx(errors["classification_error"]["top1"])
    rows = dict(heading.sections[0]["rows"])
    first = rows["localization, top-1" + (", bbox1" if "submissions" in report else "")]
    assert first.startswith(f"{errors['localization_error']['top1']:.2%} (")
    assert [section["title"] for section in heading.sections][:4] == [
        "Errors",
        "Threshold",
        "Calibration",
        "Errors by class",
    ]


@pytest.mark.parametrize("name", ["paper", "full", "released"])
def test_boxes_come_from_the_maps_that_are_shown(runs, name):
    with Run.open(runs[name]) as run:
        _, entries = run_page([run])
        for entry in itertools.islice(entries, 3):
            (prediction,) = entry.runs.values()
            assert entry.truth.index in prediction.classes
            for item in prediction.top:
                map = prediction.placement.on_image(item.feature_maps, entry.image.height, entry.image.width)
                assert [item.box] == [tuple(box) for box in box_rules[prediction.protocol.box_rule](map)[:1].tolist()]


def test_curve_at_the_papers_threshold_is_the_runs_error(runs):
    with Run.open(runs["paper"]) as run:
        heading, entries = run_page([run])
        list(entries)
        expected = 1 - run.report["gt_known_error"]
    curve = dict(heading.sections[1]["series"][0]["points"])
    assert curve[0.2] == pytest.approx(expected, abs=1e-4)


def test_run_stands_among_the_papers_networks(runs):
    with Run.open(runs["paper"]) as run:
        heading, _ = run_page([run])
        expected = run.report["classification_error"]
    table = heading.sections[3]
    assert table["title"].startswith("Table 1")
    rows = {name: (top1, top5) for name, top1, top5 in table["rows"]}
    ours = f"squeezenet-v1.0, paper: here, {IMAGES} images"
    assert rows[ours] == (f"{expected['top1']:.2%}", f"{expected['top5']:.2%}")
    assert rows["GoogLeNet-GAP"] == ("35.00%", "13.20%")
    assert [float(top1[:-1]) for top1, _ in rows.values()] == sorted(float(top1[:-1]) for top1, _ in rows.values())


def test_worst_are_shown_first(runs):
    with Run.open(runs["paper"]) as run:
        heading, entries = run_page([run], worst=3)
        shown = list(entries)
        severity = sorted((outcome.severity for outcome in run.outcomes), reverse=True)
    assert [entry.outcomes[0].severity for entry in shown] == severity[:3]
    assert heading.notes[-1] == "Only the worst 3 of 8 images are shown."
    # A curve of only the worst images would mislead.
    assert [section["title"] for section in heading.sections][:3] == ["Errors", "Calibration", "Errors by class"]


def test_two_runs_are_shown_side_by_side(runs, tmp_path):
    with ExitStack() as stack:
        both = [stack.enter_context(Run.open(runs[name], name)) for name in ("paper", "full")]
        heading, entries = run_page(both)
        shown = list(entries)
    assert heading.title == "paper and full"
    assert [list(entry.runs) for entry in shown] == [["paper", "full"]] * IMAGES
    assert heading.sections[0]["columns"] == ["", "paper (95 %)", "full (95 %)"]
    write_html(tmp_path / "two.html", shown, heading)
    text = (tmp_path / "two.html").read_text()
    assert '"group":"unchanged"' in text


def test_a_page_of_runs_has_every_class_if_asked_for(runs):
    with ExitStack() as stack:
        both = [stack.enter_context(Run.open(runs[name], name)) for name in ("paper", "full")]
        heading, entries = run_page(both, worst=1, every_class=True)
        (entry,) = entries
        assert len(heading.labels) == 1000
        for each, prediction in zip(entry.every, entry.runs.values(), strict=True):
            np.testing.assert_allclose(
                each.scores[prediction.classes], prediction.scores[prediction.classes], rtol=1e-4
            )
            shown = each.maps[:, prediction.classes]
            np.testing.assert_allclose(shown, prediction.feature_maps[:, : shown.shape[1]], rtol=1e-4, atol=1e-4)
        assert run_page(both, worst=1)[0].labels is NO_LABELS


def test_true_boxes_are_half_open_pixels(runs):
    with Run.open(runs["paper"]) as run:
        for name, row in run.rows.items():
            for box, (x0, y0, x1, y1) in zip(run.true_boxes(row), run.results.truth.boxes_of(row), strict=True):
                assert box == (x0, y0, x1, y1)
                assert iou(box, (0, 0, *run.image(name).size)) == pytest.approx(
                    (x1 - x0) * (y1 - y0) / np.prod(run.image(name).size)
                )


def test_an_image_that_has_changed_is_left_out_and_noted(runs, tmp_path):
    """Also if its size in pixels is the same: the maps that the run stored are not those of this image."""
    with Run.open(runs["released"]) as run:
        changed = tmp_path / "changed.JPEG"
        changed.write_bytes(run.plan.images[2].read_bytes() + b"more")
        for images in ((*run.plan.images[:2], changed, *run.plan.images[3:]), (changed,) * IMAGES):
            other = replace(run, plan=replace(run.plan, images=images))
            heading, entries = run_page([other])
            if len(set(images)) == 1:
                with pytest.raises(ImageError, match=r"no image could be shown; .* has changed since the run"):
                    next(entries)
            else:
                assert [entry.name for entry in entries] == [name for name, row in run.rows.items() if row != 2]
                assert heading.notes[-1].startswith(f"skipped: {changed}: has changed since the run, when it had ")


def test_what_is_no_finished_run_is_refused(runs, tmp_path):
    with pytest.raises(RunError, match="not the folder of a run"), Run.open(tmp_path):
        pass
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "plan.json").write_bytes((runs["paper"] / "plan.json").read_bytes())
    with pytest.raises(RunError, match="not the folder of a finished run"), Run.open(unfinished):
        pass
    changed = shutil.copytree(runs["paper"], tmp_path / "changed")
    report = json.loads((changed / "report.json").read_text())
    report["identity"]["ground truth"] = "what it was"
    (changed / "report.json").write_text(json.dumps(report))
    with pytest.raises(RunError, match="ground truth changed since the run"), Run.open(changed):
        pass
    robbed = shutil.copytree(runs["paper"], tmp_path / "robbed")
    with closing(sqlite3.connect(robbed / "run.sqlite")) as store, store:
        store.execute("DELETE FROM images WHERE position = 3")
    with (
        pytest.raises(RunError, match=f"{IMAGES - 1} images are stored, but the report is of {IMAGES}"),
        Run.open(robbed),
    ):
        pass
    with Run.open(runs["paper"], "a") as run, pytest.raises(UsageError, match="no image in common"):
        truth = replace(run.results.truth, names=tuple(f"another {name}" for name in run.results.truth.names))
        run_page([run, replace(run, label="b", results=replace(run.results, truth=truth))])


def test_three_runs_are_shown_side_by_side(runs, tmp_path):
    place = tmp_path / "three.html"
    names = ["paper", "full", "sweep"]
    assert main(["report", "html", *(str(runs[name]) for name in names), "--out", str(place), "--quiet"]) == 0
    page = Blocks(place.read_text("utf-8"))
    report = json.loads(page.json["report"])
    assert report["title"] == "paper, full and sweep"
    assert [run["label"] for run in report["runs"]] == names
    assert [len(card["runs"]) for card in report["images"]] == [3] * IMAGES
    for number, card in enumerate(report["images"]):
        first, *later = (run["outcome"].startswith("right") for run in card["runs"])
        expected = ("regressed" if first else "fixed") if (not first) in later else card["group"]
        assert card["group"] == expected
        assert (card["group"] in ("fixed", "regressed")) == ((not first) in later)
        assert [run["label"] for run in json.loads(page.json[f"image-{number}"])["runs"]] == names
    titles = [section["title"] for section in report["sections"]]
    assert titles[:3] == ["Errors", f"paper and full, {IMAGES} images", f"paper and sweep, {IMAGES} images"]
    columns = report["sections"][2]["columns"]
    assert columns == ["figure", "paper", "sweep", "difference (95 %)", "fixed", "regressed", "p", "mid-p"]
