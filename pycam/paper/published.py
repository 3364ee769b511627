"""The paper's published values: every cell of its tables, with how sure it is, and its figures."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import msgspec

PUBLISHED = Path(__file__).with_name("published.json")


class _Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The base of everything in `published.json`: a field that no class has is a fault of the file."""


class PublishedCell(_Value, frozen=True):
    """A published value.

    Attributes
    ----------
    value : float
        In percent.
    confidence : str
        How sure it is that the paper has this value: one of `Published.confidence`.
    sources : tuple of str
        Where it was found, from `Published.sources`.
    note : str
        A sentence for readers.
    judged : bool
        False if the value is no target.
    """

    value: float
    confidence: str
    sources: tuple[str, ...] = ()
    note: str = ""
    judged: bool = True


class Row(_Value, frozen=True):
    """A row of a table.

    Attributes
    ----------
    name : str
        As in the paper.
    cells : mapping
        Column -> its published value. A row for comparison has none.
    model : str, optional
        The model that makes the row.
    method : str, optional
        How its maps are made; None for every method.
    submission : str, optional
        Which submission of a run of the released protocol; None for the first, and for runs with only one.
    quantity : str, optional
        What the row has, if that differs from the table's.
    blob : str, optional
        The feature of the row.
    certainty, evidence : str
        How sure it is that these weights made the published row, and why.
    others : str
        Why pycam cannot make the row, if so.
    annotation : str
        What the method knows of an image beside it.
    """

    name: str
    cells: Mapping[str, PublishedCell]
    model: str | None = None
    method: str | None = None
    submission: str | None = None
    quantity: str | None = None
    blob: str | None = None
    certainty: str = ""
    evidence: str = ""
    others: str = ""
    annotation: str = ""


class PaperTable(_Value, frozen=True):
    """A table of the paper, or the authors' log.

    Attributes
    ----------
    number : int
        As in the paper; 0 for the authors' log.
    title : str
        With the unit.
    quantity : str
        "classification" or "localization", errors of a run; or "accuracy".
    decimals : int
        Decimals of the published values.
    columns : tuple of str
        Names of the columns.
    rows : tuple of Row
        In the paper's order.
    images : int, optional
        The number of all images of the test set, if ours are of the same set.
    judged : bool
        False if our values need not be equal to the published ones.
    note : str
        Sentences for readers.
    command : str
        The command that makes the table, if that is not `pycam evaluate`.
    data : mapping
        Column -> the data set that it needs.
    """

    number: int
    title: str
    quantity: str
    decimals: int
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    images: int | None = None
    judged: bool = True
    note: str = ""
    command: str = ""
    data: Mapping[str, str] = {}

    @property
    def of_runs(self) -> bool:
        """Whether runs of `pycam evaluate` make the table."""
        return self.quantity != "accuracy"


class Figure(_Value, frozen=True):
    """A figure of the paper: what it shows, the command that makes it, and the data that it needs."""

    number: int
    shows: str
    command: str
    data: str


class Citation(_Value, frozen=True):
    """The paper."""

    title: str
    authors: tuple[str, ...]
    where: str
    reference: str


class Published(_Value, frozen=True):
    """The content of `published.json`.

    Attributes
    ----------
    paper : Citation
        The paper.
    confidence : mapping
        Each word for how sure a value is -> its meaning.
    sources : mapping
        Each source -> what it is.
    tables : tuple of PaperTable
        Tables 1 to 5, and the authors' log.
    figures : tuple of Figure
        Figures 1 to 13.
    """

    paper: Citation
    confidence: Mapping[str, str]
    sources: Mapping[str, str]
    tables: tuple[PaperTable, ...]
    figures: tuple[Figure, ...]


@cache
def published() -> Published:
    """Read `published.json`."""
    return msgspec.json.decode(PUBLISHED.read_bytes(), type=Published)
