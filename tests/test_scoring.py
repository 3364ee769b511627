"""Scores of maps: against what the benchmark's own evaluator printed, and through the command."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings, strategies as st
from hypothesis.extra import numpy as arrays
from test_cli_score import fail, run
from test_wsol import plain_hits

import pycam
from pycam.errors import UsageError
from pycam.ilsvrc.ground_truth import read_ground_truth
from pycam.ilsvrc.map_scores import score_maps
from pycam.ilsvrc.maps import find_maps
from pycam.ilsvrc.masks import read_masks
from pycam.metrics.box_accuracy import RULES, box_hits, candidates, scaled, thresholds
from pycam.metrics.errors import classification_hits
from pycam.metrics.pixel_precision import pixel_histograms, pxap

MODES = {"largest": "single", "any": "multi"}


@pytest.fixture(scope="module")
def maps(request, tmp_path_factory) -> Path:
    """One archive with all maps."""
    shared = request.getfixturevalue("shared")
    folder = shared / "data" / "golden" / "wsol"
    path = tmp_path_factory.mktemp("maps") / "all.npz"
    arrays = {}
    for name in ("maps-u8.npz", "maps-f16.npz"):
        with np.load(folder / name) as some:
            arrays |= {key: some[key] for key in some}
    np.savez_compressed(path, **arrays)
    return path


@pytest.mark.shared
@pytest.mark.parametrize("step", ["0.001", "0.01"])
def test_every_digit_of_the_benchmark(shared, maps, step):
    folder = shared / "data" / "golden" / "wsol"
    sets = json.loads((folder / "results.json").read_text())["sets"]
    for name in ("val", "test"):
        golden = sets[name][f"step_{step}"]
        truth = read_ground_truth(folder / "boxes" / name)
        masks = read_masks(folder / "masks" / name, truth.names, folder / "png")
        scores = score_maps(find_maps(maps, truth.names), truth, masks, thresholds(float(step)))
        assert scores.boxes is not None
        assert scores.pixels is not None
        for number, rule in enumerate(RULES):
            contours, least = rule.split(", ")
            expected, percent = golden[MODES[contours]], f"{100 * float(least):.0f}"
            assert scores.boxes.counts[number].tolist() == expected["count_right_per_threshold"][percent]
            assert scores.boxes.best[number] == expected["first_best_index"][percent]
        assert scores.boxes.max_box_acc == golden["MaxBoxAcc"]
        assert scores.boxes.max_box_acc_v2["mean"] == pytest.approx(golden["MaxBoxAccV2"], abs=1e-12)
        assert scores.pixels.pxap == pytest.approx(golden["PxAP"], abs=1e-10)
        if "histogram_object" in golden:
            histograms = [golden["histogram_object"], golden["histogram_background"]]
            assert scores.pixels.histograms.tolist() == histograms


@pytest.mark.shared
def test_the_command_prints_the_benchmark_s_figures(capsys, shared, maps, tmp_path):
    folder = shared / "data" / "golden" / "wsol"
    golden = json.loads((folder / "results.json").read_text())

    def score(name: str, *more: object) -> dict:
        sources = ("--ground-truth", folder / "boxes" / name, "--predictions", folder / f"predictions-{name}.txt")
        return json.loads(run(capsys, "--maps", maps, *sources, *more, "--json"))

    def check(found: dict, expected: dict) -> None:
        count = expected["pictures"]
        assert found["gt_known_error"] == pytest.approx(1 - expected["gt_known_right"] / count)
        for k in ("top1", "top5"):
            assert found["localization_error"][k] == pytest.approx(1 - expected[f"{k}_loc_right"] / count)
            assert found["classification_error"][k] == pytest.approx(1 - expected[f"{k}_cls_right"] / count)

    val = score("val", "--masks", folder / "masks" / "val", "--mask-root", folder / "png")
    check(val, golden["sets"]["val"]["localization_plain"]["own_best_threshold_0.416"])
    assert (val["max_box_acc"], val["best_threshold"], val["threshold"]) == (42.5, 0.416, 0.416)
    assert val["max_box_acc_v2"] == {"30": 80, "50": 47.5, "70": 15, "mean": 47.5}
    assert val["pxap"] == pytest.approx(46.050814467746214, abs=1e-10)
    low, high = val["intervals"]["pxap"]
    assert low < val["pxap"] < high
    assert 0 < val["whole_image"]["pxap"] < val["center_gaussian"]["pxap"] < 100
    assert (val["zero_maps"], len(val["extra_maps"])) == (["made/w038.jpg"], 80)
    check(score("test", "--threshold", 0.2), golden["sets"]["test"]["localization_plain"]["threshold_0.2"])
    (tmp_path / "val.json").write_text(json.dumps(val))
    strict = score("test", "--threshold-from", tmp_path / "val.json")
    check(strict, golden["threshold_from_val_on_test"]["localization_plain_on_test"])
    assert strict["at_thresholds"]["box_acc"] == 27.5
    assert strict["at_thresholds"]["box_acc_v2"]["mean"] == 37.5
    assert strict["max_box_acc"] == 38.75
    table = run(
        capsys, "--maps", maps, "--ground-truth", folder / "boxes" / "test", "--threshold-from", tmp_path / "val.json"
    )
    assert "BoxAccV2 (accuracy), thresholds of another set" in table


@pytest.mark.shared
def test_boxes_of_maps_of_any_shape(shared):
    folder = shared / "data" / "golden" / "wsol"
    golden = json.loads((folder / "other-shapes.json").read_text())["maps"]
    with np.load(folder / "other-shapes.npz") as archive:
        maps = {name: archive[name] for name in archive}
    for name, expected in golden.items():
        truth = np.array([expected["true_box"]]) - [1, 1, 0, 0]
        for threshold, boxes in expected["at"].items():
            found = candidates(maps[name], np.array([float(threshold)]))
            published = (found.boxes - [0, 0, 1, 1]).tolist()
            assert sorted(published) == sorted(boxes["multi"])
            assert [published[found.largest[0]]] == boxes["single"]
            for size, to in ((found.size, "map"), ((224, 224), "224")):
                true = scaled(truth, expected["picture_size"], size)
                assert (true - [0, 0, 1, 1]).tolist() == [expected[f"true_box_at_{to}"]]
                overlap = pycam.maps.boxes.iou(found.boxes, true)
                assert overlap.max() == pytest.approx(boxes[f"overlap_with_{to}_multi"], abs=1e-11)
                assert overlap[found.largest[0]] == pytest.approx(boxes[f"overlap_with_{to}_single"], abs=1e-11)


LEVELS = st.sampled_from([0, 1, 60, 61, 128, 254, 255])


@settings(max_examples=20, deadline=None)
@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=LEVELS))
@example(np.array([[9, 9, 9, 0, 0], [9, 0, 9, 0, 7], [9, 9, 9, 0, 0]], np.uint8))
@example(np.array([[5, 0, 5], [0, 5, 0], [5, 0, 5]], np.uint8))
@example(np.kron(np.eye(4, dtype=np.uint8) * 200, np.ones((2, 2), np.uint8)))
def test_hits_of_any_map_are_those_of_the_definition(grey):
    height, width = grey.shape
    truth = [(0, 0, max(width // 2, 0), height - 1), (width // 2, height // 3, width - 1, height - 1)]
    boxes = np.add(truth, [0, 0, 1, 1])
    expected = plain_hits(grey / 255, truth)
    assert (box_hits(candidates(grey), boxes) == expected).all()
    assert (box_hits(candidates(grey / 255), boxes) == expected).all()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_pixels_are_counted_as_the_definition_says(data):
    shape = data.draw(st.tuples(st.integers(1, 6), st.integers(1, 6)))
    step = data.draw(st.sampled_from([0.001, 0.01, 0.05]))
    at = thresholds(step)
    values = st.sampled_from([0.0, 1.0, *at[[1, 3, 7, -1]], np.nextafter(at[3], 0), 0.123, 0.5])
    score_map = data.draw(arrays.arrays(np.float64, shape, elements=values))
    objects, ignored = (data.draw(arrays.arrays(bool, shape)) for _ in range(2))
    found = pixel_histograms(score_map, objects, ignored, at)
    edges = [*at, 1, 2, 3]
    counted = [score_map[objects], score_map[~objects & ~ignored]]
    assert found.tolist() == [np.histogram(values, edges)[0].tolist() for values in counted]
    if objects.any():
        total, area, before = objects.sum(), 0.0, 0.0
        for edge in edges[-2::-1]:
            right, wrong = ((values >= edge).sum() for values in counted)
            if right + wrong:
                area += right / (right + wrong) * (right / total - before)
            before = right / total
        assert pxap(found) == pytest.approx(100 * area)


CSV = "image,x0,y0,x1,y1,label,width,height\na.jpg,0,0,20,15,cat,40,30\nb.jpg,10,10,40,30,dog,40,30\n"


@pytest.fixture
def truth(tmp_path) -> Path:
    (tmp_path / "boxes.csv").write_text(CSV)
    return tmp_path / "boxes.csv"


def made_maps() -> dict[str, np.ndarray]:
    first, second = np.zeros((30, 40), np.uint8), np.zeros((30, 40), np.uint8)
    first[:15, :20], second[12:, 15:] = 200, 130
    return {"a": first, "b": second}


def save(path: Path, kind: str, maps: dict[str, np.ndarray]) -> Path:
    if kind == "npz":
        np.savez(path.with_suffix(".npz"), **{f"{name}.jpg": values for name, values in maps.items()})
        return path.with_suffix(".npz")
    path.mkdir()
    for name, values in maps.items():
        if kind == "npy":
            np.save(path / f"{name}.npy", values)
        elif kind == "float":
            np.save(path / f"{name}.jpg.npy", values / 255)
        else:
            (path / f"{name}.png").write_bytes(cv2.imencode(".png", values)[1].tobytes())
    return path


def test_maps_of_all_kinds_have_the_same_scores(capsys, truth, tmp_path):
    found = []
    for kind in ("npz", "npy", "float", "images"):
        path = save(tmp_path / kind, kind, made_maps())
        result = json.loads(run(capsys, "--maps", path, "--ground-truth", truth, "--json"))
        found.append({key: result[key] for key in ("max_box_acc", "max_box_acc_v2", "curves", "gt_known_error")})
    assert found[0]["max_box_acc"] == 100
    assert found[0]["max_box_acc_v2"]["70"] == 100
    assert all(each == found[0] for each in found)


def test_maps_that_show_nothing_are_wrong_and_listed(capsys, truth, tmp_path):
    maps = {name: values / 255 for name, values in made_maps().items()}
    maps["a"] = np.full((30, 40), np.nan)
    maps["c"] = maps["b"]
    path = save(tmp_path / "maps", "npy", maps)
    result = json.loads(run(capsys, "--maps", path, "--ground-truth", truth, "--json"))
    assert (result["max_box_acc"], result["gt_known_error"]) == (50, 0.5)
    assert (result["nan_maps"], result["zero_maps"], result["extra_maps"]) == (["a.jpg"], [], ["c"])
    assert "1 map (a.jpg) with a NaN: counted as wrong at every threshold" in result["notes"]
    assert "1 map (c) of no image of the ground truth: not scored" in result["notes"]
    assert "extra_predictions" not in result
    (tmp_path / "p.csv").write_text("a.jpg,0\nb.jpg,0\nnone.jpg,0\n")
    for of_maps in ((), ("--maps", path)):
        result = json.loads(
            run(capsys, *of_maps, "--predictions", tmp_path / "p.csv", "--ground-truth", truth, "--json")
        )
        assert result["extra_predictions"] == ["none.jpg"]
        assert "1 prediction (none.jpg) of no image of the ground truth: not scored" in result["notes"]
    np.save(path / "a.npy", np.ones((300, 400), np.float16))  # their sum is more than a float16 can hold
    result = json.loads(run(capsys, "--maps", path, "--ground-truth", truth, "--json"))
    assert (result["nan_maps"], result["zero_maps"]) == ([], [])
    np.save(path / "a.npy", np.zeros((30, 40)))
    result = json.loads(run(capsys, "--maps", path, "--ground-truth", truth, "--json"))
    assert (result["max_box_acc"], result["nan_maps"], result["zero_maps"]) == (50, [], ["a.jpg"])


@pytest.mark.parametrize(
    ("change", "options", "code", "message"),
    [
        (lambda maps: (maps / "a.npy").unlink(), "", 8, "maps: 1 of 2 images have no map, the first is 'a.jpg': every"),
        (
            lambda maps: [each.unlink() for each in maps.iterdir()],
            "",
            8,
            "maps: no map in it: one .npy, or one 8-bit image",
        ),
        (lambda maps: (maps / "a.npy").write_bytes(b"x"), "", 8, "a.npy: not a readable .npy of numbers"),
        (lambda maps: np.save(maps / "a.npy", np.ones((2, 3, 4))), "", 8, "a.npy: 2×3×4 of float64; H×W of floating"),
        (
            lambda maps: np.save(maps / "a.npy", np.ones((2, 3)) * 7),
            "",
            8,
            "a.npy: values from 7 to 7; a map in [0, 1]",
        ),
        (
            lambda maps: np.save(maps / "a.npy", np.array([[0.5, np.inf, -np.inf]])),
            "",
            8,
            "a.npy: values from -inf to inf; a map in [0, 1] was expected: 2 of its 3 values are infinite",
        ),
        (lambda maps: maps.rename(maps.parent / "m"), "", 8, "maps: expected a folder of maps or a .npz, but: No such"),
        (None, "--threshold 0.2345", 2, "--threshold: 0.2345 is not among the thresholds 0, 0.001, …, 0.999"),
        (None, "--step 0.3", 2, "--step 0.3: 1 divided by a whole number was expected"),
        (None, "--threshold 0.2 --threshold-from x", 2, "--threshold and --threshold-from: give only one"),
        (None, "--threshold-from boxes.csv", 2, "boxes.csv: expected the result of `pycam score"),
        (
            lambda maps: (maps.parent / "r.json").write_text('{"best_thresholds": {}}'),
            "--threshold-from r.json",
            2,
            "r.json: `best_thresholds` has no threshold in [0, 1) of the rule",
        ),
        (None, "--box-rule grabcut", 2, "box rule 'grabcut' needs the pixels of the image"),
        (None, "--mask-root x", 2, "--mask-root has no effect here: no --masks are given"),
        (None, "--masks maps", 8, "localization.txt: no such file"),
    ],
)
def test_bad_maps_and_options_give_one_line(capsys, truth, tmp_path, monkeypatch, change, options, code, message):
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "maps", "npy", made_maps())
    if change:
        change(tmp_path / "maps")
    found, error = fail(capsys, "--maps", "maps", "--ground-truth", truth, *options.split())
    assert (found, message in error) == (code, True), error


def test_bad_archives_and_images_give_one_line(capsys, truth, tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04")
    colours = np.random.default_rng(0).integers(0, 255, (3, 4, 3), np.uint8)
    colour, deep = (
        save(tmp_path / name, "images", made_maps() | {"a": values})
        for name, values in (("colour", colours), ("deep", colours[..., 0].astype(np.uint16)))
    )
    cut = save(tmp_path / "cut", "images", made_maps())
    (cut / "a.png").write_bytes((cut / "a.png").read_bytes()[:-20])
    both = save(tmp_path / "both", "npy", made_maps())
    (both / "x").mkdir()
    np.save(both / "x" / "a.npy", made_maps()["a"])
    archive = save(tmp_path / "torn", "npz", made_maps())
    content = bytearray(archive.read_bytes())
    content[content.index(b"NUMPY") + 200] ^= 1  # a value of the first map, whose checksum then fails
    archive.write_bytes(content)
    for path, message in (
        (archive, "torn.npz: a.jpg.npy: cannot be read (Bad CRC-32"),
        (tmp_path / "bad.npz", "bad.npz: expected a folder of maps or a .npz, but: File is not a zip file"),
        (colour, "a.png: a colour image; the map itself, an 8-bit grey image, was expected"),
        (deep, "a.png: an image of uint16; the map itself"),
        (cut, "a.png: damaged, or not an image; an 8-bit grey image was expected"),
    ):
        code, error = fail(capsys, "--maps", path, "--ground-truth", truth)
        assert (code, message in error) == (8, True), error
    assert find_maps(both, ["a.jpg", "b.jpg"]).extra == ("x/a",)


def test_without_sizes_a_map_has_the_size_of_its_image(capsys, truth, tmp_path):
    truth.write_text("\n".join(line.rsplit(",", 2)[0] for line in CSV.splitlines()))
    path = save(tmp_path / "maps", "npy", made_maps())
    assert json.loads(run(capsys, "--maps", path, "--ground-truth", truth, "--json"))["max_box_acc"] == 100
    np.save(path / "a.npy", np.ones((14, 14)))
    code, error = fail(capsys, "--maps", path, "--ground-truth", truth)
    assert (code, "a box ends at 20, 15, outside of its map of 14×14: give ground truth with sizes" in error) == (
        8,
        True,
    )


def test_a_box_that_ends_before_it_starts_is_not_the_largest(truth):
    boxes = np.array([(30, 30, -30, -30), (0, 0, 20, 15), (10, 10, 40, 30)])
    for found, right in ((boxes[[0, 1]], [True, False]), (boxes[[2, 0]], [False, True]), (boxes[:1], [False, False])):
        scores = score_maps(made_maps().values(), read_ground_truth(truth), find_boxes=lambda _, found=found: found)
        assert scores.rule_hits.tolist() == right


def test_localization_by_a_named_rule(capsys, truth, tmp_path):
    path = save(tmp_path / "maps", "npy", made_maps())
    sources = ("--maps", path, "--ground-truth", truth, "--json")
    for rule, threshold, options in (
        ("tscam", 0.2, ()),
        ("paper", 0.9, ("--threshold", "0.9")),
        ("psol-448", None, ()),
    ):
        result = json.loads(run(capsys, *sources, "--box-rule", rule, *options))
        assert (result["box_rule"], result["threshold"], result["max_box_acc"]) == (rule, threshold, 100)
        boxes = [pycam.box_rules[rule](values, threshold) for values in made_maps().values()]
        right = [
            pycam.maps.boxes.iou(found, true).max() >= 0.5
            for found, true in zip(boxes, ((0, 0, 20, 15), (10, 10, 40, 30)), strict=True)
        ]
        assert result["gt_known_error"] == 1 - np.mean(right)
    for options, message in (
        (("--box-rule", "tscan"), "unknown box rule 'tscan': did you mean 'tscam'?"),
        (("--box-rule", "grabcut"), "needs the pixels of the image"),
        (("--box-rule", "psol-448", "--threshold", "0.2"), "takes no threshold"),
        (("--box-rule", "tscam", "--threshold-from", "x"), "--threshold-from has no effect here"),
    ):
        code, error = fail(capsys, *sources, *options)
        assert (code, message in error) == (2, True), error


def test_a_set_with_masks_only_has_pxap_only(capsys, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    mask = np.zeros((30, 40), np.uint8)
    mask[:15, :20] = 255
    (folder / "m.png").write_bytes(cv2.imencode(".png", mask)[1].tobytes())
    for name, content in (
        ("image_ids", "a"),
        ("class_labels", "a,3"),
        ("image_sizes", "a,40,30"),
        ("localization", "a,m.png,"),
    ):
        (folder / f"{name}.txt").write_text(f"{content}\n")
    maps = save(tmp_path / "maps", "npy", {"a": made_maps()["a"]})
    result = json.loads(run(capsys, "--maps", maps, "--masks", folder, "--ground-truth", folder, "--json"))
    assert (result["pxap"], "max_box_acc" in result) == (100, False)
    assert result["whole_image"] == {"pxap": 25}
    assert fail(capsys, "--maps", maps, "--ground-truth", folder)[0] == 8
    assert fail(capsys, "--maps", maps, "--masks", folder, "--ground-truth", folder, "--threshold", "0.2")[0] == 2


@pytest.mark.parametrize(
    ("score_map", "message"),
    [
        (np.zeros((3, 4, 5)), r"a map of shape \(3, 4, 5\), float64; \(H, W\) of floating point or uint8"),
        (np.zeros((0, 5)), r"a map of shape \(0, 5\)"),
        (np.zeros((3, 4), np.int64), r"int64; \(H, W\) of floating"),
        (np.full((3, 4), 200.0), r"values from 200 to 200; finite ones in \[0, 1\] were expected: \(map - map"),
        (np.array([[0.5, np.nan]]), r"values from nan to nan; finite ones in \[0, 1\] were expected$"),
        (np.array([[0.5, np.inf]]), r"values from 0\.5 to inf; finite ones in \[0, 1\] were expected$"),
    ],
)
def test_metrics_refuse_maps_that_they_would_misread(score_map, message):
    masks = np.zeros((2, *score_map.shape), bool)
    for compute in (pycam.metrics.candidates, lambda given: pycam.metrics.pixel_histograms(given, *masks)):
        with pytest.raises(UsageError, match=message):
            compute(score_map)


def test_pixels_need_masks_of_the_map_s_shape():
    for wrong in (np.zeros((4, 3), bool), np.zeros((3, 4), np.uint8)):
        for masks in ((wrong, np.zeros((3, 4), bool)), (np.zeros((3, 4), bool), wrong)):
            with pytest.raises(UsageError, match=r"(objects|ignored): shape .*; \(3, 4\) and bool were expected"):
                pycam.metrics.pixel_histograms(np.zeros((3, 4)), *masks)


def test_metrics_need_nothing_else():
    hits = pycam.metrics.classification_hits([[1, 2], [0, 1]], [2, 2])
    assert hits.tolist() == classification_hits([[1, 2], [0, 1]], [2, 2]).tolist() == [[False, True], [False, False]]
    for correct in (hits, hits.astype(int), hits.tolist()):
        assert pycam.metrics.error(correct).tolist() == [1, 0.5]
    for classes, labels in (([1, 2], [2, 2]), ([[1, 2]], [2, 2]), ([[1, 2]], 2)):
        with pytest.raises(UsageError, match=r"classes .*, labels .*; \(n, g\) and \(n,\) were expected"):
            pycam.metrics.classification_hits(classes, labels)
