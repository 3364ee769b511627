"""A box rule: a function from a map to boxes, with its threshold and its own form of the boxes."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycam.errors import UsageError, suggest
from pycam.images.scaling import min_max_scale
from pycam.maps.boxes import Boxes, grey_heatmap

Numbers = NDArray[Any]

FIRST_PIXEL = (0, 0, 1, 1)
"""The box of several programs for a map without foreground, half-open."""


@dataclass(frozen=True, eq=False)
class Found:
    """The boxes of a map.

    Attributes
    ----------
    boxes : (n, 4) int or float64
        x0, y0, x1, y1 in pixels of the map, 0-based, half-open.
    published : (n, 4) int or float64
        The numbers that the original program gives for the same boxes.
    """

    boxes: Numbers
    published: Numbers

    @classmethod
    def of(cls, boxes: ArrayLike, published: ArrayLike) -> Found:
        """Take one box or several, as anything that has numbers."""
        return cls(np.asarray(boxes).reshape(-1, 4), np.asarray(published).reshape(-1, 4))


@dataclass(frozen=True)
class Threshold:
    """The threshold of a rule.

    Attributes
    ----------
    default : float
        Its value if none is given.
    inclusive : bool
        Whether values at the threshold are foreground. Then a threshold of 1 keeps the maximum; otherwise it would
        keep nothing, and is not allowed.
    """

    default: float = 0.2
    inclusive: bool = False


@final
@dataclass(frozen=True, eq=False)
class BoxRule:
    """A named rule that finds boxes in a map.

    Attributes
    ----------
    name : str
        Its name in `pycam.box_rules`.
    find : callable
        Takes a map and a threshold, if the rule has one, and options as keywords; returns `Found`.
    threshold : Threshold, optional
        None if the rule has none.
    takes : str
        The maps it takes: `any` finite numbers; the range from 0 to 1, `unit`; or `grey`, (H, W) uint8.
    fixed : str
        What a rule without a threshold does instead of taking one.
    """

    name: str
    find: Callable[..., Found] = field(repr=False)
    threshold: Threshold | None = None
    takes: str = "any"
    fixed: str = ""

    def __post_init__(self) -> None:
        # What `help` and a notebook show of one rule is that of its program.
        object.__setattr__(self, "__doc__", inspect.getdoc(self.find))

    def __call__(self, map: ArrayLike, threshold: float | None = None, **options: Any) -> Numbers:
        """Return the boxes of a map.

        Parameters
        ----------
        map : (H, W)
            A map of one class; the docstring of the rule says which. 8-bit maps count as k/255. A grey rule takes
            uint8 as it is, and floating point as fractions of the maximum.
        threshold : float, optional
            From 0 to 1. Without it, the rule's default.
        **options
            Options of the rule, which its docstring lists.

        Returns
        -------
        (n, 4) int or float64
            x0, y0, x1, y1 in pixels of the map, 0-based, half-open: the pixels of the region that was found. They are
            fractions if the rule works at another size than the map's. A rule that gives a fixed box for an empty map
            gives it here as well: the first pixel or the whole map.

        Raises
        ------
        UsageError
            The rule cannot take the map, the threshold, or an option.
        """
        return self._found(map, threshold, options).boxes

    def published(self, map: ArrayLike, threshold: float | None = None, **options: Any) -> Numbers:
        """Return the numbers that the original program gives, (n, 4), in its own form and order.

        The parameters and errors are those of a call.
        """
        return self._found(map, threshold, options).published

    @cached_property
    def options(self) -> tuple[str, ...]:
        """The names of the rule's options."""
        parameters = inspect.signature(self.find).parameters.values()
        return tuple(each.name for each in parameters if each.kind is each.KEYWORD_ONLY)

    @property
    def needs_image(self) -> bool:
        """Whether the rule needs the pixels of the image."""
        return "image" in self.options

    def image_boxes(
        self, map: Numbers, threshold: float | None = None, image: NDArray[np.uint8] | None = None
    ) -> Boxes:
        """Return the boxes in a map that already has the size of its image.

        Parameters
        ----------
        map : (H, W) float
            The map, not scaled. A rule that resizes maps leaves it at its size; one that takes the range from 0 to 1
            gets it scaled.
        threshold : float, optional
            Without it, the rule's default.
        image : (H, W, 3) uint8, optional
            BGR pixels, for the rule `grabcut`.

        Returns
        -------
        (n, 4) int
            Image pixels, half-open, the largest box first.

        Raises
        ------
        UsageError
            The rule needs more than a map, or cannot take the threshold.
        """
        if self.needs_image and image is None:
            raise UsageError(
                f"box rule {self.name!r} needs the pixels of the image, which are not kept here: choose another rule"
            )
        map = _checked(self.name, map, "any")
        own: dict[str, Any] = {"size": map.shape[::-1], "image": image}
        boxes = self(
            min_max_scale(map.astype(np.float64)) if self.takes == "unit" else map,
            threshold,
            **{name: own[name] for name in self.options if name in own},
        )
        sides = boxes[:, 2:] - boxes[:, :2]
        return np.asarray(boxes[np.argsort(-sides.prod(axis=1), kind="stable")], np.intp)

    def check_threshold(self, threshold: float) -> None:
        """Refuse a threshold that the rule does not take.

        Raises
        ------
        UsageError
            The rule has no threshold, or the value is outside its range.
        """
        if self.threshold is None:
            raise UsageError(f"box rule {self.name!r} takes no threshold: {self.fixed}; leave out {threshold}")
        try:
            value = float(threshold)
        except (TypeError, ValueError):
            value = math.nan
        if not (0 <= value < 1 or (value == 1 and self.threshold.inclusive)):
            end = "to 1" if self.threshold.inclusive else "to below 1"
            raise UsageError(f"box rule {self.name!r}: threshold is {threshold}; expected a number from 0 {end}")

    def _found(self, map: ArrayLike, threshold: float | None, options: dict[str, Any]) -> Found:
        for option in options:
            if option not in self.options:
                known = f"it takes {', '.join(self.options) or 'a map and nothing else'}"
                raise UsageError(
                    f"box rule {self.name!r} has no option {option!r}: {suggest(option, self.options, known)}"
                )
        if threshold is not None:
            self.check_threshold(threshold)
        values = _checked(self.name, map, self.takes)
        if self.threshold is None:
            return self.find(values, **options)
        return self.find(values, float(self.threshold.default if threshold is None else threshold), **options)


def rule(
    name: str, threshold: Threshold | None = None, *, takes: str = "any", fixed: str = ""
) -> Callable[[Callable[..., Found]], BoxRule]:
    """Make a function a `BoxRule`; the parameters are its attributes."""
    return lambda find: BoxRule(name, find, threshold, takes, fixed)


def by_name(*rules: BoxRule) -> dict[str, BoxRule]:
    """Return rules by their names."""
    return {each.name: each for each in rules}


def checked_size(name: str, size: Iterable[int]) -> tuple[int, int]:
    """Return the option `size` of a rule as two ints, width and height.

    Raises
    ------
    UsageError
        It is something else.
    """
    try:
        width, height = size
        if width == int(width) > 0 and height == int(height) > 0:
            return int(width), int(height)
    except (TypeError, ValueError, OverflowError):
        pass
    raise UsageError(f"box rule {name!r}: size is {size}; expected two whole numbers above 0, (width, height)")


def _checked(name: str, map: ArrayLike, takes: str) -> Numbers:
    """Return a map as a rule takes it."""
    values = np.asarray(map)
    if values.ndim != 2 or not values.size or values.dtype.kind not in "fiub":
        shape = "×".join(str(side) for side in values.shape) or "a single value"
        raise UsageError(f"box rule {name!r}: got a map of {shape}, {values.dtype}; expected numbers, H×W")
    if takes == "grey":
        if values.dtype == np.uint8:
            return values
        return grey_heatmap(_finite(name, values), jpeg=False)
    if values.dtype == np.uint8:
        values = values / 255
    values = _finite(name, values)
    if takes == "unit" and not (values.min() >= 0 and values.max() <= 1):
        raise UsageError(
            f"box rule {name!r}: got values from {values.min():g} to {values.max():g}; expected a map in [0, 1]: "
            "scale it first, (map - map.min()) / (map.max() - map.min())"
        )
    return values


def _finite(name: str, values: Numbers) -> Numbers:
    """Return values in single or double precision; refuse what is not finite, or too large for sums in float32."""
    if values.dtype not in (np.float32, np.float64):  # OpenCV has no other floating point
        values = values.astype(np.float64)
    low, high = float(values.min()), float(values.max())
    # In this form, NaN fails the check, too.
    if not max(-low, high) <= _LARGEST:
        raise UsageError(
            f"box rule {name!r}: got values from {low:g} to {high:g}; expected finite ones, of at most {_LARGEST:g}"
        )
    return values


_LARGEST = 1e37
