from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, strategies as st

from pycam.images.matlab import imresize
from pycam.images.views import view_of
from pycam.maps.cam import merge_ten_crop
from pycam.maps.placement import Placement

RNG = np.random.default_rng(0)


def place(view: str, size: int, placement: str = "in_place") -> Placement:
    return Placement(view_of(view, (size, size), (256, 256)), "opencv_bilinear", "single", placement)


@pytest.mark.parametrize(("size", "start"), [(224, 16), (227, 14)])
def test_center_map_lies_at_the_place_of_its_crop(size, start):
    maps = RNG.normal(size=(1, 14, 14)).astype(np.float32)
    canvas = np.zeros((256, 256), np.float32)
    canvas[start : start + size, start : start + size] = cv2.resize(maps[0], (size, size))
    placement = place("center", size)
    np.testing.assert_array_equal(placement.on_canvas(maps), canvas)
    np.testing.assert_array_equal(placement.on_image(maps, 375, 500), cv2.resize(canvas, (500, 375)))


def test_full_map_covers_the_image():
    maps = RNG.normal(size=(1, 15, 15)).astype(np.float32)
    placement = place("full", 227)
    np.testing.assert_array_equal(placement.on_image(maps, 375, 500), cv2.resize(maps[0], (500, 375)))
    assert placement.region(375, 500) == (0, 0, 500, 375)


def test_stretched_map_covers_the_canvas_as_the_python_driver_does():
    maps = RNG.normal(size=(1, 14, 14)).astype(np.float32)
    placement = place("center", 224, "stretched")
    np.testing.assert_array_equal(placement.on_canvas(maps), cv2.resize(maps[0], (256, 256)))
    assert placement.region(256, 256) == (0, 0, 256, 256)


def test_ten_maps_are_enlarged_and_merged():
    maps = RNG.normal(size=(10, 14, 14)).astype(np.float32)
    placement = Placement(view_of("ten", (224, 224)), "matlab_bicubic", "absolute_sum", "in_place")
    merged = merge_ten_crop(np.stack([imresize(map_, (224, 224)) for map_ in maps]))
    np.testing.assert_allclose(placement.on_canvas(maps), merged, atol=1e-5 * merged.max())
    np.testing.assert_allclose(
        placement.on_image(maps, 300, 200), imresize(merged, (300, 200)), atol=1e-5 * merged.max()
    )
    assert placement.region(300, 200) == (0, 0, 200, 300)


@given(height=st.integers(1, 2000), width=st.integers(1, 2000), size=st.integers(1, 256))
def test_region_is_the_crop_in_image_pixels(height, width, size):
    x0, y0, x1, y1 = place("center", size).region(height, width)
    start = int(128 - size / 2)
    assert 0 <= x0 < x1 <= max(width, x0 + 1)
    assert 0 <= y0 < y1 <= max(height, y0 + 1)
    assert abs(x0 - start * width / 256) <= 0.5
    assert abs(y0 - start * height / 256) <= 0.5
    assert x1 - x0 <= width * size / 256 + 1
