"""Table 4: a made-up copy of CUB with planted objects, compared with a direct computation of every step."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import scipy.ndimage
from runs import write_model

from pycam.cli import main
from pycam.errors import GroundTruthError
from pycam.formats import caffemodel
from pycam.ilsvrc.cub import read_cub_images
from pycam.ilsvrc.ground_truth import read_ground_truth
from pycam.paper.table4 import baselines

COLOURS = [(40, 60, 220), (50, 200, 60), (210, 80, 40)]
NAMES = ["001.Red_bird", "002.Green_bird", "003.Blue_bird"]
MEAN = np.array([104.00698793, 116.66876762, 122.67891434], np.float32)
SIDE = 32


def write_birds(folder: Path) -> Path:
    """Write 30 images of three classes: IDs with a gap and out of order, a grey image, boxes of every kind."""
    rng = np.random.default_rng(5)
    lines: dict[str, list[str]] = {"images": [], "image_class_labels": [], "train_test_split": [], "bounding_boxes": []}
    for row, key in enumerate([*range(1, 21), *range(40, 50)]):
        label = row % 3
        width, height = (int(side) for side in rng.integers(60, 100, 2))
        w, h = (int(side) for side in rng.integers(20, 40, 2))
        x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
        x = {4: 0, 5: width - w}.get(row, x)
        pixels = rng.integers(90, 130, (height, width, 3), np.uint8)
        colours = COLOURS[label] + rng.normal(0, 70, 3) + rng.normal(0, 40, (h, w, 3))
        pixels[y : y + h, x : x + w] = np.clip(colours, 0, 255)
        name = f"{NAMES[label]}/bird {key}.png" if row == 7 else f"{NAMES[label]}/bird_{key}.png"
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if row == 8:
            pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
        path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        lines["images"].append(f"{key} {name}")
        lines["image_class_labels"].append(f"{key} {label + 1}")
        lines["train_test_split"].append(f"{key} {int(row < 18)}")
        lines["bounding_boxes"].append(f"{key} {x}{'.25' if row == 3 else '.0'} {y}.0 {w}.0 {h - 0.5 * (row == 6)}")
    for name, texts in lines.items():
        order = rng.permutation(len(texts)) if name != "images" else range(len(texts))
        (folder / f"{name}.txt").write_text("".join(f"{texts[row]}\n" for row in order))
    classes = [f"{number} {name}\n" for number, name in enumerate(NAMES, 1)]
    (folder / "classes.txt").write_text("".join(reversed(classes)))
    return folder


@pytest.fixture(scope="module")
def birds(tmp_path_factory) -> Path:
    return write_birds(tmp_path_factory.mktemp("CUB_200_2011"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory) -> tuple[Path, Path]:
    return write_model(tmp_path_factory.mktemp("tiny"), seed=3)


def read_plainly(folder: Path):
    """Read the files of the data set in the order of the IDs in images.txt."""
    tables = {
        name: {
            line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in (folder / f"{name}.txt").read_text().splitlines()
        }
        for name in ("images", "image_class_labels", "train_test_split", "bounding_boxes")
    }
    keys = list(tables["images"])
    images = [cv2.imread(str(folder / "images" / tables["images"][key])) for key in keys]
    labels = np.array([int(tables["image_class_labels"][key]) - 1 for key in keys])
    train = np.array([tables["train_test_split"][key] == "1" for key in keys])
    boxes = np.array([[float(side) for side in tables["bounding_boxes"][key].split()] for key in keys])
    boxes[:, 2:] += boxes[:, :2]
    return images, labels, train, boxes


def plain_features(pixels: np.ndarray, weights, bias) -> np.ndarray:
    """The convolution of the tiny net and its ReLU: (8, 7, 7)."""
    x = (cv2.resize(pixels, (SIDE, SIDE)).astype(np.float32) - MEAN).transpose(2, 0, 1)
    windows = np.lib.stride_tricks.sliding_window_view(x, (5, 5), axis=(1, 2))[:, ::4, ::4]
    return np.maximum(np.einsum("chwij,kcij->khw", windows.astype(np.float64), weights) + bias[:, None, None], 0)


def plain_box(map_: np.ndarray, width: int, height: int) -> tuple[int, int, int, int]:
    resized = cv2.resize(map_.astype(np.float32), (width, height))
    if resized.max() <= 0:
        return 0, 0, width, height
    regions, count = scipy.ndimage.label(resized >= np.float32(0.2) * resized.max(), np.ones((3, 3)))
    sizes = np.bincount(regions.ravel(), minlength=count + 1)[1:]
    rows, columns = np.nonzero(regions == 1 + int(sizes.argmax()))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def plain_iou(a, b) -> float:
    shared = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


@pytest.mark.paper
@pytest.mark.parametrize("map_class", ["predicted", "true-in-training", "true"])
def test_the_whole_way_equals_a_plain_computation(birds, tiny, tmp_path, capsys, map_class):
    from sklearn.svm import LinearSVC

    prototxt, weights = tiny
    arguments = ["--data", str(birds), "--prototxt", str(prototxt), "--weights", str(weights)]
    command = ["paper", "table4", *arguments, "--class", map_class, "--out", str(tmp_path), "--threads", "1"]
    assert main(command) == 0
    shown = capsys.readouterr().out

    conv = caffemodel.read(weights).layers["conv"]
    images, labels, train, truth = read_plainly(birds)

    def classify(inputs):
        features = [plain_features(pixels, *conv) for pixels in inputs]
        values = np.array([each.mean(axis=(1, 2)) for each in features], np.float32).astype(np.float64)
        values /= np.linalg.norm(values[train], axis=1).mean()
        machine = LinearSVC(C=1, dual=False, fit_intercept=False, tol=1e-4, max_iter=10000, random_state=0)
        machine.fit(values[train], labels[train])
        return machine.predict(values), machine.coef_, features

    def cut(boxes):
        return [pixels[y0:y1, x0:x1] for pixels, (x0, y0, x1, y1) in zip(images, boxes, strict=True)]

    predicted, rows, features = classify(images)
    shown_class = {"predicted": predicted, "true": labels, "true-in-training": np.where(train, labels, predicted)}
    maps = [np.tensordot(rows[c], each, 1) for c, each in zip(shown_class[map_class], features, strict=True)]
    sizes = [pixels.shape[1::-1] for pixels in images]
    boxes = np.array([plain_box(map_, *size) for map_, size in zip(maps, sizes, strict=True)])
    on_crop, _, _ = classify(cut(boxes))
    on_box, _, _ = classify(cut(np.rint(truth).astype(int)))

    found = pd.read_csv(tmp_path / "boxes.csv")
    assert found["image"].tolist() == [
        line.split(" ", 1)[1] for line in (birds / "images.txt").read_text().splitlines()
    ]
    assert (found["part"] == "training").tolist() == train.tolist()
    np.testing.assert_array_equal(found[["x0", "y0", "x1", "y1"]], boxes)
    ious = np.array([plain_iou(*pair) for pair in zip(boxes, truth, strict=True)])
    np.testing.assert_allclose(found["iou"], ious, atol=1e-12)
    for column, expected in (("full image", predicted), ("crop", on_crop), ("BBox", on_box)):
        assert found[f"predicted on {column}"].tolist() == [NAMES[label] for label in expected]

    written = json.loads((tmp_path / "paper-table.json").read_text())
    assert [cell["images"] for cell in written["cells"]] == [12] * 3
    of_class = "" if map_class == "predicted" else f", class {map_class}"
    assert [cell["row"] for cell in written["cells"]] == [
        f"tiny on {x}" for x in ("full image", f"crop{of_class}", "BBox")
    ]
    for cell, expected in zip(written["cells"], (predicted, on_crop, on_box), strict=True):
        right = (expected == labels)[~train]
        assert cell["value"] == pytest.approx(100 * right.mean())
        assert cell["low"] <= cell["value"] <= cell["high"]
    assert written["command"].startswith(f"pycam paper table4 --data {birds} --prototxt {prototxt}")
    assert "--class" in written["command"]

    table = pd.read_csv(tmp_path / "table.csv")
    ours = table[table["box"] == f"map, class {map_class}"].set_index("images of")
    for part, chosen in (("test", ~train), ("training", train)):
        assert ours.loc[part, "right"] == (ious[chosen] >= 0.5).sum()
        assert ours.loc[part, "IoU ≥ 0.5"] == pytest.approx(100 * (ious[chosen] >= 0.5).mean())
        whole = [(box[2:] == size).all() and not box[:2].any() for box, size in zip(boxes, sizes, strict=True)]
        assert ours.loc[part, "whole images"] == np.sum(np.array(whole)[chosen])
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / np.prod(sizes, axis=1)
        assert ours.loc[part, "mean area"] == pytest.approx(100 * area[chosen].mean())
    by_class = np.mean([(on_crop == labels)[~train & (labels == label)].mean() for label in range(3)])
    assert table["mean over classes"].iloc[1] == pytest.approx(100 * by_class)
    assert "PANDA R-CNN" in shown and "mean of the training bounding boxes" in shown


@pytest.mark.paper
def test_features_are_used_again_and_a_variant_of_the_view_is_computed(birds, tiny, tmp_path):
    prototxt, weights = tiny
    arguments = ["--data", str(birds), "--prototxt", str(prototxt), "--weights", str(weights), "--quiet"]
    assert main(["paper", "table4", *arguments, "--view", "center", "--out", str(tmp_path)]) == 0
    kept = {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in (tmp_path / "features").iterdir()}
    assert {"full-image.npz", "crop.npz", "BBox.npz"} <= kept.keys()
    before = (tmp_path / "paper-table.json").read_bytes()
    assert main(["paper", "table4", *arguments, "--view", "center", "--out", str(tmp_path)]) == 0
    assert {
        path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in (tmp_path / "features").iterdir()
    } == kept
    assert (tmp_path / "paper-table.json").read_bytes() == before
    # Only the first pass has a view; the bounding boxes are seen whole, whatever it is.
    assert main(["paper", "table4", *arguments, "--out", str(tmp_path)]) == 0
    now = {path.name: path.read_bytes() for path in (tmp_path / "features").iterdir()}
    assert now["BBox.npz"] == kept["BBox.npz"][1]
    assert now["full-image.npz"] != kept["full-image.npz"][1]


def test_the_reader_has_every_image_and_the_fractions_of_boxes(birds):
    found = read_cub_images(birds)
    images, labels, train, boxes = read_plainly(birds)
    assert found.class_names == tuple(NAMES)
    np.testing.assert_array_equal(found.classes, labels)
    np.testing.assert_array_equal(found.is_training, train)
    np.testing.assert_array_equal(found.boxes, boxes)
    np.testing.assert_array_equal(found.sizes, [pixels.shape[1::-1] for pixels in images])
    assert (found.boxes % 1).any()
    assert not found.boxes[4, 0]
    assert found.boxes[5, 2] == found.sizes[5, 0]
    # Ground truth of an evaluation is the same, of the test images.
    truth = read_ground_truth(birds)
    assert truth.names == tuple(name for name, trained in zip(found.names, train, strict=True) if not trained)
    assert truth.class_names == tuple(NAMES)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("images.txt", "1 001.Red_bird/bird_1.png\n", "", r"image_class_labels\.txt:\d+: image 1 is missing in images"),
        ("images.txt", "bird_2.png", "bird_0.png", r"images\.txt:2: no image .*bird_0\.png"),
        ("images.txt", "\n2 ", "\n1 ", r"images\.txt:2: ID 1 occurs twice"),
        ("image_class_labels.txt", "13 1\n", "", r"labels\.txt: image 13 of .*images\.txt:13 is missing"),
        ("image_class_labels.txt", "13 1\n", "13 9\n", r"labels\.txt:\d+: class 9 has no line in classes\.txt"),
        ("image_class_labels.txt", "13 1\n", "13 0\n", r"labels\.txt:\d+: class 0; a number from 1"),
        ("image_class_labels.txt", "13 1\n", "13 1.5\n", r"labels\.txt:\d+: '1\.5'; a whole number"),
        ("classes.txt", "2 002.Green_bird\n", "", r"labels\.txt:\d+: class 2 has no line in classes\.txt"),
        ("train_test_split.txt", "13 1\n", "13 2\n", r"split\.txt:\d+: '2'; expected 1, for training, or 0, for test"),
        ("train_test_split.txt", "13 1\n", "", r"split\.txt: image 13 of .*images\.txt:13 is missing"),
        ("train_test_split.txt", " 0\n", " 1\n", r"split\.txt: no image for test"),
        ("bounding_boxes.txt", "13 ", "13 50", r"boxes\.txt:\d+: box .* lies outside of the image of \d+×\d+"),
        ("bounding_boxes.txt", "13 ", "13 -9", r"boxes\.txt:\d+: box .* lies outside of the image"),
        ("bounding_boxes.txt", "13 ", "13 nan ", r"boxes\.txt:\d+: '.*'; 4 values were expected"),
        ("bounding_boxes.txt", "13 ", "31 ", r"boxes\.txt: image 13 of .*images\.txt:13 is missing"),
    ],
)
def test_a_faulty_copy_is_refused_with_file_and_line(tmp_path, name, old, new, message):
    folder = write_birds(tmp_path / "CUB_200_2011")
    text = (folder / name).read_text()
    lines = text if old in text[: len(old)] or not old[0].isdigit() else text.replace(f"\n{old}", f"\n{new}")
    changed = lines if lines != text else text.replace(old, new)
    assert changed != text
    (folder / name).write_text(changed)
    with pytest.raises(GroundTruthError, match=message):
        read_cub_images(folder)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"no such folder; expected the folder CUB_200_2011"),
        ({"lists/train.txt": ""}, r"this is CUB-200, the edition of 2010, .*; expected CUB_200_2011"),
        ({"images/a.jpg": ""}, r"CUB: no images\.txt in it; expected the folder CUB_200_2011"),
    ],
)
def test_another_folder_is_refused(tmp_path, capsys, files, message):
    folder = tmp_path / "CUB"
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(text)
    with pytest.raises(GroundTruthError, match=message):
        read_cub_images(folder)
    assert main(["paper", "table4", "--data", str(folder)]) == GroundTruthError.exit_code
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--class", "best"], "--class best: expected one of predicted, true-in-training, true"),
        (["--scale", "none"], "--scale none: expected one of mean-norm"),
        (["--c", "0"], "--c 0.0: expected a finite number above 0"),
        (["--protocol", "keras_gradcam"], "makes maps by gradcam_mean: Table 4 needs class activation maps"),
        (["--model", "bvlc-caffenet"], "bvlc-caffenet has no class activation maps"),
    ],
)
def test_choices_that_cannot_be_are_refused(birds, capsys, tmp_path, arguments, message):
    assert main(["paper", "table4", "--data", str(birds), "--out", str(tmp_path), *arguments]) != 0
    (line,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("pycam:"))
    assert message in line


def test_baselines_equal_what_is_known_of_them(birds):
    found = read_cub_images(birds)
    shares = baselines(found)
    truth = found.boxes[~found.is_training] / np.tile(found.sizes[~found.is_training], 2)
    whole = [(x1 - x0) * (y1 - y0) >= 0.5 for x0, y0, x1, y1 in truth]
    assert shares["whole image"] == np.mean(whole)
    middle = [plain_iou((0.2, 0.2, 0.8, 0.8), box) >= 0.5 for box in truth]
    assert shares["middle, 60 % of width and height"] == np.mean(middle)
    trained = found.boxes[found.is_training] / np.tile(found.sizes[found.is_training], 2)
    mean = [plain_iou(trained.mean(axis=0), box) >= 0.5 for box in truth]
    assert shares["mean of the training bounding boxes"] == np.mean(mean)
    rng = np.random.default_rng(9)
    hits = []
    for x0, y0, x1, y1 in np.repeat(truth, 400, axis=0):
        x, y = rng.uniform(0, 1 - (x1 - x0)), rng.uniform(0, 1 - (y1 - y0))
        hits.append(plain_iou((x, y, x + x1 - x0, y + y1 - y0), (x0, y0, x1, y1)) >= 0.5)
    assert shares["size of the bounding box, random place"] == pytest.approx(np.mean(hits), abs=0.04)
