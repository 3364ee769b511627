"""The errors that pycam raises: one base class, and one exit code of the command line per kind. Also interruptions."""

from __future__ import annotations

import errno
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

AGAIN = "then give the same command again"

ADVICE = {
    "ENOSPC": f"make room on this disk, {AGAIN}",
    "EDQUOT": f"delete files of yours or get a larger quota, {AGAIN}",
    "EROFS": "nothing can be written there: choose another folder",
    "EACCES": "check its permissions and those of its folder, or choose another folder",
    "EPERM": "check its permissions and those of its folder, or choose another folder",
    "ENOENT": "check the name, and whether its folder still exists",
    "ENOTDIR": "a part of this path is a file, not a folder: choose another",
    "EEXIST": "a file has the name of this folder: choose another, or move the file away",
    "EISDIR": "this is a folder: give the name of a file",
    "ENAMETOOLONG": "choose a shorter name",
    "ELOOP": "its links lead in a circle: remove them",
    "EFBIG": f"no file may become this large: raise the limit (`ulimit -f`) or choose another disk, {AGAIN}",
    "EMFILE": f"too many files are open: raise the limit (`ulimit -n`), {AGAIN}",
    "ENFILE": f"the machine has too many open files: end other programs, {AGAIN}",
    "ENOLCK": "files cannot be locked there: choose a folder on a disk of this machine",
    "EIO": f"the disk, or the way to it, fails: check it, {AGAIN}",
    "ESTALE": f"a network disk has changed or is lost: mount it again, {AGAIN}",
    "ENODEV": f"the disk is not there: mount it again, {AGAIN}",
    "ENXIO": "nobody reads at the other end: start the reader first",
    "EBUSY": f"another program uses it: end that, {AGAIN}",
    "ETXTBSY": f"another program uses it: end that, {AGAIN}",
    "ENOMEM": f"the machine has no memory left: end other programs, {AGAIN}",
}
"""What to do about an error of the operating system, by its name."""


MOST_SUGGESTED = 8


def suggest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return a suggestion for a name that is not known.

    Parameters
    ----------
    name : str
        The name that does not exist.
    known : iterable of str
        The names that exist. Upper and lower case do not matter.
    otherwise : str
        The result if no known name is similar.

    Returns
    -------
    str
        `did you mean 'x'?`, with the names that are `near_names`, or `otherwise`.
    """
    near = [repr(each) for each in near_names(name, known)[:MOST_SUGGESTED]]
    return f"did you mean {' or '.join(filter(None, [', '.join(near[:-1]), *near[-1:]]))}?" if near else otherwise


def near_names(name: str, known: Iterable[str]) -> list[str]:
    """Return the known names that begin with a name, the shortest first; else the most similar one, if any is.

    A name that differs in upper and lower case alone is the only one.
    """
    import difflib

    folded = {each.casefold(): each for each in known}
    wanted = name.casefold()
    if wanted in folded:
        return [folded[wanted]]
    begun = [each for fold, each in folded.items() if wanted and fold.startswith(wanted)]
    return sorted(begun, key=lambda each: (len(each), each)) or [
        folded[each] for each in difflib.get_close_matches(wanted, folded, n=1)
    ]


def escaped(text: str) -> str:
    """Return a text as one line that can be printed: line breaks and control characters as escapes, as in Python."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def system_error(error: OSError) -> str:
    """Return an error of the operating system as one line.

    Parameters
    ----------
    error : OSError
        The error. Those of `pycam.formats.files` name the file.

    Returns
    -------
    str
        The file, the cause, and what to do, as far as they are known.
    """
    if error.errno is None:
        return str(error)
    # A descriptor or bytes may stand in place of a path.
    names = [str(name) for name in (error.filename, error.filename2) if isinstance(name, str | Path)]
    advice = ADVICE.get(errno.errorcode.get(error.errno, ""))
    return ": ".join(part for part in (" to ".join(names), error.strerror, advice) if part)


class PycamError(Exception):
    """An input of pycam, or something that pycam needs, is not valid.

    Parameters
    ----------
    message : str
        One line: what was found, what was expected, where, and what to do. Line breaks and control characters, which
        a file's name may contain, are converted to escapes.

    Attributes
    ----------
    exit_code : int
        Exit code of the command line, which also prints the message.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(escaped(message))

    def alone(self) -> PycamError:
        """Return the error without its traceback, which keeps the values of all functions that it passed."""
        return type(self)(str(self))


class PycamWarning(UserWarning):
    """Something that pycam made is not as its reader would expect; the message is one line. Not an error."""


class UsageError(PycamError, ValueError):
    """An option, or a combination of options, is not possible; so is an argument of a function."""

    exit_code = 2


class FormatError(PycamError):
    """A file does not have the expected format: a prototxt, a caffemodel, a mean, labels, a model card."""

    exit_code = 3


class NetError(PycamError):
    """A net is inconsistent, or the weights do not fit the net."""

    exit_code = 4


class NoMapsError(NetError):
    """A net has no class activation maps. The message ends in "; " and what to do to get maps."""


class UnsupportedLayerError(NetError):
    """pycam, or one of its engines, does not support a layer type."""


class ModelError(PycamError):
    """A model is unknown, or its files are not available."""

    exit_code = 5


class ImageError(PycamError):
    """An image is missing, damaged, too large, or not an image."""

    exit_code = 6


class EngineError(PycamError):
    """An engine is not installed, cannot be exact on a net, or failed while running."""

    exit_code = 7


class GroundTruthError(PycamError):
    """Ground truth or predictions are damaged, incomplete, or inconsistent with each other."""

    exit_code = 8


class TrainingError(PycamError):
    """A solver, its data or its snapshots are not valid, or training diverged."""

    exit_code = 9


class RunError(PycamError):
    """A run cannot start or had to stop: its folder contains another run or is in use, or the disk is full."""

    exit_code = 10


class Interrupted(BaseException):
    """A signal asks the command to end.

    It is no `Exception`, so that nothing takes it for an error of one image and goes on, and no `KeyboardInterrupt`,
    which Typer answers in its own way.
    """


@contextmanager
def stop_signals(handler: Callable[[int, FrameType | None], object]) -> Iterator[list[int]]:
    """Handle the signals that ask a process to end: Ctrl-C, SIGTERM, and SIGHUP where the system has it.

    Signals that are ignored stay ignored: `nohup` does that, and a script for its commands in the background. Only the
    main thread can handle signals; in others nothing changes.

    Parameters
    ----------
    handler : callable
        Takes the number of the signal, and the frame that it interrupts.

    Yields
    ------
    list of int
        The handled signals; the block may handle them in another way.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
        before = {number: signal.getsignal(number) for number in numbers}
        before = {number: old for number, old in before.items() if old not in (signal.SIG_IGN, None)}
    try:
        for number in before:
            signal.signal(number, handler)
        yield list(before)
    finally:
        for number, old in before.items():
            signal.signal(number, old)
