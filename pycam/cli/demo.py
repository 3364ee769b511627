"""`pycam demo`: the bundled model on photographs from scikit-image, and a small evaluation."""

from __future__ import annotations

from collections.abc import Sequence
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


class Photograph(NamedTuple):
    """A photograph with known content.

    Attributes
    ----------
    name : str
        Name of the PNG file in scikit-image's folder `data`, without the ending.
    shows : str
        Its content: a class of the model, or something else.
    box : Box, optional
        The ground-truth box, drawn by hand: image pixels, 0-based half-open. None for content without a class.
    """

    name: str
    shows: str
    box: Box | None = None


# Every wheel of scikit-image since 0.20 contains these files; its functions would download a missing file.
PHOTOGRAPHS = (
    Photograph("coffee", "cup", (174, 19, 407, 309)),
    Photograph("motorcycle_left", "Motorbikes", (91, 15, 685, 452)),
    Photograph("astronaut", "Faces", (154, 16, 301, 189)),
    Photograph("chelsea", "house cat"),
)


class Judged(NamedTuple):
    """A photograph with its prediction.

    Attributes
    ----------
    photograph : Photograph
        The photograph.
    prediction : Prediction
        Its five best classes.
    truth : Truth, optional
        Its ground truth; None if the model has no such class.
    iou : float
        IoU of the ground-truth box with the predicted box of the ground-truth class.
    """

    photograph: Photograph
    prediction: Prediction
    truth: Truth | None = None
    iou: float = 0

    def right(self, k: int, with_box: bool = False) -> bool:
        """Return whether the ground-truth class is among the first k, and optionally its box is right."""
        known = self.truth is not None and self.truth.index in self.prediction.classes[:k]
        return known and (self.iou >= RIGHT_IOU or not with_box)


def demo(
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("demo-output"),
) -> None:
    """Run the bundled model on four photographs: heat maps, boxes, and a small evaluation."""
    try:
        import skimage
    except ImportError:
        raise UsageError("the demo needs the photographs of scikit-image: pip install 'caffe-cam[demo]'") from None
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
    print("Results:", *strips, page, sep="\n  ")


def _judge(cam: Cam, photograph: Photograph, folder: Path) -> Judged:
    prediction = cam(folder / f"{photograph.name}.png")
    if photograph.box is None or prediction.image is None:
        return Judged(photograph, prediction)
    (found,) = cam(prediction.image, classes=[photograph.shows]).top
    assert found.box is not None  # the paper's rule always finds one
    truth = Truth(found.index, photograph.shows, [photograph.box])
    return Judged(photograph, prediction, truth, float(iou(found.box, photograph.box)))


def _classes(judged: Sequence[Judged]) -> Table:
    from pandas import DataFrame

    rows, notes = [], []
    for (name, shows, _), prediction, truth, found_iou in judged:
        best = [f"{item.label} {item.score:.2f}" for item in prediction.top]
        row = {"photograph": name, "shows": shows, "best class": best[0]}
        if truth:
            row |= {f"top-{k}": _rated(truth.index in prediction.classes[:k]) for k in (1, 5)}
            row["IoU"] = f"{found_iou:.2f} {_rated(found_iou >= RIGHT_IOU)}"
        else:
            row |= dict.fromkeys(["top-1", "top-5", "IoU"], "–")
            notes.append(
                f"{name} shows a {shows}, which is not among the {len(prediction.scores)} classes of the model. "
                f"Its best classes: {', '.join(best)}."
            )
        rows.append(row)
    title = f"Best classes, and the box of the ground-truth class, which is right if the IoU is {RIGHT_IOU} or more"
    return Table(title, DataFrame(rows), "\n".join(notes))


def _errors(judged: Sequence[Judged]) -> Table:
    from pandas import DataFrame

    total = len(judged)
    rows = []
    for name, with_box in (("classification", False), ("localization", True)):
        wrong = [sum(not each.right(k, with_box) for each in judged) for k in (1, 5)]
        rows.append([name, *(f"{count / total:.0%} ({count} of {total})" for count in wrong)])
    note = f"These {total} photographs show how errors are computed, not how accurate a model is."
    return Table("Errors", DataFrame(rows, columns=["", "top-1", "top-5"]), note)


def _rated(is_right: bool) -> str:
    return "right" if is_right else "wrong"


def _entry(judged: Judged) -> Entry:
    first, truth = judged.prediction.top[0], judged.truth
    outcomes = [judge(first.index, first.score, first.box, truth.index, truth.boxes)] if truth else []
    assert judged.prediction.image is not None
    return Entry(judged.photograph.name, judged.prediction.image, {"": [judged.prediction]}, truth, outcomes)
