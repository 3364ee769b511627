"""The box rules of the field, compared with what the original programs give for the same maps."""

from __future__ import annotations

import json
import threading

import cv2
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy import ndimage

import pycam
from pycam.errors import UsageError
from pycam.maps.boxes import corners, grey_heatmap, released_boxes
from pycam.maps.rules import box_rules
from pycam.maps.rules.peaks import BOXES

FIELD = {
    *("wsol-single", "wsol-multi", "ccam-contour", "ccam-extent", "adl", "tscam", "eil-classical", "eil-union"),
    *("rethink", "danet-union", "danet-max", "psol-448", "chexnet-peaks", "dtbox-corners", "grabcut"),
}
OF_MAPS = sorted(name for name in box_rules if name not in ("grabcut", "chexnet-peaks"))
"""The rules that need nothing but a map of any size."""


def published(case, fine, coarse):
    """Return what a rule gives for a golden case, such as `tscam@0.2-160x120`."""
    name, _, parameters = case.partition("@")
    if name.startswith("wsol"):
        return box_rules[name].published(fine.astype(np.float64), float(parameters))
    if name == "ccam-contour":
        threshold, stride = parameters.split("x")
        return box_rules[name].published(fine, float(threshold), stride=int(stride))
    if name == "ccam-extent":
        return box_rules[name].published(fine, float(parameters))
    if name == "chexnet-peaks":
        return box_rules[name].published(fine, box=list(BOXES.values())[int(parameters.removeprefix("class"))])
    if name == "tscam-direct":
        return box_rules["tscam"].published(fine, float(parameters), direct=True)
    if name == "rethink":
        threshold, percentile = parameters.split("p")
        return box_rules[name].published(coarse, float(threshold), percentile=float(percentile))
    if name.startswith("psol"):
        return box_rules["psol-448"].published(coarse, saved=name.endswith("saved"))
    threshold, _, size = parameters.partition("-")
    options = {"size": tuple(map(int, size.split("x")))} if size else {}
    return box_rules[name].published(coarse, float(threshold), **options)


@pytest.fixture(scope="module")
def golden(shared):
    folder = shared / "data/golden/boxrules"
    with np.load(folder / "maps.npz") as archive:
        maps = {name: archive[name].astype(np.float32) for name in archive}
    return folder, json.loads((folder / "boxes.json").read_text()), maps


@pytest.mark.shared
def test_maps_have_the_boxes_of_the_original_programs(golden):
    _, expected, maps = golden
    different = []
    for name, cases in expected["maps"].items():
        for case, boxes in cases.items():
            found = published(case, maps.get(f"fine_{name}"), maps.get(f"coarse_{name}")).tolist()
            if found != boxes:
                different.append((name, case, found, boxes))
    assert {case.partition("@")[0] for cases in expected["maps"].values() for case in cases} >= FIELD - {
        "grabcut",
        "dtbox-corners",
    }
    assert not different


@pytest.mark.shared
def test_8_bit_maps_count_as_fractions_of_255(golden):
    folder, expected, _ = golden
    for name, cases in expected["png"].items():
        heatmap = cv2.imread(str(folder.parent / "boxes" / name), cv2.IMREAD_GRAYSCALE)
        for case, boxes in cases.items():
            assert published(case, (heatmap / 255).astype(np.float32), None).tolist() == boxes
            if name[2] == "7" and not case.startswith("wsol"):
                assert published(case, heatmap, None).tolist() == boxes
    for name, boxes in expected["corners"].items():
        heatmap = cv2.imread(str(folder.parent / "boxes" / name), cv2.IMREAD_GRAYSCALE)
        assert box_rules["dtbox-corners"].published(heatmap).tolist() == boxes


@pytest.mark.shared
def test_grabcut_cuts_what_the_program_cuts(golden):
    folder, expected, _ = golden
    for name, cases in expected["grabcut"].items():
        image = cv2.imread(str(folder / f"grabcut/{name}-picture.png"))
        heatmap = cv2.imread(str(folder / f"grabcut/{name}-heat.png"), cv2.IMREAD_GRAYSCALE)
        for thresholds in ("default", "20 80") if name < "12" else ("default",):
            options = {} if thresholds == "default" else {"thresholds": tuple(map(int, thresholds.split()))}
            assert box_rules["grabcut"].published(heatmap, image=image, **options).tolist() == cases[thresholds]


@pytest.mark.shared
def test_adl_has_the_grey_levels_of_cubehelix(golden):
    from pycam.maps.rules.contours import _cubehelix_grey

    assert _cubehelix_grey().tolist() == golden[1]["adl_grey"]


def test_the_table_is_a_mapping_of_all_rules():
    assert FIELD | {"paper", "released", "released_30_90_150", "released_no_jpeg", "smoothed"} == set(pycam.box_rules)
    assert len(pycam.box_rules) == len(list(pycam.box_rules)) == 20
    for name, rule in pycam.box_rules.items():
        assert rule.name == name
        assert "Source: " in rule.__doc__ or "Source and deviations: " in rule.__doc__
        assert (rule.threshold is None) == bool(rule.fixed)
    assert "wsol" not in pycam.box_rules
    assert pycam.box_rules.get("wsol") is None
    with pytest.raises(KeyError):
        pycam.box_rules["wsol"]
    with pytest.raises(UsageError, match=r"^unknown box rule 'wsol-singel': did you mean 'wsol-single'\?$"):
        pycam.box_rules["wsol-singel"]


def test_half_open_boxes_hold_the_pixels_of_the_region():
    """The published forms of one region in the middle and at the frame, counted by hand."""
    map = np.zeros((40, 50), np.float32)
    map[10:20, 5:25] = 1
    at_frame = np.zeros((40, 50), np.float32)
    at_frame[30:, 45:] = 1
    forms = {
        "wsol-single": ([5, 10, 25, 20], [45, 30, 49, 39]),
        "wsol-multi": ([5, 10, 25, 20], [45, 30, 49, 39]),
        "ccam-contour": ([20, 40, 100, 80], [180, 120, 196, 156]),
        "ccam-extent": ([20, 40, 96, 76], [180, 120, 196, 156]),
        "danet-union": ([5, 10, 24, 19], [45, 30, 49, 39]),
        "danet-max": ([5, 10, 24, 19], [45, 30, 49, 39]),
        "psol-448": ([160, 320, 800, 640], [1440, 960, 1600, 1280]),
        "paper": ([5, 10, 25, 20], [45, 30, 50, 40]),
    }
    for name, (middle, frame) in forms.items():
        assert box_rules[name](map).tolist() == [[5, 10, 25, 20]]
        assert box_rules[name](at_frame).tolist() == [[45, 30, 50, 40]]
        assert box_rules[name].published(map).tolist() == [middle]
        assert box_rules[name].published(at_frame).tolist() == [frame]
    for name, ends in (("adl", 0), ("tscam", 0), ("eil-classical", 0), ("rethink", 0), ("eil-union", 1)):
        size = {"size": (50, 40)}
        assert box_rules[name](at_frame, **size).tolist() == [[45, 30, 50, 40]]
        assert box_rules[name].published(at_frame, **size).tolist() == [[45, 30, 50 - ends, 40 - ends]]
        # At another size, the box is the published one in pixels of the map.
        found, numbers = box_rules[name](map, size=(100, 120)), box_rules[name].published(map, size=(100, 120))
        assert found.dtype == np.float64
        assert found == pytest.approx((numbers + np.array([0, 0, ends, ends])) / [2, 3, 2, 3])


def test_a_map_without_foreground_has_the_box_of_the_program():
    # At 14×14, the bicubic resizer keeps a constant map constant.
    for map in (np.zeros((30, 40), np.float32), np.full((14, 14), 0.5, np.float32)):
        for name in ("adl", "tscam", "eil-classical"):
            assert box_rules[name](map).tolist() == box_rules[name].published(map).tolist() == [[0, 0, 1, 1]]
        for name in ("eil-union", "danet-union", "danet-max"):
            assert box_rules[name](map).tolist() == [[0, 0, 1, 1]]
            assert box_rules[name].published(map).tolist() == [[0, 0, 0, 0]]
        assert box_rules["rethink"](map).tolist() == [[0, 0, *map.shape[::-1]]]
        assert box_rules["rethink"].published(map).tolist() == [[0, 0, 224, 224]]
    zeros = np.zeros((30, 40))
    for name in ("wsol-single", "wsol-multi", "ccam-contour", "ccam-extent"):
        assert box_rules[name](zeros).tolist() == [[0, 0, 1, 1]]
        assert box_rules[name].published(zeros).tolist() == [[0, 0, 0, 0]]
    for name in ("released", "released_30_90_150", "released_no_jpeg", "dtbox-corners"):
        assert box_rules[name](zeros).shape == box_rules[name].published(zeros).shape == (0, 4)
    assert box_rules["psol-448"].published(np.zeros((14, 14))).tolist() == [[0, 0, 448, 448]]
    assert box_rules["chexnet-peaks"](np.zeros((224, 224)), box=(200, 100)).shape == (0, 4)
    image = np.zeros((30, 40, 3), np.uint8)
    for heatmap in (np.zeros((30, 40), np.uint8), np.full((30, 40), 255, np.uint8)):
        assert box_rules["grabcut"](heatmap, image=image).tolist() == [[0, 0, 40, 30]]


def test_rules_of_the_release_are_its_box_generator():
    map = np.zeros((200, 200))
    map[20:160, 40:160] = 2
    for name, thresholds, jpeg in [
        ("released", (20, 100, 110), True),
        ("released_30_90_150", (30, 90, 150), True),
        ("released_no_jpeg", (20, 100, 110), False),
        ("dtbox-corners", (20, 100, 110), False),
    ]:
        expected = released_boxes(grey_heatmap(map, jpeg=jpeg), thresholds)
        assert box_rules[name](map).tolist() == corners(expected).tolist()
        assert (
            box_rules[name].published(map).tolist()
            == (corners(expected) if name == "dtbox-corners" else expected).tolist()
        )


def test_a_cloud_of_points_is_boxed_when_it_is_smoothed():
    cloud = np.zeros((100, 140), np.float32)
    cloud[30:70:4, 40:90:4] = np.random.default_rng(0).uniform(0.5, 1, (10, 13))
    x0, y0, x1, y1 = box_rules["paper"](cloud)[0]
    assert (x1 - x0, y1 - y0) == (1, 1)
    x0, y0, x1, y1 = box_rules["smoothed"](cloud)[0]
    assert np.abs([x0 - 40, y0 - 30, x1 - 89, y1 - 67]).max() <= 6


def test_every_kind_of_number_has_the_boxes_of_double_precision():
    map = np.add.outer(np.arange(12), np.arange(16)) % 8 / 8  # exact in all of them
    for name in OF_MAPS:
        expected = box_rules[name](map)
        for dtype in (">f8", ">f4", np.float16, np.longdouble):
            np.testing.assert_array_equal(box_rules[name](map.astype(dtype)), expected)


@st.composite
def maps(draw):
    """A map in [0, 1] of few levels, so that regions touch, tie and have holes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels = draw(st.sampled_from([1, 2, 5, 64]))
    shape = draw(st.integers(6, 24)), draw(st.integers(6, 24))
    return (rng.integers(0, levels + 1, shape) / levels).astype(np.float32)


@settings(max_examples=25)
@given(map=maps(), threshold=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]))
def test_boxes_hold_a_region_and_stay_in_the_map(map, threshold):
    height, width = map.shape
    for name in OF_MAPS:
        rule = box_rules[name]
        at = (threshold,) if rule.threshold else ()
        size = {"size": (20, 15)} if "size" in rule.options else {}
        boxes = rule(map, *at, **size)
        assert boxes.shape == rule.published(map, *at, **size).shape
        assert boxes.dtype in (np.intp, np.float64)
        # The release's own boxes of points near the frame have no pixels.
        if not name.startswith(("released", "dtbox")):
            assert ((boxes >= 0) & (boxes <= [width, height, width, height])).all()
            assert (boxes[:, 2:] > boxes[:, :2]).all()
        own = rule.image_boxes(map, *at)
        assert own.dtype == np.intp
        areas = (own[:, 2:] - own[:, :2]).prod(axis=1)
        assert (np.diff(areas) <= 0).all()


@settings(max_examples=40)
@given(map=maps(), threshold=st.sampled_from([0.05, 0.2, 0.5]))
def test_rules_of_contours_agree_with_components(map, threshold):
    """Plain definitions: the extent of everything, and the union of all contours, against SciPy's components."""
    grey = np.floor(map.astype(np.float64) * 255)
    foreground = grey > int(threshold * grey.max())
    boxes = box_rules["wsol-multi"](map, threshold).tolist()
    components = ndimage.find_objects(ndimage.label(foreground, np.ones((3, 3)))[0])
    outer = {(x.start, y.start, x.stop, y.stop) for y, x in components} or {(0, 0, 1, 1)}
    holes, count = ndimage.label(np.pad(~foreground, 1, constant_values=True))
    inner = [holes == label for label in range(1, count + 1) if label != holes[0, 0]]
    grown = set()
    for hole in inner:
        ys, xs = np.nonzero(hole)
        grown.add((xs.min() - 2, ys.min() - 2, xs.max() + 1, ys.max() + 1))
    assert {tuple(box) for box in boxes} == outer | grown
    assert len(boxes) == max(1, len(components)) + len(inner)
    assert box_rules["wsol-single"](map, threshold).tolist()[0] in boxes
    absolute = map > np.float32(threshold)
    ys, xs = np.nonzero(absolute)
    extent = [xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] if len(xs) else [0, 0, 1, 1]
    assert box_rules["ccam-extent"](map, threshold).tolist() == [extent]


@settings(max_examples=20)
@given(map=maps(), factor=st.sampled_from([0.25, 4.0, 1024.0]), shift=st.sampled_from([0.0, -2.0, 8.0]))
def test_rules_that_scale_do_not_depend_on_the_scale(map, factor, shift):
    if shift:
        map = np.round(map * 64) / 64  # so that the shift loses no bits
    for name in ("adl", "tscam", "eil-classical", "eil-union", "rethink", "danet-union", "danet-max"):
        size = {"size": map.shape[::-1]}
        moved = map * np.float32(factor) + np.float32(shift)
        assert box_rules[name](moved, **size).tolist() == box_rules[name](map, **size).tolist()


@pytest.mark.parametrize("name", box_rules)
def test_what_a_rule_cannot_take_is_refused(name):
    rule = box_rules[name]
    options = {"box": (200, 100)} if name == "chexnet-peaks" else {}
    for map, got in [
        (np.full((224, 224), np.nan), "nan"),
        (np.full((224, 224), np.inf), "inf"),
        (np.zeros((2, 224, 224)), "2×224×224"),
        (np.zeros((0, 5)), "0×5"),
        (np.zeros((5, 5), complex), "complex128"),
        ("map", "a single value"),
    ]:
        with pytest.raises(UsageError, match=f"^box rule {name!r}: got .*{got}.*; expected "):
            rule(map, **options)
        with pytest.raises(UsageError, match=f"^box rule {name!r}: got "):
            rule.published(map, **options)
    map = np.eye(224)
    with pytest.raises(UsageError, match="has no option 'nothing'"):
        rule(map, nothing=1)
    if rule.threshold is None:
        with pytest.raises(UsageError, match=rf"^box rule {name!r} takes no threshold: .*; leave out 0.2$"):
            rule(map, 0.2, **options)
        return
    for wrong in (-0.1, 1.5, np.nan, "high"):
        with pytest.raises(UsageError, match=f"threshold is {wrong}; expected a number from 0 to"):
            rule(map, wrong, **options)
    if rule.threshold.inclusive:
        assert len(rule(map, 1, **options)) == 1
    else:
        with pytest.raises(UsageError, match="threshold is 1; expected a number from 0 to below 1"):
            rule(map, 1, **options)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("wsol-single", {}, r"values from 0 to 2; expected a map in \[0, 1\]: scale it first"),
        ("tscam", {"direct": True}, r"values from 0 to 2; direct=True takes a map in \[0, 1\]"),
        ("tscam", {"size": 224}, r"size is 224; expected two whole numbers above 0, \(width, height\)"),
        ("danet-max", {"size": (0, 4)}, "size is .*; expected two whole numbers above 0"),
        ("rethink", {"percentile": 101}, "percentile is 101; expected a number from 0 to 100"),
        ("chexnet-peaks", {}, "box is None; expected"),
        ("chexnet-peaks", {"box": (300,)}, "box is .*; expected"),
        ("chexnet-peaks", {"box": (300, 200)}, "got a map of 30×40; its boxes are for maps of 224×224"),
        ("dtbox-corners", {"thresholds": (20, 10)}, "got thresholds 20, 10; expected three increasing numbers"),
        ("grabcut", {}, "cuts the image: give it as image="),
        ("grabcut", {"image": np.zeros((40, 30, 3), np.uint8)}, "got an image of 40×30×3, uint8; expected 30×40×3"),
        ("grabcut", {"image": np.zeros((30, 40, 3), np.uint8), "thresholds": (80, 20)}, "expected two increasing ints"),
        ("ccam-contour", {"stride": 0}, "stride is 0; expected a number above 0"),
        ("tscam", {"sise": (4, 4)}, r"has no option 'sise': did you mean 'size'\?"),
    ],
)
def test_an_option_out_of_its_range_is_refused(name, options, message):
    map = np.zeros((30, 40))
    map[4, 4] = 2 if name in ("wsol-single", "tscam") else 1
    with pytest.raises(UsageError, match=message):
        box_rules[name](map, **options)


def test_rules_for_images_say_what_they_need():
    map = np.zeros((30, 40), np.float32)
    map[5:20, 10:30] = 3
    with pytest.raises(UsageError, match="'chexnet-peaks' needs the size of its boxes: box is None"):
        box_rules["chexnet-peaks"].image_boxes(map)
    with pytest.raises(UsageError, match="'grabcut' needs the pixels of the image"):
        box_rules["grabcut"].image_boxes(map)
    image = np.full((30, 40, 3), 40, np.uint8)
    image[5:20, 10:30] = (0, 200, 250)
    assert box_rules["grabcut"].image_boxes(map, image=image).tolist() == [[10, 5, 30, 20]]


def test_grabcut_gives_the_same_in_any_thread_and_at_any_time():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (60, 80, 3), np.uint8)
    heatmap = cv2.GaussianBlur(rng.integers(0, 90, (60, 80)).astype(np.uint8), (0, 0), 3)
    thresholds = (30, int(np.median(heatmap)))
    found = []

    def cut():
        for _ in range(2):
            cv2.randu(np.zeros(9), 0, 1)  # moves the random generator of the thread
            found.append(box_rules["grabcut"](heatmap, image=image, thresholds=thresholds).tolist())

    cut()
    thread = threading.Thread(target=cut)
    thread.start()
    thread.join()
    assert len(found) == 4
    assert found.count(found[0]) == 4
