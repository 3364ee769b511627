"""Comparison of the blobs of two engines, or of two files, layer by layer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pycam import engines
from pycam.engines import Options
from pycam.errors import FormatError
from pycam.formats.files import atomic_open
from pycam.formats.opening import open_file
from pycam.net import Net

Blobs = Mapping[str, NDArray[np.float32]]

TOLERANCE = 2e-5
"""The allowed difference, relative to the blob's largest value."""


@dataclass(frozen=True)
class Row:
    """The difference between two values of one blob.

    Attributes
    ----------
    layer : str
        The layer that wrote the blob last.
    blob : str
        Its name.
    max_abs : float
        max |a − b|.
    max_rel : float
        max |a − b| / max |b|; infinite where b is 0 and a is not, or where the shapes differ.
    cosine : float
        Cosine of the angle between a and b; 1 where they are equal.
    fork : str
        The type, in the file of a fork of Caffe, of a layer that writes the blob and that Caffe 1.0 lacks; else empty.
    """

    layer: str
    blob: str
    max_abs: float
    max_rel: float
    cosine: float
    fork: str = ""

    def departs(self, tolerance: float) -> bool:
        """Return True if the difference exceeds `tolerance`, or is not a number."""
        return not self.max_rel <= tolerance


def run(net: Net, engine: str, inputs: Blobs, options: Options = Options()) -> dict[str, NDArray[np.float32]]:
    """Run a net with an engine, and return every blob.

    Parameters
    ----------
    net : Net
        With parameters.
    engine : str
        Its name.
    inputs : mapping of str to float32 array
        Input blob -> values.
    options : Options
        Of the engine.

    Returns
    -------
    dict
        Blob -> float32 values, in the net's order, the inputs among them.
    """
    wanted = [blob for blob in net.shapes if blob not in net.inputs]
    with engines.make(engine, net, wanted, options) as made:
        found = made.forward(inputs)
    return {blob: found[blob] if blob in found else inputs[blob] for blob in net.shapes}


def compare(net: Net, a: Blobs, b: Blobs) -> list[Row]:
    """Compare the blobs that both sides have, in the order in which the net writes them.

    Parameters
    ----------
    net : Net
        Gives the order, and the layers' names.
    a, b : mapping of str to float32 array
        Blob -> values; `b` is the reference.

    Returns
    -------
    list of Row
        One per blob that a layer computes.
    """
    forks = {top: net.fork_types[each.name] for each in net.layers if each.name in net.fork_types for top in each.tops}
    return [
        replace(_row(net.producer[blob].name, blob, a[blob], b[blob]), fork=forks.get(blob, ""))
        for blob in net.shapes
        if blob in a and blob in b and blob not in net.inputs
    ]


def _row(layer: str, blob: str, a: NDArray[np.float32], b: NDArray[np.float32]) -> Row:
    if a.shape != b.shape:
        return Row(layer, blob, np.inf, np.inf, 0.0)
    one, two = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    with np.errstate(invalid="ignore"):
        max_abs = float(np.abs(one - two).max(initial=0))
        largest = float(np.abs(two).max(initial=0))
        lengths = float(np.linalg.norm(one) * np.linalg.norm(two))
    if max_abs == 0:
        return Row(layer, blob, 0.0, 0.0, 1.0)
    max_rel = max_abs / largest if largest else np.inf
    return Row(layer, blob, max_abs, max_rel, float(one @ two) / lengths if lengths else 0.0)


def save_blobs(path: str | os.PathLike[str], blobs: Blobs) -> None:
    """Write blobs, inputs included, to an `.npz` file; any NumPy reads it, blob names are its keys."""
    with atomic_open(path) as file:
        np.savez(file, **{name: np.asarray(values, np.float32) for name, values in blobs.items()})  # type: ignore[arg-type]


def load_blobs(path: str | os.PathLike[str]) -> dict[str, NDArray[np.float32]]:
    """Read blobs that `save_blobs` wrote.

    Raises
    ------
    FormatError
        There is no such file, or it is not one of these.
    """
    try:
        with open_file(path, "a file of blobs") as opened, np.load(opened, allow_pickle=False) as file:
            size = os.fstat(opened.fileno()).st_size
            # The file is written without compression: one that claims more bytes is damaged, or a decompression bomb.
            if sum(entry.file_size for entry in file.zip.infolist()) > size:
                raise ValueError("it is compressed")
            return {name: np.asarray(file[name], np.float32) for name in file.files}
    except FormatError:
        raise
    except Exception as error:
        # NumPy, zipfile and zlib each have their own ways to fail on a damaged file.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FormatError(
            f"{os.fspath(path)}: not a file of blobs as `pycam compare --save` writes it ({reason})"
        ) from None
