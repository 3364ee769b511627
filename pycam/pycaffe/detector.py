"""`caffe.Detector`: a net that classifies windows of images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pycam.errors import UsageError
from pycam.pycaffe.absent import missing
from pycam.pycaffe.classifier import transformer_for
from pycam.pycaffe.io import load_image
from pycam.pycaffe.modes import TEST
from pycam.pycaffe.net import Net


class Detector(Net):
    """A net with one input, (N, C, H, W), that classifies windows of images.

    Parameters
    ----------
    model_file, pretrained_file : path
        Prototxt and caffemodel.
    mean, input_scale, raw_scale, channel_swap
        As `pycam.pycaffe.io.Transformer` takes them.
    context_pad : int, optional
        Only 0 or None: Caffe's own fails with other values in NumPy since 1.12.

    Attributes
    ----------
    transformer : Transformer
        Turns windows into inputs.

    Raises
    ------
    UsageError
        `context_pad` is given, or as `Transformer`.
    FormatError, NetError
        As `Net`.
    """

    def __init__(
        self,
        model_file: str | os.PathLike[str],
        pretrained_file: str | os.PathLike[str],
        mean: ArrayLike | None = None,
        input_scale: float | None = None,
        raw_scale: float | None = None,
        channel_swap: Sequence[int] | None = None,
        context_pad: int | None = None,
    ) -> None:
        if context_pad:
            raise UsageError(f"context_pad={context_pad} is not supported: enlarge the windows by the context yourself")
        super().__init__(model_file, TEST, weights=pretrained_file)
        self.transformer = transformer_for(self, mean, input_scale, raw_scale, channel_swap)

    def detect_windows(
        self, images_windows: Iterable[tuple[str | os.PathLike[str], Sequence[Sequence[int]]]]
    ) -> list[dict[str, Any]]:
        """Classify windows of images.

        Parameters
        ----------
        images_windows : iterable of (path, windows)
            Image files, each with windows (ymin, xmin, ymax, xmax), the ends excluded.

        Returns
        -------
        list of dict
            For each window, in order: `window`, `filename`, and `prediction`, its part of the net's first output.

        Raises
        ------
        UsageError
            There is no window, or a window is not inside its image.
        ImageError
            As `load_image`.
        """
        found: list[dict[str, Any]] = []
        inputs: list[NDArray[np.float32]] = []
        name = self.inputs[0]
        for filename, windows in images_windows:
            image = load_image(filename)
            for window in windows:
                inputs.append(self.transformer.preprocess(name, self.crop(image, window)))
                found.append({"window": window, "filename": filename})
        if not inputs:
            raise UsageError("detect_windows: there is no window: give pairs of an image's path and its windows")
        out = self.forward_all(None, **{name: np.stack(inputs)})
        return [{**each, "prediction": part} for each, part in zip(found, out[self.outputs[0]], strict=True)]

    def crop(self, im: NDArray[Any], window: Sequence[int]) -> NDArray[Any]:
        """Return a window (ymin, xmin, ymax, xmax), the ends excluded, of an image (H, W, K)."""
        top, left, bottom, right = (int(side) for side in window)
        if not (0 <= top < bottom <= im.shape[0] and 0 <= left < right <= im.shape[1]):
            raise UsageError(
                f"window {tuple(window)}: give (ymin, xmin, ymax, xmax) within the image of {im.shape[0]}×{im.shape[1]}"
            )
        return im[top:bottom, left:right]

    def detect_selective_search(self, image_fnames: Sequence[str | os.PathLike[str]]) -> list[dict[str, Any]]:
        """Raise an error: selective search is a program of its own, whose windows `detect_windows` takes."""
        raise UsageError(
            f"detect_selective_search of {len(image_fnames)} images: pycam has no selective search: compute the "
            "windows, as with cv2.ximgproc.segmentation of opencv-contrib-python, and give them to detect_windows"
        )


def __getattr__(name: str) -> Any:
    raise missing(__name__, name, globals())
