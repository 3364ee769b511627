"""`pycam page`: what it writes, and what it refuses, without a browser."""

from __future__ import annotations

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import samples

from pycam.cli import main, page as command
from pycam.page import build
from pycam.page.runtime import Runtime

MODEL = "squeezenet-cam-caltech101"
RUNTIME = Runtime({"ort.wasm.min.js": bytes(1000)}, Path("x"), "1.30.0", "A licence.")


@pytest.fixture(autouse=True)
def runtime(monkeypatch, tmp_path) -> None:
    """Let something stand in the place of ONNX Runtime Web, and work in an empty folder."""
    monkeypatch.setattr(command, "find_runtime", lambda place, quiet: RUNTIME)
    monkeypatch.chdir(tmp_path)


def facts_of(page: Path) -> dict:
    return json.loads(re.search(r'id="page">(.*?)</script>', page.read_text("utf-8"))[1])


def test_a_folder_and_a_file_have_the_same_facts(tmp_path, capsys):
    Path("fox & <hen>.jpg").write_bytes(samples.jpeg(1))
    cv2.imwrite("fox.tiff", samples.image(2).pixels)
    images = ["--images", "fox*.jpg", "--images", "fox.tiff"]
    assert main(["page", "--model", MODEL, *images, "--title", "A <title>"]) == 0
    assert main(["page", "--model", MODEL, *images, "--title", "A <title>", "--single-file", "-q"]) == 0
    folder, file = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"page/: 3\.\d MB, of which the net has 3\.\d MB and ONNX Runtime Web 0\.0 MB", folder)
    assert file.startswith("page.html: 4.")
    facts = facts_of(Path("page/index.html"))
    assert facts_of(Path("page.html")) | {"worker": "service-worker.js"} == facts
    assert "<title>A &lt;title&gt;</title>" in Path("page.html").read_text("utf-8")
    assert [example["name"] for example in facts["examples"]] == ["fox & <hen>.jpg", "fox.tiff"]
    # A JPEG goes along as it is; what browsers do not read is a PNG of the same pixels.
    assert Path("page/examples/1.jpg").read_bytes() == samples.jpeg(1)
    assert np.array_equal(cv2.imread("page/examples/2.png"), samples.image(2).pixels)
    for name, record in facts["files"].items():
        assert Path("page", name).stat().st_size == record["bytes"]
    assert not Path("page", ".unfinished").exists()


def test_the_same_page_has_the_same_version_and_another_has_another(tmp_path):
    def version(out: str, *more: str) -> str:
        assert main(["page", "--model", MODEL, "--out", out, *more]) == 0
        return re.search(r'"version":"(\w+)"', Path(out, "service-worker.js").read_text("utf-8"))[1]

    assert version("one") == version("two") != version("three", "--threshold", "0.4")
    assert facts_of(Path("three/index.html"))["run"]["threshold"] == 0.4


REFUSED = {
    "protocol 'keras_gradcam': a page makes class activation maps only": (["--protocol", "keras_gradcam"], 2),
    "protocol 'released': a page finds boxes by the rule 'paper' only, not 'released': give --box-rule paper": (
        ["--protocol", "released"],
        2,
    ),
    "--out demo: --single-file writes one file: give a name that ends in .html": (
        ["--single-file", "--out", "demo"],
        2,
    ),
    "there: exists and is not an empty folder; give a new folder, or a file that ends in .html": (
        ["--out", "there"],
        2,
    ),
    "vgg16 has no class activation maps: .*; choose a model that has them, or convert": (["--model", "vgg16"], 4),
    "nothing.png: expected an image, but: No such file": (["--images", "nothing.png"], 6),
    "page.html: model.onnx has 3 MB, and a page of one file can contain files of up to 1 MB: write a folder": (
        ["--single-file"],
        2,
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_written_is_refused_in_one_line(message, capsys, monkeypatch):
    Path("there").mkdir()
    Path("there", "a.txt").touch()
    monkeypatch.setattr(build, "LARGEST_EMBEDDED", 10**6)
    arguments, code = REFUSED[message]
    model = [] if "--model" in arguments else ["--model", MODEL]
    assert main(["page", *model, *arguments, "-q"]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert re.match(f"pycam: {message}", line)
    assert not Path("page.html").exists()
    assert not Path("page").exists()
