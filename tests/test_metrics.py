from __future__ import annotations

import json
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings, strategies as st

from pycam.errors import GroundTruthError
from pycam.ilsvrc.ground_truth import GroundTruth, read_ground_truth
from pycam.ilsvrc.predictions import (
    Predictions,
    read_predictions,
    write_predictions,
)
from pycam.ilsvrc.scores import box_warnings, by_k, known_class_hits, score_predictions
from pycam.ilsvrc.synsets import synsets
from pycam.maps.boxes import corners, half_open
from pycam.metrics.baselines import whole_images
from pycam.metrics.errors import error, error_interval
from pycam.metrics.intervals import interval, resampled_means


def make_truth(classes, boxes, *, box_classes=None, blacklisted=None, sizes=None) -> GroundTruth:
    """`boxes` holds a list of boxes in ILSVRC's form for each image; they have the image's class by default."""
    count = len(classes)
    images = np.repeat(np.arange(count), [len(of_image) for of_image in boxes])
    return GroundTruth(
        tuple(str(row) for row in range(count)),
        np.array(classes),
        half_open(np.reshape([box for of_image in boxes for box in of_image], (-1, 4)).astype(int)),
        np.array(classes)[images] if box_classes is None else np.array(box_classes),
        images,
        np.full((count, 2), 100) if sizes is None else np.array(sizes),
        np.zeros(count, dtype=bool) if blacklisted is None else np.array(blacklisted),
    )


def predict(*lines: list[tuple[int, tuple[int, int, int, int]]]) -> Predictions:
    """Make predictions of lines of classes and boxes in ILSVRC's form."""
    classes = np.full((len(lines), 5), -1)
    boxes = np.zeros((len(lines), 5, 4))
    for row, predictions in enumerate(lines):
        for column, (index, box) in enumerate(predictions):
            classes[row, column], boxes[row, column] = index, box
    return Predictions(classes, half_open(boxes))


def localized(truth: GroundTruth, *predictions: tuple[int, tuple[int, int, int, int]]) -> list[bool]:
    scores = score_predictions(predict(list(predictions)), truth)
    assert scores.localized is not None
    return scores.localized[0].tolist()


def test_an_iou_of_half_is_correct_and_a_smaller_one_is_wrong():
    truth = make_truth([7], [[(1, 1, 1000, 1000)]])
    assert localized(truth, (7, (1, 1, 1000, 500)))[0]
    assert not localized(truth, (7, (1, 1, 999, 500)))[0]


def test_a_prediction_needs_the_class_and_a_box_of_that_class():
    truth = make_truth([7], [[(1, 1, 10, 10), (50, 50, 60, 60), (80, 80, 90, 90)]], box_classes=[7, 7, 8])
    assert localized(truth, (7, (50, 50, 60, 60)))[0]
    assert not localized(truth, (8, (1, 1, 10, 10)))[0]
    assert not localized(truth, (8, (80, 80, 90, 90)))[0]
    assert not localized(truth, (7, (80, 80, 90, 90)))[0]


def test_a_correct_prediction_counts_at_every_later_k():
    truth = make_truth([7], [[(1, 1, 10, 10)]])
    away, there = (50, 50, 60, 60), (1, 1, 10, 10)
    predictions = predict([(3, there), (7, away), (7, there), (9, away)])
    scores = score_predictions(predictions, truth)
    assert scores.classified.tolist() == [[False, True, True, True, True]]
    assert scores.localized is not None
    assert scores.localized.tolist() == [[False, False, True, True, True]]


def test_blacklisted_images_count_only_for_classification():
    there, away = (1, 1, 10, 10), (50, 50, 60, 60)
    truth = make_truth([1, 2, 3], [[there]] * 3, blacklisted=[True, False, False])
    scores = score_predictions(predict([(9, away)], [(2, away)], [(3, there)]), truth)
    assert scores.classification_error[0] == 1 / 3
    assert scores.localization_error is not None
    assert scores.localization_error[0] == 1 / 2
    assert known_class_hits(half_open([away, away, there]), truth).tolist() == [False, True]


def test_without_boxes_localization_is_not_scored():
    truth = make_truth([1, 2], [[], []])
    scores = score_predictions(predict([(1, (1, 1, 2, 2))], []), truth)
    assert scores.localization_error is None
    assert by_k(scores.classification_error) == {f"top{k}": 0.5 for k in range(1, 6)}


def test_predictions_of_another_count_are_refused():
    truth = make_truth([1, 2], [[(1, 1, 2, 2)]] * 2)
    with pytest.raises(GroundTruthError, match="1 lines of predictions for 2 images"):
        score_predictions(predict([]), truth)


def test_the_box_of_the_whole_image():
    truth = make_truth([1], [[(1, 1, 2, 2)]], sizes=[(30, 20)])
    assert whole_images(truth.sizes).tolist() == [[0, 0, 30, 20]]


def test_suspicious_boxes_give_warnings():
    truth = make_truth([1], [[(1, 1, 2, 2)]])
    assert box_warnings(predict([(1, (0, 1, 100, 100))]), truth) == []
    backward, outside = box_warnings(predict([(1, (5, 1, 4, 4)), (1, (1, 1, 101, 2)), (1, (1, -1, 2, 2))]), truth)
    assert backward.startswith("1 of 3 boxes have xmin > xmax")
    assert outside.startswith("2 of 3 boxes extend outside")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    lines=st.lists(
        st.lists(st.tuples(st.integers(0, 999), st.tuples(*[st.integers(-10, 5000)] * 4)), max_size=5),
        min_size=1,
        max_size=6,
    )
)
def test_predictions_are_read_as_written(tmp_path, lines):
    written = predict(*lines)
    write_predictions(tmp_path / "predictions.txt", written)
    read = read_predictions(tmp_path / "predictions.txt")
    assert (read.classes == written.classes).all()
    assert (read.boxes == written.boxes).all()


def test_fractions_of_pixels_are_kept(tmp_path):
    line = "449 0.1 1.25 3.7 1000.125\n"
    (tmp_path / "p.txt").write_text(line)
    read = read_predictions(tmp_path / "p.txt")
    assert read.boxes[0, 0].tolist() == pytest.approx([-0.9, 0.25, 3.7, 1000.125])
    write_predictions(tmp_path / "again.txt", read)
    assert (tmp_path / "again.txt").read_text() == line


def test_submission_labels_are_ilsvrc2014_ids(tmp_path):
    write_predictions(tmp_path / "p.txt", predict([(0, (1, 2, 3, 4)), (999, (5, 6, 7, 8))]))
    assert (tmp_path / "p.txt").read_text() == f"449 1 2 3 4 {synsets().ids[999]} 5 6 7 8\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"p\.txt:1: an empty file"),
        ("1 2 3 4 5\n1 2 3 4\n", r"p\.txt:2: 4 numbers; up to 5 times"),
        ("1 2 3 4 5 " * 6, r"p\.txt:1: 30 numbers; up to 5 times"),
        ("1 2 3 4 5\n1 2 3 4 x\n", r"p\.txt:2: '1 2 3 4 x' is not a list of finite numbers"),
        ("1 2 3 4 nan", r"p\.txt:1: .*finite"),
        ("1 " * 5000, r"p\.txt:1: a line of 10,000 characters"),
        ("1 2 3 inf 4", r"p\.txt:1: .*finite"),
        ("1 2 3 1e12 4", r"p\.txt:1: .*finite"),
        ("\n1 2 3 4 5 1001 2 3 4 5", r"p\.txt:2: label 1001; an ILSVRC2014 ID, 1…1000"),
        ("0 2 3 4 5", r"p\.txt:1: label 0;"),
        ("1.5 2 3 4 5", r"p\.txt:1: label 1\.5;"),
        ("-1 2 3 4 5", r"p\.txt:1: label -1;"),
    ],
)
def test_faulty_predictions_are_named_by_line(tmp_path, content, message):
    (tmp_path / "p.txt").write_text(content)
    with pytest.raises(GroundTruthError, match=message):
        read_predictions(tmp_path / "p.txt")


def test_predictions_of_too_many_lines_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("pycam.ilsvrc.predictions.MOST", 3)
    (tmp_path / "p.txt").write_text("\n" * 4)
    with pytest.raises(GroundTruthError, match=r"p\.txt:4: more than 3 lines"):
        read_predictions(tmp_path / "p.txt")


def test_bootstrap_is_seeded_and_draws_whole_images():
    right = np.random.default_rng(1).random((40, 1)) < 0.3
    twice = resampled_means(np.hstack([right, right]))
    assert (twice[:, 0] == twice[:, 1]).all()
    assert (twice[:, :1] == resampled_means(right)).all()
    assert (twice[:, :1] != resampled_means(right, seed=1)).any()
    assert (error_interval(np.ones((9, 2), dtype=bool)) == 0).all()


def test_bootstrap_interval_is_that_of_a_proportion():
    right = np.arange(2000)[:, None] < 600
    spread = 1.96 * np.sqrt(0.3 * 0.7 / 2000)
    assert np.allclose(interval(resampled_means(right)), [[0.3 - spread, 0.3 + spread]], atol=0.003)


def annotations_of_cache(path: Path, folder: Path) -> None:
    """Write the boxes of a devkit cache as one XML file per image."""
    folder.mkdir()
    for number, record in enumerate(scipy.io.loadmat(path)["rec"][0]):
        objects = ""
        for thing in record["objects"].ravel():
            wnid = synsets().wnids[synsets().index_of_id[int(thing["label"].item())]]
            sides = "".join(
                f"<{side}>{value:.0f}</{side}>"
                for side, value in zip(("xmin", "ymin", "xmax", "ymax"), thing["bbox"].ravel(), strict=True)
            )
            objects += f"<object><name>{escape(wnid)}</name><bndbox>{sides}</bndbox></object>"
        (folder / f"{number:05}.xml").write_text(f"<annotation>{objects}</annotation>")


@pytest.mark.shared
@pytest.mark.parametrize("source", ["cache", "xml"])
@pytest.mark.parametrize("labelled", [True, False])
def test_every_digit_of_the_original_evaluation(shared, tmp_path, source, labelled):
    golden = shared / "data" / "golden" / "evaluation"
    path = golden / "cache.mat"
    if source == "xml":
        annotations_of_cache(path, tmp_path / "xml")
        path = tmp_path / "xml"
    labels = golden / "gt.txt" if labelled else None
    truth = read_ground_truth(path, ground_truth_classes=labels, blacklist=golden / "blacklist.txt")
    scores = score_predictions(read_predictions(golden / "pred.txt"), truth)
    assert scores.localization_error is not None
    rows = zip(scores.classification_error, scores.localization_error, strict=True)
    printed = [f"{k} {of_class:.10f} {of_place:.10f}" for k, (of_class, of_place) in enumerate(rows, 1)]
    assert printed == (golden / "result.txt").read_text().splitlines()


@pytest.mark.shared
def test_whole_images_on_real_boxes(shared):
    truth = read_ground_truth(shared / "data" / "ilsvrc-mini" / "ILSVRC2012_bbox_val")
    assert error(known_class_hits(whole_images(truth.sizes), truth)) == pytest.approx(0.51)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["bbox1", "bbox2", "bboxCombine"])
def test_released_submissions(shared, name):
    """The classes and boxes of the original programs give the errors of the original evaluation."""
    golden = json.loads((shared / "data" / "golden" / "released-mini.json").read_text())
    truth = read_ground_truth(shared / "data" / "ilsvrc-mini" / "ILSVRC2012_bbox_val")
    chosen = {
        "bbox1": [(rank, 0) for rank in range(5)],
        "bbox2": [(rank, 1) for rank in range(5)],
        "bboxCombine": [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)],
    }[name]
    lines = []
    for image in truth.names:
        found = golden["pictures"][image]
        lines.append([(found["index"][rank], corners(found["boxes"][rank][: which + 1][-1])) for rank, which in chosen])
    scores = score_predictions(predict(*lines), truth)
    assert scores.localization_error is not None
    expected = golden["errors"][name]
    assert scores.classification_error[[0, 4]].round(4).tolist() == expected["classification"]
    assert scores.localization_error[[0, 4]].round(4).tolist() == expected["localization"]
