"""Tables in each of their forms."""

from __future__ import annotations

import io
import json

import numpy as np
import pandas
import pytest
from pandas import DataFrame
from pandas.testing import assert_frame_equal

from pycam.errors import UsageError
from pycam.tables import FORMS, PERCENT, Table, percent, text, write

FRAME = DataFrame(
    {
        "network": ["GoogLeNet", "a | b", "100 % & more"],
        "error": [12.5, np.nan, 100 / 3],
        "error low": [10.0, np.nan, 30.0],
        "error high": [15.0, np.nan, 40.25],
        "images": [300, 4, 50_000],
    }
)
TABLE = Table("Errors, %", FRAME, "One.\nTwo: 50 %.", {"error": PERCENT, "images": "{:,}".format})


def test_an_interval_is_part_of_its_column():
    section = TABLE.section()
    assert section["columns"] == ["network", "error (95 %)", "images"]
    assert section["rows"] == [
        ["GoogLeNet", "12.50% (10.00% to 15.00%)", "300"],
        ["a | b", "", "4"],
        ["100 % & more", "33.33% (30.00% to 40.25%)", "50,000"],
    ]
    assert (section["title"], section["note"]) == ("Errors, %", "One.\nTwo: 50 %.")


def test_markdown():
    assert TABLE.markdown().splitlines() == [
        "## Errors, %",
        "",
        "| network | error (95 %) | images |",
        "| --- | --- | --- |",
        "| GoogLeNet | 12.50% (10.00% to 15.00%) | 300 |",
        r"| a \| b |  | 4 |",
        "| 100 % & more | 33.33% (30.00% to 40.25%) | 50,000 |",
        "",
        "One.",
        "",
        "Two: 50 %.",
    ]


def test_latex():
    assert TABLE.latex().splitlines() == [
        r"\begin{table}",
        r"\caption{Errors, \%}",
        r"\begin{tabular}{lrr}",
        r"\hline",
        r"network & error (95 \%) & images \\",
        r"\hline",
        r"GoogLeNet & 12.50\% (10.00\% to 15.00\%) & 300 \\",
        r"a \textbar{} b &  & 4 \\",
        r"100 \% \& more & 33.33\% (30.00\% to 40.25\%) & 50,000 \\",
        r"\hline",
        r"\end{tabular}",
        "",
        "One.",
        "",
        r"Two: 50 \%.",
        r"\end{table}",
    ]


@pytest.mark.parametrize(
    ("character", "written"),
    [(character, f"\\{character}") for character in "&%$#_{}"]
    + [("\\", r"\textbackslash{}"), ("~", r"\textasciitilde{}"), ("^", r"\textasciicircum{}")]
    + [("<", r"\textless{}"), (">", r"\textgreater{}"), ("|", r"\textbar{}")],
)
def test_a_special_character_of_latex_is_escaped_everywhere(character, written):
    name = f"7{character}9"
    latex = Table(name, DataFrame({name: [name]}), name).latex()
    assert latex.count(f"7{written}9") == latex.count("7") == 4


def test_csv_reads_back_as_the_frame():
    read = pandas.read_csv(io.StringIO(text([TABLE], ".csv")))
    assert set(read.pop("table")) == {"Errors, %"}
    assert_frame_equal(read, FRAME)


def test_json_reads_back_as_the_frame():
    (value,) = json.loads(text([TABLE], ".json"))
    assert_frame_equal(DataFrame(value["rows"]), FRAME)
    assert value["rows"][1]["error"] is None
    assert (value["title"], value["note"]) == (TABLE.title, TABLE.note)


def test_tables_of_different_columns_share_a_csv():
    other = Table("Second", DataFrame({"count": pandas.array([1, None], "Int64")}))
    read = pandas.read_csv(io.StringIO(text([TABLE, other], ".csv")), dtype=str, keep_default_na=False)
    assert read["table"].tolist() == ["Errors, %"] * 3 + ["Second"] * 2
    assert read["count"].tolist() == ["", "", "", "1", ""]
    assert read["images"].tolist() == ["300", "4", "50000", "", ""]


def test_values_that_are_not_finite_are_null():
    (value,) = json.loads(text([Table("", DataFrame({"x": [np.inf, -np.inf, np.nan, 1.0]}))], ".json"))
    assert [row["x"] for row in value["rows"]] == [None, None, None, 1.0]


def test_a_table_without_rows_is_written_in_every_form():
    empty = Table("None", DataFrame({"network": [], "error": []}))
    for form in FORMS:
        assert "None" in text([empty], form) or form == ".csv"
    assert empty.section()["rows"] == []


def test_piped_rows_stay_on_one_line(capsys):
    long = "x" * 500
    Table("Title", DataFrame({"[bold]": ["[red]a", ":cat:"], "long": [long, "b"]}), "[i]note").show([True, False])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == "Title"
    assert lines[1].split() == ["[bold]", "long"]
    assert lines[2].split() == ["[red]a", long]
    assert lines[3].split() == [":cat:", "b"]
    assert lines[4] == "[i]note"


def test_the_suffix_selects_the_form(tmp_path):
    for form in FORMS:
        write([TABLE], tmp_path / f"a{form}")
        assert (tmp_path / f"a{form}").read_text("utf-8") == text([TABLE], form)
    with pytest.raises(
        UsageError, match=r"a\.xls: expected a file name that ends in one of \.md, \.csv, \.tex, \.json"
    ):
        write([TABLE], tmp_path / "a.xls")


def test_percent_has_no_rounding_error():
    assert percent(0.29) == 29
    with pytest.raises(TypeError, match="can't multiply"):
        percent("0.29")


def test_a_narrow_terminal_cuts_nothing_off(monkeypatch, capsys):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "30")
    table = Table(
        "", DataFrame({"a network": ["a name of blanks"], "top-1 error": [1234567.25], "weights": ["f" * 12]})
    )
    table.show()
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("a name of blanks", "1234567.25", "f" * 12))
    texts = ["Motorbikes 0.97", "right", "0.42 wrong", "자전거 바퀴"]
    for columns in range(20, 80, 7):
        monkeypatch.setenv("COLUMNS", str(columns))
        Table("", DataFrame({"name": ["물고기"], **{f"text {each}": [each] for each in texts}})).show()
        printed = capsys.readouterr().out
        assert all(word in printed for text in ["물고기", *texts] for word in text.split()), columns
    monkeypatch.delenv("FORCE_COLOR")
    table.show()
    heading, row = capsys.readouterr().out.splitlines()
    assert "top-1 error" in heading and "a name of blanks" in row
