"""Readers that a bad file can crash, hang, or fill the memory with, run in a child process with bounds."""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from pycam.errors import FormatError

TOO_LARGE = "what it holds is too large to be unpacked"
ANSWER = 64 << 20
"""An answer may have so many bytes, and twice as many as the file has."""

BEGIN = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
CHILD = "from pycam.formats import sandbox; sandbox.child(*json.loads(sys.argv[2]))"


def read_in_child(
    reader: Callable[..., Any],
    path: str | os.PathLike[str],
    *arguments: str,
    expected: str,
    library: str,
    seconds: float,
    memory: int | None = None,
) -> Any:
    """Read a file in a child process, so that a bad file cannot harm this process.

    Parameters
    ----------
    reader
        A function of a module. It is called with the path and `arguments`, and returns arrays, or lists and
        dictionaries of arrays and text. It raises `FormatError` with what is wrong, without the path.
    path
        The file.
    arguments
        Further arguments of the reader.
    expected
        What the file should be, for messages: `a MATLAB file`.
    library
        The module that the reader reads with; it is imported before the memory is bounded.
    seconds
        Processor time that the child may take.
    memory
        Bytes that reading may take, None for no bound. It is enforced on Linux only.

    Returns
    -------
    object
        What the reader returned.

    Raises
    ------
    FormatError
        The reader refused the file, crashed, or exceeded its bounds.
    """
    order = [reader.__module__, reader.__name__, os.fspath(path), arguments, expected, library, seconds, memory]
    process = subprocess.run(
        [sys.executable, "-c", BEGIN + CHILD, json.dumps(sys.path), json.dumps(order)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
        check=False,
    )
    if process.returncode < 0:
        end = signal.Signals(-process.returncode).name
        raise FormatError(f"{path}: damaged or cut off: its reader crashed or hung on it ({end})")
    try:
        answer = _ArrayUnpickler(io.BytesIO(process.stdout)).load()
    except Exception as error:
        last_line = process.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        reason = (process.returncode and last_line) or error
        raise FormatError(f"{path}: cannot be read as {expected}: {reason}") from None
    if isinstance(answer, str):
        raise FormatError(f"{path}: {answer}")
    return answer


class _ArrayUnpickler(pickle.Unpickler):
    """Takes arrays only: what a file may have done to the child must not reach this process."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")) or (
            module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct"
        ):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it holds a {name}, expected numbers, text, cells and structs")


def child(
    module: str,
    name: str,
    path: str,
    arguments: list[str],
    expected: str,
    library: str,
    seconds: float,
    memory: int | None,
) -> None:
    """Write what the reader returns to standard output as a pickle, or a string that says what is wrong."""
    reader = getattr(import_module(module), name)
    import_module(library)
    _limit(math.ceil(seconds), memory)
    try:
        packed = pickle.dumps(reader(path, *arguments), protocol=4)
        if len(packed) > ANSWER + 2 * Path(path).stat().st_size:
            raise FormatError(TOO_LARGE)
    except FormatError as error:
        packed = pickle.dumps(str(error))
    except MemoryError:
        packed = pickle.dumps(TOO_LARGE)
    except Exception as error:
        packed = pickle.dumps(f"cannot be read as {expected}: {error!r:.200}")
    sys.stdout.buffer.write(packed)


def _limit(seconds: int, memory: int | None) -> None:
    """Bound the processor time and the memory that this process takes from now on, where it can be done."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    pages = Path("/proc/self/statm")
    if memory is not None and pages.exists():
        memory += int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
