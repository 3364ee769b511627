"""Solvers, lists and nets of the kinds that people train: each ends as in real Caffe, with the same parameters."""

from __future__ import annotations

import os
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

NEEDS = {"h5": pytest.mark.hdf5, "h5snap": pytest.mark.hdf5}

REFUSED = {
    "crop_larger": r"40×36 is smaller than crop_size 64",
    "data_no_backend": r"LEVELDB .*use LMDB",
    "grey3mean": r"3 mean_value for an image with 1 channel",
    "list_back": r"list_back.txt:1: no image pics\\cat\\1.png",
    "list_comma": r"list_comma.txt:1: .*pics/cat/1.png,1",
    "list_multi": r"list_multi.txt:1: .*pics/cat/1.png 1",
    "list_tab": r"list_tab.txt:1: ",
    "lr_policy_multifixed": r"lr_policy 'multifixed'",
    "mean_both": r"mean_file and mean_value",
    "mean_both2": r"mean_file and mean_value",
    "prefix_none": r"`net`",
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


# Of the cases that Caffe trains, those without random numbers of its own: the same parameters from the same start.

SOLVE = """
import os, sys
os.chdir(sys.argv[1])
import caffe
for case in sys.argv[2:]:
    solver = caffe.get_solver("caffe_%s.prototxt" % case)
    solver.net.copy_from("start_%s.caffemodel" % case)
    solver.solve()
    solver.net.save("end_%s.caffemodel" % case)
"""


def _accepted(place: Path) -> list[str]:
    cases = {path.name.removesuffix("_solver.prototxt") for path in place.glob("*_solver.prototxt")}
    other = {"slash_prefix", "nopre", "res"}  # tested by their names
    return sorted(cases - REFUSED.keys() - LENIENT.keys() - other)


@pytest.fixture(scope="module")
def starts(place):
    """Write the initial parameters of each case; return the cases."""
    from pycam.training.fillers import fill
    from pycam.training.nets import open_net
    from pycam.training.solver import read_solver

    before = Path.cwd()
    os.chdir(place)
    try:
        cases = _accepted(place)
        for case in cases:
            start = place / f"start_{case}.caffemodel"
            given = place / f"init_{case}.caffemodel"
            if given.is_file():
                shutil.copy(given, start)
                continue
            net = open_net(read_solver(f"{case}_solver.prototxt"), "TRAIN").net
            caffemodel.write(start, net.message, fill(net, 1))
    finally:
        os.chdir(before)
    return cases


@pytest.fixture(scope="module")
def ends_in_caffe(place, starts):
    for case in starts:
        text = (place / f"{case}_solver.prototxt").read_text()
        text = re.sub(r"display: \d+|snapshot_format: \w+", "", text).replace("out/", "out/caffe_")
        (place / f"caffe_{case}.prototxt").write_text(text + "\nsnapshot_after_train: false\n")
    ended = subprocess.run(
        [*find_caffe(), "-c", SOLVE, str(place), *starts], capture_output=True, text=True, timeout=300
    )
    assert ended.returncode == 0, ended.stderr[-2000:]


@pytest.mark.caffe
@pytest.mark.hdf5
def test_the_same_parameters_as_caffe(place, starts, ends_in_caffe, monkeypatch, capsys):
    departed = {}
    for case in starts:
        solver, start = f"{case}_solver.prototxt", f"start_{case}.caffemodel"
        code, said = _train(place, monkeypatch, capsys, solver, "--weights", start)
        assert code == 0, (case, said)
        (written,) = (name for name in said.split() if re.search(r"_iter_\d+\.caffemodel(\.h5)?$", name))
        ours, theirs = caffemodel.read(written).layers, caffemodel.read(f"end_{case}.caffemodel").layers
        assert ours.keys() == theirs.keys(), case
        largest = max(
            float(np.abs(a - b).max() / max(np.abs(b).max(), 1e-6))
            for name in theirs
            for a, b in zip(ours[name], theirs[name], strict=True)
        )
        if not largest <= 1e-5:
            departed[case] = largest
    assert not departed
