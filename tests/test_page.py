"""The page of `pycam page` in a real Chromium, from a disk and from a server, against what pycam computes itself."""

from __future__ import annotations

import base64
import io
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import samples
from conftest import LONG

import pycam
from pycam.cli import main
from pycam.page.build import Example, write_page
from pycam.page.runtime import find_runtime

pytestmark = [pytest.mark.browser, pytest.mark.ortweb]

MODEL = "squeezenet-cam-caltech101"
SCREENSHOTS = Path(os.environ.get("PYCAM_SCREENSHOTS", Path(__file__).parents[1] / "build" / "screenshots"))
READY = ".engine:not(:empty)"


@pytest.fixture(scope="module")
def browser(launch):
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    return launch("--use-fake-device-for-media-stream")


@contextmanager
def opened(browser, *, expected: tuple[str, ...] = (), **options) -> Iterator:
    """Open a page that must print no error, and must request nothing of another origin."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce", **options})
    context.set_default_timeout(LONG)
    page = context.new_page()
    problems: list[str] = []
    page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: problems.append(request.url) if is_foreign(request.url) else None)
    try:
        yield page
    finally:
        context.close()
    assert [problem for problem in problems if not any(part in problem for part in expected)] == []


def is_foreign(url: str) -> bool:
    return not url.startswith(("data:", "file:", "blob:", "http://127.0.0.1:"))


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder as hosts of pages do, below a path of its own."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder.parent)) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/{folder.name}/"
        finally:
            server.shutdown()


@pytest.fixture(scope="module")
def small(ortweb, tmp_path_factory) -> Callable[..., Path]:
    """Write the page of the small net, whose first label is HTML."""
    root = tmp_path_factory.mktemp("small")
    (root / "example.jpg").write_bytes(samples.jpeg(4))
    runtime = find_runtime(ortweb)

    def write(name: str, **more) -> Path:
        with samples.cam() as cam:
            examples = [Example.read(root / "example.jpg")]
            write_page(root / name, cam, runtime, examples=examples, **more)
        return root / name

    return write


@pytest.fixture(scope="module")
def small_file(small) -> str:
    return small("small.html").as_uri()


@pytest.fixture(scope="module")
def bundled(ortweb, tmp_path_factory) -> Path:
    """The page of the bundled model, as one file."""
    place = tmp_path_factory.mktemp("bundled") / "page.html"
    assert main(["page", "--model", MODEL, "--runtime", str(ortweb), "--single-file", "--out", str(place)]) == 0
    return place


@pytest.fixture(scope="module")
def page(browser, small) -> Iterator:
    """The small net's page on a server, with the net loaded, for one test after the other."""
    with served(small("page")) as address, opened(browser) as page:
        page.goto(address)
        page.locator(READY, has_text="offline").wait_for()
        yield page


def predict(page, *files: str | Path | tuple[str, bytes]) -> None:
    """Choose images, and wait until each of them is shown, or refused."""
    payloads = [
        {"name": file[0], "mimeType": "", "buffer": file[1]}
        if isinstance(file, tuple)
        else {"name": Path(file).name, "mimeType": "", "buffer": Path(file).read_bytes()}
        for file in files
    ]
    page.set_input_files(".drop input", payloads)
    page.locator(".desk > .status:empty").wait_for(state="attached")


def array_of(encoded: str, shape: list[int]) -> np.ndarray:
    return np.frombuffer(base64.b64decode(encoded), "<f4").reshape(shape)


MAPS = """async ([name, data]) => {
    const file = new File([Uint8Array.from(atob(data), (each) => each.charCodeAt(0))], name);
    const { width, height, runs: [run] } = await runner.predict(file);
    return run.top.map(({ index, score, maps }) => {
        const map = placeOnImage(decodeMaps(maps), run.placement, height, width);
        const bytes = new Uint8Array(map.values.buffer);
        let text = "";
        for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
        return [index, score, paperBox(map, run.threshold), btoa(text), [height, width]];
    });
}"""


@pytest.mark.demo
def test_the_page_computes_what_heatmap_computes(browser, bundled):
    import skimage

    from pycam.cli.demo import PHOTOGRAPHS

    files = [Path(skimage.__file__).parent / "data" / f"{each.name}.png" for each in PHOTOGRAPHS]
    with pycam.load(MODEL) as cam, opened(browser, offline=True) as page:
        page.goto(bundled.as_uri())
        page.locator(READY).wait_for()
        assert "1 thread; scores agree with pycam's within" in page.inner_text(READY)
        for file in files:
            expected = cam(file)
            predict(page, file)
            tabs = page.locator("[role=tab]")
            assert [name.split(", ")[0] for name in tabs.locator("b").all_inner_texts()] == [
                item.label.split(", ")[0] for item in expected.top
            ]
            scores = [float(text) for text in tabs.locator(".score").all_inner_texts()]
            assert scores == pytest.approx([item.score for item in expected.top], abs=1e-3)
            found = page.evaluate(MAPS, [file.name, base64.b64encode(file.read_bytes()).decode()])
            assert [index for index, *_ in found] == [item.index for item in expected.top]
            assert page.locator(".figures dd").first.inner_text() == ", ".join(map(str, found[0][2]))
            for (_, score, box, values, shape), item in zip(found, expected.top, strict=True):
                assert score == pytest.approx(item.score, abs=1e-5)
                assert np.abs(np.subtract(box, item.box)).max() <= 1
                assert np.abs(array_of(values, shape) - item.map).max() <= 1e-4 * np.abs(item.map).max()
        # A class that is not among the best.
        page.locator("input[name=class]").fill("dragonfly")
        page.keyboard.press("Enter")
        page.locator("[role=tab][aria-selected=true]", has_text="dragonfly").wait_for()
        item = cam(files[-1], classes=["dragonfly"]).top[0]
        assert float(page.locator("[aria-selected=true] .score").inner_text()) == pytest.approx(item.score, abs=1e-4)
        page.screenshot(path=SCREENSHOTS / "page.png", full_page=True)


@pytest.mark.torch
@pytest.mark.onnx
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # PyTorch's own
def test_the_page_of_an_onnx_file(browser, ortweb, tmp_path):
    """A net in ONNX takes RGB, less a mean and over a deviation, and its maps hold factors of each image."""
    import torch
    from onnx_nets import endings

    name, data = "photograph.jpg", samples.jpeg(4)
    (tmp_path / name).write_bytes(data)
    with pycam.from_torch(endings()["mobilenet_v3"], torch.zeros(1, 3, 64, 64)) as cam, opened(browser) as page:
        write_page(tmp_path / "page.html", cam, find_runtime(ortweb))
        page.goto((tmp_path / "page.html").as_uri())
        page.locator(READY).wait_for(timeout=LONG)
        found = page.evaluate(MAPS, [name, base64.b64encode(data).decode()])
        expected = cam(tmp_path / name).top
        assert [index for index, *_ in found] == [item.index for item in expected]
        for (_, score, box, values, shape), item in zip(found, expected, strict=True):
            assert score == pytest.approx(item.score, abs=1e-5)
            assert np.abs(np.subtract(box, item.box)).max() <= 1
            assert np.abs(array_of(values, shape) - item.map).max() <= 1e-4 * np.abs(item.map).max()


def test_sizes_and_policy(bundled, small):
    text = bundled.read_text("utf-8")
    files = re.findall(r'<script type="text/plain" id="file-([^"]+)">([^<]*)', text)
    net = dict(files)["model.onnx"]
    assert len(text) - len(net) <= 20e6
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    assert "default-src 'none'" in policy
    assert "connect-src 'none'" in policy
    assert "'unsafe-inline'" not in policy
    assert "'unsafe-eval'" not in policy
    folder = small("sizes")
    sizes = {path.name: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    assert sum(sizes.values()) - sizes["model.onnx"] <= 15e6
    assert "connect-src 'self'" in (folder / "index.html").read_text("utf-8")


UPDATED = """async () => {
    const registration = await navigator.serviceWorker.ready;
    await registration.update();
    while (!registration.waiting) await new Promise((resolve) => setTimeout(resolve, 20));
}"""


def test_a_folder_on_a_server_works_offline_after_the_first_visit_and_gets_new_versions(browser, small):
    from playwright.sync_api import TimeoutError as Unanswered

    folder = small("site", title="The first")
    with served(folder) as address, opened(browser) as page:
        page.goto(address)
        page.locator(READY, has_text="offline").wait_for()
        assert "1 thread;" in page.inner_text(READY)
        page.evaluate("() => caches.open('of another page')")
        page.context.set_offline(True)
        page.reload()
        page.locator(READY).wait_for()
        # The service worker's headers let the net have threads, where the machine has cores.
        assert page.evaluate("() => crossOriginIsolated")
        threads = min(page.evaluate("() => navigator.hardwareConcurrency"), 8)
        assert f"WebAssembly, {threads} thread" in page.inner_text(READY)
        page.get_by_role("button", name="example.jpg").click()
        page.locator(".strip [title='example.jpg']").wait_for(state="attached")
        with samples.cam() as cam:
            expected = cam(samples.jpeg(4)).top[0]
        assert float(page.locator(".score").first.inner_text()) == pytest.approx(expected.score, abs=1e-4)

        page.context.set_offline(False)
        for path in small("site-2", title="The second").rglob("*"):
            if path.is_file():
                (folder / path.relative_to(folder.parent / "site-2")).write_bytes(path.read_bytes())
        # The old version runs until no page of it is open.
        page.evaluate(UPDATED)
        page.get_by_role("heading", name="The first").wait_for()
        # Some time after its last page is gone, the old version is replaced; the browser may lose a request meanwhile.
        second = page.get_by_role("heading", name="The second")
        end = time.monotonic() + LONG / 1000
        while not second.is_visible() and time.monotonic() < end:
            page.goto("about:blank")
            with suppress(Unanswered):
                page.goto(address, timeout=10_000)
        assert second.is_visible()
        kept = page.evaluate("async () => (await navigator.serviceWorker.ready) && caches.keys()")
        assert len(kept) == 2
        assert "of another page" in kept


def png(array: np.ndarray, **more) -> bytes:
    file = io.BytesIO()
    PIL.Image.fromarray(array).save(file, "PNG", **more)
    return file.getvalue()


def test_the_page_is_accessible_wide_and_narrow_light_and_dark(page):
    from axe_playwright_python.sync_playwright import Axe

    def inspect(state: str, width: int, scheme: str) -> None:
        page.set_viewport_size({"width": width, "height": 844})
        page.emulate_media(color_scheme=scheme)
        page.screenshot(path=SCREENSHOTS / f"page-{state}-{width}-{scheme}.png", full_page=True)
        found = Axe().run(page).response["violations"]
        assert [(each["id"], each["nodes"][0]["html"]) for each in found] == []
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width

    inspect("empty", 1280, "light")
    predict(page, ("a <b>bold</b> name.jpg", samples.jpeg(3)), ("cut.jpg", samples.jpeg(3)[:900]))
    inspect("shown", 1280, "light")
    inspect("shown", 390, "dark")


def test_labels_are_text_and_the_viewer_is_that_of_reports(page):
    predict(page, ("a <b>bold</b> name.jpg", samples.jpeg(3)))
    with samples.cam() as cam:
        expected = [item.label.split(", ")[0] for item in cam(samples.jpeg(3)).top]
    assert page.locator("[role=tab] b").all_inner_texts() == expected
    page.locator("input[name=class]").fill("0")
    page.keyboard.press("Enter")
    page.locator("[role=tab][aria-selected=true] b", has_text=samples.MARKUP).wait_for()
    assert page.locator("[role=tab] b b, [onclick]").count() == 0
    page.keyboard.press("2")
    assert page.locator("[role=tab]").nth(1).get_attribute("aria-selected") == "true"
    before = page.locator(".figures dd").first.inner_text()
    page.locator("input[name=threshold]").fill("70")
    assert page.locator(".figures dd").first.inner_text() != before
    with page.expect_download() as download:
        page.get_by_role("button", name="save PNG").click()
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")
    footer = page.locator("footer").inner_text()
    assert "Images stay in this browser" in footer
    assert "Zhou et al." in footer


def test_what_is_no_image_or_too_large_is_refused_in_a_sentence(page):
    for name, data, sentence in (
        ("broken.jpg", b"hello", "convert it to JPEG or PNG"),
        ("cut.jpg", samples.jpeg(3)[:900], "get the file again"),
        ("huge.png", png(np.zeros((8400, 12000), bool)), "101 million pixels, and the page takes up to 50"),
        ("just too large.png", png(np.zeros((5001, 10000), bool)), "51 million pixels, and the page takes up to 50"),
    ):
        predict(page, (name, data))
        told = page.locator(".problems").all_inner_texts()[1]
        assert told.startswith(f"{name}: ")
        assert sentence in told
    page.evaluate(UNREADABLE)
    page.locator(".problems p", has_text="album: the browser cannot read it: give the file of an image").wait_for()
    page.evaluate("document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: new DataTransfer() }))")
    assert page.locator(".problems p").count() == 1  # a text is pasted into a field, and is no image
    predict(page, ("good.jpg", samples.jpeg(5)))
    assert page.locator(".problems p").count() == 0


UNREADABLE = """() => {
    const folder = new File([], "album");
    folder.slice = () => ({ arrayBuffer: () => Promise.reject(new DOMException("", "NotFoundError")) });
    desk.take([folder]);
}"""


def test_a_photograph_is_taken_with_the_camera(page):
    button = page.get_by_role("button", name="Take a photograph")
    button.click()
    page.locator(".problems p", has_text="the browser does not let this page use the camera").wait_for()
    page.context.grant_permissions(["camera"])
    button.click()
    page.get_by_role("button", name="Take the photograph").dblclick()
    page.locator(".strip [title='photograph.png'][aria-current]").wait_for(state="attached")
    assert page.locator("video").count() == 0
    assert page.locator(".problems p").count() == 0
    predict(page, ("another.jpg", samples.jpeg(5)))  # whatever was taken is predicted before it
    assert page.locator(".strip [title='photograph.png']").count() == 1
    page.evaluate(NEVER_PLAYS)
    button.click()
    page.get_by_role("button", name="Close").click()
    page.locator("video").wait_for(state="detached")
    assert page.locator(".problems p").count() == 0


NEVER_PLAYS = """() => { HTMLMediaElement.prototype.play = function () {
    return new Promise((_, reject) => {
        this.closest("dialog").addEventListener("close", () => reject(new DOMException("", "AbortError")));
    });
}; }"""


def test_a_further_class_of_an_image_needs_its_file_no_more(page, tmp_path):
    file = tmp_path / "changed later.jpg"
    file.write_bytes(samples.jpeg(6))
    page.set_input_files(".drop input", file)
    page.locator(f".strip [title='{file.name}'][aria-current]").wait_for(state="attached")
    file.write_bytes(b"something else")
    with samples.cam() as cam:
        (last,) = {*range(8)} - {*cam(samples.jpeg(6), top=7).classes.tolist()}
    page.locator("input[name=class]").fill(str(last))
    page.keyboard.press("Enter")
    answer = page.locator(".class-search [role=status]:not(:empty)")
    page.locator("[role=tab] >> nth=5").or_(answer).wait_for()
    assert answer.all_inner_texts() == []


ORDER = """async (names) => {
    const order = [];
    const predicted = ([name, data]) => {
        const file = new File([Uint8Array.from(atob(data), (each) => each.charCodeAt(0))], name);
        return runner.predict(file).then(() => order.push(name));
    };
    await Promise.all(names.map(predicted));
    return order;
}"""


def test_the_net_runs_on_one_image_after_the_other(page):
    images = [("large", samples.jpeg(3, 2000, 3000)), ("small", samples.jpeg(4))]
    given = [[name, base64.b64encode(data).decode()] for name, data in images]
    assert page.evaluate(ORDER, given) == ["large", "small"]


ANSWER = """async (code) => {
    const self = { registration: { scope: "https://example.org/page/" }, addEventListener() {} };
    const full = async () => { throw new DOMException("", "QuotaExceededError"); };
    const caches = { open: async () => ({ match: async () => undefined, put: full }) };
    const PAGE = { version: "1", files: ["a"], first: [] };
    const answer = new Function("self", "caches", "fetch", "PAGE", `${code}; return answer;`);
    const fetched = async () => new Response("content");
    const found = await answer(self, caches, fetched, PAGE)("https://example.org/page/a", false);
    return found.text();
}"""


def test_a_file_that_the_browser_has_no_room_to_keep_is_answered(browser):
    code = resources.files("pycam").joinpath("page/browser/service-worker.js").read_text("utf-8")
    with opened(browser) as page:
        assert page.evaluate(ANSWER, code) == "content"


def test_without_webassembly_the_page_says_so(browser, small_file):
    with opened(browser) as page:
        page.add_init_script("globalThis.kept = WebAssembly; delete globalThis.WebAssembly")
        page.goto(small_file)
        page.locator(".problems p", has_text="this browser has no WebAssembly").wait_for()
        predict(page, ("a.jpg", samples.jpeg(3)))
        assert "a.jpg: this browser has no WebAssembly" in page.locator(".problems").all_inner_texts()[1]
        page.screenshot(path=SCREENSHOTS / "page-without-webassembly.png")
        # The next image tries again.
        page.evaluate("() => { globalThis.WebAssembly = kept; }")
        predict(page, ("a.jpg", samples.jpeg(3)))
        assert page.locator(".problems p").count() == 0
        assert "The net is ready: WebAssembly" in page.inner_text(READY)


def test_without_memory_the_page_says_so(launch, bundled):
    with opened(launch("--js-flags=--wasm-max-mem-pages=260")) as page:
        page.goto(bundled.as_uri())
        page.locator(".problems p", has_text="the browser gives the net too little memory").wait_for()
        predict(page, ("a.jpg", samples.jpeg(3)))
        assert "a.jpg: the browser gives the net too little memory" in page.locator(".problems").all_inner_texts()[1]


def answering(**answer: object) -> Callable[[object], None]:
    return lambda route: route.fulfill(**answer)


def test_what_does_not_arrive_can_be_tried_again(browser, small):
    folder = small("retry")
    with served(folder) as address, opened(browser, expected=("ERR_FAILED", "404", "fetching the script")) as page:
        page.context.route("**/service-worker.js", lambda route: route.abort())
        page.context.route("**/model.onnx", lambda route: route.abort())
        page.goto(address)
        problem = page.locator(".problems p")
        problem.filter(has_text="model.onnx did not arrive: check the network").wait_for()
        page.context.unroute("**/model.onnx")
        for answer, sentence in (
            ({"status": 404}, "the server has no model.onnx (404)"),
            ({"body": "version https://git-lfs.github.com/spec/v1"}, "model.onnx is not the file that belongs to this"),
        ):
            page.context.route("**/model.onnx", answering(**answer))
            page.get_by_role("button", name="Try again").click()
            problem.filter(has_text=sentence).wait_for()
            page.context.unroute("**/model.onnx")
        bar, held = page.get_by_role("progressbar"), []
        page.context.route("**/model.onnx", lambda route: held.append(route))  # until the bar has been seen
        page.get_by_role("button", name="Try again").click()
        bar.wait_for()
        page.screenshot(path=SCREENSHOTS / "page-loading.png")
        while not held:
            page.wait_for_timeout(10)
        held[0].continue_()
        page.locator(READY).wait_for()
        assert bar.is_hidden()
        # A server may unpack what it sends.
        assert page.evaluate("async () => (await fileNamed('runtime/ort.wasm.min.js.gz')).size") > 30_000

    with opened(browser) as page:
        page.goto((folder / "index.html").as_uri())
        page.locator(".problems p", has_text="a page in a folder works on a web server only").wait_for()


def test_webassembly_runs_the_net_where_webgpu_fails(browser, small_file):
    with opened(browser) as page:
        # An adapter that the worker does not find.
        page.add_init_script("Object.defineProperty(navigator, 'gpu', { value: { requestAdapter: async () => ({}) } })")
        page.goto(small_file)
        page.locator(READY, has_text="WebAssembly").wait_for()
        assert page.evaluate("() => runner.used.includes('runtime/ort.wasm.min.js.gz')")
    # Whoever asks for the net while it loads waits for the same one.
    with opened(browser) as page:
        page.add_init_script("Object.defineProperty(navigator, 'gpu', { value: { requestAdapter: async () => ({}) } })")
        page.add_init_script(COUNTED)
        page.goto(small_file)
        assert page.evaluate(IMPATIENT) == 2


COUNTED = """
globalThis.workers = 0;
globalThis.Worker = class extends Worker {
    constructor(...given) { super(...given); workers++; }
};"""
IMPATIENT = """async () => {
    while (!document.querySelector(".engine").textContent) {
        runner.ready().catch(() => {});
        await new Promise((resolve) => setTimeout(resolve, 1));
    }
    return workers;
}"""


def test_other_scores_than_pycams_are_not_shown(browser, small_file):
    with opened(browser) as page:
        # A browser whose arithmetic is wrong: another image than the one that pycam had.
        page.add_init_script(
            "const post = Worker.prototype.postMessage; Worker.prototype.postMessage = function (message) {"
            "  if (message.task === 'check') message.content.rgba.fill(200); post.call(this, message); };"
        )
        page.goto(small_file)
        page.locator(".problems p", has_text="WebAssembly computes other scores").wait_for()


@pytest.mark.slow
@pytest.mark.shared
def test_top_1_of_squeezenet_on_fifty_images(browser, ortweb, shared, tmp_path):
    weights = shared / "data" / "weights" / "squeezenet_v1.0.caffemodel"
    place = tmp_path / "page.html"
    model = ["--model", "squeezenet-v1.0", "--weights", str(weights)]
    assert main(["page", *model, "--runtime", str(ortweb), "--out", str(place)]) == 0
    files = sorted((shared / "data" / "ilsvrc-mini" / "ILSVRC2012_img_val").iterdir())[:50]
    assert len(files) == 50
    same = 0
    with pycam.load("squeezenet-v1.0", weights=weights) as cam, opened(browser) as page:
        page.goto(place.as_uri())
        page.locator(READY).wait_for()
        for file in files:
            found = page.evaluate(BEST, [file.name, base64.b64encode(file.read_bytes()).decode()])
            same += found == cam(file).top[0].index
    assert same >= 49


BEST = """async ([name, data]) => {
    const file = new File([Uint8Array.from(atob(data), (each) => each.charCodeAt(0))], name);
    return (await runner.predict(file)).runs[0].top[0].index;
}"""
