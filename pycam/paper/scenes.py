"""Annotated scenes: images in folders of categories, each with an annotation of LabelMe, as SUN publishes them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pycam.errors import GroundTruthError, suggest
from pycam.formats.files import is_folder
from pycam.ilsvrc.names import image_name, normal
from pycam.images.files import image_files

_LETTER = re.compile(r"^[a-z]/(?=.)")


@dataclass(frozen=True)
class SceneFile:
    """An image with its annotation.

    Attributes
    ----------
    category : str
        The folder of the image below the root, without SUN's folder of the first letter.
    image, annotation : Path
        The two files.
    """

    category: str
    image: Path
    annotation: Path


def find_scenes(images: Path, annotations: Path) -> list[SceneFile]:
    """Find the images that have an annotation in the same folder of the other root, in the order of their paths.

    Raises
    ------
    GroundTruthError
        A root is not a folder, an annotation has no image, or there is none.
    """
    for root in (images, annotations):
        if not is_folder(root):
            raise GroundTruthError(f"{root}: no such folder; folders of categories were expected in it")
    files = {
        (path.parent.relative_to(images).as_posix(), normal(image_name(path.name))): path
        for path in image_files(images)
    }
    found = []
    for path in sorted(annotations.rglob("*.xml")):
        place = path.parent.relative_to(annotations).as_posix()
        image = files.get((place, normal(path.stem)))
        if image is None:
            raise GroundTruthError(f"{path}: no image {path.stem} in {images / place}")
        found.append(SceneFile(_LETTER.sub("", place), image, path))
    if not found:
        raise GroundTruthError(f"{annotations}: no .xml file below it; annotations of LabelMe were expected")
    return found


def by_category(scenes: Sequence[SceneFile], wanted: Sequence[str] = ()) -> dict[str, list[SceneFile]]:
    """Return the scenes of each category, in the order of the names; or of the wanted categories, in that order.

    Raises
    ------
    GroundTruthError
        A wanted category does not exist, there are fewer than two, or one has fewer than two images.
    """
    found: dict[str, list[SceneFile]] = {}
    for scene in scenes:
        found.setdefault(scene.category, []).append(scene)
    for name in wanted:
        if name not in found:
            hint = suggest(name, found, f"expected one of {', '.join(list(found)[:12])}")
            raise GroundTruthError(f"category {name!r}: no annotated image; {hint}")
    found = {name: found[name] for name in dict.fromkeys(wanted or sorted(found))}
    if len(found) < 2:
        raise GroundTruthError(f"{len(found)} category ({', '.join(found)}): a classifier needs two or more")
    for name, own in found.items():
        if len(own) < 2:
            raise GroundTruthError(
                f"category {name!r}: {len(own)} annotated image; two or more are needed: half of them is for training"
            )
    return found


def halves(count: int, generator: np.random.Generator) -> tuple[list[int], list[int]]:
    """Return the positions of a random half of `count` items, rounded down, and those of the rest, both in order."""
    order = generator.permutation(count)
    return sorted(order[: count // 2].tolist()), sorted(order[count // 2 :].tolist())
