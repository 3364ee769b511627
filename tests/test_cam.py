from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.io import loadmat

from pycam.drawing import py_map2jpg
from pycam.errors import UsageError
from pycam.images.matlab import imresize
from pycam.maps.cam import (
    class_activation_maps,
    merge_column_maps,
    merge_ten_crop,
    py_returnCAMmap,
)


@pytest.fixture(scope="module")
def published(shared):
    """The published GoogLeNet-CAM features of img1, scores and class weights, in Caffe's order of axes."""
    image = loadmat(shared / "data/cam-release/data_img1.mat")
    net = loadmat(shared / "data/cam-release/data_net.mat")
    return {
        "features": image["activation_lastconv"].transpose(3, 2, 1, 0),
        "scores": image["scores"].reshape(1000, 10).T,
        "weights": net["weights_LR"].T,
    }


def relative_error(ours, golden):
    return np.abs(ours - golden).max() / np.abs(golden).max()


def normalised(values):
    return cv2.normalize(values.astype(np.float64), None, 0.0, 1.0, cv2.NORM_MINMAX)


@pytest.mark.shared
def test_published_features_give_the_maps_of_the_release(shared, published):
    golden = np.load(shared / "data/cam-release/golden_img1.npz")
    scores = published["scores"].mean(axis=0)
    top = np.argsort(-scores)[:5]
    np.testing.assert_array_equal(top + 1, golden["top5_matlab_index"])
    np.testing.assert_allclose(scores[top], golden["top5_score"], rtol=0, atol=5e-7)

    maps = class_activation_maps(published["features"], published["weights"][top])
    assert maps.dtype == np.float32
    assert relative_error(maps, golden["column_maps"].transpose(3, 2, 1, 0)) < 1e-6
    assert relative_error(merge_column_maps(maps, 224), golden["merged_maps"]) < 1e-6


@pytest.mark.shared
def test_published_features_give_the_images_of_the_python_driver(shared, published):
    golden = np.load(shared / "data/golden/py_demo.npz")
    centre = published["features"][4:5]
    top = np.argsort(published["scores"][4])[::-1][:5]
    np.testing.assert_array_equal(top, golden["index"])
    np.testing.assert_allclose(published["scores"][4][top], golden["score"], rtol=0, atol=5e-7)

    maps = py_returnCAMmap(centre, published["weights"][top])
    assert maps.dtype == np.float64
    assert maps.shape == golden["maps"].shape
    assert relative_error(maps, golden["maps"]) < 1e-6
    for index in range(5):
        map = normalised(normalised(cv2.resize(maps[:, :, index], (256, 256))))
        difference = np.abs(py_map2jpg(map, None, None).astype(int) - golden["colours"][index])
        assert difference.max() <= 4
        assert (difference.max(axis=2) > 0).mean() <= 0.001

    image = cv2.resize(cv2.imread(str(shared / "data/cam-release/img1.jpg")), (256, 256))
    overlay = 0.2 * normalised(image) + 0.7 * normalised(golden["colours"][0])
    np.testing.assert_allclose(overlay, golden["overlay_top1"], rtol=0, atol=1e-6)


def test_maps_are_weighted_sums_of_features():
    random = np.random.default_rng(1)
    features = random.random((2, 6, 3, 4), np.float32)
    weights = random.random((2, 5, 6), np.float32)
    maps = class_activation_maps(features, weights)
    assert maps.shape == (2, 5, 3, 4)
    np.testing.assert_allclose(maps[1, 3, 2, 0], np.dot(weights[1, 3], features[1, :, 2, 0]), rtol=1e-6)
    np.testing.assert_allclose(class_activation_maps(features, weights[1])[1], maps[1], rtol=1e-6)


def test_shapes_that_do_not_match_are_refused():
    features = np.zeros((2, 6, 3, 4), np.float32)
    for shape in [(5, 7), (3, 5, 6), (6,)]:
        with pytest.raises(UsageError, match=r"features of shape \(2, 6, 3, 4\) and class weights of shape"):
            class_activation_maps(features, np.zeros(shape, np.float32))
    with pytest.raises(UsageError, match="expected one image"):
        py_returnCAMmap(features, np.zeros((5, 6)))
    with pytest.raises(UsageError, match=r"weights \(5, 7\); expected .* weights \(T, K\)"):
        py_returnCAMmap(features[:1], np.zeros((5, 7)))


def test_py_map2jpg_takes_normalised_maps_only():
    assert py_map2jpg(np.array([[0, 1]]), [0, 9], "hot").tolist() == [[[128, 0, 0], [0, 0, 128]]]
    for wrong in (np.array([[0, 1.1]]), np.array([[-0.1, 1]]), np.array([[0, np.nan]]), np.zeros((2, 2, 3))):
        with pytest.raises(UsageError, match=r"expected \(H, W\) in \[0, 1\]"):
            py_map2jpg(wrong, None, None)
    with pytest.raises(UsageError, match=r"^py_map2jpg: got a map of shape \(0, 3\); expected \(H, W\), not empty$"):
        py_map2jpg(np.zeros((0, 3)), None, None)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("size", "formula"),
    [
        (224, lambda i, j, k: k * np.sin(0.013 * i + 0.029 * j + k)),
        (227, lambda i, j, k: k * np.cos(0.017 * i - 0.011 * j + 0.5 * k)),
    ],
)
def test_merged_crops_are_the_release_s(shared, size, formula):
    golden = np.load(shared / "data/golden/matlab/merge_ten_crop.npz")[f"merged_{size}"]
    j, i = np.mgrid[:size, :size]
    crops = np.stack([formula(i, j, k) for k in range(1, 11)])
    merged = merge_ten_crop(crops)
    assert merged.dtype == np.float32
    assert relative_error(merged, golden) < 1e-6


def test_merging_without_absolute_values_keeps_signs():
    crops = -np.ones((10, 224, 224))
    assert merge_ten_crop(crops)[128, 128] == 30
    assert merge_ten_crop(crops, absolute=False)[128, 128] == -30
    assert merge_ten_crop(crops)[0, 0] == 6


def test_the_mean_of_equal_crops_is_flat():
    crops = np.full((10, 227, 227), -2.5)
    np.testing.assert_array_equal(merge_ten_crop(crops, mean=True), np.full((256, 256), 2.5))
    np.testing.assert_array_equal(merge_ten_crop(crops, mean=True, absolute=False), np.full((256, 256), -2.5))
    assert np.isfinite(merge_ten_crop(crops[:, :50, :50], mean=True)).all()


@pytest.mark.parametrize("options", [{}, {"absolute": False}, {"mean": True}])
def test_column_maps_are_enlarged_and_merged(options):
    column_maps = np.random.default_rng(2).standard_normal((10, 2, 14, 13)).astype(np.float32)
    merged = merge_column_maps(column_maps, 224, **options)
    assert merged.dtype == np.float32
    enlarged = np.stack([[imresize(map, (224, 224)) for map in crop] for crop in column_maps])
    together = merge_ten_crop(enlarged, **options)
    one_by_one = np.stack([merge_ten_crop(enlarged[:, index], **options) for index in range(2)])
    np.testing.assert_array_equal(together, one_by_one)
    assert relative_error(merged, together) < 1e-6


def test_maps_that_are_not_of_ten_crops_are_refused():
    for shape in [(9, 224, 224), (10, 224, 257), (10, 257, 224), (10, 224)]:
        with pytest.raises(UsageError, match="merge_ten_crop: got maps of shape"):
            merge_ten_crop(np.zeros(shape))
    for shape, size in [((9, 5, 14, 14), 224), ((10, 14, 14), 224), ((10, 5, 14, 14), 257)]:
        with pytest.raises(UsageError, match=f"for crops of size {size}; expected"):
            merge_column_maps(np.zeros(shape), size)
