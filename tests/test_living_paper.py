"""The living paper: its cells and verdicts, its page, the command, and the bundle that checks itself."""

from __future__ import annotations

import csv
import hashlib
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from runs import made_report, write_images, write_model, write_report, write_sources
from test_html_report import Blocks

from pycam.cli import main, options
from pycam.evaluation.plan import PLAN, PlanNote
from pycam.paper.living import EMPTY, living_paper
from pycam.paper.outputs import Cell, CellsFile, FigureFile, write_output
from pycam.paper.published import published
from pycam.paper.sources import Sources
from pycam.paper.tables import missing_weights
from pycam.paper.verdicts import NOT_REPRODUCED, REPRODUCED, UNDECIDED
from pycam.report.bundle import MANIFEST, STATE, SUMS, check_bundle
from pycam.report.paper_page import paper_page

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63606060000000040001f61738550000"
    "000049454e44ae426082"
)


@pytest.fixture(autouse=True)
def no_weights(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("PYCAM_MODELS", "")
    monkeypatch.setenv("PYCAM_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def errors_report(model: str, top1: float, top5: float, images: int, blacklisted: int = 0, **others) -> dict:
    report = made_report(model, images=images, blacklisted=blacklisted, **others)
    for kind in ("classification_error", "localization_error"):
        report[kind] = {f"top{k}": top1 if k < 5 else top5 for k in range(1, 6)}
        report["intervals"][kind] = {k: [max(0, v - 0.01), v + 0.01] for k, v in report[kind].items()}
    return report


def cells_of(sources: Sources, margin: float | None = None) -> dict:
    paper = living_paper(sources, missing_weights(), margin)
    return {
        (table.table.number, line.row.name, column): cell
        for table in paper.tables
        for line, cells in table.lines
        for column, cell in cells.items()
    }


def test_every_cell_of_an_empty_machine_has_its_reason(tmp_path, capsys):
    cells = cells_of(Sources())
    assert len(cells) == sum(len(table.columns) * len(table.rows) for table in published().tables)
    for cell in cells.values():
        assert cell.state == EMPTY
        assert cell.missing.reason
        assert cell.missing.fix
    assert "`pycam models download vgg16-cam`" in cells[1, "VGGnet-GAP", "top-1"].missing.fix
    assert "--set method=saliency" in cells[2, "Backprop on VGGnet", "top-1"].missing.fix
    assert "--protocol released" in cells[3, "GoogLeNet-GAP (heuristics)", "top-5"].missing.fix
    assert "pycam train" in cells[1, "AlexNet-GAP", "top-1"].missing.fix
    assert "SUN397 (http" in cells[5, "fc7 from AlexNet", "SUN397"].missing.fix
    assert cells[3, "OverFeat (full supervision)", "top-5"].missing.reason == "not ours"
    out = tmp_path / "new" / "paper.html"
    assert main(["paper", "--out", str(out)]) == 0
    assert f"{sum(key[0] > 0 for key in cells)} empty" in capsys.readouterr().err
    text = out.read_text("utf-8")
    assert text.count(">empty: ") == len(cells) + sum(bool(figure.command) for figure in published().figures)
    for figure in published().figures:
        assert f"<h3>Figure {figure.number}</h3>" in text
    assert "<script" not in text
    assert all(address.startswith("#") for address in Blocks(text).addresses)


def test_cells_are_filled_and_judged(tmp_path):
    write_report(tmp_path / "whole", errors_report("googlenet-cam", 0.353, 0.16, 50_000))
    write_report(tmp_path / "part", errors_report("vgg16-cam", 0.334, 0.122, 1000, blacklisted=100))
    cells = (
        Cell("GoogLeNet-GAP on crop", "accuracy", 100 * 3900 / 5794, 66, 69, 5794),
        Cell("GoogLeNet-GAP on crop", "boxes", 40, 39, 41, 5794),
    )
    write_output(tmp_path / "birds", CellsFile(4, "pycam paper table4 --data CUB_200_2011", cells))
    slip = Cell("fc7 from AlexNet", "SUN Attribute", 84.23, 84, 84.5, 1000)
    write_output(tmp_path / "features", CellsFile(5, "pycam paper table5 --data sets", (slip,)))
    found = cells_of(Sources.read([tmp_path]))
    assert found[5, "fc7 from AlexNet", "SUN Attribute"].state == "ours"  # a slip is no target
    assert found[1, "GoogLeNet-GAP", "top-1"].state == REPRODUCED  # 0.3 points beside 35.0, of all images
    assert found[1, "GoogLeNet-GAP", "top-5"].state == NOT_REPRODUCED
    part = found[1, "VGGnet-GAP", "top-1"]
    assert part.state == UNDECIDED
    assert part.verdict.more > 10_000
    assert part.measured.images == 1000
    localization = found[2, "VGGnet-GAP", "top-1"].measured
    assert (localization.images, localization.population, localization.count) == (900, 45_000, 301)
    assert found[3, "GoogLeNet-GAP", "top-5"].measured.population is None  # published on another set
    assert found[4, "GoogLeNet-GAP on crop", "accuracy"].state == REPRODUCED  # 67.31, all test images
    assert found[4, "GoogLeNet-GAP on crop", "boxes"].state == "ours"
    assert found[0, "googleNet_imagenet, classification", "top-1"].state == "ours"
    assert cells_of(Sources.read([tmp_path]), 0.2)[1, "GoogLeNet-GAP", "top-1"].state == NOT_REPRODUCED


def test_the_page_has_values_commands_and_images(tmp_path):
    write_report(tmp_path / "<i>run", errors_report("googlenet-cam", 0.353, 0.16, 50_000))
    write_output(tmp_path / "figure", FigureFile(8, "pycam paper figure8 --data <birds>", ("a.png",), "Birds & boxes."))
    (tmp_path / "figure" / "a.png").write_bytes(PNG)
    sources = Sources.read([tmp_path])
    text = paper_page(living_paper(sources, missing_weights()), tmp_path)
    assert "35.30" in text
    assert "34.30 to 36.30; 50,000 images" in text
    assert "pycam paper figure8 --data &lt;birds&gt;" in text
    assert "Birds &amp; boxes." in text
    assert "&lt;i&gt;run" in text
    assert "<i>" not in text
    assert text.count("data:image/png;base64,") == 1
    assert text == paper_page(living_paper(sources, missing_weights()), tmp_path)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--run", "nothing"], 10, "nothing: not the folder of a finished run, and none lies below it"),
        (["--out", "paper.pdf"], 2, "--out paper.pdf: expected a file name that ends in .html"),
        (["--margin", "0"], 2, "a margin of 0.0 points: a positive number was expected"),
        (["--check", "here"], 2, "here: not a bundle: no file SHA256SUMS in it"),
        (["--check", "here", "--run", "a"], 2, "--run has no effect here: a bundle has its runs"),
        (["--bundle", "new", "--out", "a.html"], 2, "--out has no effect here: the page is in the bundle"),
        (["--bundle", "here"], 2, "here: exists and is not an empty folder; give a new folder"),
        (["--run", "cells"], 10, "Table 3; only Tables 4 and 5 are made of such files"),
        (["--run", "low"], 10, "fc7 from AlexNet, SUN397: 40.0 (41.0 to 42.0) of 5 images; a percentage inside"),
        (["--run", "many"], 10, "40.0 (39.0 to 42.0) of 9223372036854775807 images; a percentage inside"),
        (["--run", "figure"], 10, "its image '../a.png' is not beside it: make the figure again"),
        (["--run", "other"], 10, "the paper has no Figure 14"),
        (["--run", "text"], 10, "a.png: not a PNG file: make the figure again"),
        (["--run", "damaged"], 10, "not the report of a run"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    Path("here").mkdir()
    Path("here/file").touch()
    Path("a.png").write_bytes(PNG)
    write_output(Path("cells"), CellsFile(3, "x", ()))
    write_output(Path("low"), CellsFile(5, "x", (Cell("fc7 from AlexNet", "SUN397", 40, 41, 42, 5),)))
    write_output(Path("many"), CellsFile(5, "x", (Cell("fc7 from AlexNet", "SUN397", 40, 39, 42, 2**63 - 1),)))
    write_output(Path("figure"), FigureFile(8, "x", ("../a.png",), "y"))
    write_output(Path("other"), FigureFile(14, "x", (), "y"))
    write_output(Path("text"), FigureFile(8, "x", ("a.png",), "y"))
    Path("text/a.png").write_text("no image")
    write_report(Path("damaged"), {"images": 3})
    assert main(["paper", *arguments]) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not Path("paper.html").exists()


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory) -> Path:
    """A folder with a run of the command line, whose ground truth is in files, and a table and a figure."""
    root = tmp_path_factory.mktemp("evaluated")
    (root / "images").mkdir()
    (root / "truth").mkdir()
    images = write_images(root / "images", 6)
    rng = np.random.default_rng(0)
    right = {path.stem: (int(rng.integers(0, 3)), (5, 5, 40, 40)) for path in sorted(images.iterdir())}
    write_sources(root / "truth", images, right)
    net, weights = write_model(root)
    command = f"--images {images} --ground-truth {root / 'truth'} --prototxt {net} --weights {weights}"
    choices = "--protocol paper --set view=full --set threshold=0.3 --limit 5 --mean 1,2,3 --threads 1 --batch 2 -q"
    assert main(["evaluate", *shlex.split(f"{command} {choices}"), "--out", str(root / "work/a run")]) == 0
    cell = Cell("gap from GoogLeNet-GAP", "Caltech101", 92.2, 91.9, 92.5, 1692)
    write_output(root / "work/table5", CellsFile(5, "pycam paper table5 --data sets", (cell,)))
    write_output(root / "work/birds", FigureFile(8, "pycam paper figure8 --data birds", ("a.png",), "Birds."))
    (root / "work/birds/a.png").write_bytes(PNG)
    return root


def test_the_command_of_a_run_makes_it_again(evaluated, monkeypatch):
    place = evaluated / "work/a run"
    command = shlex.split(PlanNote.read(place).command(Path("again")))
    monkeypatch.chdir(evaluated)
    assert main([*command[1:], "-q"]) == 0
    assert (evaluated / "again" / PLAN).read_bytes() == (place / PLAN).read_bytes()
    assert (evaluated / "again/predictions.txt").read_bytes() == (place / "predictions.txt").read_bytes()


@pytest.fixture
def bundle(evaluated, tmp_path) -> Path:
    assert main(["paper", "--run", str(evaluated / "work"), "--bundle", str(tmp_path / "bundle"), "-q"]) == 0
    return tmp_path / "bundle"


def test_a_bundle_has_everything_and_confirms_itself(bundle, tmp_path, capsys):
    names = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert {SUMS, STATE, MANIFEST, "README.md", "paper.html", "cells.csv", "tables.md", "tables.csv"} <= names
    run = {f"runs/a_run/{name}" for name in ("report.json", "report.md", "plan.json", "predictions.txt")}
    assert run | {"outputs/table5/paper-table.json", "outputs/birds/a.png"} <= names
    text = (bundle / MANIFEST).read_text("utf-8")
    assert text.startswith("---\n")
    manifest = yaml.safe_load(text)
    assert manifest["version"] == "https://codecheck.org.uk/spec/config/1.0/"
    assert all((bundle / item["file"]).is_file() and item["comment"] for item in manifest["manifest"])
    assert {"file": "outputs/birds/a.png", "comment": "Figure 8"} in manifest["manifest"]
    assert manifest["paper"]["authors"][0] == {"name": "Bolei Zhou"}
    with (bundle / "cells.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    (cell,) = [row for row in rows if row["row"] == "gap from GoogLeNet-GAP" and row["column"] == "Caltech101"]
    assert (cell["published"], cell["ours"], cell["verdict"]) == ("91.98", "92.2000", "reproduced")
    moved = bundle.rename(tmp_path / "elsewhere")
    assert main(["paper", "--check", str(moved)]) == 0
    output = capsys.readouterr().out
    assert "the same: the hashes of all files" in output
    assert "the same: runs/a_run: its errors, from its predictions and " in output
    assert "the same: the tables, the page and the manifest, from the runs" in output


def test_any_changed_byte_is_found(bundle, capsys):
    rng = np.random.default_rng(3)
    files = sorted(path for path in bundle.rglob("*") if path.is_file())
    for path in files:
        data = path.read_bytes()
        for place in {0, len(data) - 1, *rng.integers(0, len(data), 3).tolist()}:
            path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            difference = check_bundle(bundle).difference
            name = path.relative_to(bundle).as_posix()
            assert difference if path.name == SUMS else difference.startswith(f"{name}: its SHA-256 is ")
        path.unlink()
        if path.name != SUMS:
            assert check_bundle(bundle).difference == f"{path.relative_to(bundle).as_posix()}: missing; {SUMS} has it"
        path.write_bytes(data)
    (bundle / "runs/more.txt").touch()
    assert main(["paper", "--check", str(bundle)]) == options.NOT_CONFIRMED
    assert capsys.readouterr().out == f"different: runs/more.txt: {SUMS} does not have it\n"


def renew(bundle: Path) -> None:
    """Write the list of hashes again, as somebody who changes a file on purpose would."""
    names = sorted(path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file())
    lines = [f"{hashlib.sha256((bundle / name).read_bytes()).hexdigest()}  {name}\n" for name in names if name != SUMS]
    (bundle / SUMS).write_text("".join(lines))


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("cells.csv", ",92.2000,", ",91.9800,", "cells.csv: line "),
        ("tables.md", "35.0", "36.0", "tables.md: line "),
        ("paper.html", "not in the paper", "in the paper", "paper.html: line "),
        (MANIFEST, "Figure 8", "Figure 7", f"{MANIFEST}: line "),
        ("outputs/table5/paper-table.json", "92.2", "92.3", "paper.html: line "),
        (
            "runs/a_run/report.json",
            '"top5": 1.0',
            '"top5": 0.9',
            "runs/a_run/report.json: classification_error top5 is 0.9",
        ),
        ("runs/a_run/predictions.txt", "\n", " 1 1 1 2 2\n", "{bundle}/runs/a_run/predictions.txt:1: 30 numbers"),
    ],
)
def test_changes_with_new_hashes_are_found_from_the_runs(bundle, name, old, new, message):
    path = bundle / name
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")
    renew(bundle)
    assert check_bundle(bundle).difference.startswith(message.format(bundle=bundle))


def test_what_cannot_be_checked_is_told(bundle, capsys):
    plan = bundle / "runs/a_run/plan.json"
    note = json.loads(plan.read_text())
    note["sources"]["ground_truth"] += "/gone"
    plan.write_text(json.dumps(note))
    state = json.loads((bundle / STATE).read_text())
    (bundle / STATE).write_text(json.dumps(state | {"pycam": "0.0.0"}))
    renew(bundle)
    assert main(["paper", "--check", str(bundle)]) == 0
    output = capsys.readouterr().out
    assert "not checked: runs/a_run: errors: the ground truth " in output
    assert "not checked: tables and page: they were made by pycam 0.0.0" in output


@pytest.mark.shared
def test_the_mini_set_fills_a_row_of_its_own(shared, tmp_path):
    data, weights = shared / "data/ilsvrc-mini", shared / "data/weights/squeezenet_v1.0.caffemodel"
    command = f"--model squeezenet-v1.0 --weights {weights} --images {data}/ILSVRC2012_img_val --limit 4 -q"
    truth = f"--ground-truth {data}/ILSVRC2012_bbox_val/val --out {tmp_path}/run"
    assert main(["evaluate", *shlex.split(f"{command} {truth}")]) == 0
    found = cells_of(Sources.read([tmp_path]))
    for table in (1, 2):
        cell = found[table, "squeezenet-v1.0", "top-1"]
        assert (cell.published, cell.measured.images, cell.missing) == (None, 4, None)
