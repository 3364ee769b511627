"""`compute_overlap.m`."""

from __future__ import annotations

from collections.abc import Sequence

from pycam.maps.boxes import half_open, iou


def compute_overlap(bb: Sequence[float], bbgt: Sequence[float]) -> float:
    """Return the IoU of two boxes [xmin, ymin, xmax, ymax], or -1 if they do not intersect.

    Both corners belong to the box, so a side is xmax - xmin + 1. docs/release.md, section 7.
    """
    return float(iou(half_open(bb), half_open(bbgt))) or -1.0
