from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from PIL import Image

from pycam.errors import UsageError
from pycam.images.matlab import imresize

KERNELS = {"bicubic": 4, "bilinear": 2}


def kernel(method, t):
    t = abs(t)
    if method == "bilinear":
        return 1 - t if t <= 1 else 0
    if t <= 1:
        return 1.5 * t**3 - 2.5 * t**2 + 1
    return -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2 if t <= 2 else 0


def resized_line(line, n_out, method, antialias):
    """Section 6 of docs/release.md, word for word, for one line of numbers."""
    n_in = len(line)
    scale = n_out / n_in
    stretch = scale if scale < 1 and antialias else 1
    width = KERNELS[method] / stretch
    result = []
    for x in range(1, n_out + 1):
        u = x / scale + 0.5 * (1 - 1 / scale)
        left = math.floor(u - width / 2)
        taps = range(left, left + math.ceil(width) + 2)
        weights = [stretch * kernel(method, stretch * (u - tap)) for tap in taps]
        total = sum(weights)
        value = 0.0
        for tap, weight in zip(taps, weights, strict=True):
            while not 1 <= tap <= n_in:
                tap = 1 - tap if tap < 1 else 2 * n_in + 1 - tap
            value += weight / total * float(line[tap - 1])
        result.append(value)
    return result


def by_definition(array, size, method, antialias):
    """Give the resized array, and where a pass met a half, on which rounding may go either way."""
    stacked = array.reshape(*array.shape[:2], -1).astype(np.float64)
    limits = np.iinfo(array.dtype) if array.dtype.kind in "iu" else None
    doubtful = False
    scales = [size[0] / array.shape[0], size[1] / array.shape[1]]
    for axis in (0, 1) if scales[0] <= scales[1] else (1, 0):
        stacked = np.apply_along_axis(resized_line, axis, stacked, size[axis], method, antialias)
        if limits:
            doubtful |= bool((np.abs(np.abs(stacked) % 1 - 0.5) < 1e-9).any())
            stacked = np.sign(stacked) * np.floor(np.abs(stacked) + 0.5)
            stacked = np.clip(stacked, limits.min, limits.max)
    return stacked.reshape(*size, *array.shape[2:]), doubtful


side = st.integers(1, 24)


@st.composite
def arrays(draw, *dtypes):
    dtype = np.dtype(draw(st.sampled_from(dtypes)))
    shape = (draw(side), draw(side), *draw(st.sampled_from([(), (1,), (3,)])))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if dtype.kind == "f":
        return random.standard_normal(shape).astype(dtype)
    limits = np.iinfo(dtype)
    return random.integers(limits.min, limits.max, shape, dtype, endpoint=True)


@settings(deadline=None, max_examples=60)
@given(arrays("float64", "float32"), st.tuples(side, side), st.sampled_from(list(KERNELS)), st.booleans())
def test_floats_are_the_definition(array, size, method, antialias):
    expected, _ = by_definition(array, size, method, antialias)
    resized = imresize(array, size, method, antialias)
    assert resized.dtype == array.dtype
    assert resized.shape == expected.shape
    tolerance = 1e-12 if array.dtype == np.float64 else np.finfo(np.float32).eps
    np.testing.assert_allclose(resized, expected, rtol=0, atol=tolerance * np.abs(array).max())


@settings(deadline=None, max_examples=60)
@given(
    arrays("uint8", "int8", "uint16", "int16", "uint32", "int32"),
    st.tuples(side, side),
    st.sampled_from(list(KERNELS)),
    st.booleans(),
)
def test_integers_are_the_definition(array, size, method, antialias):
    expected, doubtful = by_definition(array, size, method, antialias)
    resized = imresize(array, size, method, antialias)
    assert resized.dtype == array.dtype
    largest_error = 1 if doubtful or array.dtype.itemsize == 4 else 0
    assert np.abs(resized.astype(np.float64) - expected).max() <= largest_error


def test_halves_are_rounded_away_from_zero_after_each_pass():
    line = np.array([[1, 2, 2, 3, -1, -2]], np.int8)
    assert imresize(line, (1, 3), "bilinear", antialias=False).tolist() == [[2, 3, -2]]


def test_overshoot_is_clamped():
    step = np.repeat(np.array([[0, 255]], np.uint8), 4, axis=1)
    resized = imresize(np.repeat(step, 3, axis=0), (3, 20))
    assert resized.min() == 0
    assert resized.max() == 255
    assert imresize(step.astype(np.float64), (1, 20)).min() < 0


def test_the_dimension_that_shrinks_most_goes_first():
    image = np.random.default_rng(5).integers(0, 256, (40, 60), np.uint8)
    wide, _ = by_definition(image, (30, 20), "bicubic", True)
    np.testing.assert_array_equal(imresize(image, (30, 20)), wide)
    rows_first = imresize(imresize(image, (30, 60)), (30, 20))
    columns_first = imresize(imresize(image, (40, 20)), (30, 20))
    np.testing.assert_array_equal(imresize(image, (30, 20)), columns_first)
    assert (rows_first != columns_first).any()


def test_rows_go_first_on_a_tie():
    image = np.random.default_rng(6).integers(0, 256, (40, 60), np.uint8)
    rows_first = imresize(imresize(image, (20, 60)), (20, 30))
    columns_first = imresize(imresize(image, (40, 30)), (20, 30))
    np.testing.assert_array_equal(imresize(image, (20, 30)), rows_first)
    assert (rows_first != columns_first).any()


@pytest.mark.parametrize("size", [(256, 256), (100, 340), (60, 47)])
def test_agrees_with_pillow_away_from_the_borders(size):
    """Pillow shares kernel and antialiasing and differs in what it does at the borders."""
    array = np.random.default_rng(7).random((120, 180)).astype(np.float32)
    theirs = np.asarray(Image.fromarray(array).resize(size[::-1], Image.Resampling.BICUBIC))
    ours = imresize(array, size)
    inner = (slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(ours[inner], theirs[inner], rtol=0, atol=1e-4)
    assert np.abs(ours - theirs).max() > 1e-3


def test_channels_are_resized_one_by_one():
    maps = np.random.default_rng(8).random((14, 11, 50))
    together = imresize(maps, (20, 9))
    for channel in (0, 49):
        np.testing.assert_array_equal(together[..., channel], imresize(maps[..., channel], (20, 9)))


def test_a_view_gives_what_its_copy_gives():
    image = np.random.default_rng(9).integers(0, 256, (30, 40, 3), np.uint8)
    view = image[::-1, ::2, ::-1].swapaxes(0, 1)
    np.testing.assert_array_equal(imresize(view, (13, 17)), imresize(view.copy(), (13, 17)))


def test_the_same_size_gives_a_copy():
    image = np.arange(12, dtype=np.float64).reshape(3, 4)
    resized = imresize(image, (3, 4))
    np.testing.assert_array_equal(resized, image)
    resized[0, 0] = 99
    assert image[0, 0] == 0


@pytest.mark.parametrize(
    ("array", "size", "method", "message"),
    [
        (np.zeros(3), (2, 2), "bicubic", r"not empty, found \(3,\)"),
        (np.zeros((0, 3)), (2, 2), "bicubic", r"not empty, found \(0, 3\)"),
        (np.zeros((3, 3), bool), (2, 2), "bicubic", "expected a dtype of uint8, .*, found bool"),
        (np.zeros((3, 3), np.int64), (2, 2), "bicubic", "found int64"),
        (np.zeros((3, 3)), (2, 0), "bicubic", r"expected the size .*, found \(2, 0\)"),
        (np.zeros((3, 3)), (2,), "bicubic", r"expected the size .*, found \(2,\)"),
        (np.zeros((3, 3)), 0.5, "bicubic", r"expected the size \(rows, columns\), .*, found 0\.5$"),
        (np.zeros((3, 3)), (2, 2.5), "bicubic", r"whole numbers of 1 or more, found \(2, 2\.5\)"),
        (np.zeros((3, 3)), (2, np.nan), "bicubic", r"found \(2, nan\)"),
        (np.zeros((3, 3)), (2, 2), "lanczos3", "expected the method bicubic or bilinear, found 'lanczos3'"),
    ],
)
def test_what_cannot_be_resized_is_refused(array, size, method, message):
    with pytest.raises(UsageError, match=message):
        imresize(array, size, method)
