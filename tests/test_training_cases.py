"""Solvers, lists and nets of the kinds that people train: each ends as in real Caffe, with the same parameters."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pycam.cli import main
from pycam.engines.caffe import find_caffe
from pycam.formats import caffemodel

pytestmark = [pytest.mark.shared, pytest.mark.torch]

LENIENT = {
    "list_crlf": "a list with the line ends of Windows",
    "list_trail": "a list with blanks behind the labels",
    "prefix_dir": "a folder for the snapshots that does not exist yet",
    "win": "a net named with the path of another machine",
}
"""What real Caffe refuses, and pycam takes: it is read without a doubt."""

REFUSED = {
    "crop_larger": r"40×36 is smaller than crop_size 64",
    "data_no_backend": r"LEVELDB is not supported: make an LMDB",
    "grey3mean": r"3 mean_value for an image with 1 channel",
    "list_back": r"list_back.txt:1: no image pics\\cat\\1.png",
    "list_comma": r"list_comma.txt:1: .*pics/cat/1.png,1",
    "list_multi": r"list_multi.txt:1: .*pics/cat/1.png 1",
    "list_tab": r"list_tab.txt:1: ",
    "lr_policy_multifixed": r"lr_policy 'multifixed'",
    "mean_both": r"mean_file and mean_value",
    "mean_both2": r"mean_file and mean_value",
    "prefix_none": r"there is no net: give the net to train once",
    "snapdiff": r"'snapshot_diff' is not supported: remove it",
    "stepsize_missing": r"stepsize",
    "two_means": r"2 mean_value for an image with 3 channels",
}
"""What both refuse, and what pycam says."""


def _results(folder: Path) -> dict[str, int]:
    """Return the exit code of real Caffe for each solver that the results list."""
    text = (folder / "results.txt").read_text()
    return {name: int(code) for name, code in re.findall(r"^== (\S+) \| CAFFE rc=(\d+)", text, re.MULTILINE)}


@pytest.fixture(scope="module")
def place(shared, tmp_path_factory):
    """A copy of the cases, to train in."""
    folder = tmp_path_factory.mktemp("training") / "cases"
    shutil.copytree(shared / "data/cases/08-training", folder)
    (folder / "out").mkdir()
    return folder


def _train(place, monkeypatch, capsys, solver: str, *options: object) -> tuple[int, str]:
    monkeypatch.chdir(place)
    # Drawing takes longer than these trainings.
    monkeypatch.setattr("pycam.training.loop.draw_curves", lambda rows, title: b"")
    code = main(["train", "--solver", solver, "--threads", "1", *map(str, options)])
    said = capsys.readouterr().err
    assert code != 70 and "Traceback" not in said
    return code, said


@pytest.mark.parametrize("case", REFUSED)
def test_refused_as_in_caffe(case, place, monkeypatch, capsys):
    assert _results(place).get(case, 134) == 134
    code, said = _train(place, monkeypatch, capsys, f"{case}_solver.prototxt")
    assert code not in (0, 1, 70)
    assert re.search(REFUSED[case], said), said
    assert len(said.strip().splitlines()) == 1


def test_every_case_has_its_place(place):
    """What Caffe refuses is refused, or listed as read without a doubt."""
    refused = {case for case, code in _results(place).items() if code}
    assert refused <= REFUSED.keys() | LENIENT.keys()


@pytest.mark.parametrize("case", ["list_crlf", "list_trail", "prefix_dir", "win"])
def test_read_without_a_doubt(case, place, monkeypatch, capsys):
    code, _ = _train(place, monkeypatch, capsys, f"{case}_solver.prototxt")
    assert code == 0


def test_names_of_snapshots(place, monkeypatch, capsys):
    """A prefix that is a folder, and none: Caffe takes the name of the solver."""
    code, _ = _train(place, monkeypatch, capsys, "slash_prefix_solver.prototxt")
    assert code == 0 and (place / "out/slash_prefix_solver_iter_3.caffemodel").is_file()
    code, _ = _train(place, monkeypatch, capsys, "nopre_solver.prototxt")
    assert code == 0 and (place / "nopre_solver_iter_3.caffemodel").is_file()


# What Caffe trains. Random crops are Caffe's own, so that only cases without them can end with Caffe's parameters.

SOLVE = """
import os, sys
os.chdir(sys.argv[1])
import caffe
for case in sys.argv[2:]:
    solver = caffe.get_solver("caffe_%s.prototxt" % case)
    solver.net.copy_from("init_%s.caffemodel" % case)
    solver.solve()
    solver.net.save("end_%s.caffemodel" % case)
"""


def _trained(place: Path) -> list[str]:
    cases = {path.name.removesuffix("_solver.prototxt") for path in place.glob("*_solver.prototxt")}
    return sorted(cases - REFUSED.keys() - LENIENT.keys())


@pytest.fixture(scope="module")
def ends_in_caffe(place) -> list[str]:
    """Train in real Caffe the cases that start from given parameters; return them."""
    cases = sorted(path.stem.removeprefix("init_") for path in place.glob("init_*.caffemodel"))
    for case in cases:
        text = (place / f"{case}_solver.prototxt").read_text().replace("out/", "out/caffe_")
        text = re.sub(r"display: \d+", "", text) + "\nsnapshot_after_train: false\n"
        (place / f"caffe_{case}.prototxt").write_text(text)
    command = [*find_caffe(), "-c", SOLVE, str(place), *cases]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-2000:]
    return cases


@pytest.mark.hdf5
def test_trained_as_in_caffe(place, monkeypatch, capsys):
    cases = _trained(place)
    assert len(cases) > 40
    assert {case for case, code in _results(place).items() if code == 0} <= set(cases)
    for case in cases:
        code, said = _train(place, monkeypatch, capsys, f"{case}_solver.prototxt")
        assert code == 0, (case, said)


@pytest.mark.caffe
def test_the_same_parameters_as_caffe(place, ends_in_caffe, monkeypatch, capsys):
    assert len(ends_in_caffe) > 12
    for case in ends_in_caffe:
        start = f"init_{case}.caffemodel"
        code, said = _train(place, monkeypatch, capsys, f"{case}_solver.prototxt", "--weights", start)
        assert code == 0, (case, said)
        (written,) = (name for name in said.split() if name.endswith("_iter_3.caffemodel"))
        ours, theirs = caffemodel.read(written).layers, caffemodel.read(f"end_{case}.caffemodel").layers
        assert ours.keys() == theirs.keys(), case
        for name in theirs:
            for mine, own in zip(ours[name], theirs[name], strict=True):
                np.testing.assert_allclose(
                    mine, own, rtol=0, atol=1e-6 * max(1e-3, np.abs(own).max()), err_msg=f"{case}: {name}"
                )
