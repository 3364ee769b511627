"""The names that join an image with its annotation, its label and its maps."""

from __future__ import annotations

import unicodedata
from collections.abc import Container, Iterable, Sequence
from pathlib import Path, PurePath

from pycam.errors import GroundTruthError
from pycam.images.files import IMAGE_SUFFIXES


def normal(text: str) -> str:
    """Return a name in the form in which names are compared and written.

    Some systems store `é` as two characters; here it is one (NFC). Bytes that are not UTF-8, and control characters,
    become escapes.
    """
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    escaped = (c.encode("unicode_escape").decode() if unicodedata.category(c) == "Cc" else c for c in text)
    return unicodedata.normalize("NFC", "".join(escaped))


def image_name(text: str) -> str:
    """Return the name of an image: that of its file, without folders and without an image's suffix.

    Only an image's suffix is removed: the name of `v1.0.jpg` is `v1.0`, and so is that of `v1.0`.
    """
    path = PurePath(text)
    return normal(path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name)


def known_name(name: str, known: Container[str]) -> str | None:
    """Return under which of the known names an image is found: its whole name, or else without suffix; or None."""
    return next((each for each in (normal(PurePath(name).name), image_name(name)) if each in known), None)


def join(names: Sequence[str], keys: Iterable[str]) -> list[str | None]:
    """Find the key of each image among those of another source, such as a folder of maps.

    Parameters
    ----------
    names : sequence of str
        Names of images: IDs with folders and suffix, or file names with or without suffix.
    keys : iterable of str
        The other source's names of the same images. Either side may lack folders and suffixes.

    Returns
    -------
    list of str or None
        The key of each name; None if there is none, or if several could be meant.
    """
    exact: dict[str, str] = {}
    by_stem: dict[str, list[str]] = {}
    for key in keys:
        exact.setdefault(normal(key), key)
        by_stem.setdefault(image_name(key), []).append(key)
    return [exact.get(normal(name)) or _only_near(name, by_stem.get(image_name(name), [])) for name in names]


def join_all(names: Sequence[str], keys: Iterable[str], path: Path, what: str) -> list[str]:
    """Find the key of each image as `join` does, where each needs one.

    Parameters
    ----------
    names, keys
        As for `join`.
    path : Path
        Where the keys come from, for messages.
    what : str
        What a key stands for, for messages: "map".

    Raises
    ------
    GroundTruthError
        Images have no key; with their number and the first one.
    """
    found = join(names, keys)
    if missing := [name for name, key in zip(names, found, strict=True) if key is None]:
        count = f"{len(missing)} of {len(names)} images have no {what}"
        raise GroundTruthError(
            f"{path}: {count}, the first is {missing[0]!r}: every image of the ground truth needs one"
        )
    return [key for key in found if key is not None]


def _only_near(name: str, keys: list[str]) -> str | None:
    """Return the only key in the folder of a name; or else the only one without a folder, or for a name without one."""
    folder = _folder(name)
    for near in (
        [key for key in keys if _folder(key) == folder],
        [key for key in keys if folder == "." or _folder(key) == "."],
    ):
        if near:
            return near[0] if len(near) == 1 else None
    return None


def _folder(name: str) -> str:
    return PurePath(normal(name)).parent.as_posix()
