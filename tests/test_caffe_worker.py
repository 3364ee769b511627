"""The process with Caffe: what it computes, and that whatever goes wrong is one line and no hang."""

from __future__ import annotations

import gc
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from caffe_trainer import CaffeTrainer

from pycam.engines import caffe_worker
from pycam.engines.base import Options
from pycam.engines.caffe import CaffeEngine, CaffeProcess, find_caffe
from pycam.errors import EngineError
from pycam.formats import caffemodel, prototxt
from pycam.net import net_from_message, read_net

# A pycaffe that chats on standard output and whose nets are what to do when they run; its version is its pid.
FAKE_PYCAFFE = """
import os, sys, time
import numpy as np
os.write(1, b"chatter\\n")
TEST, __version__ = 1, str(os.getpid())

class Blob:
    def __init__(self): self.data = np.zeros(1, np.float32)
    def reshape(self, *shape): self.data = np.zeros(shape, np.float32)

class Layer:
    type = "Input"

class Net:
    def __init__(self, path, phase):
        self.text = open(path).read()
        self.blobs, self.params, self.layers = {"data": Blob()}, {}, [Layer()]
        self._layer_names, self._blob_names = ["data"], ["data"]
    def _top_ids(self, layer): return [0]
    def reshape(self): pass
    def _forward(self, start, end):
        os.write(1, b"chatter\\n")
        exec(self.text)
"""

CONV = b"""
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 dim: 3 dim: 3 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 3 kernel_size: 1 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "also" type: "Power" bottom: "conv" top: "also" power_param { scale: 2 } }
"""
RNG = np.random.default_rng(3)
WEIGHTS = {"conv": [RNG.normal(size=(3, 2, 1, 1)).astype(np.float32), RNG.normal(size=3).astype(np.float32)]}


def conv_by_definition(x):
    weight, bias = WEIGHTS["conv"]
    return np.einsum("ok,nkhw->nohw", weight[:, :, 0, 0], x) + bias[:, None, None]


@pytest.fixture
def program(tmp_path):
    """Write a Python program that stands where a Python with pycaffe should; give the command."""

    def write(body: str) -> list[str]:
        path = tmp_path / "program.py"
        path.write_text(body)
        return [sys.executable, str(path)]

    return write


@pytest.fixture
def fake(tmp_path, monkeypatch):
    """Start Caffe's process with the fake pycaffe, a net loaded that does `body` when it runs."""
    (tmp_path / "caffe.py").write_text(FAKE_PYCAFFE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    started = []

    def start(body: str = "pass", *, timeout: float | None = None, **options) -> CaffeProcess:
        started.append(CaffeProcess([sys.executable], **options))
        started[-1].load(body.encode(), "net.prototxt")
        if timeout:  # not before: a busy machine may need as long to load
            started[-1]._timeout = timeout
        return started[-1]

    yield start
    for process in started:
        process.close()


@pytest.fixture
def caffe():
    """Start real Caffe."""
    with CaffeTrainer(threads=1) as process:
        yield process


def run_data(process: CaffeProcess, value: float = 1) -> np.ndarray:
    return process.forward({"data": np.full((2, 3), value, np.float32)}, ["data"])["data"]


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def is_soon_gone(pid: int) -> bool:
    end = time.monotonic() + 60
    while is_alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not is_alive(pid)


# What is started is no pycaffe


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("print('hello\\nthere')", "it prints 'hello there' instead of an answer"),
        ("while True: print('hello')", "it prints 'hello.*' instead of an answer"),
        ("import os\nwhile True: os.write(1, os.read(0, 4096))", "it prints its own input"),
        (
            "import sys; sys.exit('no such image\\n')",
            "ended with exit code 1 while starting with .*: no such image",
        ),
        ("import os; os.abort()", "was ended by a signal .Aborted. while starting"),
        ("", "ended with exit code 0 while starting"),
    ],
)
def test_what_is_no_pycaffe_is_one_line(program, body, said):
    with pytest.raises(EngineError, match=said) as caught:
        CaffeProcess(program(body))
    assert str(caught.value).endswith("; PYCAM_CAFFE must start a Python that has pycaffe")
    assert "\n" not in str(caught.value)


def test_what_has_gone_before_it_was_asked_is_still_read(monkeypatch):
    def send_late(*message):
        time.sleep(0.5)
        send(*message)

    send = caffe_worker.send
    monkeypatch.setattr(caffe_worker, "send", send_late)
    with pytest.raises(EngineError, match="it prints 'hello' instead of an answer"):
        CaffeProcess(["sh", "-c", "echo hello"])


@pytest.mark.parametrize("said", ["", "pycam"])
def test_what_never_answers_is_killed_with_all_that_it_started(tmp_path, said):
    pid_file = tmp_path / "pid"
    script = f"printf '{said}'; sh -c 'echo $$ > {pid_file}; exec sleep 1000'; true"
    seconds = 1
    while not pid_file.exists() or not pid_file.read_text():  # a busy machine starts nothing in a second
        with pytest.raises(EngineError, match=rf"gave no answer in {seconds} s while starting .*; PYCAM_CAFFE must"):
            CaffeProcess(["sh", "-c", script], start_timeout=seconds)
        seconds *= 2
    assert is_soon_gone(int(pid_file.read_text()))


def test_a_command_that_is_not_there():
    with pytest.raises(EngineError, match="could not be started with 'no-such-caffe -x': No such file"):
        CaffeProcess(["no-such-caffe", "-x"])


def test_a_python_without_caffe(tmp_path, monkeypatch):
    (tmp_path / "caffe.py").write_text("raise ImportError('libboost_python.so: cannot open')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(EngineError, match=r"failed while starting with .*: ImportError: libboost_python.so: cannot"):
        CaffeProcess([sys.executable])


def test_the_command_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("PYCAM_CAFFE", "docker run -i --rm 'an image' python")
    assert find_caffe() == ["docker", "run", "-i", "--rm", "an image", "python"]

    monkeypatch.setenv("PYCAM_CAFFE", "docker 'run")
    with pytest.raises(EngineError, match=r"PYCAM_CAFFE=.* is not a command: No closing quotation"):
        find_caffe()

    monkeypatch.delenv("PYCAM_CAFFE")
    monkeypatch.delenv("PYCAM_CAFFE_ROOT", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(EngineError, match=r"there is no .*/pycam/caffe-root/start; run `make caffe-root`"):
        find_caffe()
    start = tmp_path / "pycam" / "caffe-root" / "start"
    start.parent.mkdir(parents=True)
    start.touch()
    assert find_caffe() == [str(start), "python3.9"]

    monkeypatch.setenv("PYCAM_CAFFE_ROOT", str(tmp_path / "elsewhere"))
    with pytest.raises(EngineError, match=r"there is no .*/elsewhere/start"):
        find_caffe()


# It goes wrong on the way


def test_output_of_caffe_disturbs_no_answer(fake):
    flood = "os.write(2, b'x' * 3000000)"  # far more than a pipe holds
    process = fake(flood)
    for value in (1, 2):
        assert (run_data(process, value) == value).all()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("os.kill(os.getpid(), 9)", r"was ended by a signal \(Killed\) while computing 'data'"),
        ("time.sleep(1000)", "gave no answer in 1 s while computing 'data'"),
        ("os.kill(os.getpid(), 19)", "gave no answer in 1 s while computing 'data'"),
        (
            "sys.stderr.write('warning: old\\nout of memory\\n\\n'); os._exit(3)",
            "exit code 3 .*: out of memory",
        ),
        (
            "sys.stderr.write('''I1121 10:00:00.000000 77 net.cpp:80] Creating\n"
            "F1121 10:00:00.123456 77 relu.cpp:12] Check failed: a == b (1 vs. 2) wrong shape\n"
            "*** Check failure stack trace: ***\n    @     0x7f  (unknown)\n'''); os.abort()",
            r"\(Aborted\) while computing 'data': Check failed: a == b \(1 vs. 2\) wrong shape$",
        ),
    ],
)
def test_an_end_in_mid_forward_is_one_line_now_and_later(fake, body, said):
    process = fake(body, timeout=1 if "in 1 s" in said else None)
    for _ in range(2):
        with pytest.raises(EngineError, match=said) as caught:
            run_data(process)
        assert "\n" not in str(caught.value)
    assert not is_alive(int(process.versions["caffe"]))


def test_a_worker_that_reads_nothing_does_not_block_the_sender(fake):
    process = fake("os.kill(os.getpid(), 19)", timeout=1)
    with pytest.raises(EngineError, match="gave no answer in 1 s"):
        process.forward({"data": np.zeros(10_000_000, np.float32)}, ["data"])


def test_an_error_of_pythons_leaves_caffe_usable(fake):
    process = fake("if self.blobs['data'].data.max() > 5: raise RuntimeError('too\\nmuch')")
    with pytest.raises(EngineError, match=r"failed while computing 'data': RuntimeError: too much$"):
        run_data(process, 6)
    with pytest.raises(EngineError, match="ValueError: the net has no blob date"):
        process.forward({}, ["date"])
    with pytest.raises(EngineError, match="ValueError: the net has no layer date"):
        process.forward_tops({}, [("date", 0, "data")])
    assert (run_data(process, 4) == 4).all()


def test_an_interrupt_ends_caffe_rather_than_mixing_up_answers(fake, monkeypatch):
    process = fake()

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pycam.engines.caffe_worker.receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_data(process)
    with pytest.raises(EngineError, match="Caffe was closed"):
        run_data(process)


def test_threads_reach_the_blas_before_it_is_loaded(fake):
    body = "self.blobs['data'].data[:] = float(os.environ['OPENBLAS_NUM_THREADS'])"
    assert (run_data(fake(body, threads=3)) == 3).all()


# Nothing is left behind


def test_close_leaves_no_process(fake):
    process = fake()
    pid = int(process.versions["caffe"])
    assert is_alive(pid)
    process.close()
    process.close()
    assert not is_alive(pid)  # a zombie would count as alive
    with pytest.raises(EngineError, match="Caffe was closed"):
        run_data(process)


def test_a_forgotten_one_leaves_no_process(tmp_path, monkeypatch):
    (tmp_path / "caffe.py").write_text(FAKE_PYCAFFE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    process = CaffeProcess([sys.executable])
    pid = int(process.versions["caffe"])
    del process
    gc.collect()
    assert not is_alive(pid)


@pytest.mark.parametrize("end", ["", "os.kill(os.getpid(), 9)"])
def test_caffe_ends_with_the_process_that_made_it(tmp_path, end):
    (tmp_path / "caffe.py").write_text(FAKE_PYCAFFE)
    script = f"""
import os, sys
from pycam.engines.caffe import CaffeProcess
process = CaffeProcess([sys.executable])
print(process.versions["caffe"], flush=True)
{end}
"""
    paths = f"{tmp_path}{os.pathsep}{Path(__file__).parents[1]}"
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.stderr == ""
    assert is_soon_gone(int(run.stdout))


def test_a_fork_neither_uses_nor_ends_its_parents_caffe(tmp_path):
    (tmp_path / "caffe.py").write_text(FAKE_PYCAFFE)
    script = """
import os, sys, warnings
import numpy as np
from pycam.engines.caffe import CaffeProcess
from pycam.errors import EngineError
warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads
process = CaffeProcess([sys.executable])
process.load(b"pass", "net.prototxt")
child = os.fork()
if child == 0:
    try:
        process.forward({"data": np.ones(1)}, ["data"])
    except EngineError as error:
        print(error, flush=True)
    sys.exit()
os.waitpid(child, 0)
print(process.forward({"data": np.ones(1)}, ["data"])["data"])
"""
    paths = f"{tmp_path}{os.pathsep}{Path(__file__).parents[1]}"
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert run.stderr == ""
    childs, parents = run.stdout.splitlines()
    assert "this Caffe belongs to process" in childs
    assert parents == "[1.]"


# Real Caffe


@pytest.mark.caffe
def test_the_structure_is_caffes_own(caffe):
    caffe.load(CONV, "conv")
    structure = caffe.describe()
    kinds = ["Input", "Convolution", "ReLU", "Split", "Pooling", "Power"]
    assert [kind for _, kind, _ in structure.layers] == kinds
    assert structure.layers[4] == ("pool", "Pooling", ["pool"])
    assert structure.blobs["pool"] == (1, 3, 2, 2)
    assert structure.params == {"conv": [(3, 2, 1, 1), (3,)]}


@pytest.mark.caffe
def test_values_in_the_end_and_before_in_place_layers(caffe):
    caffe.load(CONV, "conv")
    caffe.set_params(WEIGHTS)
    for batch in (1, 3, 1):
        x = RNG.normal(size=(batch, 2, 3, 3)).astype(np.float32)
        expected = conv_by_definition(x)
        blobs = caffe.forward({"data": x}, ["conv", "also", "data"])
        np.testing.assert_allclose(blobs["conv"], expected.clip(0), atol=1e-5)
        np.testing.assert_allclose(blobs["also"], 2 * expected.clip(0), atol=1e-5)
        np.testing.assert_array_equal(blobs["data"], x)
        also, raw, end = caffe.forward_tops(
            {"data": x}, [("also", 0, "also"), ("conv", 0, "conv"), ("relu", 0, "conv")]
        )
        np.testing.assert_allclose(raw, expected, atol=1e-5)
        np.testing.assert_array_equal(end, blobs["conv"])
        np.testing.assert_array_equal(also, blobs["also"])
        assert {value.dtype for value in (raw, end, also)} == {np.dtype(np.float32)}


@pytest.mark.caffe
def test_parameters_there_and_back(caffe):
    caffe.load(CONV, "conv")
    caffe.set_params(WEIGHTS)
    for mine, theirs in zip(WEIGHTS["conv"], caffe.get_params()["conv"], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    with pytest.raises(EngineError, match=r"parameter 1 of conv has shape \(3,\) in Caffe, not \(1,\)"):
        caffe.set_params({"conv": [WEIGHTS["conv"][0], np.zeros(1, np.float32)]})
    with pytest.raises(EngineError, match="the net has no parameter 0 of relu"):
        caffe.set_params({"relu": [np.zeros(1, np.float32)]})


@pytest.mark.caffe
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (CONV.replace(b'bottom: "data"', b'bottom: "date"'), r"Unknown bottom blob 'date' \(layer 'conv'"),
        (CONV.replace(b"num_output", b"num_outputs"), 'parsing .* 4:34: .* has no field named "num_outputs"'),
        (CONV.replace(b'"Power"', b'"Powder"'), "Unknown layer type: Powder"),
    ],
)
def test_a_net_on_which_caffe_aborts(caffe, text, said):
    with pytest.raises(EngineError, match=rf"Aborted.* while building the net bad\.prototxt: .*{said}") as caught:
        caffe.load(text, "bad.prototxt")
    assert "\n" not in str(caught.value)


@pytest.mark.caffe
def test_weights_on_which_caffe_aborts(caffe):
    caffe.load(CONV, "conv")
    with pytest.raises(EngineError, match=r"while reading the weights bad\.caffemodel: .* Failed to parse"):
        caffe.load_weights(b"rubbish", "bad.caffemodel")


@pytest.mark.caffe
def test_an_input_on_which_caffe_aborts(caffe):
    full = CONV.replace(b'"Convolution"', b'"InnerProduct"').replace(b"convolution_param", b"inner_product_param")
    full = full.replace(b" kernel_size: 1", b"")
    caffe.load(full.partition(b'layer { name: "pool"')[0], "full")
    with pytest.raises(EngineError, match=r"while computing 'conv': Check failed: .* Input size incompatible"):
        caffe.forward({"data": np.zeros((1, 2, 4, 4), np.float32)}, ["conv"])


SOLVER = b"""
base_lr: 0.1 lr_policy: "step" gamma: 0.5 stepsize: 2 momentum: 0.9 weight_decay: 0.01 iter_size: %d
"""
REGRESSION = b"""
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc"
  inner_product_param { num_output: 2 bias_term: false } }
layer { name: "loss" type: "EuclideanLoss" bottom: "fc" bottom: "target" top: "loss" }
"""


@pytest.mark.caffe
def test_training_steps_follow_the_definition_of_sgd(caffe):
    inputs = b"""
        layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 } } }
        layer { name: "target" type: "Input" top: "target" input_param { shape { dim: 4 dim: 2 } } }"""
    caffe.load_solver(SOLVER % 1, inputs + REGRESSION, "regression")
    assert caffe.describe().params == {"fc": [(2, 3)]}
    w, history = RNG.normal(size=(2, 3)), np.zeros((2, 3))
    caffe.set_params({"fc": [w.astype(np.float32)]})
    for iteration in range(5):
        x, y = RNG.normal(size=(4, 3)), RNG.normal(size=(4, 2))
        residual = x @ w.T - y
        gradient = residual.T @ x / 4 + 0.01 * w
        history = 0.9 * history + 0.1 * 0.5 ** (iteration // 2) * gradient
        w = w - history
        loss = caffe.step({"data": x, "target": y}, ["loss"])["loss"]
        assert loss == pytest.approx((residual**2).sum() / 8, rel=1e-5)
        np.testing.assert_allclose(caffe.get_params()["fc"][0], w, rtol=1e-5, atol=1e-6)


@pytest.mark.caffe
def test_a_training_step_over_several_passes(caffe):
    inputs = b"""
        layer { name: "data" type: "MemoryData" top: "data" top: "target"
          memory_data_param { batch_size: 2 channels: 3 height: 1 width: 1 } }"""
    net = inputs + REGRESSION.replace(b"num_output: 2", b"num_output: 1")
    caffe.load_solver(SOLVER % 3, net, "regression")
    w = RNG.normal(size=(1, 3))
    caffe.set_params({"fc": [w.astype(np.float32)]})
    x, y = RNG.normal(size=(6, 3)), RNG.normal(size=(6, 1))
    caffe.step({"data": x[:, :, None, None], "target": y[:, :, None, None]}, ["loss"])
    gradient = (x @ w.T - y).T @ x / 6 + 0.01 * w
    np.testing.assert_allclose(caffe.get_params()["fc"][0], w - 0.1 * gradient, rtol=1e-5, atol=1e-6)


# The engine


@pytest.fixture
def files(tmp_path):
    """Write the net, with its input in the old way, and its weights."""
    text, weights = tmp_path / "net.prototxt", tmp_path / "net.caffemodel"
    text.write_bytes(b'input: "data"\ninput_dim: 10 input_dim: 2 input_dim: 3 input_dim: 3\n' + CONV.split(b"\n", 2)[2])
    caffemodel.write(weights, prototxt.read(text).message, WEIGHTS)
    return text, weights


def check_conv(engine: CaffeEngine) -> None:
    x = RNG.normal(size=(2, 2, 3, 3)).astype(np.float32)
    values = engine.forward({"data": x})
    assert list(values) == ["conv", "conv@conv", "data"]
    np.testing.assert_allclose(values["conv@conv"], conv_by_definition(x), atol=1e-5)
    np.testing.assert_array_equal(values["conv"], values["conv@conv"].clip(0))
    np.testing.assert_array_equal(values["data"], x)


@pytest.mark.caffe
def test_the_engine_runs_the_users_files(files):
    with CaffeEngine(read_net(*files), ["conv", "conv@conv", "data"], Options(threads=1)) as engine:
        check_conv(engine)
        assert engine.description == "Caffe 1.0.0, cpu, fp32"


@pytest.mark.caffe
def test_the_engine_says_what_is_not_the_users_own(files):
    only_text = read_net(files[0]).with_params(WEIGHTS)
    with CaffeEngine(only_text, ["conv", "conv@conv", "data"]) as engine:
        check_conv(engine)
        assert engine.description.endswith("weights written by pycam")

    made = net_from_message(prototxt.parse(CONV.decode()).message).with_params(WEIGHTS)
    with CaffeEngine(made, ["conv", "conv@conv", "data"]) as engine:
        check_conv(engine)
        assert engine.description.endswith("net and weights written by pycam")


@pytest.mark.caffe
def test_the_engine_runs_the_weights_that_the_net_has_now(files):
    changed = read_net(*files).with_params({"conv": [2 * array for array in WEIGHTS["conv"]]})
    x = RNG.normal(size=(1, 2, 3, 3)).astype(np.float32)
    with CaffeEngine(changed, ["conv@conv"]) as engine:
        value = engine.forward({"data": x})["conv@conv"]
    np.testing.assert_allclose(value, 2 * conv_by_definition(x), atol=1e-5)


@pytest.mark.caffe
def test_files_that_are_gone(files):
    net = read_net(*files)
    files[1].unlink()
    with pytest.raises(EngineError, match=r"net\.caffemodel cannot be read for Caffe: No such file"):
        CaffeEngine(net, ["conv"])


def test_the_engine_is_for_the_cpu(files):
    with pytest.raises(EngineError, match="engine 'caffe' runs on the CPU, not on 'cuda'"):
        CaffeEngine(read_net(*files), ["conv"], Options(device="cuda"))


# The folder that `make caffe-root` makes

MAKE_ROOT = Path(__file__).parents[1] / "docker" / "caffe" / "make-root.sh"


def make_root(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(MAKE_ROOT), str(folder)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_a_folder_of_others_is_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    run = make_root(tmp_path)
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1
    assert "is not empty and was not made by this script" in run.stderr
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_missing_root_rights_are_named(tmp_path):
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    run = make_root(tmp_path / "root", PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1
    assert "needs root rights, this once: sudo" in run.stderr
    assert not (tmp_path / "root").exists()


@pytest.mark.caffe
@pytest.mark.caffe_root
def test_a_finished_folder_is_left_as_it_is():
    start = Path(find_caffe()[0])
    before = start.stat()
    run = make_root(start.parent)
    assert run.stdout == f"Caffe is ready in {start.parent}\n"
    assert start.stat() == before
    assert shlex.split(run.stderr) == []
