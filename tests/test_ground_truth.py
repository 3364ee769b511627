from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from pycam.errors import GroundTruthError, UsageError
from pycam.ilsvrc.annotations import read_annotation
from pycam.ilsvrc.devkit import read_blacklist, read_cache
from pycam.ilsvrc.ground_truth import read_ground_truth
from pycam.ilsvrc.synsets import synsets

TENCH, GOLDFISH = "n01440764", "n01443537"

XML = """<annotation>
    <filename>a</filename>
    <size><width>50</width><height>40</height><depth>3</depth></size>
    <object>
        <name>n01440764</name>
        <bndbox>
            <xmin>1</xmin>
            <ymin>2</ymin>
            <xmax>50</xmax>
            <ymax>40</ymax>
        </bndbox>
        <part><name>fin</name><bndbox><xmin>90</xmin></bndbox></part>
    </object>
</annotation>
"""

BOMB = """<?xml version="1.0"?>
<!DOCTYPE annotation [
    <!ENTITY a "aaaaaaaaaa">
    <!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
]>
<annotation><filename>&b;</filename></annotation>
"""


def annotate(folder: Path, name: str, *boxes: tuple[str, int, int, int, int], size=(50, 40)) -> None:
    folder.mkdir(exist_ok=True)
    objects = "\n".join(
        f"<object><name>{wnid}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin>"
        f"<xmax>{x1}</xmax><ymax>{y1}</ymax></bndbox></object>"
        for wnid, x0, y0, x1, y1 in boxes
    )
    extent = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>"
    (folder / f"{name}.xml").write_text(f"<annotation>\n{extent}\n{objects}\n</annotation>")


def id_of(wnid: str) -> int:
    return int(synsets().ids[synsets().index_of_wnid[wnid]])


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three images: a tench, two goldfish, a tench beside a goldfish."""
    folder = tmp_path / "xml"
    annotate(folder, "a", (TENCH, 1, 2, 30, 40))
    annotate(folder, "b", (GOLDFISH, 5, 5, 20, 20), (GOLDFISH, 30, 1, 50, 10), size=(60, 30))
    annotate(folder, "c", (TENCH, 0, 1, 10, 10), (GOLDFISH, 11, 1, 20, 10))
    return folder


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("".join(f"{id_of(wnid)}\n" for wnid in (TENCH, GOLDFISH, GOLDFISH)))
    return path


def test_table_joins_the_three_numberings():
    table = synsets()
    assert table.wnids == tuple(sorted(table.wnids))
    assert sorted(table.ids) == list(range(1, 1001))
    assert (table.wnids[0], table.ids[0]) == (TENCH, 449)
    assert table.index_of_id[449] == 0 == table.index_of_wnid[TENCH]
    assert table.index_of_id[0] == -1


def test_annotation_is_read_and_parts_are_not_objects(tmp_path):
    (tmp_path / "a.xml").write_text(XML)
    annotation = read_annotation(tmp_path / "a.xml")
    assert annotation.size == (50, 40)
    assert [(box.label, box.box, box.line) for box in annotation.boxes] == [(TENCH, (1, 2, 50, 40), 13)]


def test_fractions_of_pixels_in_an_annotation_are_rounded(tmp_path):
    (tmp_path / "a.xml").write_text(XML.replace("<xmin>1<", "<xmin>1.7<").replace("<ymax>40<", "<ymax>38.20000076<"))
    assert [annotated.box for annotated in read_annotation(tmp_path / "a.xml").boxes] == [(2, 2, 50, 38)]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<xmin>1<", "<xmin>51<", r"a\.xml:13: box 51 2 50 40: .*xmin ≤ xmax"),
        ("<ymin>2<", "<ymin>41<", r"a\.xml:13: box .*xmin ≤ xmax"),
        ("<xmax>50<", "<xmax>51<", r"a\.xml:13: box .*outside of the image of 50×40"),
        ("<ymax>40<", "<ymax>41<", r"a\.xml:13: box .*outside"),
        ("<xmin>1<", "<xmin>-1<", r"a\.xml:13: box .*outside"),
        ("<width>50<", "<width>50.5<", r"a\.xml:3: <width>: '50\.5'; a whole number"),
        ("<ymin>2<", "<ymin>NaN<", r"a\.xml:8: <ymin>: 'NaN'; a number"),
        ("<ymin>2<", "<ymin>1_0<", r"a\.xml:8: .*a number"),
        ("<ymin>2<", "<ymin>1e400<", r"a\.xml:8: .*a number"),
        ("<ymin>2<", "<ymin>٢<", r"a\.xml:8: .*a number"),
        ("<ymin>2</ymin>", "", r"a\.xml:13: an object has no <ymin>"),
        ("<width>50<", "<width>0<", r"a\.xml:3: <width> is 0"),
        ("<filename>a<", "<filename>b<", r"a\.xml:2: .*annotates 'b', not 'a'"),
        ("</bndbox>\n", "\n", r"a\.xml:1\d: not well-formed XML"),
        ("</annotation>", "", r"a\.xml:1\d: not well-formed XML .*complete"),
        ("<filename>", "\0", r"a\.xml:2: not well-formed XML"),
        (XML, "", r"a\.xml: expected the annotation of an image, found an empty file"),
        (XML, "<html></html>", r"a\.xml:1: no <annotation>"),
        (XML, f"<annotation a='{'x' * (1 << 20)}'>", r"a\.xml: .*, found more than 1,048,576 bytes"),
        (XML, '<?xml version="1.0" encoding="shift_jis"?>' + XML, r"a\.xml:1: not well-formed XML"),
        (XML, BOMB, r"a\.xml:3: refused \(EntitiesForbidden\)"),
        (XML, '<!DOCTYPE a [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + XML, r"a\.xml:1: refused"),
    ],
)
def test_faulty_annotation_is_named_by_line(tmp_path, old, new, message):
    assert old in XML
    (tmp_path / "a.xml").write_text(XML.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(GroundTruthError, match=message) as error:
        read_annotation(tmp_path / "a.xml")
    assert "\n" not in str(error.value)


def test_a_pipe_or_a_missing_file_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.xml")
    for name, found in (("a", "found a pipe or device"), ("b", "but: No such file")):
        with pytest.raises(GroundTruthError, match=rf"{name}\.xml: expected the annotation of an image, {found}"):
            read_annotation(tmp_path / f"{name}.xml")


def test_folder_with_devkit_labels(images, labels):
    truth = read_ground_truth(images, ground_truth_classes=labels)
    assert truth.names == ("a", "b", "c")
    assert truth.classes.tolist() == [0, 1, 1]
    assert truth.sizes.tolist() == [[50, 40], [60, 30], [50, 40]]
    assert truth.box_classes.tolist() == [0, 1, 1, 0, 1]
    assert truth.box_images.tolist() == [0, 1, 1, 2, 2]
    assert [truth.boxes_of(image).tolist() for image in range(3)] == [
        [[0, 1, 30, 40]],
        [[4, 4, 20, 20], [29, 0, 50, 10]],
        [[10, 0, 20, 10]],
    ]


def test_val_txt_is_joined_by_name(images, labels, tmp_path):
    listing = tmp_path / "val.txt"
    listing.write_text("c.JPEG 1\na.JPEG 0\nb.JPEG 1\n")
    by_name = read_ground_truth(images, ground_truth_classes=listing)
    assert by_name.digest() == read_ground_truth(images, ground_truth_classes=labels).digest()


def test_ground_truth_cannot_be_changed(images, labels):
    truth = read_ground_truth(images, ground_truth_classes=labels)
    with pytest.raises(ValueError, match="read-only"):
        truth.boxes[0] = 0


def test_labels_that_contradict_the_boxes_are_refused_by_image(images, tmp_path):
    listing = tmp_path / "labels.txt"
    listing.write_text(f"{id_of(TENCH)}\n{id_of(TENCH)}\n{id_of(TENCH)}\n")
    message = rf"image 'b': .*labels\.txt:2 gives class {TENCH}, but its boxes have class {GOLDFISH}"
    with pytest.raises(GroundTruthError, match=message):
        read_ground_truth(images, ground_truth_classes=listing)


def test_network_indices_in_place_of_ids_are_refused(images, tmp_path):
    (tmp_path / "labels.txt").write_text("1\n2\n2\n")
    with pytest.raises(GroundTruthError, match=r"image 'a': .*labels\.txt:1 gives class"):
        read_ground_truth(images, ground_truth_classes=tmp_path / "labels.txt")


def test_boxes_of_several_classes_need_labels(images):
    with pytest.raises(GroundTruthError, match="image 'c' has boxes of several classes"):
        read_ground_truth(images)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("449\n450\n", r"labels\.txt:3: 2 labels for 3 images"),
        ("449\n450\n450\n1\n", r"labels\.txt:4: 4 labels for 3 images"),
        ("449\n1001\n450\n", r"labels\.txt:2: label 1001; .*1…1000"),
        ("449\n450\n0\n", r"labels\.txt:3: label 0; .*1…1000"),
        ("449\n\n450\n", r"labels\.txt:2: ''.*whole number"),
        ("449\n450\nx\n", r"labels\.txt:3: 'x'.*whole number"),
        ("", r"labels\.txt:1: an empty list"),
        ("a 0\nb 1\n", r"labels\.txt: image 'c' .*is missing"),
        ("a 0\nb 1\nc 1\nd 1\n", r"labels\.txt:4: image 'd' is not in "),
        ("a 0\nb 1\na 1\n", r"labels\.txt:3: image 'a' is already on line 1"),
        ("a 0\nb 1000\nc 1\n", r"labels\.txt:2: network index 1000; 0…999"),
        ("a 0\nb -1\nc 1\n", r"labels\.txt:2: network index -1; 0…999"),
        ("a 0\n450\nc 1\n", r"labels\.txt:2: '450' does not have the form"),
        ("449\nb 1\nc 1\n", r"labels\.txt:2: 'b 1' does not have the form"),
        ("\udcff\n", r"labels\.txt:1: not UTF-8"),
    ],
)
def test_faulty_labels_are_named_by_line(images, tmp_path, content, message):
    (tmp_path / "labels.txt").write_text(content, errors="surrogateescape")
    with pytest.raises(GroundTruthError, match=message):
        read_ground_truth(images, ground_truth_classes=tmp_path / "labels.txt")


def test_faulty_folders(images, labels, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(GroundTruthError, match="empty: neither XML annotations nor a WSOL set"):
        read_ground_truth(tmp_path / "empty")
    with pytest.raises(GroundTruthError, match=r"nothing: no such file"):
        read_ground_truth(tmp_path / "nothing")
    (images / "c.xml").unlink()
    with pytest.raises(GroundTruthError, match=r"labels\.txt:3: 3 labels for 2 images"):
        read_ground_truth(images, ground_truth_classes=labels)
    for wnid in ("n00000000", ""):
        annotate(images, "a", (wnid, 1, 1, 2, 2))
        with pytest.raises(GroundTruthError, match=rf"a\.xml:3: '{wnid}' is not the WordNet ID"):
            read_ground_truth(images)


def test_an_image_without_boxes_must_be_blacklisted(images, labels, tmp_path):
    annotate(images, "b")
    with pytest.raises(GroundTruthError, match=r"image 'b': .*it has no box"):
        read_ground_truth(images, ground_truth_classes=labels)
    (tmp_path / "blacklist.txt").write_text("2\n")
    truth = read_ground_truth(images, ground_truth_classes=labels, blacklist=tmp_path / "blacklist.txt")
    assert truth.boxes_of(1).shape == (0, 4)


def test_blacklist_notes_tell_what_is_excluded(images, labels, tmp_path):
    blacklist = tmp_path / "blacklist.txt"
    blacklist.write_text("3\n1\n3\n")
    truth = read_ground_truth(images, ground_truth_classes=labels, blacklist=blacklist)
    assert truth.blacklisted.tolist() == [True, False, True]
    assert truth.counted_names == ["b"]
    assert truth.notes == ("blacklist.txt excludes 2 of 3 images from localization; 1 of its lines are duplicates",)
    (note,) = read_ground_truth(images, ground_truth_classes=labels).notes
    assert note.startswith("no blacklist is given")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1\n4\n", r"blacklist\.txt:2: image 4; a number from 1 to 3"),
        ("0\n", r"blacklist\.txt:1: image 0"),
        ("1 2\n", r"blacklist\.txt:1: '1 2'.*whole number"),
    ],
)
def test_faulty_blacklist(tmp_path, content, message):
    (tmp_path / "blacklist.txt").write_text(content)
    with pytest.raises(GroundTruthError, match=message):
        read_blacklist(tmp_path / "blacklist.txt", 3)


def test_blacklist_of_everything_is_refused(images, labels, tmp_path):
    (tmp_path / "blacklist.txt").write_text("1\n2\n3\n")
    with pytest.raises(GroundTruthError, match="excludes every image"):
        read_ground_truth(images, ground_truth_classes=labels, blacklist=tmp_path / "blacklist.txt")


def test_a_list_of_labels_is_ground_truth_without_boxes(labels):
    truth = read_ground_truth(labels)
    assert (truth.names, truth.classes.tolist(), truth.has_boxes) == (("1", "2", "3"), [0, 1, 1], False)
    with pytest.raises(UsageError, match="has classes of its own"):
        read_ground_truth(labels, ground_truth_classes=labels)


def test_select_keeps_boxes_with_their_images(images, labels):
    truth = read_ground_truth(images, ground_truth_classes=labels)
    chosen = truth.select(["c", "b"])
    assert chosen.names == ("c", "b")
    for place, name in enumerate(chosen.names):
        assert (chosen.boxes_of(place) == truth.boxes_of(truth.names.index(name))).all()
    assert chosen.digest() != truth.digest() == truth.select(truth.names).digest()
    with pytest.raises(GroundTruthError, match="image 'd' is not among the 3"):
        truth.select(["a", "d"])


def save_cache(path: Path, *records: list[tuple[float, list[float]]]) -> None:
    rec = np.empty((1, len(records)), dtype=[("objects", object)])
    for place, things in enumerate(records):
        objects = np.empty((1, len(things)), dtype=[("label", object), ("bbox", object)])
        for column, (label, box) in enumerate(things):
            objects[0, column] = (label, np.array([box], dtype=float))
        rec[0, place]["objects"] = objects
    scipy.io.savemat(path, {"rec": rec})


def test_cache_equals_the_annotations_it_was_made_of(images, labels, tmp_path):
    tench, goldfish = id_of(TENCH), id_of(GOLDFISH)
    save_cache(
        tmp_path / "cache.mat",
        [(tench, [1, 2, 30, 40])],
        [(goldfish, [5, 5, 20, 20]), (goldfish, [30, 1, 50, 10])],
        [(tench, [0, 1, 10, 10]), (goldfish, [11, 1, 20, 10])],
    )
    cache = read_ground_truth(tmp_path / "cache.mat", ground_truth_classes=labels)
    truth = read_ground_truth(images, ground_truth_classes=labels)
    for field in ("classes", "boxes", "box_classes", "box_images"):
        assert (getattr(cache, field) == getattr(truth, field)).all(), field
    assert not cache.has_sizes
    assert "has no image names" in cache.notes[0]


@pytest.mark.parametrize(
    ("label", "box", "message"),
    [
        (1001, [1, 1, 2, 2], r"rec\(2\): a label outside of 1…1000 \(label 1001"),
        (np.nan, [1, 1, 2, 2], r"rec\(2\): a label outside"),
        (449, [1, 1, np.nan, 2], r"rec\(2\): a bbox with numbers that are not whole"),
        (449, [1, 1, np.inf, 2], r"rec\(2\): a bbox with numbers that are not whole"),
        (449, [1, 1.5, 2, 2], r"rec\(2\): a bbox with numbers that are not whole"),
        (449, [3, 1, 2, 2], r"rec\(2\): a bbox with min above max"),
        (449, [-3, 1, 2, 2], r"rec\(2\): a bbox outside"),
        (449, [1, 1, 2], r"rec\(2\): objects with one label and a bbox of four numbers"),
        ([449, 450], [1, 1, 2, 2], r"rec\(2\): objects with one label"),
        ("fish", [1, 1, 2, 2], r"rec\(2\): objects with one label"),
    ],
)
def test_faulty_cache_is_named_by_image(tmp_path, label, box, message):
    save_cache(tmp_path / "cache.mat", [(449, [1, 1, 2, 2])], [(label, box)])
    with pytest.raises(GroundTruthError, match=message):
        read_cache(tmp_path / "cache.mat")


def test_cache_without_rec_or_with_another_count(tmp_path, labels):
    scipy.io.savemat(tmp_path / "other.mat", {"x": 1.0})
    with pytest.raises(GroundTruthError, match=r"other\.mat: .*rec"):
        read_cache(tmp_path / "other.mat")
    scipy.io.savemat(tmp_path / "plain.mat", {"rec": np.ones(3)})
    with pytest.raises(GroundTruthError, match=r"plain\.mat: rec is float64; a struct array was expected"):
        read_cache(tmp_path / "plain.mat")
    save_cache(tmp_path / "empty.mat", [])
    with pytest.raises(GroundTruthError, match=r"empty\.mat: rec: an empty list; boxes were expected"):
        read_cache(tmp_path / "empty.mat")
    save_cache(tmp_path / "cache.mat", [(449, [1, 1, 2, 2])])
    with pytest.raises(GroundTruthError, match=r"labels\.txt:2: 3 labels for 1 images"):
        read_ground_truth(tmp_path / "cache.mat", ground_truth_classes=labels)


@pytest.mark.slow
def test_cache_of_all_images_of_ilsvrc_is_read(tmp_path):
    """The limits of the process that reads the cache are made for its 50,000 structs."""
    rng = np.random.default_rng(0)
    records = np.empty(100, [(name, object) for name in ("filename", "size", "objects")])
    for number in range(len(records)):
        size = {"width": 500.0, "height": 375.0}
        things = {"label": float(rng.integers(1, 1001)), "bbox": np.sort(rng.integers(1, 375, 4).astype(float))}
        records[number] = f"ILSVRC2012_val_{number:08}", size, things
    scipy.io.savemat(tmp_path / "few.mat", {"rec": records})
    # SciPy takes half a minute to write them all: the few are repeated behind the array's flags, dimensions and names.
    data = (tmp_path / "few.mat").read_bytes()
    header, flags, names, values = data[:128], data[136:160], data[168:224], data[224:]
    array = flags + struct.pack("<2i", 1, 50_000) + names + 500 * values
    packed = zlib.compress(struct.pack("<2i", 14, len(array)) + array)
    (tmp_path / "cache.mat").write_bytes(header + struct.pack("<2i", 15, len(packed)) + packed)
    assert read_cache(tmp_path / "cache.mat").count == 50_000


@pytest.mark.parametrize("kept", [0, 60, 128, 500])
def test_damaged_cache_is_refused(tmp_path, kept):
    path = tmp_path / "cache.mat"
    save_cache(path, [(449, [1, 1, 2, 2])], [(450, [1, 1, 2, 2])])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(GroundTruthError, match=r"cache\.mat: ") as error:
        read_ground_truth(path)
    assert "\n" not in str(error.value)


def save_meta(path: Path, ids: np.ndarray) -> None:
    rows = np.empty((len(ids), 1), dtype=[("ILSVRC2014_ID", object), ("WNID", object)])
    for row, number, wnid in zip(rows, ids, synsets().wnids, strict=True):
        row[0] = (float(number), wnid)
    scipy.io.savemat(path, {"synsets": rows})


def test_meta_must_join_ids_as_the_table_does(images, labels, tmp_path):
    save_meta(tmp_path / "meta.mat", synsets().ids)
    read_ground_truth(images, ground_truth_classes=labels, meta=tmp_path / "meta.mat")
    save_meta(tmp_path / "meta.mat", np.arange(1, 1001))
    scipy.io.savemat(tmp_path / "other.mat", {"synsets": {"ILSVRC2014_ID": 1, "words": "tench"}})
    with pytest.raises(GroundTruthError, match=r"other\.mat: synsets: fields ILSVRC2014_ID and WNID were expected"):
        read_ground_truth(images, ground_truth_classes=labels, meta=tmp_path / "other.mat")
    with pytest.raises(GroundTruthError, match=rf"meta\.mat: synsets: ID 449 is n\d{{8}}; {TENCH} was expected"):
        read_ground_truth(images, ground_truth_classes=labels, meta=tmp_path / "meta.mat")


WSOL = {
    "image_ids.txt": "val/b.JPEG\nval/a.JPEG\n",
    "class_labels.txt": "val/a.JPEG,0\nval/b.JPEG,1\n",
    "image_sizes.txt": "val/b.JPEG,60,30\nval/a.JPEG,50,40\n",
    "localization.txt": "val/a.JPEG,1,2,30,40\nval/b.JPEG,5,5,20,20\nval/a.JPEG,3,3,4,4\n",
}


def save_wsol(folder: Path, **changed: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in WSOL.items():
        (folder / name).write_text(changed.get(name.removesuffix(".txt"), content))
    return folder


def test_wsol_folder_is_joined_by_id(tmp_path):
    truth = read_ground_truth(save_wsol(tmp_path / "set"))
    assert truth.names == ("val/b.JPEG", "val/a.JPEG")
    assert truth.classes.tolist() == [1, 0]
    assert truth.sizes.tolist() == [[60, 30], [50, 40]]
    assert truth.boxes_of(0).tolist() == [[4, 4, 20, 20]]
    assert truth.boxes_of(1).tolist() == [[0, 1, 30, 40], [2, 2, 4, 4]]


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("image_ids", "a\na\n", r"image_ids\.txt:2: image 'a' occurs twice"),
        ("image_ids", "", r"image_ids\.txt:1: an empty list"),
        ("class_labels", "val/a.JPEG,0\n", r"class_labels\.txt: image 'val/b\.JPEG'.*missing"),
        ("class_labels", "val/a.JPEG,0\nval/a.JPEG,0\n", r"class_labels\.txt:2: .*twice"),
        ("class_labels", "val/c.JPEG,0\n", r"class_labels\.txt:1: image 'val/c\.JPEG' is not in image_ids"),
        ("class_labels", "val/a.JPEG,-1\n", r"class_labels\.txt:1: .*from 0 up"),
        ("class_labels", "0\n", r"class_labels\.txt:1: '0'; an ID and 1 numbers"),
        ("image_sizes", "val/a.JPEG,50,x\n", r"image_sizes\.txt:1: 'x'.*whole number"),
        ("localization", "val/a.JPEG,1,2,30\n", r"localization\.txt:1: .*an ID and 4 numbers"),
        ("localization", "val/a.JPEG,9,2,3,4\n", r"localization\.txt:1: .*x0 ≤ x1"),
        ("localization", "val/a.JPEG,1,2,51,4\n", r"localization\.txt:1: .*outside"),
        ("localization", "val/a.JPEG,1,2,30,4\n", r"image 'val/b\.JPEG': it has no box"),
    ],
)
def test_faulty_wsol_folder(tmp_path, file, content, message):
    with pytest.raises(GroundTruthError, match=message):
        read_ground_truth(save_wsol(tmp_path / "set", **{file: content}))


def test_a_wsol_file_of_too_many_lines_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("pycam.ilsvrc.wsol_metadata.MOST", 3)
    folder = save_wsol(tmp_path / "set", localization="val/a.JPEG,1,2,30,40\n" * 4)
    with pytest.raises(GroundTruthError, match=r"localization\.txt:4: more than 3 lines"):
        read_ground_truth(folder)


@pytest.mark.shared
def test_all_sources_of_the_same_images_agree(shared):
    mini = shared / "data" / "ilsvrc-mini"
    kit = mini / "devkit" / "data"
    truth = read_ground_truth(
        mini / "ILSVRC2012_bbox_val",
        ground_truth_classes=kit / "ILSVRC2014_clsloc_validation_ground_truth.txt",
        blacklist=kit / "ILSVRC2014_clsloc_validation_blacklist.txt",
        meta=kit / "meta_clsloc.mat",
    )
    assert (len(truth), len(truth.boxes)) == (300, 451)
    assert truth.names[:2] == ("ILSVRC2012_val_00000361", "ILSVRC2012_val_00001545")
    assert truth.digest() == read_ground_truth(mini / "ILSVRC2012_bbox_val/val").digest()
    assert (
        truth.digest()
        == read_ground_truth(mini / "ILSVRC2012_bbox_val/val", ground_truth_classes=mini / "val.txt").digest()
    )
