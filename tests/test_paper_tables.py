"""The paper's tables with our figures in them."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas
import pytest
from runs import made_report

from pycam.cli import main
from pycam.errors import RunError
from pycam.paper.tables import PUBLISHED, paper_tables, ranking
from pycam.tables import text


@pytest.fixture(autouse=True)
def no_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("PYCAM_MODELS", "")
    monkeypatch.setenv("PYCAM_CACHE", str(tmp_path / "cache"))


def rows_of(table, network: str) -> list[dict]:
    return [row for row in table.rows() if row["network"] == network]


@pytest.mark.shared
def test_published_figures_are_those_of_the_paper(shared):
    facts = json.loads((shared / "facts/paper.json").read_text())
    first, second, third = json.loads(PUBLISHED.read_text())["tables"]
    for table, fact in ((first, "classification_error_ilsvrc_val"), (second, "localization_error_ilsvrc_val")):
        ours = {row["network"]: [row["top-1"], row["top-5"]] for row in table["rows"]}
        assert ours == {name: row for name, row in facts[fact].items() if name != "columns"}
    (row,) = third["rows"]
    assert row["top-5"] == facts["localization_error_ilsvrc_test_top5"][row["network"]]


def test_a_run_has_its_figures_in_its_rows():
    first, second, third = paper_tables([made_report("googlenet-cam"), made_report("googlenet-cam", submissions=True)])
    for table, width in ((first, 1), (second, 2)):
        plain, released = rows_of(table, "GoogLeNet-GAP")
        assert (plain["protocol"], released["protocol"]) == ("paper", "released, bbox1")
        assert (plain["images"], plain["weights"], plain["note"]) == (300, "0123456789abcdef", None)
        assert (plain["top-1"], plain["top-5"]) == (50, 30)
        assert (released["top-1"], released["top-5"]) == (40, 20)
        assert plain["top-5 low"] == pytest.approx(30 - width)
    published = rows_of(second, "GoogLeNet-GAP")[0]
    assert (published["published top-1"], published["published top-5"]) == (56.4, 43.0)
    (heuristics,) = third.rows()
    assert (heuristics["published top-1"], heuristics["published top-5"]) == (None, 37.1)
    assert heuristics["top-5"] == 10
    assert heuristics["protocol"] == "released, bboxCombine"


def test_gradients_have_rows_of_their_own():
    _, second, _ = paper_tables([made_report("bvlc-googlenet", "saliency")])
    assert [row["top-1"] for row in rows_of(second, "Backprop on GoogLeNet")] == [50]
    assert [row["top-1"] for row in rows_of(second, "GoogLeNet")] == [None]


def test_another_model_gets_a_row_of_its_own():
    report = made_report("squeezenet-v1.0", overrides={"view": "full", "mean": "image"})
    for table in paper_tables([report])[:2]:
        row = table.rows()[-1]
        assert (row["network"], row["published top-1"]) == ("squeezenet-v1.0", None)
        assert row["protocol"] == "paper, view full, mean image"


def test_rows_without_a_run_tell_where_their_weights_are(monkeypatch, tmp_path):
    tables = paper_tables([])
    said = {row["network"]: row["note"] for row in tables[0].rows()}
    assert said["VGGnet-GAP"] == "weights not here"
    assert said["NIN"] == "weights never published"
    notes = tables[-1].note.splitlines()
    (remedy,) = [note for note in notes if note.startswith("vgg16-cam: ")]
    assert remedy.startswith("vgg16-cam: pycam models download vgg16-cam, or get http://cnnlocalization.csail.mit.edu/")
    assert not any(note.startswith("NIN") or not note for note in notes)
    (tmp_path / "vgg16CAM_train_iter_90000.caffemodel").touch()
    monkeypatch.setenv("PYCAM_MODELS", str(tmp_path))
    tables = paper_tables([])
    assert [row["note"] for row in rows_of(tables[0], "VGGnet-GAP")] == ["not run yet"]
    assert "vgg16-cam: pycam evaluate --model vgg16-cam" in tables[-1].note.splitlines()


def test_ground_truth_without_boxes_leaves_localization_empty():
    report = made_report("vgg16-cam", localization_error=None, gt_known_error=None)
    first, second, _ = paper_tables([report])
    assert rows_of(first, "VGGnet-GAP")[0]["top-1"] == 50
    (row,) = rows_of(second, "VGGnet-GAP")
    assert (row["top-1"], row["note"]) == (None, None)


def test_runs_are_ranked_among_the_networks():
    first, _, third = paper_tables([made_report("googlenet-cam"), made_report("googlenet-cam", submissions=True)])
    rows = ranking(first).section()["rows"]
    ours = "GoogLeNet-GAP, released, bbox1: here, 300 images"
    assert [name for name, *_ in rows].count("GoogLeNet-GAP") == 1
    assert [ours, "40.00%", "20.00%"] in rows
    assert [float(top1[:-1]) for _, top1, _ in rows] == sorted(float(top1[:-1]) for _, top1, _ in rows)
    theirs, here = ranking(third).section()["rows"]
    assert (theirs[1:], here[1:]) == (["", "37.10%"], ["40.00%", "10.00%"])


def test_texts():
    tables = paper_tables([made_report("googlenet-cam")])
    shown = [
        "GoogLeNet-GAP",
        "56.40",
        "43.00",
        "50.00% (48.00% to 52.00%)",
        "30.00% (28.00% to 32.00%)",
        "300",
        "paper",
        "0123456789ab",
        "",
    ]
    assert tables[1].section()["rows"][0] == shown
    lines = tables[1].markdown().splitlines()
    assert lines[0] == "## Table 2: localization error on ILSVRC val, %"
    assert lines[4] == f"| {' | '.join(shown)} |"
    read = pandas.read_csv(io.StringIO(text(tables, ".csv")))
    row = read[read["table"].str.startswith("Table 2")].to_dict("records")[0]
    columns = ["published top-5", "top-5", "top-5 low", "top-5 high", "images"]
    assert [row[column] for column in columns] == [43, 30, 28, 32, 300]
    assert set(read.loc[read["network"] == "NIN", "note"]) == {"weights never published"}
    assert np.isnan(read.loc[read["network"] == "NIN", "top-1"]).all()


def test_the_command(tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps(made_report("googlenet-cam")))
    assert main(["report", "tables", str(folder)]) == 0
    output = capsys.readouterr().out
    assert "Table 1: classification error" in output
    assert "50.00% (49.00% to 51.00%)" in output
    assert main(["report", "tables", str(folder), "--json"]) == 0
    tables = json.loads(capsys.readouterr().out)
    assert tables[0]["rows"][0]["top-1"] == 50
    for name in ("tables.md", "tables.csv", "tables.tex", "tables.json"):
        assert main(["report", "tables", str(folder), "--out", str(tmp_path / name)]) == 0
        assert "GoogLeNet-GAP" in (tmp_path / name).read_text()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["tables", "nothing"], 10, "nothing: not the folder of a finished run"),
        (["ablation", "nothing"], 10, "nothing: not the folder of a run"),
        (["ablation", "a", "b"], 2, "(b)"),
        (["html", ".", "--out", "a.html", "--engine", "torch"], 2, "--engine has no effect here: a page of runs"),
        (["html", "a.jpg", "--out", "a.html", "--worst", "3"], 2, "--worst has no effect here: a page of images"),
    ],
)
def test_folders_and_options_that_are_refused(tmp_path, monkeypatch, capsys, arguments, code, complaint):
    monkeypatch.chdir(tmp_path)
    assert main(["report", *arguments]) == code
    assert complaint in capsys.readouterr().err


def test_a_file_that_is_not_a_report_is_refused(tmp_path, capsys):
    (tmp_path / "report.json").write_text("[]")
    assert main(["report", "tables", str(tmp_path)]) == RunError.exit_code
    assert "not the folder of a finished run (report.json: it is not a JSON object (Expected" in capsys.readouterr().err
    (tmp_path / "report.json").write_text(json.dumps(made_report("googlenet-cam")))
    assert main(["report", "tables", str(tmp_path), "--out", str(tmp_path / "a.txt")]) == 2
    assert "expected a file name that ends in one of .md, .csv, .tex, .json" in capsys.readouterr().err
