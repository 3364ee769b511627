"""The page of images without ground truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pycam.errors import ImageError
from pycam.images.read import read_image
from pycam.predict import Cam
from pycam.report.html import Entry, Heading
from pycam.report.viewer_data import predict_by_methods


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
        For `pycam.report.html.write_html`. The iterator raises ImageError if no image can be read.
    """
    cam = cams[0]
    notes: list[str] = []
    facts = [cam.model.name, f"view {cam.protocol.view}", f"protocol {cam.protocol.name}", cam.engine.description]
    title = paths[0].name if len(paths) == 1 else f"{len(paths)} images"
    return Heading(title, {"": facts}, notes), _entries(cams, paths, notes)


def _entries(cams: Sequence[Cam], paths: Sequence[Path], notes: list[str]) -> Iterator[Entry]:
    names = Counter(path.name for path in paths)
    for path in paths:
        try:
            image = read_image(path, channels=cams[0].model.channels)
        except ImageError as error:
            notes.append(f"skipped: {error}")
            continue
        yield Entry(path.name if names[path.name] == 1 else str(path), image, {"": predict_by_methods(cams, image)})
    if len(notes) == len(paths):
        raise ImageError(f"no image could be read; {notes[0]}")
