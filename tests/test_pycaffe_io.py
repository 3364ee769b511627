"""`pycam.pycaffe.io`, compared with real Caffe's `caffe.io` and with plain definitions."""

from __future__ import annotations

import subprocess
import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from pycam.engines.caffe import find_caffe
from pycam.errors import UsageError
from pycam.images.caffe_resize import caffe_resize
from pycam.images.read import read_image
from pycam.pycaffe import io

# The script runs in real Caffe and here. Debian's scikit-image, which is younger than Caffe, smooths when it shrinks
# images, and does not know the argument `as_grey`: both are put back.
SCRIPT = """
import functools, glob, os, warnings
import numpy as np
import caffe

warnings.simplefilter("ignore")
if hasattr(caffe.io, "skimage"):
    caffe.io.resize = functools.partial(caffe.io.resize, anti_aliasing=False)
    imread = caffe.io.skimage.io.imread
    caffe.io.skimage.io.imread = lambda name, as_grey: imread(name, as_gray=as_grey)
found = {}

random = np.random.RandomState(7)
for case in range(60):
    order, channels = case % 6, (3, 1, 4, 3, 7)[case % 5]
    # At odd multiples of a size a sample lies on the border, and rounding errors of scikit-image decide its side; for
    # order 0, it is so between two samples.
    height, width, new_height, new_width = random.choice([5, 7, 11, 13, 16, 32], 4)
    if order == 0 or height == new_height:
        height, new_height = (7, 16) if case % 4 else (13, 5)
    if order == 0 or width == new_width:
        width, new_width = 11, 5
    values = random.randn(height, width, channels) * 30 + 50
    if case % 3 == 1:
        values = values.astype(np.float32)
    if case % 3 == 2:
        values = values.clip(0, 255).astype(np.uint8)
    found["resize %d %d" % (case, order)] = caffe.io.resize_image(values, (new_height, new_width), interp_order=order)

for case in range(12):
    shape = ((1, 3, 32, 24), (1, 1, 20, 20), (2, 4, 17, 30))[case % 3]
    channels, height, width = shape[1:]
    transformer = caffe.io.Transformer({"data": shape})
    transformer.set_transpose("data", (2, 0, 1))
    if case % 2:
        transformer.set_channel_swap("data", tuple(random.permutation(channels)))
        transformer.set_raw_scale("data", 255)
    mean = [
        random.rand(channels) * 100,
        random.rand(channels, height, width) * 100,
        random.rand(channels, 40, 41).astype(np.float32) * 100,
        random.rand(1, 25, 50) * 100,
    ][case // 3]
    transformer.set_mean("data", mean)
    if case % 4 == 1:
        transformer.set_input_scale("data", 0.017)
    image = random.rand(*[(height, width), (25, 45), (60, 20)][case % 3], channels).astype(np.float32)
    given = transformer.preprocess("data", image.copy())
    found["mean %d" % case] = transformer.mean["data"]
    found["preprocess %d" % case] = given
    if channels > 1:
        found["deprocess %d" % case] = transformer.deprocess("data", given[np.newaxis])
        found["deprocess double %d" % case] = transformer.deprocess("data", given.astype(float))

for name in sorted(os.listdir(IMAGES)):
    for color in (True, False):
        found["%s %s" % (name, color)] = caffe.io.load_image(os.path.join(IMAGES, name), color)
np.savez(FOUND, **found)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Images of the kinds that scikit-image reads as in Caffe's time."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(5)
    pixels = cv2.resize(rng.integers(0, 256, (6, 9, 3), np.uint8), (61, 40), interpolation=cv2.INTER_CUBIC)
    for name in ("colour.png", "colour.jpg", "colour.bmp"):
        cv2.imwrite(str(folder / name), pixels)
    cv2.imwrite(str(folder / "grey.jpg"), pixels[..., 0])
    cv2.imwrite(str(folder / "grey.png"), pixels[..., 0])
    Image.fromarray(pixels).save(folder / "colour.tif")  # OpenCV compresses it, which needs a package more there
    Image.fromarray(pixels).quantize(16).save(folder / "palette.png")
    return folder


@pytest.mark.caffe
def test_everything_gives_what_it_gives_in_caffe(folder, tmp_path):
    files = f"IMAGES = {str(folder)!r}\nFOUND = {{!r}}\n"
    here, there = str(tmp_path / "here.npz"), str(tmp_path / "there.npz")
    changed = SCRIPT.replace("import caffe\n", "from pycam import pycaffe as caffe\n")
    with warnings.catch_warnings():
        exec(compile(files.format(here) + changed, "script", "exec"), {})
    subprocess.run([*find_caffe(), "-c", files.format(there) + SCRIPT], check=True)
    ours, theirs = np.load(here), np.load(there)
    assert ours.files == theirs.files
    for name in ours.files:
        assert ours[name].dtype == theirs[name].dtype, name
        scale = np.abs(theirs[name]).max()
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=1e-5 * scale, err_msg=name)


def test_images_are_read_as_rgb_from_0_to_1(folder):
    pixels = read_image(folder / "colour.png").pixels
    np.testing.assert_allclose(io.load_image(folder / "colour.png")[..., ::-1] * 255, pixels, atol=1e-4)
    grey = io.load_image(folder / "colour.png", color=False)
    assert grey.shape == (*pixels.shape[:2], 1)
    blue, green, red = pixels[7, 9] / 255
    assert grey[7, 9, 0] == pytest.approx(0.2125 * red + 0.7154 * green + 0.0721 * blue, abs=1e-6)


def test_the_corners_of_four_channels_stay_where_they_are():
    """SciPy's zoom aligns the centers of the corner samples; the images of other nets stay inside their borders."""
    image = np.arange(4 * 5 * 4, dtype=np.float32).reshape(4, 5, 4)
    larger = io.resize_image(image, (7, 9))
    np.testing.assert_allclose(larger[::2, ::2], image, atol=1e-5)
    assert io.resize_image(image[..., :3], (7, 9))[0, 0, 0] < image.max() / 10


def test_constant_images_stay_constant():
    for channels in (1, 3):
        resized = io.resize_image(np.full((8, 8, channels), 0.5), (4, 5))
        assert resized.dtype == np.float32
        np.testing.assert_array_equal(resized, np.full((4, 5, channels), 0.5))


def test_the_later_of_two_equally_near_samples_is_taken():
    ramp = np.arange(8.0).reshape(8, 1, 1) * np.ones((1, 8, 3))
    assert io.resize_image(ramp, (4, 4), interp_order=0)[:, 0, 0].tolist() == [1, 3, 5, 7]


def test_maps_are_resized_as_images_of_one_channel():
    map_ = np.random.default_rng(1).random((6, 5))
    for order in range(6):
        expected = io.resize_image(map_[..., np.newaxis], (9, 11), order)[..., 0]
        np.testing.assert_array_equal(caffe_resize(map_, 9, 11, order), expected)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 5), st.integers(0, 5), st.integers(1, 3))
def test_ten_crops_are_the_corners_the_center_and_their_mirrors(height, width, more_rows, more_columns, count):
    rng = np.random.default_rng(height)
    images = [rng.random((height + more_rows, width + more_columns, 2)).astype(np.float32) for _ in range(count)]
    crops = io.oversample(images, (height, width))
    assert crops.shape == (10 * count, height, width, 2)
    for image, ten in zip(images, crops.reshape(count, 10, height, width, 2), strict=True):
        top, left = int(image.shape[0] / 2 - height / 2), int(image.shape[1] / 2 - width / 2)
        np.testing.assert_array_equal(ten[0], image[:height, :width])
        np.testing.assert_array_equal(ten[1], image[:height, image.shape[1] - width :])
        np.testing.assert_array_equal(ten[2], image[image.shape[0] - height :, :width])
        np.testing.assert_array_equal(ten[3], image[image.shape[0] - height :, image.shape[1] - width :])
        np.testing.assert_array_equal(ten[4], image[top : top + height, left : left + width])
        np.testing.assert_array_equal(ten[5:], ten[:5, :, ::-1])


@given(
    st.permutations([0, 1, 2]),
    st.floats(0.1, 300),
    st.floats(0.1, 2),
    st.lists(st.floats(-100, 100), min_size=3, max_size=3),
)
def test_deprocess_undoes_preprocess(swap, raw_scale, input_scale, mean):
    transformer = io.Transformer({"data": (1, 3, 4, 5)})
    transformer.set_transpose("data", (2, 0, 1))
    transformer.set_channel_swap("data", swap)
    transformer.set_raw_scale("data", raw_scale)
    transformer.set_mean("data", mean)
    transformer.set_input_scale("data", input_scale)
    image = np.random.default_rng(0).random((4, 5, 3))
    given = transformer.preprocess("data", image)
    row = (image[1, 2][list(swap)] * raw_scale - mean) * input_scale
    np.testing.assert_allclose(given[:, 1, 2], row, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(transformer.deprocess("data", given), image, atol=1e-4 * (1 + 200 / raw_scale))


def test_preprocess_does_not_change_the_image():
    transformer = io.Transformer({"data": (1, 3, 4, 5)})
    transformer.set_transpose("data", (2, 0, 1))
    transformer.set_raw_scale("data", 255)
    image = np.ones((4, 5, 3), np.float32)
    assert transformer.preprocess("data", image).max() == 255
    assert image.max() == 1


def test_a_constant_mean_image_of_another_size_is_nan():
    transformer = io.Transformer({"data": (1, 3, 4, 5)})
    with pytest.warns(RuntimeWarning, match=r"becomes NaN, as in Caffe: give its values per channel"):
        transformer.set_mean("data", np.full((3, 8, 8), 100))
    assert np.isnan(transformer.mean["data"]).all()
    transformer.set_mean("data", np.full((3, 4, 5), 100))
    assert transformer.mean["data"].min() == 100


@pytest.mark.parametrize(
    ("mean", "message"),
    [
        (
            np.ones(1),
            r"shape \(1,\) for input 'data': give \(3,\), or \(channels, height, width\) with 1 or 3 channels$",
        ),
        (np.float64(3), r"shape \(\)"),
        (np.ones((4, 5)), r"shape \(4, 5\)"),
        (np.ones((1, 3, 4, 5)), r"`mean\[0\]` has no batch"),
        (np.ones((4, 5, 3)), r"`mean.transpose\(2, 0, 1\)` moves the channels"),
        (np.ones((2, 4, 5)), r"shape \(2, 4, 5\)"),
    ],
)
def test_a_mean_of_a_wrong_shape_is_refused(mean, message):
    with pytest.raises(UsageError, match=message) as caught:
        io.Transformer({"data": (1, 3, 4, 5)}).set_mean("data", mean)
    assert isinstance(caught.value, ValueError)


def of_three(**steps):
    transformer = io.Transformer({"data": (1, 3, 4, 5)})
    for step, value in steps.items():
        getattr(transformer, f"set_{step}")("data", value)
    return transformer


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (lambda: of_three().set_mean("dta", [0]), "'dta' is not an input of this Transformer; its inputs are data"),
        (lambda: of_three().set_raw_scale("dta", 1), "'dta' is not an input"),
        (lambda: of_three().set_input_scale("dta", 1), "'dta' is not an input"),
        (lambda: of_three().preprocess("dta", [0]), "'dta' is not an input"),
        (lambda: of_three().deprocess("dta", [0]), "'dta' is not an input"),
        (lambda: of_three(transpose=(2, 0)), r"transpose \(2, 0\) of input 'data': give each of its axes 0 to 2 once"),
        (lambda: of_three(transpose=(2, 0, 0)), "axes 0 to 2 once"),
        (lambda: of_three(channel_swap=(1, 0)), r"swap \(1, 0\) of input 'data': give 3 channels, each from 0 to 2"),
        (lambda: of_three(channel_swap=(1, 0, 3)), "each from 0 to 2"),
        (
            lambda: of_three(transpose=(2, 0, 1)).preprocess("data", np.ones((4, 5))),
            r"of 3 axes, the array has shape \(4, 5\)",
        ),
        (lambda: of_three().preprocess("data", np.ones((9, 9))), r"an image of shape \(9, 9\): .* grey is \(H, W, 1\)"),
        (
            lambda: of_three(mean=[1, 2, 3], transpose=(2, 0, 1)).preprocess("data", np.ones((4, 5, 1))),
            r"the mean has shape \(3, 1, 1\), the array \(1, 4, 5\)",
        ),
        (
            lambda: of_three(mean=[1, 2, 3]).preprocess("data", np.ones((4, 5, 3))),
            r"the mean has shape \(3, 1, 1\), the array \(4, 5, 3\); .* move them to the front with set_transpose",
        ),
        (
            lambda: of_three(channel_swap=(2, 1, 0), transpose=(2, 0, 1)).preprocess("data", np.ones((4, 5, 1))),
            r"swap is of 3 channels, the array has shape \(1, 4, 5\)",
        ),
        (
            lambda: of_three(transpose=(2, 0, 1)).deprocess("data", np.ones((1, 1, 4, 5))),
            r"shape \(4, 5\); .* deprocess removes axes of length 1",
        ),
        (lambda: io.Transformer({"data": (1, 9)}).preprocess("data", np.ones((4, 5, 3))), r"resized to \(\)"),
        (lambda: io.resize_image(np.ones((4, 5)), (2, 2)), r"an image of shape \(4, 5\)"),
        (lambda: io.resize_image(np.ones((4, 5, 3)), (2, 2, 3)), r"cannot be resized to \(2, 2, 3\)"),
        (lambda: io.resize_image(np.ones((4, 5, 3)), (0, 2)), r"\(4, 5, 3\) cannot be resized to 0×2"),
        (lambda: io.resize_image(np.ones((4, 0, 3)), (2, 2)), r"\(4, 0, 3\) cannot be resized to 2×2"),
        (lambda: io.resize_image(np.ones((4, 5, 3)), (2, 2), 6), "order 6: give one of 0 to 5"),
        (lambda: io.oversample([], (2, 2)), "images of one shape"),
        (lambda: io.oversample([np.ones((4, 5))], (2, 2)), r"not \[\(4, 5\)\]"),
        (lambda: io.oversample([np.ones((4, 5, 3)), np.ones((5, 4, 3))], (2, 2)), "resize them first"),
        (lambda: io.oversample([np.ones((4, 5, 3))], (5, 5)), "a crop of 5×5 from an image of 4×5"),
        (lambda: io.array_to_datum(np.ones((4, 5))), r"datum of an array of shape \(4, 5\): give \(channels, height"),
        (
            lambda: io.datum_to_array(io.caffe_pb2.Datum(channels=3, height=9, width=9, data=b"jpeg", encoded=True)),
            "encoded image: decode it with cv2.imdecode",
        ),
        (
            lambda: io.datum_to_array(io.caffe_pb2.Datum(channels=3, height=1, width=1, data=b"1234")),
            r"the Datum has 4 values, but its shape is \(3, 1, 1\)",
        ),
        (
            lambda: io.blobproto_to_array(io.caffe_pb2.BlobProto(num=2, channels=1, height=1, width=1, data=[1])),
            r"the BlobProto has 1 values, but its shape is \(2, 1, 1, 1\)",
        ),
    ],
)
def test_what_caffe_refuses_is_refused(refused, message):
    with pytest.raises(UsageError, match=message):
        refused()


@given(arrays(np.float32, array_shapes(min_dims=0, max_dims=5, max_side=4), elements=st.floats(-9, 9, width=32)))
def test_arrays_are_the_same_after_a_blobproto(array):
    blob = io.array_to_blobproto(array, diff=-array)
    np.testing.assert_array_equal(io.blobproto_to_array(blob), array)
    np.testing.assert_array_equal(io.blobproto_to_array(blob, return_diff=True), -array)
    (back,) = io.blobprotovector_str_to_arraylist(io.arraylist_to_blobprotovector_str([array]))
    assert back.dtype == np.float64
    np.testing.assert_array_equal(back, array)


@given(arrays(st.sampled_from((np.uint8, np.int64, np.float32)), (2, 3, 4), elements={"max_value": 99}))
def test_arrays_are_the_same_after_a_datum(array):
    datum = io.array_to_datum(array, label=3)
    assert (datum.label, datum.channels) == (3, array.shape[0])
    assert bool(datum.data) == (array.dtype == np.uint8)
    back = io.datum_to_array(datum)
    assert back.dtype == (np.uint8 if array.dtype == np.uint8 else np.float64)
    np.testing.assert_array_equal(back, array.astype(np.float32))
    back[...] = 0  # it is the caller's own


def test_the_old_shape_of_a_blobproto_is_read():
    blob = io.caffe_pb2.BlobProto(num=1, channels=3, height=2, width=2, data=range(12))
    assert io.blobproto_to_array(blob).shape == (1, 3, 2, 2)
