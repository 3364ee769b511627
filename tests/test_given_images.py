"""The images that a command line names, and what a second run leaves in the output folder."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, strategies as st
from PIL import Image as PILImage

from pycam.cli import main
from pycam.cli.images import GivenImages, all_images
from pycam.console import Notes
from pycam.errors import FormatError, ImageError, RunError, UsageError
from pycam.formats.output_folder import NAMES, OutputFolder, Rows
from pycam.images.files import image_files
from pycam.images.read import read_image

MODEL = ["--model", "squeezenet-cam-caltech101"]


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    """A folder as people have them, which is the working directory."""
    folder = tmp_path / "photos"
    for name in ("b.JPG", "a.png", "sub/a.png", "sub/[1].png", ".thumbnails/a.png", "._b.jpg", "notes.txt", "x.heic"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    monkeypatch.chdir(folder)
    return folder


def named(*arguments: str) -> list[str]:
    return [path.as_posix() for path in all_images(arguments, Notes(quiet=True))]


def pipe(monkeypatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))


def test_files_folders_patterns_and_lists(photos, capsys):
    assert named("b.JPG", "missing.png") == ["b.JPG", "missing.png"]
    assert named(".") == ["a.png", "b.JPG", "sub/[1].png", "sub/a.png"]
    assert named("*.png") == ["a.png"]
    assert named("**/*.png") == ["a.png", "sub/[1].png", "sub/a.png"]
    assert named("sub/[1].png") == ["sub/[1].png"]  # the name of a file is no pattern
    assert named("https://a.org/fox.jpg?w=*") == ["https:/a.org/fox.jpg?w=*"]  # read_image refuses it
    Path("lists").mkdir()
    Path("lists/val.txt").write_text("../a.png 65\n../sub/a.png 970\n")
    assert named("@lists/val.txt", "sub") == ["lists/../a.png", "lists/../sub/a.png", "sub/[1].png", "sub/a.png"]
    all_images(["."], Notes())
    assert "not read: 1 .heic; convert them to JPEG or PNG" in capsys.readouterr().err


def test_arguments_that_name_no_images(photos):
    with pytest.raises(ImageError, match=r"\*\.gif: no file has this name or matches this pattern"):
        named("*.gif")
    Path("empty").mkdir()
    with pytest.raises(UsageError, match=r"empty: no images in it; images end in \.bmp, "):
        named("empty")
    Path("x.heic").rename("empty/x.heic")
    with pytest.raises(UsageError, match=r"empty: no images in it that are read, but 1 \.heic: convert them"):
        named("empty")
    Path("list.txt").write_text("a.png\nmissing.png\n")
    with pytest.raises(FormatError, match=r"list\.txt:2: no image missing\.png"):
        named("@list.txt")
    with pytest.raises(UsageError, match="standard input is given twice"):
        GivenImages(["-", "-"], Notes())


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (b"a.png\nsub/a b.png\n", ["a.png", "sub/a b.png"]),
        (b"\xef\xbb\xbfa.png\r\nb.png", ["a.png", "b.png"]),
        (b"a.png\0sub/a\nb.png\0", ["a.png", "sub/a\nb.png"]),
        ("日本.png\n\n\n".encode(), ["日本.png"]),
    ],
)
def test_names_on_standard_input(data, names, monkeypatch):
    pipe(monkeypatch, data)
    images = GivenImages(["first.png", "-"], Notes())
    assert images.count is None and images.at_most(4) == 4
    assert [str(path) for path in images] == ["first.png", *names]


@given(names=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r\ufeff"), min_size=1), min_size=1))
def test_any_names_on_standard_input(names):
    with pytest.MonkeyPatch.context() as patch:
        data = "\n".join(names).encode()
        pipe(patch, data)
        try:
            assert [str(path) for path in GivenImages(["-"], Notes())] == [str(Path(name)) for name in names]
        except UsageError:
            assert any(byte < 32 or byte == 127 for byte in data)


@pytest.mark.parametrize(
    ("data", "told"),
    [(b"", "no names of images"), (b"\xff\xd8\xff\xe0\0\x10JFIF\0\1", "found other data: save an image to a file")],
)
def test_standard_input_without_names(data, told, monkeypatch):
    pipe(monkeypatch, data)
    with pytest.raises(UsageError, match=told):
        list(GivenImages(["-"], Notes()))


def test_names_are_read_when_they_are_needed():
    read, write = os.pipe()
    with pytest.MonkeyPatch.context() as patch, open(read) as source, open(write, "wb", buffering=0) as sink:
        patch.setattr(sys, "stdin", source)
        images = iter(GivenImages(["-"], Notes()))
        for name in ("a.png", "b.png"):
            sink.write(name.encode() + b"\n")  # the pipe stays open
            assert next(images) == Path(name)


# ---- output folders


def test_each_image_keeps_a_name_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    first = OutputFolder(out)
    assert not out.exists()
    images = ["a/x.jpg", "b/X.png", "x-2.jpg", "c/x.gif", "a/../a/x.jpg", 'd/"n,\n.jpg']
    names = [first.name(image) for image in images]
    assert names == ["x", "X-2", "x-2-2", "x-3", "x", "_n,_"]
    # A folder that is not in the list is not touched, and what a kill has cut off does no harm.
    (out / "y").mkdir()
    with (out / NAMES).open("ab") as file:
        file.write(b"torn,/to")
    second = OutputFolder(out)
    assert [second.name(image) for image in images] == names
    assert second.name("other/x.jpg") == "x-4" and second.name("y.jpg") == "y-2"
    assert (out / NAMES).read_text().splitlines()[:3] == ["name,image", "x,../a/x.jpg", "X-2,../b/X.png"]
    # Another process has written meanwhile.
    assert first.name("other/x.jpg") == "x-4" and first.name("z.jpg") == "z"
    monkeypatch.chdir(out)
    assert OutputFolder(out).name("a/x.jpg") == "x-5"  # the same relative path is another image here


def test_names_of_files_in_an_output_folder(tmp_path):
    (tmp_path / "fox.html").write_text("mine")
    (tmp_path / "cat").write_text("mine")
    assert [OutputFolder(tmp_path, (".html", ".json")).name(name) for name in ("fox.jpg", "cat.jpg")] == [
        "fox-2",
        "cat",
    ]


@pytest.mark.parametrize("length", range(24))
def test_names_that_a_kill_has_cut_off(length, tmp_path):
    folder = OutputFolder(tmp_path)
    assert folder.name("fox.jpg") == "fox"
    whole = (tmp_path / NAMES).read_bytes()
    (tmp_path / NAMES).write_bytes(whole[:length])
    assert OutputFolder(tmp_path).name("fox.jpg") == "fox"
    assert (tmp_path / NAMES).read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == [NAMES]


def test_a_list_of_names_that_is_another_file_is_refused(tmp_path):
    (tmp_path / NAMES).write_text("id,file\n1,fox.jpg\n")
    with pytest.raises(RunError, match=r"image-names\.csv: expected the names of images that pycam writes"):
        OutputFolder(tmp_path)
    (tmp_path / NAMES).write_text("name,image\na,b,c\n")
    with pytest.raises(RunError, match="expected the name and the path of an image"):
        OutputFolder(tmp_path)


def rows_of(folder: Path, *images: str, more: tuple[str, ...] = (), score: float = 1.5) -> list[dict[str, str]]:
    rows = Rows(OutputFolder(folder), "r.csv", "folder", ["image", "score", "folder"], more)
    for image in images:
        row = {"image": f"{image}, or\n“it”", "score": score, "folder": image}
        rows.add([row | dict.fromkeys(more, "m")] * 2)
    rows.write()
    with (folder / "r.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_rows_of_other_images_stay(tmp_path):
    assert [row["folder"] for row in rows_of(tmp_path, "a", "b", "a")] == ["a", "a", "b", "b"]
    found = rows_of(tmp_path, "b", "c", more=("method",), score=2)
    assert [(row["folder"], row["score"], row["method"]) for row in found[::2]] == [
        ("a", "1.5", ""), ("b", "2", "m"), ("c", "2", "m")
    ]  # fmt: skip
    assert [row["method"] for row in rows_of(tmp_path, "c")[::2]] == ["", "m", ""]
    before = (tmp_path / "r.csv").read_bytes()
    rows_of(tmp_path)
    assert (tmp_path / "r.csv").read_bytes() == before
    for other in ("image,score\na,1\n", "", "image,score,folder\na\n"):
        (tmp_path / "r.csv").write_text(other)
        with pytest.raises(RunError, match=r"r\.csv: expected rows "):
            rows_of(tmp_path, "a")
        assert (tmp_path / "r.csv").read_text() == other


# ---- the command


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    """Two images of the same name: one is stored turned by a quarter."""
    folder = tmp_path_factory.mktemp("scenes")
    pixels = cv2.resize(np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8), (80, 60))
    exif = PILImage.Exif()
    exif[0x0112] = 6
    for name, options in (("one/fox.png", {"exif": exif}), ("two/fox.png", {})):
        (folder / name).parent.mkdir()
        PILImage.fromarray(pixels).save(folder / name, **options)
    return folder


def heatmap(capsys, *arguments: object) -> list[dict]:
    given = [*map(str, arguments), "--boxes", "--json", "--top", "2", "-q"]
    assert main(["heatmap", *given, *([] if "--model" in arguments else MODEL)]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_second_run_keeps_the_first_ones_results(scenes, tmp_path, capsys, monkeypatch):
    scenes, out = shutil.copytree(scenes, tmp_path / "scenes"), tmp_path / "made/out"
    one, two = heatmap(capsys, scenes, "--out", out)
    assert [one["image"], two["image"]] == [str(scenes / "one/fox.png"), str(scenes / "two/fox.png")]
    kept = {path.name: path.read_bytes() for path in (out / "fox-2").iterdir()}
    monkeypatch.chdir(scenes / "one")
    pixels = np.zeros((20, 30, 3), np.uint8)
    cv2.imwrite(str(scenes / "one/owl.png"), pixels)
    stored, _ = heatmap(capsys, "*.png", "--out", out, "--exif", "ignore")
    assert kept == {path.name: path.read_bytes() for path in (out / "fox-2").iterdir()}
    assert json.loads((out / "fox/fox.json").read_text()) == stored
    with (out / "boxes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["folder"], row["box_pixels"]) for row in rows[::2]] == [
        ("fox-2", "upright"), ("fox", "stored"), ("owl", "stored")
    ]  # fmt: skip
    assert [row["image"] for row in rows[::2]] == [str(scenes / "two/fox.png"), "fox.png", "owl.png"]
    (out / "boxes.csv").write_text("image,x\n")
    assert main(["heatmap", "fox.png", *MODEL, "--boxes", "--out", str(out)]) == 10
    assert "without the column 'rank': move it away, or name another --out" in capsys.readouterr().err
    # The overlays are not taken for images.
    assert image_files(out.parent) == [] and image_files(out / "fox")


def test_boxes_say_which_pixels_they_mean(scenes, tmp_path, capsys):
    image = scenes / "one/fox.png"
    (upright,) = heatmap(capsys, image, "--out", tmp_path / "a", "--view", "full")
    (stored,) = heatmap(capsys, image, "--out", tmp_path / "b", "--view", "full", "--exif", "ignore")
    (named_row,) = heatmap(capsys, image, "--out", tmp_path / "c", "--protocol", "sweep")
    about = [
        {key: record.get(key) for key in ("box_pixels", "exif_orientation_applied", "exif_orientation_not_applied")}
        for record in (upright, stored, named_row)
    ]
    assert [list(each.values()) for each in about] == [["upright", 6, None], ["stored", None, 6], ["stored", None, 6]]
    assert [each["input"]["crops"][0]["box"] for each in (upright, stored)] == [[0, 0, 60, 80], [0, 0, 80, 60]]
    # The upright image, stored upright, gives the same.
    turned = tmp_path / "turned.png"
    cv2.imwrite(str(turned), cv2.rotate(cv2.imread(str(scenes / "two/fox.png")), cv2.ROTATE_90_CLOCKWISE))
    (expected,) = heatmap(capsys, turned, "--out", tmp_path / "d", "--view", "full")
    assert upright["top"] == expected["top"]


def test_the_json_is_one_line_away_from_pandas(scenes, tmp_path, capsys, monkeypatch):
    import pathlib

    import pandas

    printed = heatmap(capsys, scenes, "--out", tmp_path / "out")
    monkeypatch.chdir(tmp_path)
    Path("maps.json").write_text(json.dumps(printed))
    docs = (Path(__file__).parents[1] / "docs/formats.md").read_text()
    (line,) = [line.strip() for line in docs.splitlines() if line.strip().startswith("frame = pandas.json_normalize")]
    scope = {"json": json, "pandas": pandas, "pathlib": pathlib}
    exec(line, scope)
    frame = scope["frame"]
    assert len(frame) == sum(len(each["top"]) for each in printed)
    assert frame["image"].tolist() == [each["image"] for each in printed for _ in each["top"]]
    assert {"index", "label", "score", "box", "model"} <= set(frame)


def test_errors_of_many_images_keep_no_memory():
    """A traceback would keep the content of each file that cannot be read."""
    with pytest.raises(ImageError, match="not an image") as raised:
        read_image(b"no image")
    alone = raised.value.alone()
    assert type(alone) is ImageError and str(alone) == str(raised.value)
    assert raised.value.__traceback__ is not None
    assert alone.__traceback__ is None and alone.__context__ is None


def test_other_commands_take_folders_and_keep_what_is_there(scenes, tmp_path, capsys, monkeypatch):
    def run(*arguments: object) -> None:
        assert main([*map(str, arguments), *MODEL, "-q"][: None if arguments[0] != "activations" else -1]) == 0

    run("activations", scenes, "--layers", "conv1", "--out", tmp_path / "grids")
    run("activations", scenes / "two/fox.png", "--layers", "pool1", "--out", tmp_path / "grids")
    assert sorted(path.relative_to(tmp_path / "grids").as_posix() for path in tmp_path.glob("grids/*/*.png")) == [
        "fox-2/fox_conv1.png", "fox-2/fox_pool1.png", "fox/fox_conv1.png"
    ]  # fmt: skip
    run("explain", scenes / "two", "--out", tmp_path / "pages")
    kept = (tmp_path / "pages/fox.html").read_bytes()
    pipe(monkeypatch, f"{scenes}/one/fox.png\n".encode())
    run("explain", "-", "--out", tmp_path / "pages")
    assert sorted(path.name for path in tmp_path.glob("pages/*.html")) == ["fox-2.html", "fox.html"]
    assert (tmp_path / "pages/fox.html").read_bytes() == kept
    run("features", scenes / "one", "--out", tmp_path / "f.npz")
    run("features", str(scenes / "*/fox.png"), "--out", tmp_path / "g.npz")
    with np.load(tmp_path / "f.npz") as one, np.load(tmp_path / "g.npz") as both:
        assert one["images"].tolist() == ["fox.png"] and "labels" not in one
        assert len(both["images"]) == 2 and np.array_equal(both["values"][0], one["values"][0])
    run("report", "html", scenes, "--out", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "EXIF orientation 6 applied" in page and "two/fox.png" in page
