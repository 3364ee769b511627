from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from hypothesis import given, strategies as st

from pycam.errors import UsageError
from pycam.images.read import read_image
from pycam.images.views import CANVAS, Crop, View, canvas_of, cut_crops, net_input, view_of

RANDOM = np.random.default_rng(3)
PIXELS = RANDOM.integers(0, 256, (37, 53, 3), dtype=np.uint8)
CANVAS_PIXELS = RANDOM.integers(0, 256, (CANVAS, CANVAS, 3), dtype=np.uint8)
MEAN_VALUE = np.float32([104.00698793, 116.66876762, 122.67891434])
MEAN_IMAGE = RANDOM.uniform(60, 160, (3, CANVAS, CANVAS)).astype(np.float32)

small_sizes = st.integers(1, CANVAS)
sides = st.integers(1, 1200)


def released(name: str, size: int) -> View:
    """Return the view of a square net on the release's canvas."""
    return view_of(name, (size, size), (CANVAS, CANVAS))


# ---- geometry


@given(small_sizes)
def test_center_lies_where_the_python_driver_cuts(size):
    view = released("center", size)
    (crop,) = view.crops
    assert (view.canvas, view.size) == ((256, 256), (size, size))
    assert crop == Crop(int(128 - size / 2), int(128 - size / 2), mirrored=False)
    assert crop.y + size == int(128 + size / 2)


@pytest.mark.parametrize(("size", "center", "middle_of_ten"), [(224, 16, 16), (227, 14, 15), (256, 0, 0)])
def test_the_released_inputs(size, center, middle_of_ten):
    assert released("center", size).crops == (Crop(center, center),)
    assert released("ten", size).crops[4] == Crop(middle_of_ten, middle_of_ten)


@given(small_sizes)
def test_ten_are_corners_middle_and_their_mirror_images(size):
    far, middle = 256 - size, (257 - size) // 2
    crops = released("ten", size).crops
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
    view = view_of("full", (size, 2 * size))
    assert (view.canvas, view.size, view.crops) == ((size, 2 * size), (size, 2 * size), (Crop(0, 0),))


@pytest.mark.parametrize(
    ("size", "canvas"),
    [
        ((224, 224), (256, 256)),
        ((227, 227), (256, 256)),
        ((256, 224), (256, 256)),
        ((32, 32), (37, 37)),
        ((32, 48), (37, 55)),
        ((448, 448), (512, 512)),
        ((223, 224), (255, 256)),
        ((257, 224), (294, 256)),
        ((1, 1), (1, 1)),
    ],
)
def test_the_canvas_is_the_releases_or_in_proportion(size, canvas):
    assert canvas_of(size) == canvas
    assert view_of("center", size).canvas == view_of("ten", size).canvas == canvas


@given(st.sampled_from(["center", "ten"]), sides, sides)
def test_no_input_is_too_large_and_each_crop_is_seven_eighths(name, height, width):
    view = view_of(name, (height, width))
    tall, wide = view.canvas
    assert view.size == (height, width)
    for crop in view.crops:
        assert 0 <= crop.y <= tall - height
        assert 0 <= crop.x <= wide - width
    if not (224 <= height <= 256 and 224 <= width <= 256):
        assert abs(tall * 7 / 8 - height) <= 0.5
        assert abs(wide * 7 / 8 - width) <= 0.5


@given(sides, sides, st.integers(1, 3000), st.integers(1, 3000))
def test_the_crops_of_ten_cover_the_image(height, width, tall, wide):
    view = view_of("ten", (height, width))
    regions = [view.region(crop, tall, wide) for crop in view.crops]
    assert regions[:5] == regions[5:]
    assert (min(x0 for x0, *_ in regions), min(y0 for _, y0, *_ in regions)) == (0, 0)
    assert max(x1 for _, _, x1, _ in regions) == wide
    assert max(y1 for *_, y1 in regions) == tall


def test_a_canvas_that_is_too_small():
    with pytest.raises(UsageError, match="view 'ten': the input of 257×9 is larger than the canvas of 256×256"):
        view_of("ten", (257, 9), (256, 256))


def test_unknown_view():
    with pytest.raises(UsageError, match="view 'centre' does not exist: use center, full or ten"):
        view_of("centre", (224, 224))


# ---- the net's input


def python_driver(pixels: np.ndarray, size: int, mean: np.ndarray) -> np.ndarray:
    canvas = cv2.resize(pixels, (256, 256))
    part = slice(int(128 - size / 2), int(128 + size / 2))
    blob = canvas[part, part].astype(np.float32).transpose(2, 0, 1)
    return (blob - mean[:, None, None])[None]


@pytest.mark.parametrize("size", [1, 127, 224, 227, 256])
def test_center_gives_what_the_python_driver_computes(size):
    blob = net_input(PIXELS, released("center", size), MEAN_VALUE)
    assert blob.dtype == np.float32
    assert blob.flags.c_contiguous
    assert np.array_equal(blob, python_driver(PIXELS, size, MEAN_VALUE))


def test_full_gives_the_whole_image():
    resized = cv2.resize(PIXELS, (300, 300)).transpose(2, 0, 1).astype(np.float32)
    blob = net_input(PIXELS, view_of("full", (300, 300)), MEAN_VALUE)
    assert np.array_equal(blob, (resized - MEAN_VALUE[:, None, None])[None])

    blob = net_input(PIXELS, view_of("full", (300, 300)), MEAN_IMAGE)
    mean = np.stack([cv2.resize(plane, (300, 300)) for plane in MEAN_IMAGE])
    assert np.abs(blob[0] - (resized - mean)).max() < 1e-4


@pytest.mark.parametrize("mean", [MEAN_VALUE, MEAN_IMAGE], ids=["value", "image"])
@pytest.mark.parametrize("canvas", [CANVAS_PIXELS, CANVAS_PIXELS * np.float32(0.7)], ids=["uint8", "float32"])
@pytest.mark.parametrize("size", [1, 224, 227, 256])
def test_ten_crops_pixel_by_pixel(size, canvas, mean):
    blob = cut_crops(canvas, released("ten", size), mean)
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
    blob = net_input(image.pixels, released("ten", 224), mean, "matlab_bicubic")
    crops = blob.transpose(3, 2, 1, 0)  # W×H×C×N
    assert list(crops.shape) == golden["shape"]
    for *place, value in golden["points"]:
        assert abs(crops[tuple(place)] - value) < 1e-3
    sums = crops.astype(np.float64).sum(axis=(0, 1, 2))
    assert np.allclose(sums, golden["sum_per_crop"], rtol=1e-6, atol=0)


def test_the_image_and_the_mean_stay_as_they_are():
    pixels, mean = CANVAS_PIXELS.copy(), MEAN_IMAGE.copy()
    net_input(pixels, released("ten", 227), mean)
    assert np.array_equal(pixels, CANVAS_PIXELS)
    assert np.array_equal(mean, MEAN_IMAGE)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("center", (3, 224, 224)), ("ten", (3, 227, 227)), ("full", (4, 224, 224)), ("full", (1,))],
)
def test_a_mean_that_does_not_fit_the_view(name, shape):
    with pytest.raises(UsageError, match=r"a mean of shape .* does not fit the view"):
        net_input(PIXELS, view_of(name, (224, 224)), np.zeros(shape, np.float32))


@given(
    st.sampled_from(["center", "full", "ten"]),
    st.integers(1, 60),
    st.integers(1, 60),
    st.sampled_from([1, 2, 3, 4, 7]),
    st.sampled_from([np.uint8, np.float32]),
)
def test_any_shape_by_its_definition(name, height, width, channels, dtype):
    rng = np.random.default_rng([height, width, channels])
    values = rng.integers(0, 256, (41, 29, channels)).astype(dtype)
    mean, scale = rng.uniform(0, 200, channels).astype(np.float32), rng.uniform(0.1, 2, channels).astype(np.float32)
    view = view_of(name, (height, width))
    blob = net_input(values, view, mean, scale=scale)
    assert blob.shape == (len(view.crops), channels, height, width)
    for crop, found in zip(view.crops, blob, strict=True):
        for channel in range(channels):
            canvas = cv2.resize(np.ascontiguousarray(values[:, :, channel]), view.canvas[::-1]).astype(np.float64)
            part = canvas[crop.y : crop.y + height, crop.x : crop.x + width]
            expected = (part - mean[channel]) * scale[channel]
            expected = expected[:, ::-1] if crop.mirrored else expected
            np.testing.assert_allclose(found[channel], expected, rtol=1e-5, atol=2e-3)


def test_a_mean_image_is_resized_to_a_canvas_of_another_size():
    view = view_of("center", (448, 448))
    blob = net_input(PIXELS, view, MEAN_IMAGE)
    canvas = cv2.resize(PIXELS, (512, 512)).transpose(2, 0, 1).astype(np.float32)
    mean = np.stack([cv2.resize(plane, (512, 512)) for plane in MEAN_IMAGE])
    assert np.abs(blob[0] - (canvas - mean)[:, 32:480, 32:480]).max() < 1e-4


def test_a_scale_that_overflows_gives_infinity_without_a_warning():
    """Whoever reads the scores of the net says what is wrong."""
    blob = net_input(np.full((4, 4, 3), 200, np.uint8), view_of("full", (2, 2)), np.zeros(3), scale=1e38)
    assert np.isinf(blob).all()
