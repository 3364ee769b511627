"""Box rules and thresholds from the command line to every file that records them, and the rules side by side."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from runs import make_recipe, write_images, write_model, write_sources

import pycam
from pycam.cli import main
from pycam.errors import UsageError
from pycam.evaluation.plan import Plan, Sources
from pycam.evaluation.run import evaluate
from pycam.protocols import protocol
from pycam.report.box_rules import FILE, compare_rules

COUNT = 8
MEAN = "104,117,123"
COLUMNS = {
    "localization, top-1": ("localization_error", "top1"),
    "localization, top-5": ("localization_error", "top5"),
    "localization, class known": ("gt_known_error",),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A net, images, and their ground truth, which is made of the boxes of three rules."""
    place = tmp_path_factory.mktemp("rules")
    model = write_model(place)
    for name in ("images", "truth"):
        (place / name).mkdir()
    write_images(place / "images", COUNT)
    recipe = make_recipe(model, "paper", mean=MEAN)
    right = {}
    with recipe.make(recipe.load()) as cam:
        for path in sorted((place / "images").iterdir()):
            item = cam(path).top[len(right) % 3]
            rule = pycam.box_rules[("paper", "tscam", "danet-union")[len(right) % 3]]
            x0, y0, x1, y1 = rule.image_boxes(item.image_map, 0.6)[0].tolist()
            right[path.stem] = item.index, (x0 + 1, y0 + 1, x1, y1)
    write_sources(place / "truth", place / "images", right)
    return place


def run(folder: Path, out: str, row: str, **choices) -> Path:
    recipe = make_recipe((folder / "tiny.prototxt", folder / "tiny0.caffemodel"), row, mean=MEAN)
    recipe = replace(recipe, protocol=recipe.protocol.with_choices(**choices))
    evaluate(Plan.read(recipe, Sources(str(folder / "images"), str(folder / "truth")), batch=3), folder / out)
    return folder / out


@pytest.fixture(scope="module")
def first_run(folder) -> Path:
    return run(folder, "paper", "paper", threshold=0.6)


def report_of(place: Path) -> dict:
    return json.loads((place / "report.json").read_text())


def values_of(report: dict) -> dict[str, float]:
    found = report.get("submissions", {"bbox1": report})["bbox1"]
    values = {}
    for column, keys in COLUMNS.items():
        value, interval = found, found["intervals"]
        for key in keys:
            value, interval = value[key], interval[key]
        for name, each in zip((column, f"{column} low", f"{column} high"), (value, *interval), strict=True):
            values[name] = pytest.approx(100 * each)
    return values


def said(row: dict) -> dict:
    return {name: value for name, value in row.items() if name not in ("rule", "threshold")}


def test_each_row_is_a_run_of_its_rule(folder, first_run):
    table = compare_rules(first_run)
    first, *rows = table.rows()
    assert (first["rule"], first["threshold"]) == ("paper (the run)", "0.6")
    assert said(first) == values_of(report_of(first_run))
    by_rule = {row["rule"]: row for row in rows}
    assert list(by_rule) == [name for name in pycam.box_rules if name not in ("grabcut", "chexnet-peaks")]
    assert by_rule["paper"] == first | {"rule": "paper"}
    assert by_rule["psol-448"]["threshold"] == ""
    assert len({tuple(said(row).values()) for row in rows}) > 3
    for name, choices in [("tscam", {"threshold": 0.6}), ("danet-union", {"threshold": 0.6}), ("released", {})]:
        assert said(by_rule[name]) == values_of(report_of(run(folder, name, "paper", box_rule=name, **choices)))
    assert json.loads((first_run / FILE).read_text())[0]["rows"] == table.rows()


def test_kept_maps_give_the_same_and_one_threshold_is_for_all(folder):
    released = run(folder, "released-run", "released", view="center")
    first, *rows = compare_rules(released, ["released", "wsol-single", "grabcut"], 0.6).rows()
    assert said(first) == said(rows[0]) == values_of(report_of(released))
    assert [row["threshold"] for row in rows] == ["", "0.6", ""]
    for name, choices in (("wsol-single", {"threshold": 0.6}), ("grabcut", {})):
        other = run(folder, f"released-{name}", "released", view="center", box_rule=name, **choices)
        assert said(rows[-2 if name == "wsol-single" else -1]) == values_of(report_of(other))


def command(folder: Path, *arguments: object) -> list[str]:
    net = ["--prototxt", folder / "tiny.prototxt", "--weights", folder / "tiny0.caffemodel", "--mean", MEAN]
    return [str(each) for each in (*arguments[:1], *net, *arguments[1:])]


def fails(capsys, *arguments: object) -> str:
    assert main([str(each) for each in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_the_command_prints_the_table(first_run, capsys, tmp_path):
    assert main(["report", "rules", str(first_run), "--box-rule", "adl", "--box-rule", "paper", "--json", "-q"]) == 0
    (table,) = json.loads(capsys.readouterr().out)
    assert [row["rule"] for row in table["rows"]] == ["paper (the run)", "adl", "paper"]
    out = tmp_path / "rules.csv"
    assert main(["report", "rules", str(first_run), "--box-rule", "adl", "--threshold", "0.5", "--out", str(out)]) == 0
    assert [row["threshold"] for row in csv.DictReader(out.read_text().splitlines())] == ["0.6", "0.5"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--box-rule", "tscan"], "unknown box rule 'tscan': did you mean 'tscam'?"),
        (["--box-rule", "psol-448", "--threshold", "0.3"], "--threshold 0.3 has no effect: psol-448 has no threshold"),
        (["--box-rule", "chexnet-peaks"], "box rule 'chexnet-peaks' needs the size of the boxes of a disease"),
        (["--threshold", "nan"], "threshold is nan; expected a number from 0 to"),
        (["--threshold", "1"], "box rule 'wsol-single': threshold is 1.0; expected a number from 0 to below 1"),
    ],
)
def test_rules_that_cannot_be_compared_are_refused(first_run, arguments, message, capsys):
    assert message in fails(capsys, "report", "rules", first_run, *arguments)


def test_a_run_without_boxes_has_nothing_to_compare(folder, tmp_path, capsys):
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"{number:03}.png {number}\n" for number in range(COUNT)))
    recipe = make_recipe((folder / "tiny.prototxt", folder / "tiny0.caffemodel"), "paper", mean=MEAN)
    evaluate(Plan.read(recipe, Sources(str(folder / "images"), str(labels)), batch=3), tmp_path / "run")
    assert main(["report", "rules", str(tmp_path / "run")]) == 8
    assert "the ground truth of the run has no boxes" in capsys.readouterr().err
    assert main(["report", "rules", str(folder / "images")]) == 10


def test_a_run_records_its_rule_and_threshold(folder, first_run, tmp_path, capsys):
    arguments = ["--images", folder / "images", "--ground-truth", folder / "truth", "--out", tmp_path / "run", "-q"]
    chosen = ["--box-rule", "wsol-single", "--threshold", "0.25"]
    assert main(command(folder, "evaluate", *arguments, *chosen)) == 0
    report = report_of(tmp_path / "run")
    assert (report["box_rule"], report["threshold"]) == ("wsol-single", 0.25)
    assert report["overrides"] == {"box_rule": "wsol-single", "threshold": "0.25"}
    assert (report["identity"]["box_rule"], report["identity"]["threshold"]) == ("wsol-single", "0.25")
    assert "box_rule wsol-single, threshold 0.25" in (tmp_path / "run/report.md").read_text()
    capsys.readouterr()
    # Another threshold is another run, and the default is one like any other.
    assert main(command(folder, "evaluate", *arguments, "--box-rule", "wsol-single")) == 10
    assert "threshold" in capsys.readouterr().err
    same = ["--box-rule", "wsol-single", "--set", "threshold=1/4"]
    assert main(command(folder, "evaluate", *arguments, *same)) == 0
    shutil.rmtree(tmp_path / "run")
    assert "takes no threshold" in fails(
        capsys, *command(folder, "evaluate", *arguments, "--protocol", "released", "--threshold", "0.3")
    )
    assert "the threshold is already chosen: 0.3" in fails(
        capsys, *command(folder, "evaluate", *arguments, "--threshold", "0.3", "--set", "threshold=0.2")
    )
    assert main(["report", "html", str(first_run), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "box rule paper, threshold 0.6" in page
    assert '"threshold":0.6' in page.replace(" ", "")


def test_a_heat_map_records_its_rule_and_threshold(folder, tmp_path, capsys):
    image = folder / "images/000.png"
    boxes = {}
    for threshold in ("0.2", "0.6"):
        out = tmp_path / threshold
        chosen = ["--boxes", "--box-rule", "danet-max", "--threshold", threshold, "--out", out, "-q"]
        assert main(command(folder, "heatmap", image, *chosen)) == 0
        written = json.loads((out / "000/000.json").read_text())
        assert (written["box_rule"], written["threshold"]) == ("danet-max", float(threshold))
        rows = list(csv.DictReader((out / "boxes.csv").read_text().splitlines()))
        assert {(row["box_rule"], row["threshold"]) for row in rows} == {("danet-max", threshold)}
        boxes[threshold] = [item["box"] for item in written["top"]]
    assert boxes["0.2"] != boxes["0.6"]
    out = ["--boxes", "--out", tmp_path / "more", "-q"]
    assert main(command(folder, "heatmap", image, *out, "--box-rule", "grabcut")) == 0
    written = json.loads((tmp_path / "more/000/000.json").read_text())
    assert (written["box_rule"], written["threshold"]) == ("grabcut", None)
    with pycam.load(
        prototxt=folder / "tiny.prototxt", weights=folder / "tiny0.caffemodel", mean=MEAN, box_rule="grabcut"
    ) as cam:
        item = cam(image).top[0]
        pixels = cv2.imread(str(image))
        assert written["top"][0]["box"] == pycam.box_rules["grabcut"].image_boxes(item.map, image=pixels)[0].tolist()
    for arguments, message in [
        (
            ["--threshold", "0.3"],
            "--threshold has no effect here: boxes are found with --boxes only; add --boxes, or leave it out",
        ),
        (
            ["--box-rule", "adl"],
            "--box-rule has no effect here: boxes are found with --boxes only; add --boxes, or leave it out",
        ),
        (["--boxes", "--box-rule", "tscan"], "box_rule is 'tscan'; did you mean 'tscam'?"),
        (["--boxes", "--box-rule", "chexnet-peaks"], "use it in Python, pycam.box_rules['chexnet-peaks']"),
        (
            ["--boxes", "--box-rule", "psol-448", "--threshold", "0.3"],
            "every cell above 0 is foreground; leave out 0.3",
        ),
        (["--boxes", "--threshold", "1.01"], "'paper': threshold is 1.01; expected a number from 0 to 1"),
        (["--boxes", "--box-rule", "adl", "--threshold", "1"], "expected a number from 0 to below 1"),
        (["--boxes", "--threshold", "nan"], "threshold is nan; expected a number from 0 to 1"),
    ]:
        assert message in fails(capsys, *command(folder, "heatmap", image, *arguments))


def test_a_page_of_images_starts_at_the_threshold(folder, tmp_path):
    image = folder / "images/000.png"
    for rule, text in (("paper", "box rule paper, threshold 0.45"), ("tscam", "box rule tscam, threshold 0.45")):
        out = tmp_path / f"{rule}.html"
        chosen = ["--box-rule", rule, "--threshold", "0.45", "--out", out, "-q"]
        assert main(["report", *command(folder, "html", image, *chosen)]) == 0
        page = out.read_text()
        assert text in page
        assert '"threshold":0.45' in page.replace(" ", "")


def test_a_protocol_has_the_threshold_of_its_rule():
    row = protocol("paper")
    assert (row.threshold, row.box_threshold, row.choices()["threshold"]) == (None, 0.2, "0.2")
    assert row.boxes_by == "box rule paper, threshold 0.2"
    assert (protocol("released").box_threshold, protocol("released").boxes_by) == (None, "box rule released")
    chosen = row.with_choices(threshold="1/4")
    assert chosen.box_threshold == 0.25
    assert chosen.with_choices(box_rule="tscam").box_threshold == 0.25
    assert chosen.with_choices(method="saliency").boxes_by == "box rule smoothed, threshold 0.25"
    assert chosen.with_choices(box_rule="psol-448").box_threshold is None
    assert chosen.with_methods(["cam", "saliency"], box_rule="adl")[1].boxes_by == "box rule adl, threshold 0.25"
    for choices in ({"box_rule": "released", "threshold": 0.3}, {"threshold": np.nan}, {"box_rule": "chexnet-peaks"}):
        with pytest.raises(UsageError, match=r"^box rule "):
            row.with_choices(**choices)
    with pytest.raises(UsageError, match="threshold is 'high'; expected a number or a fraction"):
        row.with_choices(threshold="high")
