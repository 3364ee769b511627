from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import ndimage

import pycam
from pycam.errors import ImageError, UsageError
from pycam.maps.boxes import (
    corners,
    grey_heatmap,
    half_open,
    inclusive,
    iou,
    paper_box,
    released_boxes,
)


def clamped(value, low, high):
    if value < low:
        return low
    return high if value > high else value


def boxes_step_by_step(heatmap, thresholds):
    """Section 5 of docs/release.md, word for word, with SciPy's distances: boxes, and areas before step 4."""
    height, width = heatmap.shape
    boxes = []
    for threshold in thresholds:
        image = np.where(heatmap > threshold, 255, 0)
        distance = ndimage.distance_transform_edt(image) if (image == 0).any() else image * 0.0
        if distance.max() != distance.min():
            scale = 255 / (distance.max() - distance.min())
            image = np.clip(np.floor(distance * scale + 0.5), 0, 255)
        binary = np.where(image > 10, 255, 0).astype(np.uint8)
        for contour in cv2.findContours(binary, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)[0]:
            x, y, w, h = cv2.boundingRect(contour)
            boxes.append(
                (
                    clamped(x, 0, width - 5),
                    clamped(y, 0, height - 5),
                    clamped(w, 0, width - x - 5),
                    clamped(h, 0, height - y - 5),
                )
            )
    boxes.sort(key=lambda box: -box[2] * box[3])
    areas = [box[2] * box[3] for box in boxes]
    i = 0
    while i < len(boxes):
        j = i + 1
        while j < len(boxes):
            (ax, ay, aw, ah), (bx, by, bw, bh) = boxes[i], boxes[j]
            wide = min(ax + aw, bx + bw) - max(ax, bx)
            high = min(ay + ah, by + bh) - max(ay, by)
            if max(wide, 0) * max(high, 0) > int(0.5 * max(aw * ah, bw * bh)):
                del boxes[j]
            j += 1
        i += 1
    return [list(box) for box in boxes], areas


@pytest.mark.shared
def test_golden_boxes(shared):
    folder = shared / "data/golden/boxes"
    for case in json.loads((folder / "boxes.json").read_text()):
        heatmap = cv2.imread(str(folder / case["heatmap"]), cv2.IMREAD_GRAYSCALE)
        found = released_boxes(heatmap, case["thresholds"]).tolist()
        assert found[:2] == case["boxes_xywh"][:2], case["heatmap"]
        if found != case["boxes_xywh"]:
            _, areas = boxes_step_by_step(heatmap, case["thresholds"])
            assert len(set(areas)) < len(areas), case["heatmap"]
            assert sorted(found) == sorted(case["boxes_xywh"]), case["heatmap"]


@pytest.mark.shared
def test_the_published_heat_map_gives_the_published_boxes(shared):
    heatmap = cv2.imread(str(shared / "data/cam-release/heatmap_6.jpg"), cv2.IMREAD_GRAYSCALE)
    published = [int(number) for number in (shared / "data/cam-release/heatmap_6.txt").read_text().split()]
    boxes = released_boxes(heatmap)
    assert boxes.ravel().tolist() == published
    assert corners(boxes).tolist() == [[41, 145, 403, 347], [102, 188, 344, 314]]


def blurred_noise(seed, height, width, sigma):
    noise = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), sigma)
    return cv2.normalize(blurred, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 60),
    st.integers(1, 60),
    st.sampled_from([0.5, 2.0, 8.0]),
    st.sampled_from([(20, 100, 110), (30, 90, 150), (120, 130, 140)]),
)
def test_released_boxes_are_the_steps(seed, height, width, sigma, thresholds):
    heatmap = blurred_noise(seed, height, width, sigma)
    expected, _ = boxes_step_by_step(heatmap, thresholds)
    assert released_boxes(heatmap, thresholds).tolist() == expected


def test_the_box_after_a_dropped_one_stays():
    """Of three copies of a box the second is dropped, so that the third is passed over."""
    heatmap = np.zeros((200, 200), np.uint8)
    heatmap[20:160, 20:160] = 200
    boxes = released_boxes(heatmap).tolist()
    assert boxes == boxes_step_by_step(heatmap, (20, 100, 110))[0]
    assert len(boxes) == 2
    assert boxes[0] == boxes[1]


def test_an_empty_heat_map_gives_no_box_and_a_full_one_the_image():
    assert released_boxes(np.zeros((50, 60), np.uint8)).shape == (0, 4)
    full = released_boxes(np.full((50, 60), 255, np.uint8))
    assert full[0].tolist() == [0, 0, 55, 45]


@pytest.mark.parametrize("thresholds", [(100, 20, 110), (0, 20, 30), (20, 100, 255), (20, 20, 30), (20, 100)])
def test_thresholds_out_of_order_are_refused(thresholds):
    with pytest.raises(UsageError, match=f"got thresholds {', '.join(map(str, thresholds))}; expected three"):
        released_boxes(np.zeros((50, 60), np.uint8), thresholds)


@pytest.mark.parametrize("heatmap", [np.zeros((5, 5)), np.zeros((5, 5, 3), np.uint8), np.zeros((0, 5), np.uint8)])
def test_invalid_heat_maps_are_refused(heatmap):
    with pytest.raises(UsageError, match=r"expected \(H, W\) uint8"):
        released_boxes(heatmap)


def paper_box_step_by_step(map, threshold):
    height, width = map.shape
    if map.max() <= 0:
        return 0, 0, width, height
    foreground = map >= threshold * map.max()
    visited = np.zeros(map.shape, bool)
    components = []
    for start in zip(*np.nonzero(foreground), strict=True):
        if visited[start]:
            continue
        visited[start] = True
        component = [start]
        for y, x in component:
            for v in range(max(y - 1, 0), min(y + 2, height)):
                for u in range(max(x - 1, 0), min(x + 2, width)):
                    if foreground[v, u] and not visited[v, u]:
                        visited[v, u] = True
                        component.append((v, u))
        components.append(np.array(component))
    largest = max(components, key=len)  # the first on a tie
    (y0, x0), (y1, x1) = largest.min(axis=0), largest.max(axis=0)
    return x0, y0, x1 + 1, y1 + 1


@settings(deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 20),
    st.integers(1, 20),
    st.sampled_from([0.2, 0.5, 0.9]),
    st.sampled_from([np.float32, np.float64, np.int32]),
)
def test_paper_boxes_are_the_rule(seed, height, width, threshold, dtype):
    random = np.random.default_rng(seed)
    map = random.integers(-2, 11, (height, width)).astype(dtype)
    assert paper_box(map, threshold) == paper_box_step_by_step(map.astype(float), threshold)


def test_of_equal_components_the_first_in_raster_order_wins():
    map = np.zeros((6, 12))
    map[4:6, 0:2] = 1
    map[1:3, 9:11] = 1
    map[3:5, 4:6] = 1
    assert paper_box(map) == (9, 1, 11, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("peak", [1, 5, 10])
def test_a_value_at_the_threshold_is_foreground(dtype, peak):
    map = np.zeros((4, 8), dtype)
    map[1, 1] = peak
    map[1, 2:5] = np.array(0.2, dtype) * np.array(peak, dtype)
    assert paper_box(map) == (1, 1, 5, 2)
    map[1, 4] = np.nextafter(map[1, 4], dtype(0))
    assert paper_box(map) == (1, 1, 4, 2)


def test_pixels_that_touch_at_a_corner_belong_together():
    map = np.eye(5)
    map[0, 3:5] = 1
    assert paper_box(map) == (0, 0, 5, 5)


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_map_without_positive_values_gives_the_whole_image(value):
    assert paper_box(np.full((3, 7), value)) == (0, 0, 7, 3)


def test_invalid_maps_are_refused():
    for map in (np.array([[0, np.nan]]), np.array([[0, np.inf]]), np.zeros((2, 2, 2)), np.zeros((0, 3))):
        with pytest.raises(UsageError, match=r"expected \(H, W\), all values finite"):
            paper_box(map)


def test_the_grey_heat_map_is_scaled_by_the_maximum():
    map = np.zeros((40, 60), np.float32)
    map[:16, :16] = 1
    map[16:, 29:] = 3
    map[30:, :8] = -1
    heatmap = grey_heatmap(map, jpeg=False)
    assert heatmap.dtype == np.uint8
    assert [heatmap[5, 5], heatmap[20, 40], heatmap[35, 2]] == [85, 255, 0]
    assert 0 < np.abs(grey_heatmap(map).astype(int) - heatmap).max() < 40
    assert not grey_heatmap(-map - 5).any()


def test_a_map_that_no_jpeg_has_room_for():
    map = np.ones((3, 65_501), np.float32)
    with pytest.raises(ImageError, match=r"^a map of 65501×3 .* at most 65,500 on a side: .* released_no_jpeg$"):
        pycam.box_rules["released"](map)
    assert grey_heatmap(map[:, 1:]).all()
    assert len(pycam.box_rules["released_no_jpeg"](map))


def test_ilsvrcs_form_holds_the_same_pixels():
    boxes = [(0, 0, 1, 1), (3, 4, 10, 20)]
    assert inclusive(boxes).tolist() == [[1, 1, 1, 1], [4, 5, 10, 20]]
    assert half_open(inclusive(boxes)).tolist() == [list(box) for box in boxes]
    assert half_open([1.5, 2, 3.25, 4]).tolist() == [0.5, 1, 3.25, 4]
    assert corners([(3, 4, 10, 20)]).tolist() == [[3, 4, 13, 24]]


sides = st.tuples(*[st.integers(-3, 8)] * 4)


@given(sides, sides)
def test_iou_counts_pixels(a, b):
    def pixels(x0, y0, x1, y1):
        return {(x, y) for x in range(x0, x1) for y in range(y0, y1)}

    shared, union = pixels(*a) & pixels(*b), pixels(*a) | pixels(*b)
    assert iou(a, b) == (len(shared) / len(union) if shared else 0)


def test_iou_broadcasts_and_takes_fractions():
    boxes = [(0, 0, 10, 10), (5, 0, 15, 10), (10, 0, 20, 10)]
    assert iou(np.array(boxes)[:, None], boxes[:2]).tolist() == [[1, 1 / 3], [1 / 3, 1], [0, 1 / 3]]
    assert iou((0.5, 0, 1, 1), (0, 0, 1, 1)) == 0.5
    assert iou(boxes[0], np.zeros((0, 4))).shape == (0,)
