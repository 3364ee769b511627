from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import loadmat, savemat

from matlab_ports.cut import cut
from matlab_ports.demo import demo
from matlab_ports.evaluation.compute_overlap import compute_overlap
from matlab_ports.evaluation.eval_clsloc import eval_clsloc
from matlab_ports.evaluation.simpleEvaluation import simpleEvaluation
from matlab_ports.generate_bbox import dt_box, generate_bbox
from matlab_ports.ILSVRC_evaluate_bbox import ILSVRC_evaluate_bbox, submission
from matlab_ports.ILSVRC_generate_heatmap import ILSVRC_generate_heatmap
from matlab_ports.map2jpg import map2jpg
from matlab_ports.matlab import gray2ind, im2double, im2uint8, imresize, ind2rgb, jet, mat2gray
from matlab_ports.mergeTenCrop import mergeTenCrop
from matlab_ports.prepare_image import prepare_image
from matlab_ports.returnCAMmap import returnCAMmap
from pycam.errors import FormatError, ImageError, UsageError
from pycam.ilsvrc.predictions import SUBMISSIONS
from pycam.predict import load


def relative_error(ours, golden):
    return np.abs(ours - golden).max() / np.abs(golden).max()


# ---- MATLAB's own functions


def test_classes_are_converted_as_by_matlab():
    assert im2double(np.array([0, 51, 255], np.uint8)).tolist() == [0, 0.2, 1]
    assert im2double(np.array([-32768, 32767], np.int16)).tolist() == [0, 1]
    assert im2double(np.array([2.5], np.float32)).tolist() == [2.5]
    assert im2double(np.array([True])).dtype == np.float64
    assert im2uint8(np.array([-1, 0.5, 2])).tolist() == [0, 128, 255]
    assert im2uint8(np.array([7], np.uint8)).tolist() == [7]
    with pytest.raises(UsageError, match="im2double: got dtype int64"):
        im2double(np.array([1]))


def test_indices_count_as_in_matlab():
    assert gray2ind(np.array([[0, 0.5, 1]])).tolist() == [[0, 32, 63]]
    assert gray2ind(np.array([[1.0]]), 256).dtype == np.uint8
    assert gray2ind(np.array([[1.0]]), 1000).dtype == np.uint16
    first = jet(4)[0].tolist()
    assert ind2rgb(np.array([[0]], np.uint8), jet(4)).tolist() == [[first]]
    assert ind2rgb(np.array([[1.0]]), jet(4)).tolist() == [[first]]
    assert mat2gray(np.array([[2.0, 4.0]])).tolist() == [[0, 1]]


def test_imresize_takes_any_number_of_dimensions():
    maps = np.random.default_rng(1).random((14, 13, 5, 10))
    resized = imresize(maps, (20, 30))
    assert resized.shape == (20, 30, 5, 10)
    np.testing.assert_array_equal(resized[:, :, 3, 7], imresize(maps[:, :, 3, 7], (20, 30)))


# ---- the functions of the release


@pytest.mark.shared
@pytest.mark.parametrize(("range", "name"), [(None, "rgb"), ([], "rgb"), ([0, 1000], "rgb_range_0_1000")])
def test_map2jpg(shared, range, name):
    golden = np.load(shared / "data/golden/matlab/map2jpg.npz")
    np.testing.assert_allclose(map2jpg(golden["map"], range, "jet"), golden[name], rtol=0, atol=1e-12)


def test_map2jpg_knows_only_jet():
    with pytest.raises(UsageError, match="got colour map 'hot'"):
        map2jpg(np.zeros((2, 2)), [], "hot")
    with pytest.raises(UsageError, match=r"got range \[1\]"):
        map2jpg(np.zeros((2, 2)), [1])


@pytest.mark.shared
@pytest.mark.parametrize(
    ("size", "formula"),
    [
        (224, lambda i, j, k: k * np.sin(0.013 * i + 0.029 * j + k)),
        (227, lambda i, j, k: k * np.cos(0.017 * i - 0.011 * j + 0.5 * k)),
    ],
)
def test_mergeTenCrop(shared, size, formula):
    golden = np.load(shared / "data/golden/matlab/merge_ten_crop.npz")[f"merged_{size}"]
    i, j, k = np.mgrid[:size, :size, 1:11]
    assert relative_error(mergeTenCrop(formula(i, j, k)), golden) < 1e-6
    with pytest.raises(UsageError, match=r"expected \(W, H, 10\)"):
        mergeTenCrop(np.zeros((size, size)))


@pytest.mark.shared
def test_prepare_image(shared):
    golden = json.loads((shared / "data/golden/matlab/prepare_image.json").read_text())
    im = cv2.imread(str(shared / "data/golden/matlab/prepare_image_input.png"))[:, :, ::-1]
    mean_data = loadmat(shared / "data/mean/ilsvrc_2012_mean.mat")["mean_data"]
    crops = prepare_image(im, mean_data)
    assert crops.dtype == np.float32
    assert list(crops.shape) == golden["shape"]
    for w, h, c, n, value in golden["points"]:
        assert abs(crops[w, h, c, n] - value) < 1e-3
    sums = crops.astype(np.float64).sum(axis=(0, 1, 2))
    np.testing.assert_allclose(sums, golden["sum_per_crop"], rtol=1e-6)


def test_prepare_image_resizes_in_single_precision_and_repeats_grey():
    mean_data = np.zeros((256, 256, 3), np.float32)
    grey = np.random.default_rng(2).integers(0, 256, (100, 150), np.uint8)
    crops = prepare_image(grey, mean_data, 227)
    assert crops.shape == (227, 227, 3, 10)
    canvas = imresize(grey.astype(np.float32), (256, 256), "bilinear")
    np.testing.assert_allclose(crops[:, :, 1, 0], canvas[:227, :227].T, rtol=0, atol=1e-3)
    np.testing.assert_array_equal(crops[::-1, :, :, 8], crops[:, :, :, 3])
    with pytest.raises(UsageError, match="a float64 array of shape"):
        prepare_image(grey / 255, mean_data)


def test_returnCAMmap_keeps_matlab_s_order_of_axes():
    random = np.random.default_rng(3)
    activation = random.random((5, 4, 6, 10), np.float32)
    weights_LR = random.random((6, 3), np.float32)
    maps = returnCAMmap(activation, weights_LR)
    assert maps.shape == (5, 4, 3, 10)
    np.testing.assert_allclose(maps[2, 1, 0, 9], activation[2, 1, :, 9] @ weights_LR[:, 0], rtol=1e-6)
    np.testing.assert_array_equal(returnCAMmap(activation[..., 0], weights_LR).shape, (5, 4, 3))
    with pytest.raises(UsageError, match=r"expected \(W, H, K, N\) and \(K, T\)"):
        returnCAMmap(activation, weights_LR.T)


# ---- demo


@pytest.fixture
def release(shared):
    return shared / "data/cam-release"


@pytest.mark.shared
def test_demo_with_the_published_features(release):
    golden = np.load(release / "golden_img1.npz")
    workspace = demo(1, 0, data=release)
    np.testing.assert_array_equal(workspace.IDX_category, golden["top5_matlab_index"])
    np.testing.assert_allclose(workspace.value_category, golden["top5_score"], rtol=0, atol=5e-7)
    assert relative_error(workspace.curCAMmapAll, golden["column_maps"]) < 1e-5
    assert relative_error(workspace.curCAMLarge.transpose(2, 0, 1), golden["merged_maps"]) < 1e-5
    assert workspace.curPrediction.startswith(" --top1:n07930864 cup --top2:n07920052 espresso --top3:")

    strip = workspace.curResult
    assert strip.shape == (256, 256 + 5 * 264, 3)
    img = imresize(cv2.imread(str(release / "img1.jpg"))[:, :, ::-1], (256, 256)) / 255
    np.testing.assert_array_equal(strip[:, :256], img)
    for rank in range(5):
        gap, start = strip[:, 256 + rank * 264 :][:, :8], 264 + rank * 264
        assert (gap == 1).all()
        overlay = img * 0.2 + map2jpg(golden["merged_maps"][rank]) * 0.7
        assert (np.abs(strip[:, start : start + 256] - overlay) > 1e-9).mean() < 1e-3


@pytest.mark.shared
def test_demo_as_a_command(release, tmp_path):
    made = run("matlab_ports.demo", "--data", release, "--out", tmp_path / "result.jpg")
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("--top1:n07930864 cup --top2:")
    assert cv2.imread(str(tmp_path / "result.jpg")).shape == (256, 1576, 3)


def run(module, *arguments):
    command = [sys.executable, "-m", module, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--data", "nowhere"], 6, "nowhere/img1.jpg: expected an image, but: No such file"),
        (["own.jpg"], 2, "own.jpg: published features exist only for img1 and img2"),
        (["--imgID", "3"], 2, "Invalid value for '--imgID'"),
    ],
)
def test_demo_fails_with_one_line(arguments, code, message):
    failed = run("matlab_ports.demo", *arguments)
    assert failed.returncode == code
    assert message in failed.stderr
    assert failed.stderr.count("\n") == 1
    assert failed.stdout == ""


@pytest.fixture
def small_release(release, tmp_path):
    """The release's image with features, scores and weights of a small net beside it."""
    shutil.copy(release / "img1.jpg", tmp_path)
    random = np.random.default_rng(4)
    labels = np.array([["one"], ["two"], ["three"], ["four"], ["five"], ["six"]], object)
    net = {"weights_LR": random.random((3, 6), np.float32), "categories": labels}
    image = {
        "activation_lastconv": random.random((4, 4, 3, 10), np.float32),
        "scores": random.random((6, 10), np.float32),
    }

    def write(**changes):
        for name, variables in (("data_net.mat", net), ("data_img1.mat", image)):
            kept = {key: changes.get(key, value) for key, value in variables.items()}
            savemat(tmp_path / name, {key: value for key, value in kept.items() if value is not None})
        return tmp_path

    return write


@pytest.mark.shared
def test_demo_takes_scores_of_two_dimensions(small_release):
    workspace = demo(1, 0, data=small_release())
    assert workspace.curCAMmapAll.shape == (4, 4, 5, 10)
    assert set(workspace.categories) < {"one", "two", "three", "four", "five", "six"}


@pytest.mark.shared
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights_LR": None}, "data_net.mat: no variable 'weights_LR'"),
        ({"scores": np.zeros((5, 10))}, r"data_img1.mat: scores has shape \(5, 10\) .* expected \(6, 10\)"),
        ({"weights_LR": np.zeros((3, 2, 2))}, r"data_net.mat: weights_LR has shape \(3, 2, 2\)"),
        ({"activation_lastconv": np.zeros((4, 4, 2, 10))}, r"activation_lastconv .* expected \(W, H, 3, 10\)"),
        ({"activation_lastconv": np.full((4, 4, 3, 10), "x")}, "data_img1.mat: activation_lastconv has"),
        ({"categories": np.array([["one"]], object)}, r"categories has shape \(1, 1\) and dtype object"),
    ],
)
def test_demo_refuses_other_files(small_release, changes, message):
    data = small_release(**changes)
    with pytest.raises(FormatError, match=message):
        demo(1, 0, data=data)


@pytest.mark.shared
def test_demo_refuses_damaged_files(small_release):
    data = small_release()
    whole = (data / "data_img1.mat").read_bytes()
    (data / "data_img1.mat").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FormatError, match=r"data_img1\.mat"):
        demo(1, 0, data=data)
    (data / "data_img1.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(128) + b"\x89HDF\r\n\x1a\n")
    with pytest.raises(FormatError, match=r"data_img1\.mat.*7\.3"):
        demo(1, 0, data=data)


# ---- boxes


@pytest.mark.shared
def test_generate_bbox_writes_the_published_file(release, tmp_path):
    boxes = generate_bbox(release / "heatmap_6.jpg", tmp_path / "boxes.txt", (20, 100, 110))
    assert boxes.tolist() == [[41, 145, 403, 347], [102, 188, 344, 314]]
    assert (tmp_path / "boxes.txt").read_bytes() == (release / "heatmap_6.txt").read_bytes()


@pytest.mark.shared
def test_generate_bbox_falls_back_from_thresholds_out_of_order(release):
    with pytest.warns(UserWarning, match="thresholds 100, 20, 110 .* 30, 90, 150 are used instead"):
        boxes = dt_box(release / "heatmap_6.jpg", (100, 20, 110))
    np.testing.assert_array_equal(boxes, dt_box(release / "heatmap_6.jpg", (30, 90, 150)))


@pytest.mark.shared
def test_generate_bbox_as_a_command(release, tmp_path):
    drawing = tmp_path / "drawing.jpg"
    image = ["--image", release / "sample_6.jpg", "--result", drawing]
    made = run("matlab_ports.generate_bbox", release / "heatmap_6.jpg", *image)
    assert (made.returncode, made.stderr) == (0, "")
    assert made.stdout == "41 145 403 347\n102 188 344 314\n"
    assert cv2.imread(str(drawing)).shape == cv2.imread(str(release / "sample_6.jpg")).shape
    warned = run("matlab_ports.generate_bbox", release / "heatmap_6.jpg", "--thresholds", 9, 8, 7)
    assert warned.returncode == 0
    assert warned.stderr.startswith("pycam: thresholds 9, 8, 7 do not increase")
    assert warned.stderr.count("\n") == 1


def test_generate_bbox_of_an_empty_heat_map(tmp_path):
    cv2.imwrite(str(tmp_path / "empty.png"), np.zeros((40, 50), np.uint8))
    assert generate_bbox(tmp_path / "empty.png", tmp_path / "boxes.txt").shape == (0, 4)
    assert (tmp_path / "boxes.txt").read_bytes() == b""
    with pytest.raises(ImageError, match="expected an image, but: No such file"):
        generate_bbox(tmp_path / "missing.jpg", tmp_path / "others.txt")
    assert not (tmp_path / "others.txt").exists()


@pytest.mark.shared
def test_cut_finds_the_published_boxes_and_cuts_the_object_out(release, tmp_path):
    files = release / "sample_6.jpg", release / "heatmap_6.jpg"
    made = run("matlab_ports.cut", *files, tmp_path / "boxes.txt", "--cutout", tmp_path / "cut.png")
    assert (made.returncode, made.stdout, made.stderr) == (0, "63 151 361 217\n", "")
    assert (tmp_path / "boxes.txt").read_bytes() == b"63 151 361 217 "
    assert cut(*files, thresholds=(20, 80)).tolist() == [[83, 153, 322, 195]]
    image, left = cv2.imread(str(files[0])), cv2.imread(str(tmp_path / "cut.png"))
    kept = (left > 0).any(axis=2)
    assert (left[kept] == image[kept]).all() and 0.1 < kept.mean() < 0.5
    assert cv2.boundingRect(kept.view(np.uint8)) == (63, 151, 361, 217)
    # Other thresholds have another cutout, unlike in the program, which ignores them then.
    cut(*files, thresholds=(20, 80), cutout=tmp_path / "other.png")
    kept = (cv2.imread(str(tmp_path / "other.png")) > 0).any(axis=2)
    assert cv2.boundingRect(kept.view(np.uint8)) == (83, 153, 322, 195)


def test_cut_of_nothing_is_the_whole_image(tmp_path):
    image, heat = tmp_path / "image.png", tmp_path / "heat.png"
    cv2.imwrite(str(image), np.full((40, 50, 3), 90, np.uint8))
    cv2.imwrite(str(heat), np.zeros((40, 50), np.uint8))
    assert cut(image, heat, tmp_path / "boxes.txt", cutout=tmp_path / "cut.png").tolist() == [[0, 0, 50, 40]]
    assert not cv2.imread(str(tmp_path / "cut.png")).any()
    cv2.imwrite(str(heat), np.zeros((40, 51), np.uint8))
    with pytest.raises(ImageError, match=r"heat\.png is 51×40, and .*image\.png is 50×40"):
        cut(image, heat)
    with pytest.raises(UsageError, match=r"cut\.gif: expected a file that ends in \.png or \.jpg"):
        cut(image, heat, cutout=tmp_path / "cut.gif")


# ---- evaluation


def test_submissions_take_the_boxes_that_the_release_takes():
    boxes = [np.array([[rank, 0, 10, 10], [rank, 1, 10, 10], [rank, 2, 10, 10]]) for rank in range(5)]
    taken = {name: submission(name, [7, 3, 9, 1, 4], boxes) for name in SUBMISSIONS}
    assert taken["bbox1"].classes == [7, 3, 9, 1, 4]
    assert taken["bbox1"].boxes.tolist() == [[rank, 0, rank + 10, 10] for rank in range(5)]
    assert taken["bbox2"].boxes.tolist() == [[rank, 1, rank + 10, 11] for rank in range(5)]
    assert taken["bboxCombine"].classes == [7, 7, 3, 3, 9]
    assert taken["bboxCombine"].boxes[:, :2].tolist() == [[0, 0], [0, 1], [1, 0], [1, 1], [2, 0]]
    assert all(one.fallbacks == one.missing == 0 for one in taken.values())


def test_a_missing_second_box_falls_back_to_the_first_and_is_counted():
    none, one, two = np.zeros((0, 4), int), np.array([[1, 2, 3, 4]]), np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    second = submission("bbox2", range(5), [two, one, none, one, two])
    assert second.boxes.tolist() == [[5, 6, 12, 14], [1, 2, 4, 6], [0, 0, 0, 0], [1, 2, 4, 6], [5, 6, 12, 14]]
    assert (second.fallbacks, second.missing) == (2, 1)
    combined = submission("bboxCombine", range(5), [one, none, two, none, none])
    assert (combined.fallbacks, combined.missing) == (1, 2)


def test_compute_overlap_counts_inclusive_pixels():
    assert compute_overlap([1, 1, 10, 10], [1, 1, 10, 10]) == 1
    assert compute_overlap([1, 1, 10, 10], [6, 1, 15, 10]) == 50 / 150
    assert compute_overlap([1, 1, 10, 10], [10, 10, 20, 20]) == 1 / (100 + 121 - 1)
    assert compute_overlap([1, 1, 10, 10], [11, 1, 20, 10]) == -1


@pytest.mark.shared
def test_simpleEvaluation_prints_the_original_s_digits(shared):
    folder = shared / "data/golden/evaluation"
    table = simpleEvaluation(folder / "pred.txt", folder / "cache.mat", folder / "gt.txt", folder / "blacklist.txt")
    lines = [f"{k:.0f} {cls:.10f} {loc:.10f}" for k, cls, loc in table]
    assert lines == (folder / "result.txt").read_text().split("\n")[:5]


@pytest.mark.shared
def test_eval_clsloc_takes_the_cache_and_the_number_of_predictions(shared):
    folder = shared / "data/golden/evaluation"
    files = (folder / "gt.txt", folder / "blacklist.txt", folder / "cache.mat")
    errors = eval_clsloc(folder / "pred.txt", folder, None, 3, *files)
    assert tuple(f"{error:.10f}" for error in errors) == ("0.3533333333", "0.4711864407")
    with pytest.raises(UsageError, match="max_num_pred_per_image is 6"):
        eval_clsloc(folder / "pred.txt", folder, None, 6, *files)


# ---- with a net


@pytest.fixture(scope="module")
def squeezenet(shared):
    def made(protocol):
        return load(
            "squeezenet-v1.0",
            protocol=protocol,
            weights=shared / "data/weights/squeezenet_v1.0.caffemodel",
            mean=shared / "data/mean/ilsvrc_2012_mean.npy",
        )

    return made


@pytest.mark.shared
def test_demo_with_a_net_is_the_protocol(shared, squeezenet):
    image = shared / "data/samples/n02106550_Rottweiler.JPEG"
    with squeezenet("matlab_demo") as cam:
        workspace = demo(image, 1, cam=cam)
        prediction = cam(image)
    assert workspace.IDX_category.tolist() == [item.index + 1 for item in prediction.top]
    assert workspace.categories == tuple(item.label for item in prediction.top)
    np.testing.assert_allclose(workspace.value_category, [item.score for item in prediction.top], rtol=1e-5)
    for rank, item in enumerate(prediction.top):
        assert relative_error(workspace.curCAMLarge[:, :, rank], item.map) < 1e-5
    difference = np.abs(im2uint8(workspace.curResult)[:, :, ::-1].astype(int) - prediction.strip())
    assert (difference > 1).mean() < 1e-3


@pytest.mark.shared
@pytest.mark.parametrize("count", [3, pytest.param(300, marks=pytest.mark.slow)])
def test_ILSVRC_scripts_give_the_released_figures(shared, squeezenet, tmp_path, count):
    released = json.loads((shared / "data/golden/released-mini.json").read_text())
    golden = dict(sorted(released["pictures"].items())[:count])
    mini = shared / "data/ilsvrc-mini"
    with squeezenet("released") as cam:
        files = [mini / "ILSVRC2012_img_val" / f"{name}.JPEG" for name in golden]
        ILSVRC_generate_heatmap(cam, files, tmp_path / "heatmaps")
        with pytest.raises(UsageError, match=f"an image before it is called '{files[0].stem}'"):
            ILSVRC_generate_heatmap(cam, [files[0], files[0]], tmp_path / "again")
    (tmp_path / "truth").mkdir()
    moved = []
    for name, image in golden.items():
        shutil.copy(mini / "ILSVRC2012_bbox_val/val" / f"{name}.xml", tmp_path / "truth")
        lines = (tmp_path / "heatmaps" / f"{name}.txt").read_text().splitlines()
        classes, scores = zip(*(line.split() for line in lines), strict=True)
        assert [int(one) - 1 for one in classes] == image["index"]
        np.testing.assert_allclose([float(one) for one in scores], image["score"], rtol=0, atol=1e-5)
        for rank, boxes in enumerate(image["boxes"], start=1):
            found = dt_box(tmp_path / "heatmaps" / f"{name}_{rank}.jpg")
            moved.append(np.abs(found[0] - boxes[0]).max())
    assert np.mean(np.array(moved) == 0) >= 0.98
    assert np.mean(np.array(moved) <= 2) >= 0.995

    tables = ILSVRC_evaluate_bbox(tmp_path / "heatmaps", tmp_path / "submissions", tmp_path / "truth")
    assert set(tables) == set(released["errors"])
    for kind, table in tables.items():
        again = simpleEvaluation(tmp_path / "submissions" / f"{kind}.txt", tmp_path / "truth")
        np.testing.assert_array_equal(table, again)
        if count == len(released["pictures"]):
            errors = released["errors"][kind]
            assert np.abs(table[[0, 4], 1] - errors["classification"]).max() < 1 / count
            assert np.abs(table[[0, 4], 2] - errors["localization"]).max() < 1 / count


def test_ILSVRC_evaluate_bbox_refuses_a_folder_without_heat_maps(tmp_path):
    with pytest.raises(UsageError, match=r"no \.txt files"):
        ILSVRC_evaluate_bbox(tmp_path, tmp_path / "out", tmp_path)
    (tmp_path / "image.txt").write_text("7 0.5\nnone\n")
    with pytest.raises(FormatError, match=r"image\.txt: expected five lines"):
        ILSVRC_evaluate_bbox(tmp_path, tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()
