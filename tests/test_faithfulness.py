"""Faithfulness: against direct computations, and what must hold for any map."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import hypothesis
import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import strategies as st
from test_perturbation import BRANCHES, branches

from pycam import engines
from pycam.cli import main
from pycam.engines import Options, base
from pycam.errors import ImageError, RunError, UsageError
from pycam.evaluation.faithfulness import measure_faithfulness
from pycam.formats import caffemodel, prototxt
from pycam.images.resize import resize
from pycam.metrics.faithfulness import (
    area,
    blurred,
    drops,
    exchanged,
    faithfulness_figures,
    faithfulness_of,
    gains,
)
from pycam.predict import load

RNG = np.random.default_rng(0)
small_floats = st.floats(-3, 3, width=32)
sides = st.tuples(st.integers(1, 3), st.integers(2, 6), st.integers(2, 6))


def logistic(weights):
    """Return a model with one weight per value: probability 1 / (1 + exp(-sum))."""

    def predict(images):
        return [1 / (1 + np.exp(-(each.astype(np.float64) * weights).sum())) for each in images]

    return predict


def directly(start, end, map_, predict, steps):
    """Change pixel after pixel in plain loops, and keep the score after each step."""
    height, width = map_.shape
    order = sorted(((y, x) for y in range(height) for x in range(width)), key=lambda at: -map_[at])
    scores = []
    for step in range(steps + 1):
        image = start.copy()
        for y, x in order[: round(step * height * width / steps)]:
            image[:, y, x] = end[:, y, x]
        scores += predict([image])
    return scores


@hypothesis.given(st.data())
@hypothesis.settings(max_examples=40)
def test_insertion_and_deletion_are_those_of_plain_loops(data):
    shape = data.draw(sides)
    image = data.draw(arrays.arrays(np.float32, shape, elements=small_floats))
    map_ = data.draw(arrays.arrays(np.float32, shape[1:], elements=small_floats))  # with equal values
    steps = data.draw(st.integers(1, map_.size))
    predict = logistic(RNG.normal(size=shape))
    found = faithfulness_of(image, map_, predict, steps)
    assert found.deletion == pytest.approx(directly(image, np.zeros_like(image), map_, predict, steps))
    assert found.insertion == pytest.approx(directly(blurred(image), image, map_, predict, steps))
    assert found.score == found.deletion[0] == pytest.approx(found.insertion[-1])
    low, high = map_.min(), map_.max()
    mask = (map_ - low) / (high - low) if high > low else np.zeros_like(map_)
    assert found.masked == pytest.approx(predict([image * mask])[0])
    # Only the order of the map's values matters to the curves.
    again = faithfulness_of(image, np.exp(map_.astype(np.float64) / 9).astype(np.float32), predict, steps)
    if len(np.unique(np.exp(map_.astype(np.float64) / 9).astype(np.float32))) == len(np.unique(map_)):
        np.testing.assert_array_equal(again.deletion, found.deletion)
    widths = np.linspace(0, 1, steps + 1)
    pairs = zip(found.deletion[:-1], found.deletion[1:], np.diff(widths), strict=True)
    trapezoids = [(first + second) / 2 * width for first, second, width in pairs]
    assert area(found.deletion) == pytest.approx(sum(trapezoids))
    assert found.deletion.min() - 1e-12 <= area(found.deletion) <= found.deletion.max() + 1e-12


@hypothesis.given(st.integers(0, 2**32 - 1))
@hypothesis.settings(max_examples=20)
def test_the_order_of_the_contributions_is_the_best(seed):
    """In a model that adds up contributions of pixels, no order deletes or inserts faster than theirs."""
    rng = np.random.default_rng(seed)
    image, weights = rng.normal(size=(1, 5, 4)).astype(np.float32), rng.normal(size=(1, 5, 4))
    predict = logistic(weights)
    other = rng.normal(size=(5, 4)).astype(np.float32)
    removed = (image[0] * weights[0]).astype(np.float32)
    added = ((image - blurred(image))[0] * weights[0]).astype(np.float32)
    best, any_order = faithfulness_of(image, removed, predict, 20), faithfulness_of(image, other, predict, 20)
    assert (best.deletion <= any_order.deletion + 1e-9).all()
    assert (faithfulness_of(image, added, predict, 20).insertion >= any_order.insertion - 1e-9).all()
    # With positive contributions, each step lowers the score.
    falling = faithfulness_of(np.abs(image), other, logistic(np.abs(weights)), 20).deletion
    assert (np.diff(falling) <= 0).all()


def test_drops_and_gains_are_as_defined():
    before, after = RNG.uniform(size=50), RNG.uniform(size=50)
    before[0] = after[0] = 0
    before[1] = after[1] = 1
    drop = [max(0, y - o) / y if y else 0 for y, o in zip(before, after, strict=True)]
    gain = [max(0, o - y) / (1 - y) if y < 1 else 0 for y, o in zip(before, after, strict=True)]
    np.testing.assert_allclose(drops(before, after), drop)
    np.testing.assert_allclose(gains(before, after), gain)
    image, map_ = np.ones((1, 2, 2), np.float32), np.array([[0, 1], [2, 3]], np.float32)
    measured = [faithfulness_of(image, map_, logistic(np.full((1, 2, 2), w)), 4) for w in (1.0, -1.0)]
    figures = faithfulness_figures(measured)
    # Sums 4 and -4 become 2 and -2 under the mask.
    sure, half = 1 / (1 + np.exp(-4)), 1 / (1 + np.exp(-2))
    np.testing.assert_allclose(figures["average_drop"], [100 * (sure - half) / sure, 0])
    np.testing.assert_allclose(figures["increase_in_confidence"], [0, 100])
    np.testing.assert_allclose(figures["average_gain"], [0, 100 * (sure - half) / sure])
    assert figures["deletion"][0] == pytest.approx(area([1 / (1 + np.exp(-n)) for n in (4, 3, 2, 1, 0)]))


def test_the_blur_is_that_of_rise():
    impulse = np.zeros((11, 11))
    impulse[5, 5] = 1
    kernel = scipy.ndimage.gaussian_filter(impulse, 5)
    image = RNG.normal(size=(3, 20, 15)).astype(np.float32)
    expected = [scipy.ndimage.convolve(each.astype(np.float64), kernel, mode="constant") for each in image]
    np.testing.assert_allclose(blurred(image), np.stack(expected), atol=1e-5)


def test_224_steps_of_224_pixels():
    start, end = np.zeros((1, 224, 224), np.float32), np.ones((1, 224, 224), np.float32)
    counts = [int(each.sum()) for each in exchanged(start, end, RNG.normal(size=(224, 224)).astype(np.float32), 224)]
    assert counts == [224 * step for step in range(225)]


def test_what_cannot_be_measured():
    image, map_ = np.ones((1, 3, 3), np.float32), np.ones((3, 3), np.float32)
    predict = logistic(np.ones((1, 3, 3)))
    with pytest.raises(UsageError, match=r"an image of shape \(1, 3, 3\) and a map of \(3, 2\); expected"):
        faithfulness_of(image, map_[:, :2], predict)
    with pytest.raises(UsageError, match="the map is not finite"):
        faithfulness_of(image, map_ * np.nan, predict, 2)
    for steps in (0, 10):
        with pytest.raises(UsageError, match=f"steps is {steps}; expected 1 to 9, the number of pixels"):
            faithfulness_of(image, map_, predict, steps)
    with pytest.raises(UsageError, match="expected scores from 0 to 1, got some from 2 to 2"):
        faithfulness_of(image, map_, lambda images: [2.0 for _ in images], 2)
    for scores in ([], [0.5] * 6, [[0.5]] * 7):
        with pytest.raises(UsageError, match=r"expected 7 scores, got an array of shape \(.*\)"):
            faithfulness_of(image, map_, lambda images, scores=scores: scores, 2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A net with a softmax, the same without, and images."""
    folder = tmp_path_factory.mktemp("faithful")
    net = branches()
    caffemodel.write(folder / "net.caffemodel", prototxt.parse(BRANCHES).message, net.params)
    (folder / "net.prototxt").write_text(BRANCHES)
    (folder / "bare.prototxt").write_text("".join(BRANCHES.splitlines(keepends=True)[:-1]))
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 30, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
    (folder / "truth.txt").write_text("0.png 3\n1.png 0\n2.png 1\n")
    return folder


def run(capsys, folder, *arguments, net="net.prototxt"):
    files = ["--prototxt", folder / net, "--weights", folder / "net.caffemodel", "--input-scale", "0.01"]
    code = main(["score", "--faithfulness", *map(str, [*arguments, *files])])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def by_hand(path, method, index, steps, score):
    """Measure one image with an engine of its own, one masked image after the other."""
    files = {"prototxt": path.parent / "net.prototxt", "weights": path.parent / "net.caffemodel"}
    with load(**files, method=method, input_scale="0.01", options=Options(threads=1)) as cam:
        (_, (image,)) = cam.prepare([path])[0]
        top = cam(path, top=1).top[0].index
        index = top if index is None else index
        small = cam(path, classes=[index]).top[0].feature_maps[0]
    map_ = resize(small, *image.shape[1:])
    engine = engines.make("onnxruntime", branches(), ["fc"], Options(threads=1))

    def probability(image):
        logits = engine.forward({"data": image[None].astype(np.float32)})["fc"][0].astype(np.float64)
        return [float(np.exp(logits[index]) / np.exp(logits).sum())]

    def predict(images):
        return [probability(image)[0] for image in images]

    deletion = directly(image, np.zeros_like(image), map_, predict, steps)
    insertion = directly(blurred(image), image, map_, predict, steps)
    mask = (map_ - map_.min()) / ((map_.max() - map_.min()) or 1)
    return index, deletion, insertion, probability(image * mask)[0]


@pytest.mark.parametrize("net", ["net.prototxt", "bare.prototxt"])
def test_the_command_measures_each_image(net, capsys, folder):
    paths = [folder / f"{number}.png" for number in range(3)]
    methods = ["--method", "cam", "--method", "scorecam"]
    code, out, err = run(capsys, folder, *paths, *methods, "--steps", "7", "--json", net=net)
    assert code == 0
    assert ("the probabilities are the softmax of 'fc'" in err) == (net == "bare.prototxt")
    result = json.loads(out)
    assert (result["images"], result["steps"], result["classes"]) == (3, 7, "best of each image")
    for row, method in zip(result["methods"], ("cam", "scorecam"), strict=True):
        assert (row["method"], row["layer"]) == (method, "last")
        own = [each for each in result["by_image"] if each["method"] == method]
        drop, gain, more, curves = [], [], [], []
        for path, each in zip(paths, own, strict=True):
            index, deletion, insertion, masked = by_hand(path, method, None, 7, "prob")
            assert (each["image"], each["index"]) == (str(path), index)
            assert each["deletion_curve"] == pytest.approx(deletion, abs=1e-5)
            assert each["insertion_curve"] == pytest.approx(insertion, abs=1e-5)
            assert each["masked"] == pytest.approx(masked, abs=1e-5)
            drop.append(100 * max(0, deletion[0] - masked) / deletion[0])
            gain.append(100 * max(0, masked - deletion[0]) / (1 - deletion[0]))
            more.append(100 * (masked > deletion[0]))
            curves.append((area(insertion), area(deletion)))
        expected = [np.mean(drop), np.mean(more), np.mean(gain), *np.mean(curves, axis=0)]
        names = ["average_drop", "increase_in_confidence", "average_gain", "insertion", "deletion"]
        assert [row[name] for name in names] == pytest.approx(expected, abs=1e-3)
        for name in names:
            low, high = row["intervals"][name]
            assert low <= row[name] <= high


def test_the_classes_of_the_ground_truth_and_one_class(capsys, folder):
    paths = [folder / "2.png", folder / "0.png"]
    truth = ["--ground-truth", folder / "truth.txt"]
    code, out, _ = run(capsys, folder, *paths, *truth, "--steps", "3", "--json")
    result = json.loads(out)
    assert code == 0 and result["classes"] == "ground truth"
    assert [each["index"] for each in result["by_image"]] == [1, 3]
    code, out, _ = run(capsys, folder, *paths, "--class", "2", "--steps", "3", "--json")
    assert [each["index"] for each in json.loads(out)["by_image"]] == [2, 2]
    code, out, err = run(capsys, folder, *paths, folder / "missing.png", "--steps", "3", "--method", "cam")
    assert code == 6 and "missing.png" in err and "1 image of 3 could not be read" in err
    assert out.splitlines()[2].split()[:3] == ["cam", "last", "2"] and "insertion" in out
    code, out, _ = run(capsys, folder, folder / "0.png", "--steps", "3")
    assert code == 0 and "95 %" not in out  # one image has no interval
    code, out, _ = run(capsys, folder, folder / "[01].png", "--steps", "3", "--json")
    assert [Path(each["image"]).name for each in json.loads(out)["by_image"]] == ["0.png", "1.png"]


def test_the_labels_of_the_model_number_the_classes_that_the_ground_truth_names(capsys, folder):
    (folder / "names.txt").write_text("dog\nbird\ncat\ncow\n")
    (folder / "named.yaml").write_text(
        "name: named\nprototxt: net.prototxt\nweights: net.caffemodel\nlabels: names.txt\n"
    )
    (folder / "named.csv").write_text("image,x0,y0,x1,y1,label\n0.png,1,1,9,9,cow\n1.png,1,1,9,9,bird\n")
    command = ["score", "--faithfulness", folder / "0.png", folder / "1.png", "--model", folder / "named.yaml"]
    options = ["--ground-truth", folder / "named.csv", "--steps", "3", "--input-scale", "0.01", "--json"]
    assert main([*map(str, command), *map(str, options)]) == 0
    assert [each["index"] for each in json.loads(capsys.readouterr().out)["by_image"]] == [3, 1]


def test_streams_batches_and_progress(folder, monkeypatch):
    paths = [folder / "0.png", folder / "missing.png", folder / "1.png"]
    found = {}
    for streams in (1, 2):
        with load(
            prototxt=folder / "net.prototxt",
            weights=folder / "net.caffemodel",
            method="scorecam",
            options=Options(threads=1, streams=streams),
        ) as cam:
            shares: list[float] = []
            choices = [cam.chooser(1)] * 3
            found[streams] = list(measure_faithfulness(cam, paths, choices, steps=50, progress=shares.append))
            assert sum(shares) == pytest.approx(3)
        monkeypatch.setattr(base, "BATCH_BYTES", 4 * 9000)
    for one, two in zip(found[1], found[2], strict=True):
        if isinstance(one, ImageError):
            assert "missing.png" in str(one) and str(one) == str(two)
            continue
        np.testing.assert_array_equal(one.values.insertion, two.values.insertion)
        np.testing.assert_array_equal(one.values.deletion, two.values.deletion)


def test_an_interrupted_measurement_is_resumed(capsys, folder, tmp_path, monkeypatch):
    """It ends with the same text; what was measured is not measured again, and what has changed is refused."""
    files = [tmp_path / f"{number}.png" for number in range(3)]
    for path in files[:2]:
        path.write_bytes((folder / path.name).read_bytes())
    command = [*files, "--method", "cam", "--method", "scorecam", "--json"]
    resumable = [*command, "--steps", "3", "--out", tmp_path / "run"]
    measured = []

    def faithfulness(*arguments):
        if len(measured) == stop:
            raise KeyboardInterrupt
        measured.append(arguments)
        return faithfulness_of(*arguments)

    monkeypatch.setattr("pycam.evaluation.faithfulness.faithfulness_of", faithfulness)
    stop = 3
    assert run(capsys, folder, *resumable)[0] == 130
    stop = None
    files[2].write_bytes((folder / "2.png").read_bytes())  # before, it could not be read
    code, resumed, err = run(capsys, folder, *resumable)
    assert code == 0 and len(measured) == 6
    assert "resuming cam: 2 of 3 images are done" in err and "resuming scorecam: 1 of 3 images are done" in err
    assert run(capsys, folder, *resumable)[:2] == (0, resumed) and len(measured) == 6
    assert run(capsys, folder, *command, "--steps", "3")[:2] == (0, resumed)
    for more, name in {("--class", "1"): "classes", ("--steps", "4"): "steps", ("--view", "full"): "view"}.items():
        code, _, err = run(capsys, folder, *resumable, *more)
        assert code == RunError.exit_code and f"holds another run, which differs in {name}" in err
    files[0].write_bytes(files[1].read_bytes())
    code, _, err = run(capsys, folder, *resumable)
    assert code == RunError.exit_code and "0.png: has changed since it was evaluated" in err


REFUSED = [
    (["--faithfulness"], "--faithfulness needs images"),
    (
        ["--faithfulness", "0.png", "--maps", "x"],
        "--maps has no effect here: --faithfulness scores the maps of a model",
    ),
    (["--faithfulness", "0.png", "--step", "0.1"], "--step has no effect here"),
    (["0.png", "--ground-truth", "truth.txt", "--baseline", "whole"], "images has no effect here: only --faithfulness"),
    (["--model", "x", "--ground-truth", "truth.txt", "--baseline", "whole"], "--model has no effect here: only"),
    (["--method", "cam", "--ground-truth", "truth.txt", "--baseline", "whole"], "--method has no effect here: only"),
    (["--out", "x", "--baseline", "whole"], "--out has no effect here: only --faithfulness runs a model"),
    (["--steps", "4", "--baseline", "whole"], "--steps has no effect here: only --faithfulness runs a model"),
    (["--baseline", "whole"], "no ground truth is given: give --ground-truth PATH, or --faithfulness and images"),
    (["--faithfulness", "0.png", "--meta", "x"], "--meta has no effect here: no --ground-truth is given"),
    (["--faithfulness", "0.png", "--blacklist", "x"], "--blacklist has no effect here: --faithfulness scores the maps"),
    (
        ["--faithfulness", "0.png", "--ground-truth", "truth.txt", "--class", "1"],
        "--class has no effect here: --ground-truth names",
    ),
    (["--faithfulness", "0.png", "--model", "x", "--method", "lime"], "method is 'lime'; expected one of cam"),
    (["--faithfulness", "0.png", "--view", "ten"], "view 'ten' has 10 crops: faithfulness masks the input of the net"),
    (["--faithfulness", "0.png", "--steps", "1000"], "steps is 1000; expected 1 to 154, the number of pixels of the"),
    (
        ["--faithfulness", "other.png", "--ground-truth", "truth.txt"],
        "other.png: the ground truth does not name this image",
    ),
    (["--faithfulness", "0.png", "--ground-truth", "more.txt"], "0.png: its class in the ground truth is 9, but"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_refused(arguments, message, capsys, folder, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "more.txt").write_text("0.png 9\n")
    files = ["--prototxt", "net.prototxt", "--weights", "net.caffemodel"]
    code = main(["score", *arguments, *(files if "--faithfulness" in arguments and "x" not in arguments else [])])
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    assert message in captured.err and code in (2, 8)
