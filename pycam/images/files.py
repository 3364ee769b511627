"""The files of images: their endings, those in a folder, and what stands before the name of a list of them."""

from __future__ import annotations

import os
from collections.abc import Container
from pathlib import Path, PurePath

from pycam.formats.output_folder import NAMES

IMAGE_SUFFIXES = {
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"
}  # fmt: skip

JPEG_SIDE = 65_500
"""The largest height and width of a JPEG that libjpeg writes."""

LIST = "@"
"""What stands before the name of a list."""


def image_files(folder: Path, suffixes: Container[str] = IMAGE_SUFFIXES) -> list[Path]:
    """Return the image files in a folder and its subfolders, in the order of their paths.

    Hidden files and folders are left out, such as `._fox.jpg` and `.thumbnails`, and so are subfolders that pycam has
    written, with overlays of images.
    """
    found = []
    for place, folders, files in os.walk(folder):
        if NAMES in files and Path(place) != folder:
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        names = (name for name in files if not name.startswith(".") and PurePath(name).suffix.lower() in suffixes)
        found += [Path(place, name) for name in names]
    return sorted(found)
