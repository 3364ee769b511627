from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_ground_truth import GOLDFISH, TENCH, annotate, id_of, save_wsol

from pycam.cli import main


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "xml"
    annotate(folder, "a", (TENCH, 1, 1, 40, 30), size=(40, 30))
    annotate(folder, "b", (GOLDFISH, 1, 1, 10, 10), size=(40, 30))
    annotate(folder, "c", (TENCH, 1, 1, 40, 20), size=(40, 30))
    return folder


@pytest.fixture
def submission(tmp_path: Path) -> Path:
    """Write a correct line; a wrong and a correct box; a wrong and a correct class."""
    tench, goldfish = id_of(TENCH), id_of(GOLDFISH)
    path = tmp_path / "predictions.txt"
    path.write_text(
        f"{tench} 1 1 40 30\n{goldfish} 20 20 30 30 {goldfish} 1 1 10 10\n{goldfish} 1 1 40 20 {tench} 1 1 40 20\n"
    )
    return path


def run(capsys, *arguments: object) -> str:
    code = main(["score", *map(str, arguments)])
    captured = capsys.readouterr()
    assert (code, captured.err) == (0, "")
    return captured.out


def fail(capsys, *arguments: object) -> tuple[int, str]:
    code = main(["score", *map(str, arguments)])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return code, captured.err


def test_errors_of_a_submission(capsys, images, submission):
    out = run(capsys, "--predictions", submission, "--ground-truth", images, "--json")
    result = json.loads(out)
    assert result["images"] == 3
    later = {f"top{k}": 0.0 for k in range(2, 6)}
    assert result["classification_error"] == pytest.approx({"top1": 1 / 3} | later)
    assert result["localization_error"] == pytest.approx({"top1": 2 / 3} | later)
    assert result["whole_image_gt_known_error"] == pytest.approx(1 / 3)
    low, high = result["intervals"]["localization_error"]["top1"]
    assert 0 <= low < 2 / 3 < high <= 1
    assert result["notes"] == ["no blacklist is given: localization counts every image"]


def test_blacklist_and_labels_in_files_of_their_own(capsys, images, submission, tmp_path):
    (tmp_path / "labels.txt").write_text("a 0\nb 1\nc 0\n")
    (tmp_path / "blacklist.txt").write_text("2\n2\n")
    files = ("--ground-truth-classes", tmp_path / "labels.txt", "--blacklist", tmp_path / "blacklist.txt")
    result = json.loads(run(capsys, "--predictions", submission, "--ground-truth", images, *files, "--json"))
    assert result["blacklisted"] == 1
    assert result["localization_error"]["top1"] == 0.5
    assert result["notes"] == ["blacklist.txt excludes 1 of 3 images from localization; 1 of its lines are duplicates"]


def test_a_list_of_labels_gives_only_classification_errors(capsys, submission, tmp_path):
    (tmp_path / "val.txt").write_text("a 0\nb 1\nc 0\n")
    arguments = ("--predictions", submission, "--ground-truth", tmp_path / "val.txt")
    result = json.loads(run(capsys, *arguments, "--json"))
    assert result["classification_error"]["top1"] == pytest.approx(1 / 3)
    assert result["localization_error"] is None
    assert "localization," not in run(capsys, *arguments)


def test_the_table_is_for_people(capsys, images, submission):
    out = run(capsys, "--predictions", submission, "--ground-truth", images)
    lines = [line.split() for line in out.splitlines()]
    assert out.startswith("3 images, 0 of them on the blacklist\n")
    assert ["classification,", "top-1", "33.33%"] in [line[:3] for line in lines]
    assert ["localization,", "top-1", "66.67%"] in [line[:3] for line in lines]
    assert ["class", "known,", "whole", "image", "33.33%"] in lines


def test_boxes_made_for_other_images_give_a_warning(capsys, images, submission):
    submission.write_text(submission.read_text().replace("40 30", "400 300"))
    out = run(capsys, "--predictions", submission, "--ground-truth", images)
    assert "note: 1 of 5 boxes extend outside of their image" in out


def test_accuracies_of_maps(capsys, images, tmp_path):
    (tmp_path / "maps").mkdir()
    for name, (rows, columns) in {"a": (30, 40), "b": (9, 9), "c": (30, 40)}.items():
        score_map = np.zeros((30, 40), np.float32)
        score_map[:rows, :columns] = 1
        np.save(tmp_path / "maps" / f"{name}.npy", score_map)
    arguments = ("--maps", tmp_path / "maps", "--ground-truth", images)
    result = json.loads(run(capsys, *arguments, "--json"))
    assert result["max_box_acc"] == pytest.approx(100)
    # The IoUs are 0.89, 0.68 and 0.64.
    assert result["max_box_acc_v2"]["mean"] == pytest.approx((100 + 100 + 100 / 3) / 3)
    assert result["whole_image"]["max_box_acc"] == pytest.approx(200 / 3)
    assert set(result["center_gaussian"]) == {"max_box_acc", "max_box_acc_v2"}
    assert len(result["thresholds"]) == 1000
    assert {len(curve) for curve in result["curves"].values()} == {1000}
    lines = [line.split() for line in run(capsys, *arguments).splitlines()]
    assert ["MaxBoxAcc", "(accuracy)", "100.00%"] in [line[:3] for line in lines]


def test_a_baseline_needs_no_maps(capsys, tmp_path):
    in_the_center = "val/b.JPEG,20,10,40,20\nval/a.JPEG,15,12,35,28\n"
    folder = save_wsol(tmp_path / "set", localization=in_the_center)
    for baseline, key, accuracy in (("center", "center_gaussian", 100), ("whole", "whole_image", 0)):
        result = json.loads(run(capsys, "--baseline", baseline, "--ground-truth", folder, "--json"))
        assert result["max_box_acc"] == result[key]["max_box_acc"] == accuracy


def test_a_missing_map_is_an_error(capsys, images, tmp_path):
    code, message = fail(capsys, "--maps", tmp_path, "--ground-truth", images)
    assert code == 8
    assert f"{tmp_path}: no map in it" in message


def test_a_submission_of_another_length_is_an_error(capsys, images, submission):
    submission.write_text("449 1 1 2 2\n")
    code, message = fail(capsys, "--predictions", submission, "--ground-truth", images)
    assert code == 8
    assert "1 lines of predictions for 3 images" in message


def test_exactly_one_thing_is_scored(capsys, images, submission):
    assert fail(capsys, "--ground-truth", images)[0] == 2
    code, message = fail(capsys, "--ground-truth", images, "--predictions", submission, "--baseline", "center")
    assert code == 2
    assert "give --predictions FILE, --maps PATH, both of them, or --baseline NAME" in message


@pytest.mark.shared
def test_the_original_evaluation(capsys, shared):
    golden = shared / "data" / "golden" / "evaluation"
    out = run(
        capsys,
        *("--predictions", golden / "pred.txt", "--ground-truth", golden / "cache.mat"),
        *("--ground-truth-classes", golden / "gt.txt", "--blacklist", golden / "blacklist.txt", "--json"),
    )
    result = json.loads(out)
    rows = [line.split() for line in (golden / "result.txt").read_text().splitlines()]
    for k, of_class, of_place in rows:
        assert f"{result['classification_error'][f'top{k}']:.10f}" == of_class
        assert f"{result['localization_error'][f'top{k}']:.10f}" == of_place
