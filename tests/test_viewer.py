"""The viewer in a real Chromium, on the report's pages and on the page of `pycam serve`."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path

import cv2
import numpy as np
import pytest
import samples
from conftest import LONG
from pandas import DataFrame
from runs import made_report, write_report

import pycam
from pycam.cli import main
from pycam.images.read import Image
from pycam.images.views import view_of
from pycam.maps.boxes import iou, paper_box
from pycam.maps.placement import Placement
from pycam.paper.outputs import Cell, CellsFile, FigureFile, write_output
from pycam.protocols import CHOICES, PROTOCOLS
from pycam.report import summary
from pycam.report.html import Entry, Heading, write_html
from pycam.report.outcomes import judge
from pycam.report.page import colour_tables
from pycam.report.viewer_data import EveryClass, Truth, placement_record, predict_every_class
from pycam.tables import Table
from pycam.variants import Variants

pytestmark = pytest.mark.browser

VIEWER = Path(str(resources.files("pycam.report") / "viewer"))
SCREENSHOTS = Path(os.environ.get("PYCAM_SCREENSHOTS", Path(__file__).parents[1] / "build" / "screenshots"))


@pytest.fixture(scope="module")
def browser(launch):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return launch()


@pytest.fixture
def page(browser) -> Iterator:
    """A page that must print no error, and must send no request to another host."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(LONG)
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith(("data:", "file:", "blob:", "http://127.0.0.1:"))
            else problems.append(request.url)
        ),
    )
    page.expected = []
    yield page
    context.close()
    assert [problem for problem in problems if not any(part in problem for part in page.expected)] == []


@pytest.fixture(scope="module")
def entries() -> list[Entry]:
    """Three images with ground truth: the first one's box is right, the second one's class is wrong."""
    made = []
    with samples.cam() as cam:
        for seed, name in enumerate(["right.jpg", "wrong <img src=x onerror=alert(1)>.jpg", "far.jpg"]):
            image = samples.image(seed, 120, 160 + 20 * seed)
            run = cam(image)
            first = run.top[0]
            index = run.top[1].index if seed == 1 else first.index
            box = first.box if seed < 2 else (0, 0, 9, 9)
            outcome = judge(first.index, first.score, first.box, index, [box])
            made.append(Entry(name, image, {"": run}, Truth(index, samples.LABELS.label(index), [box]), [outcome]))
    return made


@pytest.fixture(scope="module")
def report(entries, tmp_path_factory) -> str:
    place = tmp_path_factory.mktemp("report") / "report.html"
    write_html(place, entries, Heading("Three images", {"": ["blobs"]}, ["a note"], sections("")))
    return place.as_uri()


def sections(*labels: str) -> list[summary.Section]:
    """A table and charts, as in the heading of runs."""
    scores = np.linspace(0, 1, 40)
    return [
        Table("Errors", DataFrame({"": ["top-1"]} | {label or "value": ["27.0%"] for label in labels})).section(),
        summary.calibration({label: (scores, scores > 0.3 + 0.1 * place) for place, label in enumerate(labels)}),
        summary.threshold_curve(dict.fromkeys(labels, (scores, scores * (1 - scores))), "A note.", mark=0.2),
    ]


def encoded(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array, "<f4").tobytes()).decode()


def add_maps(page) -> None:
    for name in ("resize.js", "maps.js"):
        page.add_script_tag(path=VIEWER / name)


def some_maps() -> Iterator[np.ndarray]:
    """Maps of every kind: smooth, rough, with ties, touching at corners, constant, negative, tiny."""
    rng = np.random.default_rng(1)
    for _ in range(60):
        height, width = rng.integers(1, 70, 2)
        rough = rng.normal(size=(height, width)).astype(np.float32)
        yield rough
        yield cv2.GaussianBlur(rough, (0, 0), 3)
        yield np.floor(rng.random((height, width)) * 4).astype(np.float32)
        yield (rng.random((height, width)) < 0.35).astype(np.float32)
    yield np.zeros((5, 7), np.float32)
    yield np.full((5, 7), -2, np.float32)
    yield np.full((5, 7), 3, np.float32)
    yield np.float32([[1, 0, 1], [0, 0, 0], [1, 0, 1]])
    yield np.float32([[1, 0, 0, 1], [0, 1, 0, 1]])


def test_box_is_paper_box_on_many_maps_at_many_thresholds(page):
    add_maps(page)
    maps = list(some_maps())
    thresholds = [0, 0.05, 0.2, 0.25, 0.5, 0.75, 1]
    found = page.evaluate(
        """([maps, thresholds]) => maps.map(([height, width, values]) => {
            const map = decodeMaps({ shape: [1, height, width], values })[0];
            return thresholds.map((threshold) => paperBox(map, threshold));
        })""",
        [[[*map.shape, encoded(map)] for map in maps], thresholds],
    )
    expected = [[list(paper_box(map, threshold)) for threshold in thresholds] for map in maps]
    assert found == expected


TEN = PROTOCOLS["released"]
ROWS = {
    "center": PROTOCOLS["paper"],
    "full": PROTOCOLS["paper"].with_choices(view="full"),
    "stretched": PROTOCOLS["py_demo"],
    "ten": TEN,
    "ten, plain sum": replace(TEN, merge="sum"),
    "ten, mean": replace(TEN, merge="absolute_mean", map_resizer="opencv_bilinear"),
    **{f"center, {name}": replace(PROTOCOLS["paper"], map_resizer=name) for name in CHOICES["map_resizer"]},
}


@pytest.mark.parametrize("size", [(227, 227), (32, 48), (300, 260)])
@pytest.mark.parametrize("name", ROWS)
def test_maps_lie_where_python_places_them(page, name, size):
    add_maps(page)
    row = ROWS[name]
    placement = Placement(view_of(row.view, size), row.map_resizer, row.merge, row.placement)
    rng = np.random.default_rng(2)
    for height, width in [(120, 160), (270, 140), (37, 300), (1, 9)]:
        maps = rng.normal(0.3, 1, (len(placement.view.crops), 13, 14)).astype(np.float32)
        values, boxes = page.evaluate(
            """([maps, placement, height, width, thresholds]) => {
                const map = placeOnImage(decodeMaps(maps), placement, height, width);
                const bytes = Array.from(new Uint8Array(map.values.buffer), (byte) => String.fromCharCode(byte));
                return [btoa(bytes.join("")), thresholds.map((threshold) => paperBox(map, threshold))];
            }""",
            [
                {"shape": maps.shape, "values": encoded(maps)},
                placement_record(placement, height, width),
                height,
                width,
                [0.2, 0.4],
            ],
        )
        placed = np.frombuffer(base64.b64decode(values), "<f4").reshape(height, width)
        expected = placement.on_image(maps, height, width)
        assert np.abs(placed - expected).max() <= 2e-6 * np.abs(expected).max()
        assert boxes == [list(paper_box(expected, threshold)) for threshold in (0.2, 0.4)]


def test_iou_and_colours_are_pythons(page):
    add_maps(page)
    boxes = np.random.default_rng(3).integers(0, 40, (200, 2, 2, 2))
    pairs = [[[*pair[0].min(0), *(pair[0].max(0) + 1)], [*pair[1].min(0), *(pair[1].max(0) + 1)]] for pair in boxes]
    pairs = [[[int(side) for side in box] for box in pair] for pair in pairs]
    found = page.evaluate("(pairs) => pairs.map(([a, b]) => iou(a, b))", pairs)
    assert found == pytest.approx(iou(*np.moveaxis(pairs, 1, 0)), abs=1e-12)

    levels = np.linspace(0, 2, 256, dtype=np.float32)[None]
    for name, table in colour_tables().items():
        rgba = page.evaluate(
            """([table, values]) => {
                const canvas = Object.assign(document.createElement("canvas"), { width: 256, height: 1 });
                const [map] = decodeMaps({ shape: [1, 1, 256], values });
                paint(canvas, map, colourTable(table), [0, 0, 255, 1]);
                return Array.from(canvas.getContext("2d").getImageData(0, 0, 256, 1).data);
            }""",
            [table, encoded(levels)],
        )
        painted = np.reshape(rgba, (256, 4))
        number = {"JET": cv2.COLORMAP_JET, "viridis": cv2.COLORMAP_VIRIDIS}[name]
        expected = cv2.applyColorMap(np.arange(255, dtype=np.uint8)[:, None], number)[:, 0, ::-1]
        assert np.array_equal(painted[:-1, :3], expected)
        assert painted[-1].tolist() == [0, 0, 0, 255]  # outside of the input of the net


def figures(page) -> dict[str, str]:
    rows = page.eval_on_selector_all(
        ".figures div", "(rows) => rows.map((row) => [row.children[0].textContent, row.children[1].textContent])"
    )
    return dict(rows)


def box_of(page) -> tuple[int, ...]:
    return tuple(int(side) for side in figures(page)["Box"].split(", "))


def test_box_follows_the_threshold(page, report, entries):
    page.goto(report)
    page.click(".card button")
    shown = next(entry for entry in entries if entry.name == page.inner_text("dialog h2"))
    run = shown.runs[""]
    for rank, item in enumerate(run.top):
        page.click(f'[role="tab"] >> nth={rank}')
        assert f"{item.score:.4f}" == page.inner_text('[aria-selected="true"] .score')
        height, width = shown.image.pixels.shape[:2]
        map = run.placement.on_image(item.feature_maps, height, width)
        page.fill('[name="threshold"]', "20")
        assert box_of(page) == item.box == paper_box(map)
        for percent in (0, 7, 35, 60, 93, 100):
            page.fill('[name="threshold"]', str(percent))
            assert box_of(page) == paper_box(map, percent / 100)
            drawn = page.eval_on_selector(
                ".stage rect.found.line",
                "(box) => [box.x, box.y, box.width, box.height].map((side) => side.baseVal.value)",
            )
            x, y, w, h = drawn
            assert (x, y, x + w, y + h) == box_of(page)
    truth = shown.truth.boxes[0]
    assert figures(page)["IoU"] == f"{iou(box_of(page), truth):.2f}"
    # If both boxes are equal, the dashes of the ground-truth box lie on the line of the other box.
    parts = page.eval_on_selector_all(".stage rect", "(boxes) => boxes.map((box) => box.className.baseVal)")
    assert parts == ["found edge", "truth edge", "found line", "truth line"]


def test_keyboard_alone(page, report):
    page.goto(report)
    press = page.keyboard.press
    for _ in range(40):
        press("Tab")
        if page.evaluate("document.activeElement.closest('.card') !== null"):
            break
    press("Enter")
    assert page.is_visible("dialog")
    first = page.inner_text("dialog h2")
    press("n")
    assert page.inner_text("dialog h2") != first
    press("p")
    assert page.inner_text("dialog h2") == first
    for _ in range(10):
        press("Tab")
        if page.evaluate("document.activeElement.getAttribute('role')") == "tab":
            break
    press("ArrowDown")
    second = page.inner_text('[aria-selected="true"] b')
    assert page.evaluate("document.activeElement.textContent").startswith(second)
    press("1")
    assert page.inner_text('[aria-selected="true"] b') != second
    press("End")
    press("c")
    assert page.is_checked('input[value="viridis"]')
    press("b")
    assert page.locator(".stage rect.found").count() == 0
    press("b")
    press("t")
    assert page.locator(".stage rect.truth").count() == 0
    for _ in range(4):
        press("Tab")
        if page.evaluate("document.activeElement.name") == "threshold":
            break
    before = box_of(page)
    for _ in range(40):
        press("ArrowRight")
    assert page.inner_text(".slider output >> nth=0") == "60 %"
    assert box_of(page) != before
    press("Escape")
    assert not page.is_visible("dialog")
    assert page.evaluate("document.activeElement.closest('.card') !== null")


@pytest.fixture
def truth_page(tmp_path) -> str:
    """A page of ground truth alone."""
    image = samples.image(4, 120, 160)
    objects = [("fox, Vulpes", (0, 0, 50, 40)), (samples.MARKUP, (60, 30, 150, 110))]
    truths = [Truth(0, "fox, Vulpes", [objects[0][1]], objects), Truth(1, "cup", [], [])]
    entries = [Entry(f"{i}.png", image, {}, truth) for i, truth in enumerate(truths)]
    write_html(tmp_path / "truth.html", entries, Heading("Ground truth: set", {}))
    return (tmp_path / "truth.html").as_uri()


def test_ground_truth_alone_can_be_leafed_through(page, truth_page):
    page.goto(truth_page)
    assert [each.inner_text() for each in page.query_selector_all(".card b")] == ["fox", "cup"]
    page.wait_for_selector(".card img")
    assert page.locator(".card:first-child rect.truth.line").count() == 2
    assert page.eval_on_selector_all("option", "(options) => options.map((option) => option.textContent)") == [
        "as listed", "by name", "by class"
    ]  # fmt: skip
    page.click(".card button")
    assert page.eval_on_selector_all(".tags span", "(tags) => tags.map((tag) => tag.textContent)") == [
        "fox", samples.MARKUP
    ]  # fmt: skip
    places = page.eval_on_selector_all(
        ".tags span", "(tags) => tags.map((tag) => tag.getBoundingClientRect().toJSON())"
    )
    frame = page.eval_on_selector(".stage .frame", "(frame) => frame.getBoundingClientRect().toJSON()")
    scale = frame["width"] / 160
    # The label of the first box lies inside of it, because the box begins at the border; that of the second, above it.
    assert (places[0]["x"], places[0]["y"]) == pytest.approx((frame["x"], frame["y"]), abs=1)
    assert (places[1]["x"], places[1]["bottom"]) == pytest.approx(
        (frame["x"] + 60 * scale, frame["y"] + 30 * scale), abs=1
    )
    assert figures(page)["fox, Vulpes"] == "0, 0, 50, 40"
    assert page.locator("cam-viewer .stage rect.truth.line").count() == 2
    page.keyboard.press("t")
    assert page.locator("cam-viewer .stage rect").count() == 0 and not page.is_visible(".tags")
    page.keyboard.press("t")
    assert page.locator("cam-viewer .stage rect.truth.line").count() == 2
    page.keyboard.press("n")
    assert page.inner_text("dialog h2") == "1.png" and "cup" in page.inner_text("figcaption")
    page.keyboard.press("p")
    assert page.inner_text("dialog h2") == "0.png"


def painted(page, selector: str = ".stage canvas") -> str:
    return page.eval_on_selector(selector, "(canvas) => canvas.toDataURL()")


@pytest.fixture(scope="module")
def variants() -> Iterator[Variants]:
    """CAM, and another net that stands in for gradients."""
    with Variants.of([samples.cam(), samples.cam(method="gradcam", seed=1)]) as variants:
        yield variants


def every_class(variants: Variants, image: Image) -> list[EveryClass | None]:
    return [predict_every_class(variant.cam, image, variant.matches) for variant in variants.variants]


@pytest.fixture(scope="module")
def methods(variants, tmp_path_factory) -> Path:
    """A page of an image by both, with every class."""
    image = samples.image(5)
    entry = Entry.of("two.jpg", image, variants(image, top=3), every_class(variants, image))
    place = tmp_path_factory.mktemp("two") / "two.html"
    write_html(place, [entry], Heading("Two methods", {"CAM": [], "Grad-CAM": []}, labels=samples.LABELS))
    return place


def boxes_of(page) -> list[tuple[int, ...]]:
    """Return the box that each visible pane shows in numbers."""
    texts = page.locator(".pane:visible .figures div:first-child dd").all_inner_texts()
    return [tuple(int(side) for side in text.split(", ")) for text in texts]


def test_variants_stand_side_by_side_with_the_same_classes(page, methods, variants):
    page.goto(methods.as_uri())
    assert page.locator(".card .run").count() == 2
    page.click(".card button")
    found = variants(samples.image(5), top=3)
    for rank in (1, 2, 0):
        page.click(f'.pane >> nth=1 >> [role="tab"] >> nth={rank}')
        assert (
            page.locator('[aria-selected="true"] b').all_inner_texts()
            == [found.items(0)[rank].label.split(", ")[0]] * 2
        )
        expected = [paper_box(found.items(number)[rank].image_map) for number in (0, 1)]
        assert boxes_of(page) == expected
    assert expected[0] != expected[1]
    labels = [canvas.get_attribute("aria-label") for canvas in page.locator(".stage canvas").all()]
    assert [label.split(" of ")[0] for label in labels] == ["CAM", "Grad-CAM"]
    images = {painted(page, ".stage canvas >> nth=0"), painted(page, ".stage canvas >> nth=1")}
    page.keyboard.press("m")
    assert boxes_of(page) == expected[:1]
    page.keyboard.press("m")
    assert boxes_of(page) == expected[1:]
    page.check('input[value="all"]', force=True)
    assert boxes_of(page) == expected
    page.check('input[value="viridis"]', force=True)
    images |= {painted(page, ".stage canvas >> nth=0"), painted(page, ".stage canvas >> nth=1")}
    assert len(images) == 4
    page.fill('[name="opacity"]', "30")
    assert page.eval_on_selector(".stage canvas", "(canvas) => getComputedStyle(canvas).opacity") == "0.3"


def search(page, text: str) -> str:
    """Search a class; return the answer."""
    page.fill('input[name="class"]', text)
    page.keyboard.press("Enter")
    while page.input_value('input[name="class"]') and not page.inner_text(".class-search [role=status]"):
        page.wait_for_timeout(10)
    return page.inner_text(".class-search [role=status]")


@pytest.mark.parametrize("form", ["file", "folder"])
def test_any_class_is_found_by_its_names(page, variants, methods, tmp_path, form):
    image = samples.image(5)
    if form == "folder":
        entry = Entry.of("two.jpg", image, variants(image, top=3), every_class(variants, image))
        write_html(tmp_path / "page", [entry], Heading("Two", {"CAM": [], "Grad-CAM": []}, labels=samples.LABELS))
        page.goto((tmp_path / "page" / "index.html").as_uri())
    else:
        page.goto(methods.as_uri())
    page.click(".card button")
    best = variants(image, top=3).predictions[0].classes.tolist()
    others = [index for index in range(1, 8) if index not in best]
    for number, index in enumerate(others):
        name = (str(index), f"Blob_{index}", f"synonym {index}", f"blob {index}, synonym {index}")[number % 4]
        assert search(page, name) == ""
        every = variants(image, classes=[index])
        assert page.inner_text('[aria-selected="true"] b') == f"blob {index}"
        assert page.inner_text('[aria-selected="true"] .score') == f"{every.items(0)[0].score:.4f}"
        assert boxes_of(page) == [paper_box(every.items(variant)[0].image_map) for variant in (0, 1)]
    tabs = page.locator('.pane >> nth=0 >> [role="tab"]').count()
    assert tabs == 3 + len(others)
    assert search(page, str(best[1])) == ""
    assert page.get_attribute('[role="tab"] >> nth=1', "aria-selected") == "true"
    page.keyboard.press("1")  # the focus has left the field
    assert page.get_attribute('[role="tab"] >> nth=0', "aria-selected") == "true"
    assert search(page, "8") == "no class has this name; indices are 0 to 7"
    assert "similar: 1 blob 1, synonym 1; 2 blob 2" in search(page, "synonym")
    assert page.locator('.pane >> nth=0 >> [role="tab"]').count() == tabs


SHOW = """async ([number, answered]) => {
    const find = answered ? async () => [null] : () => new Promise((resolve) => { globalThis.answer = resolve; });
    document.querySelector("cam-viewer").show(await detail(number), { classes: Array(100).fill(["", "a"]), find });
}"""


def test_an_answer_that_comes_late_is_not_added_to_another_image(page, report):
    page.goto(report)
    page.click(".card button")
    page.evaluate(SHOW, [0, False])
    page.fill('input[name="class"]', "99")
    page.keyboard.press("Enter")
    page.evaluate(SHOW, [1, False])
    shown = page.locator("[role=tab] b").all_inner_texts()
    page.evaluate("async () => { answer([null]); await new Promise((resolve) => setTimeout(resolve)); }")
    assert page.locator("[role=tab] b").all_inner_texts() == shown


def test_a_class_that_the_model_lacks_is_shown_once(page, report):
    page.goto(report)
    page.click(".card button")
    page.evaluate(SHOW, [0, True])
    before = page.locator("[role=tab]").count()
    for _ in range(2):
        assert search(page, "99") == ""
    assert page.locator("[role=tab]").count() == before + 1


MODEL = "squeezenet-cam-caltech101"
GRADIENTS = ("cam", "gradcam", "saliency")


def shows_methods(page, image: bytes) -> None:
    """Check that the page shows the map and the box of each class and method as Python does."""
    for number, method in enumerate(GRADIENTS):
        with pycam.load(MODEL, method=method) as cam:
            if not number:
                classes = cam(image).classes.tolist()
            prediction = cam(image, classes=classes)
        for rank, item in enumerate(prediction.top):
            page.click(f'.pane >> nth={number} >> [role="tab"] >> nth={rank}')
            assert page.inner_text('[aria-selected="true"] b') == item.label
            assert boxes_of(page)[number] == paper_box(item.image_map)
            peaks = page.locator(".pane .figures div:last-child dd").all_inner_texts()
            assert float(peaks[number]) == pytest.approx(item.image_map.max(), rel=1e-3)
    assert painted(page, ".stage canvas >> nth=0") != painted(page, ".stage canvas >> nth=2")


@pytest.mark.torch
def test_report_shows_the_methods_of_a_real_net(page, tmp_path):
    image = tmp_path / "blobs.jpg"
    image.write_bytes(samples.jpeg(7))
    methods = [argument for method in GRADIENTS for argument in ("--method", method)]
    place = tmp_path / "methods.html"
    assert main(["report", "html", str(image), "--model", MODEL, *methods, "--out", str(place)]) == 0
    page.goto(place.as_uri())
    page.click(".card button")
    shows_methods(page, image.read_bytes())
    search(page, "wrench")
    assert "no map" in page.inner_text('.pane >> nth=1 >> [role="tab"][aria-selected="true"] small')


@pytest.mark.torch
@pytest.mark.web
def test_serve_page_shows_the_methods_of_a_real_net(page):
    with samples.served({MODEL: lambda: [pycam.load(MODEL, method=method) for method in GRADIENTS]}) as address:
        page.goto(address)
        drop(page, "blobs.jpg", "image/jpeg", samples.jpeg(7))
        page.wait_for_selector("cam-viewer .stage")
        shows_methods(page, samples.jpeg(7))
        assert search(page, "wrench") == ""
        with pycam.load(MODEL, method="gradcam") as cam:
            (item,) = cam(samples.jpeg(7), classes=["wrench"]).top
        assert boxes_of(page)[1] == paper_box(item.image_map)


def test_box_link_and_image_can_be_taken_out(page, methods, variants):
    page.goto(methods.as_uri())
    page.click(".card button")
    page.keyboard.press("m")
    page.click("text=copy box >> visible=true")
    box = boxes_of(page)[0]
    page.locator(".actions [role=status]", has_text=f"copied {', '.join(map(str, box))}").wait_for()
    page.click("text=copy link")
    page.locator("dialog header >> text=copied the link").wait_for()
    page.click('input[name="class"]')
    page.keyboard.press("Control+v")
    assert page.input_value('input[name="class"]') == f"{methods.as_uri()}#1"
    page.fill('[name="opacity"]', "100")
    with page.expect_download() as download:
        page.click("text=save PNG >> visible=true")
    assert download.value.suggested_filename.startswith("two_CAM_")
    saved = cv2.imread(str(download.value.path()))
    image = samples.image(5)
    assert saved.shape == image.pixels.shape
    prediction = variants(image, top=3).predictions[0]
    colours = cv2.applyColorMap(
        cv2.convertScaleAbs(np.maximum(prediction.top[0].image_map, 0), alpha=255 / prediction.top[0].image_map.max()),
        cv2.COLORMAP_JET,
    )
    x0, y0, x1, y1 = prediction.placement.region(*image.pixels.shape[:2])
    away = np.ones(image.pixels.shape[:2], bool)
    for side in (box[1], box[3]):
        away[max(0, side - 4) : side + 4] = False
    for side in (box[0], box[2]):
        away[:, max(0, side - 4) : side + 4] = False
    inside = np.zeros_like(away)
    inside[y0:y1, x0:x1] = True
    assert np.abs(saved.astype(int) - colours)[away & inside].max() <= 3
    assert (saved[away & ~inside] == 0).all()
    assert saved[(box[1] + box[3]) // 2, box[0]].min() > 200  # the line of the box


def test_the_address_is_the_open_image(page, report):
    page.goto(report)
    names = page.locator(".card small").all_inner_texts()
    page.click(".card button >> nth=1")
    assert page.inner_text("dialog h2") == names[1] and "#" in page.url
    page.keyboard.press("p")
    assert page.inner_text("dialog h2") == names[0]
    page.go_back()
    page.wait_for_selector("dialog:not([open])", state="attached")
    page.wait_for_url(report)
    page.go_forward()
    page.wait_for_selector("dialog[open]")
    assert page.inner_text("dialog h2") == names[0]
    page.evaluate("location.hash = '#3'")
    page.locator("dialog h2 >> text=far.jpg").wait_for()
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog:not([open])", state="attached")
    for wrong in ("#0", "#4", "#x", "#1.5"):
        page.goto("about:blank")
        page.goto(report + wrong)
        assert not page.is_visible("dialog")
    page.goto("about:blank")
    page.goto(f"{report}#3")
    page.wait_for_selector("dialog[open]")
    assert page.inner_text("dialog h2") == "far.jpg"
    # Keys work at once, and after a click on something that takes no focus.
    page.keyboard.press("b")
    assert page.locator(".stage rect.found").count() == 0
    page.click("dialog figcaption")
    page.keyboard.press("b")
    assert page.locator(".stage rect.found").count() > 0
    page.keyboard.press("2")
    assert page.get_attribute('[role="tab"] >> nth=1', "aria-selected") == "true"
    page.keyboard.press("Escape")
    page.wait_for_url(report)
    assert not page.is_visible("dialog")


def test_report_filters_and_sorts(page, report, entries):
    page.goto(report)
    assert page.locator(".card").count() == 3
    assert page.locator(".chip").all_inner_texts() == ["right1", "shifted1", "wrong class1"]
    assert page.inner_text(".card small >> nth=0") == entries[1].name
    page.click(".chip >> text=shifted")
    assert page.eval_on_selector_all(".card small", "(names) => names.map((name) => name.textContent)") == ["far.jpg"]
    page.click(".chip >> text=shifted")
    page.select_option(".tools select", "by name")
    assert page.inner_text(".card small >> nth=0") == "far.jpg"
    page.fill('[type="search"]', "right")
    assert page.locator(".card").count() == 1
    assert page.inner_text(".count") == "1 of 3 images"


def test_markup_in_names_and_labels_is_text(page, tmp_path):
    image = samples.image(1)
    name = "</script><img src=x onerror=alert(1)>.jpg"
    with samples.cam() as cam:
        run = cam(image, classes=[0])
    entry = Entry(name, image, {"": run}, Truth(0, samples.MARKUP))
    write_html(tmp_path / "report.html", [entry], Heading(name, {"": [name]}, [name]))
    page.goto((tmp_path / "report.html").as_uri())
    page.click(".card button")
    assert page.title() == page.inner_text("h1") == page.inner_text("dialog h2") == page.inner_text(".note") == name
    assert page.inner_text('[role="tab"] b') == page.inner_text("figcaption b") == samples.MARKUP
    assert page.locator("img:not([src^='data:'])").count() == page.locator("[onclick]").count() == 0


def test_report_in_a_folder_loads_what_is_visible(page, entries, tmp_path):
    many = [entries[number % 3] for number in range(120)]
    write_html(tmp_path / "folder", many, Heading("Many", {"": ["blobs"]}))
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto((tmp_path / "folder/index.html").as_uri())
    page.wait_for_selector(".card img")
    assert page.locator(".card").count() == 120
    images = [address for address in asked if address.endswith(".jpg")]
    assert 0 < len(images) < 120
    page.locator(".card").last.scroll_into_view_if_needed()
    page.locator(".card").last.locator("img").wait_for()
    page.locator(".card").last.locator("button").click()
    page.wait_for_selector("dialog[open]")
    assert page.eval_on_selector(".stage img", "(image) => image.decode().then(() => image.naturalWidth)") > 100


@pytest.fixture(scope="module")
def compared() -> list[Entry]:
    """Six images with the predictions of two runs; the second run is always right."""
    entries = []
    with samples.cam() as center, samples.cam(view="full") as full:
        for seed in range(6):
            image = samples.image(seed)
            runs = {"center": center(image), "full": full(image)}
            true = runs["full"].top[0]
            truth = Truth(true.index, true.label, [true.box])
            firsts = [run.top[0] for run in runs.values()]
            outcomes = [judge(first.index, first.score, first.box, true.index, truth.boxes) for first in firsts]
            entries.append(Entry(f"{seed}.jpg", image, runs, truth, outcomes))
    return entries


@pytest.fixture(scope="module")
def comparison(compared, tmp_path_factory) -> str:
    place = tmp_path_factory.mktemp("comparison") / "two.html"
    runs = {"center": ["blobs", "view center"], "full": ["blobs", "view full"]}
    write_html(place, compared, Heading("Two runs", runs, sections=sections(*runs)))
    return place.as_uri()


def test_two_runs_side_by_side(page, comparison, compared):
    page.goto(comparison)
    page.wait_for_selector(".card img")
    assert page.locator(".card").count() == 6
    assert sum(map(int, page.locator(".chip span").all_inner_texts())) == 6
    page.click(".card button")
    number = int(page.inner_text("dialog h2").split(".")[0])
    boxes = page.locator(".figures div:first-child dd").all_inner_texts()
    expected = [", ".join(map(str, run.top[0].box)) for run in compared[number].runs.values()]
    assert boxes == expected


def drop(page, name: str, kind: str, data: bytes) -> None:
    """Drop a file on the page, as from a file manager."""
    page.evaluate(
        """([name, type, base64]) => {
            const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
            const dataTransfer = new DataTransfer();
            dataTransfer.items.add(new File([bytes], name, { type }));
            document.body.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
        }""",
        [name, kind, base64.b64encode(data).decode()],
    )


@pytest.mark.web
def test_dropped_image_is_predicted(page):
    page.expected = ["415", "422"]
    data = samples.jpeg(7)

    def other():
        return [samples.cam(seed=1)]

    with samples.cam() as cam, samples.served({"blobs": samples.cams, "other": other}) as address:
        expected = cam(data)
        page.goto(address)
        drop(page, "../<img src=x onerror=alert(1)>.jpg", "image/jpeg", data)
        page.wait_for_selector("cam-viewer .stage")
        assert page.locator('[role="tab"] canvas').count() == 5
        assert page.inner_text(".stage .name") == "../<img src=x onerror=alert(1)>.jpg"
        told = expected.as_dict(boxes=True)["top"]
        for rank, item in enumerate(told):
            page.click(f'[role="tab"] >> nth={rank}')
            assert page.inner_text('[aria-selected="true"] b') == item["label"].split(", ")[0]
            assert page.inner_text('[aria-selected="true"] .score') == f"{item['score']:.4f}"
            assert box_of(page) == item["box"]
        page.check('input[value="other"]', force=True)
        page.locator(".strip li >> nth=1").wait_for()
        assert page.locator(".stage h3").all_inner_texts() == ["blobs", "blobs (2)"]
        page.uncheck('input[value="blobs"]', force=True)
        page.locator(".strip li >> nth=2").wait_for()
        assert page.locator(".stage").count() == 1
        page.locator('input[value="other"]').click(force=True)
        assert page.is_checked('input[value="other"]')
        drop(page, "notes.txt", "text/plain", b"hello")
        page.locator(".problems >> text=notes.txt").wait_for()
        drop(page, "cut.jpg", "image/jpeg", data[: len(data) // 2])
        page.locator(".problems >> text=cut.jpg").wait_for()
        assert "truncated" in page.inner_text(".problems")
        page.expected = ["415", "422", "ERR_FAILED"]
        page.route("**/predict*", lambda route: route.abort())
        drop(page, "late.jpg", "image/jpeg", data)
        page.locator(
            ".problems >> text=late.jpg: the server does not answer: see whether `pycam serve` still"
        ).wait_for()
        assert page.locator("img[src=x]").count() == 0


@pytest.fixture(params=[(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")], ids=str)
def inspect(page, request) -> Callable[..., None]:
    """Take a screenshot of the page; fail on what is wider than the window, or a serious accessibility fault."""
    axe = resources.files("axe_playwright_python") / "axe.min.js"
    width, scheme = request.param
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)

    def inspect(name: str, is_short: bool = True) -> None:
        whole = is_short and not page.is_visible("dialog")
        page.screenshot(path=SCREENSHOTS / f"{name}-{scheme}-{width}.png", full_page=whole)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.evaluate(axe.read_text("utf-8"))
        found = page.evaluate("axe.run({ resultTypes: ['violations'] })")["violations"]
        faults = [
            f"{fault['id']}: {fault['help']}: {fault['nodes'][0]['html'][:200]}"
            for fault in found
            if fault["impact"] in ("serious", "critical")
        ]
        assert faults == []

    return inspect


@pytest.mark.parametrize("inspect", [(1280, "light"), (390, "dark")], indirect=True, ids=str)
def test_ground_truth_has_no_serious_accessibility_fault(page, inspect, truth_page):
    page.goto(truth_page)
    page.wait_for_selector(".card img")
    inspect("truth")
    page.click(".card button")
    inspect("truth-open")


@pytest.mark.parametrize("inspect", [(1280, "light"), (390, "dark")], indirect=True, ids=str)
def test_variants_have_no_serious_accessibility_fault(page, inspect, methods):
    page.goto(methods.as_uri())
    page.click(".card button")
    search(page, "synonym")
    inspect("variants-open")


@pytest.mark.parametrize("name", ["report", "comparison"])
def test_report_has_no_serious_accessibility_fault(page, inspect, request, name):
    page.goto(request.getfixturevalue(name))
    page.wait_for_selector(".card img")
    inspect(name)
    page.click(".card button")
    page.click(".controls summary")
    inspect(f"{name}-open")


WIDE = ["figure", "squeezenet-v1.0", "googlenet-cam", "difference (95 %)", "fixed", "regressed", "p", "mid-p"]
CUT = """() => [...document.querySelectorAll(".table")].flatMap((figure) => {
    const room = document.documentElement.clientWidth;
    const isOutside = ({ left, right }) => left < 0 || right > room;
    const cells = [...figure.querySelectorAll("td, caption, figcaption, :not(.stacked) > table th")];
    const outside = cells.filter((cell) => cell.checkVisibility() && isOutside(cell.getBoundingClientRect()));
    const isCut = figure.scrollHeight > figure.clientHeight + 1 || figure.scrollWidth > figure.clientWidth + 1;
    return [...outside.map((cell) => cell.textContent), ...(isCut ? ["cut off: " + figure.textContent] : [])];
})"""


@pytest.mark.parametrize("inspect", [(1280, "light"), (390, "dark")], indirect=True, ids=str)
def test_tables_are_whole(page, inspect, entries, tmp_path):
    errors = DataFrame(
        [[f"error of the class {row}", *(["27.0% [22.1, 32.3]"] * 3), *("1234")] for row in range(5)], columns=WIDE
    )
    classes = DataFrame({"class": [f"class {row}" for row in range(101)], "images": 3, "top-1": 33.3})
    ranking = DataFrame(
        {
            "": ["GoogLeNet-GAP", "a run of this machine, protocol released, with a long name", "AlexNet-GAP", "NIN"],
            "top-1": 35.0,
            "top-5": 13.2,
        }
    )
    tables = [Table("Errors", errors), Table("Table 1", ranking, "A note."), Table("Errors by class", classes)]
    heading = Heading("Tables", {"": ["blobs"]}, sections=[table.section() for table in tables])
    write_html(tmp_path / "tables.html", entries, heading)
    page.goto((tmp_path / "tables.html").as_uri())
    page.wait_for_selector(".cards", state="attached")
    inspect("tables")
    assert page.evaluate(CUT) == []
    texts = page.locator(".table >> nth=0 >> tbody").inner_text()
    assert texts.count("27.0% [22.1, 32.3]") == 15
    # Where the head has no room, its names stand beside the values.
    assert texts.count("difference (95 %)") == (5 if page.viewport_size["width"] == 390 else 0)
    later = page.locator(".table >> nth=2 >> tbody tr")
    assert later.locator("visible=true").count() == 20
    page.click("text=show all 101 rows")
    assert later.locator("visible=true").count() == 101
    assert page.evaluate(CUT) == []
    page.reload()
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 718, "height": 1000})
    page.wait_for_function(f"({CUT})().length === 0")
    assert later.locator("visible=true").count() == 101
    assert page.locator(".tools").is_hidden()
    (SCREENSHOTS / "tables.pdf").write_bytes(page.pdf(format="A4"))
    page.screenshot(path=SCREENSHOTS / "tables-print.png")


@pytest.mark.web
def test_serve_page_has_no_serious_accessibility_fault(page, inspect):
    page.expected = ["422"]
    with samples.served({"blobs": samples.cams}) as address:
        page.goto(address)
        inspect("serve-empty")
        for seed in (7, 8):
            drop(page, f"{seed}.jpg", "image/jpeg", samples.jpeg(seed))
        drop(page, "cut.jpg", "image/jpeg", samples.jpeg(7)[:1000])
        page.locator(".problems >> text=cut.jpg").wait_for()
        inspect("serve")


@pytest.fixture(scope="module")
def living(tmp_path_factory) -> str:
    """The living paper with runs, cells with every verdict, and a figure."""
    root = tmp_path_factory.mktemp("living")
    write_report(root / "one", made_report("googlenet-cam"))
    write_report(root / "two", made_report("googlenet-cam", submissions=True))
    write_report(root / "three", made_report("my <b>net</b>"))
    cell = Cell("gap from GoogLeNet-GAP", "Caltech101", 92.2, 91.9, 92.5, 1692)
    write_output(root / "table5", CellsFile(5, "pycam paper table5 --data sets", (cell,)))
    caption = "Heads & <wings> of birds."
    write_output(root / "birds", FigureFile(8, "pycam paper figure8 --data birds", ("birds.png",), caption))
    (root / "birds" / "birds.png").write_bytes(
        cv2.imencode(".png", np.full((300, 1500, 3), 128, np.uint8))[1].tobytes()
    )
    assert main(["paper", "--run", str(root), "--out", str(root / "paper.html"), "-q"]) == 0
    return (root / "paper.html").as_uri()


@pytest.mark.parametrize("inspect", [(1280, "light"), (390, "dark")], indirect=True, ids=str)
def test_living_paper_has_no_serious_accessibility_fault(page, inspect, living):
    page.goto(living)
    inspect("living-paper", is_short=False)
    assert page.locator("#figure-8 img").evaluate("each => each.complete && each.naturalWidth") == 1500


def test_living_paper_is_read_without_scripts_by_keyboard_and_on_paper(browser, living):
    context = browser.new_context(viewport={"width": 390, "height": 844}, java_script_enabled=False)
    context.set_default_timeout(LONG)
    page = context.new_page()
    requests: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.goto(living)
    assert page.locator("script").count() == 0
    assert page.locator("b", has_text="net").count() == 0
    assert page.get_by_text("Heads & <wings> of birds.").is_visible()
    badges = page.locator("td .badge").all_inner_texts()
    assert {"reproduced", "not reproduced", "empty: weights never published", "empty: weights not here"} <= {*badges}
    page.keyboard.press("Tab")
    assert page.locator("nav a:focus").inner_text() == "Table 1"
    page.keyboard.press("Enter")
    assert page.url.endswith("#table-1")
    page.keyboard.press("Tab")
    assert page.locator("#table-1 .scroll:focus").count() == 1
    # Each empty cell tells why, and its note how to fill it.
    for cell in page.locator("td", has_text="empty:").all()[:10]:
        cell.locator("a.ref").last.click()
        note = page.locator(f"#{page.url.partition('#')[2]}")
        assert note.is_visible()
        assert "pycam" in note.inner_text()
    page.emulate_media(media="print")
    assert page.locator("nav").is_hidden()
    assert page.locator("#table-1 .scroll").evaluate("each => getComputedStyle(each).overflowX") == "visible"
    (SCREENSHOTS / "living-paper.pdf").write_bytes(page.pdf(format="A4"))
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    context.close()
