"""Figures for print, and the paper's Figures 5 and 7 to 11 on made-up images."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import runs
from hypothesis import given, settings, strategies as st

from pycam import cli
from pycam.drawing.print_figure import FOUND, TRUTH, Grid, _lines, form_of
from pycam.errors import GroundTruthError, UsageError
from pycam.paper import concepts, labelme, scene_objects, scenes, text_regions
from pycam.paper.classifier import LinearClassifier
from pycam.paper.outputs import read_outputs

COLOURS = {"red": (0, 0, 230), "green": (0, 200, 0), "blue": (220, 40, 0)}


def write_png(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
    return path


def disc(colour: str, seed: int) -> tuple[np.ndarray, tuple[int, int]]:
    """An image of a disc of radius 10 on grey, and the center."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(110, 130, (runs.HEIGHT, runs.WIDTH, 3), np.uint8)
    center = int(rng.integers(15, runs.WIDTH - 15)), int(rng.integers(15, runs.HEIGHT - 15))
    return np.ascontiguousarray(cv2.circle(pixels, center, 10, COLOURS[colour], -1)), center


@pytest.fixture(scope="module")
def small(model) -> list[str]:
    net, weights = model
    return ["--prototxt", str(net), "--weights", str(weights), "--threads", "1"]


def run(*arguments: object) -> int:
    return cli.main([str(each) for each in arguments])


# Figures for print


def panels(grid: Grid) -> list:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
    boxes = [((6, 4, 30, 36), FOUND), ((0, 0, 60, 40), TRUTH)]
    return [grid.panel(pixels, ["a $x_1$ {name} & <more>", "été Ω 0.934"], boxes), grid.panel(pixels[:, :20]), None]


@pytest.mark.paper
def test_the_text_of_a_figure_is_text_and_its_fonts_are_in_it():
    grid = Grid(3, 17.5, 100)
    rows = [panels(grid)]
    pdf, svg = (grid.draw(rows, ["image", "CAM", "b"], form, [["a title"]]) for form in ("pdf", "svg"))
    streams = b"".join(
        zlib.decompress(found) if not found.startswith(b"q") else found
        for found in re.findall(rb"/FlateDecode.*?stream\r?\n(.*?)\r?\nendstream", pdf, re.S)
        if found[:1] == b"x"
    )
    assert pdf.startswith(b"%PDF") and b"/FontFile2" in pdf and b"CreationDate" not in pdf
    assert b"Tj" in streams or b"TJ" in streams
    text = svg.decode()
    for line in ("a $x_1$ {name} &amp; &lt;more&gt;", "été Ω 0.934", "CAM", "a title"):
        assert f">{line}</text>" in text
    assert text.count("@font-face") == 2 and "dc:date" not in text
    assert (FOUND in text) and (TRUTH in text)


@pytest.mark.paper
def test_a_png_has_the_pixels_of_its_panels_and_the_size_in_print():
    grid = Grid(3, 10, 254)
    panel = panels(grid)[0]
    drawn = cv2.imdecode(np.frombuffer(grid.draw([[panel]], form="png"), np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape[1] == 1000
    assert panel.pixels.shape[1] == round(grid.room * 100)
    tall, wide = panel.pixels.shape[:2]
    assert drawn.shape[0] >= tall
    rows, columns = (
        np.all([np.abs(np.arange(side) - share * side) > 6 for share in shares], axis=0)
        for side, shares in ((tall, (0, 0.1, 0.9, 1)), (wide, (0, 0.1, 0.5, 1)))
    )  # where no box is drawn
    assert (drawn[:tall, :wide] == panel.pixels)[rows][:, columns].all()


@pytest.mark.paper
def test_the_same_panels_give_the_same_bytes_without_a_home_and_with_other_settings(tmp_path):
    script = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_figures\n"
        "print(test_figures.digests()); assert 'matplotlib.pyplot' not in sys.modules"
    )
    (tmp_path / "matplotlibrc").write_text("font.size: 30\nsavefig.bbox: tight\nfont.family: serif\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MPL", "XDG_"))}
    environment |= {
        "HOME": str(tmp_path / "home"),
        "MATPLOTLIBRC": str(tmp_path),
        "PYCAM_CACHE": os.devnull,  # nothing can be written there
        "PYTHONHASHSEED": "7",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).parent)], env=environment, capture_output=True, text=True
    )
    assert (done.stderr, done.returncode) == ("", 0)
    assert done.stdout == f"{digests()}\n"


@pytest.mark.paper
def test_where_no_home_directory_is_known_matplotlib_gets_a_temporary_place(tmp_path):
    script = (
        "import os, pwd\n"
        "def unknown(_): raise KeyError\n"
        "pwd.getpwuid = unknown\n"
        "from pycam.drawing import print_figure\n"
        "print_figure.check_matplotlib()\n"
        "print(os.environ['MPLCONFIGDIR'])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MPL", "XDG_", "PYCAM"))}
    environment |= {"TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    environment.pop("HOME", None)
    done = subprocess.run([sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert (done.stderr, done.returncode) == ("", 0)
    assert Path(done.stdout.strip()).parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def digests() -> list[str]:
    grid = Grid(3, 8.25, 60)
    drawn = (grid.draw([panels(grid)], ["a", "b", "c"], form) for form in ("pdf", "svg", "png"))
    return [hashlib.sha256(each).hexdigest() for each in drawn]


@pytest.mark.paper
def test_a_figure_of_too_many_rows_is_refused():
    grid = Grid(1, 8.25, 300)
    with pytest.raises(UsageError, match=r"a figure of 8\.25×\d+ cm at 300 dpi would have \d+ million pixels; at most"):
        grid.draw([panels(grid)[:1]] * 200, [], "png")


def test_a_panel_that_no_figure_has_room_for_is_refused_before_it_is_made():
    with pytest.raises(UsageError, match=r"a figure of 100×200 cm at 2400 dpi would have \d+ million pixels; at most"):
        Grid(1, 100, 2400).panel(np.zeros((80, 20, 3), np.uint8))


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a bb ccc", ["a bb", "ccc"]),
        ("aaaa-bbbb", ["aaaa-", "bbbb"]),
        ("abcdefgh", ["abcde", "fgh"]),
        ("aaaa bbbb cccc dddd eeee", ["aaaa", "bbbb", "cccc…"]),
    ],
)
def test_captions_are_broken_at_blanks_and_long_words_anywhere(text, lines):
    assert _lines(text, lambda line: len(line) <= 5) == lines


def test_sizes_that_are_not_possible():
    with pytest.raises(UsageError, match=r"20 columns in 8.25 cm are 0.30 cm wide each"):
        Grid(20, 8.25)
    with pytest.raises(UsageError, match=r"figure's width of 0 cm"):
        Grid(1, 0)
    with pytest.raises(UsageError, match=r"7 dpi: expected 36 to 2400"):
        Grid(1, 8.25, 7)
    with pytest.raises(UsageError, match=r"fig.jpg: expected a file name that ends in .pdf, .svg, .png"):
        form_of("fig.jpg")


@pytest.mark.paper
def test_figure_has_a_row_per_image_and_a_column_per_class(small, images, tmp_path, capsys):
    some = sorted(images.iterdir())[:2]
    out = tmp_path / "new" / "fig.svg"
    assert run("figure", *some, *small, "--class", 3, "--class", 5, "--boxes", "--out", out, "--dpi", 60) == 0
    text = out.read_text("utf-8")
    assert [text.count(f">{name}</text>") for name in ("image", "000", "001", "class 3", "class 5")] == [1, 1, 1, 2, 2]
    assert text.count(FOUND) == 4
    assert run("figure", *some, *small, "--columns", 4, "--headings", "a,b", "--no-captions", "--out", out) == 0
    text = out.read_text("utf-8")
    assert [text.count(f">{name}</text>") for name in ("a", "b", "000")] == [2, 2, 0]
    capsys.readouterr()


@pytest.mark.paper
@pytest.mark.torch
def test_methods_and_layers_are_columns(small, images, tmp_path):
    image, out = sorted(images.iterdir())[0], tmp_path / "fig.svg"
    given = ("--methods", "cam,gradcam,saliency", "--layers", "data,conv")
    assert run("figure", image, *small, *given, "--out", out, "--dpi", 40, "-q") == 0
    words = re.findall(r">([^<>]+)</text>", out.read_text("utf-8"))
    assert words[:7] == ["image", "CAM", "Grad-CAM", "data", "Grad-CAM", "conv", "saliency"] or words[:5] == [
        "image",
        "CAM",
        "Grad-CAM data",
        "Grad-CAM conv",
        "saliency",
    ]
    assert run("paper", "figure5", image, *small, "--out", tmp_path / "five", "--dpi", 40, "-q") == 0
    ((_, five),) = read_outputs([tmp_path])[1].items()
    assert (five.figure, five.images) == (5, ("figure5.png",))
    assert five.command.startswith(f"pycam paper figure5 {image} --prototxt ")
    assert five.settings["columns"] == ["tiny", "tiny, backpropagation"]


@pytest.mark.paper
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "f.txt"], r"f\.txt: expected a file name that ends in"),
        (["--out", "f.pdf", "--columns", "2", "--top", "2"], "one image takes 3 columns"),
        (["--out", "f.pdf", "--headings", "a"], "1 headings for 2 columns"),
        (["--out", "f.pdf", "--layers", "conv"], "layer 'conv' has no effect with method 'cam'"),
        (["--out", "f.pdf", "--methods", "cam,cam"], "expected names that differ"),
        (["--out", "f.pdf", "--models", "a,b"], "--prototxt has no effect here: --models names the models"),
        (["--out", "f.pdf", "--threshold", "0.5"], "--threshold has no effect here"),
    ],
)
def test_figures_that_are_not_possible(arguments, message, small, images, capsys):
    assert run("figure", sorted(images.iterdir())[0], *small, *arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(message, line)


# LabelMe


def annotation(*objects: str, size: str = "") -> str:
    return f"<annotation>\n<filename>x.jpg</filename>{size}{''.join(objects)}</annotation>\n"


def polygon(name: str, points, deleted: str = "<deleted>\n0\n</deleted>") -> str:
    corners = "".join(f"<pt><x>\n{x}\n</x><y> {y} </y></pt>" for x, y in points)
    return f"<object><name>\r\n{name}\n</name>{deleted}<polygon><username>u</username>{corners}</polygon></object>"


SQUARE = [(10, 10), (30.5, 10), (30.5, 20), (10, 20)]


def test_labelme_s_files_as_people_write_them(tmp_path):
    path = tmp_path / "x.xml"
    size = "<imagesize><nrows>\n50\n</nrows><ncols>100</ncols></imagesize>"
    path.write_text(
        annotation(
            polygon(" Wall  occluded ", SQUARE),
            polygon("wall", [(-20, 30), (20, 30), (20, 70), (-20, 70)], deleted=""),
            polygon("lamp occluded crop", SQUARE),
            polygon("crop", SQUARE),
            polygon("gone", SQUARE, deleted="<deleted> 1 </deleted>"),
            polygon("line", SQUARE[:2]),
            polygon("outside", [(200, 0), (210, 0), (210, 9)]),
            polygon("", SQUARE),
            size=size,
        )
    )
    found = labelme.read_labelme(path)
    assert found.size == (100, 50)
    assert [each.name for each in found.polygons] == ["wall", "wall", "lamp", "crop", "outside"]
    masks = found.masks(100, 50)
    assert {name: int(mask.sum()) for name, mask in masks.items()} == {"wall": 600, "lamp": 200, "crop": 200}
    assert {name: int(mask.sum()) for name, mask in found.masks(200, 100).items()}["lamp"] == 820
    path.write_text(annotation(polygon("a", SQUARE), size="<imagesize><nrows/></imagesize>"))
    assert labelme.read_labelme(path).size is None
    assert list(labelme.read_labelme(path).masks(20, 20)["a"].nonzero()[1][[0, -1]]) == [10, 19]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (annotation("<object>")[:-14], r"x\.xml:2: not well-formed XML"),
        ("<a></a>", "no <annotation>"),
        (annotation(polygon("a", [("nan", 1)])), r"x\.xml:\d+: <x>: 'nan'; a number of pixels"),
        (annotation("<object><polygon><pt><x>1</x></pt></polygon></object>"), "a <pt> has no <y>"),
        ('<!DOCTYPE a [<!ENTITY b "c">]>' + annotation(), "an annotation defines no entities"),
    ],
)
def test_annotations_that_are_damaged(text, message, tmp_path):
    (tmp_path / "x.xml").write_text(text)
    with pytest.raises(GroundTruthError, match=message):
        labelme.read_labelme(tmp_path / "x.xml")


def inside(points, x: float, y: float) -> bool:
    """The even-odd rule, as textbooks have it."""
    odd = False
    for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
        if (y0 > y) != (y1 > y) and x > (x1 - x0) * (y - y0) / (y1 - y0) + x0:
            odd = not odd
    return odd


@settings(max_examples=30)
@given(st.lists(st.tuples(st.floats(-5, 20), st.floats(-5, 20)), min_size=3, max_size=7))
def test_a_polygon_covers_the_pixels_whose_centers_are_in_it(points):
    points = np.array(points, np.float32).astype(np.float64)  # no crossing within rounding of a center
    mask = labelme.polygon_mask(points, 14, 11)
    expected = np.array([[inside(points, x + 0.5, y + 0.5) for x in range(14)] for y in range(11)])
    assert np.count_nonzero(mask != expected) <= 1


# Objects in scenes


def scene_masks(rng: np.random.Generator) -> dict[str, np.ndarray]:
    names = [name for name in "abcdefgh" if rng.random() < 0.6]
    return {name: rng.random((9, 12)) < 0.3 for name in names}


def test_with_a_map_of_ones_both_lists_are_equal_and_with_one_on_an_object_it_is_first():
    rng = np.random.default_rng(0)
    images = [{name: mask for name, mask in scene_masks(rng).items() if mask.any()} for _ in range(40)]
    ones = scene_objects.high_region(np.ones((9, 12), np.float32))
    everywhere = [(masks, scene_objects.overlapping(masks, ones)) for masks in images]
    counts = scene_objects.count_objects(everywhere)
    frequent, under = (scene_objects.ranked(counts, by, 6) for by in ("occurs", "overlaps"))
    assert frequent == under and len(frequent) == 6
    assert [each.occurs for each in frequent] == sorted(
        (sum(n in m for m in images) for n in "abcdefgh"), reverse=True
    )[:6]
    alone = []
    for masks in images:
        map_ = np.where(masks.get("f", np.zeros((9, 12), bool)), 1, -1).astype(np.float32)
        alone.append((masks, scene_objects.overlapping(masks, scene_objects.high_region(map_))))
    assert scene_objects.ranked(scene_objects.count_objects(alone), "overlaps")[0].name == "f"


def test_an_object_under_the_map_has_more_than_half_of_its_area_there_and_rare_ones_are_left_out():
    mask = np.zeros((1, 4), bool)
    mask[0, :2] = True
    assert scene_objects.overlapping({"a": mask}, np.array([[True, False, True, True]])) == set()
    assert scene_objects.overlapping({"a": mask}, np.array([[True, True, False, False]])) == {"a"}
    assert not scene_objects.high_region(np.full((2, 2), -1, np.float32)).any()
    region = scene_objects.high_region(np.array([[0.2, 0.19, 1]], np.float32), 0.2)
    assert region.tolist() == [[True, False, True]]
    images = [({"a", "b"}, {"a"})] * 4 + [({"a"}, set())]
    (only,) = scene_objects.count_objects(images, least=5)
    assert only == scene_objects.ObjectCount("a", 5, 4)
    (row,) = scene_objects.object_table("c", [only], 5, 6, "").rows()
    assert (row["occurs in"], row["under the map in"]) == (100, 80)


# Captions


@pytest.mark.parametrize(
    ("caption", "has"),
    [
        ("A Mirror in Lake, at dawn.", True),
        ("mirror\tin lake", True),
        ("mirrors in lake", False),
        ("mirror in lakes", False),
        ("lake in mirror", False),
        ("mirror in the lake", False),
        ("a mirror", False),
    ],
)
def test_a_caption_has_a_phrase_as_whole_words(caption, has):
    assert concepts.has_phrase(caption, "mirror in LAKE") is has


def test_other_words_may_stand_between_and_negatives_share_no_word():
    assert concepts.has_phrase("view out of my window", "view out of window", between=1)
    assert not concepts.has_phrase("view out of my old window", "view out of window", between=1)
    assert concepts.has_phrase("l'été à la plage", "ÉTÉ") is False  # one word with its article
    assert concepts.shares_no_word("a house in the sun", "mirror in the lake")
    assert not concepts.shares_no_word("a Lake", "mirror in lake")
    captions = ["red disc"] * 3 + ["red thing", "blue thing", "a green one"]
    positives, negatives = concepts.choose(captions, "Red disc", least=3)
    assert positives.tolist() == [0, 1, 2] and sorted(negatives.tolist()) == [4, 5]
    with pytest.raises(UsageError, match=r"'red disc': 3 of 6 captions have it; at least 50 are needed"):
        concepts.choose(captions, "red disc")
    with pytest.raises(UsageError, match="expected a word besides"):
        concepts.choose(captions, "in the")
    with pytest.raises(GroundTruthError, match="no caption is without its words"):
        concepts.choose(["red"] * 3, "red", least=3)


def fit_means(values: np.ndarray, labels: np.ndarray) -> LinearClassifier:
    """A classifier that needs no package: the difference of the two means."""
    row = values[labels == 1].mean(axis=0, dtype=np.float64) - values[labels == 0].mean(axis=0, dtype=np.float64)
    return LinearClassifier(np.stack([-row, row]), np.array([0.4, -0.4]), np.array([0, 1]))


def test_mining_is_what_a_plain_loop_does():
    rng = np.random.default_rng(1)
    values = rng.normal(0, 0.6, (400, 5)).astype(np.float32)
    values[:40] += 0.5
    found = concepts.mine(
        values.__getitem__, fit_means, np.arange(40), rng.permutation(np.arange(40, 400)), unseen=60, margin=-0.2
    )
    order = np.random.default_rng(1)
    order.normal(0, 0.6, (400, 5))
    rest = order.permutation(np.arange(40, 400)).tolist()
    positives, wrong, rest = list(range(40)), rest[:120], rest[120:]
    for sizes in found.rounds:
        row = values[positives].astype(float).mean(axis=0) - values[wrong].astype(float).mean(axis=0)
        score = {each: values[each].astype(float) @ row - 0.4 for each in range(400)}
        looked, rest = rest[:60], rest[60:]
        hard = sorted((each for each in looked if score[each] > -0.2), key=lambda each: -score[each])
        assert sizes == (len(positives), len(wrong), len(hard))
        dropped = sorted(positives, key=lambda each: score[each])[: len(positives) // 10]
        wrong = wrong + hard[: len(positives)]
        positives = [each for each in positives if each not in dropped]
    assert found.positives.tolist() == positives and found.negatives.tolist() == wrong
    assert len(found.rounds) == 3 and any(hard for _, _, hard in found.rounds)
    last = values[positives].astype(float).mean(axis=0) - values[wrong].astype(float).mean(axis=0)
    assert np.allclose(found.classifier.weights, last[None]) and found.classifier.classes.tolist() == [1]
    assert len(found.seen) == 40 + 120 + 3 * 60


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png a caption", r"list\.txt:1: 'a\.png a caption'; expected an image, a tab and its caption"),
        ("\n", "an empty list"),
        ("a.png\tone\nb.png\ttwo", r"list\.txt:2: no image .*b\.png; --root gives"),
        ("a.png\t ", "expected an image, a tab"),
    ],
)
def test_lists_of_captions_that_are_not_valid(text, message, tmp_path):
    (tmp_path / "list.txt").write_text(text)
    write_png(tmp_path / "a.png", disc("red", 0)[0])
    with pytest.raises(GroundTruthError, match=message):
        concepts.read_captions(tmp_path / "list.txt")


# Text


def tagged(*images: str) -> str:
    return f"<?xml version='1.0' encoding='utf-8'?><tagset>{''.join(images)}</tagset>"


def tagged_image(name: str, *boxes: tuple[int, int, int, int], size=(runs.WIDTH, runs.HEIGHT)) -> str:
    rectangles = "".join(
        f'<taggedRectangle height="{h}" width="{w}" x="{x}" y="{y}"><tag>W{x}</tag></taggedRectangle>'
        for x, y, w, h in boxes
    )
    return (
        f'<image><imageName>img/{name}</imageName><Resolution x="{size[0]}" y="{size[1]}"/>'
        f"<taggedRectangles>{rectangles}</taggedRectangles></image>"
    )


def test_rectangles_of_words_and_the_map_in_them(tmp_path):
    path = tmp_path / "train.xml"
    path.write_text(tagged(tagged_image("00.jpg", (2, 1, 4, 3), (-2, 0, 4, 2), size=(10, 5)), tagged_image("01.jpg")))
    found = text_regions.read_tagged_images(path)
    assert list(found) == ["00", "01"] and found["00"].words == ("W2", "W-2")
    assert found["00"].boxes.tolist() == [[2, 1, 6, 4], [-2, 0, 2, 2]]
    mask = found["00"].mask(10, 5)
    assert mask.sum() == 12 + 4
    assert found["00"].mask(20, 10).sum() == 4 * 16
    map_ = np.full((5, 10), -3, np.float32)
    map_[0, :2], map_[4, 9] = 3, 2
    assert text_regions.share_of_mass(map_, mask) == 0.75
    assert text_regions.share_of_mass(np.ones((5, 10)), mask) == pytest.approx(mask.mean())
    assert np.isnan(text_regions.share_of_mass(-np.ones((5, 10)), mask))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<a/>", "no <tagset>"),
        (tagged(tagged_image("a"), tagged_image("a")), "image 'a' is listed twice"),
        (tagged("<image/>"), "an image has no <imageName>"),
        (tagged('<image><Resolution x="0" y="2"/></image>'), "a resolution of 0×2"),
        (tagged("<image><taggedRectangles><taggedRectangle x='1'/></taggedRectangles></image>"), "y=''; a number"),
        (tagged()[:-3], "not well-formed XML"),
    ],
)
def test_lists_of_words_that_are_not_valid(text, message, tmp_path):
    (tmp_path / "t.xml").write_text(text)
    with pytest.raises(GroundTruthError, match=message):
        text_regions.read_tagged_images(tmp_path / "t.xml")


# The commands


def output(folder: Path) -> dict:
    (found,) = read_outputs([folder])[1].values()
    assert (folder / found.images[0]).read_bytes().startswith(b"\x89PNG")
    assert found.command.startswith(f"pycam paper figure{found.figure} ")
    return json.loads((folder / "paper-figure.json").read_text("utf-8"))


@pytest.mark.paper
def test_figures_7_and_8_show_classes_by_a_fitted_head(small, tmp_path, capsys):
    for colour in COLOURS:
        for number in range(5):
            write_png(tmp_path / "data" / f"{colour} disc" / f"{number}.png", disc(colour, number)[0])
    given = ("--data", tmp_path / "data", *small, "--training", 3, "--dpi", 40, "-q")
    assert run("paper", "figure7", *given, "--class", "red disc", "--class", "blue disc", "--out", tmp_path / "7") == 0
    assert run("paper", "figure8", *given, "--out", tmp_path / "8") == 0
    seven = output(tmp_path / "7")
    assert seven["figure"] == 7 and seven["settings"]["classes"] == ["red disc", "blue disc"]
    assert seven["settings"]["scale"] == "mean-norm" and seven["settings"]["blob"] == "conv"
    assert output(tmp_path / "8")["settings"]["boxes"] == "box rule paper, threshold 0.2"
    assert run("paper", "figure7", *given, "--class", "red dics", "--out", tmp_path / "x") == 2
    assert "did you mean 'red disc'?" in capsys.readouterr().err
    assert run("paper", "figure7", "--data", tmp_path / "7", *small) == 8
    assert "expected one folder of images per class" in capsys.readouterr().err


@pytest.mark.paper
def test_figure_8_draws_the_ground_truth_of_cub(small, tmp_path, capsys):
    root = tmp_path / "CUB_200_2011"
    lines: dict[str, list[str]] = {}
    for number in range(8):
        colour = list(COLOURS)[number % 2]
        pixels, (x, y) = disc(colour, number)
        name = f"{number % 2 + 1:03}.{colour}/{number}.png"
        write_png(root / "images" / name, pixels)
        box = f"{x - 10}.0 {y - 10}.0 20.0 20.0"
        for file, text in (
            ("images", name),
            ("image_class_labels", number % 2 + 1),
            ("bounding_boxes", box),
            ("train_test_split", int(number < 4)),
        ):
            lines.setdefault(file, []).append(f"{number + 1} {text}")
    lines["classes"] = ["1 001.red", "2 002.green"]
    for file, content in lines.items():
        (root / f"{file}.txt").write_text("\n".join(content) + "\n")
    assert run("paper", "figure8", "--data", root, *small, "--out", tmp_path / "8", "--dpi", 60, "-q") == 0
    drawn = cv2.imread(str(tmp_path / "8" / "figure8.png"))
    for colour in (TRUTH, FOUND):
        blue_green_red = [int(colour[i : i + 2], 16) for i in (5, 3, 1)]
        assert (np.abs(drawn.astype(int) - blue_green_red).max(axis=2) < 40).any()
    for option in ("--training", "--seed"):
        assert run("paper", "figure8", "--data", root, *small, option, 3) == 2
        assert f"{option} has no effect here: {root} has a split of its own" in capsys.readouterr().err


@pytest.fixture(scope="module")
def scene_folders(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("sun")
    for colour in COLOURS:
        for number in range(12):
            pixels, (x, y) = disc(colour, number)
            place = f"{colour[0]}/{colour}_room"
            write_png(root / "Images" / place / f"s{number}.png", pixels)
            corners = [(x - 9, y - 9), (x + 9, y - 9), (x + 9, y + 9), (x - 9, y + 9)]
            path = root / "Annotations" / place / f"s{number}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(
                annotation(polygon("Disc occluded", corners), polygon("wall", [(0, 0), (60, 0), (60, 50), (0, 50)]))
            )
    return root


@pytest.mark.paper
def test_figure_9_lists_objects(small, scene_folders, tmp_path, capsys):
    given = ("--images", scene_folders / "Images", "--annotations", scene_folders / "Annotations", *small)
    assert run("paper", "figure9", *given, "--show", "red_room", "--out", tmp_path, "--dpi", 40, "-q") == 0
    nine = output(tmp_path)
    assert nine["settings"]["categories"] == ["blue_room", "green_room", "red_room"]
    (table,) = json.loads((tmp_path / "figure9.json").read_text("utf-8"))
    assert table["title"] == "red_room, 6 images"
    assert {row["most frequent"] for row in table["rows"]} == {"disc", "wall"}
    assert [row["occurs in"] for row in table["rows"]] == [100, 100]
    assert (tmp_path / "figure9.md").is_file() and (tmp_path / "figure9.csv").is_file()
    # A region of everything: both lists are equal.
    assert run("paper", "figure9", *given, "--high", 0, "--share", 0, "--out", tmp_path / "all", "-q", "--dpi", 40) == 0
    for table in json.loads((tmp_path / "all" / "figure9.json").read_text("utf-8")):
        assert all(row["most frequent"] == row["most often under the map"] for row in table["rows"])
    capsys.readouterr()
    for arguments, message in (
        (("--show", "red_rom"), "--show red_rom: no such category; did you mean 'red_room'?"),
        (("--category", "red_room"), "1 category (red_room): a classifier needs two or more"),
        (("--category", "x"), "category 'x': no annotated image"),
    ):
        assert run("paper", "figure9", *given, *arguments) in (2, 8)
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line


def test_scenes_that_lack_an_image(scene_folders, tmp_path):
    with pytest.raises(GroundTruthError, match=r"s0\.xml: no image s0 in"):
        scenes.find_scenes(tmp_path, scene_folders / "Annotations")
    with pytest.raises(GroundTruthError, match=r"no \.xml file below it"):
        scenes.find_scenes(scene_folders / "Images", tmp_path)
    with pytest.raises(GroundTruthError, match="no such folder"):
        scenes.find_scenes(tmp_path / "x", tmp_path)


@pytest.mark.paper
def test_figure_10_finds_a_concept(small, tmp_path, capsys):
    lines = []
    for number in range(24):
        colour = list(COLOURS)[number % 3]
        write_png(tmp_path / f"{number}.png", disc(colour, number)[0])
        lines.append(f"{number}.png\t" + ("A Red disc." if colour == "red" else f"some {colour} thing"))
    (tmp_path / "list.txt").write_text("\n".join(lines))
    given = ("--list", tmp_path / "list.txt", "--phrase", "red disc", *small)
    assert run("paper", "figure10", *given, "--least", 8, "--out", tmp_path / "10", "--dpi", 40, "-q") == 0
    ten = output(tmp_path / "10")
    assert len(ten["settings"]["mining"]["red disc"]) == 3
    assert ten["settings"]["mining"]["red disc"][0]["negatives"] == 16
    assert run("paper", "figure10", *given) == 2
    assert "8 of 24 captions have it; at least 50 are needed" in capsys.readouterr().err


@pytest.mark.paper
def test_figure_11_judges_maps_by_the_rectangles(small, tmp_path, capsys):
    words = []
    for number in range(8):
        for part, colour in (("positive", "red"), ("negative", "blue")):
            pixels, (x, y) = disc(colour, number)
            write_png(tmp_path / part / f"{number:02}.png", pixels)
            if part == "positive":
                words.append(tagged_image(f"{number:02}.jpg", (x - 10, y - 10, 20, 20)))
    (tmp_path / "train.xml").write_text(tagged(*words))
    given = ("--data", tmp_path, *small, "--dpi", 40, "-q")
    assert run("paper", "figure11", *given, "--rectangles", tmp_path / "train.xml", "--out", tmp_path / "11") == 0
    (table,) = json.loads((tmp_path / "11" / "figure11.json").read_text("utf-8"))
    assert len(table["rows"]) == 4
    for row in table["rows"]:
        assert row["area of rectangles"] == pytest.approx(100 * 400 / (runs.WIDTH * runs.HEIGHT))
        assert 0 <= row["map in rectangles"] <= 100
    assert "of 8 images that were not for training are classified correctly" in output(tmp_path / "11")["caption"]
    capsys.readouterr()
    (tmp_path / "other.xml").write_text(tagged(tagged_image("x.jpg")))
    assert run("paper", "figure11", *given, "--rectangles", tmp_path / "other.xml") == 8
    assert "no image of" in capsys.readouterr().err
    for path in (tmp_path / "negative").iterdir():
        path.unlink()
    assert run("paper", "figure11", *given) == 8
    assert f"{tmp_path / 'negative'}: no image in it" in capsys.readouterr().err
