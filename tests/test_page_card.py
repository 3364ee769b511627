"""The card of a page: settings that a static Space takes, and what the model's own card says, shown as it stands."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings, strategies as st
from markdown_it import MarkdownIt
from msgspec.structs import replace as with_fields

from pycam import zoo
from pycam.model import Model, load_model
from pycam.page.build import write_page
from pycam.page.card import CAM_PAPER, files_for_hosts
from pycam.page.runtime import Runtime
from pycam.predict import make_cam
from pycam.protocols import protocol

RUNTIME = Runtime({"ort.wasm.min.js": bytes(10**6)}, Path("x"), "1.30.0", "MIT License, of Microsoft\n")


@pytest.fixture(scope="module")
def bundled() -> Model:
    return load_model("squeezenet-cam-caltech101")


def card_of(model: Model, title: str = "A title", row: str = "default") -> tuple[dict[str, object], list[str], list]:
    """Return the settings of the card, its text as a reader sees it, and all tokens of its Markdown."""
    files = files_for_hosts(
        model, protocol(row).for_view(model.view), title=title, net_size=3_367_160, runtime=RUNTIME, runtime_size=9
    )
    assert {name: data for name, data in files.items() if name != "README.md"} == {
        ".nojekyll": b"",
        "LICENSE-onnxruntime-web.txt": b"MIT License, of Microsoft\n",
    }
    nothing, head, body = files["README.md"].decode().split("---\n", 2)
    assert nothing == ""
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(body)
    shown = ["".join(child.content for child in token.children) for token in tokens if token.type == "inline"]
    return yaml.safe_load(head), shown, [*tokens, *(child for token in tokens for child in token.children or ())]


def test_the_card_says_what_the_model_s_card_says(bundled):
    head, shown, _ = card_of(bundled, "Maps: a demo", "default")
    assert head == {
        "title": "Maps: a demo",
        "emoji": "🔍",
        "colorFrom": "indigo",
        "colorTo": "red",
        "sdk": "static",
        "short_description": "Class activation maps, made in your own browser",
        "license": "mit",
        "tags": ["class-activation-maps", "caffe", "onnx"],
        "custom_headers": {
            "cross-origin-embedder-policy": "require-corp",
            "cross-origin-opener-policy": "same-origin",
            "cross-origin-resource-policy": "cross-origin",
        },
    }
    assert len(head["short_description"]) <= 60  # the Hub's limit
    known = yaml.safe_load((zoo.models_folder() / "squeezenet-cam-caltech101.yaml").read_text("utf-8"))
    weights = zoo.weights_path(bundled.card)
    for text in (known["title"], known["licence"], known["source"], "101", "227×227, 3 channels"):
        assert text in shown
    assert f"The model: {known['paper']}" in shown
    assert f"The maps: {CAM_PAPER}, https://doi.org/10.1109/CVPR.2016.319" in shown
    assert known["notes"] in shown
    assert "default: view full, resizer opencv_bilinear, mean value, box rule paper, threshold 0.2" in shown
    assert "3.4 MB, and 0.0 MB for ONNX Runtime Web" in shown
    assert f"{weights.name}, SHA-256 {sha256(weights.read_bytes()).hexdigest()}" in shown


@pytest.mark.parametrize(
    ("licence", "name"),
    {
        "MIT, as pycam": "mit",
        "BSD": "bsd",
        "CC BY 4.0": "cc-by-4.0",
        "CC BY-NC-SA 4.0": "cc-by-nc-sa-4.0",
        "Apache-2.0": "apache-2.0",
        "released by its authors for unrestricted use": "other",
        "your own, as the weights are": "other",
        "": None,
    }.items(),
)
def test_a_licence_has_its_name_on_the_hub_or_is_another_one(bundled, licence, name):
    head, shown, _ = card_of(replace(bundled, card=with_fields(bundled.card, licence=licence)))
    assert head.get("license") == name
    assert [shown[at + 1] for at, text in enumerate(shown) if text == "Licence"] == [licence] * bool(licence)


def test_a_net_of_a_user_has_a_card_too(bundled):
    head, shown, _ = card_of(replace(bundled, card=None, name="my_net"))
    assert "license" not in head
    assert "my_net" in shown
    assert not {"Source", "Licence", "Notes"} & set(shown)
    assert [text for text in shown if "CVPR" in text] == [
        f"The maps: {CAM_PAPER}, https://doi.org/10.1109/CVPR.2016.319"
    ]


@pytest.fixture(scope="module")
def written(bundled, tmp_path_factory) -> Path:
    """A page as one file and as a folder, with something in place of ONNX Runtime Web."""
    folder = tmp_path_factory.mktemp("written")
    with make_cam(bundled, protocol=protocol("default")) as cam:
        for name in ("page", "page.html"):
            write_page(folder / name, cam, RUNTIME, title="A title")
    return folder


def test_a_folder_has_the_card_with_its_own_sizes_and_browsers_do_not_fetch_it(written):
    folder = written / "page"
    head, _, body = (folder / "README.md").read_text("utf-8").partition("---\n\n")
    assert "\ntitle: A title\n" in head
    net, engine = (folder / "model.onnx").stat().st_size, sum(path.stat().st_size for path in folder.glob("runtime/*"))
    assert f"| Size | {net / 1e6:.1f} MB, and {engine / 1e6:.1f} MB for ONNX Runtime Web |" in body
    assert {"README.md", ".nojekyll", "LICENSE-onnxruntime-web.txt"} <= {path.name for path in folder.iterdir()}
    assert "](LICENSE-onnxruntime-web.txt)" in body
    worker = (folder / "service-worker.js").read_text("utf-8")
    assert '"model.onnx"' in worker and "README" not in worker and "LICENSE" not in worker
    # One file has the licence, too.
    assert "MIT License, of Microsoft" in (written / "page.html").read_text("utf-8")


@contextmanager
def serving(folder: Path, headers: dict[str, str]) -> Iterator[int]:
    """Serve a folder with further headers; give the port."""

    class Handler(SimpleHTTPRequestHandler):
        def end_headers(self):
            for name, value in headers.items():
                self.send_header(name, value)
            super().end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.browser
def test_the_card_s_headers_allow_threads_where_a_space_is_alone(launch, written, tmp_path):
    settings = yaml.safe_load((written / "page/README.md").read_text("utf-8").split("---\n")[1])
    with (
        serving(written / "page", settings["custom_headers"]) as space,
        serving(tmp_path, {}) as hub,
    ):
        (tmp_path / "index.html").write_text(f'<iframe src="http://localhost:{space}/"></iframe>')
        browser = launch()
        isolated = {}
        for place, port in (("alone", space), ("framed", hub)):
            page = browser.new_page()
            page.goto(f"http://127.0.0.1:{port}/")
            inner = page.frames[-1]
            assert inner.title() == "A title"
            isolated[place] = inner.evaluate("crossOriginIsolated")
    assert isolated == {"alone": True, "framed": False}


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])) | st.sampled_from(
    ["<script>alert(1)</script>", "[a](http://x)", "![](x)", "a | b", "---", "`a` **b** _c_ ~~d~~", "&amp; \\", "# a #"]
)


@settings(max_examples=50)
@given(TEXT, TEXT, TEXT)
def test_texts_of_others_are_shown_as_they_stand(bundled, title, label, source):
    card = with_fields(bundled.card, title=label, source=source, notes=label, paper=source, licence=title)
    model = replace(bundled, card=card, net=replace(bundled.net, sources=None))  # no files, whose checksums take long
    head, shown, tokens = card_of(model, title)
    one_line = [re.sub(r"\s+", " ", text).strip() for text in (title, label, source)]
    assert head["title"] == one_line[0]
    assert set(filter(None, one_line)) <= set(shown) | {""}
    assert not [token for token in tokens if "html" in token.type or token.type in ("image", "em_open", "s_open")]
    links = [token.attrs["href"] for token in tokens if token.type == "link_open"]
    assert [link for link in links if link.startswith("http")] == [
        *([one_line[2]] if re.match(r"https?://", source) else []),
        "https://doi.org/10.1109/CVPR.2016.319",
    ]
