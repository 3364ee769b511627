"""Blocks of rows: arithmetic on a large image, a part at a time, takes little memory beside the image."""

from __future__ import annotations

from collections.abc import Iterator

BLOCK = 1 << 20
"""Pixels of a block: enough for speed, and too few to stay in the allocator."""


def row_blocks(height: int, width: int, most: int = BLOCK) -> Iterator[slice]:
    """Yield the rows of an array in blocks of at most `most` values, at least one row each."""
    step = max(1, most // max(1, width))
    for start in range(0, height, step):
        yield slice(start, min(start + step, height))
