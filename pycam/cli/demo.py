"""`pycam demo`: photographs that come with scikit-image, as the bundled model sees them, and how often it is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from pycam.errors import UsageError
from pycam.maps.boxes import RIGHT_IOU, Box, iou
from pycam.predict import Cam, load
from pycam.prediction import Prediction
from pycam.report.html import Entry, Heading, write_html
from pycam.report.outcomes import judge
from pycam.report.viewer_data import Truth
from pycam.tables import Table

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
        Drawn round it by hand: image pixels, 0-based half-open. None for what is no class of the model.
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


class Judged(NamedTuple):
    """A photograph with what the model says of it.

    Attributes
    ----------
    photograph, prediction
        The photograph, and its five best classes.
    truth
        Its class and box; None where the model has no such class.
    iou
        IoU of the true box with the one found for the true class.
    """

    photograph: Photograph
    prediction: Prediction
    truth: Truth | None = None
    iou: float = 0

    def right(self, k: int, with_box: bool = False) -> bool:
        """Whether one of the first k classes is the true one, and its box fits too."""
        known = self.truth is not None and self.truth.index in self.prediction.classes[:k]
        return known and (self.iou >= RIGHT_IOU or not with_box)


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the images.")] = Path("demo-output"),
) -> None:
    """Show four photographs to the bundled model: heat maps, boxes, and a small evaluation."""
    try:
        import skimage
    except ImportError:
        raise UsageError("the demo's photographs come with scikit-image: pip install 'caffe-cam[demo]'") from None
    folder = Path(skimage.__file__).parent / "data"
    with load(MODEL, view="full") as cam:
        judged = [_judge(cam, photograph, folder) for photograph in PHOTOGRAPHS]

    tables = [_classes(judged), _errors([each for each in judged if each.truth])]
    for table in tables:
        table.show()
        print()

    strips = [each.prediction.save(out, boxes=True)[-2] for each in judged]
    page = out / "report.html"
    heading = Heading("A demo of pycam", {"": [MODEL, "view full"]}, sections=[table.section() for table in tables])
    write_html(page, map(_entry, judged), heading)
    print("Look at", *strips, page, sep="\n  ")


def _judge(cam: Cam, photograph: Photograph, folder: Path) -> Judged:
    prediction = cam(folder / f"{photograph.name}.png")
    if photograph.box is None or prediction.image is None:
        return Judged(photograph, prediction)
    (found,) = cam(prediction.image, classes=[photograph.shows]).top
    assert found.box is not None  # the paper's rule always gives one
    truth = Truth(found.index, photograph.shows, [photograph.box])
    return Judged(photograph, prediction, truth, float(iou(found.box, photograph.box)))


def _classes(judged: Sequence[Judged]) -> Table:
    from pandas import DataFrame

    rows, notes = [], []
    for each in judged:
        named = [f"{item.label} {item.score:.2f}" for item in each.prediction.top]
        if each.truth:
            box = f"{each.iou:.2f} {_said(each.iou >= RIGHT_IOU)}"
            said = [_said(each.right(1)), _said(each.right(5)), box]
        else:
            said = ["–"] * 3
            notes.append(
                f"{each.photograph.name} shows a {each.photograph.shows}, which is none of the model's "
                f"{len(each.prediction.scores)} classes: it cannot name it. What it says: {', '.join(named)}."
            )
        rows.append([each.photograph.name, each.photograph.shows, named[0], *said])
    title = f"Guesses, and the box of the true class, which is right from an IoU of {RIGHT_IOU} on"
    frame = DataFrame(rows, columns=["photograph", "shows", "first guess", "top-1", "top-5", "IoU"])
    return Table(title, frame, "\n".join(notes))


def _errors(judged: Sequence[Judged]) -> Table:
    from pandas import DataFrame

    total = len(judged)
    rows = []
    for name, with_box in (("classification", False), ("localization", True)):
        wrong = [sum(not each.right(k, with_box) for each in judged) for k in (1, 5)]
        rows.append([name, *(f"{count / total:.0%} ({count} of {total})" for count in wrong)])
    note = f"Of {total} named photographs: they show how errors are counted, not how good a model is."
    return Table("Errors", DataFrame(rows, columns=["", "top-1", "top-5"]), note)


def _said(is_right: bool) -> str:
    return "right" if is_right else "wrong"


def _entry(judged: Judged) -> Entry:
    first, truth = judged.prediction.top[0], judged.truth
    outcomes = [judge(first.index, first.score, first.box, truth.index, truth.boxes)] if truth else []
    assert judged.prediction.image is not None
    return Entry(judged.photograph.name, judged.prediction.image, {"": [judged.prediction]}, truth, outcomes)
