"""`pycam heatmap` from end to end: real weights, real images, and everything that can be wrong with them."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from pycam.cli import main
from pycam.formats import prototxt as prototxt_format

MODEL = "squeezenet-v1.0"


@pytest.fixture
def weights(shared: Path) -> Path:
    return shared / "data/weights/squeezenet_v1.0.caffemodel"


@pytest.fixture
def net_text() -> str:
    return (Path(__file__).parents[1] / "prototxt/deploy_squeezenet_v1.0.prototxt").read_text()


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "made.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8))
    return path


def fails(capsys, *arguments: object) -> str:
    """Run pycam, which must fail with one line; give the line."""
    code = main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    lines = [line for line in output.err.splitlines() if not line.startswith("found in the net")]
    assert code not in (0, 70, None)
    assert len(lines) == 1, output.err
    assert "Traceback" not in output.err
    return lines[0]


@pytest.mark.shared
def test_samples_are_classified_as_real_caffe_classifies_them(shared, weights, tmp_path, capsys):
    images = sorted((shared / "data/samples").glob("*.JPEG"))
    assert len(images) == 20
    out = tmp_path / "out"
    assert main(["heatmap", *map(str, images), "--model", MODEL, "--weights", str(weights), "--out", str(out)]) == 0
    first = among = 0
    for image in images:
        folder = out / image.stem
        found = json.loads((folder / f"{image.stem}.json").read_text())
        wnid = image.stem.split("_")[0]
        wnids = [item["wnid"] for item in found["top"]]
        first += wnids[0] == wnid
        among += wnid in wnids
        assert found["view"] == "center"
        assert found["protocol"] == "default"
        assert found["engine"] == "onnxruntime"
        scores = [item["score"] for item in found["top"]]
        assert scores == sorted(scores, reverse=True)
        height, width = cv2.imread(str(image), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION).shape[:2]
        for rank in range(1, 6):
            overlay = cv2.imread(str(folder / f"{image.stem}_{rank}.jpg"))
            assert overlay.shape == (height + 24, width, 3)
        assert cv2.imread(str(folder / f"{image.stem}_strip.jpg")).shape[0] == 280
        assert len(list(folder.iterdir())) == 7
    assert (first, among) == (13, 17)


@pytest.mark.shared
def test_errors_of_whole_images_on_the_mini_set(shared, weights):
    import pycam

    mini = shared / "data/ilsvrc-mini"
    truth = dict(line.split() for line in (mini / "val.txt").read_text().splitlines())
    assert len(truth) == 300
    with pycam.load(MODEL, weights=weights, view="full") as cam:
        images = [mini / "ILSVRC2012_img_val" / name for name in truth]
        best = [prediction.top[0].index for _, prediction in cam.stream(images, top=1, batch=4)]
    wrong = [index != int(label) for index, label in zip(best, truth.values(), strict=True)]
    assert np.mean(wrong) == pytest.approx(0.2800, abs=1 / 300 + 1e-4)


@pytest.mark.shared
def test_chosen_classes_by_every_name(shared, weights, tmp_path, capsys):
    image = shared / "data/samples/n02115913_dhole.JPEG"
    for name in ("n02119022", "277", "red fox"):
        out = tmp_path / name
        assert (
            main(
                [
                    "heatmap",
                    str(image),
                    "-m",
                    MODEL,
                    "--weights",
                    str(weights),
                    "--class",
                    name,
                    "--out",
                    str(out),
                ]
            )
            == 0
        )
        found = json.loads((out / image.stem / f"{image.stem}.json").read_text())
        assert [item["index"] for item in found["top"]] == [277]


@pytest.mark.shared
def test_json_on_stdout_is_the_file(shared, weights, tmp_path, capsys):
    image = shared / "data/samples/cat.jpg"
    arguments = ["-m", MODEL, "--weights", str(weights), "--boxes", "--json", "--out", str(tmp_path)]
    assert main(["heatmap", str(image), *arguments]) == 0
    (printed,) = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "cat/cat.json").read_text())
    rows = list(csv.DictReader((tmp_path / "boxes.csv").read_text().splitlines()))
    assert [row["image"] for row in rows] == [str(image)] * 5
    assert [[int(row[side]) for side in ("x0", "y0", "x1", "y1")] for row in rows] == [
        item["box"] for item in printed["top"]
    ]
    height, width = cv2.imread(str(image)).shape[:2]
    for item in printed["top"]:
        x0, y0, x1, y1 = item["box"]
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height


@pytest.mark.shared
def test_a_net_of_ones_own(weights, net_text, image, tmp_path, capsys):
    """Without a card, the class maps are found from the graph and said."""
    net = tmp_path / "mine.prototxt"
    net.write_text(net_text)
    assert (
        main(
            [
                "heatmap",
                str(image),
                "--prototxt",
                str(net),
                "--weights",
                str(weights),
                "--out",
                str(tmp_path),
            ]
        )
        == 0
    )
    assert "feature blob 'conv10', one channel per class, scores 'prob'" in capsys.readouterr().err


def test_results_are_printed_to_stdout_and_notes_to_stderr(image, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["heatmap", str(image), "--model", "squeezenet-cam-caltech101", "--out", str(out)]
    assert main(command) == 0
    printed = capsys.readouterr()
    top = json.loads((out / "made" / "made.json").read_text())["top"]
    lines = [f"  {item['score']:.4f}  {item['index']:4d}  {item['wnid']} {item['label']}".split() for item in top]
    assert printed.out.splitlines()[0] == str(image)
    assert [line.split() for line in printed.out.splitlines()[1:]] == lines
    notes = printed.err.splitlines()
    assert notes[0].startswith("input: 227×227") and notes[-1].startswith("wrote the heat maps of 1 image to ")
    assert str(image) not in printed.err
    assert main([*command, "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.shared
def test_bad_images_among_good_ones(shared, weights, image, tmp_path, capsys):
    good = shared / "data/samples/cat.jpg"
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    empty = tmp_path / "empty.jpg"
    empty.touch()
    out = tmp_path / "out"
    images = [good, cut, text, image, empty, tmp_path / "missing.jpg"]
    assert main(["heatmap", *map(str, images), "-m", MODEL, "--weights", str(weights), "--out", str(out), "-q"]) == 6
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert all(str(path) in line for path, line in zip([cut, text, empty, images[-1]], lines, strict=False))
    assert "4 images of 6" in lines[-1]
    assert sorted(path.name for path in out.iterdir()) == ["cat", "image-names.csv", "made"]


@pytest.mark.shared
def test_bomb_is_refused_before_it_is_decoded(weights, tmp_path, capsys):
    bomb = tmp_path / "bomb.png"
    done, data = cv2.imencode(".png", np.zeros((20000, 20000), np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    assert done
    bomb.write_bytes(data.tobytes())
    line = fails(capsys, "heatmap", bomb, "-m", MODEL, "--weights", weights, "--out", tmp_path / "out")
    assert "more than 100 million pixels" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.shared
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[: len(text) // 2], "mine.prototxt"),
        (lambda text: "", "empty"),
        (lambda text: text.replace("num_output", "num_outputs", 1), "num_output"),
        (lambda text: "<!DOCTYPE html><html></html>", "web page|HTML"),
        (lambda text: text.replace("kernel_size: 7", "kernel_size: -1"), r"mine.prototxt:\d+"),
        (lambda text: text.replace("kernel_size: 7", "kernel_size: 10000000000"), r"mine.prototxt:\d+"),
        (lambda text: text.replace("kernel_size: 7", "kernel_size: 300"), "layer 'conv1'.* does not fit"),
        (lambda text: text.replace('bottom: "pool1"', 'bottom: "fire9/concat"', 1), "cycle"),
        (lambda text: text.replace('bottom: "pool1"', 'bottom: "poool1"', 1), "did you mean 'pool1'"),
        (lambda text: text.replace('type: "Softmax"', 'type: "Permute"'), "unsupported type 'Permute'"),
    ],
)
def test_bad_nets(change, message, weights, net_text, image, tmp_path, capsys):
    net = tmp_path / "mine.prototxt"
    net.write_text(change(net_text))
    line = fails(capsys, "heatmap", image, "--prototxt", net, "--weights", weights, "--out", tmp_path / "out")
    assert __import__("re").search(message, line), line
    assert not (tmp_path / "out").exists()


@pytest.mark.shared
def test_swapped_and_foreign_weights(weights, net_text, image, tmp_path, capsys):
    net = tmp_path / "mine.prototxt"
    net.write_text(net_text)
    out = ("--out", tmp_path / "out")
    assert "swapped" in fails(capsys, "heatmap", image, "--prototxt", weights, "--weights", weights, *out)
    assert "swapped" in fails(capsys, "heatmap", image, "--prototxt", net, "--weights", net, *out)
    line = fails(capsys, "heatmap", image, "-m", "squeezenet-v1.1", "--weights", weights, *out)
    assert "conv1" in line
    assert "96×3×7×7" in line
    assert "64×3×3×3" in line
    missing = tmp_path / "missing.caffemodel"
    assert str(missing) in fails(capsys, "heatmap", image, "-m", MODEL, "--weights", missing, *out)
    assert not (tmp_path / "out").exists()


@pytest.mark.shared
def test_weights_cut_anywhere(weights, image, tmp_path, capsys):
    data = weights.read_bytes()
    cut = tmp_path / "cut.caffemodel"
    rng = np.random.default_rng(0)
    for length in [0, 1, 2, 10, *rng.integers(10, len(data), 10), len(data) - 1]:
        cut.write_bytes(data[:length])
        assert "cut.caffemodel" in fails(
            capsys, "heatmap", image, "-m", MODEL, "--weights", cut, "--out", tmp_path / "out"
        )
    assert not (tmp_path / "out").exists()


def test_unknown_names_offer_the_nearest(image, capsys):
    assert "googlenet-cam" in fails(capsys, "heatmap", image, "--model", "googlenet-kam")
    assert "default" in fails(capsys, "heatmap", image, "--protocol", "defualt")


@pytest.mark.shared
def test_unknown_class_engine_view(weights, image, capsys):
    model = ("--model", MODEL, "--weights", weights)
    assert "red fox" in fails(capsys, "heatmap", image, *model, "--class", "red foxx")
    assert "onnxruntime" in fails(capsys, "heatmap", image, *model, "--engine", "onnxruntim")
    assert "center, full, ten" in fails(capsys, "heatmap", image, *model, "--view", "side")
    assert "top is 1001" in fails(capsys, "heatmap", image, *model, "--top", "1001")


def test_missing_weights_say_where_they_are(image, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("PYCAM_MODELS", str(tmp_path))
    monkeypatch.setenv("PYCAM_CACHE", str(tmp_path))
    line = fails(capsys, "heatmap", image, "--model", "googlenet-cam")
    assert "imagenet_googlenetCAM_train_iter_120000.caffemodel" in line
    assert "pycam models download googlenet-cam" in line


@pytest.mark.shared
def test_equal_stems_get_folders_of_their_own(weights, image, tmp_path):
    other = tmp_path / "sub"
    other.mkdir()
    shutil.copy(image, other / "made.png")
    out = tmp_path / "out"
    arguments = ["-m", MODEL, "--weights", str(weights), "--out", str(out), "--top", "1", "-q"]
    assert main(["heatmap", str(image), str(other / "made.png"), *arguments]) == 0
    assert sorted(str(path.relative_to(out)) for path in out.glob("*/*.json")) == [
        "made-2/made.json",
        "made/made.json",
    ]


def test_the_command_prints_one_line_and_no_traceback(tmp_path):
    command = [
        sys.executable,
        "-m",
        "pycam",
        "heatmap",
        str(tmp_path / "no.jpg"),
        "--model",
        "nothing-like-it",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 5
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("pycam: no model")


def test_written_net_reads_back_equal(net_text):
    message = prototxt_format.parse(net_text).message
    assert prototxt_format.parse(prototxt_format.dumps(message)).message == message


def test_a_model_without_maps_is_refused_before_its_weights_are_asked_for(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PYCAM_CACHE", str(tmp_path))
    assert main(["heatmap", "fox.jpg", "--model", "vgg16"]) == 4
    assert "vgg16 has no class activation maps" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["heatmap", "fox.jpg"], 2, "give a model (squeezenet-cam-caltech101 comes with pycam, `pycam models list`"),
        (["heatmap"], 2, "; as in `pycam heatmap fox.jpg --model "),
        (["models", "path"], 2, "; as in `pycam models path googlenet-cam "),
        (["nonsense"], 2, "No such command 'nonsense'"),
    ],
)
def test_a_command_that_lacks_something_says_what(arguments, code, told, capsys):
    assert main(arguments) == code
    line = capsys.readouterr().err
    assert told in line and line.count("\n") == 1
