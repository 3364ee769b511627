"""The page of ground truth alone: each image with the boxes of its objects and their classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pycam import zoo
from pycam.errors import ImageError, PycamError
from pycam.ilsvrc.ground_truth import GroundTruth
from pycam.ilsvrc.synsets import synsets
from pycam.images.read import read_image
from pycam.report.html import Entry, Heading
from pycam.report.images import noted
from pycam.report.viewer_data import Truth


def truth_page(truth: GroundTruth, paths: Sequence[Path], name: str) -> tuple[Heading, Iterator[Entry]]:
    """Make a page of ground truth, as `evaluation/showLocalizationGT.m` of the release shows it.

    Parameters
    ----------
    truth : GroundTruth
        The ground truth.
    paths : sequence of Path
        The file of each image.
    name : str
        The name of the ground truth, for the title.

    Returns
    -------
    (Heading, iterator of Entry)
        For `pycam.report.html.write_html`. The page skips an image that cannot be read, and gives the reason; the
        iterator raises the first fault if no image can be shown.
    """
    notes = list(truth.notes)
    if not truth.class_names:
        notes.append(f"{name} has no names of classes: give them with --labels")
    heading = Heading(f"Ground truth: {name}", {}, notes)
    return heading, _entries(truth, paths, labels_of(truth), notes)


def labels_of(truth: GroundTruth) -> Sequence[str]:
    """Return the label of each class: that of ILSVRC's WordNet ID, the name in the ground truth, or a number."""
    if truth.class_names == synsets().wnids:
        return zoo.bundled_labels("ilsvrc").names
    count = max(truth.class_count, int(truth.box_classes.max(initial=-1)) + 1)
    return truth.class_names or [f"class {index}" for index in range(count)]


def _entries(truth: GroundTruth, paths: Sequence[Path], labels: Sequence[str], notes: list[str]) -> Iterator[Entry]:
    faults: list[PycamError] = []
    for row, path in enumerate(paths):
        try:
            image = read_image(path)
        except ImageError as error:
            faults.append(error)
            continue
        index = int(truth.classes[row])
        objects = [
            (labels[each], (x0, y0, x1, y1))
            for each, (x0, y0, x1, y1) in zip(*(part.tolist() for part in truth.objects_of(row)), strict=True)
        ]
        boxes = [(x0, y0, x1, y1) for x0, y0, x1, y1 in truth.boxes_of(row).tolist()]
        yield Entry(path.name, image, {}, Truth(index, labels[index], boxes, objects))
    notes += noted(faults, len(paths))
