"""Bad files, given to the command in a process: one line on stderr, the right exit code, little memory."""

from __future__ import annotations

import json
import math
import os
import pickle
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from corpus import CAFFEMODEL, CONV, MEAN_BLOB, NET, WSOL, XML
from PIL import Image
from runs import errors, made_report

import pycam
from pycam.cli import main
from pycam.errors import GroundTruthError, RunError, UsageError
from pycam.evaluation.plan import Plan
from pycam.formats import schema

MODEL = ["--model", "squeezenet-cam-caltech101"]
MEMORY = 200 << 20
SOURCES = {"images": ".", "ground_truth": "."}
PROGRAM = """
import sys

def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM"))

import cv2, defusedxml.sax, onnxruntime, scipy.io
from PIL import Image
from pycam.cli import main
before = peak()
code = main(sys.argv[1:])
print("peak", peak() - before)
sys.exit(code)
"""

Made = Callable[[Path], object]


def run(folder: Path, *arguments: str) -> tuple[int, str, int]:
    """Run the command in a folder; return its exit code, its stderr, and its peak memory."""
    packages = str(Path(pycam.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        capture_output=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": packages, "PYCAM_CACHE": str(folder / "cache"), "PYCAM_MODELS": ""},
        timeout=600,
    )
    return done.returncode, done.stderr.decode(), int(done.stdout.split()[-1])


def written(**files: bytes) -> Made:
    """Make files; `__` in a name is a dot."""
    return lambda folder: [(folder / name.replace("__", ".")).write_bytes(data) for name, data in files.items()]


def png_of_389_kb(folder: Path) -> None:
    _, data = cv2.imencode(".png", np.zeros((20000, 20000), np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    (folder / "bomb.png").write_bytes(data.tobytes())
    assert (folder / "bomb.png").stat().st_size < 400_000


def many_zeros(folder: Path) -> None:
    with (folder / "zeros").open("wb") as file:
        file.truncate(1 << 28)


def npy(header: str, content: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header.encode() + content


def annotation(folder: Path) -> None:
    (folder / "truth").mkdir()
    bomb = b'<!DOCTYPE a [<!ENTITY a "aaaa">' + b"".join(
        b'<!ENTITY %s "%s">' % (bytes([98 + i]), b"&%s;" % bytes([97 + i]) * 10) for i in range(12)
    )
    (folder / "truth/a.xml").write_bytes(bomb + b"]><annotation>&m;</annotation>")
    (folder / "boxes.txt").write_bytes(b"449 1 2 3 4\n")


def wsol(folder: Path) -> None:
    (folder / "truth").mkdir()
    for name, content in {**WSOL, "localization.txt": b"val/a.JPEG,1,2,30,400\n"}.items():
        (folder / "truth" / name).write_bytes(content)


def map_of_objects(folder: Path) -> None:
    wsol(folder)
    (folder / "truth/localization.txt").write_bytes(WSOL["localization.txt"])
    np.save(folder / "a.npy", np.array([[None]]), allow_pickle=True)
    np.save(folder / "b.npy", np.zeros((3, 3)))


def run_of_garbage(folder: Path) -> None:
    (folder / "run").mkdir()
    for name in ("plan.json", "report.json", "run.sqlite"):
        (folder / "run" / name).write_bytes(b"\x00garbage" * 99)


def card(folder: Path) -> None:
    (folder / "mine.yaml").write_text("name: mine\nprototxt: net.prototxt\nweights: a.caffemodel\nlabels: labels.txt\n")
    (folder / "net.prototxt").write_bytes(NET.replace(b"dim: 9", b"dim: 8"))
    (folder / "a.caffemodel").write_bytes(CAFFEMODEL)
    (folder / "labels.txt").write_bytes(b"tench\n\xff\xfe\n")
    Image.new("RGB", (9, 9)).save(folder / "a.png")


def not_a_number() -> bytes:
    bad = schema.LayerParameter()
    bad.CopyFrom(CONV)
    bad.blobs[1].data[0] = np.nan
    return schema.NetParameter(name="bad", layer=[bad]).SerializeToString()


PICKLE = npy("{'descr': '|O', 'fortran_order': False, 'shape': ()}\n", pickle.dumps(os.getcwd, 2))
TERABYTES = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 1000000, 330000)}\n", bytes(99))
GOOD_IMAGE = cv2.imencode(".png", np.zeros((9, 9, 3), np.uint8))[1].tobytes()
LAYERS = b'layer { name: "a" type: "ReLU" bottom: "b" top: "b" }\n' * 150_000
HEATMAP = ["heatmap", *MODEL, "--out", "out"]
SCORE = ["score", "--predictions", "boxes.txt", "--ground-truth", "truth"]
SHOW = ["net", "show", "net.prototxt", "a.caffemodel"]

CASES: dict[str, tuple[Made, list[str], int, str]] = {
    "a web page for a net": (written(net__prototxt=b"<!DOCTYPE html>"), SHOW[:3], 3, "net.prototxt: .*web page"),
    "150,000 layers": (written(net__prototxt=LAYERS), SHOW[:3], 3, "net.prototxt:10001:7: more than 10,000 layers"),
    "zeros for a net": (many_zeros, ["net", "show", "zeros"], 3, "zeros: .*nothing but zeros"),
    "zeros for weights": (
        lambda folder: (many_zeros(folder), written(net__prototxt=NET)(folder)),
        ["net", "show", "net.prototxt", "zeros"],
        3,
        "zeros: .*nothing but zeros",
    ),
    "swapped": (written(net__prototxt=CAFFEMODEL, a__caffemodel=NET), SHOW, 3, "net.prototxt: .*swapped"),
    "weights alone": (
        written(a__caffemodel=CAFFEMODEL),
        ["net", "show", "a.caffemodel"],
        3,
        "a.caffemodel: expected a prototxt, found Caffe weights: give the prototxt of the net; its weights come after",
    ),
    "a mean for weights": (written(net__prototxt=NET, a__caffemodel=MEAN_BLOB), SHOW, 3, "a.caffemodel: .*swapped"),
    "weights cut off": (written(net__prototxt=NET, a__caffemodel=CAFFEMODEL[:-3]), SHOW, 3, "a.caffemodel: byte"),
    "weights that are no numbers": (
        written(net__prototxt=NET, a__caffemodel=not_a_number()),
        SHOW,
        4,
        "a.caffemodel: layer 'conv' has 1 weights that are infinite or not a number: .*--allow-nonfinite",
    ),
    "weights for a mean": (
        written(mean__npy=CAFFEMODEL, a__png=GOOD_IMAGE),
        [*HEATMAP, "--mean", "mean.npy", "a.png"],
        3,
        "mean.npy: expected a mean file, found Caffe weights: were two files swapped",
    ),
    "a pickle for a mean": (
        written(mean__npy=PICKLE, a__png=GOOD_IMAGE),
        [*HEATMAP, "--mean", "mean.npy", "a.png"],
        3,
        "mean.npy: .*a pickle, which could run any code",
    ),
    "3.6 TiB of a mean": (
        written(mean__npy=TERABYTES, a__png=GOOD_IMAGE),
        [*HEATMAP, "--mean", "mean.npy", "a.png"],
        3,
        "mean.npy: not a readable .npy",
    ),
    "a pickle for weights": (
        written(w__npy=PICKLE),
        ["net", "import", "w.npy", "--out", "w.caffemodel"],
        3,
        "w.npy: its pickle asks for .*getcwd: not run",
    ),
    "an image of 400 million pixels": (png_of_389_kb, [*HEATMAP, "bomb.png"], 6, "bomb.png: .*make it smaller"),
    "zeros for an image": (many_zeros, [*HEATMAP, "zeros"], 6, "zeros: nothing but zeros, not an image"),
    "EPS": (written(a__jpg=b"%!PS-Adobe-3.0 EPSF-3.0\n"), [*HEATMAP, "a.jpg"], 6, "a.jpg: not an image"),
    "a pipe": (
        lambda folder: os.mkfifo(folder / "a.jpg"),
        [*HEATMAP, "a.jpg"],
        6,
        "a.jpg: expected an image, found a pipe",
    ),
    "a dangling link": (
        lambda folder: (folder / "a.jpg").symlink_to("b"),
        [*HEATMAP, "a.jpg"],
        6,
        "a.jpg: .*a link to b, which",
    ),
    "a folder": (lambda folder: (folder / "a.jpg").mkdir(), [*HEATMAP, "a.jpg"], 2, "a.jpg: no images in it"),
    "a name of two lines": (lambda folder: (folder / "a\nb").touch(), [*HEATMAP, "a\nb"], 6, r"a\\nb: .*an empty file"),
    "a name with a dash": (written(**{"-a": b""}), [*HEATMAP, "--", "-a"], 6, "-a: .*an empty file"),
    "an entity bomb": (annotation, SCORE, 8, r"truth/a.xml:1: refused \(EntitiesForbidden\)"),
    "a box outside of its image": (
        wsol,
        ["score", "--baseline", "center", "--ground-truth", "truth"],
        8,
        "truth/localization.txt:1: .*outside",
    ),
    "a map of objects": (map_of_objects, ["score", "--maps", ".", "--ground-truth", "truth"], 8, "a.npy: .*a pickle"),
    "a submission of something else": (
        lambda folder: (many_zeros(folder), written(list__txt=b"449\n")(folder)),
        ["score", "--predictions", "zeros", "--ground-truth", "list.txt"],
        8,
        "zeros:1: a line of 10,000 characters",
    ),
    "a card of garbage": (
        written(mine__yaml=b"name: [" * 99),
        ["models", "show", "mine.yaml"],
        3,
        "mine.yaml.*: expected a model card in YAML",
    ),
    "labels in another encoding": (card, ["heatmap", "-m", "mine.yaml", "a.png"], 3, "labels.txt:2:1: .*UTF-8"),
    "blobs of garbage": (
        written(net__prototxt=NET, a__caffemodel=CAFFEMODEL, x__npz=b"PK\x03\x04" * 99),
        ["compare", "x.npz", "x.npz", "--prototxt", "net.prototxt", "--weights", "a.caffemodel"],
        3,
        "x.npz: not a file of blobs",
    ),
    "a run of garbage": (run_of_garbage, ["report", "tables", "run"], 10, "run: not the folder of a finished run"),
    "a viewer of garbage": (
        run_of_garbage,
        ["report", "html", "run", "--out", "out"],
        10,
        "run: not the folder of a run",
    ),
}


@pytest.mark.linux
@pytest.mark.parametrize(("make", "command", "code", "message"), CASES.values(), ids=CASES)
def test_one_line_the_right_exit_code_and_little_memory(make: Made, command, code, message, tmp_path: Path):
    make(tmp_path)
    size = sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file())
    found, stderr, peak = run(tmp_path, *command)
    assert found == code, stderr
    lines = [line for line in stderr.splitlines() if not line.startswith("found in the net")]
    assert len(lines) == 1, stderr
    assert re.match(f"pycam: {message}", lines[0]), lines[0]
    assert peak < 3 * size + MEMORY
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "3",
        '{"identity": 1}',
        '{"identity": {}, "overrides": 3, "protocol": "paper"}',
        "\xff",
        "[" * 100_000,
        " " * (8 << 20) + "{}",
        json.dumps(made_report("mine", images="many")),
        json.dumps(made_report("mine", images=-1)),
        json.dumps(made_report("mine", images=2**63 - 1)),
        json.dumps(made_report("mine", notes=[3])),
        json.dumps(made_report("mine", gt_known_error=1.5)),
        json.dumps(made_report("mine", whole_image_gt_known_error=float("nan"))),
        json.dumps(made_report("mine", whole_image_gt_known_error=0.5)).replace("0.5", "1e999"),
        json.dumps({**made_report("mine"), "submissions": {"bbox1": errors(0.5, 0.4)}}),
    ],
    ids=range(15),
)
def test_reports_of_runs_that_are_none(text, tmp_path: Path, capsys):
    (tmp_path / "report.json").write_text(text)
    assert main(["report", "tables", str(tmp_path)]) == 10
    assert re.match(
        r"pycam: .*(report\.json: not the report of a run|not the folder of a finished run \(report\.json: )",
        capsys.readouterr().err,
    )


@pytest.mark.parametrize(
    "plan",
    [
        [],
        {"recipe": [], "sources": {}, "batch": 1},
        {"recipe": {"protocol": 3, "options": {}}, "sources": {}, "batch": 1},
        {"recipe": {"protocol": {}, "options": {}}, "sources": {"images": 3, "ground_truth": 4}, "batch": 1},
        {
            "recipe": {"protocol": {"name": "paper"}, "options": {}},
            "sources": {"images": 3, "ground_truth": "."},
            "batch": 1,
        },
        {"recipe": {"protocol": {"name": "paper", "view": "?"}, "options": {}}, "sources": SOURCES, "batch": 1},
        {"recipe": {"protocol": {"name": "paper"}, "options": {"threads": "2"}}, "sources": SOURCES, "batch": 1},
        {"recipe": {"protocol": {"name": "paper"}, "options": {}, "color": "red"}, "sources": SOURCES, "batch": 1},
        {"recipe": {"protocol": {"name": "paper"}, "options": {}}, "sources": SOURCES, "batch": 0},
        {"recipe": {"protocol": {"name": "paper"}, "options": {}}, "sources": SOURCES, "batch": 1.5},
        {"recipe": {"protocol": {"name": "paper"}, "options": {}}, "sources": SOURCES, "batch": math.inf},
        {"recipe": {"protocol": {"name": "paper"}, "options": {}}, "sources": {**SOURCES, "limit": 0}, "batch": 1},
    ],
)
def test_plans_of_runs_that_are_none(plan, tmp_path: Path):
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(RunError, match=r"not the folder of a run \(plan\.json: "):
        Plan.restore(tmp_path)


@pytest.mark.parametrize("name", ["x", "x" * 300, "\0"])
def test_what_a_plan_names_must_be_there(name, tmp_path: Path):
    (tmp_path / "a.xml").write_bytes(XML)
    for sources, kind in (
        ({"images": name, "ground_truth": str(tmp_path)}, UsageError),
        ({"images": str(tmp_path), "ground_truth": name}, GroundTruthError),
    ):
        plan = {"recipe": {"protocol": {"name": "paper"}, "options": {}}, "sources": sources, "batch": 1}
        (tmp_path / "plan.json").write_text(json.dumps(plan))
        with pytest.raises(kind, match=r"plan\.json: an input of the run has changed: (x|\\x00)+: no such f"):
            Plan.restore(tmp_path)


def test_out_of_memory_is_one_line(capsys):
    def enlarge(*arguments, **options) -> None:
        cv2.resize(np.zeros((9, 9)), (1 << 21, 1 << 21))

    assert main([], enlarge) == 1
    assert re.fullmatch(r"pycam: out of memory: try a smaller batch .*\n", capsys.readouterr().err)


@pytest.mark.torch
def test_a_net_for_a_solver(tmp_path: Path):
    written(net__prototxt=NET)(tmp_path)
    code, stderr, _ = run(tmp_path, "train", "--solver", "net.prototxt")
    assert (code, len(stderr.splitlines())) == (3, 1), stderr
    assert "this is a net, give its solver" in stderr


def test_weights_that_are_not_finite_can_be_shown(tmp_path: Path):
    written(net__prototxt=NET, a__caffemodel=not_a_number())(tmp_path)
    assert run(tmp_path, *SHOW, "--allow-nonfinite")[:2] == (0, "")
