"""Ground truth of one's own data sets: CSV, COCO, CUB, Pascal VOC, and masks."""

from __future__ import annotations

import json
import unicodedata
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from test_ground_truth import annotate

from pycam.errors import GroundTruthError
from pycam.ilsvrc.ground_truth import GroundTruth, read_ground_truth
from pycam.ilsvrc.masks import read_masks
from pycam.ilsvrc.predictions import read_classes

BOXES = {"a.jpg": ("cat", (2, 3, 20, 30)), "b/c.png": ("dog", (0, 0, 40, 25)), "d": ("ape", (5, 6, 7, 8))}
SIZE = (40, 30)
NAMES = ("ape", "cat", "dog")


ROWS = "".join(f"{name},{','.join(map(str, box))},{label},40,30\n" for name, (label, box) in BOXES.items())


def write_csv(path: Path) -> Path:
    path.write_text(f"image,x0,y0,x1,y1,label,width,height\n{ROWS}")
    return path


def write_coco(path: Path) -> Path:
    images = [
        {"id": 10 * row, "file_name": name, "width": 40, "height": 30, "license": 1} for row, name in enumerate(BOXES)
    ]
    annotations = [
        {"image_id": 10 * row, "category_id": 5 * NAMES.index(label), "bbox": [x0 + 0.3, y0 - 0.2, x1 - x0, y1 - y0]}
        for row, (label, (x0, y0, x1, y1)) in enumerate(BOXES.values())
    ]
    annotations.append({"image_id": 0, "category_id": 10, "bbox": [0, 0, 1, 1], "iscrowd": 1})
    categories = [{"id": 5 * row, "name": name} for row, name in reversed(list(enumerate(NAMES)))]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def write_cub(folder: Path) -> Path:
    def save(name: str, rows: list[str]) -> None:
        (folder / name).write_text("".join(f"{row}\n" for row in rows))

    folder.mkdir()
    save("images.txt", [f"{row} {name}" for row, name in enumerate(["train.jpg", *BOXES])])
    save("classes.txt", [f"{row} {name}" for row, name in enumerate(NAMES, 1)])
    labels = [NAMES.index(label) + 1 for label, _ in BOXES.values()]
    save("image_class_labels.txt", ["0 1", *(f"{row} {label}" for row, label in enumerate(labels, 1))])
    boxes = [f"{x0}.0 {y0}.0 {x1 - x0}.0 {y1 - y0}.0" for _, (x0, y0, x1, y1) in BOXES.values()]
    save("bounding_boxes.txt", ["0 1.0 1.0 2.0 2.0", *(f"{row} {box}" for row, box in enumerate(boxes, 1))])
    save("train_test_split.txt", ["0 1", *(f"{row} 0" for row in range(1, 4))])
    for name in BOXES:
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", np.zeros(SIZE[::-1], np.uint8))[1].tobytes())
    return folder


def write_voc(folder: Path) -> Path:
    for name, (label, (x0, y0, x1, y1)) in BOXES.items():
        (folder / "Annotations").mkdir(parents=True, exist_ok=True)
        annotate(folder / "Annotations", Path(name).stem, (label, x0 + 1, y0 + 1, x1, y1), size=SIZE)
    return folder


WRITERS = {"boxes.csv": write_csv, "instances.json": write_coco, "cub": write_cub, "voc": write_voc}


@pytest.mark.parametrize("name", WRITERS)
def test_every_format_gives_the_same_boxes(tmp_path, name):
    truth = read_ground_truth(WRITERS[name](tmp_path / name))
    expected = list(BOXES) if name != "voc" else ["a", "c", "d"]
    assert list(truth.names) == expected
    assert truth.class_names == NAMES
    assert [truth.class_names[index] for index in truth.classes] == [label for label, _ in BOXES.values()]
    assert truth.sizes.tolist() == [list(SIZE)] * 3
    assert truth.boxes.tolist() == [list(box) for _, box in BOXES.values()]
    assert truth.box_classes.tolist() == truth.classes.tolist()


def test_the_user_orders_the_classes(tmp_path):
    (tmp_path / "names.txt").write_text("dog\nfish\ncat\nape\n")
    for name, write in WRITERS.items():
        truth = read_ground_truth(write(tmp_path / name), labels=tmp_path / "names.txt")
        assert truth.classes.tolist() == truth.box_classes.tolist() == [2, 0, 3]
        assert truth.class_names == ("dog", "fish", "cat", "ape")
    (tmp_path / "names.txt").write_text("dog\ncats\nape\n")
    with pytest.raises(GroundTruthError, match=r"boxes\.csv:2: unknown class 'cat': did you mean 'cats'\?"):
        read_ground_truth(tmp_path / "boxes.csv", labels=tmp_path / "names.txt")
    with pytest.raises(GroundTruthError, match=r"cub: unknown class 'cat': did you mean 'cats'\?"):
        read_ground_truth(tmp_path / "cub", labels=tmp_path / "names.txt")
    for content, message in (
        ("a\nb\na\n", r"names\.txt: outputs 0 and 2 both have the label 'a'.*--ground-truth-classes"),
        ("a\n\nb\n", r"names\.txt:2: expected a label"),
    ):
        (tmp_path / "names.txt").write_text(content)
        with pytest.raises(GroundTruthError, match=message):
            read_ground_truth(tmp_path / "boxes.csv", labels=tmp_path / "names.txt")


def test_names_of_classes_are_the_same_in_every_form_of_unicode(tmp_path):
    composed = "caf\u00e9"
    (tmp_path / "names.txt").write_text(f"tea\n{unicodedata.normalize('NFD', composed)}\n", encoding="utf-8")
    (tmp_path / "p.csv").write_text(f"a.jpg,{unicodedata.normalize('NFD', composed)}\n", encoding="utf-8")
    for form in ("NFC", "NFD"):
        label = unicodedata.normalize(form, composed)
        (tmp_path / "boxes.csv").write_text(f"image,x0,y0,x1,y1,label\na.jpg,0,0,5,5,{label}\n", encoding="utf-8")
        truth = read_ground_truth(tmp_path / "boxes.csv", labels=tmp_path / "names.txt")
        assert (truth.class_names, truth.classes.tolist()) == (("tea", composed), [1])
        assert read_classes(tmp_path / "p.csv", read_ground_truth(tmp_path / "boxes.csv"))[0][0, 0] == 0


@pytest.mark.parametrize("name", ["instances.json", "voc"])
def test_an_image_without_a_box_is_left_out_by_class_and_blacklist(tmp_path, name):
    path = WRITERS[name](tmp_path / name)
    if name == "voc":
        annotate(path / "Annotations", "e", size=SIZE)
    else:
        content = json.loads(path.read_text())
        content["images"].append({"id": 7, "file_name": "e"})
        path.write_text(json.dumps(content))
    (tmp_path / "classes.txt").write_text("a cat\nc dog\nd ape\ne dog\n")
    (tmp_path / "blacklist.txt").write_text("4\n")
    classes = {"ground_truth_classes": tmp_path / "classes.txt"}
    for options in ({}, classes):
        with pytest.raises(
            GroundTruthError,
            match=r"image 'e': .*it has no box: .* with --ground-truth-classes and its number with --blacklist",
        ):
            read_ground_truth(path, **options)
    truth = read_ground_truth(path, **classes, blacklist=tmp_path / "blacklist.txt")
    assert [truth.names[row] for row in truth.counted] == list(truth.names[:3])


def test_labels_are_numbers_or_come_from_a_list(tmp_path):
    path = tmp_path / "boxes.csv"
    path.write_text('image,x0,y0,x1,y1,label\n"a, b.jpg",0,0,5,5,7\nc.jpg,1,1,2.4,2,12\n"a, b.jpg",2,2,3,3,7\n')
    truth = read_ground_truth(path)
    assert (truth.names, truth.classes.tolist(), truth.class_names) == (("a, b.jpg", "c.jpg"), [7, 12], ())
    assert truth.boxes_of(0).tolist() == [[0, 0, 5, 5], [2, 2, 3, 3]]
    assert truth.boxes_of(1).tolist() == [[1, 1, 2, 2]]
    assert not truth.has_sizes
    path.write_text("image,x0,y0,x1,y1\na.jpg,0,0,5,5\nb.jpg,1,1,2,2\n")
    assert read_ground_truth(path).classes.tolist() == [0, 0]
    (tmp_path / "labels.txt").write_text("b dog\na cat\n")
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    truth = read_ground_truth(path, ground_truth_classes=tmp_path / "labels.txt", labels=tmp_path / "names.txt")
    assert truth.classes.tolist() == truth.box_classes.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("image,x0", "file,x0", r"boxes\.csv:1: no column 'image' .*the header image,x0,y0,x1,y1\[,label\]"),
        (",height", "", r"boxes\.csv:1: one of the columns width and height"),
        ("a.jpg,2", "a.jpg,two", r"boxes\.csv:2: x0: 'two'; a number was expected"),
        ("a.jpg,2", "a.jpg,nan", r"boxes\.csv:2: x0: 'nan'; a number"),
        ("a.jpg,2", "a.jpg,20", r"boxes\.csv:2: box 20 3 20 30 is empty: x0 < x1"),
        ("a.jpg,2", "a.jpg,-9", r"boxes\.csv:2: box -9 3 20 30 lies outside of the image of 40×30"),
        ("0,0,40,25", "0,0,43,25", r"boxes\.csv:3: box 0 0 43 25 lies outside of the image of 40×30"),
        (",ape,", ",,", r"boxes\.csv:4: an empty label"),
        (",ape,40", ",ape,x", r"boxes\.csv:4: width: 'x'; a whole number"),
        (",ape,40,30", ",ape,40", r"boxes\.csv:4: 7 cells; 8 were expected"),
        ("d,", ",", r"boxes\.csv:4: the cell of the image is empty"),
        ("b/c.png", "a.jpg", r"boxes\.csv: image 'a\.jpg' has boxes of several classes"),
        ("ape,40,30", "ape,40,0", r"boxes\.csv:4: an image of 40×0; at least one pixel"),
        (
            "b/c.png,0,0,40,25,dog,40",
            "a.jpg,0,0,40,25,cat,41",
            r"boxes\.csv:3: 'a\.jpg' has 41×30 pixels here and 40×30 in a line before",
        ),
        ("a.jpg,2", '"a.jpg,2', r"boxes\.csv:2: not a line of a CSV file"),
        (ROWS, "\n\n", r"boxes\.csv:2: no box in it; one box per line"),
    ],
)
def test_faulty_csv(tmp_path, old, new, message):
    path = write_csv(tmp_path / "boxes.csv")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(GroundTruthError, match=message):
        read_ground_truth(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"images"', '"photos"', r"instances\.json: expected COCO's JSON .*missing required field `images`"),
        ('"category_id": 5,', '"category_id": 6,', r"annotations\[0\]: category_id 6: the file has no such category"),
        ('"image_id": 10,', '"image_id": 11,', r"annotations\[1\]: image_id 11: the file has no such image"),
        ('"id": 10, "file', '"id": 0, "file', r"images: an id occurs twice"),
        ("b/c.png", "a.jpg", r"instances\.json: images: a file name occurs twice"),
        ('"annotations": [', '"annotations": [], "others": [', r"instances\.json: annotations: no box in it"),
        ("[2.3, 2.8, 18, 27]", '[2, 3, "x", 4]', r"instances\.json: expected COCO's JSON .*float"),
        ("[2.3, 2.8, 18, 27]", "[2, 3, 0, 4]", r"annotations\[0\]: box 2 3 2 7 is empty"),
        ("[2.3, 2.8, 18, 27]", "[2, 3, 90, 4]", r"annotations\[0\]: box 2 3 92 7 lies outside of the image of 40×30"),
        ('"width": 40', '"width": -40', r"instances\.json: expected COCO's JSON .*`int` >= 0 - at .*width"),
        ('"width": 40', '"width": 1' + 30 * "0", r"instances\.json: expected COCO's JSON .*<= 1000000000 - at .*width"),
        ("{", "", r"instances\.json: expected COCO's JSON"),
    ],
)
def test_faulty_coco(tmp_path, old, new, message):
    path = write_coco(tmp_path / "instances.json")
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(GroundTruthError, match=message):
        read_ground_truth(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("images.txt", "", r"images\.txt:1: an empty list"),
        ("images.txt", "1\n", r"images\.txt:1: '1'; an ID, a blank and a value were expected"),
        ("images.txt", "1 a\n1 b\n", r"images\.txt:2: ID 1 occurs twice"),
        ("bounding_boxes.txt", "1 1 1 x 2\n", r"bounding_boxes\.txt:1: 'x'; a number"),
        ("bounding_boxes.txt", "1 1 1 90 2\n2 1 1 2 2\n3 1 1 2 2\n", r"bounding_boxes\.txt:1: box .* outside"),
        ("image_class_labels.txt", "2 1\n", r"image_class_labels\.txt: image 1 of .*images\.txt:2 is missing"),
        ("image_class_labels.txt", "1 9\n2 1\n3 1\n", r"image 'a\.jpg' has class 8, but .* has 3 classes"),
        ("train_test_split.txt", "1 1\n2 1\n3 1\n0 1\n", r"train_test_split\.txt: no test image"),
        ("images/a.jpg", "x", r"a\.jpg: the size of the image cannot be read"),
    ],
)
def test_faulty_cub(tmp_path, name, content, message):
    folder = write_cub(tmp_path / "cub")
    (folder / name).write_text(content)
    with pytest.raises(GroundTruthError, match=message):
        read_ground_truth(folder)


def no_boxes(*names: str, class_names: tuple[str, ...] = ()) -> GroundTruth:
    empty = np.zeros(0, np.int64)
    count = len(names)
    sizes = np.full((count, 2), 10)
    none = np.zeros(count, bool)
    return GroundTruth(
        names, np.zeros(count, np.int64), empty.reshape(0, 4), empty, empty, sizes, none, (), class_names
    )


def test_classes_by_image(tmp_path):
    path = tmp_path / "predictions.csv"
    path.write_text("image,best,second\nx/b.png,dog,0\nc.jpg,ape\na,2\n")
    truth = no_boxes("a.jpg", "x/b.png", class_names=NAMES)
    classes, extra = read_classes(path, truth)
    assert (classes.tolist(), extra) == ([[2, -1, -1, -1, -1], [2, 0, -1, -1, -1]], ("c.jpg",))
    path.write_text('image,best\r\n"x/b.png","dog, wild"\r\na,cat\r\n', encoding="utf-8-sig")
    assert read_classes(path, replace(truth, class_names=("cat", "dog, wild")))[0][:, 0].tolist() == [0, 1]
    path.write_text("2 1 1 5 5 0 1 1 5 5\n\n")
    assert read_classes(path, truth)[0].tolist() == [[2, 0, -1, -1, -1], [-1] * 5]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,cat\n", r"p\.csv: 1 of 2 images have no line, the first is 'b'"),
        ("a,cat\na,dog\n", r"p\.csv:2: image 'a' occurs twice"),
        ("a,cat\nb,cow\n", r"p\.csv:2: unknown class 'cow': the classes are ape, cat, dog"),
        ("a,cat\nb,3\n", r"p\.csv:2: network index 3; 0…2"),
        ('a,cat\nb,"dog\n', r"p\.csv:2: not a line of a CSV file"),
        ("a,cat\nb,1,2,0,1,2,0\n", r"p\.csv:2: .*an image and up to 5 classes"),
        ("0 1 1 2 2\n", r"p\.csv: 1 lines for 2 images"),
    ],
)
def test_faulty_classes_by_image(tmp_path, content, message):
    (tmp_path / "p.csv").write_text(content)
    with pytest.raises(GroundTruthError, match=message):
        read_classes(tmp_path / "p.csv", no_boxes("a", "b", class_names=NAMES))


def write_mask(path: Path, *box: int) -> None:
    mask = np.zeros((20, 30), np.uint8)
    x0, y0, x1, y1 = box
    mask[y0:y1, x0:x1] = 1
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", mask)[1].tobytes())


@pytest.mark.parametrize("place", ["", "png", "../", "elsewhere"])
def test_masks_are_found_and_joined(tmp_path, place):
    folder = tmp_path / "masks"
    folder.mkdir()
    root = tmp_path / "elsewhere" if place == "elsewhere" else folder / place
    write_mask(root / "x" / "a0.png", 0, 0, 10, 10)
    write_mask(root / "x" / "a1.png", 10, 10, 20, 20)
    write_mask(root / "x" / "ignore.png", 5, 5, 30, 20)
    (folder / "localization.txt").write_text("a,x/a0.png,x/ignore.png\nb,x/a1.png\na,x/a1.png,\n")
    first, second = read_masks(folder, ["a.jpg", "b.jpg"], root if place == "elsewhere" else None)
    objects, ignored = first.read((15, 10))
    assert (objects.sum(), ignored.sum()) == (50, 84)
    assert [area.sum() for area in second.read((30, 20))] == [100, 0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\n", r"localization\.txt:1: 'a'; `image,mask,ignore` was expected"),
        ("a,m.png,m.png\na,m.png,m.png\n", r"localization\.txt:2: image 'a' has an ignore file already"),
        ("a,n.png,\n", r"localization\.txt:1: mask 'n\.png': no such file in .*--mask-root"),
        ("b,m.png,\n", r"localization\.txt: 1 of 1 images have no mask, the first is 'a'"),
        ("a,broken.png,\n", r"broken\.png: damaged, or not an image"),
    ],
)
def test_faulty_masks(tmp_path, content, message):
    write_mask(tmp_path / "m.png", 0, 0, 5, 5)
    (tmp_path / "broken.png").write_bytes(b"not a png")
    (tmp_path / "localization.txt").write_text(content)
    with pytest.raises(GroundTruthError, match=message):
        read_masks(tmp_path, ["a"])[0].read((5, 5))
