"""`pycam report compare`: its figures are those of the submissions, its lists those of the images that changed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from runs import HEIGHT, WIDTH
from scipy.stats import binomtest
from test_ground_truth import TENCH, annotate, id_of

from pycam.cli import main
from pycam.ilsvrc.synsets import synsets

COUNT = 40


def fails(capsys, *arguments: object) -> tuple[int, str]:
    code = main(["report", "compare", *map(str, arguments)])
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    return code, line


@pytest.fixture(scope="module")
def truth(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("truth")
    for number in range(COUNT):
        annotate(folder, f"{number:03}", (TENCH, 1, 1, 40, 30), size=(WIDTH, HEIGHT))
    return folder


@pytest.fixture(scope="module")
def submissions(tmp_path_factory) -> dict[str, tuple[Path, np.ndarray]]:
    """Submissions with right and wrong boxes; the third one also has wrong classes."""
    folder = tmp_path_factory.mktemp("submissions")
    random = np.random.default_rng(0)
    found = {}
    for name, share in (("a.txt", 0.5), ("b.txt", 0.9), ("c.txt", 0.2)):
        right = random.random(COUNT) < share
        wrong = f"{id_of('n01443537')} 1 1 40 30" if name == "c.txt" else f"{id_of(TENCH)} 30 30 40 40"
        lines = [f"{id_of(TENCH)} 1 1 40 30" if each else wrong for each in right]
        (folder / name).write_text("\n".join(lines) + "\n")
        found[name] = folder / name, right
    return found


def test_submissions_are_compared_with_the_first(capsys, truth, submissions):
    paths = [str(path) for path, _ in submissions.values()]
    assert main(["report", "compare", *paths, "--ground-truth", str(truth), "--json"]) == 0
    figures, changed, others, _ = json.loads(capsys.readouterr().out)
    assert (figures["title"], others["title"]) == ("a.txt and b.txt, 40 images", "a.txt and c.txt, 40 images")
    first, second, third = (right for _, right in submissions.values())
    rows = {row["figure"]: row for row in figures["rows"]}
    assert list(rows) == [f"{kind}, top-{k}" for kind in ("classification", "localization") for k in (1, 5)]
    row = rows["localization, top-1"]
    fixed, regressed = int((~first & second).sum()), int((first & ~second).sum())
    assert (row["a.txt"], row["b.txt"]) == pytest.approx((100 * (~first).mean(), 100 * (~second).mean()))
    assert row["difference"] == pytest.approx(100 * (first.mean() - second.mean()))
    assert row["difference low"] < row["difference"] < row["difference high"] < 0
    assert (row["fixed"], row["regressed"]) == (fixed, regressed)
    assert row["p"] == pytest.approx(binomtest(fixed, fixed + regressed).pvalue)
    assert row["mid-p"] < row["p"]
    assert rows["classification, top-1"]["difference"] == 0
    names = {change: [row["image"] for row in changed["rows"] if row["change"] == change] for change in row}
    assert names["fixed"] == [f"{number:03}" for number in np.flatnonzero(~first & second)]
    assert names["regressed"] == [f"{number:03}" for number in np.flatnonzero(first & ~second)]
    top1 = next(row for row in others["rows"] if row["figure"] == "classification, top-1")
    assert (top1["a.txt"], top1["c.txt"]) == pytest.approx((0, 100 * (~third).mean()))


def test_terminal_shows_the_first_changes_and_a_file_all(capsys, truth, submissions, tmp_path):
    arguments = ["report", "compare", *(str(path) for path, _ in submissions.values()), "--ground-truth", str(truth)]
    assert main(arguments) == 0
    first, second, third = (right for _, right in submissions.values())
    shown = capsys.readouterr().out
    changes = [int((first != other).sum()) for other in (second, third)]
    assert shown.count("  fixed") + shown.count("  regressed") >= sum(min(20, each) for each in changes)
    for each in changes:
        assert (f"{each - 20} more rows: --out FILE writes all of them" in shown) == (each > 20)
    assert main([*arguments, "--out", str(tmp_path / "all.csv")]) == 0
    assert (tmp_path / "all.csv").read_text().count("Fixed and regressed by") == sum(changes)


@pytest.fixture(scope="module")
def runs(model, images, tmp_path_factory) -> dict[str, Path]:
    """Runs of the tiny net, with the metric of maps, and their ground truth."""
    folder = tmp_path_factory.mktemp("compared")
    rng = np.random.default_rng(5)
    for path in sorted(images.iterdir()):
        x, y = rng.integers(1, 20, 2).tolist()
        annotate(folder / "truth", path.stem, (TENCH, x, y, x + 35, y + 28), size=(WIDTH, HEIGHT))
    names = sorted(path.stem for path in images.iterdir())
    classes = rng.integers(0, 3, len(names))
    for path, index in zip(sorted((folder / "truth").iterdir()), classes, strict=True):
        path.write_text(path.read_text().replace(TENCH, synsets().wnids[index]))
    net, weights = map(str, model)
    files = ["--prototxt", net, "--weights", weights, "--images", str(images), "--ground-truth", str(folder / "truth")]
    for name, more in {"sweep": [], "center": ["--view", "center"], "few": ["--limit", "10"]}.items():
        arguments = ["evaluate", *files, "--protocol", "sweep", *more, "--out", str(folder / name), "--threads", "1"]
        assert main([*arguments, "--quiet"]) == 0
    return {path.name: path for path in folder.iterdir()}


def test_runs_are_compared_on_the_images_that_all_have(capsys, runs):
    capsys.readouterr()
    reports = {name: json.loads((runs[name] / "report.json").read_text()) for name in ("sweep", "center", "few")}
    assert main(["report", "compare", str(runs["sweep"]), str(runs["center"]), "--json"]) == 0
    figures, _ = json.loads(capsys.readouterr().out)
    rows = {row["figure"]: row for row in figures["rows"]}
    for name in ("sweep", "center"):
        assert rows["localization, class known"][name] == pytest.approx(100 * reports[name]["gt_known_error"])
        assert rows["localization, top-1"][name] == pytest.approx(100 * reports[name]["localization_error"]["top1"])
        assert rows["MaxBoxAcc (accuracy)"][name] == pytest.approx(reports[name]["max_box_acc"])
        assert rows["MaxBoxAccV2 (accuracy)"][name] == pytest.approx(reports[name]["max_box_acc_v2"]["mean"])
    row = rows["MaxBoxAcc (accuracy)"]
    assert row["difference low"] <= row["difference"] <= row["difference high"]
    assert row["p"] is None

    assert main(["report", "compare", str(runs["sweep"]), str(runs["few"]), "--json"]) == 0
    figures, changed = json.loads(capsys.readouterr().out)
    assert figures["title"].endswith(", 10 images")
    assert {row["difference"] for row in figures["rows"]} == {0}
    assert changed["rows"] == []


def test_a_run_is_compared_with_a_submission(capsys, runs):
    """Without --ground-truth, the submission is judged by the ground truth of the run."""
    own = runs["center"] / "predictions.txt"
    assert main(["report", "compare", str(runs["sweep"]), str(own), "--json"]) == 0
    with_file = json.loads(capsys.readouterr().out)
    assert main(["report", "compare", str(runs["sweep"]), str(runs["center"]), "--json"]) == 0
    with_run = json.loads(capsys.readouterr().out)
    for one, other in zip(with_file[0]["rows"], with_run[0]["rows"], strict=False):
        renamed = {name.replace("predictions.txt", "center"): value for name, value in one.items()}
        assert renamed == other
    assert with_file[1]["rows"] == with_run[1]["rows"]


def test_what_cannot_be_compared_is_refused_in_one_line(capsys, runs, truth, submissions, tmp_path):
    a, b, _ = (path for path, _ in submissions.values())
    sweep = runs["sweep"]
    assert "give two or more" in fails(capsys, a, "--ground-truth", truth)[1]
    assert "needs --ground-truth" in fails(capsys, a, b)[1]
    assert "given twice" in fails(capsys, a, a, "--ground-truth", truth)[1]
    assert "runs have ground truth of their own" in fails(capsys, sweep, runs["center"], "--ground-truth", truth)[1]
    refused = "--ground-truth-classes has no effect here: no --ground-truth is given; give --ground-truth too, or"
    assert refused in fails(capsys, sweep, a, "--ground-truth-classes", a)[1]
    assert "--labels has no effect here" in fails(capsys, sweep, runs["center"], "--labels", a)[1]
    assert "40 lines of predictions for 30 images" in fails(capsys, sweep, a)[1]
    assert "different ground truth" in fails(capsys, sweep, a, "--ground-truth", truth)[1]
    assert "not the folder of a run" in fails(capsys, sweep, tmp_path)[1]
    other = tmp_path / "other"
    annotate(other, "elsewhere", (TENCH, 1, 1, 40, 30), size=(WIDTH, HEIGHT))
    (tmp_path / "one.txt").write_text(f"{id_of(TENCH)} 1 1 40 30\n")
    assert "no image in common" in fails(capsys, sweep, tmp_path / "one.txt", "--ground-truth", other)[1]
    for code in (fails(capsys, sweep, tmp_path / "none.txt")[0], fails(capsys, sweep, truth)[0]):
        assert code not in (0, 70)


def test_a_name_that_is_a_column_becomes_a_path(capsys, truth, submissions, tmp_path):
    path = tmp_path / "difference"
    path.write_bytes(submissions["a.txt"][0].read_bytes())
    arguments = [str(submissions["b.txt"][0]), str(path), "--ground-truth", str(truth), "--json"]
    assert main(["report", "compare", *arguments]) == 0
    row = json.loads(capsys.readouterr().out)[0]["rows"][2]
    assert row[str(path)] > row[str(submissions["b.txt"][0])]
    assert row["difference"] > 0
