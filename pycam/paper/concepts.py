"""Concepts in captions (Figure 10): find the images of a phrase, and train a detector by hard-negative mining."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pycam.errors import GroundTruthError, UsageError
from pycam.formats.files import is_file
from pycam.formats.lines import numbered_lines
from pycam.paper.classifier import LinearClassifier

STOP_WORDS = frozenset(["a", "an", "the", "of", "in", "on", "at", "with", "and"])
"""Words that a negative caption may share with the phrase."""

ROUNDS, FIRST, UNSEEN, MARGIN, DROPPED = 3, 3, 5000, -1.0, 0.1
"""The rounds of mining; the first negatives per positive; the unseen negatives of a round; the margin above which one
of them is hard; and the share of positives that a round drops."""

_WORD = re.compile(r"\w+(?:['’]\w+)*")

Rows = NDArray[np.intp]
Values = Callable[[Rows], NDArray[np.float32]]
"""A function from positions of images, (n,), to their features, (n, K)."""
Fit = Callable[[NDArray[np.float32], NDArray[np.int64]], LinearClassifier]
"""A function that fits a classifier to features, (n, K), and labels, 0 or 1, (n,)."""


@dataclass(frozen=True)
class CaptionedImage:
    """An image and its caption.

    Attributes
    ----------
    path : Path
        The file of the image.
    caption : str
        The caption.
    """

    path: Path
    caption: str


def read_captions(path: Path, root: Path | None = None) -> list[CaptionedImage]:
    """Read a list of images with captions: the path of an image, a tab, and its caption on each line.

    Parameters
    ----------
    path : Path
        The list, in UTF-8. An image may have several lines.
    root : Path, optional
        The folder that relative paths start from; that of the list by default.

    Raises
    ------
    GroundTruthError
        With file and line: a line has no tab, no path or no caption, or an image does not exist.
    """
    found = []
    for number, line in numbered_lines(path):
        if not line:
            continue
        name, tab, caption = line.partition("\t")
        if not (tab and name.strip() and caption.strip()):
            raise GroundTruthError(f"{path}:{number}: {line[:80]!r}; expected an image, a tab and its caption")
        image = (path.parent if root is None else root) / name.strip()
        if not is_file(image):
            raise GroundTruthError(f"{path}:{number}: no image {image}; --root gives the folder that names start from")
        found.append(CaptionedImage(image, caption.strip()))
    if not found:
        raise GroundTruthError(f"{path}:1: an empty list; an image, a tab and its caption were expected on each line")
    return found


def words(text: str) -> list[str]:
    """Return the words of a text, in lower case."""
    return _WORD.findall(unicodedata.normalize("NFC", text).casefold())


def has_phrase(caption: str, phrase: str, between: int = 0) -> bool:
    """Return True if a caption has the words of a phrase in their order, as whole words; case does not matter.

    Parameters
    ----------
    caption, phrase : str
        The texts.
    between : int
        The number of other words that may stand between two words of the phrase.
    """
    gap = rf" (?:\S+ ){{0,{between}}}"
    pattern = gap.join(map(re.escape, words(phrase)))
    return bool(pattern) and re.search(f" {pattern} ", f" {' '.join(words(caption))} ") is not None


def shares_no_word(caption: str, phrase: str) -> bool:
    """Return True if a caption has no word of a phrase but `STOP_WORDS`."""
    return not (set(words(caption)) & set(words(phrase)) - STOP_WORDS)


def choose(
    captions: Sequence[str], phrase: str, *, least: int = 50, between: int = 0, seed: int = 0
) -> tuple[Rows, Rows]:
    """Choose the images of a phrase, and images without any of its words.

    Parameters
    ----------
    captions : sequence of str
        The caption of each image.
    phrase : str
        The phrase.
    least : int
        The least number of images that have the phrase.
    between : int
        As for `has_phrase`.
    seed : int
        The order of the negatives.

    Returns
    -------
    positives, negatives : (n,) int, (m,) int
        Positions in `captions`: in their order, and in random order.

    Raises
    ------
    UsageError
        The phrase has no word besides `STOP_WORDS`, or fewer than `least` captions have it.
    GroundTruthError
        No caption is a negative.
    """
    if not set(words(phrase)) - STOP_WORDS:
        raise UsageError(f"phrase {phrase!r}: expected a word besides {', '.join(sorted(STOP_WORDS))}")
    positives = [row for row, caption in enumerate(captions) if has_phrase(caption, phrase, between)]
    if len(positives) < least:
        raise UsageError(
            f"phrase {phrase!r}: {len(positives)} of {len(captions)} captions have it; at least {least} are needed: "
            "choose a more frequent one, or give --least"
        )
    negatives = [row for row, caption in enumerate(captions) if shares_no_word(caption, phrase)]
    if not negatives:
        raise GroundTruthError(f"phrase {phrase!r}: no caption is without its words; negatives are needed")
    return np.array(positives, np.intp), np.random.default_rng(seed).permutation(np.array(negatives, np.intp))


@dataclass(frozen=True, eq=False)
class Detector:
    """A detector, and how it was trained.

    Attributes
    ----------
    classifier : LinearClassifier
        Its one row is positive for the concept.
    positives, negatives : (n,) int, (m,) int
        The images that it was trained on at last.
    seen : (k,) int
        All images whose features were computed.
    rounds : tuple of (int, int, int)
        For each round: the numbers of positives and negatives that it was trained on, and of hard negatives found.
    """

    classifier: LinearClassifier
    positives: Rows
    negatives: Rows
    seen: Rows
    rounds: tuple[tuple[int, int, int], ...]


def mine(
    values: Values,
    fit: Fit,
    positives: Rows,
    negatives: Rows,
    *,
    rounds: int = ROUNDS,
    first: int = FIRST,
    unseen: int = UNSEEN,
    margin: float = MARGIN,
    dropped: float = DROPPED,
) -> Detector:
    """Train a detector with hard negatives.

    A round trains; adds those of the next `unseen` negatives that have a margin above `margin`, the highest first, at
    most as many as there are positives; and drops the positives with the lowest margins. A last training follows.

    Parameters
    ----------
    values, fit : callable
        As `Values` and `Fit`.
    positives : (n,) int
        Images of the concept.
    negatives : (m,) int
        Other images, in random order: the first `first` · n are in from the start.
    rounds, unseen, margin
        As above.
    first : int
        The number of first negatives per positive.
    dropped : float
        The share of positives that a round drops, rounded down.
    """
    taken = first * len(positives)
    seen = np.concatenate([positives, negatives[:taken]])
    wrong, rest = negatives[:taken], negatives[taken:]
    history: list[tuple[int, int, int]] = []

    def trained() -> LinearClassifier:
        labels = np.repeat(np.array([1, 0], np.int64), [len(positives), len(wrong)])
        return positive_row(fit(values(np.concatenate([positives, wrong])), labels))

    for _ in range(rounds):
        classifier = trained()
        looked, rest = rest[:unseen], rest[unseen:]
        seen = np.concatenate([seen, looked])
        margins = classifier.decisions(values(looked))[:, 0] if len(looked) else np.zeros(0)
        order = np.argsort(-margins, kind="stable")
        hard = looked[order[margins[order] > margin]]
        history.append((len(positives), len(wrong), len(hard)))
        own = classifier.decisions(values(positives))[:, 0]
        kept = np.sort(np.argsort(own, kind="stable")[int(dropped * len(positives)) :])
        wrong = np.concatenate([wrong, hard[: len(positives)]])
        positives = positives[kept]
    return Detector(trained(), positives, wrong, seen, tuple(history))


def positive_row(classifier: LinearClassifier) -> LinearClassifier:
    """Return the row of the label 1 of a classifier of two classes, which is a detector on its own."""
    return replace(classifier, weights=classifier.weights[1:], bias=classifier.bias[1:], classes=classifier.classes[1:])
