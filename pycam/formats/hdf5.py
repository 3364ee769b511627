"""Caffe's snapshots in HDF5, `.caffemodel.h5` and `.solverstate.h5`: read them, and write them.

A bad file can crash the library, fill the memory, or name other files on this machine. It is read in a child process,
and only in the form that Caffe writes: groups and plain arrays, without links, filters, and parts in other files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam.errors import FormatError
from pycam.formats.files import atomic_open
from pycam.formats.sandbox import read_in_child

SIGNATURE = b"\x89HDF\r\n\x1a\n"
EXPECTED = "Caffe's HDF5"
MOST_OBJECTS = 50_000
DEEPEST = 16
LONGEST_TEXT = 4096
"""Limits above any file."""

MEMORY = 300 << 20
SECONDS = 8
SECONDS_PER_BYTE = 50e-9
"""Limits of the child, by the size of the file. Four times the size of the file is added to the memory."""

Blobs = tuple[NDArray[np.float32], ...]


@dataclass(frozen=True)
class SolverState:
    """The content of a `.solverstate.h5`.

    Attributes
    ----------
    iteration : int
        The number of finished iterations.
    learned_net : str
        The path of the weights.
    history : tuple of float32 arrays
        The solver's history.
    step : int
        How many steps the learning rate has made. It is written, and not read.
    sha256 : str
        The SHA-256 of the weights in hexadecimal; empty in Caffe's own states.
    """

    iteration: int
    learned_net: str
    history: tuple[NDArray[np.float32], ...]
    step: int = 0
    sha256: str = ""


def check_writable(what: str) -> None:
    """Raise a `FormatError` if the package `h5py` is missing; `what` is what needs it."""
    if find_spec("h5py") is None:
        raise FormatError(f"{what}: writing HDF5 needs `pip install 'caffe-cam[hdf5]'`")


def write_weights(path: str | os.PathLike[str], layers: Mapping[str, Sequence[NDArray[Any]]]) -> None:
    """Write weights as Caffe does: layer name -> its blobs, as float32. The file is complete or absent."""
    import h5py

    with atomic_open(path) as partial, h5py.File(partial, "w") as file:
        data = file.create_group("data")
        for name, blobs in layers.items():
            _put(data.create_group(name), blobs)


def write_state(path: str | os.PathLike[str], state: SolverState) -> None:
    """Write a solver's state as Caffe does. The file is complete or absent."""
    import h5py

    with atomic_open(path) as partial, h5py.File(partial, "w") as file:
        for name, number in (("iter", state.iteration), ("current_step", state.step)):
            file.create_dataset(name, data=np.array([number], np.int32))
        # h5py leaves out the zero at the end of a text, up to which Caffe reads.
        for name, given in (("learned_net", state.learned_net), ("learned_net_sha256", state.sha256)):
            text = os.fsencode(given) + b"\0"
            kind, one = h5py.h5t.C_S1.copy(), h5py.h5s.create(h5py.h5s.SCALAR)
            kind.set_size(len(text))
            made = h5py.h5d.create(file.id, name.encode(), kind, one)
            made.write(one, one, np.frombuffer(text, f"S{len(text)}"), kind)
        _put(file.create_group("history"), state.history)


def _put(group: Any, blobs: Sequence[NDArray[Any]]) -> None:
    for index, blob in enumerate(blobs):
        group.create_dataset(str(index), data=np.asarray(blob, np.float32))


def read_weights(path: str | os.PathLike[str]) -> dict[str, Blobs]:
    """Read the weights in a `.caffemodel.h5`.

    Returns
    -------
    dict
        Layer name -> its blobs, float32 arrays, for each layer that has any, in the order of their names.

    Raises
    ------
    FormatError
        The package `h5py` is not installed; the file is damaged or has another content; it has links, filters, or data
        in other files; or a blob is missing.
    """
    return {name: tuple(blobs) for name, blobs in _read(_weights, path).items()}


def read_state(path: str | os.PathLike[str]) -> SolverState:
    """Read a `.solverstate.h5`; errors are those of `read_weights`."""
    found = _read(_state, path)
    return SolverState(found["iter"], found["learned_net"], tuple(found["history"]), sha256=found["sha256"])


def _read(reader: Any, path: str | os.PathLike[str]) -> Any:
    if find_spec("h5py") is None:
        raise FormatError(f"{os.fspath(path)}: reading HDF5 needs `pip install 'caffe-cam[hdf5]'`")
    size = Path(path).stat().st_size
    return read_in_child(
        reader,
        path,
        expected=EXPECTED,
        library="h5py",
        seconds=SECONDS + SECONDS_PER_BYTE * size,
        memory=MEMORY + 4 * size,
    )


def _weights(path: str) -> dict[str, list[Any]]:
    """Read the groups of `/data` that contain arrays, in the child."""
    import h5py

    with h5py.File(path, "r") as file:
        data = _member(file, "data", h5py.Group)
        layers = {name: _in_order(arrays, f"layer {name!r}") for name, arrays in _groups(data, path) if arrays}
    if not layers:
        raise FormatError("no layer has weights: expected the .caffemodel.h5 of a trained net")
    return layers


def _state(path: str) -> dict[str, Any]:
    """Read the iteration, the name of the weights and the history, in the child."""
    import h5py

    with h5py.File(path, "r") as file:
        number = _member(file, "iter", h5py.Dataset)
        if number.size != 1 or number.dtype.kind not in "iu":
            raise FormatError("iter is not a number: not a solverstate")
        _check_storage(number, "iter")
        found = dict(_groups(_member(file, "history", h5py.Group), path))
        return {
            "iter": int(number[()] if number.shape == () else number[(0,) * number.ndim]),
            "learned_net": _text(file, "learned_net"),
            "sha256": _text(file, "learned_net_sha256") if "learned_net_sha256" in file else "",
            "history": _in_order(found.get("", {}), "the history"),
        }


def _text(file: Any, name: str) -> str:
    import h5py

    text = _member(file, name, h5py.Dataset)
    kind = h5py.check_string_dtype(text.dtype)
    if kind is None or text.shape != ():
        raise FormatError(f"{name} is not a text: not a solverstate")
    if kind.length is None or kind.length > LONGEST_TEXT:
        raise FormatError(f"{name} is not a text of up to {LONGEST_TEXT} bytes")
    _check_storage(text, name)
    return bytes(text[()]).decode("utf-8", "backslashreplace").rstrip("\0")


def _member(group: Any, name: str, kind: type) -> Any:
    """Return a member of the file by its name."""
    import h5py

    if name not in group:
        present = ", ".join(sorted(group)[:4]) or "nothing"
        raise FormatError(f"expected {EXPECTED} with {name!r}, found {present}: is this a file of another program?")
    _check_link(group, name)
    found = group[name]
    if not isinstance(found, kind):
        what = "group" if kind is h5py.Group else "dataset"
        raise FormatError(f"{name!r} is not a {what}: not a file of Caffe's")
    return found


def _groups(top: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each group below `top` by its path, "" for `top` itself, with its arrays by their names."""
    import h5py

    left = Path(path).stat().st_size
    count = 0
    # The name of a layer may have slashes: a group in a group.
    waiting = [("", top, 0)]
    while waiting:
        place, group, depth = waiting.pop(0)
        if depth > DEEPEST:
            raise FormatError(f"groups are nested more than {DEEPEST} deep")
        arrays: dict[str, Any] = {}
        for name in group:
            count += 1
            if count > MOST_OBJECTS:
                raise FormatError(f"more than {MOST_OBJECTS:,} groups and arrays")
            _check_link(group, name)
            member, inner = group[name], f"{place}/{name}".lstrip("/")
            if isinstance(member, h5py.Group):
                waiting.append((inner, member, depth + 1))
            elif isinstance(member, h5py.Dataset):
                _check_storage(member, inner)
                if member.dtype.kind != "f" or member.dtype.itemsize > 8 or member.shape is None:
                    raise FormatError(f"{inner!r} has values of type {member.dtype}: expected float or double")
                left -= member.size * member.dtype.itemsize
                if left < 0:
                    raise FormatError(f"{inner!r} of {member.shape} values is larger than the file: damaged or cut off")
                arrays[name] = member[()]
            else:
                raise FormatError(f"{inner!r} is neither a group nor an array")
        yield place, arrays


def _check_link(group: Any, name: str) -> None:
    import h5py

    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise FormatError(f"{name!r} is a link, perhaps to another file: Caffe writes none, and pycam follows none")


def _check_storage(dataset: Any, name: str) -> None:
    made = dataset.id.get_create_plist()
    if dataset.is_virtual or dataset.external:
        raise FormatError(f"the values of {name!r} are in another file: Caffe does not write this")
    if made.get_nfilters():
        raise FormatError(f"{name!r} is compressed or filtered: unpack it with `h5repack -f NONE OLD NEW`")


def _in_order(arrays: dict[str, Any], what: str) -> list[Any]:
    """Return arrays named 0, 1, … in this order, in single precision."""
    names = [str(index) for index in range(len(arrays))]
    if missing := [name for name in names if name not in arrays]:
        raise FormatError(f"{what} has the blobs {', '.join(sorted(arrays)[:8])}: blob {missing[0]} is missing")
    with np.errstate(over="ignore", invalid="ignore"):
        return [np.asarray(arrays[name]).astype(np.float32, copy=False) for name in names]
