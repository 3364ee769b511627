"""Numbers that people write: 0.017, or a fraction such as 1/255."""

from __future__ import annotations

from fractions import Fraction


def read_number(text: str) -> float:
    """Return the value of a number or a fraction; infinite or NaN if the text says so, or if it is too large.

    Raises
    ------
    ValueError, ZeroDivisionError, OverflowError
        The text is neither.
    """
    # Without "/", Fraction would compute the digits of 1e999999999, which takes minutes.
    return float(Fraction(text)) if "/" in text else float(text)
