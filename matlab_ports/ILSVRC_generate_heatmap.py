"""`ILSVRC_generate_heatmap.m`: `python -m matlab_ports.ILSVRC_generate_heatmap IMAGES… --out FOLDER`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from pycam.cli import options
from pycam.drawing import encode_jpeg
from pycam.errors import PycamError, UsageError
from pycam.formats.files import atomic_write
from pycam.maps.boxes import grey_heatmap
from pycam.predict import Cam, load

MATLAB_QUALITY = 75


def ILSVRC_generate_heatmap(cam: Cam, imageFiles: Iterable[str | Path], resultFolder: str | Path) -> None:
    """Write the heat maps of the top five classes of images, ready for `generate_bbox`.

    Parameters
    ----------
    cam : Cam
        The result of `pycam.load(…, protocol="released")`.
    imageFiles : paths
        The images; their names without suffix must differ.
    resultFolder : path
        The folder for `<name>_1.jpg` to `<name>_5.jpg`, best class first, and `<name>.txt` with one line per class:
        the class, from 1, and its score. docs/release.md, section 4.

    Raises
    ------
    UsageError
        Two images have the same name.
    """
    folder = Path(resultFolder)
    folder.mkdir(parents=True, exist_ok=True)
    names: set[str] = set()
    for image, prediction in cam.stream(imageFiles):
        if isinstance(prediction, PycamError):
            raise prediction
        name = Path(str(image)).stem
        if name in names:
            raise UsageError(f"{image}: an image before it is called {name!r}, too: give images with different names")
        names.add(name)
        for rank, item in enumerate(prediction.top, start=1):
            heatmap = grey_heatmap(item.image_map, jpeg=False)
            atomic_write(folder / f"{name}_{rank}.jpg", encode_jpeg(heatmap, MATLAB_QUALITY))
        classes = "".join(f"{item.index + 1} {item.score:.9g}\n" for item in prediction.top)
        atomic_write(folder / f"{name}.txt", classes)


@options.grouped
def _script(
    images: Annotated[list[Path], typer.Argument(help="Images.")],
    out: Annotated[Path, typer.Option(help="Folder for the heat maps.")],
    source: options.MeanOptions = options.MeanOptions(model="googlenet-cam"),
    engine: options.EngineOptions = options.EngineOptions(),
) -> None:
    """Write the heat maps of the top five classes of images as the release does."""
    with load(**vars(source), engine=engine.engine, protocol="released", options=engine.options) as cam:
        ILSVRC_generate_heatmap(cam, images, out)


if __name__ == "__main__":
    from matlab_ports.command import run

    run(_script)
