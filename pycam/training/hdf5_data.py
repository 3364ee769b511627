"""The data of `HDF5Data` layers: HDF5 files that a list names, with one dataset per top."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from pycam.errors import GroundTruthError, TrainingError
from pycam.formats.files import is_file
from pycam.formats.hdf5_arrays import check_arrays, read_arrays
from pycam.formats.lines import numbered_lines
from pycam.net.layers import dims
from pycam.training.batches import Batches, Floats
from pycam.training.solver import beside

PROCESSES = 4
"""How many files are checked at once."""


@dataclass(frozen=True)
class ArrayFile:
    """A checked HDF5 file.

    Attributes
    ----------
    path : str
        The file.
    shapes : tuple of tuple of int
        The shape of each dataset, by the tops of the layer; all have the same number of rows.
    """

    path: str
    shapes: tuple[tuple[int, ...], ...]

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.shapes[0][0]


@final
@dataclass(frozen=True)
class ArrayBatches(Batches):
    """Batches of rows of HDF5 files; the rows of one file follow those of another.

    Attributes
    ----------
    files : tuple of ArrayFile
        In the order of the list.
    size : int
        Rows per batch.
    shuffle : bool
        Shuffle the files, and the rows of each, before each epoch.
    seed : tuple of int
        Seed of the order.
    """

    tops: tuple[str, ...]
    files: tuple[ArrayFile, ...]
    size: int
    shuffle: bool = False
    seed: tuple[int, ...] = (0,)
    notes: tuple[str, ...] = ()

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the blobs: those of the datasets, with `size` rows."""
        return tuple((self.size, *shape[1:]) for shape in self.files[0].shapes)

    def __getitem__(self, number: int) -> dict[str, Floats]:
        places = [self._place(number, i) for i in range(self.size)]
        batch = [np.empty(shape, np.float32) for shape in self.shapes]
        for i, (file, row) in enumerate(places):
            for target, values in zip(batch, self._read(self.files[file].path, self.tops), strict=True):
                target[i] = values[row]
        return dict(zip(self.tops, batch, strict=True))

    def where(self, number: int, place: int) -> str:
        """Return the file and the row of an item of a batch."""
        file, row = self._place(number, place)
        return f"{self.files[file].path}: row {row}"

    def _place(self, number: int, place: int) -> tuple[int, int]:
        """Return the file and the row of an item of a batch."""
        round_, index = divmod(number * self.size + place, self._starts[-1])
        if self.shuffle:
            index = int(_order(self._starts, (*self.seed, round_))[index])
        file = int(np.searchsorted(self._starts, index, side="right")) - 1
        return file, index - self._starts[file]

    @cached_property
    def _read(self) -> Callable[[str, tuple[str, ...]], tuple[Floats, ...]]:
        """Read a file. Like Caffe, this keeps whole files in memory: the current one, and the last one."""
        return lru_cache(maxsize=2)(read_arrays)

    @cached_property
    def _starts(self) -> tuple[int, ...]:
        """The number of rows before each file, and of all."""
        return tuple(accumulate((file.rows for file in self.files), initial=0))


@lru_cache(maxsize=2)
def _order(starts: tuple[int, ...], seed: tuple[int, ...]) -> NDArray[np.intp]:
    """Return the rows of all files in a random order that finishes one file before the next."""
    rng = np.random.default_rng(seed)
    parts = [
        starts[file] + rng.permutation(starts[file + 1] - starts[file]) for file in rng.permutation(len(starts) - 1)
    ]
    return np.concatenate(parts)


def open_hdf5(layer: Any, path: Path, seed: tuple[int, ...]) -> ArrayBatches:
    """Open the files of an `HDF5Data` layer in the prototxt `path`.

    Raises
    ------
    TrainingError
        A field of the layer is wrong; the list or a file is missing or damaged; a dataset is missing, or of another
        shape than in the first file; or the package `h5py` is not installed.
    """
    param = layer.hdf5_data_param
    if layer.HasField("transform_param"):
        raise TrainingError("HDF5Data does not transform its values: remove transform_param, or transform the files")
    if param.batch_size < 1:
        raise TrainingError(f"batch_size {int(param.batch_size)}: expected 1 or more")
    tops = tuple(layer.top)
    with ThreadPoolExecutor(PROCESSES, "pycam-hdf5") as readers:
        files = list(readers.map(lambda file: _checked(file, tops), _listed(beside(param.source, path))))
    for file in files:
        for top, shape, first in zip(tops, file.shapes, files[0].shapes, strict=True):
            if shape[1:] != first[1:]:
                raise TrainingError(
                    f"{file.path}: {top!r} is {dims(shape)}, but {dims(first)} in {files[0].path}: all files need one "
                    "shape, except for the number of rows"
                )
    return ArrayBatches(tops, tuple(files), int(param.batch_size), bool(param.shuffle), seed)


def _listed(path: Path) -> list[Path]:
    """Return the files that a list names, separated by white space."""
    names = []
    try:
        for number, line in numbered_lines(path):
            for name in line.split():
                file = beside(name, path)
                if not is_file(file):
                    raise TrainingError(f"{path}:{number}: no HDF5 file {name[:400]}")
                names.append(file)
    except GroundTruthError as error:
        raise TrainingError(f"{error} (a list of HDF5 files; `source` is not an HDF5 file itself)") from None
    if not names:
        raise TrainingError(f"{path}: a list without HDF5 files")
    return names


def _checked(path: Path, tops: tuple[str, ...]) -> ArrayFile:
    shapes = check_arrays(path, tops)
    for top, shape in zip(tops, shapes, strict=True):
        if shape[0] != shapes[0][0]:
            raise TrainingError(
                f"{path}: {top!r} has {shape[0]} rows, but {tops[0]!r} has {shapes[0][0]}: both need one for each item"
            )
    return ArrayFile(str(path), shapes)
