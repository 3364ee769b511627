"""The page of images without ground truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pycam.errors import EngineError, ImageError, PycamError
from pycam.images.read import read_image
from pycam.predict import Cam
from pycam.report.html import Entry, Heading
from pycam.report.viewer_data import predict_by_methods

SHOWN_NOTES = 20
"""The number of notes of a kind on a page."""


def image_page(cams: Sequence[Cam], paths: Sequence[Path]) -> tuple[Heading, Iterator[Entry]]:
    """Make a page of images.

    Parameters
    ----------
    cams : sequence of Cam
        A model, once per method.
    paths : sequence of Path
        The images. The page skips an image that cannot be read, and gives the reason.

    Returns
    -------
    (Heading, iterator of Entry)
        For `pycam.report.html.write_html`. The iterator raises the first fault if no image can be shown.
    """
    cam = cams[0]
    notes: list[str] = []
    protocol = cam.protocol
    shown = f"view {protocol.view}", f"protocol {protocol.name}", protocol.boxes_by
    facts = [cam.model.name, *shown, cam.engine.description]
    title = paths[0].name if len(paths) == 1 else f"{len(paths)} images"
    return Heading(title, {"": facts}, notes), _entries(cams, paths, notes)


def _entries(cams: Sequence[Cam], paths: Sequence[Path], notes: list[str]) -> Iterator[Entry]:
    names = Counter(path.name for path in paths)
    faults: list[PycamError] = []
    protocol = cams[0].protocol
    for path in paths:
        try:
            image = read_image(path, channels=cams[0].model.channels, exif=protocol.exif)
            found = predict_by_methods(cams, image)
        except (ImageError, EngineError) as error:
            faults.append(error.alone())
            continue
        yield Entry(path.name if names[path.name] == 1 else str(path), image, {"": found})
    notes += noted(faults, len(paths))


def noted(faults: Sequence[PycamError], count: int) -> Iterator[str]:
    """Yield notes about the images, of so many, that a page cannot show.

    Raises
    ------
    PycamError
        The first fault, if no image can be shown.
    """
    if len(faults) == count:
        raise type(faults[0])(f"no image could be shown; {faults[0]}")
    yield from (f"skipped: {fault}" for fault in faults[:SHOWN_NOTES])
    if len(faults) > SHOWN_NOTES:
        yield f"skipped: {len(faults) - SHOWN_NOTES} more images"
