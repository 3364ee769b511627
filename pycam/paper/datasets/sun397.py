"""SUN397: `ClassName.txt`, and a list of training and of test images per partition: `Training_01.txt` and so on."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from pycam.errors import GroundTruthError
from pycam.formats.files import is_file
from pycam.paper.datasets.labelled import LabelledImages, Listed, lines_of, listed_splits

PARTITIONS = 10


def read_sun397(folder: Path, *, splits: int) -> LabelledImages:
    """Read the classes and the first partitions; the lists are in the folder or in its folder `Partitions`.

    A line such as `/a/abbey/sun_x.jpg` is an image of the class `/a/abbey`.

    Parameters
    ----------
    folder : Path
        The folder with the images, such as `a/abbey/sun_x.jpg`.
    splits : int
        The greatest number of partitions.

    Raises
    ------
    GroundTruthError
        With file and line: a list is missing, or an image or its class is.
    """
    place = next((each for each in (folder, folder / "Partitions") if is_file(each / "ClassName.txt")), folder)
    classes = {line.strip("/"): number for number, (line, _) in enumerate(lines_of(place / "ClassName.txt"))}

    def read(name: str) -> list[Listed]:
        return [_listed(folder, place, classes, *line) for line in lines_of(place / name)]

    numbers = [f"{number:02}" for number in range(1, min(splits, PARTITIONS) + 1)]
    # A made-up or partial copy may have fewer partitions, but each with both of its lists.
    numbers = [
        each
        for each in numbers
        if each == "01" or any(is_file(place / f"{part}_{each}.txt") for part in ("Training", "Testing"))
    ]
    parts = ((read(f"Training_{each}.txt"), read(f"Testing_{each}.txt")) for each in numbers)
    return listed_splits(parts, list(classes), "the partitions that come with the data")


def _listed(folder: Path, place: Path, classes: dict[str, int], line: str, where: str) -> Listed:
    image = PurePosixPath(line.strip("/"))
    if str(image.parent) not in classes:
        raise GroundTruthError(f"{where}: class /{image.parent} is not in {place / 'ClassName.txt'}")
    return Listed(folder / image, classes[str(image.parent)], where)
