from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image

from pycam.errors import UsageError
from pycam.images.matlab import imresize
from pycam.images.resize import RESIZERS, resize
from pycam.images.scaling import min_max_scale
from pycam.protocols import CHOICES

RANDOM = np.random.default_rng(3)
PIXELS = RANDOM.integers(0, 256, (37, 53, 3), dtype=np.uint8)


def plain_bilinear(pixels: np.ndarray, side: int) -> np.ndarray:
    """Sample between pixel centres, without averaging; a pixel outside is the nearest one inside."""

    def taps(length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        place = np.clip((np.arange(side) + 0.5) * length / side - 0.5, 0, length - 1)
        low = np.minimum(place.astype(int), length - 1)
        return low, np.minimum(low + 1, length - 1), place - low

    top, bottom, down = taps(pixels.shape[0])
    left, right, across = taps(pixels.shape[1])
    down, across = down[:, None, None], across[None, :, None]
    upper = pixels[top][:, left] * (1 - across) + pixels[top][:, right] * across
    lower = pixels[bottom][:, left] * (1 - across) + pixels[bottom][:, right] * across
    return upper * (1 - down) + lower * down


@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 90))
def test_opencv_bilinear_samples_between_pixel_centres(height, width, side):
    pixels = np.random.default_rng(height * 100 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    resized = resize(pixels, side, side)
    assert resized.dtype == np.uint8
    assert resized.shape == (side, side, 3)
    assert np.abs(resized - plain_bilinear(pixels.astype(float), side)).max() <= 1


def test_the_other_resizers_are_what_their_names_say():
    assert np.array_equal(
        resize(PIXELS, 20, 20, "opencv_cubic"), cv2.resize(PIXELS, (20, 20), interpolation=cv2.INTER_CUBIC)
    )
    rgb = Image.fromarray(PIXELS[:, :, ::-1]).resize((20, 20), Image.Resampling.BICUBIC)
    assert np.array_equal(resize(PIXELS, 20, 20, "pillow_bicubic"), np.asarray(rgb)[:, :, ::-1])
    assert np.array_equal(resize(PIXELS, 20, 20, "matlab_bicubic"), imresize(PIXELS, (20, 20), "bicubic"))
    single = imresize(PIXELS.astype(np.float32), (20, 20), "bilinear")
    assert np.array_equal(resize(PIXELS, 20, 20, "matlab_bilinear"), single)


@pytest.mark.parametrize("resizer", RESIZERS)
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 10000, 3), (10000, 1, 3), (256, 256, 3)])
def test_every_resizer_takes_every_shape(resizer, shape):
    pixels = RANDOM.integers(0, 256, shape, dtype=np.uint8)
    resized = resize(pixels, 256, 256, resizer)
    floats = ("matlab_bilinear", "caffe_bilinear", "tf_corner", "levels_256")
    assert resized.dtype == (np.float32 if resizer in floats else np.uint8)
    assert resized.shape == (256, 256, 3)
    if shape == resized.shape:
        assert np.array_equal(resized, pixels)


def test_unknown_resizer():
    with pytest.raises(UsageError, match="resizer 'nearest' does not exist: use one of opencv_bilinear, "):
        resize(PIXELS, 9, 9, "nearest")


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("resizer", [name for name in RESIZERS if not name.startswith(("caffe", "levels"))])
def test_channels_are_resized_one_by_one(resizer, channels):
    array = RANDOM.normal(size=(13, 9, channels)).astype(np.float32)
    resized = resize(array, 20, 31, resizer)
    assert resized.shape == (20, 31, channels)
    for channel in range(channels):
        alone = resize(array[..., channel], 20, 31, resizer)
        assert alone.shape == (20, 31)
        np.testing.assert_allclose(resized[..., channel], alone, rtol=0, atol=1e-5)
    assert resize(array[..., :1], 20, 31, resizer).shape == (20, 31, 1)


def test_protocols_choose_among_the_resizers():
    assert set(CHOICES["resizer"] + CHOICES["map_resizer"]) <= RESIZERS.keys()


def test_min_max_scaling_keeps_the_dtype_and_makes_zeros_of_equal_values():
    for dtype in (np.float32, np.float64):
        scaled = min_max_scale(np.array([[2, 4, 6]], dtype))
        assert scaled.dtype == dtype
        assert scaled.tolist() == [[0, 0.5, 1]]
        assert min_max_scale(np.full((2, 2), 7, dtype)).tolist() == [[0, 0], [0, 0]]
