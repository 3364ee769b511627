"""Features in the output folder of a table: computed once, and read again by the next run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pycam.errors import FormatError
from pycam.formats.files import is_file
from pycam.paper.feature_run import Images, about_features, compute_features
from pycam.paper.features import Features
from pycam.predict import Cam


def kept_features(
    cam: Cam,
    images: Images,
    path: Path,
    blob: str,
    *,
    pooling: str = "average",
    batch: int = 8,
    progress: Callable[[int], None] = lambda done: None,
) -> Features:
    """Return features from a file if it has those of the same images, model and choices; else compute and write them.

    Parameters
    ----------
    cam, images, blob, pooling, batch, progress
        As for `compute_features`, which resumes an interrupted run.
    path : Path
        The `.npz`.

    Raises
    ------
    RunError, ImageError, EngineError
        As for `compute_features`.
    """
    about = about_features(cam, blob, pooling, batch)
    if is_file(path):
        try:
            found = Features.load(path)
        except FormatError:
            found = None  # a damaged file is made again
        if found is not None and found.about == about and found.images == images.names:
            progress(len(images.names))
            return found
    path.parent.mkdir(parents=True, exist_ok=True)
    return compute_features(cam, images, path, blob, pooling=pooling, batch=batch, progress=progress)
