"""What to say of a layer type that Caffe 1.0 does not have."""

from __future__ import annotations

import difflib

from pycam.formats.upgrade import CAFFE_TYPES, V1_TYPES

_DETECTION = """
    AnnotatedData BilinearInterpolation BoxAnnotator BoxAnnotatorOHEM BoxGroupOutput DecodeBBox DenseImageData
    DetectionEvaluate DetectionOutput DetectNetTransformation ImageSegData Interp MultiBoxLoss Normalize Permute
    PriorBox Proposal ProposalTarget PSRoIAlign PSROIPooling Region Resize ROIAlign ROIPooling RoiPooling
    RPNProposal SegAccuracy SmoothL1Loss SmoothL1LossOHEM Unpooling Upsample VideoData Yolo YoloDetectionOutput
"""
DETECTION_TYPES = frozenset(name.casefold() for name in _DETECTION.split())
"""Layer types of forks for detection and segmentation, in lower case."""

TYPING_ERROR = 0.85
"""The least similarity of a name and its misspelling."""


def unknown_type(name: str) -> str:
    """Return the reason why a layer type that Caffe 1.0 does not have is refused, and the right name if there is one.

    Parameters
    ----------
    name : str
        Not one of `CAFFE_TYPES`.

    Returns
    -------
    str
        For the end of a message.
    """
    if name.casefold() in DETECTION_TYPES:
        return "Caffe 1.0 has no such type; detection and segmentation layers of Caffe forks are not supported"
    meant = _meant(name)
    return "Caffe 1.0 has no such type" + (f": did you mean {meant!r}?" if meant else "")


def _meant(name: str) -> str:
    """Return the type that a name misspells, or an empty string."""
    letters = name.replace("_", "").casefold()
    known = {each.casefold(): each for each in CAFFE_TYPES}
    known |= {each.replace("_", "").casefold(): new for each, new in V1_TYPES.items() if new}
    if letters in known:
        return known[letters]
    # A longer name is another layer, not an error of typing: ReLU6, ROIPooling, Convolution3D.
    if any(each in letters for each in known):
        return ""
    near = difflib.get_close_matches(letters, known, n=1, cutoff=TYPING_ERROR)
    return known[near[0]] if near else ""
