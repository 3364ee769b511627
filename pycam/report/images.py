"""The page of images without ground truth."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pycam.errors import EngineError, ImageError, PycamError
from pycam.images.read import read_image
from pycam.report.html import NO_LABELS, Entry, Heading
from pycam.report.viewer_data import has_every_class, predict_every_class, shown_name
from pycam.variants import Variants

SHOWN_NOTES = 20
"""The number of notes of a kind on a page."""


def image_page(
    variants: Variants,
    paths: Sequence[Path],
    top: int | None = None,
    classes: Sequence[int | str] | None = None,
    every_class: bool = True,
) -> tuple[Heading, Iterator[Entry]]:
    """Make a page of images.

    Parameters
    ----------
    variants : Variants
        The models, methods or layers to show side by side.
    paths : sequence of Path
        The images. The page skips an image that cannot be read, and gives the reason.
    top, classes
        As for `Cam.__call__`.
    every_class : bool
        Whether the page can show every class, by the variants that give all maps at once.

    Returns
    -------
    (Heading, iterator of Entry)
        For `pycam.report.html.write_html`. The iterator raises the first fault if no image can be shown.
    """
    notes: list[str] = []
    facts = {}
    for variant in variants.variants:
        cam, protocol = variant.cam, variant.cam.protocol
        shown = f"view {protocol.view}", f"protocol {protocol.name}", protocol.boxes_by
        facts[shown_name(variant)] = [cam.model.name, *shown, cam.engine.description]
    title = paths[0].name if len(paths) == 1 else f"{len(paths)} images"
    labels = variants.variants[0].cam.model.labels if every_class else NO_LABELS
    heading = Heading(title, facts, notes, labels=labels)
    return heading, _entries(variants, paths, notes, top, classes, every_class)


def bytes_of_every_class(variants: Variants, images: int) -> int:
    """Return how many bytes the maps of every class of so many images take on a page, at most."""
    values = 0
    for variant in variants.variants:
        cam = variant.cam
        if not has_every_class(cam) or cam.head is None:
            continue
        _, _, *size = cam.model.net.shapes[cam.head.feature_blob]
        values += len(cam.placement.view.crops) * len(variant.matches) * math.prod(size)
    return images * values * 4 * 4 // 3  # float32 as base64


def _entries(
    variants: Variants,
    paths: Sequence[Path],
    notes: list[str],
    top: int | None,
    classes: Sequence[int | str] | None,
    every_class: bool,
) -> Iterator[Entry]:
    names = Counter(path.name for path in paths)
    faults: list[PycamError] = []
    cam = variants.variants[0].cam
    for path in paths:
        try:
            image = read_image(path, channels=cam.model.channels, exif=cam.protocol.exif)
            found = variants(image, top, classes)
            every = [
                predict_every_class(variant.cam, image, variant.matches) for variant in variants.variants if every_class
            ]
        except (ImageError, EngineError) as error:
            faults.append(error.alone())
            continue
        yield Entry.of(path.name if names[path.name] == 1 else str(path), image, found, every)
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
