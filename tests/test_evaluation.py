"""Long runs: their results, and what they refuse."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import shutil
import sqlite3
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from runs import COUNT, FILES, HEIGHT, NET, WIDTH, assert_same, make_plan, make_recipe, make_truth, write_model

from matlab_ports.ILSVRC_evaluate_bbox import submission
from pycam.engines import cores, processor
from pycam.errors import EngineError, GroundTruthError, ImageError, RunError, UsageError
from pycam.evaluation import evaluator, plan
from pycam.evaluation.image_file import NO_FILE, FileState
from pycam.evaluation.notes import LARGEST, from_note, read_note
from pycam.evaluation.plan import PLAN, Plan, PlanNote, Recipe, Sources, find_images, identity_of
from pycam.evaluation.record import Result
from pycam.evaluation.results import read_report
from pycam.evaluation.run import evaluate
from pycam.evaluation.store import Store
from pycam.evaluation.timing import Clock, line, shares
from pycam.formats import caffemodel, prototxt
from pycam.ilsvrc import map_scores
from pycam.ilsvrc.predictions import SUBMISSIONS, read_predictions
from pycam.ilsvrc.scores import score_predictions
from pycam.images import read
from pycam.maps.boxes import grey_heatmap, half_open, released_boxes
from pycam.protocols import Protocol, protocol

# What a run computes


def test_predictions_are_those_of_the_pipeline(model, images, whole):
    recipe = make_plan(model, images).recipe
    predictions = read_predictions(whole / "predictions.txt")
    with recipe.make(recipe.load()) as cam:
        for row, path in enumerate(sorted(images.iterdir())):
            prediction = cam(path)
            assert predictions.classes[row].tolist() == [item.index for item in prediction.top]
            for box, item in zip(predictions.boxes[row].tolist(), prediction.top, strict=True):
                assert box == list(item.box)


def test_report_has_the_errors_of_the_predictions(model, images, whole):
    truth = make_plan(model, images).truth
    report = json.loads((whole / "report.json").read_text())
    scores = score_predictions(read_predictions(whole / "predictions.txt"), truth)
    assert report["images"] == COUNT
    assert report["blacklisted"] == 4
    assert report["protocol"] == "paper"
    assert report["engine"] == "onnxruntime"
    assert report["skipped"] == []
    assert report["classification_error"] == {f"top{k + 1}": e for k, e in enumerate(scores.classification_error)}
    assert report["localization_error"] == {f"top{k + 1}": e for k, e in enumerate(scores.localization_error)}
    low, high = report["intervals"]["gt_known_error"]
    assert low <= report["gt_known_error"] <= high
    assert 0 <= report["whole_image_gt_known_error"] <= 1
    assert report["identity"]["weights"] in (whole / "report.md").read_text()


def test_class_known_error_by_its_definition(model, images, whole):
    """It is that of the box of the ground-truth class, for every image that counts."""
    planned = make_plan(model, images)
    wrong = []
    with planned.recipe.make(planned.recipe.load()) as cam:
        for row in planned.truth.counted:
            true = int(planned.truth.classes[row])
            x0, y0, x1, y1 = cam(planned.images[row], classes=[true]).top[0].box
            (a0, b0, a1, b1) = planned.truth.boxes[row].tolist()
            shared = max(0, min(x1, a1) - max(x0, a0)) * max(0, min(y1, b1) - max(y0, b0))
            union = (x1 - x0) * (y1 - y0) + (a1 - a0) * (b1 - b0) - shared
            wrong.append(shared / union < 0.5)
    report = json.loads((whole / "report.json").read_text())
    assert report["gt_known_error"] == pytest.approx(np.mean(wrong))


def test_table_has_one_row_per_box(whole):
    rows = list(csv.DictReader((whole / "predictions.csv").read_text().splitlines()))
    assert len(rows) == COUNT * 6
    assert [row["rank"] for row in rows[:6]] == ["1", "2", "3", "4", "5", "true"]
    assert all(row["wnid"] == row["true_wnid"] for row in rows if row["rank"] == "true")
    assert all(-1 <= float(row["iou"]) <= 1 for row in rows)


def test_released_protocol_fills_three_submissions(model, images, tmp_path):
    planned = make_plan(model, images, "released", mean="104,117,123")
    report = evaluate(planned, tmp_path)
    assert list(report["submissions"]) == list(SUBMISSIONS)
    files = {name: f"predictions_{name}.txt" for name in SUBMISSIONS} | {"bbox1": "predictions.txt"}
    fallbacks = Counter()
    with planned.recipe.make(planned.recipe.load()) as cam:
        for row, path in enumerate(planned.images[:6]):
            top = cam(path).top
            found = [released_boxes(grey_heatmap(item.image_map)) for item in top]
            for name in SUBMISSIONS:
                expected = submission(name, [item.index for item in top], found)
                predictions = read_predictions(tmp_path / files[name])
                assert predictions.classes[row].tolist() == expected.classes
                assert predictions.boxes[row].tolist() == half_open(expected.boxes).tolist()
                fallbacks[name] += expected.fallbacks
    assert report["submissions"]["bbox2"]["fallbacks"] >= fallbacks["bbox2"]
    assert report["submissions"]["bbox1"]["fallbacks"] == 0


def test_boxes_of_the_generator_may_be_submitted_as_pixels(model, images, tmp_path):
    row = protocol("released").with_choices(submission="pixels")
    planned = make_plan(model, images, row, mean="104,117,123")
    report = evaluate(planned, tmp_path)
    assert report["overrides"] == {"submission": "pixels"}
    predictions = read_predictions(tmp_path / "predictions.txt")
    with planned.recipe.make(planned.recipe.load()) as cam:
        for found, path in zip(predictions.boxes[:6].tolist(), planned.images, strict=False):
            assert found == [list(item.box or (0, 0, 0, 0)) for item in cam(path).top]


def test_sweep_scores_the_ground_truth_class_at_every_threshold(model, images, tmp_path):
    planned = make_plan(model, images, "sweep")
    report = evaluate(planned, tmp_path)
    maps = []
    with planned.recipe.make(planned.recipe.load()) as cam:
        for row in planned.truth.counted:
            item = cam(planned.images[row], classes=[int(planned.truth.classes[row])]).top[0]
            enlarged = cv2.resize(item.feature_maps[0], (224, 224), interpolation=cv2.INTER_LINEAR)
            maps.append((enlarged - enlarged.min()) / (enlarged.max() - enlarged.min()))
    accuracy = map_scores.score_maps(maps, planned.truth).boxes
    assert report["max_box_acc"] == accuracy.max_box_acc
    assert report["max_box_acc_v2"] == accuracy.max_box_acc_v2
    assert report["intervals"]["max_box_acc"] == accuracy.intervals()["max_box_acc"]
    assert "MaxBoxAccV2" in (tmp_path / "report.md").read_text()
    assert report["curves"]["largest, 0.5"] == accuracy.curves[0].tolist()
    assert report["center_gaussian"]["max_box_acc"] == map_scores.center_gaussian(planned.truth).max_box_acc


def test_sweep_has_no_hits_without_a_box_of_the_ground_truth_class(model, images, tmp_path):
    """With the boxes of half of the images, it has the same hits in this half as with all boxes."""
    planned = make_plan(model, images, "sweep")
    truth = planned.truth
    curves = []
    for name, chosen in (
        ("all", truth.box_images >= 0),
        ("first", truth.box_images < COUNT // 2),
        ("second", truth.box_images >= COUNT // 2),
    ):
        boxes, classes, rows = (each[chosen] for each in (truth.boxes, truth.box_classes, truth.box_images))
        part = replace(truth, boxes=boxes, box_classes=classes, box_images=rows)
        report = evaluate(replace(planned, truth=part), tmp_path / name)
        curves.append(np.array(list(report["curves"].values())))
    assert curves[1].any()
    assert curves[2].any()
    assert np.allclose(curves[0], curves[1] + curves[2])


def test_ground_truth_without_boxes_gives_only_classification_errors(model, images, tmp_path):
    planned = make_plan(model, images)
    none = np.zeros(0, np.int64)
    truth = replace(planned.truth, boxes=none.reshape(0, 4), box_classes=none, box_images=none)
    report = evaluate(replace(planned, truth=truth), tmp_path)
    assert report["localization_error"] is None
    assert report["gt_known_error"] is None
    assert report["whole_image_gt_known_error"] is None
    assert 0 <= report["classification_error"]["top5"] <= report["classification_error"]["top1"] <= 1


# What does not change the results


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_batches_do_not_change_a_byte(model, images, whole, tmp_path, batch):
    evaluate(make_plan(model, images, batch=batch), tmp_path)
    assert_same(tmp_path, whole)


def test_a_finished_run_is_not_computed_again(model, images, whole, monkeypatch):
    monkeypatch.setattr(evaluator, "forward", None)
    before = {name: (whole / name).read_bytes() for name in FILES}
    (whole / "report.json").unlink()
    done = []
    evaluate(make_plan(model, images), whole, progress=done.append)
    assert done == [COUNT]
    assert {name: (whole / name).read_bytes() for name in FILES} == before


@pytest.mark.torch
def test_an_engine_that_is_not_batch_invariant_keeps_its_batches(model, images, tmp_path):
    evaluate(make_plan(model, images, engine="torch"), tmp_path)
    with pytest.raises(RunError, match=r"differs in batch \(2, now 3\): name another --out"):
        evaluate(make_plan(model, images, engine="torch", batch=3), tmp_path)


# What is refused


def other_weights(planned: Plan, folder: Path) -> Plan:
    return replace(planned, recipe=replace(planned.recipe, weights=str(write_model(folder, seed=1)[1])))


def other_net(planned: Plan, folder: Path) -> Plan:
    net = folder / "other.prototxt"
    net.write_text(NET.replace("tiny", "other"))
    return replace(planned, recipe=replace(planned.recipe, prototxt=str(net)))


def other_mean(planned: Plan, folder: Path) -> Plan:
    return replace(planned, recipe=replace(planned.recipe, mean="1,2,3"))


def other_protocol(planned: Plan, folder: Path) -> Plan:
    return replace(planned, recipe=replace(planned.recipe, protocol=protocol("default")))


def other_choice(planned: Plan, folder: Path) -> Plan:
    return replace(planned, recipe=replace(planned.recipe, protocol=protocol("paper").with_choices(view="full")))


def fewer_images(planned: Plan, folder: Path) -> Plan:
    return replace(planned, truth=planned.truth.select(planned.truth.names[:9]), images=planned.images[:9])


def other_truth(planned: Plan, folder: Path) -> Plan:
    return replace(planned, truth=make_truth(list(planned.truth.names), seed=1))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (other_weights, r"weights \(\w{12}…, now \w{12}…\)"),
        (other_net, r"net \(\w{12}…, now \w{12}…\)"),
        (other_mean, r"mean values \(.*\)"),
        (other_protocol, r"protocol \(paper, now default\), exif \(ignore, now apply\)"),
        (other_choice, r"view \(center, now full\)"),
        (fewer_images, r"images \(30 in the list \w{12}…, now 9 in the list \w{12}…\), ground truth \(.*\)"),
        (other_truth, r"ground truth \(.*\)"),
    ],
)
def test_another_run_in_the_same_folder_is_refused(model, images, whole, tmp_path, change, named):
    before = (whole / "report.json").read_bytes()
    with pytest.raises(RunError, match=rf"holds another run, which differs in {named}: name another --out"):
        evaluate(change(make_plan(model, images), tmp_path), whole)
    assert (whole / "report.json").read_bytes() == before


def test_another_library_version_is_refused(model, images, whole, monkeypatch):
    monkeypatch.setattr(plan.cv2, "__version__", "3.1")
    with pytest.raises(RunError, match=r"OpenCV \(.*, now 3\.1\)"):
        evaluate(make_plan(model, images), whole)


@pytest.mark.parametrize(
    "name",
    [
        "onnxruntime",
        pytest.param("openvino", marks=pytest.mark.openvino),
        pytest.param("ncnn", marks=pytest.mark.ncnn),
    ],
)
def test_another_processor_is_refused(name, model, images, tmp_path, monkeypatch):
    planned = make_plan(model, images, engine=name).only(range(2))
    evaluate(planned, tmp_path)
    found = processor.cv2.getCPUFeaturesLine()
    monkeypatch.setattr(processor.cv2, "getCPUFeaturesLine", lambda: f"{found} *AVX1024")
    with pytest.raises(RunError, match=r"differs in processor \(\S.*, now .* AVX1024.*\): name another --out"):
        evaluate(planned, tmp_path)
    monkeypatch.setattr(processor.cv2, "getCPUFeaturesLine", lambda: f"{found} *AVX1024?")  # not on this processor
    evaluate(planned, tmp_path)


@pytest.mark.parametrize(("name", "value"), [("ONEDNN_MAX_CPU_ISA", "SSE41"), ("MKL_CBWR", "COMPATIBLE")])
def test_a_limit_on_the_instructions_is_another_processor(name, value, monkeypatch):
    without = processor.instruction_set()
    monkeypatch.setenv(name, value)
    assert processor.instruction_set() == f"{without}, {name}={value}"


def test_the_kernels_of_numpys_blas_are_told(monkeypatch):
    def library(package: str, architecture: str) -> dict[str, str]:
        return {"internal_api": "openblas", "filepath": f"/{package}.libs/libblas.so", "architecture": architecture}

    others = [{"internal_api": "openmp", "filepath": "/numpy.libs/libgomp.so"}, library("opencv", "Zen")]
    monkeypatch.setattr(processor, "threadpool_info", lambda: [*others, library("numpy", "Haswell")])
    assert "OpenBLAS Haswell" in processor.instruction_set()
    assert "Zen" not in processor.instruction_set()


def test_a_run_of_before_processors_were_recorded_is_not_resumed(model, images, tmp_path):
    planned = make_plan(model, images).only(range(2))
    evaluate(planned, tmp_path)
    with closing(sqlite3.connect(tmp_path / "run.sqlite")) as store, store:
        store.execute("DELETE FROM identity WHERE name = 'processor'")
    with pytest.raises(RunError, match=r"differs in processor \(none, now .*\): name another --out"):
        evaluate(planned, tmp_path)


def test_a_worker_with_another_library_is_refused(model, images, monkeypatch):
    planned = make_plan(model, images)
    with planned.recipe.make(planned.recipe.load()) as cam:
        expected = identity_of(cam)
    monkeypatch.setattr(plan.np, "__version__", "1.0")
    with pytest.raises(RunError, match=r"a worker has another NumPy than the run: 1\.0, not \d"):
        evaluator.evaluate_batch(planned.recipe, expected, ())


def test_a_net_of_other_classes_is_refused(images, tmp_path):
    with pytest.raises(UsageError, match=r"has 6 classes, but image .* has class \d+ in the ground truth: 0…5"):
        evaluate(make_plan(write_model(tmp_path, classes=6), images), tmp_path / "run")


def test_any_data_set_with_any_net_of_its_classes(images, tmp_path):
    names = sorted(path.stem for path in images.iterdir())
    lines = [f"{name}.png,5,5,40,30,{('cat', 'dog', 'bird')[row % 3]}" for row, name in enumerate(names)]
    truth = tmp_path / "boxes.csv"
    truth.write_text("\n".join(["image,x0,y0,x1,y1,label", *lines]))
    recipe = make_recipe(write_model(tmp_path, classes=3), "sweep")
    plan = Plan.read(recipe, Sources(str(images), str(truth)), batch=4)
    report = evaluate(plan, tmp_path / "run")
    with recipe.make(recipe.load()) as cam:
        best = [int(cam(path, top=1).top[0].index) for path in plan.images]
    right = [
        index == ("bird", "cat", "dog").index(line.rsplit(",", 1)[1]) for index, line in zip(best, lines, strict=True)
    ]
    assert report["classification_error"]["top1"] == pytest.approx(1 - np.mean(right))
    assert report["classification_error"]["top3"] == report["classification_error"]["top5"] == 0
    assert report["localization_error"]["top3"] == report["gt_known_error"]
    rows = (tmp_path / "run" / "predictions.csv").read_text().splitlines()
    assert rows[0].startswith("image,true_class,rank,index,class,")
    assert rows[1].split(",")[1] == "cat"
    submitted = read_predictions(tmp_path / "run" / "predictions.txt", plan.truth.class_names)
    assert submitted.classes[:, 0].tolist() == best
    assert (submitted.classes[:, 3:] == -1).all()
    (tmp_path / "names.txt").write_text("dog\ncat\nbird\nfish\n")
    other = Plan.read(recipe, Sources(str(images), str(truth), labels=str(tmp_path / "names.txt")), batch=4)
    assert other.truth.classes[:3].tolist() == [1, 0, 2]
    with pytest.raises(
        UsageError, match=r"has 3 classes, but the ground truth names 4 \(dog, cat, bird, …\): .*--labels"
    ):
        evaluate(other, tmp_path / "other")


@pytest.mark.parametrize("named", [("dog", "cat", "bird"), ("dog", "cat")])
def test_the_labels_of_the_model_number_the_classes_that_the_ground_truth_names(images, tmp_path, named):
    names = sorted(path.stem for path in images.iterdir())
    lines = [f"{name}.png,5,5,40,30,{named[row % len(named)]}" for row, name in enumerate(names)]
    (truth := tmp_path / "boxes.csv").write_text("\n".join(["image,x0,y0,x1,y1,label", *lines]))
    net, weights = write_model(tmp_path, classes=3)
    (tmp_path / "names.txt").write_text("dog\nbird\ncat\n")
    (card := tmp_path / "card.yaml").write_text(
        f"name: own\nprototxt: {net.name}\nweights: {weights.name}\nlabels: names.txt\nmean: {{value: [1, 2, 3]}}\n"
    )
    recipe = Recipe(protocol("sweep"), model=str(card))
    planned = Plan.read(recipe, Sources(str(images), str(truth)), batch=4)
    report = evaluate(planned, tmp_path / "run")
    with recipe.make(recipe.load()) as cam:
        best = [cam(path, top=1).top[0].label for path in planned.images]
    right = [label == line.rsplit(",", 1)[1] for label, line in zip(best, lines, strict=True)]
    assert report["classification_error"]["top1"] == pytest.approx(1 - np.mean(right))
    restored = Plan.restore(tmp_path / "run")
    assert restored.class_names == ("dog", "bird", "cat")
    assert restored.truth.classes.tolist() == [("dog", "bird", "cat").index(line.rsplit(",", 1)[1]) for line in lines]
    truth.write_text(truth.read_text().replace("dog", "cow").replace("bird", "cow"))
    with pytest.raises(
        UsageError, match=r"names 2 \(.*\), and 'cow' is not among the labels of the model, such as 'dog'"
    ):
        evaluate(Plan.read(recipe, Sources(str(images), str(truth)), batch=4), tmp_path / "other")


# Faulty images


@pytest.fixture
def own_images(images, tmp_path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    for path in images.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def test_a_bad_image_fails_the_run_or_is_skipped_and_tried_again_when_it_changes(
    model, images, own_images, whole, tmp_path
):
    planned = make_plan(model, own_images)
    bad = own_images / "004.png"
    bad.write_bytes(bad.read_bytes()[:50])
    folder = tmp_path / "run"
    with pytest.raises(ImageError, match=r"004\.png: .*"):
        evaluate(planned, folder)
    report = evaluate(planned, folder, skip=True)
    assert report["images"] == COUNT - 1
    assert [each["image"] for each in report["skipped"]] == ["004"]
    assert "004.png" in report["skipped"][0]["reason"]
    assert "1 of 30 images could not be evaluated" in report["notes"][-1]
    lines = (folder / "predictions.txt").read_text().splitlines()
    assert [number for number, line in enumerate(lines) if not line] == [4]
    with pytest.raises(ImageError, match=r"004\.png"):
        evaluate(planned, folder)
    bad.write_bytes((images / "004.png").read_bytes())
    evaluate(planned, folder)
    assert_same(folder, whole)


def test_an_image_without_a_box_by_the_rule_fails_alone(model, own_images, tmp_path):
    """The release writes each map as a JPEG, which has a largest side."""
    (own_images / "004.png").write_bytes(cv2.imencode(".png", np.zeros((1, 65_501, 3), np.uint8))[1].tobytes())
    planned = make_plan(model, own_images, protocol("paper").with_choices(box_rule="released"))
    planned = replace(planned, truth=replace(planned.truth, sizes=np.zeros_like(planned.truth.sizes)))
    with pytest.raises(ImageError, match=r"004\.png: a map of 65501×1 cannot be the JPEG that the release saves"):
        evaluate(planned, tmp_path / "run")
    report = evaluate(planned, tmp_path / "run", skip=True)
    assert [each["image"] for each in report["skipped"]] == ["004"]
    assert report["images"] == COUNT - 1


def test_skipped_images_are_not_tried_again_while_they_do_not_change(model, own_images, tmp_path, monkeypatch):
    (own_images / "004.png").write_bytes(b"")
    first = evaluate(make_plan(model, own_images), tmp_path / "run", skip=True)
    monkeypatch.setattr(evaluator, "forward", None)
    assert evaluate(make_plan(model, own_images), tmp_path / "run", skip=True) == first


@pytest.mark.parametrize("change", [lambda content: content + b"more", lambda content: content[:-1] + b"!"])
def test_an_image_that_changes_after_its_evaluation_is_refused(model, own_images, tmp_path, change):
    planned = make_plan(model, own_images)
    evaluate(planned, tmp_path / "run")
    image = own_images / "002.png"
    before = image.stat()
    image.write_bytes(change(image.read_bytes()))
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(RunError, match=r"002\.png: has changed since it was evaluated, it had \d+ bytes"):
        evaluate(planned, tmp_path / "run")


def test_an_image_that_is_replaced_while_its_batch_is_in_the_net_is_noticed(
    model, own_images, whole, tmp_path, monkeypatch
):
    """What was read is what counts: the results are those of the old image, and so is the checksum."""
    image = own_images / "002.png"
    old = image.read_bytes()
    forward = evaluator.forward

    def replaced_meanwhile(cam, batch, prepared):
        image.write_bytes((own_images / "001.png").read_bytes())
        return forward(cam, batch, prepared)

    with monkeypatch.context() as patch:
        patch.setattr(evaluator, "forward", replaced_meanwhile)
        evaluate(make_plan(model, own_images, batch=COUNT), tmp_path / "run")
    assert_same(tmp_path / "run", whole)
    with pytest.raises(RunError, match=rf"002\.png: has changed since it was evaluated, it had {len(old)} bytes"):
        evaluate(make_plan(model, own_images), tmp_path / "run")
    image.write_bytes(old)
    evaluate(make_plan(model, own_images), tmp_path / "run")


@pytest.mark.parametrize(
    ("function", "code"),
    [
        ("open", errno.EACCES),
        ("open", errno.ENOMEM),
        ("open", errno.ESTALE),
        ("read", errno.EIO),
        ("read", errno.EINTR),
    ],
)
def test_a_fault_of_the_machine_is_none_of_an_image(model, own_images, whole, tmp_path, monkeypatch, function, code):
    """It stops the run, also if bad images are skipped, and while an earlier run is checked; then it is forgotten."""
    planned = make_plan(model, own_images)
    open_file = read.open_file

    class Faulty(io.FileIO):
        def read(self, size=-1):
            raise OSError(code, os.strerror(code))

    def faulty(path, expected, error):
        if Path(path).name != "004.png":
            return open_file(path, expected, error)
        if function == "read":
            return Faulty(path)
        raise error(f"{path}: refused") from OSError(code, os.strerror(code))

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(read, "open_file", faulty)
            expected = rf"004\.png: cannot be read now \({os.strerror(code)}\); the same command resumes the run"
            with pytest.raises(RunError, match=expected):
                evaluate(planned, tmp_path / "run", skip=True)
        assert evaluate(planned, tmp_path / "run", skip=True)["skipped"] == []
        assert_same(tmp_path / "run", whole)


@pytest.mark.posix
def test_what_is_no_file_is_skipped_and_what_disappears_is_not(model, own_images, tmp_path, monkeypatch):
    planned = make_plan(model, own_images)
    for name in ("000", "001", "002", "003", "004"):
        (own_images / f"{name}.png").unlink()
    (own_images / "000.png").symlink_to("nothing")
    (own_images / "001.png").symlink_to("001.png")
    (own_images / "002.png").mkdir()
    os.mkfifo(own_images / "003.png")
    with (own_images / "004.png").open("wb") as file:
        file.truncate(read.LARGEST_FILE + 1)
    first = evaluate(planned, tmp_path / "run", skip=True)
    assert [each["image"] for each in first["skipped"]] == ["000", "001", "002", "003", "004"]
    with monkeypatch.context() as patch:
        patch.setattr(evaluator, "forward", None)
        assert evaluate(planned, tmp_path / "run", skip=True) == first
    (own_images / "005.png").unlink()
    with pytest.raises(RunError, match=r"005\.png: was there when the run began, and is not there now: put it back"):
        evaluate(planned, tmp_path / "run", skip=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_image_without_finite_scores_does_not_stop_the_others(model, own_images, tmp_path, workers):
    """Infinite values of a `.npy` are refused, but the sums of finite ones can be infinite: only the net knows."""
    net, _ = model
    weights = tmp_path / "large.caffemodel"
    params = {
        "conv": (np.full((8, 3, 5, 5), 1e37, np.float32), np.zeros(8, np.float32)),
        "fc": (np.ones((1000, 8), np.float32), np.zeros(1000, np.float32)),
    }
    caffemodel.write(weights, prototxt.parse(net.read_text()).message, params)
    dark = np.full((HEIGHT, WIDTH, 3), 104, np.uint8)
    for path in own_images.iterdir():
        cv2.imwrite(str(path), dark)
    cv2.imwrite(str(own_images / "004.png"), dark + 100)
    planned = make_plan((net, weights), own_images, mean="104,104,104")
    report = evaluate(planned, tmp_path / "run", skip=True, workers=workers)
    assert (report["images"], [each["image"] for each in report["skipped"]]) == (COUNT - 1, ["004"])
    assert "scores that are not finite for" in report["skipped"][0]["reason"]
    assert "004.png" in report["skipped"][0]["reason"]
    with pytest.raises(EngineError, match=r"not finite for .*004\.png"):
        evaluate(planned, tmp_path / "run")


def test_a_run_without_any_good_image_tells_why(model, own_images, tmp_path):
    for path in own_images.iterdir():
        path.write_bytes(b"no image")
    with pytest.raises(
        RunError, match=r"none of the 30 images could be evaluated; the first: .*000\.png: not an image"
    ):
        evaluate(make_plan(model, own_images), tmp_path / "run", skip=True)


def test_a_run_whose_folder_is_removed_stops_at_once(model, images, tmp_path):
    def remove(done: int) -> None:
        if done >= 4:
            shutil.rmtree(tmp_path / "run", ignore_errors=True)

    with pytest.raises(RunError, match=r"run\.sqlite: was removed during the run, .*: start the run again"):
        evaluate(make_plan(model, images), tmp_path / "run", progress=remove)


def test_a_report_of_many_skipped_images_is_read(whole, tmp_path):
    report = json.loads((whole / "report.json").read_text())
    skipped = [
        {"image": f"{n:08}", "reason": f"/images/{n:08}.JPEG: a truncated JPEG{'.' * 300}"} for n in range(40_000)
    ]
    (tmp_path / "report.json").write_text(json.dumps(report | {"skipped": skipped}))
    assert (tmp_path / "report.json").stat().st_size > LARGEST
    assert read_report(tmp_path) == report | {"skipped": skipped}
    for field, value, complaint in (
        ("notes", ["x" * LARGEST], "it is larger than 8 MB"),
        ("skipped", [{}], "it is not a JSON object .*missing required field `image`"),
        ("skipped", 5, r"it is not a JSON object \(Expected `array`"),
    ):
        (tmp_path / "report.json").write_text(json.dumps(report | {field: value}))
        with pytest.raises(RunError, match=f"not the folder of a finished run .*{complaint}"):
            read_report(tmp_path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[1]", "it is not a JSON object"),
        ('{"a": ' + "[" * 100_000, "its brackets are nested too deep"),
        ('{"a": 1e999}', "it contains 1e999; finite numbers were expected"),
        ('{"a": NaN}', "it contains NaN; finite numbers were expected"),
        (" " * LARGEST + "{}", "it is larger than 8 MB"),
    ],
    ids=["list", "nested", "infinite", "no number", "large"],
)
def test_what_is_no_note_is_refused(text, complaint, tmp_path):
    (tmp_path / "note.json").write_text(text)
    with pytest.raises(ValueError, match=f"^{complaint}$"):
        read_note(tmp_path / "note.json")


def test_a_note_has_no_fields_of_another_version():
    with pytest.raises(ValueError, match="it has fields that a Protocol does not have"):
        from_note(Protocol, {"name": "paper", "speed": 9})


def test_images_may_be_written_again_with_the_same_content(model, own_images, tmp_path, monkeypatch):
    planned = make_plan(model, own_images)
    first = evaluate(planned, tmp_path / "run")
    for path in own_images.iterdir():
        path.write_bytes(path.read_bytes())
    monkeypatch.setattr(evaluator, "forward", None)
    assert evaluate(planned, tmp_path / "run") == first


def test_an_image_of_another_size_than_in_the_ground_truth_is_refused(model, own_images, tmp_path):
    planned = make_plan(model, own_images)
    cv2.imwrite(str(own_images / "003.png"), np.zeros((25, 30, 3), np.uint8))
    with pytest.raises(ImageError, match=r"003\.png: 30×25 pixels, but the ground truth is for an image of 60×50"):
        evaluate(planned, tmp_path / "run")


@pytest.mark.torch
def test_maps_from_gradients_are_evaluated_too(model, images, tmp_path):
    planned = make_plan(model, images, protocol("paper").with_choices(method="saliency"))
    report = evaluate(planned, tmp_path)
    assert report["overrides"] == {"method": "saliency", "box_rule": "smoothed"}
    assert report["identity"]["threads"] == "1"
    predictions = read_predictions(tmp_path / "predictions.txt")
    with planned.recipe.make(planned.recipe.load()) as cam:
        assert predictions.boxes[0, 0].tolist() == list(cam(planned.images[0]).top[0].box)


def test_a_run_without_any_good_image_is_refused(model, own_images, tmp_path):
    planned = make_plan(model, own_images)
    for path in own_images.iterdir():
        path.write_bytes(b"")
    with pytest.raises(RunError, match="none of the 30 images could be evaluated"):
        evaluate(planned, tmp_path / "run", skip=True)


def test_images_are_joined_by_name(images, tmp_path):
    names = [path.stem for path in sorted(images.iterdir())]
    assert find_images(images, names[::-1]) == tuple(images / f"{name}.png" for name in names[::-1])
    assert find_images(images, [f"val/{name}.JPEG" for name in names]) == find_images(images, names)
    by_order = [str(number) for number in range(1, COUNT + 1)]
    assert find_images(images, by_order) == find_images(images, names)
    with pytest.raises(GroundTruthError, match="no image 'new' in it, which the ground truth names"):
        find_images(images, [*names, "new"])
    with pytest.raises(GroundTruthError, match=r"000\.png: the ground truth does not name this image"):
        find_images(images, names[1:])
    with pytest.raises(GroundTruthError, match=r"000\.png: the ground truth names this image twice, with and without"):
        find_images(images, [*names, "000.png"])
    with pytest.raises(GroundTruthError, match="30 images in it, but 31 in the ground truth"):
        find_images(images, [*by_order, "31"])
    with pytest.raises(UsageError, match="no such folder"):
        find_images(tmp_path / "none", names)
    with pytest.raises(UsageError, match="no images in it"):
        find_images(tmp_path, names)
    for name in ("a.png", "a.jpg"):
        (tmp_path / name).touch()
    with pytest.raises(GroundTruthError, match="which of the two is image 'a'"):
        find_images(tmp_path, ["a"])


def test_images_of_the_same_name_are_told_apart_by_their_folders(tmp_path):
    for folder in ("cat", "dog"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.png").touch()
    found = find_images(tmp_path, ["dog/1.png", "cat/1"])
    assert [path.parent.name for path in found] == ["dog", "cat"]
    with pytest.raises(GroundTruthError, match=r"no image '1\.png' in it, .*, with its folder: several folders"):
        find_images(tmp_path, ["1.png", "2.png"])


# The store


IDENTITY = (("engine", "one"), ("weights", "two"))
FILE = FileState(10, 3)


def test_store_returns_what_was_stored(tmp_path):
    good = Result(3, FILE, "", b"record", b"maps", b"hits")
    with Store(tmp_path / "deep/run.sqlite", IDENTITY) as store:
        store.add([good, Result(1, NO_FILE, "no such image")])
        store.add([good])
    with Store(tmp_path / "deep/run.sqlite", IDENTITY) as store:
        assert list(store.results()) == [good]
        assert list(store.results(0, 3)) == []
        assert store.failures() == {1: "no such image"}
        assert store.files() == {1: NO_FILE, 3: FILE}


def test_store_adds_up_the_seconds_of_all_sessions(tmp_path):
    path = tmp_path / "run.sqlite"
    for position in (1, 2):
        with Store(path, IDENTITY) as store:
            store.add([Result(position, FILE)], {"net": 1.5, "available": 4.0})
            with pytest.raises(RunError, match="damaged"):  # neither a result nor its seconds
                store.add([Result(9, FILE, None)], {"net": 100.0})
    with Store(path, IDENTITY) as store:
        assert store.spent() == {"net": 3.0, "available": 8.0}
    with closing(sqlite3.connect(path)) as database:
        database.executescript("UPDATE timing SET seconds = 9e999")
    with Store(path, IDENTITY) as store, pytest.raises(RunError, match="the timing of its run cannot be read"):
        store.spent()


def test_a_run_of_before_seconds_were_stored_is_resumed(model, images, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    with closing(sqlite3.connect(tmp_path / "run/run.sqlite")) as database:
        database.executescript("DROP TABLE timing; DELETE FROM images WHERE position >= 10")
    report = evaluate(make_plan(model, images), tmp_path / "run")
    assert report["timing"] is not None
    assert_same(tmp_path / "run", whole)
    with closing(sqlite3.connect(tmp_path / "run/run.sqlite")) as database:
        database.executescript("DROP TABLE timing")
    assert evaluate(make_plan(model, images), tmp_path / "run")["timing"] is None


# The time


class Work:
    """CPU time of this process and of its threads, which passes only when they are told to be busy."""

    def __init__(self) -> None:
        self._of_threads: Counter[int] = Counter()

    def busy(self, seconds: float) -> None:
        self._of_threads[threading.get_ident()] += seconds

    def thread_time(self) -> float:
        return self._of_threads[threading.get_ident()]

    def process_time(self) -> float:
        return sum(self._of_threads.values())


def test_a_clock_tells_the_stages_of_all_threads_from_the_rest(monkeypatch):
    def stage(name: str, seconds: float) -> None:
        work.busy(1)
        with clock.stage(name):
            begun.wait()  # all at once
            work.busy(seconds)

    work, begun = Work(), threading.Barrier(3)
    monkeypatch.setattr("pycam.evaluation.timing.time", work)
    work.busy(100)
    clock = Clock()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(stage, ["decode", "boxes", "decode"], [5, 10, 6]))
    work.busy(15)
    assert clock.take() == {"decode": 11, "boxes": 10, "net": 18}
    work.busy(5)
    assert clock.take() == {"decode": 0, "boxes": 0, "net": 5}


def test_the_shares_of_a_run_are_those_of_its_stages(model, images, tmp_path):
    start = time.process_time(), time.perf_counter()
    report = evaluate(make_plan(model, images), tmp_path)
    used, available = time.process_time() - start[0], (time.perf_counter() - start[1]) * cores()
    timing = report["timing"]
    assert list(timing) == ["decode", "net", "boxes", "idle"]
    assert sum(timing.values()) == pytest.approx(1, abs=0.01)
    with Store(tmp_path / "run.sqlite", tuple(report["identity"].items())) as store:
        spent = store.spent()
    assert min(spent.values()) > 0
    assert spent["available"] <= available
    assert spent["decode"] + spent["net"] + spent["boxes"] <= used
    assert line(timing).startswith(f"decode {timing['decode']:.0%}"[:-1])


def test_shares_without_time_are_none():
    assert shares({}) is None
    assert shares({"decode": 1.0, "net": 2.0, "boxes": 0.5, "available": 4.0}) == {
        "decode": 0.25, "net": 0.5, "boxes": 0.125, "idle": 0.125
    }  # fmt: skip
    assert line({"decode": 0.25, "net": 0.5, "boxes": 0.125, "idle": 0.125}) == (
        "decode 25 %, net 50 %, boxes 12 %, idle 12 %"
    )


def test_store_writes_all_of_a_batch_or_nothing(tmp_path):
    with Store(tmp_path / "run.sqlite", IDENTITY) as store:
        with pytest.raises(RunError, match="damaged"):
            store.add([Result(1, FILE), Result(2, FILE, None)])
        assert store.files() == {}


def test_store_notices_a_flipped_bit(tmp_path):
    path = tmp_path / "run.sqlite"
    with Store(path, IDENTITY) as store:
        store.add([Result(3, FILE, "", b"record", b"maps" * 10, b"hits")])
    content = path.read_bytes()
    assert content.count(b"mapsmaps") > 0
    path.write_bytes(content.replace(b"mapsmaps", b"mapsmapt", 1))
    with Store(path, IDENTITY) as store, pytest.raises(RunError, match=r"damaged \(image 4 is not as it was written"):
        list(store.results())


@pytest.mark.parametrize("content", [b"<html>" * 1000, b"SQLite format 3\0" + b"\0" * 5000])
def test_store_refuses_a_damaged_file(tmp_path, content):
    path = tmp_path / "run.sqlite"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"damaged \(.*\): remove it, or name another --out"):
        Store(path, IDENTITY)


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE images SET record = 'label'",
        "UPDATE images SET error = x'ff'",
        "UPDATE identity SET value = x'ff'",
        "UPDATE images SET checksum = 'label'",
        "CREATE TRIGGER t AFTER INSERT ON images BEGIN DELETE FROM images; END",
        "DROP TABLE images",
        "ALTER TABLE images RENAME COLUMN hits TO misses",
        "PRAGMA writable_schema = ON; UPDATE sqlite_master SET sql = CAST(x'ff' AS TEXT) WHERE name = 'images'",
    ],
)
def test_store_refuses_other_tables_and_other_kinds_of_values(tmp_path, harm):
    path = tmp_path / "run.sqlite"
    with Store(path, IDENTITY) as store:
        store.add([Result(3, FILE, "", b"record", b"maps", b"hits")])
    with closing(sqlite3.connect(path)) as database:
        database.executescript(harm)
    with pytest.raises(RunError, match=r"damaged \(.*\): remove it"), Store(path, IDENTITY) as store:
        store.files()


@pytest.mark.parametrize(
    ("code", "complaint"), [(10, r"cannot be read or written \(.*\): make room"), (11, r"damaged \(.*\): remove it")]
)
def test_store_that_cannot_be_read_now_is_not_taken_for_a_damaged_one(tmp_path, monkeypatch, code, complaint):
    """SQLite's check of a file gives the code of an error in a text."""
    path = tmp_path / "run.sqlite"
    Store(path, IDENTITY).__exit__()
    check = f"SELECT '*** in database main ***\nPage 3: unable to get the page. error code={code}'"

    class Unreadable(sqlite3.Connection):
        def execute(self, sql, *values):
            return super().execute(check if "quick_check" in sql else sql, *values)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *given, **more: connect(*given, **more, factory=Unreadable))
    with pytest.raises(RunError, match=complaint):
        Store(path, IDENTITY)


def test_notes_that_cannot_be_read_now_are_not_taken_for_others(tmp_path, monkeypatch):
    def refused(path):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", refused)
    for name, reader in (("report.json", read_report), ("plan.json", Plan.restore)):
        (tmp_path / name).touch()
        with pytest.raises(RunError, match=rf"{name}: cannot be read now \(Input/output error\): try the same command"):
            reader(tmp_path)


def test_store_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match=r"file/run: cannot be made \(Not a directory\): name another --out"):
        Store(tmp_path / "file/run/run.sqlite", IDENTITY)
    (tmp_path / "run.sqlite").mkdir()
    with pytest.raises(RunError, match=r"run\.sqlite: cannot be read or written \(unable to open database file\)"):
        Store(tmp_path / "run.sqlite", IDENTITY)


def test_a_run_from_before_labels_had_one_meaning_is_read(model, images, tmp_path):
    sources = Sources(str(images), "xml", labels="names.txt", ground_truth_classes="val.txt")
    replace(make_plan(model, images), sources=sources).save(tmp_path)
    note = json.loads((tmp_path / PLAN).read_text())
    assert PlanNote.read(tmp_path).sources == sources
    files = note["sources"]
    files["classes"], files["labels"] = files["labels"], files.pop("ground_truth_classes")
    (tmp_path / PLAN).write_text(json.dumps(note))
    assert PlanNote.read(tmp_path).sources == sources
    assert "--labels names.txt --ground-truth-classes val.txt" in PlanNote.read(tmp_path).command(Path("out"))


def test_the_command_of_a_run_has_all_that_its_recipe_names():
    named = {each.name: f"the-{each.name}" for each in fields(Recipe) if each.type == "str | None"}
    assert {"model", "onnx", "mean"} <= named.keys()
    command = PlanNote(Recipe(protocol("paper"), **named), Sources("images", "xml"), 1).command(Path("out"))
    for name, value in named.items():
        assert f" --{name.replace('_', '-')} {value} " in command
