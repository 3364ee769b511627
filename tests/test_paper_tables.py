"""The paper's tables with our figures in them."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas
import pytest
from runs import made_report, write_report

from pycam import zoo
from pycam.cli import main
from pycam.errors import RunError
from pycam.evaluation.plan import PLAN
from pycam.evaluation.results import REPORT
from pycam.paper.outputs import Cell, CellsFile, write_output
from pycam.paper.published import published
from pycam.paper.sources import Run, Sources
from pycam.paper.tables import error_tables, missing_cell, missing_weights, paper_tables, ranking
from pycam.tables import text


@pytest.fixture(autouse=True)
def no_weights(monkeypatch, tmp_path):
    monkeypatch.setenv("PYCAM_MODELS", "")
    monkeypatch.setenv("PYCAM_CACHE", str(tmp_path / "cache"))


def rows_of(table, network: str) -> list[dict]:
    return [row for row in table.rows() if row["network"] == network]


def tables_of(*reports: dict) -> list:
    return paper_tables(Sources(tuple(map(Run, reports))), missing_weights())


@pytest.mark.shared
def test_published_values_are_those_of_the_paper(shared):
    """Every cell with its confidence and sources; the log is in the order of its file."""
    facts = json.loads((shared / "facts/paper-tables.json").read_text())
    of_paper = {"top1": "top-1", "top5": "top-5"}
    for ours, theirs in zip(published().tables, facts["tables"], strict=False):
        assert ours.number == theirs["number"]
        assert list(ours.columns) == [of_paper.get(column, column) for column in theirs["columns"]]
        rows = [row for row in ours.rows if row.cells]
        assert [row.name.removesuffix(" (full supervision)") for row in rows] == [row["name"] for row in theirs["rows"]]
        for row, fact in zip(rows, theirs["rows"], strict=True):
            assert row.blob == fact.get("blob")
            if "model" in fact:
                assert row.model == fact["model"]
            for column in theirs["columns"]:
                cell, expected = row.cells[of_paper.get(column, column)], fact["cells"][column]
                assert (cell.value, cell.confidence, list(cell.sources)) == tuple(
                    expected[key] for key in ("value", "confidence", "sources")
                )
                assert cell.value == round(cell.value, ours.decimals)
    log = json.loads((shared / "facts/authors-log.json").read_text())["networks"]
    ours = {row.name: [cell.value for cell in row.cells.values()] for row in published().tables[-1].rows}
    assert ours == {
        f"{name}, {kind}": [round(100 * value, 2) for value in net[f"{kind}_error"]]
        for name, net in log.items()
        for kind in ("classification", "localization")
    }


def test_published_json_fits_together():
    names = {card.name for card in zoo.all_cards()}
    for table in published().tables:
        assert len({row.name for row in table.rows}) == len(table.rows)
        for row in table.rows:
            assert set(row.cells) <= set(table.columns)
            assert (row.model in names) != bool(row.others)
            assert bool(row.evidence) == (row.model is not None)
            for cell in row.cells.values():
                assert cell.confidence in published().confidence
                assert set(cell.sources) <= set(published().sources)
        assert table.of_runs or set(table.data) == set(table.columns)
    assert [figure.number for figure in published().figures] == list(range(1, 14))


def test_the_row_alexnet_is_caffenet_and_alexnet_a_row_of_its_own():
    first, second, *_ = tables_of(made_report("bvlc-caffenet", "saliency"), made_report("bvlc-alexnet", "saliency"))
    assert (rows_of(first, "AlexNet")[0]["published top-1"], rows_of(first, "AlexNet")[0]["top-1"]) == (42.6, 50)
    assert (rows_of(first, "BVLC AlexNet")[0]["published top-1"], rows_of(first, "BVLC AlexNet")[0]["top-1"]) == (
        None,
        50,
    )
    assert rows_of(second, "Backprop on AlexNet")[0]["top-1"] == 50
    assert rows_of(second, "Backprop on BVLC AlexNet")[0]["top-1"] == 50
    assert "AlexNet: bvlc-caffenet, most likely. " in first.note


def test_the_authors_log_stands_beside_ours():
    *_, log = tables_of(made_report("googlenet-cam"))
    (classification,) = rows_of(log, "googleNet_imagenet, classification")
    assert [classification[f"published top-{k}"] for k in range(1, 6)] == [34.5, 22.94, 17.86, 15.03, 13.14]
    assert [classification[f"top-{k}"] for k in range(1, 6)] == [50, 50, 30, 30, 30]
    assert classification["confidence"] == "the release's own file"
    (localization,) = rows_of(log, "googleNet_imagenet, localization")
    assert (localization["published top-1"], localization["top-5 low"]) == (66.91, 28)
    assert rows_of(log, "alexFullConv network, classification")[0]["note"] == "weights never published"


def test_cells_of_files_are_in_their_tables(tmp_path):
    cells = (
        Cell("gap from GoogLeNet-GAP", "Caltech101", 91.0, 90.0, 92.0, 1692),
        Cell("SqueezeNet, mean-norm", "Caltech101", 87.6, 86.0, 89.0, 1692),
    )
    write_output(tmp_path / "a", CellsFile(5, "pycam paper table5 --data sets", cells))
    fifth = paper_tables(Sources.read([tmp_path]), missing_weights())[4]
    (row,) = rows_of(fifth, "gap from GoogLeNet-GAP")
    values = [row[f"{column}Caltech101{bound}"] for column, bound in (("published ", ""), ("", ""), ("", " low"))]
    assert values == [91.98, 91, 90]
    assert (row["SUN397"], row["images"], row["note"]) == (None, 1692, None)
    (extra,) = rows_of(fifth, "SqueezeNet, mean-norm")
    assert (extra["published Caltech101"], extra["Caltech101"]) == (None, 87.6)
    assert "Caltech101: from memory" not in row["confidence"]
    assert row["confidence"] == "from memory"


def test_a_run_has_its_figures_in_its_rows():
    first, second, third, *_ = tables_of(made_report("googlenet-cam"), made_report("googlenet-cam", submissions=True))
    for table, width in ((first, 1), (second, 2)):
        plain, released = rows_of(table, "GoogLeNet-GAP")
        assert (plain["protocol"], released["protocol"]) == ("paper", "released, bbox1")
        assert (plain["images"], plain["weights"], plain["note"]) == (300, "0123456789abcdef", None)
        assert (plain["top-1"], plain["top-5"]) == (50, 30)
        assert (released["top-1"], released["top-5"]) == (40, 20)
        assert plain["top-5 low"] == pytest.approx(30 - width)
    published = rows_of(second, "GoogLeNet-GAP")[0]
    assert (published["published top-1"], published["published top-5"]) == (56.4, 43.0)
    (heuristics,) = rows_of(third, "GoogLeNet-GAP (heuristics)")
    assert heuristics["published top-5"] == 37.1
    assert heuristics["top-5"] == 10
    assert heuristics["protocol"] == "released, bboxCombine"
    assert [row["top-5"] for row in rows_of(third, "GoogLeNet-GAP")] == [30, 20]


def test_gradients_have_rows_of_their_own():
    _, second, *_ = tables_of(made_report("bvlc-googlenet", "saliency"))
    assert [row["top-1"] for row in rows_of(second, "Backprop on GoogLeNet")] == [50]
    assert [row["top-1"] for row in rows_of(second, "GoogLeNet")] == [None]


def test_another_model_gets_a_row_of_its_own():
    report = made_report("squeezenet-v1.0", overrides={"view": "full", "mean": "image"})
    for table in tables_of(report)[:2]:
        row = table.rows()[-1]
        assert (row["network"], row["published top-1"]) == ("squeezenet-v1.0", None)
        assert row["protocol"] == "paper, view full, mean image"


def test_a_run_of_other_classes_has_no_row(tmp_path):
    other = Run(made_report("squeezenet-cam-caltech101"), tmp_path / "own", class_count=101)
    tables = paper_tables(Sources((other, Run(made_report("squeezenet-v1.0")))), missing_weights())
    networks = [row["network"] for table in tables for row in table.rows()]
    assert "squeezenet-v1.0" in networks
    assert "squeezenet-cam-caltech101" not in networks
    assert f"Left out: {tmp_path / 'own'}, a run of 101 classes: ILSVRC has 1,000." in tables[-1].note.splitlines()


def test_rows_without_a_run_tell_where_their_weights_are(monkeypatch, tmp_path):
    tables = tables_of()
    said = {row["network"]: row["note"] for row in tables[0].rows()}
    assert said["VGGnet-GAP"] == "weights not here"
    assert said["NIN"] == "weights not here"
    assert said["GoogLeNet-GMP"] == "weights never published"
    first = published().tables[0]
    rows = {row.name: row for row in first.rows}

    def fix(name):
        return missing_cell(first, rows[name], "top-1", missing_weights()).fix

    assert fix("VGGnet-GAP").startswith(
        "`pycam models download vgg16-cam`, or get http://cnnlocalization.csail.mit.edu/"
    )
    assert "; then `pycam evaluate --model vgg16-cam --images" in fix("VGGnet-GAP")
    assert 'train with `pycam train --solver "$(pycam models path googlenet-gmp --of solver)" --weights ' in fix(
        "GoogLeNet-GMP"
    )
    assert fix("NIN").startswith("`pycam models download nin-imagenet`, or get http")
    # The tables of two machines are the same: they name no folder.
    notes = "\n".join(table.note for table in tables)
    assert str(zoo.prototxt_folder()) not in notes
    # Commands for dozens of empty cells would hide the tables; the last line names what has them.
    assert "pycam models download" not in notes
    assert "`pycam paper --run RUNS --out paper.html`" in notes.splitlines()[-1]
    (tmp_path / "vgg16CAM_train_iter_90000.caffemodel").touch()
    monkeypatch.setenv("PYCAM_MODELS", str(tmp_path))
    tables = tables_of()
    assert [row["note"] for row in rows_of(tables[0], "VGGnet-GAP")] == ["not run yet"]
    assert fix("VGGnet-GAP").startswith("`pycam evaluate --model vgg16-cam --images ILSVRC2012_img_val --ground-truth")


def test_an_unfinished_run_is_left_out_and_named(tmp_path, capsys):
    (tmp_path / "runs/half").mkdir(parents=True)
    (tmp_path / "runs/half" / PLAN).touch()
    whole = tmp_path / "runs/whole"
    whole.mkdir()
    (whole / REPORT).write_text(json.dumps(made_report("squeezenet-v1.0")))
    runs = str(tmp_path / "runs")
    for command in (["report", "tables", runs], ["paper", "--run", runs, "--out", str(tmp_path / "paper.html")]):
        assert main(command) == 0
        (line,) = capsys.readouterr().err.splitlines()[:1]
        assert line.startswith(f"{tmp_path / 'runs/half'}: left out, the run is not finished: ")
    assert main(["report", "tables", str(tmp_path / "runs/half")]) != 0
    assert "not the folder of a finished run" in capsys.readouterr().err


def test_ground_truth_without_boxes_leaves_localization_empty():
    report = made_report("vgg16-cam", localization_error=None, gt_known_error=None)
    first, second, *_ = tables_of(report)
    assert rows_of(first, "VGGnet-GAP")[0]["top-1"] == 50
    (row,) = rows_of(second, "VGGnet-GAP")
    assert (row["top-1"], row["note"]) == (None, None)


def test_runs_are_ranked_among_the_networks():
    first, _, third = error_tables([made_report("googlenet-cam"), made_report("googlenet-cam", submissions=True)])
    rows = ranking(first).section()["rows"]
    ours = "GoogLeNet-GAP, released, bbox1: here, 300 images"
    assert [name for name, *_ in rows].count("GoogLeNet-GAP") == 1
    assert [ours, "40.00%", "20.00%"] in rows
    assert [float(top1[:-1]) for _, top1, _ in rows] == sorted(float(top1[:-1]) for _, top1, _ in rows)
    rows = ranking(third).section()["rows"]
    assert rows[0] == ["GoogLeNet-GAP (heuristics), released, bboxCombine: here, 300 images", "10.00%"]
    assert ["GoogLeNet-GAP (heuristics)", "37.10%"] in rows


def test_texts():
    tables = tables_of(made_report("googlenet-cam"))
    shown = [
        "GoogLeNet-GAP",
        "56.40",
        "43.00",
        "50.00% (48.00% to 52.00%)",
        "30.00% (28.00% to 32.00%)",
        "300",
        "paper",
        "0123456789ab",
        "top-1: single source; top-5: confirmed by 2 independent sources",
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
    assert set(read.loc[read["network"] == "NIN", "note"]) == {"weights not here"}
    assert np.isnan(read.loc[read["network"] == "NIN", "top-1"]).all()


def test_the_command(tmp_path, capsys):
    folder = write_report(tmp_path / "run", made_report("googlenet-cam"))
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
