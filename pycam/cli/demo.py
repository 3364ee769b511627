"""`pycam demo`: photographs that come with scikit-image, as the bundled model sees them, and how often it is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from pycam.boxes import RIGHT_IOU, Box, iou
from pycam.errors import UsageError
from pycam.predict import Cam, load
from pycam.prediction import Prediction
from pycam.report.html import Entry, Heading, write_html
from pycam.report.record import Truth, seen
from pycam.report.tables import Table
from pycam.report.verdicts import judge

MODEL = "squeezenet-cam-caltech101"


@dataclass(frozen=True)
class Photograph:
    """A photograph of which it is known what it shows.

    Attributes
    ----------
    name
        Of the PNG file in scikit-image's folder `data`.
    shows
        A class of the model, or what else it is.
    box
        Drawn round it by hand: picture pixels, 0-based half-open. None for what is no class of the model.
    """

    name: str
    shows: str
    box: Box | None = None


# These files lie in every wheel of scikit-image since 0.20; its functions would download what is missing.
PHOTOGRAPHS = (
    Photograph("coffee", "cup", (174, 19, 407, 309)),
    Photograph("motorcycle_left", "Motorbikes", (91, 15, 685, 452)),
    Photograph("astronaut", "Faces", (154, 16, 301, 189)),
    Photograph("chelsea", "house cat"),
)


@dataclass(frozen=True, eq=False)
class Look:
    """What the model says of a photograph.

    Attributes
    ----------
    photograph, prediction
        The photograph, and the five best classes.
    truth
        Its class and box; None where the model has no such class.
    overlap
        Of the true box with the one found for the true class.
    """

    photograph: Photograph
    prediction: Prediction
    truth: Truth | None = None
    overlap: float = 0

    def named(self, k: int) -> bool:
        """Whether one of the first k guesses is right."""
        return self.truth is not None and self.truth.index in [item.index for item in self.prediction.top[:k]]

    def placed(self, k: int) -> bool:
        """Whether one of the first k guesses is right, and its box too."""
        return self.named(k) and self.overlap >= RIGHT_IOU


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("demo-output"),
) -> None:
    """Show four photographs to the bundled model: heat maps, boxes, and a small evaluation."""
    try:
        import skimage
    except ImportError:
        raise UsageError("the demo's photographs come with scikit-image: pip install 'caffe-cam[demo]'") from None
    folder = Path(skimage.__file__).parent / "data"
    with load(MODEL, view="full") as cam:
        looks = [_look(cam, photograph, folder) for photograph in PHOTOGRAPHS]

    tables = [_guesses(looks), _errors([look for look in looks if look.truth])]
    for table in tables:
        table.show()
        print()

    strips = [look.prediction.save(out, boxes=True)[-2] for look in looks]
    page = out / "report.html"
    heading = Heading("A demo of pycam", {"": [MODEL, "view full"]}, sections=[table.section() for table in tables])
    write_html(page, map(_entry, looks), heading)
    print("Look at", *strips, page, sep="\n  ")


def _look(cam: Cam, photograph: Photograph, folder: Path) -> Look:
    prediction = cam(folder / f"{photograph.name}.png")
    if photograph.box is None:
        return Look(photograph, prediction)
    (found,) = cam(prediction.picture, classes=[photograph.shows]).top
    assert found.box is not None  # the paper's rule always gives one
    truth = Truth(found.index, photograph.shows, [photograph.box])
    return Look(photograph, prediction, truth, float(iou(found.box, photograph.box)))


def _guesses(looks: Sequence[Look]) -> Table:
    from pandas import DataFrame

    rows, notes = [], []
    for look in looks:
        guesses = [f"{item.words} {item.score:.2f}" for item in look.prediction.top]
        if look.truth:
            box = f"{look.overlap:.2f} {_said(look.overlap >= RIGHT_IOU)}"
            judged = [_said(look.named(1)), _said(look.named(5)), box]
        else:
            judged = ["–"] * 3
            notes.append(
                f"{look.photograph.name} shows a {look.photograph.shows}, which is none of the model's "
                f"{len(look.prediction.scores)} classes: it cannot name it. What it says: {', '.join(guesses)}."
            )
        rows.append([look.photograph.name, look.photograph.shows, guesses[0], *judged])
    title = f"Guesses, and the box of the true class, which is right from an IoU of {RIGHT_IOU} on"
    frame = DataFrame(rows, columns=["photograph", "shows", "first guess", "top-1", "top-5", "IoU"])
    return Table(title, frame, "\n".join(notes))


def _errors(looks: Sequence[Look]) -> Table:
    from pandas import DataFrame

    total = len(looks)
    rows = []
    for name, is_right in (("classification", Look.named), ("localization", Look.placed)):
        wrong = [sum(not is_right(look, k) for look in looks) for k in (1, 5)]
        rows.append([name, *(f"{count / total:.0%} ({count} of {total})" for count in wrong)])
    note = f"Of {total} named photographs: they show how errors are counted, not how good a model is."
    return Table("Errors", DataFrame(rows, columns=["", "top-1", "top-5"]), note)


def _said(is_right: bool) -> str:
    return "right" if is_right else "wrong"


def _entry(look: Look) -> Entry:
    first, truth = look.prediction.top[0], look.truth
    verdicts = [judge(first.index, first.score, first.box, truth.index, truth.boxes)] if truth else []
    return Entry(look.photograph.name, look.prediction.picture, {"": seen([look.prediction])}, truth, verdicts)
