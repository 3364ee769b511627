"""The site of the documents: its pages, its navigation, what checks it, and a part of it in a real Chromium."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import check
import gallery
import pages
import pytest
import reference
import yaml
from conftest import LONG
from markdown_it import MarkdownIt

import pycam
from pycam import cli

ROOT = Path(__file__).parents[1]
SITE = ROOT / "docs/site"

with suppress(ImportError):
    import markdown

CONFIG = (ROOT / "mkdocs.yml").read_text("utf-8")
SCREENSHOTS = Path(os.environ.get("PYCAM_SCREENSHOTS", ROOT / "build/screenshots"))


class Loader(yaml.SafeLoader):
    """Reads the tag that names a function as the name of the function."""


Loader.add_multi_constructor("tag:yaml.org,2002:python/", lambda loader, suffix, node: suffix)


def leaves(entry) -> Iterator[str]:
    for each in entry.values() if isinstance(entry, dict) else entry:
        if isinstance(each, str):
            yield each
        else:
            yield from leaves(each)


def test_the_navigation_has_every_page_once():
    listed = Counter(leaves(yaml.load(CONFIG, Loader)["nav"]))
    there = {path.relative_to(ROOT).as_posix() for path in pages.documents()}
    there |= {f"reference/{name}.md" for name in reference.reference_pages()}
    assert {page for page in there if page not in listed} == set(), "add these to `nav` in mkdocs.yml"
    assert {page for page in listed if page not in there} == set(), "these pages are not there"
    assert max(listed.values()) == 1


def test_the_reference_has_every_command_and_every_public_name():
    made = reference.reference_pages()
    headings = re.findall(r"^#+ `(pycam .+)`$", made["commands"], re.M)
    assert len(headings) == len(set(headings)) > 30
    for name in cli.COMMANDS:
        command = cli.load_command(name)
        assert f"pycam {name}" in headings
        for inner, each in getattr(command, "commands", {name: command}).items():
            assert f"pycam {name} {inner}".replace(f" {name} {name}", f" {name}") in headings
            options = {option for parameter in each.params for option in parameter.opts if option.startswith("--")}
            assert {option for option in options if option not in made["commands"]} == set()
    assert all(f"'{name}'" in made["pycam"] for name in pycam.__all__)
    modules = re.findall(r"^::: (\S+)$", "\n".join(made.values()), re.M)
    assert {"pycam.maps.cam", "pycam.engines.onnx_graph", "pycam.pycaffe.io", "matlab_ports.demo"} <= set(modules)
    assert len(modules) == len(set(modules))


def test_marks_of_markdown_in_help_are_text():
    assert reference._text("`a_*.jpg` and b_*.jpg\n  <x> [default: 1]") == r"`a_*.jpg` and b\_\*.jpg \<x> \[default: 1]"


def test_each_block_of_the_gallery_is_run_and_shows_what_it_wrote(tmp_path, monkeypatch):
    page = (ROOT / "docs/gallery.md").read_text("utf-8")
    ran = []

    def run(line):
        ran.append(line)
        for block in gallery.BLOCK.finditer(page):
            Path(block["result"]).parent.mkdir(parents=True, exist_ok=True)
            Path(block["result"]).write_text("a result")

    monkeypatch.setattr(gallery, "_run", run)
    before = Path.cwd()
    made = gallery.gallery_page(tmp_path / "gallery")
    assert Path.cwd() == before
    shown = re.findall(r"\]\((gallery/\S+)\)", made)
    assert len(shown) == len(set(shown)) == page.count("```") // 2
    assert ran == [
        command
        for block in re.findall(r"```sh.*\n([^`]+)```", page)
        for command in block.replace("\\\n", " ").splitlines()
    ]
    assert all((tmp_path / each).read_text() == "a result" for each in shown)
    assert "result=" not in made


def test_a_command_of_the_gallery_that_fails_ends_the_build():
    with pytest.raises(
        SystemExit, match=r"`pycam heatmap a.jpg --model x  # an x` ended with exit code 5:\npycam: .*'x'"
    ):
        gallery._run("pycam heatmap a.jpg --model x  # an x")
    with pytest.raises(SystemExit, match="`make demo` is not a command of pycam"):
        gallery._run("make demo")


@pytest.mark.parametrize(
    ("page", "problem"),
    [
        ('<a href="b.html#there">', None),
        ('<a href="sub/">, <a href="https://example.org/x">, <a href="mailto:a@b">', None),
        ('<img src="data:image/png;base64,AA">', None),
        ('<a href="c.html">', "no file for c.html"),
        ('<a href="../outside.html">', "no file for ../outside.html"),
        ('<a href="/b.html">', "no file for /b.html"),
        ('<a href="#here">', "no place for #here"),
        ('<a href="b.html#here">', "no place for b.html#here"),
        ('<img src="a.png">', "no file for a.png"),
        ('<script src="https://example.org/x.js">', "loads https://example.org/x.js"),
        ('<link rel="preconnect" href="//example.org">', "loads //example.org"),
        ('<iframe src="http://example.org">', "loads http://example.org"),
    ],
)
def test_the_check_finds_broken_links_and_other_origins(tmp_path, page, problem):
    site = tmp_path / "site"
    (site / "sub").mkdir(parents=True)
    (tmp_path / "outside.html").touch()
    (site / "a.html").write_text(page)
    (site / "404.html").write_text('<a href="/b.html">')
    (site / "b.html").write_text('<h1 id="there">')
    (site / "sub/index.html").write_text('<a href="../b.html">')
    (site / "good.css").write_text("a { background: url(a.png) }")
    assert check.problems(site) == ([f"a.html: {problem}"] if problem else [])
    (site / "bad.css").write_text("@font-face { src: url('https://example.org/f.woff') }")
    assert "bad.css: loads https://example.org/f.woff" in check.problems(site)


ELEMENTS = re.compile(r"<(h[1-6]|li|pre|tr|td|th|img|strong|em|blockquote)\b")


@pytest.mark.docs
def test_documents_look_on_the_site_as_elsewhere():
    extensions = ["tables", "pymdownx.superfences", "def_list"]
    github = MarkdownIt("commonmark").enable("table")
    for path in pages.documents():
        text = re.sub("^```sh result=.*", "```sh", path.read_text("utf-8"), flags=re.M)  # as gallery.py writes it
        expected = Counter(ELEMENTS.findall(github.render(text)))
        site = markdown.markdown(text, extensions=extensions)
        assert Counter(ELEMENTS.findall(site)) == expected, path


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A part of the site, from the project's own configuration."""
    place = tmp_path_factory.mktemp("site")
    shown = ["README.md", "docs/concepts.md", "docs/caffe.md", "reference/pycam.errors.md"]
    folder = place / "build/pages"
    pages.copy_documents(folder)
    (folder / "reference").mkdir()
    (folder / "reference/pycam.errors.md").write_text(reference.python_page("pycam.errors"), "utf-8")
    (folder / "assets").mkdir()
    for name in pages.ASSETS:
        (folder / "assets" / name).write_bytes((SITE / name).read_bytes())
    for path in folder.rglob("*.md"):
        if path.relative_to(folder).as_posix() not in shown:
            path.unlink()
    # Links to the pages that are left out lead nowhere.
    settings, _, _ = CONFIG.replace("strict: true", "strict: false").partition("\nnav:\n")
    nav = "".join(f"  - {page}\n" for page in shown)
    (place / "mkdocs.yml").write_text(f"{settings.replace('paths: [.]', f'paths: [{ROOT}]')}\nnav:\n{nav}", "utf-8")
    done = subprocess.run([sys.executable, "-m", "zensical", "build"], cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return place / "build/docs"


@pytest.mark.docs
@pytest.mark.browser
def test_the_site_works_from_files_without_a_network(launch, built):
    from playwright.sync_api import expect

    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    problems: list[str] = []
    browser = launch()
    for width, scheme in ((390, "dark"), (1280, "light")):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        page = context.new_page()
        page.on("console", lambda each: each.type == "error" and problems.append(each.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("request", lambda each: each.url.startswith("file:") or problems.append(each.url))
        for name in ("docs/caffe", "reference/pycam.errors", "index"):
            page.goto((built / f"{name}.html").as_uri())
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (name, width)
            assert page.evaluate("document.body.dataset.mdColorScheme") == {"light": "default", "dark": "slate"}[scheme]
            page.screenshot(path=SCREENSHOTS / f"site-{name.replace('/', '-')}-{width}.png")
    page.keyboard.press("Control+k")
    page.get_by_role("combobox", name="Search").press_sequentially("class activation map")
    best = page.get_by_role("option").first
    best.wait_for()
    expect(best).to_have_attribute("href", re.compile(r"docs/concepts\.html\?h=class\+activation\+map#"), timeout=LONG)
    assert problems == []
