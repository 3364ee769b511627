"""`pycam demo`: the bundled model on photographs from scikit-image, and a small evaluation."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from pycam.console import print_line
from pycam.errors import UsageError
from pycam.formats.files import atomic_write
from pycam.images.read import read_image
from pycam.maps.boxes import RIGHT_IOU, Box, iou
from pycam.predict import Cam, load
from pycam.prediction import Prediction
from pycam.report.html import Entry, Heading, write_html
from pycam.report.outcomes import judge
from pycam.report.viewer_data import Truth
from pycam.tables import Table

MODEL = "squeezenet-cam-caltech101"
TRUTH = "ground_truth.csv"


@dataclass(frozen=True)
class Photograph:
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


def demo(
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path("demo-output"),
) -> None:
    """Run the bundled model on four photographs: heat maps, boxes, and a small evaluation.

    For other commands, it writes the photographs of the model's classes to OUT/images, and their boxes to
    OUT/ground_truth.csv.
    """
    try:
        import skimage
    except ImportError:
        raise UsageError("the demo needs the photographs of scikit-image: pip install 'caffe-cam[demo]'") from None
    folder = Path(skimage.__file__).parent / "data"
    with load(MODEL) as cam:
        judged = [_judge(cam, photograph, folder) for photograph in PHOTOGRAPHS]
    _write_data_set(out, folder, [entry for entry, _ in judged])

    tables = [_classes(judged), _errors([(entry, fit) for entry, fit in judged if entry.truth])]
    for table in tables:
        table.show()
        print_line()

    print_line(f"The photographs of its classes are in {out / 'images'}{os.sep}, their boxes in {out / TRUTH}.")
    strips = [_prediction(entry).save(out, boxes=True)[-2] for entry, _ in judged]
    page = out / "report.html"
    heading = Heading("A demo of pycam", {"": [MODEL, "view full"]}, sections=[table.section() for table in tables])
    write_html(page, [entry for entry, _ in judged], heading)
    print_line("Results:")
    for path in (*strips, page):
        print_line(f"  {path}")


def _write_data_set(out: Path, folder: Path, entries: Sequence[Entry]) -> None:
    """Write the photographs of the model's classes, and their boxes as CSV, as `pycam evaluate` reads them."""
    (out / "images").mkdir(parents=True, exist_ok=True)
    rows = ["image,x0,y0,x1,y1,label,width,height"]
    for entry in entries:
        if entry.truth is not None:
            name, (box,) = f"{entry.name}.png", entry.truth.boxes
            atomic_write(out / "images" / name, (folder / name).read_bytes())
            rows.append(",".join(map(str, [name, *box, entry.truth.index, entry.image.width, entry.image.height])))
    atomic_write(out / TRUTH, "\n".join(rows) + "\n")


def _judge(cam: Cam, photograph: Photograph, folder: Path) -> tuple[Entry, float]:
    """Return a photograph with its prediction, and the IoU of the predicted box of the ground-truth class."""
    image = read_image(folder / f"{photograph.name}.png")
    prediction = cam(image)
    if photograph.box is None:
        return Entry(photograph.name, image, {"": prediction}), 0
    (found,) = cam(image, classes=[photograph.shows]).top
    assert found.box is not None  # the paper's rule always finds one
    best, truth = prediction.top[0], Truth(found.index, photograph.shows, [photograph.box])
    outcome = judge(best.index, best.score, best.box, truth.index, truth.boxes)
    return Entry(photograph.name, image, {"": prediction}, truth, [outcome]), float(iou(found.box, photograph.box))


def _prediction(entry: Entry) -> Prediction:
    return entry.runs[""]


def _right(entry: Entry, k: int) -> bool:
    """Return whether the ground-truth class is among the first k."""
    return entry.truth is not None and entry.truth.index in _prediction(entry).classes[:k]


def _classes(judged: Sequence[tuple[Entry, float]]) -> Table:
    from pandas import DataFrame

    rows, notes = [], []
    for (entry, fit), photograph in zip(judged, PHOTOGRAPHS, strict=True):
        best = [f"{item.label} {item.score:.2f}" for item in _prediction(entry).top]
        row = {"photograph": entry.name, "shows": photograph.shows, "best class": best[0]}
        if entry.truth:
            row |= {f"top-{k}": _rated(_right(entry, k)) for k in (1, 5)}
            row["IoU"] = f"{fit:.2f} {_rated(fit >= RIGHT_IOU)}"
        else:
            row |= dict.fromkeys(["top-1", "top-5", "IoU"], "–")
            notes.append(
                f"{entry.name} shows a {photograph.shows}, which is not among the {len(_prediction(entry).scores)} "
                f"classes of the model. Its best classes: {', '.join(best)}."
            )
        rows.append(row)
    title = f"Best classes, and the box of the ground-truth class, which is right if the IoU is {RIGHT_IOU} or more"
    return Table(title, DataFrame(rows), "\n".join(notes))


def _errors(judged: Sequence[tuple[Entry, float]]) -> Table:
    from pandas import DataFrame

    total = len(judged)
    rows = []
    for name, least in (("classification", 0.0), ("localization", RIGHT_IOU)):
        wrong = [sum(not (_right(entry, k) and fit >= least) for entry, fit in judged) for k in (1, 5)]
        rows.append([name, *(f"{count / total:.0%} ({count} of {total})" for count in wrong)])
    note = f"These {total} photographs show how errors are computed, not how accurate a model is."
    return Table("Errors", DataFrame(rows, columns=["", "top-1", "top-5"]), note)


def _rated(is_right: bool) -> str:
    return "right" if is_right else "wrong"
