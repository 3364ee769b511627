"""Min-max scaling."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.floating[Any])


def min_max_scale(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """Scale an array linearly, so that its minimum becomes 0 and its maximum 1.

    Parameters
    ----------
    array : float array of any shape
        All values are scaled together.

    Returns
    -------
    array of the same shape and dtype
        Values in [0, 1]; zeros if all values are equal.
    """
    low, high = array.min(), array.max()
    return (array - low) / (high - low) if high > low else np.zeros_like(array)
