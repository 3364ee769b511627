"""Training from end to end on made images, and everything that can be wrong with what it is given."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from nets import data, layer
from PIL import Image

from pycam.cli import main
from pycam.errors import PycamError, TrainingError
from pycam.formats import caffemodel, prototxt, schema
from pycam.formats.files import locked
from pycam.net import net_from_message, read_net
from pycam.training.fillers import fill
from pycam.training.log import Log, Row, read_rows
from pycam.training.solver import read_solver

pytestmark = pytest.mark.torch
with suppress(ImportError):  # without PyTorch, the marker skips every test
    import torch

    from pycam.training.loop import train

SOLVER = """
net: "net.prototxt"
test_iter: 2 test_interval: 5
base_lr: 0.05 lr_policy: "step" gamma: 0.5 stepsize: 4 momentum: 0.9 weight_decay: 0.001
max_iter: 10 display: 2 snapshot: 3 snapshot_prefix: "%s/out/tiny"
solver_mode: CPU random_seed: 7
"""
NET = """
name: "tiny"
layer { name: "data" type: "ImageData" top: "data" top: "label" include { phase: TRAIN }
  transform_param { mirror: true crop_size: 16 mean_value: 100 mean_value: 110 mean_value: 120 scale: 0.01 }
  image_data_param { source: "train.txt" root_folder: "images/" batch_size: 5 shuffle: true } }
layer { name: "data" type: "ImageData" top: "data" top: "label" include { phase: TEST }
  transform_param { crop_size: 16 mean_value: 100 mean_value: 110 mean_value: 120 scale: 0.01 }
  image_data_param { source: "train.txt" root_folder: "images/" batch_size: 6 } }
layer { name: "conv.1" type: "Convolution" bottom: "data" top: "conv.1"
  convolution_param { num_output: 4 kernel_size: 5 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv.1" top: "conv.1" }
layer { name: "pool" type: "Pooling" bottom: "conv.1" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "drop" type: "Dropout" bottom: "pool" top: "pool" dropout_param { dropout_ratio: 0.3 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc"
  inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
"""
LOSS = """
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" include { phase: TEST } }
"""


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A solver, its net, and twelve images of which every other one has a bright spot."""
    rng = np.random.default_rng(0)
    lines = []
    for number in range(12):
        folder = tmp_path / "images" / ("plain", "spot")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(80, 140, (20, 22, 3), np.uint8)
        if number % 2:
            cv2.circle(pixels, (11, 10), 5, (255, 255, 255), -1)
        cv2.imwrite(str(folder / f"{number}.png"), pixels)
        lines.append(f"{folder.name}/{number}.png {number % 2}\n")
    (tmp_path / "train.txt").write_text("".join(lines))
    (tmp_path / "net.prototxt").write_text(NET + LOSS)
    (tmp_path / "solver.prototxt").write_text(SOLVER % tmp_path)
    return tmp_path


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def fully(outputs: int, rest: str = "") -> str:
    return layer("InnerProduct", "f", "data", params=f"inner_product_param {{ num_output: {outputs} }} {rest}")


def read_text(text: str):
    """Read a solver that has these fields, too."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "solver.prototxt")
        path.write_text(f'net: "net.prototxt" base_lr: 1 max_iter: 100 gamma: 0.5 {text}')
        return read_solver(path)


def trained(place: Path, **options) -> Path:
    return train(read_solver(place / "solver.prototxt"), **options)


def test_what_a_training_leaves(place, capsys):
    before = torch.random.get_rng_state()
    assert main(["train", "--solver", str(place / "solver.prototxt")]) == 0
    assert torch.equal(torch.random.get_rng_state(), before)
    out = place / "out"
    names = {f"tiny_iter_{n}.{kind}" for n in (3, 6, 9, 10) for kind in ("caffemodel", "solverstate")}
    assert {path.name for path in out.iterdir()} == {*names, "tiny_curves.png", "tiny_log.csv"}
    printed = capsys.readouterr().err
    assert "iteration 8, lr 0.0125, loss" in printed
    assert f"wrote {out}/tiny_iter_10.caffemodel" in printed

    rows = read_rows(out / "tiny_log.csv")
    assert [row.iteration for row in rows] == [0, 2, 4, 5, 6, 8, 10]
    assert [row.lr for row in rows] == [0.05, 0.05, 0.025, 0.025, 0.025, 0.0125, 0.0125]
    assert [row.iteration for row in rows if row.tests] == [0, 5, 10]
    assert rows[-1].loss is not None
    assert set(rows[0].tests) == {"loss", "accuracy"}
    assert rows[-1].tests["loss"] < rows[0].tests["loss"]
    with Image.open(out / "tiny_curves.png") as curves:
        assert np.asarray(curves).std() > 5

    weights = caffemodel.read(out / "tiny_iter_10.caffemodel")
    assert {name: [b.shape for b in blobs] for name, blobs in weights.layers.items()} == {
        "conv.1": [(4, 3, 5, 5), (4,)],
        "fc": [(2, 4), (2,)],
    }


def test_nothing_is_trained_without_max_iter(place, capsys):
    change(place / "solver.prototxt", "max_iter: 10", "")
    change(place / "solver.prototxt", "snapshot: 3", "")
    assert main(["train", "--solver", str(place / "solver.prototxt")]) == 0
    assert "max_iter is 0, or absent: as in Caffe, nothing is trained" in capsys.readouterr().err
    assert (place / "out/tiny_iter_0.solverstate").is_file()
    (row,) = read_rows(place / "out/tiny_log.csv")
    assert (row.iteration, set(row.tests)) == (0, {"loss", "accuracy"})
    assert row.loss is not None


def test_several_tests_of_nets_inside_the_solver(place, capsys):
    """Each test has its own net, or state, and number of batches."""
    text = (place / "net.prototxt").read_text()
    only = 'include { phase: TEST stage: "%s" }'
    layers = text[text.index('layer { name: "accuracy"') :]
    split = layers.replace("include { phase: TEST }", only % "first") + layers.replace(
        "include { phase: TEST }", "accuracy_param { top_k: 2 } " + only % "second"
    ).replace('top: "accuracy"', 'top: "accuracy" top: "each"')
    (place / "net.prototxt").write_text(text.replace(layers, split))
    nets = f'net_param {{ {(place / "net.prototxt").read_text()} }} test_net: "whole.prototxt"'
    (place / "whole.prototxt").write_text(text)
    change(place / "solver.prototxt", 'net: "net.prototxt"', nets)
    states = 'test_state { } test_state { stage: "first" } test_state { stage: "second" }'
    change(place / "solver.prototxt", "test_iter: 2", f"test_iter: 2 test_iter: 1 test_iter: 4 {states}")
    trained(place)
    rows = read_rows(place / "out/tiny_log.csv")
    columns = {"#0 loss", "#0 accuracy", "#1 loss", "#1 accuracy"}
    assert set(rows[0].tests) == {*columns, "#2 loss", "#2 accuracy", "#2 each[0]", "#2 each[1]"}
    assert rows[-1].tests["#2 each[1]"] == 1
    assert rows[-1].tests["#0 loss"] == pytest.approx(rows[-1].tests["#2 loss"], rel=1e-5), (
        "the images of 2 and 4 batches"
    )


def test_what_would_have_no_effect_is_refused(place, capsys):
    solver = place / "solver.prototxt"
    arguments = ["train", "--solver", str(solver)]
    assert main([*arguments, "--weights", "a.caffemodel", "--resume", "b.solverstate"]) == 2
    assert "weights have no effect together with b.solverstate" in capsys.readouterr().err
    solver.write_text(SOLVER.replace("test_iter: 2 test_interval: 5", "") % place)
    assert main([*arguments, "--test-data", "test.txt"]) == 2
    assert "test data have no effect: " in capsys.readouterr().err


def test_killed_and_resumed_is_as_if_never_killed(place):
    whole = trained(place)
    expected, log = whole.read_bytes(), (whole.parent / "tiny_log.csv").read_bytes()
    for path in whole.parent.iterdir():
        path.unlink()
    program = (
        "import os, sys; from pycam.engines import Options\n"
        "from pycam.training.loop import train; from pycam.training.solver import read_solver\n"
        "kill = lambda row: row.iteration == 7 and os.kill(os.getpid(), 9)\n"
        "train(read_solver(sys.argv[1]), options=Options(threads=1), tell=kill)"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(place / "solver.prototxt")], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert not whole.exists()
    assert trained(place, resume=whole.with_name("tiny_iter_6.solverstate")) == whole
    assert whole.read_bytes() == expected
    assert (whole.parent / "tiny_log.csv").read_bytes() == log


@pytest.mark.hdf5
@pytest.mark.parametrize("kind", ['type: "Adam" momentum2: 0.99', "iter_size: 2 snapshot_format: HDF5"])
def test_resuming_with_more_to_remember(kind, place):
    with (place / "solver.prototxt").open("a") as file:
        file.write(kind)
    expected = trained(place).read_bytes()
    state = place / f"out/tiny_iter_6.solverstate{'.h5' * ('HDF5' in kind)}"
    assert trained(place, resume=state).read_bytes() == expected


def test_a_state_of_another_solver_is_refused(place):
    trained(place)
    change(place / "solver.prototxt", "max_iter", 'type: "Adam" max_iter')
    with pytest.raises(TrainingError, match="belongs to another net or another type of solver"):
        trained(place, resume=place / "out/tiny_iter_6.solverstate")


def test_the_same_seed_trains_the_same_and_another_seed_another(place):
    first = trained(place).read_bytes()
    assert trained(place).read_bytes() == first
    change(place / "solver.prototxt", "random_seed: 7", "random_seed: 8")
    assert trained(place).read_bytes() != first


def test_beginning_with_weights(place):
    first = trained(place)
    params = caffemodel.read(first).layers
    change(place / "solver.prototxt", "base_lr: 0.05", "base_lr: 0")
    change(place / "solver.prototxt", "tiny", "still")
    again = caffemodel.read(trained(place, weights=[first])).layers
    np.testing.assert_array_equal(again["conv.1"][0], params["conv.1"][0])
    # A new head begins with its filler.
    change(place / "net.prototxt", '"fc"', '"fc_2"')
    renewed = caffemodel.read(trained(place, weights=[first])).layers
    np.testing.assert_array_equal(renewed["conv.1"][0], params["conv.1"][0])
    assert np.abs(renewed["fc_2"][0]).max() > 0
    change(place / "net.prototxt", "kernel_size: 5", "kernel_size: 3")
    with pytest.raises(Exception, match=r"tiny_iter_10\.caffemodel: layer 'conv\.1'.* has weights of 4×3×5×5"):
        trained(place, weights=[first])
    change(place / "net.prototxt", '"conv.1"', '"other"')
    with pytest.raises(TrainingError, match="no layer of net 'tiny' is in it"):
        trained(place, weights=[first])


@pytest.mark.caffe
def test_real_caffe_scores_alike_with_what_was_trained(place, tmp_path):
    from pycam import engines

    deploy = tmp_path / "deploy.prototxt"
    body = NET[NET.index('layer { name: "conv.1"') :]
    deploy.write_text(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 16 dim: 16 } } }'
        f'{body} layer {{ name: "prob" type: "Softmax" bottom: "fc" top: "prob" }}'
    )
    net = read_net(deploy, trained(place))
    images = np.random.default_rng(1).normal(0, 1, (4, 3, 16, 16)).astype(np.float32)
    scores = []
    for name in ("caffe", "torch"):
        with engines.make(name, net, ["prob", "fc"]) as engine:
            scores.append(engine.forward({"data": images}))
    for blob in ("prob", "fc"):
        np.testing.assert_allclose(scores[0][blob], scores[1][blob], atol=2e-5)


@pytest.mark.caffe
@pytest.mark.caffe_root
def test_real_caffe_goes_on_from_our_state(place):
    from pycam.engines.caffe import find_caffe

    start = find_caffe()[0]
    # Without chance, both must go the same way.
    for old, new in (("shuffle: true", ""), ("mirror: true", ""), ("dropout_ratio: 0.3", "dropout_ratio: 0")):
        change(place / "net.prototxt", old, new)
    change(place / "net.prototxt", "crop_size: 16", "")
    change(place / "net.prototxt", 'root_folder: "images/"', f'root_folder: "{place}/images/"')
    change(place / "net.prototxt", "batch_size: 5", "batch_size: 12")  # each batch is all there is
    mine = trained(place)
    expected = caffemodel.read(mine).layers
    mine.unlink()
    run = subprocess.run(
        [start, "caffe", "train", "--solver=solver.prototxt", "--snapshot=out/tiny_iter_6.solverstate"],
        cwd=place,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    for name, blobs in caffemodel.read(mine).layers.items():
        for theirs, own in zip(blobs, expected[name], strict=True):
            np.testing.assert_allclose(own, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max())


def test_a_folder_in_place_of_a_list(place):
    (place / "train.txt").unlink()
    trained(place, data=place / "images", test_data=place / "images")


def test_a_list_in_place_of_a_database(place):
    text = (place / "net.prototxt").read_text()
    for old in (
        'source: "train.txt" root_folder: "images/" batch_size: 5 shuffle: true',
        'source: "train.txt" root_folder: "images/" batch_size: 6',
    ):
        size = old.split("batch_size: ")[1].split()[0]
        text = text.replace(
            f"image_data_param {{ {old} }}", f'data_param {{ source: "db" backend: LMDB batch_size: {size} }}'
        )
    (place / "net.prototxt").write_text(text.replace('"ImageData"', '"Data"'))
    with pytest.raises(TrainingError, match=r"layer 'data' \(TRAIN\): no database .*db: .* with --data"):
        trained(place)
    moved = place / "images/list.txt"
    moved.write_text((place / "train.txt").read_text())
    trained(place, data=moved, test_data=moved)


def test_diverging_stops_and_keeps_the_last_snapshot(place, capsys):
    trained(place)
    good = (place / "out/tiny_iter_3.caffemodel").read_bytes()
    change(place / "solver.prototxt", 'lr_policy: "step"', 'lr_policy: "multistep" stepvalue: 4')
    change(place / "solver.prototxt", "gamma: 0.5", "gamma: 1e30")
    for path in (place / "out").iterdir():
        path.unlink()
    assert main(["train", "--solver", str(place / "solver.prototxt"), "-q"]) == 9
    assert "pycam: iteration 5: the loss is nan, training diverged" in capsys.readouterr().err
    assert (place / "out/tiny_iter_3.caffemodel").read_bytes() == good
    assert not (place / "out/tiny_iter_6.caffemodel").exists()


def test_a_full_disk_leaves_the_older_snapshot(place, monkeypatch):
    trained(place)
    kept = {path.name: path.read_bytes() for path in (place / "out").glob("*_iter_*")}
    replace = os.replace

    def full(self, target):
        if "_iter_" in str(target):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(TrainingError, match=r"snapshot of iteration 3 could not be written \(No space left"):
        trained(place)
    assert {path.name: path.read_bytes() for path in (place / "out").glob("*_iter_*")} == kept
    assert not list((place / "out").glob(".*"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("max_iter: 10", 'max_iter: 10 regularization_type: "L0"', "regularization_type 'L0': there are L2, L1"),
        ("base_lr: 0.05", "", "has no base_lr"),
        ('"step"', '"steps"', "lr_policy 'steps': there are fixed, step"),
        ('"step"', '"multifixed"', "'multifixed' is of a fork of Caffe: write multistep"),
        ("stepsize: 4", "", "stepsize 0 with lr_policy step: expected 1 or more"),
        ('"step"', '"sigmoid" stepsize: 0 #', "stepsize 0 with lr_policy sigmoid: expected 1 or more"),
        ("gamma: 0.5", "gamma: -1", "gamma -1: expected 0 or more"),
        ("base_lr: 0.05", "base_lr: nan", "base_lr nan: expected a finite number"),
        ('"step" gamma: 0.5', '"exp" gamma: 1e38', "learning rate of iteration 9 cannot be computed"),
        ("max_iter", 'type: "sgd" max_iter', "type 'sgd': there are SGD, Nesterov"),
        ("max_iter", 'type: "AdaGrad" max_iter', "type AdaGrad has no momentum .*: remove it"),
        ("max_iter", "solver_type: RMSPROP max_iter", "type RMSProp has no momentum .*: remove it"),
        ("momentum: 0.9", 'type: "RMSProp" rms_decay: 1', "rms_decay 1: expected 0 or more, and less than 1"),
        ("max_iter", 'type: "SGD" solver_type: ADAM max_iter', "has `type` and its old name `solver_type`"),
        ("max_iter", "iter_size: 0 max_iter", "iter_size 0: expected 1 or more"),
        (
            "max_iter",
            "clip_norm: 3 max_iter",
            r"prototxt:5:1: unknown field 'clip_norm': in Caffe 1.0 it is clip_gradients",
        ),
        (
            "max_iter",
            "warmup_iter: 9 max_iter",
            "'warmup_iter': .* train the first iterations with a solver of their own",
        ),
        ("max_iter", 'eval_type: "detection" max_iter', "'eval_type': .* measures detections: remove it"),
        ("max_iter", "iter_sze: 2 max_iter", "unknown field 'iter_sze': did you mean 'iter_size'"),
        ("max_iter", "speed: 2 max_iter", "'speed': no solver of Caffe 1.0 has it: .* remove it only if"),
        ("max_iter", "snapshot_diff: true max_iter", "'snapshot_diff' is not supported: remove it"),
        ('net: "net.prototxt"', "", "there is no net: give the net to train once"),
        ('net: "net.prototxt"', 'net: "lost.prototxt"', "its net lost.prototxt is neither"),
        ('net: "net.prototxt"', 'net: "a" net_param { }', "there is net and net_param: give the net to train once"),
        (
            'net: "net.prototxt"',
            'train_net: "net.prototxt"',
            "1 test_iter for 0 test nets .*: give one test_iter for each",
        ),
        ("test_iter: 2", 'test_net: "a" test_net: "b" test_iter: 2', "1 test_iter for 2 test nets"),
        ("test_iter: 2", "test_iter: 0", "test_iter 0: expected 1 or more"),
        ("test_interval: 5", "", "test_interval 0 with test_iter: expected 1 or more"),
        (
            "test_iter: 2",
            'test_iter: 2 test_iter: 1 test_state { stage: "a" }',
            "1 test_state for 2 tests .*: give one per",
        ),
    ],
)
def test_a_solver_that_cannot_be_followed(old, new, message, place):
    change(place / "solver.prototxt", old, new)
    with pytest.raises(PycamError, match=message):
        trained(place)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("plain/4.png 0", "plain/44.png 0", r"train\.txt:5: no image .*plain/44\.png"),
        ("plain/4.png 0", "plain/4.png 2", r"train\.txt:5: label 2, but layer 'loss' has 2 classes, 0 to 1"),
        ("plain/4.png 0", "plain/4.png -1", r"train\.txt:5: label -1"),
        ("plain/4.png 0", "plain/4.png 12345678901", r"train\.txt:5: label '12345678901' has more than 9 digits"),
    ],
)
def test_a_list_with_a_mistake(old, new, message, place):
    change(place / "train.txt", old, new)
    with pytest.raises(TrainingError, match=message):
        trained(place)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("crop_size: 16", "crop_size: 40", "an image of 22×20 is smaller than crop_size 40"),
        ("mean_value: 100 mean_value: 110 mean_value: 120", 'mean_file: "lost.npy"', "lost.npy"),
        (
            'type: "xavier"',
            'type: "of_a_fork"',
            r"layer 'conv\.1': filler 'of_a_fork' is not supported: there are constant",
        ),
        ('"SoftmaxWithLoss"', '"Accuracy"', "it has no loss: add a layer of type SoftmaxWithLoss"),
        ("include { phase: TRAIN }", "include { phase: TEST stage: 'x' }", "no data layer in phase TRAIN"),
    ],
)
def test_a_net_that_cannot_be_trained(old, new, message, place):
    change(place / "net.prototxt", old, new)
    with pytest.raises(Exception, match=message):
        trained(place)


def test_inputs_that_no_data_fill_are_refused(place):
    more = 'layer { name: "more" type: "Input" top: "more" input_param { shape { dim: 2 dim: 3 } } }'
    change(place / "net.prototxt", 'layer { name: "loss"', more + 'layer { name: "loss"')
    with pytest.raises(
        TrainingError, match="nothing fills its input 'more' in training: only layers of the types Data"
    ):
        trained(place)


@pytest.mark.parametrize(
    ("named", "prefix"),
    [
        ("", "%s/solver"),
        ('snapshot_prefix: ""', ""),
        ('snapshot_prefix: "out/tiny"', "out/tiny"),
        ('snapshot_prefix: "images"', "images/solver"),
        ('snapshot_prefix: "images/"', "images/solver"),
        ('snapshot_prefix: "."', "solver"),
    ],
)
def test_names_of_snapshots_are_caffes(named, prefix, place, monkeypatch):
    monkeypatch.chdir(place)
    change(place / "solver.prototxt", f'snapshot_prefix: "{place}/out/tiny"', named)
    solver = read_solver(place / "solver.prototxt")
    expected = prefix % place if "%" in prefix else prefix
    assert solver.file("_iter_3.caffemodel") == Path(f"{expected}_iter_3.caffemodel")


def test_steps_are_those_that_caffe_stores():
    solver = read_text('lr_policy: "multistep" stepvalue: 3 stepvalue: 3 stepvalue: 1 stepvalue: 9')
    # One step per iteration, in the order of the values.
    assert [solver.step(t) for t in (0, 2, 3, 4, 5, 8, 9, 50)] == [0, 0, 1, 2, 3, 3, 4, 4]
    assert read_text('lr_policy: "step" stepsize: 4').step(9) == 2
    assert read_text('lr_policy: "fixed"').step(9) == 0


def test_weights_and_states_that_are_mixed_up(place):
    weights = trained(place)
    state = weights.with_suffix(".solverstate")
    with pytest.raises(TrainingError, match=rf"these are weights, .*give --resume the solverstate, {state}, which is"):
        trained(place, resume=weights)
    with pytest.raises(
        TrainingError, match=r"state of a solver: .*--resume, or give --weights .*, tiny_iter_10\.caffe"
    ):
        trained(place, weights=[state])
    state.unlink()
    with pytest.raises(TrainingError, match="give --resume the solverstate, or start a new training from them with"):
        trained(place, resume=weights)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (fully(3, "param { } " * 3), "'f' has 3 `param`, but the layer has only 2 parameters: remove the rest"),
        (
            layer("ReLU", "f", "data", params="param { lr_mult: 0 }"),
            "'f' has 1 `param`, but the layer has no parameters",
        ),
        (layer("BatchNorm", "f", "data", params="param { lr_mult: 1 }"), "'f': .* are statistics: set lr_mult: 0"),
        (
            fully(2) + layer("Accuracy", "a", "f label", params="loss_weight: 1"),
            "'a': .* this Accuracy, which has no gradient: remove its loss_weight",
        ),
        (
            fully(1) + layer("SoftmaxWithLoss", "l", "data f"),
            "'l': its labels 'f' cannot get a gradient: set propagate_down: true for its first bottom",
        ),
        (
            fully(2) + layer("HingeLoss", "l", "f label", params="propagate_down: true propagate_down: true"),
            "'l': its labels 'label' cannot get a gradient",
        ),
        (fully(1), "it has no loss: add a layer of type SoftmaxWithLoss"),
    ],
)
def test_a_net_that_caffe_cannot_train_either(body, message):
    from pycam.training.learner import Learner

    text = data(4, 3) + data(4, name="label") + body
    if "loss" not in body.lower():
        text += layer("EuclideanLoss", "loss", "f data") if "no loss" not in message else ""
    net = net_from_message(prototxt.parse(text).message, phase="TRAIN")
    with pytest.raises(TrainingError, match=message):
        Learner(net.with_params(fill(net)), read_text('lr_policy: "fixed"'))


def test_a_net_with_nothing_to_learn_has_a_loss():
    from pycam.training.learner import Learner

    text = data(4, 3) + layer("Power", "p", "data", params="power_param { power: 2 } loss_weight: 0.5")
    net = net_from_message(prototxt.parse(text).message, phase="TRAIN")
    learner = Learner(net, read_text('lr_policy: "fixed"'))
    assert learner.step([{"data": np.full((4, 3), 2, np.float32)}], 0) == 0.5 * 12 * 4


def test_a_damaged_image_and_a_damaged_state(place):
    trained(place)
    state = place / "out/tiny_iter_6.solverstate"
    (place / "out/tiny_iter_6.caffemodel").unlink()
    with pytest.raises(TrainingError, match=r"its caffemodel tiny_iter_6\.caffemodel is not beside it"):
        trained(place, resume=state)
    state.write_bytes(b"\xff\xff")
    with pytest.raises(TrainingError, match="not a solverstate, or a damaged one"):
        trained(place, resume=state)
    (place / "images/plain/4.png").write_bytes(b"\x89PNG")
    with pytest.raises(Exception, match=r"plain/4\.png"):
        trained(place)


def test_a_training_without_snapshots(place, capsys):
    change(place / "solver.prototxt", "snapshot: 3", "snapshot_after_train: false")
    assert trained(place) is None
    assert {path.name for path in (place / "out").iterdir()} == {"tiny_curves.png", "tiny_log.csv"}
    assert main(["train", "--solver", str(place / "solver.prototxt"), "--precision", "fp8"]) == 2
    assert "precision 'fp8': there are fp32, bf16" in capsys.readouterr().err


def test_a_csv_that_is_no_log_is_left_alone(place):
    trained(place)
    log = place / "out/tiny_log.csv"
    log.write_text("when,what\n1,2\n")
    with pytest.raises(TrainingError, match=r"tiny_log\.csv: not the log of a training"):
        trained(place, resume=place / "out/tiny_iter_6.solverstate")
    assert log.read_text() == "when,what\n1,2\n"


def test_a_new_training_keeps_the_log_of_the_earlier_one(tmp_path):
    path = tmp_path / "net_log.csv"
    for _ in range(3):
        Log(path, []).add(Row(1, 0.1, 2.0))
    Log(path, [], resumed=2)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["net_log-1.csv", "net_log-2.csv", "net_log.csv"]
    assert all(read_rows(each) == [Row(1, 0.1, 2.0)] for each in tmp_path.iterdir())


def test_caffes_own_state_is_read(tmp_path):
    from pycam.training.snapshots import read_state

    net = schema.NetParameter(name="n", layer=[schema.LayerParameter(name="fc", type="InnerProduct")])
    caffemodel.write(tmp_path / "n_iter_5.caffemodel", net, {"fc": [np.ones((2, 3), np.float32)]})
    state = schema.SolverState(iter=5, learned_net="/elsewhere/n_iter_5.caffemodel", current_step=1)
    state.history.add(shape={"dim": [2, 3]}, data=range(6))
    path = tmp_path / "n_iter_5.solverstate"
    path.write_bytes(state.SerializeToString())
    found = read_state(path)
    assert found.iteration == 5
    np.testing.assert_array_equal(found.history[0], np.arange(6).reshape(2, 3))
    np.testing.assert_array_equal(found.weights.layers["fc"][0], np.ones((2, 3)))


def test_two_trainings_with_one_prefix(place):
    (place / "out").mkdir()
    lock = place / "out/tiny.lock"
    with locked(lock), pytest.raises(TrainingError, match=r"tiny\.lock: another training has this snapshot_prefix"):
        trained(place)
    lock.touch()  # as a kill leaves it
    trained(place)
    assert not lock.exists()


@pytest.mark.hdf5
@pytest.mark.parametrize("kind", ["", "snapshot_format: HDF5"])
def test_a_state_knows_its_weights(kind, place):
    change(place / "solver.prototxt", "solver_mode: CPU", f"solver_mode: CPU {kind}")
    last = trained(place)
    state = last.with_name(last.name.replace("caffemodel", "solverstate"))
    earlier = last.with_name(last.name.replace("10", "9"))
    assert trained(place, resume=state) == last
    last.write_bytes(earlier.read_bytes())
    with pytest.raises(TrainingError, match=rf"{last.name} is not the caffemodel of this state: it has changed since"):
        trained(place, resume=state)
