"""What newcomers type: the document's mistakes are typed, and so are the fixes that the messages name."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import types
from pathlib import Path

import cv2
import numpy as np
import pytest

from pycam import cli, zoo
from pycam.cli.examples import EXAMPLES
from pycam.cli.mistakes import advice

DOCUMENT = Path(__file__).parents[1] / "docs/mistakes.md"
MISTAKES = re.findall(
    r"^```console\n\$ pycam (.+)\n(pycam: .+)\n\$ pycam (.+)\n```$", DOCUMENT.read_text("utf-8"), re.MULTILINE
)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with the files that the mistakes name."""
    folder = tmp_path_factory.mktemp("first hour")
    card = zoo.card(zoo.BUNDLED)
    shutil.copy(zoo.prototxt_path(card), folder / "deploy.prototxt")
    shutil.copy(zoo.weights_path(card), folder / "my.caffemodel")
    shutil.copy(zoo.prototxt_folder() / "deploy_googlenetCAM.prototxt", folder)
    rng = np.random.default_rng(0)
    for name in ("cup.jpg", "fox.jpg"):
        cv2.imwrite(str(folder / name), rng.integers(0, 256, (60, 80, 3), np.uint8))
    (folder / "names.txt").write_text("cat\ndog\nfish\n")
    (folder / "synset_words.txt").write_text("".join(f"n{index:08} thing {index}\n" for index in range(101)))
    (folder / "net.pth").write_bytes(b"PK\x03\x04" + bytes(22) + b"\x0c\x00\x00\x00net/data.pklFB" + bytes(200))
    (folder / "results").write_text("a file")
    assert cli.main(["net", "export", zoo.BUNDLED, "--onnx", str(folder / "net.onnx")]) == 0
    return folder


@pytest.mark.filterwarnings("default::pycam.errors.PycamWarning")
@pytest.mark.parametrize(
    ("mistake", "message", "fix"),
    [
        pytest.param(*each, id=each[0], marks=[pytest.mark.paper] if each[2].startswith("figure ") else ())
        for each in MISTAKES
    ],
)
def test_a_mistake_gets_one_line_and_the_fix_works(mistake, message, fix, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    code = cli.main(shlex.split(mistake))
    told = capsys.readouterr().err.splitlines()
    if code == 0:  # a warning: what was computed is not what was meant
        told = [line for line in told if line.startswith("pycam: ")]
    (line,) = told
    assert re.fullmatch(re.escape(message).replace("…", ".+"), line), line
    for named in re.findall(r"try `pycam (.+?)`", line):
        assert shlex.split(named) == shlex.split(fix) or f"try `pycam {named}`, or leave it out" in line
    assert cli.main(shlex.split(fix)) == 0, capsys.readouterr().err


def test_there_are_twenty_mistakes():
    assert len(MISTAKES) == len(re.findall("^```console$", DOCUMENT.read_text("utf-8"), re.MULTILINE)) >= 20


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("heatmap pic --class cup", "pic: expected an image, but: No such file or directory"),
        ("heatmap --class cup pic", "pic: expected an image, but: No such file or directory"),
        ("heatmap --class fx cup.jpg", "no class is called 'fx' in labels.tsv"),
        ("heatmap a.jpg --mean mean.npy b", "b: expected an image, but: No such file or directory"),
        ("heatmap a.jpg --prototxt b.prototxt --weights c.pb", "c.pb: expected Caffe weights: were two files swapped?"),
        ("nonsense a.jpg", "No such command 'nonsense'."),
        ("report nonsense", "No such command 'nonsense'."),
        ("net show a.prototxt --gpu 0", "No such option: --gpu"),
        ("heatmap a\nb.jpg --output c", "No such option: --output"),
        ("heatmap a.jpg --classes cat,dog", "No such option: --classes"),
    ],
)
def test_no_advice_where_another_meaning_is_possible(words, message):
    assert advice(words.split(" "), message, {"--mean", "--out"}) == ""


@pytest.mark.parametrize(
    ("arguments", "fix"),
    [
        (
            ["heatmap", "a.jpg", "--mean", "104", "117,", "123", "--model", "x"],
            "heatmap a.jpg --mean 104,117,123 --model x",
        ),
        (["activations", "a.jpg", "--layers", "conv1", "pool1"], "activations a.jpg --layers conv1,pool1"),
        (["heatmap", "a.jpg", "--class", "red", "fox", "--boxes"], "heatmap a.jpg --class 'red fox' --boxes"),
        (["train", "solver.prototxt"], "train --solver solver.prototxt"),
        (["report", "a b.jpg"], f"report html 'a b.jpg' --out report.html --model {zoo.BUNDLED}"),
        (["version"], "--version"),
        (["download", "vgg16-cam"], "models download vgg16-cam"),
    ],
)
def test_a_command_that_was_meant(arguments, fix):
    for message in ("No such command 'x'.", "no class is called 'red'", "pool1: expected an image", "Missing option"):
        if told := advice(arguments, message):
            assert told.endswith(f"`pycam {fix}`")
            return
    pytest.fail("no advice")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("heatmap {} --top 3", "2 images of 2 could not be read or drawn; they are listed above"),
        ("heatmap --model caltech101 {}", "a: expected an image, but: No such file or directory"),
        ("evaluate --images {} --out b", "Got unexpected extra argument (b.jpg)"),
    ],
)
def test_a_name_with_blanks_needs_quotes(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert advice(words.format("my a b.jpg").split(), message) == ""
    Path("my a b.jpg").touch()
    assert advice(words.format("my a b.jpg").split(), message).endswith(f"`pycam {words.format(repr('my a b.jpg'))}`")


def test_what_is_missing_gets_an_example():
    for name in ("compare", "models show", "evaluate"):
        assert advice(name.split(), "Missing argument 'a'.") == f"as in `pycam {EXAMPLES[name][0]}`"
    assert advice(["net"], "Missing argument 'a'.") == ""


@pytest.mark.parametrize("line", ["heatmap a.jpg"])
def test_opencv_without_its_files_is_one_line(line, tmp_path):
    # A folder without files is what the removal of a second wheel leaves.
    script = (
        "import sys, types; cv2 = types.ModuleType('cv2'); cv2.__path__ = []; sys.modules['cv2'] = cv2;"
        f"from pycam.cli import main; sys.exit(main({line.split()}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path)
    (told,) = done.stderr.splitlines()
    assert done.returncode == 1
    assert re.fullmatch(
        r"pycam: OpenCV is missing or damaged \(.*'cv2' .*\): (pip uninstall .*&& )?pip install \S+", told
    )


def test_another_attribute_that_is_missing_is_a_bug(monkeypatch, capsys):
    module = types.ModuleType("pycam.cli.doctor")
    module.doctor = lambda: object().nothing
    monkeypatch.setitem(sys.modules, "pycam.cli.doctor", module)
    assert cli.main(["doctor"]) == 70
    assert "a bug in pycam" in capsys.readouterr().err


LEAVES = {}


def collect(command, name: str) -> None:
    if parts := getattr(command, "commands", {}):
        for each, part in parts.items():
            collect(part, f"{name} {each}")
    else:
        LEAVES[name] = command


for _name in cli.COMMANDS:
    collect(cli.load_command(_name), _name)


def test_every_command_has_examples_that_parse():
    assert LEAVES.keys() <= EXAMPLES.keys() <= {*LEAVES, *cli.COMMANDS}
    for name, lines in EXAMPLES.items():
        for line in lines:
            assert line.startswith(name)
            if name in LEAVES:
                arguments = shlex.split(line.removeprefix(name))
                LEAVES[name].make_context(name, arguments)


def test_examples_stand_in_the_help_as_they_are_typed(capsys):
    assert cli.main(["net", "show", "--help"]) == 0
    text = capsys.readouterr().out
    for line in EXAMPLES["net show"]:
        assert f"\n    pycam {line}\n" in text


def test_the_help_lists_every_command_once_in_panels(capsys):
    assert [name for names in cli.PANELS.values() for name in names] == [
        name for name in re.findall(r"^  (\w+)  ", _help(capsys), re.MULTILINE) if name in cli.COMMANDS
    ]
    assert sorted(name for names in cli.PANELS.values() for name in names) == sorted(cli.COMMANDS)
    assert [title for title in re.findall(r"^(\w.*):$", _help(capsys), re.MULTILINE) if title in cli.PANELS] == [
        *cli.PANELS
    ]


def _help(capsys) -> str:
    assert cli.main(["--help"]) == 0
    return capsys.readouterr().out


def test_labels_have_one_meaning_in_every_command():
    options = [(name, each) for name, command in LEAVES.items() for each in command.params]
    assert {each.help.split(":")[0] for name, each in options if "--labels" in each.opts and name != "net fit"} == {
        "Labels of the net's classes"
    }
    truth = {name for name, each in options if "--ground-truth" in each.opts}
    assert truth == {name for name, each in options if "--ground-truth-classes" in each.opts}
    assert {name for name, each in options if "--classes" in each.opts} <= {"net cam"}  # there it is a number
