"""Run readers in a child process with limits: a bad file can crash them, hang them, or fill the memory."""

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

TOO_LARGE = "its content is too large to be unpacked"
ANSWER = 64 << 20
"""The most bytes of an answer; twice the size of the file is added."""

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
    """Read a file in a child process: a bad file cannot harm this process.

    Parameters
    ----------
    reader : callable
        A function of a module. It is called with the path and `arguments`, and returns arrays, or lists and
        dictionaries of arrays and text. It raises a `FormatError` with the reason, without the path.
    path : path
        The file.
    arguments : str
        Further arguments of the reader.
    expected : str
        The expected kind of file, for messages: `a MATLAB file`.
    library : str
        The module that the reader uses; it is imported before the memory is limited.
    seconds : float
        The most processor time of the child.
    memory : int or None
        The most bytes that reading may take, None for no limit. It is enforced on Linux only.

    Returns
    -------
    object
        The reader's result.

    Raises
    ------
    FormatError
        The reader refused the file, crashed, or exceeded its limits.
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
    """An unpickler of arrays only: a child that a file took over must not reach this process."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype")) or (
            module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct"
        ):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"found a {name}, expected numbers, text, cells and structs")


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
    """Write the reader's result to standard output as a pickle, or the reason of a failure as a pickled string."""
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
    """Limit the processor time and the memory that this process takes from now on, if the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    pages = Path("/proc/self/statm")
    if memory is not None and pages.exists():
        memory += int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
