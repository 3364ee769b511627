"""`pycam demo`: heat maps of photographs that come with scikit-image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from pycam.errors import UsageError
from pycam.pictures import read_picture
from pycam.predict import load

MODEL = "squeezenet-cam-caltech101"
PHOTOGRAPHS = ("coffee", "chelsea", "astronaut")


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("demo-output"),
) -> None:
    """Write the top-5 heat maps of three photographs."""
    try:
        from skimage import data
    except ImportError:
        raise UsageError("the demo's photographs come with scikit-image: pip install 'caffe-cam[demo]'") from None
    written = []
    with load(MODEL, view="full") as cam:
        for name in PHOTOGRAPHS:
            picture = read_picture(getattr(data, name)()[..., ::-1])
            prediction = cam(replace(picture, path=f"{name}.png"))
            print(
                f"{name}: " + ", ".join(f"{item.words.split(',')[0]} {item.score:.2f}" for item in prediction.top[:3])
            )
            written += prediction.save(out / name, boxes=True)
    print(f"{len(written)} files; look at")
    for path in written:
        if path.stem.endswith("_strip"):
            print(f"  {path}")
