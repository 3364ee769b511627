"""Maps of runs and of images as arrays: what is saved scores as the run does, after any interruption."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import samples
from runs import BATCH, HEIGHT, WIDTH, make_plan, without_timing
from test_ground_truth import TENCH, annotate

import pycam
from pycam.cli import main
from pycam.evaluation.run import evaluate
from pycam.images.scaling import min_max_scale

COUNT = 12


@pytest.fixture(scope="module")
def few(images, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    for path in sorted(images.iterdir())[:COUNT]:
        shutil.copy(path, folder)
    return folder


@pytest.fixture(scope="module")
def truth(few, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("truth")
    rng = np.random.default_rng(5)
    for path in sorted(few.iterdir()):
        x, y = rng.integers(1, 20, 2).tolist()
        annotate(folder, path.stem, (TENCH, x, y, x + 35, y + 28), size=(WIDTH, HEIGHT))
    return folder


@pytest.fixture
def command(model, few, truth) -> list[str]:
    net, weights = map(str, model)
    files = ["--prototxt", net, "--weights", weights, "--images", str(few), "--ground-truth", str(truth)]
    return ["evaluate", *files, "--protocol", "sweep", "--threads", "1", "--batch", "2", "--quiet"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def fails(capsys, *arguments: object) -> str:
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) not in (0, 70)
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.mark.parametrize(
    "choices",
    [
        [],
        ["--view", "center"],
        ["--view", "ten"],
        ["--view", "center", "--set", "placement=stretched"],
        ["--map-size", "benchmark"],
        ["--set", "map_resizer=tf_corner"],
    ],
    ids=" ".join,
)
def test_saved_maps_score_as_the_run_does(capsys, command, truth, tmp_path, choices):
    out, maps = tmp_path / "run", tmp_path / "maps"
    assert main([*command, *choices, "--out", str(out), "--save-maps", str(maps)]) == 0
    capsys.readouterr()
    assert main(["score", "--maps", str(maps), "--ground-truth", str(truth), "--json"]) == 0
    scored, report = json.loads(capsys.readouterr().out), json.loads((out / "report.json").read_text())
    for key in ("max_box_acc", "max_box_acc_v2"):
        assert scored[key] == report[key]
        assert scored["intervals"][key] == report["intervals"][key]
    for rule, curve in report["curves"].items():
        assert scored["curves"][rule] == curve
    assert scored["extra_maps"] == []


def test_maps_have_the_size_and_type_that_was_asked_for(capsys, command, model, few, truth, tmp_path):
    found = {}
    for size in ("features", "image", "benchmark"):
        for dtype in ("float32", "float16"):
            place = tmp_path / f"{size} {dtype}"
            form = ["--save-maps", str(place), "--map-size", size, "--map-type", dtype]
            assert main([*command, *form, "--out", str(tmp_path / "run")]) == 0
            found[size, dtype] = np.load(place / "003.npy")
            manifest = json.loads((place / "maps.json").read_text())
            assert (manifest["size"], manifest["dtype"], manifest["class"]) == (size, dtype, "ground truth")
            assert found[size, dtype].dtype == dtype
    assert main(["score", "--maps", str(tmp_path / "image float16"), "--ground-truth", str(truth)]) == 0
    net, weights = map(str, model)
    with pycam.load(prototxt=net, weights=weights, protocol="sweep") as cam:
        prediction = cam(few / "003.png", classes=[0])
    assert np.array_equal(found["features", "float32"], prediction.feature_maps[:, 0])
    shape = prediction.feature_maps[:, 0].shape
    assert [each.shape for each in found.values()] == [shape] * 2 + [(HEIGHT, WIDTH)] * 2 + [(224, 224)] * 2
    expected = min_max_scale(prediction.top[0].image_map)
    assert np.array_equal(found["image", "float32"], expected)
    assert found["image", "float16"] == pytest.approx(expected, abs=2**-11)
    features = prediction.feature_maps[:, 0] / np.abs(prediction.feature_maps[:, 0]).max()
    assert found["features", "float16"] == pytest.approx(features, abs=2**-11)


def test_a_map_lies_where_its_pixels_were(model, few, command, tmp_path):
    """Outside of the center crop, the placed map is zero before it is scaled."""
    form = ["--view", "center", "--save-maps", str(tmp_path / "maps"), "--map-size", "image"]
    assert main([*command, *form, "--out", str(tmp_path / "run")]) == 0
    map_ = np.load(tmp_path / "maps" / "000.npy")
    placement = json.loads((tmp_path / "maps" / "maps.json").read_text())
    (height, width), (tall, wide) = placement["input"], placement["canvas"]
    assert (height, width) < (tall, wide)
    border = map_[0]
    assert np.ptp(border) == 0
    assert np.ptp(map_[HEIGHT // 2]) > 0


def test_maps_are_the_same_for_any_number_of_workers_and_after_any_stop(command, model, few, truth, tmp_path):
    whole = tmp_path / "whole"
    assert main([*command, "--out", str(tmp_path / "run"), "--save-maps", str(whole)]) == 0
    assert len(contents(whole)) == COUNT + 1
    arguments = [*command, "--out", str(tmp_path / "two"), "--save-maps", str(tmp_path / "two-maps")]
    assert main([*arguments, "--workers", "2"]) == 0
    assert contents(tmp_path / "two-maps") == contents(whole)
    # A run that is resumed makes the maps that are missing, and changes neither the others nor its results.
    results, report = contents(tmp_path / "two"), without_timing(tmp_path / "two/report.json")
    for name in ("000.npy", "007.npy"):
        (tmp_path / "two-maps" / name).unlink()
    kept = (tmp_path / "two-maps" / "005.npy").stat().st_mtime_ns
    assert main(arguments) == 0
    assert contents(tmp_path / "two-maps") == contents(whole)
    assert (tmp_path / "two-maps" / "005.npy").stat().st_mtime_ns == kept
    for name in ("predictions.txt", "predictions.csv"):
        assert contents(tmp_path / "two")[name] == results[name]
    assert without_timing(tmp_path / "two/report.json") == report


class Killed(BaseException):
    pass


def test_a_stored_image_has_its_map_whenever_the_run_dies(model, few, tmp_path):
    plan = make_plan(model, few)
    place = tmp_path / "maps"

    def die(done: int) -> None:
        if done >= 2 * BATCH:
            raise Killed

    with pytest.raises(Killed):
        evaluate(plan, tmp_path / "run", progress=die, save_maps=(place, "image", "float32"))
    saved = contents(place)
    assert 2 * BATCH < len(saved) < COUNT
    evaluate(plan, tmp_path / "run", save_maps=(place, "image", "float32"))
    evaluate(plan, tmp_path / "other", save_maps=(tmp_path / "whole", "image", "float32"))
    assert contents(place) == contents(tmp_path / "whole")
    assert saved.items() <= contents(place).items()


def test_a_folder_of_something_else_is_not_written_to(capsys, command, model, few, tmp_path):
    maps = tmp_path / "maps"
    assert main([*command, "--out", str(tmp_path / "run"), "--save-maps", str(maps)]) == 0
    before = contents(maps)
    line = fails(capsys, *command, "--out", tmp_path / "run", "--save-maps", maps, "--map-type", "float16")
    assert "another run, which differs in dtype, normalisation" in line
    line = fails(capsys, *command, "--view", "center", "--out", tmp_path / "other", "--save-maps", maps)
    assert "which differs in view" in line
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").touch()
    line = fails(capsys, *command, "--out", tmp_path / "run", "--save-maps", tmp_path / "mine")
    assert "name an empty or new folder" in line
    assert "no maps are saved" in fails(capsys, *command, "--out", tmp_path / "run", "--map-size", "image")
    line = fails(capsys, *command, "--out", tmp_path / "x", "--save-maps", maps, "--map-size", "big")
    assert "features, image, benchmark" in line
    assert contents(maps) == before
    (maps / "maps.json").write_text("{}")
    assert "not a manifest" in fails(capsys, *command, "--out", tmp_path / "run", "--save-maps", maps)


def test_maps_that_do_not_fit_their_manifest_are_refused(capsys, command, truth, tmp_path):
    maps = tmp_path / "maps"
    assert main([*command, "--out", str(tmp_path / "run"), "--save-maps", str(maps)]) == 0
    manifest = json.loads((maps / "maps.json").read_text())
    score = ["score", "--maps", maps, "--ground-truth", truth]
    for wrong in (np.zeros((3, 7, 7), np.float32), np.zeros((7, 7), np.float32), np.zeros((1, 7, 7), np.int64)):
        np.save(maps / "002.npy", wrong)
        assert "its manifest says" in fails(capsys, *score)
    for change in ({"view": "round"}, {"input": [0, 5]}, {"merge": "sum"}, {"map_resizer": "none"}, {"size": 3}):
        (maps / "maps.json").write_text(json.dumps(manifest | change))
        assert "not a manifest of maps" in fails(capsys, *score)


def test_heatmap_writes_its_maps(tmp_path):
    (tmp_path / "a.jpg").write_bytes(samples.jpeg(3))
    arguments = ["heatmap", str(tmp_path / "a.jpg"), "--model", "squeezenet-cam-caltech101", "--maps", "npy"]
    assert main([*arguments, "--out", str(tmp_path / "out"), "--quiet"]) == 0
    maps, features = (np.load(tmp_path / "out" / "a" / f"a_{name}.npy") for name in ("maps", "features"))
    with pycam.load("squeezenet-cam-caltech101") as cam:
        prediction = cam(tmp_path / "a.jpg")
    assert maps.dtype == features.dtype == np.float32
    assert np.array_equal(features, prediction.feature_maps)
    assert np.array_equal(maps, [item.image_map for item in prediction.top])


def test_heatmap_refuses_other_kinds_of_maps(capsys, tmp_path):
    arguments = ["heatmap", tmp_path / "a.jpg", "--model", "squeezenet-cam-caltech101", "--maps", "npz"]
    assert "expected npy" in fails(capsys, *arguments)
