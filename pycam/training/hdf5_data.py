"""The data of `HDF5Data` layers: HDF5 files that a list names, with one dataset per top.

A bad file can crash the HDF5 library. Each file is first read in a child process, which refuses links, data in other
files, and filters that Caffe does not have; then this process reads it.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from pycam.errors import FormatError, GroundTruthError, TrainingError
from pycam.formats.files import is_file
from pycam.formats.sandbox import read_in_child
from pycam.ilsvrc.lines import numbered_lines
from pycam.net.layers import dims
from pycam.training.batches import Batches, Floats
from pycam.training.solver import beside

FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32"}
"""The filters that every HDF5 library has, by their numbers."""

LARGEST_RATIO = 1100
"""Limit on the size of the values, by their size in the file: gzip reaches 1032."""

MEMORY = 600 << 20
SECONDS = 10
SECONDS_PER_BYTE = 1e-6
"""Limits of the child, by the size of the file. Four times the size of the file is added to the memory."""

PROCESSES = 4
"""How many files are checked at once."""

PART = 16 << 20
"""About how many bytes the child reads at once."""


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
            for target, values in zip(batch, _read(self.files[file].path, self.tops), strict=True):
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


# Like Caffe, this keeps whole files in memory: of each of two layers the current one, and the last one.
@lru_cache(maxsize=4)
def _read(path: str, names: tuple[str, ...]) -> tuple[Floats, ...]:
    import h5py

    try:
        with h5py.File(path, "r") as file, np.errstate(over="ignore", invalid="ignore"):
            return tuple(np.asarray(file[name][()]).astype(np.float32) for name in names)
    except (OSError, KeyError, RuntimeError) as error:
        raise TrainingError(f"{path}: cannot be read any more ({error}): did it change since the start?") from None


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
        raise TrainingError("batch_size must be positive")
    if find_spec("h5py") is None:
        raise TrainingError("reading HDF5 needs `pip install 'caffe-cam[hdf5]'`")
    tops = tuple(layer.top)
    with ThreadPoolExecutor(PROCESSES, "pycam-hdf5") as readers:
        files = list(readers.map(lambda name: _open(name, tops), _listed(beside(param.source, path))))
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


def _open(path: Path, tops: tuple[str, ...]) -> ArrayFile:
    size = path.stat().st_size
    seconds, memory = SECONDS + SECONDS_PER_BYTE * size, MEMORY + 4 * size
    try:
        shapes = read_in_child(_check, path, *tops, expected="HDF5", library="h5py", seconds=seconds, memory=memory)
    except FormatError as error:
        raise TrainingError(str(error)) from None
    return ArrayFile(str(path), tuple(tuple(shape) for shape in shapes))


def _check(path: str, *tops: str) -> list[list[int]]:
    """Read the datasets once, in the child, and return their shapes."""
    import h5py

    shapes = []
    with h5py.File(path, "r") as file:
        for top in tops:
            dataset = _dataset(file, top)
            _check_storage(dataset, top)
            shapes.append(list(map(int, dataset.shape)))
            if shapes[-1][0] != shapes[0][0]:
                raise FormatError(
                    f"{top!r} has {shapes[-1][0]} rows, but {tops[0]!r} has {shapes[0][0]}: both need one for each item"
                )
            row = max(1, dataset.dtype.itemsize * dataset.size // len(dataset))
            step = max(1, PART // row)
            for first in range(0, len(dataset), step):
                dataset[first : first + step]
    return shapes


def _dataset(file: Any, top: str) -> Any:
    import h5py

    # Caffe finds no dataset in a group.
    if top not in list(file):
        present = ", ".join(sorted(file)[:8]) or "nothing"
        raise FormatError(f"no dataset {top!r} for the top of that name: it has {present}")
    if not isinstance(file.get(top, getlink=True), h5py.HardLink):
        raise FormatError(f"{top!r} is a link, perhaps to another file: pycam follows none, store the values here")
    dataset = file[top]
    if not isinstance(dataset, h5py.Dataset):
        raise FormatError(f"{top!r} is a group: expected a dataset for the top of that name")
    return dataset


def _check_storage(dataset: Any, top: str) -> None:
    if dataset.dtype.kind not in "fiu" or dataset.dtype.itemsize > 8:
        raise FormatError(f"{top!r} has values of type {dataset.dtype}: expected float, double or integers")
    if not dataset.shape or dataset.size == 0:
        raise FormatError(f"{top!r} has the shape {dims(dataset.shape or ())}: expected one row or more")
    if dataset.is_virtual or dataset.external:
        raise FormatError(f"the values of {top!r} are in another file: store them here")
    made = dataset.id.get_create_plist()
    filters = [made.get_filter(i)[0] for i in range(made.get_nfilters())]
    if unknown := [number for number in filters if number not in FILTERS]:
        raise FormatError(
            f"{top!r} has the filter {unknown[0]}, Caffe reads {', '.join(FILTERS.values())}: write it with "
            "`h5repack -f GZIP=1 OLD NEW`"
        )
    stored = dataset.id.get_storage_size() * (LARGEST_RATIO if filters else 1)
    if dataset.size * dataset.dtype.itemsize > stored:
        raise FormatError(f"{top!r} of {dims(dataset.shape)} is larger than its values in the file: damaged or cut off")
