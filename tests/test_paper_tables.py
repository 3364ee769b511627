"""The paper's tables with our figures in them."""

from __future__ import annotations

import csv
import json

import pytest
from runs import made_report

from pycam.cli import main
from pycam.errors import RunError
from pycam.report.tables import PAPER, csv_text, notes, paper_tables, section
from pycam.report.text import markdown


@pytest.fixture(autouse=True)
def no_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("PYCAM_MODELS", "")
    monkeypatch.setenv("PYCAM_CACHE", str(tmp_path / "cache"))


@pytest.mark.shared
def test_published_figures_are_those_of_the_paper(shared):
    facts = json.loads((shared / "facts/paper.json").read_text())
    first, second, third = json.loads(PAPER.read_text())["tables"]
    for table, fact in ((first, "classification_error_ilsvrc_val"), (second, "localization_error_ilsvrc_val")):
        ours = {row["network"]: [row["top1"], row["top5"]] for row in table["rows"]}
        assert ours == {name: row for name, row in facts[fact].items() if name != "columns"}
    (row,) = third["rows"]
    assert row["top5"] == facts["localization_error_ilsvrc_test_top5"][row["network"]]


def test_a_run_stands_in_its_rows_with_its_figures():
    first, second, third = paper_tables([made_report("googlenet-cam"), made_report("googlenet-cam", submissions=True)])
    for table, width in ((first, 0.01), (second, 0.02)):
        plain, released = [line for line in table.lines if line.network == "GoogLeNet-GAP"]
        assert (plain.protocol, released.protocol) == ("paper", "released, bbox1")
        assert (plain.pictures, plain.weights, plain.note) == (300, "0123456789abcdef", "")
        assert plain.ours["top1"].error == 0.5
        assert plain.ours["top5"].error == 0.3
        assert released.ours["top1"].error == 0.4
        assert plain.ours["top5"].low == pytest.approx(0.3 - width)
    assert second.lines[0].published == {"top1": 56.4, "top5": 43.0}
    (heuristics,) = third.lines
    assert heuristics.published == {"top5": 37.1}
    assert heuristics.ours["top5"].error == 0.1
    assert heuristics.protocol == "released, bboxCombine"


def test_gradients_stand_apart_from_maps():
    _, second, _ = paper_tables([made_report("bvlc-googlenet", "saliency")])
    by_network = {line.network: line for line in second.lines}
    assert by_network["Backprop on GoogLeNet"].ours
    assert not by_network["GoogLeNet"].ours


def test_another_model_gets_a_line_of_its_own():
    report = made_report("squeezenet-v1.0", overrides={"view": "full", "mean": "picture"})
    for table in paper_tables([report])[:2]:
        line = table.lines[-1]
        assert (line.network, line.published) == ("squeezenet-v1.0", {})
        assert line.protocol == "paper, view full, mean picture"


def test_rows_without_a_run_say_where_their_weights_are(monkeypatch, tmp_path):
    tables = paper_tables([])
    said = {line.network: (line.note, line.remedy) for line in tables[0].lines}
    note, remedy = said["VGGnet-GAP"]
    assert note == "weights not here"
    assert remedy.startswith("vgg16-cam: pycam models download vgg16-cam, or get http://cnnlocalization.csail.mit.edu/")
    assert said["NIN"] == ("weights never published", "")
    assert remedy in notes(tables)
    (tmp_path / "vgg16CAM_train_iter_90000.caffemodel").touch()
    monkeypatch.setenv("PYCAM_MODELS", str(tmp_path))
    line = next(line for line in paper_tables([])[0].lines if line.network == "VGGnet-GAP")
    assert (line.note, line.remedy) == ("not run yet", "vgg16-cam: pycam evaluate --model vgg16-cam")


def test_truth_without_boxes_leaves_localization_empty():
    report = made_report("vgg16-cam", localization_error=None, gt_known_error=None)
    first, second, _ = paper_tables([report])
    assert next(line for line in first.lines if line.network == "VGGnet-GAP").ours
    assert next(line for line in second.lines if line.network == "VGGnet-GAP").ours == {}


def test_texts():
    tables = paper_tables([made_report("googlenet-cam")])
    found = section(tables[1])
    assert found["rows"][0] == [
        "GoogLeNet-GAP",
        "56.40 / 43.00",
        "50.00% (48.00% to 52.00%)",
        "30.00% (28.00% to 32.00%)",
        "300",
        "paper",
        "0123456789ab",
    ]
    lines = markdown(found).splitlines()
    assert lines[0] == "## Table 2: localization error on ILSVRC val, %"
    assert lines[4].startswith("| GoogLeNet-GAP | 56.40 / 43.00 | 50.00% ")
    rows = list(csv.DictReader(csv_text(tables).splitlines()))
    row = next(row for row in rows if row["table"].startswith("Table 2") and row["column"] == "top5")
    assert [float(row[name]) for name in ("published", "error", "low", "high", "pictures")] == [43, 30, 28, 32, 300]
    assert next(row for row in rows if row["network"] == "NIN")["note"] == "weights never published"


def test_the_command(tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "report.json").write_text(json.dumps(made_report("googlenet-cam")))
    assert main(["report", str(folder)]) == 0
    output = capsys.readouterr().out
    assert "Table 1: classification error" in output
    assert "50.00% (49.00% to 51.00%)" in output
    assert main(["report", str(folder), "--json"]) == 0
    tables = json.loads(capsys.readouterr().out)
    assert tables[0]["lines"][0]["ours"]["top1"]["error"] == 0.5
    for name in ("tables.md", "tables.csv", "tables.json"):
        assert main(["report", str(folder), "--out", str(tmp_path / name)]) == 0
        assert "GoogLeNet-GAP" in (tmp_path / name).read_text()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "code", "complaint"),
    [
        (["nothing"], 10, "nothing: not the folder of a finished run"),
        (["nothing", "--ledger"], 10, "nothing: not the folder of a run"),
        (["a", "b", "--ledger"], 2, "2 runs for a ledger: name one"),
    ],
)
def test_what_is_no_run(tmp_path, monkeypatch, capsys, arguments, code, complaint):
    monkeypatch.chdir(tmp_path)
    assert main(["report", *arguments]) == code
    assert complaint in capsys.readouterr().err


def test_a_report_that_is_none(tmp_path, capsys):
    (tmp_path / "report.json").write_text("[]")
    assert main(["report", str(tmp_path)]) == RunError.exit_code
    assert "not the folder of a finished run (report.json: it is no JSON object)" in capsys.readouterr().err
    (tmp_path / "report.json").write_text(json.dumps(made_report("googlenet-cam")))
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "a.txt")]) == 2
    assert "tables are written as .md, .csv or .json" in capsys.readouterr().err
