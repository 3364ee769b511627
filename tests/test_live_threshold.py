"""One threshold for all images of a page: what it shows is what `pycam evaluate --threshold` computes."""

from __future__ import annotations

import itertools
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest
from runs import write_sources
from test_html_report import Blocks
from test_viewer import browser as browser, page as page

import pycam
from pycam.cli import main
from pycam.evaluation.figures import errors_table
from pycam.maps.boxes import paper_box
from pycam.report.rescoring import PERCENTS, boxes_at

COUNT = 16
RULES = {"paper": (0.07, 0.6, 1), "wsol-single": (0.35, 0.99)}
BOXES = """() => Object.fromEntries([...document.querySelectorAll(".card")].map((card) => {
    const box = card.querySelector("rect.found.line");
    const [x, y, width, height] = [box.x, box.y, box.width, box.height].map((side) => side.baseVal.value);
    return [card.querySelector("small").textContent, [x, y, x + width, y + height]];
}))"""


@pytest.fixture(scope="module")
def command(model, images, tmp_path_factory) -> list[str]:
    """Images with boxes that fit at different thresholds, and some with wrong classes."""
    folder, truth = tmp_path_factory.mktemp("some"), tmp_path_factory.mktemp("truth")
    net, weights = map(str, model)
    right = {}
    with pycam.load(prototxt=net, weights=weights, protocol="paper") as cam:
        for number, path in enumerate(sorted(images.iterdir())[:COUNT]):
            shutil.copy(path, folder)
            item = cam(path).top[0 if number % 4 else 1]
            x0, y0, x1, y1 = paper_box(item.image_map, (0.05, 0.3, 0.5, 0.7)[number // 4])
            right[path.stem] = item.index, (x0 + 1, y0 + 1, x1, y1)
    sources = write_sources(truth, folder, right)
    (truth / "blacklist.txt").write_text("3\n")
    files = ["--prototxt", net, "--weights", weights, "--images", sources.images, "--ground-truth", str(truth)]
    files += ["--blacklist", str(truth / "blacklist.txt"), "--protocol", "paper", "--threads", "1", "--quiet"]
    return ["evaluate", *files]


@pytest.fixture(scope="module")
def found(command, tmp_path_factory) -> dict[str, dict[float | None, Path]]:
    """A run of each box rule, by its threshold; None for the rule's own."""
    folder = tmp_path_factory.mktemp("runs")
    runs = {}
    for rule, thresholds in RULES.items():
        for threshold in (None, *thresholds):
            out = folder / f"{rule} {threshold}"
            more = [] if threshold is None else ["--threshold", str(threshold)]
            assert main([*command, "--box-rule", rule, *more, "--out", str(out)]) == 0
            runs.setdefault(rule, {})[threshold] = out
    return runs


def report_of(place: Path, *runs: Path) -> dict:
    assert main(["report", "html", *map(str, runs), "--out", str(place), "--quiet"]) == 0
    return json.loads(Blocks(place.read_text("utf-8")).json["report"])


def shown_errors(page) -> list[list[str]]:
    rows = page.locator(".table").first.locator("tbody tr").all()
    return [row.locator("td").all_inner_texts() for row in rows]


def shown_outcomes(page) -> dict[str, str]:
    """Return the line below each image, by the image's name."""
    cards = page.locator(".card").evaluate_all(
        "(cards) => cards.map((card) => [...card.querySelectorAll('small, .outcome')].map((line) => line.textContent))"
    )
    return {name: outcome for outcome, name in cards}


def expected_outcomes(report: dict) -> dict[str, str]:
    lines = {}
    for card in report["images"]:
        (run,) = card["runs"]
        lines[card["name"]] = run["outcome"] + ("" if run["iou"] is None else f" · IoU {run['iou']:.2f}")
    return lines


@pytest.mark.browser
@pytest.mark.parametrize("rule", RULES)
def test_page_shows_what_evaluate_computes(page, found, tmp_path, rule):
    runs = found[rule]
    report_of(tmp_path / "page.html", runs[None])
    page.set_viewport_size({"width": 1280, "height": 5000})
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_function(f"document.querySelectorAll('.card rect.found.line').length === {COUNT}")
    before = shown_errors(page), shown_outcomes(page)
    seen = []
    for threshold, run in ((each, run) for each, run in runs.items() if each is not None):
        page.fill('[name="all-threshold-number"]', str(round(100 * threshold)))
        expected = report_of(tmp_path / f"{threshold}.html", run)
        saved = json.loads((run / "report.json").read_text())
        assert shown_errors(page) == errors_table({"": saved}).section()["rows"]
        assert shown_outcomes(page) == expected_outcomes(expected)
        chips = Counter(card["group"] for card in expected["images"])
        assert sorted(page.locator(".chip").all_inner_texts()) == sorted(f"{name}{n}" for name, n in chips.items())
        boxes = page.evaluate(BOXES)
        page_of_run = Blocks((tmp_path / f"{threshold}.html").read_text("utf-8")).json
        for number in range(COUNT):
            image = json.loads(page_of_run[f"image-{number}"])
            assert boxes[image["name"]] == image["runs"][0]["top"][0]["box"]
        assert page.input_value('[name="all-threshold"]') == str(round(100 * threshold))
        seen.append(shown_errors(page))
    assert len({str(each) for each in seen}) > 1
    page.click(".all-threshold button")
    assert (shown_errors(page), shown_outcomes(page)) == before


@pytest.mark.browser
def test_cards_are_arranged_after_the_threshold(page, found, tmp_path):
    report_of(tmp_path / "page.html", found["paper"][None])
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_selector(".card img")
    page.fill('[name="all-threshold"]', "60")
    expected = report_of(tmp_path / "60.html", found["paper"][0.6])
    order = sorted(expected["images"], key=lambda card: -card["severity"])
    names = "() => [...document.querySelectorAll('.card small')].map((name) => name.textContent)"
    page.wait_for_function(f"(first) => ({names})().join() === first", arg=",".join(card["name"] for card in order))
    page.click(".chip >> nth=0")
    assert page.locator(".card").count() == int(page.locator(".chip span").first.inner_text())
    for wrong in ("101", "-1", "7.5", ""):
        page.fill('[name="all-threshold-number"]', wrong)
        assert page.input_value('[name="all-threshold"]') == "60"
    page.click(".card button")
    assert page.inner_text(".slider output >> nth=0") == "60 %"


@pytest.mark.browser
def test_more_runs_change_their_groups(page, found, tmp_path):
    """Two runs of the same boxes are the same at every threshold that the page applies to both."""
    report_of(tmp_path / "two.html", found["paper"][None], found["paper"][0.6])
    page.goto((tmp_path / "two.html").as_uri())
    assert [chip for chip in page.locator(".chip").all_inner_texts() if chip.startswith("regressed")]
    page.fill('[name="all-threshold-number"]', "60")
    assert page.locator(".chip").all_inner_texts() == [f"unchanged{COUNT}"]
    rows = shown_errors(page)
    assert all(first == second for _, first, second in rows)


def test_errors_of_a_part_of_a_run_are_not_changed(found, tmp_path):
    place = tmp_path / "worst.html"
    arguments = ["report", "html", str(found["paper"][None]), "--worst", "5", "--out", str(place), "--quiet"]
    assert main(arguments) == 0
    report = json.loads(Blocks(place.read_text("utf-8")).json["report"])
    assert "live" not in report["sections"][0]
    assert all(card["runs"][0]["rescored"] for card in report["images"])


def test_boxes_at_all_thresholds_are_those_of_each_one():
    from test_viewer import some_maps

    for map_ in itertools.islice(some_maps(), 0, None, 7):
        expected = [paper_box(map_, threshold) for threshold in PERCENTS]
        assert boxes_at("paper", map_, PERCENTS).tolist() == [list(box) for box in expected]
