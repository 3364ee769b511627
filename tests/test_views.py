from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from hypothesis import given, strategies as st

from pycam.errors import UsageError
from pycam.images.read import read_image
from pycam.images.views import CANVAS, Crop, cut_crops, net_input, view_of

RANDOM = np.random.default_rng(3)
PIXELS = RANDOM.integers(0, 256, (37, 53, 3), dtype=np.uint8)
CANVAS_PIXELS = RANDOM.integers(0, 256, (CANVAS, CANVAS, 3), dtype=np.uint8)
MEAN_VALUE = np.float32([104.00698793, 116.66876762, 122.67891434])
MEAN_IMAGE = RANDOM.uniform(60, 160, (3, CANVAS, CANVAS)).astype(np.float32)

small_sizes = st.integers(1, CANVAS)


# ---- geometry


@given(small_sizes)
def test_center_lies_where_the_python_driver_cuts(size):
    view = view_of("center", size)
    (crop,) = view.crops
    assert (view.canvas, view.size) == (256, size)
    assert crop == Crop(int(128 - size / 2), int(128 - size / 2), mirrored=False)
    assert crop.y + size == int(128 + size / 2)


@pytest.mark.parametrize(("size", "center", "middle_of_ten"), [(224, 16, 16), (227, 14, 15), (256, 0, 0)])
def test_the_released_inputs(size, center, middle_of_ten):
    assert view_of("center", size).crops == (Crop(center, center),)
    assert view_of("ten", size).crops[4] == Crop(middle_of_ten, middle_of_ten)


@given(small_sizes)
def test_ten_are_corners_middle_and_their_mirror_images(size):
    far, middle = 256 - size, (257 - size) // 2
    crops = view_of("ten", size).crops
    assert [(crop.x, crop.y) for crop in crops[:5]] == [
        (0, 0),
        (0, far),
        (far, 0),
        (far, far),
        (middle, middle),
    ]
    assert [(crop.x, crop.y) for crop in crops[5:]] == [(crop.x, crop.y) for crop in crops[:5]]
    assert [crop.mirrored for crop in crops] == [False] * 5 + [True] * 5
    assert all(0 <= min(crop.x, crop.y) <= max(crop.x, crop.y) + size <= 256 for crop in crops)


@pytest.mark.parametrize("size", [1, 128, 224, 321])
def test_full_is_one_crop_of_everything(size):
    view = view_of("full", size)
    assert (view.canvas, view.size, view.crops) == (size, size, (Crop(0, 0),))


@pytest.mark.parametrize("name", ["center", "ten"])
def test_a_large_input_needs_the_view_full(name):
    with pytest.raises(UsageError, match=f"view '{name}': the input of 257×257 .* use full"):
        view_of(name, 257)


def test_unknown_view():
    with pytest.raises(UsageError, match="view 'centre' does not exist: use center, full or ten"):
        view_of("centre", 224)


# ---- the net's input


def python_driver(pixels: np.ndarray, size: int, mean: np.ndarray) -> np.ndarray:
    canvas = cv2.resize(pixels, (256, 256))
    part = slice(int(128 - size / 2), int(128 + size / 2))
    blob = canvas[part, part].astype(np.float32).transpose(2, 0, 1)
    return (blob - mean[:, None, None])[None]


@pytest.mark.parametrize("size", [1, 127, 224, 227, 256])
def test_center_gives_what_the_python_driver_computes(size):
    blob = net_input(PIXELS, view_of("center", size), MEAN_VALUE)
    assert blob.dtype == np.float32
    assert blob.flags.c_contiguous
    assert np.array_equal(blob, python_driver(PIXELS, size, MEAN_VALUE))


def test_full_gives_the_whole_image():
    resized = cv2.resize(PIXELS, (300, 300)).transpose(2, 0, 1).astype(np.float32)
    blob = net_input(PIXELS, view_of("full", 300), MEAN_VALUE)
    assert np.array_equal(blob, (resized - MEAN_VALUE[:, None, None])[None])

    blob = net_input(PIXELS, view_of("full", 300), MEAN_IMAGE)
    mean = np.stack([cv2.resize(plane, (300, 300)) for plane in MEAN_IMAGE])
    assert np.abs(blob[0] - (resized - mean)).max() < 1e-4


@pytest.mark.parametrize("mean", [MEAN_VALUE, MEAN_IMAGE], ids=["value", "image"])
@pytest.mark.parametrize("canvas", [CANVAS_PIXELS, CANVAS_PIXELS * np.float32(0.7)], ids=["uint8", "float32"])
@pytest.mark.parametrize("size", [1, 224, 227, 256])
def test_ten_crops_pixel_by_pixel(size, canvas, mean):
    blob = cut_crops(canvas, view_of("ten", size), mean)
    assert blob.shape == (10, 3, size, size)
    assert blob.dtype == np.float32
    planes = canvas.transpose(2, 0, 1).astype(np.float32) - (mean if mean.ndim == 3 else mean[:, None, None])
    far, middle = 256 - size, (257 - size) // 2
    for i, (x, y) in enumerate([(0, 0), (0, far), (far, 0), (far, far), (middle, middle)]):
        crop = planes[:, y : y + size, x : x + size]
        assert np.array_equal(blob[i], crop)
        assert np.array_equal(blob[i + 5], crop[:, :, ::-1])


@pytest.mark.shared
def test_ten_crops_are_those_of_the_original_prepare_image(shared):
    golden = json.loads((shared / "data/golden/matlab/prepare_image.json").read_text())
    image = read_image(shared / "data/golden/matlab/prepare_image_input.png")
    mean = np.load(shared / "data/mean/ilsvrc_2012_mean.npy")
    blob = net_input(image.pixels, view_of("ten", 224), mean, "matlab_bicubic")
    released = blob.transpose(3, 2, 1, 0)  # W×H×C×N
    assert list(released.shape) == golden["shape"]
    for *place, value in golden["points"]:
        assert abs(released[tuple(place)] - value) < 1e-3
    sums = released.astype(np.float64).sum(axis=(0, 1, 2))
    assert np.allclose(sums, golden["sum_per_crop"], rtol=1e-6, atol=0)


def test_the_image_and_the_mean_stay_as_they_are():
    pixels, mean = CANVAS_PIXELS.copy(), MEAN_IMAGE.copy()
    net_input(pixels, view_of("ten", 227), mean)
    assert np.array_equal(pixels, CANVAS_PIXELS)
    assert np.array_equal(mean, MEAN_IMAGE)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("center", (3, 224, 224)), ("ten", (3, 227, 227)), ("full", (4, 224, 224)), ("full", (1,))],
)
def test_a_mean_that_does_not_fit_the_view(name, shape):
    with pytest.raises(UsageError, match=r"a mean of shape .* does not fit the view"):
        net_input(PIXELS, view_of(name, 224), np.zeros(shape, np.float32))
