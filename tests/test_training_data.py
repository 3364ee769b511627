"""What a net is fed in training: against real Caffe's data layers, and against definitions."""

from __future__ import annotations

import re
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, strategies as st

from pycam.engines.caffe import find_caffe
from pycam.errors import PycamError, TrainingError
from pycam.formats import prototxt, schema
from pycam.training.batches import ImageBatches
from pycam.training.data import open_batches
from pycam.training.lists import ImageFiles, list_files
from pycam.training.nets import FedNet, feed, open_net
from pycam.training.solver import Solver, read_solver
from pycam.training.transform import Transform

RNG = np.random.default_rng(0)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Seven images, all different, and their list."""
    (tmp_path / "images").mkdir()
    for number in range(7):
        pixels = np.random.default_rng(number).integers(0, 256, (24, 30, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"images/{number}.png"), cv2.GaussianBlur(pixels, (5, 5), 0))
    lines = [f"images/{number}.png {number * 3}\n" for number in range(7)]
    (tmp_path / "list.txt").write_text("".join(lines))
    return tmp_path


def layer_of(text: str):
    return prototxt.parse(f'layer {{ name: "data" top: "data" top: "label" {text} }}').message.layer[0]


def batches_of(place: Path, text: str, phase: str = "TEST", **options) -> ImageBatches:
    return open_batches(layer_of(text), place / "net.prototxt", phase, **options)


def image(place: Path, number: int) -> np.ndarray:
    return cv2.imread(str(place / f"images/{number}.png"))


IMAGES = 'type: "ImageData" image_data_param { source: "list.txt" batch_size: 3 %s } transform_param { %s }'


@pytest.mark.caffe
@pytest.mark.parametrize(
    ("data", "transform"),
    [
        ("", ""),
        ("new_height: 17 new_width: 40", ""),
        ("new_height: 50 new_width: 51", "crop_size: 33 mean_value: 100 mean_value: 110 mean_value: 120"),
        ("", "crop_size: 13 mean_value: 99 scale: 0.02"),
        ("", 'crop_size: 20 mean_file: "mean.binaryproto" scale: 2'),
        ("is_color: false", "mean_value: 128"),
        ("is_color: false new_height: 31 new_width: 17", "scale: 0.5"),
        ("", "force_gray: true"),
    ],
)
def test_images_are_as_caffe_feeds_them(data, transform, place, caffe):
    write_mean(place / "mean.binaryproto", RNG.uniform(0, 255, (3, 24, 30)))
    mine = batches_of(place, IMAGES % (data, transform))
    text = f'layer {{ name: "data" top: "data" top: "label" {IMAGES % (data, transform)} }}'
    absolute = text.replace('"list.txt"', f'"{place}/list.txt" root_folder: "{place}/"').replace(
        '"mean.bin', f'"{place}/mean.bin'
    )
    caffe.load(absolute.encode(), "data")
    for number in range(4):  # more than once round
        theirs = caffe.forward({}, ["data", "label"])
        batch = mine[number]
        np.testing.assert_array_equal(batch["label"], theirs["label"])
        # OpenCV 4 and 5 round resized pixels differently.
        np.testing.assert_allclose(batch["data"], theirs["data"], atol=1.01 if data else 1e-4)
        assert np.abs(batch["data"] - theirs["data"]).mean() < 0.02


@pytest.mark.caffe
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp", "a.tiff", "a.ppm", "alpha.png", "sixteen.png"])
def test_grey_is_what_the_decoder_of_the_format_gives(name, tmp_path, caffe):
    pixels = RNG.integers(0, 256, (21, 33, 3), np.uint8)
    if name == "alpha.png":
        pixels = np.dstack([pixels, pixels[:, :, 1]])
    if name == "sixteen.png":
        pixels = pixels.astype(np.uint16) * 257
    cv2.imwrite(str(tmp_path / name), pixels)
    (tmp_path / "list.txt").write_text(f"{name} 0\n")
    param = f'source: "{tmp_path}/list.txt" root_folder: "{tmp_path}/" batch_size: 1 is_color: false'
    text = f'type: "ImageData" image_data_param {{ {param} }}'
    caffe.load(f'layer {{ name: "data" top: "data" top: "label" {text} }}'.encode(), "grey")
    np.testing.assert_array_equal(batches_of(tmp_path, text)[0]["data"], caffe.forward({}, ["data"])["data"])


@pytest.mark.caffe
@pytest.mark.caffe_root
@pytest.mark.lmdb
@pytest.mark.parametrize("options", [[], ["--encoded"], ["--resize_height=16", "--resize_width=18"], ["--gray"]])
def test_a_database_by_caffes_own_tool(options, place):
    command = [find_caffe()[0], "convert_imageset", *options, f"{place}/", str(place / "list.txt"), str(place / "lmdb")]
    subprocess.run(command, check=True, capture_output=True)
    batches = batches_of(place, 'type: "Data" data_param { source: "lmdb" backend: LMDB batch_size: 7 }')
    assert batches.tops == ("data", "label")
    batch = batches[0]
    np.testing.assert_array_equal(batch["label"], np.arange(7) * 3)
    for number in range(7):
        expected = image(place, number)
        if "--gray" in options:
            expected = cv2.imread(str(place / f"images/{number}.png"), cv2.IMREAD_GRAYSCALE)[..., None]
        if "--resize_height=16" in options:
            expected = cv2.resize(expected, (18, 16))
        given_ = batch["data"][number].transpose(1, 2, 0)
        # Encoded ones are JPEGs by default.
        tolerance = 25 if "--encoded" in options else 1 if "--resize_height=16" in options else 0
        np.testing.assert_allclose(given_, expected, atol=tolerance)


def write_mean(path: Path, mean: np.ndarray) -> None:
    channels, height, width = mean.shape
    blob = schema.BlobProto(num=1, channels=channels, height=height, width=width, data=mean.ravel())
    path.write_bytes(blob.SerializeToString())


def write_database(path: Path, values: list[bytes]) -> None:
    import lmdb

    with lmdb.open(str(path), map_size=1 << 20) as made, made.begin(write=True) as writing:
        for number, value in enumerate(values):
            writing.put(f"{number:08d}".encode(), value)


DATABASE = 'type: "Data" data_param { source: "db" backend: LMDB batch_size: 1 }'


@pytest.mark.lmdb
def test_datums_of_floats_and_of_bytes(place):
    floats = schema.Datum(channels=2, height=1, width=3, float_data=[0.5, -1, 2, 3, 4, 5], label=9)
    data = schema.Datum(channels=2, height=1, width=3, data=bytes(range(6)), label=1)
    write_database(place / "db", [floats.SerializeToString(), data.SerializeToString()])
    batches = batches_of(place, DATABASE)
    np.testing.assert_array_equal(batches[0]["data"], [[[[0.5, -1, 2]], [[3, 4, 5]]]])
    np.testing.assert_array_equal(batches[1]["data"], [[[[0, 1, 2]], [[3, 4, 5]]]])
    assert batches[2]["label"] == 9


def encoded(image: bytes) -> bytes:
    return schema.Datum(data=image, encoded=True).SerializeToString()


NOISE = np.random.default_rng(3).integers(0, 256, (40, 40, 3), np.uint8)
JPEG = cv2.imencode(".jpg", NOISE)[1].tobytes()
BMP = cv2.imencode(".bmp", NOISE)[1].tobytes()
PNG = cv2.imencode(".png", np.zeros((9, 9), np.uint8))[1].tobytes()


@pytest.mark.lmdb
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "the database is empty"),
        ([b"\xff\xff"], "key b'00000000' is not a Datum"),
        ([schema.Datum(channels=1, height=2, width=2, data=b"123").SerializeToString()], r"3 values for .*\(1, 2, 2\)"),
        ([encoded(b"")], "key b'00000000': empty, not an image$"),
        ([encoded(b"no jpeg")], "key b'00000000': not an image, its first bytes are b'no jpeg'"),
        ([encoded(b"P5 99999 99999 255\n" + bytes(9))], "key b'00000000': the image has more than 100 million pixels"),
        # OpenCV would ask for 4 GB.
        ([encoded(re.sub(rb"....IDAT", b"\xff\xff\xff\xf0IDAT", PNG))], "not an image|a damaged image"),
        ([encoded(BMP[:22] + struct.pack("<I", 1 << 21) + BMP[26:])], "an image that OpenCV refuses"),
        # OpenCV would fill in grey.
        ([encoded(JPEG[: len(JPEG) * 9 // 10] + JPEG[-2:])], "data end before the image is complete"),
        ([encoded(JPEG[:-40])], "a truncated JPEG"),
        (
            [schema.Datum(channels=-1, height=2, width=-2, data=b"1234").SerializeToString()],
            "4 values for an image of",
        ),
    ],
)
def test_a_damaged_database(values, message, place):
    write_database(place / "db", values)
    with pytest.raises(TrainingError, match=message):
        _ = batches_of(place, DATABASE)[0]


@pytest.mark.lmdb
def test_a_key_without_a_length(place):
    write_database(place / "db", [schema.Datum(channels=1, height=9, width=9, data=bytes(81)).SerializeToString()])
    path = place / "db/data.mdb"
    data = path.read_bytes()
    key = b"00000000"
    length = len(key).to_bytes(2, "little")
    assert data.count(length + key) == 1
    path.write_bytes(data.replace(length + key, bytes(2) + key))
    with pytest.raises(TrainingError, match=r"db: its keys are not in order"):
        batches_of(place, DATABASE)


@pytest.mark.lmdb
@pytest.mark.parametrize("empty", [False, True])
def test_pages_that_lead_to_one_another_a_billion_times(place, empty):
    """Each of thirty pages leads to the next one twice: two to the thirtieth ways through a small file."""
    write_database(place / "db", [schema.Datum(channels=1, height=9, width=9, data=bytes(81)).SerializeToString()])
    path = place / "db/data.mdb"
    data = bytearray(path.read_bytes())
    page, head, node, pages = 4096, 16, 8, len(data) // 4096
    # Of the two meta pages, the one of the last transaction counts; it tells depth, root and last page.
    meta = max(0, page, key=lambda start: struct.unpack_from("<Q", data, start + head + 128))
    (root,) = struct.unpack_from("<Q", data, meta + head + 112)
    for level in range(30):
        after = pages + level + 1 if level < 29 else root
        nodes = [struct.pack("<IHH", after, 0, 0), struct.pack("<IHH", after, 0, node) + b"00000001"]
        places = page - 3 * node, page - 2 * node
        beginning = struct.pack("<QHHHH", pages + level, 0, 1, head + 4, places[0]) + struct.pack("<HH", *places)
        data += beginning.ljust(places[0], b"\0") + b"".join(nodes)
    struct.pack_into("<H", data, meta + head + 78, 31)
    struct.pack_into("<Q", data, meta + head + 112, pages)
    struct.pack_into("<Q", data, meta + head + 120, pages + 29)
    if empty:
        struct.pack_into("<H", data, root * page + 12, head)
    path.write_bytes(data)
    with pytest.raises(TrainingError, match=r"its keys are not in order|crashed or hung on it \(SIGXCPU\)"):
        batches_of(place, DATABASE)


@pytest.mark.lmdb
def test_what_is_no_database(place):
    with pytest.raises(TrainingError, match=r"layer 'data' \(TEST\): no database .*db.* with --data"):
        batches_of(place, DATABASE)
    with pytest.raises(TrainingError, match="LEVELDB is not supported"):
        batches_of(place, DATABASE.replace("LMDB", "LEVELDB"))
    (place / "db").mkdir()
    (place / "db/data.mdb").write_bytes(b"x" * 10000)
    with pytest.raises(TrainingError, match="db: cannot be read as an LMDB"):
        batches_of(place, DATABASE)


@pytest.mark.lmdb
@pytest.mark.parametrize("kept", [0, 4096, 8192, 20_000, -4096])
def test_a_database_that_is_cut_off(kept, place):
    write_database(place / "db", [schema.Datum(data=bytes(9000), label=n).SerializeToString() for n in range(9)])
    data = (place / "db/data.mdb").read_bytes()
    (place / "db/data.mdb").write_bytes(data[:kept])
    with pytest.raises(TrainingError, match=r"damaged or cut off|cannot be read as an LMDB|expected an image"):
        batches_of(place, DATABASE)


@given(
    height=st.integers(4, 9),
    width=st.integers(4, 9),
    crop=st.integers(0, 4),
    anywhere=st.booleans(),
    mirror=st.booleans(),
    scale=st.sampled_from([1.0, 0.5]),
    mean=st.sampled_from(["none", "pixel", "image"]),
    seed=st.integers(0, 100),
)
def test_a_transform_is_a_part_of_the_image_less_its_mean(height, width, crop, anywhere, mirror, scale, mean, seed):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    means = {
        "none": None,
        "pixel": rng.random(3, np.float32),
        "image": rng.random((3, height, width), np.float32),
    }
    subtracted = means[mean]
    full = (
        np.zeros((3, height, width)) if subtracted is None else subtracted.reshape(3, *subtracted.shape[1:] or (1, 1))
    )
    whole = (pixels.transpose(2, 0, 1) - full) * scale
    result = Transform(crop, anywhere, mirror, subtracted, scale)(pixels, rng)
    tall, wide = (crop, crop) if crop else (height, width)
    parts = [
        part[..., ::flip]
        for y in range(height - tall + 1)
        for x in range(width - wide + 1)
        for part in [whole[:, y : y + tall, x : x + wide]]
        for flip in ((1, -1) if mirror else (1,))
    ]
    assert result.dtype == np.float32
    matches = [np.allclose(result, part, atol=1e-4) for part in parts]
    assert any(matches)
    if not anywhere and not mirror:
        middle = whole[:, (height - tall) // 2 :, (width - wide) // 2 :][:, :tall, :wide]
        np.testing.assert_allclose(result, middle, atol=1e-4)


def test_in_training_every_place_and_side_comes_up(place):
    text = IMAGES % ("", "crop_size: 23 mirror: true")
    batches = batches_of(place, text, "TRAIN")
    first = image(place, 0).transpose(2, 0, 1)
    seen = set()
    for number in range(0, 7 * 250, 7):
        result = batches[number]["data"][0]
        for y in range(2):
            for x in range(8):
                for flip in (1, -1):
                    if np.array_equal(result, first[:, y : y + 23, x : x + 23][..., ::flip]):
                        seen.add((y, x, flip))
    assert len(seen) == 2 * 8 * 2


def test_a_batch_is_known_by_its_number(place):
    text = IMAGES % ("shuffle: true", "crop_size: 20 mirror: true")
    batches, others = batches_of(place, text, "TRAIN"), batches_of(place, text, "TRAIN")
    forward = [batches[number] for number in range(10)]
    for number in reversed(range(10)):
        for blob, values in others[number].items():
            np.testing.assert_array_equal(values, forward[number][blob])
    for expected, streamed in zip(forward[4:8], batches.stream(4, 8), strict=True):
        np.testing.assert_array_equal(streamed["data"], expected["data"])
    assert list(batches.stream(3, 3)) == []
    another = batches_of(place, text, "TRAIN", seed=1)
    assert any((another[n]["label"] != forward[n]["label"]).any() for n in range(10))


def test_each_time_round_every_image_comes_once_in_another_order(place):
    batches = batches_of(place, IMAGES % ("shuffle: true", "crop_size: 20"), "TRAIN")
    labels = np.concatenate([batches[number]["label"] for number in range(7)])
    rounds = labels.reshape(3, 7)
    np.testing.assert_array_equal(np.sort(rounds, axis=1), np.tile(np.arange(7) * 3, (3, 1)))
    assert len({tuple(order) for order in rounds.tolist()}) == 3


def test_rand_skip_begins_later(place):
    plain = batches_of(place, IMAGES % ("", ""))
    assert plain[0]["label"][0] == 0
    skipped = {batches_of(place, IMAGES % ("rand_skip: 5", ""), seed=seed).skip for seed in range(40)}
    assert skipped == set(range(5))


def test_images_of_several_sizes_need_one(place):
    cv2.imwrite(str(place / "images/2.png"), np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(
        TrainingError, match=r"list\.txt:3: an image of \(3, 10, 10\), but the first one is of \(3, 24, 30\)"
    ):
        _ = batches_of(place, IMAGES % ("", ""))[0]
    assert batches_of(place, IMAGES % ("new_height: 8 new_width: 9", ""))[0]["data"].shape == (3, 3, 8, 9)


def test_a_mean_image_of_another_size(place):
    write_mean(place / "mean.binaryproto", RNG.uniform(0, 255, (3, 9, 9)))
    with pytest.raises(TrainingError, match="a mean image of 3×9×9 for an image of 3×24×30"):
        _ = batches_of(place, IMAGES % ("", 'mean_file: "mean.binaryproto"'))[0]


@pytest.mark.parametrize(
    ("color", "means", "message"),
    [
        ("false", 3, "3 mean_value for an image with 1 channel: "),
        ("true", 2, "2 mean_value for an image with 3 channels"),
    ],
)
def test_mean_values_for_another_number_of_channels(color, means, message, place):
    text = IMAGES % (f"is_color: {color}", "mean_value: 9 " * means)
    with pytest.raises(TrainingError, match=rf"net\.prototxt: layer 'data' \(TEST\): {message}"):
        batches_of(place, text)


def test_a_folder_numbers_its_classes_by_name(tmp_path):
    for name in ("b", "a", "c"):
        (tmp_path / "data" / name).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "data" / name / "1.png"), np.zeros((4, 4, 3), np.uint8))
    (tmp_path / "data/b/notes.txt").write_text("no image")
    text = 'type: "ImageData" image_data_param { batch_size: 3 }'
    batches = batches_of(tmp_path, text, given=tmp_path / "data")
    assert batches[0]["label"].tolist() == [0, 1, 2]
    assert not batches.shuffle
    assert batches_of(tmp_path, text, "TRAIN", given=tmp_path / "data").shuffle
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainingError, match="expected one folder of images per class, found 0 folders"):
        batches_of(tmp_path, text, given=tmp_path / "empty")


def list_of(place: Path, *lines: str, root: str = "") -> ImageFiles:
    (place / "some.txt").write_text("".join(f"{line}\n" for line in lines))
    return list_files(place / "some.txt", root)


def test_labels_are_read_as_caffe_reads_them(place):
    ends = ("", " 4", " 4.0", " -2", " +3", " 0.7", " x", " 5x", " 1,5", " 4\r")
    files = list_of(place, *(f"images/1.png{end}" for end in ends))
    assert files.labels == (0, 4, 4, -2, 3, 0, 0, 5, 1, 4)
    assert files.lines == tuple(range(1, 11))
    first, second = files.notes
    assert first.endswith("some.txt:1: no label after a blank: read as 0, as in Caffe (1 such line)")
    assert second.endswith("some.txt:6: label '0.7': read as 0, as in Caffe (4 such lines)")
    assert not list_of(place, "images/1.png 1", "images/2.png 2 ").notes
    (place / "7.png").write_bytes((place / "images/1.png").read_bytes())
    assert list_of(place, "7.png").labels == (7,), "the number that the line begins with"


def test_root_folder_is_put_before_the_path_as_it_is(place, monkeypatch):
    assert list_of(place, "1.png 0", root="images/").paths == (str(place / "images/1.png"),)
    assert list_of(place, "/1.png 0", root="images").paths == (str(place / "images/1.png"),)
    assert list_of(place, "ages/1.png 0", root="im").paths == (str(place / "images/1.png"),)
    with pytest.raises(
        TrainingError, match=r"some\.txt:1: no image .*images1\.png: root_folder 'images' is put .* slash"
    ):
        list_of(place, "1.png 0", root="images")
    (place / "here/images").mkdir(parents=True)
    (place / "here/images/1.png").write_bytes(b"")
    monkeypatch.chdir(place / "here")
    assert list_of(place, "1.png 0", root="images/").paths == ("images/1.png",), "the current folder comes first"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("images/1.png\t1", "a blank, not a tab or comma, separates the path and the label"),
        ("images/1.png,1", "a blank, not a tab or comma, separates"),
        ("images/1.png 0 1", "one label, after the last blank; several labels per image need HDF5Data"),
        ("images\\1.png 0", r"write / for \\ in the list"),
        ("images/9.png 0", "no image .*images/9.png$"),
        ("images/1.png 1234567890", "label '1234567890' has more than 9 digits"),
    ],
)
def test_a_line_that_names_no_image(line, message, place):
    with pytest.raises(TrainingError, match=rf"some\.txt:1: .*{message}"):
        list_of(place, line)


@pytest.mark.parametrize(
    ("data", "transform", "message"),
    [
        ("new_height: 9", "", "new_height 9 and new_width 0: Caffe resizes only where both are given"),
        ("new_width: 9", "", "new_height 0 and new_width 9: "),
        ("batch_size: 0", "", "batch_size 0: expected 1 or more"),
        ("", 'mean_file: "m.npy" mean_value: 3', "mean_file and mean_value: only one of them can be subtracted"),
        ("", 'mean_file: ""', "expected a mean file"),
        ("", "crop_size: 25", "an image of 30×24 is smaller than crop_size 25"),
    ],
)
def test_fields_that_caffe_refuses(data, transform, message, place):
    with pytest.raises(TrainingError, match=rf"net\.prototxt: layer 'data' \(TEST\): .*{message}"):
        batches_of(
            place,
            (IMAGES % ("", transform)).replace("batch_size: 3 ", data if "batch" in data else f"batch_size: 3 {data}"),
        )


def test_bottoms_and_the_number_of_tops(place):
    with pytest.raises(TrainingError, match="bottom 'x': a layer of type ImageData has none, remove it"):
        batches_of(place, IMAGES % ("", "") + ' bottom: "x"')
    layer = layer_of(IMAGES % ("", ""))
    layer.top.append("third")
    with pytest.raises(TrainingError, match=r"layer 'data' \(TEST\): 3 tops, the type ImageData takes 1 to 2"):
        open_batches(layer, place / "net.prototxt", "TEST")


def test_fields_without_effect_are_noted(place):
    batches = batches_of(place, IMAGES % ("scale: 2 mirror: true", "force_gray: true"))
    old, gray = batches.notes
    assert old.endswith("layer 'data': scale, mirror outside transform_param: without effect, as in Caffe")
    assert "force_gray and force_color of an ImageData layer" in gray
    assert batches[0]["data"].max() > 1
    assert not batches_of(place, IMAGES % ("", "mirror: true")).notes


@pytest.mark.lmdb
def test_fields_of_a_database(place):
    raw = schema.Datum(channels=1, height=2, width=2, data=b"1234").SerializeToString()
    write_database(place / "db", [raw])
    forced = DATABASE.replace("batch_size: 1", "batch_size: 1 rand_skip: 2") + " transform_param { force_gray: true }"
    notes = batches_of(place, forced).notes
    assert len(notes) == 2
    assert "its images are not encoded: force_color and force_gray have no effect" in notes[0]
    assert "rand_skip of a Data layer: without effect, as in Caffe" in notes[1]
    first, second = batches_of(place, DATABASE), batches_of(place, DATABASE, "TRAIN")
    np.testing.assert_array_equal(first[0]["data"], second[0]["data"], "two layers may read one database")
    with pytest.raises(TrainingError, match=r"db is an LMDB, but .*: add backend: LMDB"):
        batches_of(place, DATABASE.replace("backend: LMDB", ""))

    deep = cv2.imencode(".png", np.full((4, 4), 256, np.uint16))[1].tobytes()
    write_database(place / "deep", [encoded(deep)])
    database = DATABASE.replace('"db"', '"deep"')
    with pytest.raises(TrainingError, match="key b'00000000': an image of 16 bits per channel, Caffe takes 8"):
        batches_of(place, database)
    assert (batches_of(place, f"{database} transform_param {{ force_gray: true }}")[0]["data"] == 1).all()
    with pytest.raises(TrainingError, match="force_color and force_gray: an image cannot be both"):
        batches_of(place, f"{database} transform_param {{ force_gray: true force_color: true }}")


DUMMY = """type: "DummyData" dummy_data_param { shape { dim: 4 dim: 3 } shape { dim: 4 }
  data_filler { type: "gaussian" std: 2 } data_filler { value: 5 } }"""


def test_fillers_give_values(place):
    batches = batches_of(place, DUMMY)
    assert batches.shapes == ((4, 3), (4,))
    first, second = batches[0], batches[1]
    assert (first["label"] == 5).all()
    assert (first["data"] != second["data"]).all()
    np.testing.assert_array_equal(batches_of(place, DUMMY)[1]["data"], second["data"])
    many = np.concatenate([batches[number]["data"] for number in range(200)])
    assert 1.9 < many.std() < 2.1
    assert (batches_of(place, re.sub("data_filler.*}", "}", DUMMY))[3]["data"] == 0).all()
    with pytest.raises(TrainingError, match="3 data_filler for 2 tops: give none for 0, one for all, or one per top"):
        batches_of(place, DUMMY.replace("value: 5 }", "value: 5 } data_filler { }"))
    for dims in ("dim: 4 dim: -3", "dim: 4 dim: 0", ""):
        with pytest.raises(PycamError, match=r"a shape with a side that is not positive|an empty shape"):
            net_of(place, DUMMY.replace("dim: 4 dim: 3", dims).replace("gaussian", "xavier"), "")
    with pytest.raises(TrainingError, match=r"layer 'data' \(TEST\): filler 'odd' is not supported"):
        batches_of(place, DUMMY.replace("gaussian", "odd"))


def net_of(place: Path, data: str, body: str, phase: str = "TRAIN", **options) -> FedNet:
    text = f'layer {{ name: "data" top: "data" top: "label" {data} }}{body}'
    return feed(prototxt.parse(text, str(place / "net.prototxt")), phase, **options)


JUDGED = """
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 3 } }
layer { name: "acc" type: "Accuracy" bottom: "fc" bottom: "label" top: "acc" accuracy_param { %s } }"""


def test_labels_of_a_list_are_checked_before_the_start(place):
    with pytest.raises(TrainingError, match=r"list\.txt:2: label 3, but layer 'acc' has 3 classes, 0 to 2"):
        net_of(place, IMAGES % ("", ""), JUDGED % "")
    (place / "list.txt").write_text("images/1.png -1\nimages/2.png 2\n")
    assert net_of(place, IMAGES % ("", ""), JUDGED % "ignore_label: -1")[0]["label"].tolist() == [-1, 2, -1]
    with pytest.raises(TrainingError, match=r"list\.txt:1: label -1, but layer 'acc'"):
        net_of(place, IMAGES % ("", ""), JUDGED % "ignore_label: 255")
    # A layer that compares values with values takes any.
    free = 'layer { name: "free" type: "Eltwise" bottom: "data" bottom: "data" top: "free" }'
    assert net_of(place, IMAGES % ("", ""), free).labels == ()


@pytest.mark.lmdb
def test_labels_of_a_database_are_checked_in_each_batch(place):
    datums = [schema.Datum(channels=1, height=1, width=1, data=b"1", label=label) for label in (0, 2, 3)]
    write_database(place / "db", [datum.SerializeToString() for datum in datums])
    fed = net_of(place, DATABASE, JUDGED % "")
    assert [fed[number]["label"].tolist() for number in (0, 1)] == [[0], [2]]
    with pytest.raises(TrainingError, match=r"db: key b'00000002': label 3, but layer 'acc' has 3 classes, 0 to 2"):
        fed[2]
    with pytest.raises(TrainingError, match="key b'00000002': label 3"):
        list(fed.stream(0, 3))


def test_a_net_tells_its_open_inputs(place):
    more = 'layer { name: "in" type: "Input" top: "more" input_param { shape { dim: 2 dim: 3 } } }'
    fed = net_of(place, DUMMY, more)
    assert fed.open_inputs == ("more",)
    assert [batches.tops for batches in fed.batches] == [("data", "label")]
    alone = feed(prototxt.parse(more), "TEST")
    assert (alone.open_inputs, alone.batches, alone.notes) == (("more",), (), ())


def test_stages_and_levels_select_data_layers(place):
    lists = "".join(
        f'layer {{ name: "data" top: "data" top: "label" {IMAGES % ("", "")} include {{ {rule} }} }}'.replace(
            "batch_size: 3", f"batch_size: {size}"
        )
        for size, rule in ((1, "stage: 'x'"), (2, "not_stage: 'x' phase: TRAIN"), (4, "phase: TEST min_level: 1"))
    )
    text = prototxt.parse(lists, str(place / "net.prototxt"))
    states = {"TRAIN": {}, "TEST": {"level": 1}}
    sizes = [len(feed(text, phase, **state)[0]["label"]) for phase, state in states.items()]
    assert [*sizes, len(feed(text, "TRAIN", stages=["x"])[0]["label"])] == [2, 4, 1]


def solver_of(place: Path, text: str) -> Solver:
    (place / "net.prototxt").write_text(text)
    (place / "solver.prototxt").write_text(
        'net: "net.prototxt" base_lr: 1 lr_policy: "fixed" max_iter: 1 snapshot_prefix: "x"'
    )
    return read_solver(place / "solver.prototxt")


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            'type: "MemoryData" memory_data_param { batch_size: 1 channels: 1 height: 2 width: 2 }',
            r"net\.prototxt:1: layer 'data' of type MemoryData has no data in training: a program fills it",
        ),
        ('type: "WindowData" window_data_param { source: "w.txt" }', "WindowData .* pycam does not cut windows"),
        ('type: "Python" python_param { module: "m" layer: "L" }', "Python .* pycam does not run Python layers"),
        ('type: "Input" input_param { shape { dim: 1 } }', "it has no data layer in phase TRAIN"),
        (f'{DUMMY} }} layer {{ name: "in" type: "Input" top: "in"', "nothing fills its input 'in' in training"),
    ],
)
def test_layers_that_nothing_fills(layer, message, place):
    text = f'layer {{ name: "data" top: "data" top: "label" {layer} }}'
    if "nothing" in message:
        text = text.replace('top: "in" }', 'top: "in" input_param { shape { dim: 1 } } }')
    with pytest.raises(TrainingError, match=message):
        open_net(solver_of(place, text).training_net)


def test_a_list_in_place_of_a_list_that_is_not_there(place):
    solver = solver_of(place, f'layer {{ name: "data" top: "data" top: "label" {DUMMY} }}')
    with pytest.raises(
        TrainingError, match=r"list\.txt replaces what layers of type Data or ImageData read, and there"
    ):
        open_net(solver.training_net, data=place / "list.txt")


def write_arrays(path: Path, **arrays) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values


ROWS = np.arange(12, dtype=np.float32).reshape(6, 2)
HDF5 = 'type: "HDF5Data" hdf5_data_param { source: "arrays.txt" batch_size: 4 %s }'


@pytest.fixture
def arrays(place) -> Path:
    """Two files with the rows 0 to 3, and 4 and 5."""
    write_arrays(place / "a.h5", data=ROWS[:4], label=np.arange(4))
    write_arrays(place / "b.h5", data=ROWS[4:], label=np.arange(4, 6))
    (place / "arrays.txt").write_text("a.h5\nb.h5\n")
    return place


@pytest.mark.hdf5
def test_rows_of_hdf5_files(arrays):
    batches = batches_of(arrays, HDF5 % "")
    assert batches.shapes == ((4, 2), (4,))
    labels = np.concatenate([batches[number]["label"] for number in range(3)])
    assert labels.tolist() == [*range(6)] * 2
    np.testing.assert_array_equal(batches[1]["data"], ROWS[[4, 5, 0, 1]])
    shuffled = replace(batches, shuffle=True)
    rounds = np.concatenate([shuffled[number]["label"] for number in range(30)]).reshape(-1, 6)
    np.testing.assert_array_equal(np.sort(rounds, axis=1), np.tile(np.arange(6), (20, 1)))
    assert len({tuple(order) for order in rounds.tolist()}) > 10
    fours = rounds >= 4
    assert {tuple(row) for row in fours.tolist()} == {(False,) * 4 + (True,) * 2, (True,) * 2 + (False,) * 4}
    assert batches_of(arrays, HDF5 % "shuffle: true") == shuffled


@pytest.mark.hdf5
def test_labels_of_hdf5_files_are_checked_in_each_batch(arrays):
    sliced = """
    layer { name: "cut" type: "Slice" bottom: "data" top: "one" top: "two" slice_param { axis: 1 } }
    layer { name: "acc" type: "Accuracy" bottom: "data" bottom: "two" top: "acc" }"""
    write_arrays(arrays / "a.h5", data=np.float32([[9, 0], [9, 1], [9, 1.5], [9, 2]]), label=np.arange(4))
    fed = net_of(arrays, (HDF5 % "").replace("batch_size: 4", "batch_size: 3"), sliced)
    assert fed[0]["data"].shape == (3, 2)
    with pytest.raises(TrainingError, match=r"a\.h5: row 3: label 2, but layer 'acc' has 2 classes"):
        fed[1]


@pytest.mark.hdf5
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"label": None}, r"a\.h5: no dataset 'label' for the top of that name: the file has data"),
        ({"label": np.arange(3)}, "'label' has 3 rows, but 'data' has 4"),
        ({"data": np.zeros((4, 3))}, r"b\.h5: 'data' is 2×2, but 4×3 in .*a\.h5: all files need one shape"),
        ({"data": np.zeros((0, 2)), "label": np.zeros(0)}, "'data' has the shape 0×2: expected one row or more"),
        ({"data": np.float32(3)}, "'data' has the shape scalar"),
        ({"label": [b"cat"] * 4}, r"'label' has values of type object: expected float"),
        ({"label": np.ones(4, bool)}, "'label' has values of type bool"),
    ],
)
def test_hdf5_files_that_do_not_fit(change, message, arrays):
    kept = {"data": ROWS[:4], "label": np.arange(4), **change}
    write_arrays(arrays / "a.h5", **{name: values for name, values in kept.items() if values is not None})
    if "b\\.h5" not in message:
        (arrays / "arrays.txt").write_text("a.h5")
    with pytest.raises(TrainingError, match=message):
        batches_of(arrays, HDF5 % "")


@pytest.mark.hdf5
@pytest.mark.parametrize("kind", ["external", "soft", "virtual", "outside", "lzf", "empty", "group", "cut", "other"])
def test_hdf5_files_that_are_not_followed(kind, arrays):
    import h5py

    path = arrays / "b.h5"
    with h5py.File(path, "a") as file:
        del file["label"]
        if kind == "external":
            file["label"] = h5py.ExternalLink(str(arrays / "a.h5"), "label")
        elif kind == "soft":
            file["label"] = h5py.SoftLink("/data")
        elif kind == "virtual":
            layout = h5py.VirtualLayout((2,), "f4")
            layout[:] = h5py.VirtualSource(str(arrays / "a.h5"), "label", (4,))[:2]
            file.create_virtual_dataset("label", layout)
        elif kind == "outside":
            file.create_dataset("label", (2,), "f4", external=[(str(arrays / "list.txt"), 0, 8)])
        elif kind == "lzf":
            file.create_dataset("label", data=np.zeros(2), compression="lzf", chunks=(2,))
        elif kind == "empty":
            file.create_dataset("label", (2**40,), "f4", chunks=(2**10,))
        elif kind == "group":
            file.create_group("label")
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:-900])
    if kind == "other":
        path.write_bytes(b"text")
    message = {
        "external": "'label' is a link, perhaps to another file",
        "soft": "'label' is a link",
        "virtual": "the values of 'label' are in another file",
        "outside": "the values of 'label' are in another file",
        "lzf": "'label' has the filter 32000, Caffe reads gzip, shuffle, fletcher32: write it with `h5repack",
        "empty": "'label' of 1099511627776 is larger than its values in the file",
        "group": "'label' is a group: expected a dataset",
        "cut": r"b\.h5: cannot be read as HDF5",
        "other": r"b\.h5: cannot be read as HDF5",
    }
    (arrays / "arrays.txt").write_text("b.h5")
    with pytest.raises(TrainingError, match=message[kind]):
        batches_of(arrays, HDF5 % "")


@pytest.mark.hdf5
@pytest.mark.parametrize(
    ("text", "names", "message"),
    [
        (
            HDF5 % "" + " transform_param { scale: 2 }",
            "",
            "HDF5Data does not transform its values: remove transform_param",
        ),
        ((HDF5 % "").replace("batch_size: 4", ""), "", "batch_size 0: expected 1 or more"),
        (HDF5 % "", "\n \n", r"arrays\.txt: a list without HDF5 files"),
        (HDF5 % "", "a.h5 lost.h5", r"arrays\.txt:1: no HDF5 file lost\.h5"),
        ((HDF5 % "").replace("arrays.txt", "a.h5"), "", "a.h5:.* not UTF-8 text.* `source` is not an HDF5 file itself"),
    ],
)
def test_fields_of_hdf5_data(text, names, message, arrays):
    if names:
        (arrays / "arrays.txt").write_text(names)
    with pytest.raises(TrainingError, match=message):
        batches_of(arrays, text)


def test_a_missing_list(tmp_path):
    with pytest.raises(TrainingError, match=r"list\.txt: no such file; .*\(a list of images\)"):
        batches_of(tmp_path, IMAGES % ("", ""))
    (tmp_path / "list.txt").write_text("\n\n")
    with pytest.raises(TrainingError, match=r"list\.txt: a list without images"):
        batches_of(tmp_path, IMAGES % ("", ""))
