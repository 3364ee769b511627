"""`pycam evaluate` from end to end: ILSVRC's layout, real weights, and the figures that real Caffe gave."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest

from pycam import zoo
from pycam.cli import main
from pycam.report.runs import Run, run_page

ONE_IMAGE = 1 / 300 + 1e-4


@pytest.fixture
def mini(shared: Path) -> Path:
    return shared / "data/ilsvrc-mini"


@pytest.fixture
def command(shared: Path, mini: Path, monkeypatch) -> list[str]:
    monkeypatch.setenv("PYCAM_MODELS", str(shared / "data/mean"))
    options = {
        "--model": "squeezenet-v1.0",
        "--weights": shared / "data/weights/squeezenet_v1.0.caffemodel",
        "--images": mini / "ILSVRC2012_img_val",
        "--ground-truth": mini / "ILSVRC2012_bbox_val",
        "--ground-truth-classes": mini / "devkit/data/ILSVRC2014_clsloc_validation_ground_truth.txt",
        "--blacklist": mini / "devkit/data/ILSVRC2014_clsloc_validation_blacklist.txt",
    }
    return ["evaluate", *(str(word) for option in options.items() for word in option)]


def fails(capsys, *arguments: object) -> tuple[int, str]:
    """Run pycam, which must fail with one line; return its exit code and the line."""
    code = main([str(argument) for argument in arguments])
    (line,) = capsys.readouterr().err.splitlines()
    assert code not in (0, 70)
    return code, line


@pytest.mark.shared
@pytest.mark.parametrize(
    "engine",
    # The others have Caffe's best five and every blob: tests/test_engines.py.
    ["onnxruntime", pytest.param("caffe", marks=[pytest.mark.caffe, pytest.mark.slow])],
)
def test_the_errors_of_the_paper_protocol(command, tmp_path, engine):
    assert main([*command, "--protocol", "paper", "--engine", engine, "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["images"], report["protocol"], report["engine"]) == (300, "paper", engine)
    for found, expected in (
        (report["classification_error"]["top1"], 0.2700),
        (report["classification_error"]["top5"], 0.0667),
        (report["localization_error"]["top1"], 0.6333),
        (report["localization_error"]["top5"], 0.5600),
        (report["gt_known_error"], 0.5367),
        (report["whole_image_gt_known_error"], 0.5100),
    ):
        assert found == pytest.approx(expected, abs=ONE_IMAGE)


def first_two_boxes(path: Path) -> dict[str, dict[tuple[int, int], list[int]]]:
    """Boxes of a `predictions.csv`: image -> (rank from 0, number from 0) -> corners."""
    boxes: dict[str, dict[tuple[int, int], list[int]]] = defaultdict(dict)
    for row in csv.DictReader(path.read_text().splitlines()):
        if row["rank"] != "true":
            key = int(row["rank"]) - 1, int(row["box"]) - 1
            boxes[row["image"]][key] = [int(row[side]) for side in ("xmin", "ymin", "xmax", "ymax")]
    return boxes


def assert_like_the_original(golden: dict, folder: Path, count: int) -> None:
    """Check that classes are equal, first boxes equal for 98 % of the maps and within two pixels for 99.5 %."""
    found = first_two_boxes(folder / "predictions.csv")
    classes: dict[str, list[int]] = defaultdict(list)
    for row in csv.DictReader((folder / "predictions.csv").read_text().splitlines()):
        if row["rank"] != "true" and row["box"] == "1":
            classes[row["image"]].append(int(row["index"]))
    assert len(found) == count
    distances = []
    for name, boxes in found.items():
        assert classes[name] == golden["pictures"][name]["index"]
        for rank, ((x, y, w, h), *_) in enumerate(golden["pictures"][name]["boxes"]):
            pairs = zip(boxes[rank, 0], (x, y, x + w, y + h), strict=True)
            distances.append(max(abs(ours - theirs) for ours, theirs in pairs))
    assert len(distances) == 5 * count
    assert sum(distance == 0 for distance in distances) >= 0.98 * len(distances)
    assert sum(distance <= 2 for distance in distances) >= 0.995 * len(distances)


@pytest.fixture
def golden(shared: Path) -> dict:
    return json.loads((shared / "data/golden/released-mini.json").read_text())


@pytest.mark.shared
@pytest.mark.caffe
def test_the_boxes_of_the_released_protocol(command, golden, tmp_path):
    options = ["--protocol", "released", "--engine", "caffe", "--limit", "20"]
    assert main([*command, *options, "--out", str(tmp_path)]) == 0
    assert_like_the_original(golden, tmp_path, 20)


@pytest.mark.shared
@pytest.mark.slow
def test_the_errors_of_the_released_protocol(command, golden, tmp_path):
    assert main([*command, "--protocol", "released", "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    for name, expected in golden["errors"].items():
        found = report["submissions"][name]
        for kind in ("classification", "localization"):
            top1_and_top5 = [found[f"{kind}_error"][k] for k in ("top1", "top5")]
            assert top1_and_top5 == pytest.approx(expected[kind], abs=ONE_IMAGE)
    assert_like_the_original(golden, tmp_path, 300)


@pytest.mark.shared
def test_what_is_printed(command, tmp_path, capsys):
    arguments = [*command, "--limit", "12", "--out", str(tmp_path)]
    assert main(arguments) == 0
    output = capsys.readouterr()
    report = json.loads((tmp_path / "report.json").read_text())
    lines = output.out.splitlines()
    assert lines[0].startswith("12 images, ")
    (line,) = [line for line in lines if line.startswith("localization, top-5")]
    assert f"{report['localization_error']['top5']:.2%}" in line
    shares = ", ".join(f"{name} {share:.0%}".replace("%", " %") for name, share in report["timing"].items())
    assert re.fullmatch(r"decode \d+ %, net \d+ %, boxes \d+ %, idle \d+ %", shares)
    assert output.err == f"{shares}\nwrote predictions and report to {tmp_path}/\n"
    assert main([*arguments, "--json"]) == 0
    output = capsys.readouterr()
    assert json.loads(output.out) == report
    assert output.err.startswith("resuming: 12 of 12 images are done\n")
    assert main([*arguments, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.shared
def test_other_choices_are_reported_and_make_another_run(command, tmp_path, capsys):
    arguments = [*command, "--limit", "4", "--out", str(tmp_path)]
    assert main([*arguments, "--view", "full", "--set", "resizer=pillow_bicubic"]) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["overrides"] == {"view": "full", "resizer": "pillow_bicubic"}
    assert "protocol paper, view full, resizer pillow_bicubic" in (tmp_path / "report.md").read_text().replace(
        "\n", " "
    )
    capsys.readouterr()
    code, line = fails(capsys, *arguments)
    assert code == 10
    assert "differs in view (full, now center), resizer (pillow_bicubic, now opencv_bilinear)" in line


@pytest.mark.shared
def test_a_bad_image_is_reported(command, mini, tmp_path, capsys):
    folder = tmp_path / "images"
    folder.mkdir()
    for path in (mini / "ILSVRC2012_img_val").iterdir():
        (folder / path.name).symlink_to(path)
    first = min(folder.iterdir())
    content = first.read_bytes()
    first.unlink()
    first.write_bytes(content[: len(content) // 2])
    arguments = [*command, "--images", folder, "--limit", "3", "--out", tmp_path / "run"]
    code, line = fails(capsys, *arguments)
    assert code == 6
    assert line.startswith(f"pycam: {first}: ")
    assert main([str(word) for word in [*arguments, "--on-error", "skip"]]) == 0
    output = capsys.readouterr().out
    assert output.startswith("2 images, ")
    assert f"skipped: {first.stem}: {first}: " in output


@pytest.mark.shared
@pytest.mark.parametrize(
    ("options", "code", "complaint"),
    [
        (["--set", "mean=odd"], 2, "mean is 'odd'; expected one of value, image"),
        (["--set", "colour=red"], 2, "--set colour: no such choice; the choices are view, "),
        (["--set", "base=canvas"], 2, "--set base: an evaluation draws nothing"),
        (["--set", "target=probability"], 2, "target 'probability' has no effect with method 'cam'"),
        (["--set", "mean"], 2, "--set mean: expected a choice and its value, as in mean=image"),
        (["--protocol", "papr"], 2, "did you mean 'paper'"),
        (["--engine", "onnx"], 2, "no engine is called 'onnx'"),
        (["--images", "nowhere"], 2, "nowhere: no such folder"),
        (["--ground-truth", "nowhere"], 8, "nowhere: no such file"),
        (["--workers", "0"], 2, "--workers"),
        (["--limit", "0"], 2, "--limit"),
        (["--on-error", "ignore"], 2, "--on-error"),
    ],
)
def test_options_that_cannot_be(command, tmp_path, capsys, options, code, complaint):
    found, line = fails(capsys, *command, "--out", tmp_path / "run", *options)
    assert found == code
    assert complaint in line
    assert not (tmp_path / "run/report.json").exists()


@pytest.mark.shared
def test_an_annotation_without_its_image(command, mini, tmp_path, capsys):
    (tmp_path / "ILSVRC2012_val_00000361.JPEG").symlink_to(mini / "ILSVRC2012_img_val/ILSVRC2012_val_00000361.JPEG")
    code, line = fails(capsys, *command, "--images", tmp_path, "--out", tmp_path / "run")
    assert code == 8
    assert "no image 'ILSVRC2012_val_00001545' in it, which the ground truth names" in line


@pytest.mark.parametrize("names", ["of the card", "of the ground truth", "of the user"])
def test_a_page_names_the_classes_of_the_net_that_ran(tmp_path, names):
    labels = zoo.card_labels(card := zoo.card("squeezenet-cam-caltech101")).names
    own = tuple(f"kind {index}" for index in range(len(labels)))
    (tmp_path / "own.txt").write_text("\n".join(own) + "\n")
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images/a.png"), np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    (truth := tmp_path / "truth.csv").write_text("image,x0,y0,x1,y1,label\na,2,3,30,40,7\n")
    options = ["--model", card.name]
    if names == "of the user":
        options += ["--labels", str(tmp_path / "own.txt")]
    if names == "of the ground truth":  # a net without a card has no labels
        options = ["--prototxt", str(zoo.prototxt_path(card)), "--weights", str(zoo.find_weights(card))]
        (truth := tmp_path / "truth.json").write_text(
            json.dumps(
                {
                    "images": [{"id": 1, "file_name": "a.png", "width": 60, "height": 40}],
                    "annotations": [{"image_id": 1, "category_id": 7, "bbox": [2, 3, 28, 37]}],
                    "categories": [{"id": index, "name": name} for index, name in enumerate(own)],
                }
            )
        )
    options += ["--images", str(tmp_path / "images"), "--ground-truth", str(truth)]
    assert main(["evaluate", *options, "--out", str(tmp_path / "run")]) == 0
    expected = labels if names == "of the card" else own
    with Run.open(tmp_path / "run") as run:
        heading, entries = run_page([run])
        (entry,) = entries
    assert entry.truth.label == expected[7]
    (prediction,) = entry.runs.values()
    assert [item.label for item in prediction.top] == [expected[item.index] for item in prediction.top]
    by_class = next(section for section in heading.sections if section["title"] == "Errors by class")
    assert by_class["rows"][0][0] == expected[7]
    # The paper's tables are of ILSVRC, which these images are not.
    assert "ILSVRC" not in heading.title
    assert not [section["title"] for section in heading.sections if section["title"].startswith("Table")]
