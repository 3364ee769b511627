"""A bundle of the living paper: everything that it is made from, and a check that makes it again from there.

A bundle is a folder: the files of runs in `runs/`, cells and figures in `outputs/`, what is made from them,
`state.json` with everything else that it depends on, `codecheck.yml` with the manifest that the CODECHECK community
uses, and `SHA256SUMS` with the hash of every other file.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pycam
from pycam.errors import GroundTruthError, RunError, UsageError
from pycam.evaluation.notes import from_note, read_note
from pycam.evaluation.plan import PLAN, Plan, PlanNote
from pycam.evaluation.results import REPORT, read_report
from pycam.formats.files import atomic_write, exists, is_file, is_folder, utf8
from pycam.ilsvrc.ground_truth import read_ground_truth
from pycam.ilsvrc.predictions import Predictions, read_predictions
from pycam.ilsvrc.scores import score_predictions
from pycam.paper.living import living_paper
from pycam.paper.published import published
from pycam.paper.sources import Sources
from pycam.paper.tables import Missing, paper_tables
from pycam.report.paper_page import paper_page
from pycam.tables import text

SUMS = "SHA256SUMS"
STATE = "state.json"
MANIFEST = "codecheck.yml"
RUNS, OUTPUTS = "runs", "outputs"

_RUN_FILES = ("report.json", "report.md", "plan.json", "predictions*.txt", "predictions.csv")
_PACKAGES = ("numpy", "scipy", "pandas", "opencv-python-headless", "pillow", "onnxruntime", "scikit-learn", "torch")
_COMMENTS = {
    "paper.html": "Every cell of every table with its verdict, and the figures",
    "cells.csv": "The same cells, one per row",
    "tables.md": "The paper's tables, published and made again",
    "tables.csv": "The same tables, for programs",
}
"""The files that are made from the others, and what they are."""


@dataclass(frozen=True)
class State:
    """What a bundle depends on besides its runs and outputs.

    Attributes
    ----------
    pycam, python : str
        Versions.
    packages : mapping
        Versions of the packages that were installed.
    margin : float, optional
        Margin of all verdicts, in points; None for the defaults.
    weights : mapping
        As `pycam.paper.tables.missing_weights` returned them.
    """

    pycam: str
    python: str
    packages: dict[str, str]
    margin: float | None
    weights: dict[str, Missing]


@dataclass
class Check:
    """The result of a check.

    Attributes
    ----------
    difference : str
        The first difference; empty if there is none.
    confirmed : list of str
        What was computed again, and is the same.
    unchecked : list of str
        What could not be computed again here, and why.
    """

    difference: str = ""
    confirmed: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)


def write_bundle(folder: Path, sources: Sources, weights: Mapping[str, Missing], margin: float | None = None) -> None:
    """Write a bundle.

    Parameters
    ----------
    folder : Path
        A new or an empty folder.
    sources, weights, margin
        As for `pycam.paper.living.living_paper`.

    Raises
    ------
    UsageError
        The folder is not empty.
    """
    if exists(folder) and not (is_folder(folder) and not any(folder.iterdir())):
        raise UsageError(f"{folder}: exists and is not an empty folder; give a new folder for the bundle")
    living_paper(sources, weights, margin)  # what cannot be judged is refused before anything is written
    packages = {name: found for name in _PACKAGES if (found := _version(name))}
    state = State(pycam.__version__, platform.python_version(), packages, margin, dict(weights))
    folder.mkdir(parents=True, exist_ok=True)
    names: set[str] = set()
    for run in sources.runs:
        if run.place is not None:
            _copy(_files(run.place), folder / RUNS / _name(run.place, names))
    outputs: dict[Path, list[Path]] = {}
    for path in sources.cells:
        outputs.setdefault(path.parent, []).append(path)
    for path, figure in sources.figures.items():
        outputs.setdefault(path.parent, []).extend([path, *(path.parent / name for name in figure.images)])
    names = set()
    for parent, paths in outputs.items():
        _copy(dict.fromkeys(paths), folder / OUTPUTS / _name(parent, names))
    atomic_write(folder / STATE, json.dumps(asdict(state), indent=2, ensure_ascii=False) + "\n")
    for name, data in _made(folder, state).items():
        atomic_write(folder / name, data)
    atomic_write(folder / SUMS, _listed(dict(_hashes(folder))))


def check_bundle(folder: Path) -> Check:
    """Check the hashes of a bundle, and compute everything again that can be computed from it.

    Raises
    ------
    UsageError
        The folder is not a bundle.
    RunError
        A file of a bundle whose hashes are right is damaged.
    """
    if not is_file(folder / SUMS):
        raise UsageError(f"{folder}: not a bundle: no file {SUMS} in it; give a folder of `pycam paper --bundle`")
    check = Check()
    if difference := _hash_difference(folder):
        check.difference = difference
        return check
    check.confirmed.append("the hashes of all files")
    try:
        state = from_note(State, read_note(folder / STATE))
    except ValueError as error:
        raise RunError(f"{folder / STATE}: not the state of a bundle: {error}") from None
    for place in sorted(path.parent for path in (folder / RUNS).glob(f"*/{REPORT}")):
        if difference := _error_difference(folder, place, check):
            check.difference = difference
            return check
    if state.pycam != pycam.__version__:
        check.unchecked.append(
            f"tables and page: they were made by pycam {state.pycam}, and this is {pycam.__version__}: install that one"
        )
        return check
    for name, data in _made(folder, state).items():
        if difference := _text_difference(name, folder / name, utf8(data)):
            check.difference = difference
            return check
    check.confirmed.append("the tables, the page and the manifest, from the runs")
    return check


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _name(place: Path, taken: set[str]) -> str:
    """Return a name for a folder of the bundle that no other has, and that needs no quotes."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", place.resolve().name).lstrip(".") or "run"
    name = next(each for each in (plain, *(f"{plain}-{n}" for n in range(2, len(taken) + 3))) if each not in taken)
    taken.add(name)
    return name


def _files(run: Path) -> list[Path]:
    return [path for pattern in _RUN_FILES for path in sorted(run.glob(pattern))]


def _copy(paths: Iterable[Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    for path in paths:
        shutil.copyfile(path, folder / path.name)


def _made(folder: Path, state: State) -> dict[str, str]:
    """Return the files that are made from runs and outputs of a bundle, with the state when it was made."""
    places = [folder / name for name in (RUNS, OUTPUTS) if is_folder(folder / name)]
    sources = Sources.read(places)
    paper = living_paper(sources, state.weights, state.margin)
    tables = paper_tables(sources, state.weights)
    made = {
        "paper.html": paper_page(paper, folder),
        "cells.csv": text([paper.as_table(folder)], ".csv"),
        "tables.md": text(tables, ".md"),
        "tables.csv": text(tables, ".csv"),
        "README.md": _readme(state),
    }
    figures = {
        path.relative_to(folder).parent / name: file.figure
        for path, file in sources.figures.items()
        for name in file.images
    }
    comments = _COMMENTS | {path.as_posix(): f"Figure {number}" for path, number in figures.items()}
    return made | {MANIFEST: _manifest(comments)}


def _manifest(comments: Mapping[str, str]) -> str:
    """Return the authors' part of a CODECHECK configuration; who checks adds name, report and certificate."""
    import yaml

    paper = published().paper
    content = {
        "version": "https://codecheck.org.uk/spec/config/1.0/",
        "manifest": [{"file": file, "comment": comment} for file, comment in comments.items()],
        "paper": {
            "title": paper.title,
            "authors": [{"name": name} for name in paper.authors],
            "reference": paper.reference,
        },
    }
    return "---\n" + str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=120))


def _readme(state: State) -> str:
    return (
        f"# The living paper: {published().paper.title}\n\n"
        "Open `paper.html` in a browser. `tables.md` has the tables as text, `cells.csv` has one row per cell.\n\n"
        f"Made by pycam {state.pycam} with Python {state.python}; `{STATE}` has the versions of the packages.\n"
        "`runs/` has the reports and predictions of the runs, `outputs/` the cells and figures of `pycam paper`.\n\n"
        f"To check the hashes: `sha256sum --check {SUMS}`. To compute errors, tables and page again from the runs:\n"
        "`pycam paper --check` and the path of this folder. Errors need the ground truth where `plan.json` says.\n"
    )


def _listed(hashes: Mapping[str, str]) -> str:
    """Return the hash of each file as a line, as `sha256sum` writes them."""
    return "".join(f"{digest}  {name}\n" for name, digest in hashes.items())


def _hashes(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the hash of every file of a bundle but the list itself, in the order of the names."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}
    for name in sorted(files.keys() - {SUMS}):
        with files[name].open("rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
        yield name, digest.hexdigest()


def _hash_difference(folder: Path) -> str:
    stored = (folder / SUMS).read_bytes()
    listed = {}
    for number, line in enumerate(stored.decode("utf-8", "backslashreplace").splitlines(), 1):
        digest, _, name = line.partition("  ")
        if not re.fullmatch("[0-9a-f]{64}", digest) or not name:
            return f"{SUMS}: line {number} is {line!r:.100}; a SHA-256, two blanks and a path were expected"
        listed[name] = digest
    found = dict(_hashes(folder))
    for name in sorted(listed.keys() | found.keys()):
        if name not in found:
            return f"{name}: missing; {SUMS} has it"
        if name not in listed:
            return f"{name}: {SUMS} does not have it"
        if listed[name] != found[name]:
            return f"{name}: its SHA-256 is {found[name]}, {SUMS} has {listed[name]}"
    return "" if stored == utf8(_listed(found)) else f"{SUMS}: its lines are not in order, or end in another way"


def _text_difference(name: str, path: Path, expected: bytes) -> str:
    found = path.read_bytes() if is_file(path) else b""
    if found == expected:
        return ""
    theirs, ours = found.splitlines(), expected.splitlines()
    number = next((i for i, (a, b) in enumerate(zip(theirs, ours)) if a != b), min(len(theirs), len(ours)))  # noqa: B905
    there, here = (lines[number].decode("utf-8", "replace") if number < len(lines) else "" for lines in (theirs, ours))
    start = next((i for i, (a, b) in enumerate(zip(there, here)) if a != b), min(len(there), len(here)))  # noqa: B905
    start = max(0, start - 20)
    return (
        f"{name}: line {number + 1} has {there[start : start + 80]!r}; from the runs it would have "
        f"{here[start : start + 80]!r}"
    )


def _error_difference(folder: Path, place: Path, check: Check) -> str:
    """Compute the errors of a run again from its predictions, if its ground truth is on this machine."""
    shown = place.relative_to(folder).as_posix()
    if not is_file(place / PLAN):
        check.unchecked.append(f"{shown}: errors: the run has no {PLAN}, which names its ground truth")
        return ""
    note, report = PlanNote.read(place), read_report(place)
    sources = note.sources
    paths = sources.truth_files
    if absent := next((path for path in (Path(sources.ground_truth), *paths.values()) if not exists(path)), None):
        check.unchecked.append(f"{shown}: errors: the ground truth {absent} is not on this machine")
        return ""
    try:
        truth = read_ground_truth(Path(sources.ground_truth), **paths)
    except (GroundTruthError, UsageError) as error:
        check.unchecked.append(f"{shown}: errors: {error}")
        return ""
    truth = truth.select(truth.names[: sources.limit])
    if report["identity"].get("ground truth") != truth.digest():
        check.unchecked.append(f"{shown}: errors: {sources.ground_truth} is not the ground truth of the run any more")
        return ""
    plan = Plan(note.recipe, truth, (), note.batch, sources, note.class_count)
    skipped = {each["image"] for each in report["skipped"]}
    rows = [row for row, name in enumerate(truth.names) if name not in skipped]
    for number, (submission, reported) in enumerate(report.get("submissions", {"": report}).items()):
        path = place / (f"predictions_{submission}.txt" if number else "predictions.txt")
        if not is_file(path):
            return f"{shown}/{path.name}: missing, and the report has its errors"
        try:
            predictions = read_predictions(path, plan.class_names)
        except GroundTruthError as error:
            return str(error)
        if len(predictions) != len(truth):
            return f"{shown}/{path.name}: {len(predictions)} lines for {len(truth)} images"
        scores = score_predictions(
            Predictions(predictions.classes[rows], predictions.boxes[rows]),
            truth.select([truth.names[row] for row in rows]),
        )
        if difference := _value_difference(reported, scores.figures()):
            return f"{shown}/{REPORT}: {f'{submission}: ' if submission else ''}{difference}, by {path.name}"
    check.confirmed.append(f"{shown}: its errors, from its predictions and {sources.ground_truth}")
    return ""


def _value_difference(reported: Any, computed: Any, name: str = "") -> str:
    """Return the first value of a report that is not the computed one."""
    if isinstance(computed, Mapping) and isinstance(reported, Mapping):
        return next(
            (
                found
                for key, value in computed.items()
                if (found := _value_difference(reported.get(key), value, f"{name} {key}".strip()))
            ),
            "",
        )
    same = reported == computed or (
        computed is not None
        and reported is not None
        and all(math.isclose(*pair, abs_tol=1e-9) for pair in zip(_flat(reported), _flat(computed), strict=True))
    )
    return "" if same else f"{name} is {reported}; it would be {computed}"


def _flat(value: Any) -> list[float]:
    return list(value) if isinstance(value, list | tuple) else [value]
