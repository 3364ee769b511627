from __future__ import annotations

import cv2
import numpy as np
import PIL.Image
import pytest
from scipy.io import loadmat

import pycam
from pycam import drawing, engines, zoo
from pycam.drawing import layout, overlays, py_map2jpg
from pycam.images.read import read_image
from pycam.images.resize import resize
from pycam.maps.cam import class_activation_maps

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (40, 60, 3), np.uint8)


def test_half_mixes_image_and_jet():
    map_ = np.zeros((40, 60), np.float32)
    map_[10, 20] = 7.0
    map_[0, 0] = -3.0
    drawn = overlays.overlay_half(IMAGE, map_)
    jet = cv2.applyColorMap(np.arange(256, dtype=np.uint8)[None], cv2.COLORMAP_JET)[0]
    for (y, x), level in {(10, 20): 255, (0, 0): 0, (5, 5): 0}.items():
        assert np.abs(drawn[y, x].astype(int) - (IMAGE[y, x] / 2 + jet[level] / 2)).max() <= 0.5


def test_the_rest_of_the_image_is_darkened_and_not_coloured():
    drawn = overlays.overlay_half(IMAGE, np.ones((40, 60), np.float32), (10, 5, 50, 35))
    outside = np.ones((40, 60), bool)
    outside[5:35, 10:50] = False
    assert (drawn[outside] == IMAGE[outside] // 2).all()
    assert (drawn[~outside] != IMAGE[~outside] // 2).any()


def test_half_survives_a_map_without_a_peak():
    for value in (0.0, -1.0):
        drawn = overlays.overlay_half(IMAGE, np.full((40, 60), value, np.float32))
        lowest = cv2.applyColorMap(np.zeros((1, 1), np.uint8), cv2.COLORMAP_JET)[0, 0]
        assert np.abs(drawn - (IMAGE / 2 + lowest / 2)).max() <= 0.5


@pytest.mark.shared
def test_py_demo_overlay_is_the_original_programs(shared):
    golden = np.load(shared / "data/golden/py_demo.npz")
    image = resize(read_image(shared / "data/cam-release/img1.jpg").pixels, 256, 256)
    map_ = cv2.resize(golden["maps"][:, :, 0], (256, 256))
    drawn = overlays.overlay_py_demo(image, map_)
    # One level of an 8-bit colour may differ where the map lies between two.
    assert np.mean(np.abs(drawn - golden["overlay_top1"]) > 1e-6) <= 1e-3
    assert np.abs(drawn - golden["overlay_top1"]).max() <= 0.7 * 4 / 255 + 1e-6


def test_py_demo_overlay_by_its_definition():
    map_ = RNG.normal(size=(256, 256))
    image = RNG.integers(0, 256, (256, 256, 3), np.uint8)
    scaled = (map_ - map_.min()) / (map_.max() - map_.min())
    colours = py_map2jpg(scaled, None, "jet").astype(float)
    stretched = [(a - a.min()) / (a.max() - a.min()) for a in (image.astype(float), colours)]
    np.testing.assert_allclose(
        overlays.overlay_py_demo(image, map_), 0.2 * stretched[0] + 0.7 * stretched[1], atol=1e-9
    )


@pytest.mark.shared
def test_pytorch_cam_has_the_levels_and_the_sums_of_the_driver(shared):
    golden = np.load(shared / "data/golden/pytorch_cam.npz")
    features = loadmat(shared / "data/cam-release/data_img1.mat")["activation_lastconv"].transpose(3, 2, 1, 0)[4:5]
    weights = loadmat(shared / "data/cam-release/data_net.mat")["weights_LR"].T
    maps = class_activation_maps(features, weights[golden["index"]])[0]
    assert (np.stack([resize(map_, 256, 256, "levels_256") for map_ in maps]) == golden["maps"]).all()
    image = read_image(shared / "data/samples/cat.jpg").pixels
    levels = resize(maps[0], 360, 480, "levels_256")
    drawn = overlays.overlay_pytorch_cam(image, levels)
    assert (drawn[golden["y"], golden["x"]] == golden["result"]).all() and drawn.sum() == golden["result_sum"]
    assert cv2.applyColorMap(levels.astype(np.uint8), cv2.COLORMAP_JET).sum() == golden["heat_sum"]


def test_pytorch_cam_is_the_driver_on_a_net_with_its_own_preprocessing(tmp_path):
    image = RNG.integers(0, 256, (90, 130, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "image.png"), image)
    with pycam.load(zoo.BUNDLED, protocol="pytorch_cam") as cam:
        prediction = cam(str(tmp_path / "image.png"))
        net = cam.model.net
    # The driver's own steps, with the net's order of channels and its mean in place of torchvision's.
    pixels = np.asarray(PIL.Image.open(tmp_path / "image.png").resize((227, 227), PIL.Image.BILINEAR))[:, :, ::-1]
    inputs = (pixels.transpose(2, 0, 1)[None] - np.float32(zoo.card(zoo.BUNDLED).mean.value)[:, None, None]).astype(
        np.float32
    )
    with engines.make("onnxruntime", net, ["fire9/concat", "prob"], engines.Options(threads=1)) as engine:
        features, scores = (engine.forward({"data": inputs})[blob][0] for blob in ("fire9/concat", "prob"))
    best = int(scores.argmax())
    assert [item.index for item in prediction.top] == [best]
    map_ = np.tensordot(net.params["CAM_fc"][0][best], features, 1)
    map_ = map_ - map_.min()
    levels = cv2.resize((255 * (map_ / map_.max())).astype(np.uint8), (256, 256))
    colours = cv2.applyColorMap(cv2.resize(levels, (130, 90)), cv2.COLORMAP_JET)
    # A sum in another order can change a level by one, and a colour by five.
    assert np.abs(prediction.overlay() - (0.3 * colours + 0.5 * image)).max() <= 0.3 * 5 + 0.5
    assert np.abs(prediction.top[0].map - cv2.resize(levels, (130, 90))).max() <= 1
    (overlay, *_) = prediction.save(tmp_path)
    found = overlay.read_bytes()
    with PIL.Image.open(overlay) as written:
        ours = written.quantization
    cv2.imwrite(str(tmp_path / "driver.jpg"), np.asarray(PIL.Image.open(overlay)))
    with PIL.Image.open(tmp_path / "driver.jpg") as written:
        assert found.startswith(b"\xff\xd8") and written.quantization == ours  # OpenCV's default, 95


@pytest.mark.parametrize("map_", [np.full((3, 4), 7, np.float32), np.zeros((1, 1), np.float32)])
def test_pytorch_cam_of_a_constant_map_has_the_lowest_colour(map_):
    levels = resize(map_, 40, 60, "levels_256")
    assert not levels.any()
    assert overlays.overlay_pytorch_cam(IMAGE, levels) == pytest.approx(0.5 * IMAGE + 0.3 * np.array([128, 0, 0]))


def test_matlab_overlay_of_extremes():
    map_ = np.array([[0.0, 1.0]])
    drawn = overlays.overlay_matlab_demo(np.full((1, 2, 3), 255, np.uint8), map_)
    # jet(256) goes from dark blue (0, 0, 0.515625) to dark red (0.5, 0, 0).
    np.testing.assert_allclose(drawn[0, 0], [0.2 + 0.7 * 0.515625, 0.2, 0.2])
    np.testing.assert_allclose(drawn[0, 1], [0.2, 0.2, 0.2 + 0.7 * 0.5])


def test_matlab_strip_has_eight_white_columns_before_each_overlay():
    drawn = [np.full((40, 60, 3), n, np.uint8) for n in (1, 2)]
    laid = drawing.strip(IMAGE, drawn, [], "", "matlab_demo")
    assert laid.shape == (40, 3 * 60 + 2 * 8, 3)
    assert (laid[:, :60] == IMAGE).all()
    assert (laid[:, 60:68] == 255).all()
    assert (laid[:, 68:128] == 1).all()
    assert (laid[:, 128:136] == 255).all()
    assert (laid[:, 136:] == 2).all()


def test_caption_stands_below_and_keeps_within_the_width():
    for width in (1, 5, 30, 500):
        image = np.zeros((10, width, 3), np.uint8)
        drawn = drawing.caption(image, "a very long name of a class, with its synonyms", "0.123")
        assert drawn.shape == (10 + layout.CAPTION_HEIGHT, width, 3)
        assert (drawn[:10] == image).all()
    wide = drawing.caption(np.zeros((10, 500, 3), np.uint8), "fox", "0.5")
    assert (wide[10:, :40] > 128).any()
    assert (wide[10:, -40:] > 128).any()
    assert not (wide[10:, 100:400] > 128).any()


def test_strip_scales_all_tiles_to_one_height():
    laid = drawing.strip(IMAGE, [IMAGE, IMAGE], [("one", "0.5"), ("two", "0.4")], "name.jpg")
    width = round(60 * 256 / 40)
    assert laid.shape == (256 + layout.CAPTION_HEIGHT, 3 * width + 2 * 6, 3)


def test_box_is_drawn_on_its_border_pixels():
    image = np.full((100, 100, 3), 128, np.uint8)
    drawn = drawing.draw_box(image, (10, 20, 60, 80))
    assert (drawn[20, 10:60] == 255).all()
    assert (drawn[79, 10:60] == 255).all()
    assert (drawn[20:80, 59] == 255).all()
    assert (drawn[50, 50] == 128).all()
    assert (image == 128).all()


@pytest.mark.parametrize("size", [(2, 3), (8, 8), (32, 32), (48, 64), (99, 120)])
def test_a_box_on_a_small_image_does_not_hide_it(size):
    height, width = size
    image = np.full((height, width, 3), 128, np.uint8)
    box = (width // 4, height // 4, width, height)
    tile = drawing.strip_tile(image, 5, "captioned", box)
    assert tile.shape[0] == layout.STRIP_HEIGHT
    assert (tile == 128).mean() > 0.85
    # The corner is where the pixel of the box begins, on the scale of the tile.
    white = np.argwhere((tile == 255).all(axis=2))
    assert abs(white.min(axis=0) - np.array(box[1::-1]) * layout.STRIP_HEIGHT / height).max() <= 3
    # An overlay has the size of the image: there, the box takes its own border, and nothing beside it.
    expected = np.full((height, width), 128, np.uint8)
    x0, y0, x1, y1 = box
    expected[y0:y1, x0:x1] = 255
    expected[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1] = 128
    np.testing.assert_array_equal(drawing.draw_box(image, box)[..., 0], expected)


def test_a_box_on_a_low_tile_lies_where_the_image_does():
    image = np.full((10, 400, 3), 128, np.uint8)
    tile = drawing.strip_tile(image, 5, "captioned", (0, 0, 400, 10))
    rows = np.flatnonzero((tile == 255).all(axis=2).any(axis=1))
    height = round(10 * layout.WIDEST_TILE / 400)
    assert tile.shape == (layout.STRIP_HEIGHT, layout.WIDEST_TILE, 3)
    assert rows[0] >= (layout.STRIP_HEIGHT - height) // 2 and np.ptp(rows) < height
