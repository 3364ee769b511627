"""The errors that pycam raises, one base class, each kind with the exit code of the command line."""

from __future__ import annotations

from collections.abc import Iterable


def suggest(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return `did you mean 'x'?` with the known name that is most like `name`, or `otherwise` if none is."""
    import difflib

    folded = {each.casefold(): each for each in known}
    near = difflib.get_close_matches(name.casefold(), folded, n=1)
    return f"did you mean {folded[near[0]]!r}?" if near else otherwise


class PycamError(Exception):
    """Something that pycam was given or needs is not as it must be.

    The message is one line: what came, what was expected, where, and what to do. The command line prints it
    and ends with `exit_code`. Line ends and control characters, as a file's name may have, are spelt as escapes.
    """

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message))


class UsageError(PycamError):
    """An option, or a combination of options, that cannot be carried out."""

    exit_code = 2


class FormatError(PycamError):
    """A file is not what it should be: a prototxt, a caffemodel, a mean, labels, a model card."""

    exit_code = 3


class NetError(PycamError):
    """A net contradicts itself, or the weights are not those of the net."""

    exit_code = 4


class UnsupportedLayerError(NetError):
    """A layer type that Caffe may know and pycam, or one of its engines, does not."""


class ModelError(PycamError):
    """A model is unknown, or its files are not there and cannot be had."""

    exit_code = 5


class ImageError(PycamError):
    """An image is missing, damaged, too large, or none at all."""

    exit_code = 6


class EngineError(PycamError):
    """An engine is not installed, cannot be exact on a net, or failed while running."""

    exit_code = 7


class GroundTruthError(PycamError):
    """Ground truth or predictions are damaged, incomplete, or contradict each other."""

    exit_code = 8


class TrainingError(PycamError):
    """A solver, its data or its snapshots are not as they must be, or training diverged."""

    exit_code = 9


class RunError(PycamError):
    """A run cannot begin, or had to stop: its folder holds another run or is in use, or the disk is full."""

    exit_code = 10
