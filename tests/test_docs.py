"""What the documents say, held to the program: commands, options, targets, links, Python, and the README's images."""

from __future__ import annotations

import ast
import importlib.util
import itertools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import cv2
import pytest
import typer
import yaml
from markdown_it import MarkdownIt

import pycam
from pycam import cli
from pycam.engines import ENGINES
from pycam.protocols import PROTOCOLS

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "matlab_ports/*.md", "examples/**/*.md", "benchmarks/*.md")
    for path in ROOT.glob(pattern)
)
SHELL = ("", "sh", "bash")
# Where a command in running text stops: what follows is a comment, or another program's.
STOPS = ("|", ">", "<", "&&", ";")
ELLIPSIS = "…"


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def tokens(path: Path):
    return MarkdownIt("commonmark").enable("table").parse(path.read_text("utf-8"))


def inline(path: Path) -> Iterator:
    return (child for token in tokens(path) for child in token.children or ())


@dataclass(frozen=True)
class Command:
    """A command that a document names; one in running text may be a part of a whole one."""

    document: Path
    arguments: tuple[str, ...]
    whole: bool

    def __str__(self):
        return f"{name(self.document)}: {' '.join(self.arguments)}"


def commands(path: Path) -> Iterator[Command]:
    """Give the commands in a document's code."""
    blocks = [token for token in tokens(path) if token.type in ("fence", "code_block")]
    for token in blocks:
        if token.info.split(" ")[0] in SHELL:
            for line in token.content.replace("\\\n", " ").splitlines():
                yield from split(path, line, whole=True)
    for token in inline(path):
        if token.type == "code_inline":
            yield from split(path, token.content, whole=False)


def split(path: Path, line: str, whole: bool) -> Iterator[Command]:
    if not re.match(r"(\w+=\S+ )?((pycam|make|python3?)(\s|$)|docker/|\.ci/|matlab_ports/)", line.strip()):
        return
    arguments = shlex.split(line.replace("$(", "(").replace("…/", "/"), comments=True)
    while arguments and re.fullmatch(r"\w+=.*", arguments[0]):
        arguments.pop(0)
    end = next((i for i, word in enumerate(arguments) if word in STOPS), len(arguments))
    yield Command(path, tuple(arguments[:end]), whole and ELLIPSIS not in " ".join(arguments))


ALL = [command for path in DOCUMENTS for command in commands(path)]


def named(*programs: str) -> list:
    return [pytest.param(each, id=str(each)) for each in ALL if each.arguments and each.arguments[0] in programs]


APPLICATION = typer.main.get_command(cli.app)
APPLICATION.commands = {title: cli.load_command(title) for title in cli.COMMANDS}


def leaves(group=APPLICATION, path=()) -> Iterator[tuple[tuple[str, ...], object]]:
    for title, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, (*path, title))
        else:
            yield (*path, title), command


LEAVES = dict(leaves())


def options(command) -> set[str]:
    return {each for parameter in command.params for each in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


@pytest.mark.parametrize("command", named("pycam"))
def test_a_command_and_its_options_are_there(command):
    arguments = list(command.arguments[1:])
    group, path = APPLICATION, []
    while arguments and hasattr(group, "commands") and not arguments[0].startswith("-") and arguments[0] != ELLIPSIS:
        assert arguments[0] in group.commands, f"no {arguments[0]!r} among {', '.join(group.commands)}"
        path.append(arguments.pop(0))
        group = group.commands[path[-1]]
    candidates = [group] if not hasattr(group, "commands") else [group, *LEAVES.values()]
    for word in arguments:
        if word.startswith("-") and not re.fullmatch(r"-?\d.*", word):
            assert any(word.partition("=")[0] in options(each) for each in candidates), f"no option {word}"
    for option, allowed in (("--engine", ENGINES), ("--protocol", PROTOCOLS)):
        for value in (after for before, after in itertools.pairwise(arguments) if before == option):
            assert value in allowed
    if command.whole and not hasattr(group, "commands"):
        group.make_context(path[-1], arguments)  # counts arguments and reads values; a wrong one raises


@pytest.mark.parametrize("command", named("python", "python3"))
def test_a_module_or_script_is_there(command):
    if command.arguments[1] == "-m":
        module = command.arguments[2]
        assert importlib.util.find_spec(module), f"no module {module}"
        if module.startswith("matlab_ports."):
            single = typer.Typer()
            single.command()(importlib.import_module(module)._script)
            given = [word for word in command.arguments[3:] if word.startswith("--")]
            assert set(given) <= options(typer.main.get_command(single))
    else:
        assert (ROOT / command.arguments[1]).is_file(), f"no file {command.arguments[1]}"


@pytest.mark.parametrize("command", named("make"))
def test_a_target_is_there(command):
    rules = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M)
    targets = [word for word in command.arguments[1:] if "=" not in word]
    assert targets and set(targets) <= set(rules)


@pytest.mark.parametrize("command", [each for each in ALL if "/" in each.arguments[0]], ids=str)
def test_a_script_is_there(command):
    path = ROOT / command.arguments[0]
    assert path.exists() or path.with_suffix(".py").exists() or command.arguments[0].startswith("models/")


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_lead_somewhere(document):
    for link in (token.attrs["href"] for token in inline(document) if token.type == "link_open"):
        if re.match(r"https?:", link):
            continue
        file, _, anchor = unquote(link).partition("#")
        target = (document.parent / file).resolve() if file else document
        assert target.exists(), f"{link}: no {target}"
        if anchor:
            assert unquote(anchor) in anchors(target), f"{link}: {', '.join(anchors(target))}"
    for token in inline(document):
        if token.type == "image":
            assert (document.parent / token.attrs["src"]).is_file(), token.attrs["src"]
            assert token.content, "an image without a text for those who cannot see it"


def anchors(path: Path) -> list[str]:
    """Give a document's headings as GitHub links to them."""
    parsed = tokens(path)
    headings = [parsed[i + 1].content for i, token in enumerate(parsed) if token.type == "heading_open"]
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_the_index_has_every_document():
    index = ROOT / "docs/README.md"
    linked = {(index.parent / token.attrs["href"]).resolve() for token in inline(index) if token.type == "link_open"}
    assert set((ROOT / "docs").glob("*.md")) - {index} <= linked


PYTHON = [
    (path, token) for path in DOCUMENTS for token in tokens(path) if token.type == "fence" and token.info == "python"
]


@pytest.mark.parametrize(("document", "block"), PYTHON, ids=lambda each: name(each) if isinstance(each, Path) else "")
def test_python_compiles_and_its_names_are_there(document, block):
    tree = ast.parse(block.content, name(document))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pycam":
            assert resolve(f"pycam.{node.attr}")
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pycam"):
            for alias in node.names:
                assert resolve(f"{node.module}.{alias.name}")


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_names_in_running_text_are_there(document):
    for token in inline(document):
        if token.type == "code_inline" and (found := re.match(r"(pycam|matlab_ports)(\.\w+)+", token.content)):
            assert resolve(found[0]), found[0]


@pytest.mark.cluster
@pytest.mark.torch
@pytest.mark.web
def test_names_in_docstrings_and_comments_are_there():
    found = set()
    for path in ROOT.glob("pycam/**/*.py"):
        text = path.read_text("utf-8")
        public = {dotted for dotted in re.findall(r"`(pycam(?:\.\w+)+)`", text) if not resolve(dotted)}
        own = {own for own in re.findall(r"`(_[a-z]\w*)`", text) if not re.search(rf"(?<!`)\b{own}\b", text)}
        found |= {f"{name(path)}: {each}" for each in public | own}
    assert not found


def resolve(dotted: str) -> bool:
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            thing = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError as error:
            if not ".".join(parts[:cut]).startswith(error.name or ""):
                raise
            continue
        for part in parts[cut:]:
            if part in getattr(thing, "__annotations__", ()):
                return True  # an attribute of instances
            if not hasattr(thing, part):
                return False
            thing = getattr(thing, part)
        return True
    return False


def test_variables_of_the_environment_are_read_somewhere():
    told = {found for path in DOCUMENTS for found in re.findall(r"PYCAM_[A-Z_]+", path.read_text("utf-8"))}
    folders = ("pycam", "tests", "docker", ".ci", "Makefile", "matlab_ports")
    files = [path for folder in folders for path in (ROOT / folder, *(ROOT / folder).rglob("*")) if path.is_file()]
    code = "".join(path.read_text("utf-8", "replace") for path in files if path.suffix in (".py", ".sh", ""))
    assert {variable for variable in told if variable not in code} == set()
    assert (
        set(re.findall(r"PYCAM_[A-Z_]+", "".join(path.read_text("utf-8") for path in ROOT.glob("pycam/**/*.py"))))
        <= told
    )


def test_every_command_is_told():
    told = {
        arguments
        for each in ALL
        if each.arguments[0] == "pycam"
        for arguments in (each.arguments[1:2], each.arguments[1:3])
    }
    assert [path for path in LEAVES if path not in told] == []


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_option_has_a_sentence_in_the_reference(path):
    for parameter in LEAVES[path].params:
        if parameter.name != "help":
            assert getattr(parameter, "help", None), f"{path}: {parameter.name}"


@pytest.mark.demo
def test_the_images_are_what_their_script_draws(tmp_path):
    script = ROOT / "docs/images/make.py"
    subprocess.run([sys.executable, script, tmp_path], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    for made in tmp_path.iterdir():
        kept = script.parent / made.name
        assert kept.stat().st_size < 150_000
        drawn, expected = cv2.imread(str(made)), cv2.imread(str(kept))
        assert drawn.shape == expected.shape
        assert cv2.absdiff(drawn, expected).mean() < 2  # letters differ between OpenCV's versions
    assert len(list(tmp_path.iterdir())) == len(list(script.parent.glob("*.jpg")))


def test_the_version_is_that_of_the_newest_change():
    newest = re.search(r"^## (\S+) – \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert newest and newest[1] == pycam.__version__


def test_the_citation_names_this_version_and_the_paper():
    # `cffconvert --validate` holds it to the schema of CFF 1.2.0; here are the keys that the schema requires.
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    newest = re.search(r"^## (\S+) – (\d{4}-\d\d-\d\d)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.M)
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software" and citation["message"] and citation["title"].startswith("pycam")
    assert (citation["version"], citation["date-released"]) == (newest[1], newest[2])
    assert citation["license"] in (ROOT / "pyproject.toml").read_text("utf-8")
    (paper,) = citation["references"]
    assert paper["type"] == "conference-paper"
    assert paper["title"] == "Learning Deep Features for Discriminative Localization"
    assert [each["family-names"] for each in paper["authors"]] == ["Zhou", "Khosla", "Lapedriza", "Oliva", "Torralba"]
    assert (paper["year"], paper["doi"], paper["conference"]) == (2016, "10.1109/CVPR.2016.319", {"name": "CVPR 2016"})


def test_cards_name_protocols_and_commands_that_are_there():
    for path in (ROOT / "models").glob("*.yaml"):
        notes = str(yaml.safe_load(path.read_text("utf-8")).get("notes", ""))
        for quoted in re.findall(r"`(pycam [^`]+)`", notes):
            for command in split(path, quoted, whole=False):
                test_a_command_and_its_options_are_there(command)


# Words that the project avoids, and what it says in their place.
UNWANTED = {
    r"pictures?": "image",
    r"roads?": "pipeline",
    r"sights?|guess(es|ed)?": "prediction, output",
    r"ledgers?": "ablation",
    r"quirks?|odd(ity|ities)|traps?": "deviation, known pitfall",
    r"brightest": "input_scale",
    r"spel(l|ls|led|t|ling)": "write, convert",
    r"lanes?": "streams",
    r"steady": "batch_invariant",
    r"cures?": "fix, install_hint",
    r"crew": "executor, worker",
    r'(?<!pycam )(?<!def )(?<!")bench': "evaluator",  # but the command `pycam bench`
    r"badness": "severity",
    r"mend(s|ed)?": "fixed",
    r"is_there|write_whole": "exists, atomic_write",
    r"true class(es)?": "ground-truth class",
    r"mean (pixel|picture)s?": "mean value, mean image",
    r"go(es)? on with": "resume",
    r"to be had": "available",
    r"a (row|line|file|folder|map|class|layer|box|image|thread|core|worker) an? [a-z]+": "one X per Y",
}
ALLOWED: dict[str, tuple[str, ...]] = {}
"""Lines that quote such a word from elsewhere: file -> parts of the lines."""

TEXTS = sorted(
    path
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "pycam").rglob("*"))
    if path.suffix in {".py", ".md", ".js", ".css", ".html", ".json"}
)


@pytest.mark.parametrize("unwanted", UNWANTED)
def test_the_words_are_the_fields(unwanted):
    pattern = re.compile(rf"(?<![A-Za-z])(?:{unwanted})(?![a-z])", re.IGNORECASE)
    found = [
        f"{name(path)}:{number}: {line.strip()}"
        for path in TEXTS
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if pattern.search(line) and not any(part in line for part in ALLOWED.get(name(path), ()))
    ]
    assert not found, f"say {UNWANTED[unwanted]} instead:\n" + "\n".join(found)


def test_contributing_says_where_things_are():
    places = re.findall(
        r"^\| .+ \| `(pycam/\S+)` \| (?:`(\w+)`)?", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.MULTILINE
    )
    assert len(places) >= 10
    for path, defined in places:
        assert (ROOT / path).is_file(), path
        if defined:
            assert re.search(rf"^(?:def|class) {defined}\b", (ROOT / path).read_text("utf-8"), re.MULTILINE), (
                path,
                defined,
            )
