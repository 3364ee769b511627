from __future__ import annotations

import io
import pickle
import struct

import cv2
import numpy as np
import pytest
from test_metrics import make_truth

from pycam.errors import GroundTruthError
from pycam.ilsvrc.ground_truth import read_ground_truth
from pycam.ilsvrc.map_scores import center_gaussian, score_maps, whole_image
from pycam.ilsvrc.maps import find_maps, read_map
from pycam.maps.boxes import half_open
from pycam.metrics.baselines import SIDE
from pycam.metrics.box_accuracy import THRESHOLDS, BoxAccuracy, box_hits, candidates, scaled


def hills(seed: int, height: int, width: int, noise: float = 0.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    coarse = random.random((4, 5))
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    values = smooth + noise * random.random((height, width))
    return (values - values.min()) / (values.max() - values.min())


def plain_iou(a, b) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    areas = [(x1 - x0 + 1) * (y1 - y0 + 1) for x0, y0, x1, y1 in (a, b)]
    return shared / (sum(areas) - shared)


def plain_hits(score_map: np.ndarray, truth: list[tuple[int, ...]]) -> np.ndarray:
    """Follow the definition step by step: cut the map at each threshold."""
    grey = (score_map * 255).astype(np.uint8)
    height, width = grey.shape
    hits = np.zeros((6, len(THRESHOLDS)), dtype=bool)
    for column, threshold in enumerate(np.arange(0, 1, 0.001)):
        _, cut = cv2.threshold(grey, int(threshold * np.max(grey)), 255, cv2.THRESH_BINARY)
        contours = cv2.findContours(cut, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
        found = [(0.0, (0, 0, 0, 0))]
        if contours:
            found = []
            for contour in contours:
                x, y, w, h = cv2.boundingRect(contour)
                corners = (x, y, min(x + w, width - 1), min(y + h, height - 1))
                found.append((cv2.contourArea(contour), corners))
        _, largest = max(found, key=lambda one: one[0])
        single = max(plain_iou(largest, box) for box in truth)
        hits[[0, 4, 5], column] = single >= 0.5, single >= 0.3, single >= 0.7
        best = max(plain_iou(corners, box) for _, corners in found for box in truth)
        hits[1:4, column] = best >= 0.3, best >= 0.5, best >= 0.7
    return hits


POINT = np.zeros((30, 40))
POINT[7, 39] = 0.7

MAPS = {
    "smooth": hills(0, 30, 40),
    "noisy": hills(1, 30, 40, noise=2),
    "float32": hills(2, 25, 25, noise=0.2).astype(np.float32),
    "dim": hills(3, 30, 40) * 0.613,
    "point": POINT,
    "nothing": np.zeros((30, 40)),
    "everything": np.ones((30, 40)),
}


@pytest.mark.parametrize("score_map", MAPS.values(), ids=MAPS)
def test_hits_are_those_of_the_definition(score_map):
    height, width = score_map.shape
    truth = [(2, 3, width // 2, height - 5), (width // 2, 5, width - 1, height // 2)]
    boxes = np.array(truth) + np.array([0, 0, 1, 1])
    assert (box_hits(candidates(score_map), boxes) == plain_hits(score_map, truth)).all()


def test_ground_truth_boxes_are_scaled_and_truncated():
    boxes = half_open([[1, 2, 499, 374], [0, 0, 500, 375]])
    assert scaled(boxes, (500, 375), (224, 112)).tolist() == [[0, 0, 224, 112], [0, 0, 225, 113]]


def test_accuracies_of_a_set():
    maps = [hills(seed, 30, 40) for seed in range(6)]
    truth = make_truth(
        [0] * 6,
        [[(1, 1, 40, 60), (50, 20, 90, 90)]] * 6,
        sizes=[(100, 100)] * 6,
        blacklisted=[row == 2 for row in range(6)],
    )
    kept = [plain_hits(maps[row], [(0, 0, 16, 18), (20, 6, 36, 27)]) for row in (0, 1, 3, 4, 5)]
    curves = np.mean(kept, axis=0) * 100
    accuracy = score_maps([maps[row] for row in (0, 1, 3, 4, 5)], truth).boxes
    assert np.allclose(accuracy.curves, curves)
    assert accuracy.max_box_acc == pytest.approx(curves[0].max())
    best = {key: curve.max() for key, curve in zip(("30", "50", "70"), curves[1:4], strict=True)}
    assert accuracy.max_box_acc_v2 == pytest.approx(best | {"mean": np.mean(list(best.values()))})
    assert accuracy.best_thresholds[0] == pytest.approx(0.001 * curves[0].argmax())
    bounds = accuracy.intervals()
    assert bounds["max_box_acc"][0] <= accuracy.max_box_acc <= bounds["max_box_acc"][1]
    for key, value in accuracy.max_box_acc_v2.items():
        assert bounds["max_box_acc_v2"][key][0] <= value <= bounds["max_box_acc_v2"][key][1]


def test_interval_takes_the_best_threshold_of_every_draw():
    """Two thresholds are each right for half of the images: in every sample the better one is above a half."""
    hits = np.zeros((1000, 4, len(THRESHOLDS)), dtype=bool)
    hits[:500, :, :500] = True
    hits[500:, :, 500:] = True
    low, high = BoxAccuracy(np.packbits(hits, axis=-1)).intervals()["max_box_acc"]
    assert 50 <= low < high < 55


def test_center_gaussian_is_a_square_in_the_center():
    """The Gaussian gives square boxes of every even width, also the one of 112 pixels in this ground truth."""
    inner = make_truth([0], [[(56, 56, 167, 167)]], sizes=[(SIDE, SIDE)])
    assert (center_gaussian(inner).max_box_acc, center_gaussian(inner).max_box_acc_v2["mean"]) == (100, 100)
    corner = make_truth([0], [[(0, 0, 60, 60)]], sizes=[(SIDE, SIDE)])
    assert (center_gaussian(corner).max_box_acc, center_gaussian(corner).max_box_acc_v2["mean"]) == (0, 0)


def test_whole_image_is_right_where_the_object_fills_it():
    truth = make_truth([0, 0], [[(0, 0, 100, 60)], [(0, 0, 20, 20)]])
    assert whole_image(truth).max_box_acc == 50
    assert whole_image(truth).max_box_acc_v2["mean"] == pytest.approx((50 + 50 + 0) / 3)


def test_maps_need_boxes_and_sizes():
    with pytest.raises(GroundTruthError, match="no image sizes"):
        center_gaussian(make_truth([0], [[(1, 1, 2, 2)]], sizes=[(0, 0)]))
    with pytest.raises(GroundTruthError, match="no image boxes"):
        center_gaussian(make_truth([0], [[]]))


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("val/a.JPEG", "val/a.JPEG.npy"),
        ("val/a.JPEG", "val/a.npy"),
        ("val/a.JPEG", "a.JPEG.npy"),
        ("val/a.JPEG", "a.npy"),
        ("a", "a.npy"),
        ("a", "a.JPEG.npy"),
    ],
)
def test_maps_are_found_under_the_usual_names(tmp_path, name, file):
    (tmp_path / "val").mkdir()
    with pytest.raises(GroundTruthError, match="no map in it"):
        find_maps(tmp_path, [name])
    np.save(tmp_path / file, np.zeros((2, 3)))
    assert find_maps(tmp_path, [name]).keys == (file.removesuffix(".npy"),)


def test_a_map_is_that_of_one_image_and_has_one_file(tmp_path):
    (tmp_path / "a.png").touch()
    with pytest.raises(GroundTruthError, match=r"map 'a' could be that of images 'x/a\.JPEG' and 'y/a\.JPEG'"):
        find_maps(tmp_path, ["x/a.JPEG", "y/a.JPEG"])
    (tmp_path / "a.bmp").touch()
    with pytest.raises(GroundTruthError, match=r"a\.bmp is another map of 'a': remove one of the two"):
        find_maps(tmp_path, ["a"])


def npy(array: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def huge_npy() -> bytes:
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 1000000), }\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(16)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3, 4), (1, 3, 4)])
def test_maps_are_read(tmp_path, dtype, shape):
    values = np.linspace(0, 1, 12).astype(dtype)
    np.save(tmp_path / "a.npy", values.reshape(shape))
    read = read_map(tmp_path / "a.npy")
    assert read.dtype == dtype
    assert (read == values.reshape(3, 4)).all()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy(np.array([["a"]], dtype=object), allow_pickle=True), r"not a readable \.npy of numbers"),
        (pickle.dumps([1.0]), r"not a readable \.npy of numbers"),
        (huge_npy(), r"not a readable \.npy of numbers"),
        (npy(np.zeros((3, 4)))[:-1], r"not a readable \.npy of numbers"),
        (npy(np.zeros((0, 4))), "0×4 of float64; H×W of floating point"),
        (b"", "expected a .npy of numbers, found an empty file"),
        (b"<html></html>", r"not a readable \.npy of numbers"),
        (npy(np.zeros(4)), "4 of float64; H×W of floating point"),
        (npy(np.zeros((2, 3, 4))), "2×3×4 of float64; H×W of floating point"),
        (npy(np.zeros((3, 4), np.int16)), "3×4 of int16; H×W of floating point or uint8"),
        (npy(np.array([[2, np.nan]])), "values from 2 to 2; a map in .0, 1. was expected"),
        (npy(np.array([[0, 1.5]])), "values from 0 to 1.5;"),
        (npy(np.array([[-0.5, 1]])), "values from -0.5 to 1;"),
        (npy(np.array([[0, np.inf]])), "values from 0 to inf;"),
    ],
)
def test_faulty_maps(tmp_path, content, message):
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(GroundTruthError, match=message) as error:
        read_map(tmp_path / "a.npy")
    assert str(error.value).startswith(f"{tmp_path / 'a.npy'}: ")
    assert "\n" not in str(error.value)


@pytest.mark.shared
def test_baselines_on_real_boxes(shared):
    """The images have 227×227 pixels here, so that all of them have the same scale."""
    truth = read_ground_truth(shared / "data" / "ilsvrc-mini" / "ILSVRC2012_bbox_val")
    center, whole = center_gaussian(truth), whole_image(truth)
    assert center.max_box_acc == pytest.approx(64.33, abs=1)
    assert center.max_box_acc > whole.max_box_acc
    assert whole.max_box_acc == pytest.approx(49, abs=1)
