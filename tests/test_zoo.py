from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from collections import Counter
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import scipy.io

from pycam import zoo
from pycam.errors import FormatError, ModelError, NetError
from pycam.formats import caffemodel, prototxt
from pycam.net import find_head, read_net
from pycam.zoo import catalog
from pycam.zoo.checksums import checksum, pin, pin_file, pinned

NET = """
name: "tiny" input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 2 kernel_size: 3 } }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool"
        pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 4 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
SHAPES = {"conv": [(2, 3, 3, 3), (2,)], "fc": [(4, 2), (4,)]}
CARDS = zoo.all_cards()
FACTS = {
    "alexnetplus-cam": "alexnet-cam",
    "alexnetplus-cam-places205": "alexnet-cam-places205",
    "bvlc-alexnet": "bvlc-alexnet",
    "bvlc-caffenet": "bvlc-reference-caffenet",
    "bvlc-googlenet": "bvlc-googlenet",
    "googlenet-cam": "googlenet-cam",
    "googlenet-cam-places205": "googlenet-cam-places205",
    "squeezenet-v1.0": "squeezenet-v1.0",
    "squeezenet-v1.1": "squeezenet-v1.1",
    "vgg16-cam": "vgg16-cam",
}
RELEASED = {*FACTS, "vgg16", "nin-imagenet", "alexnet-gap", "googlenet-gmp"}


def by_name(card):
    return card.name


def write_weights(path: Path, fill: float, shapes=SHAPES) -> Path:
    params = {name: [np.full(shape, fill, np.float32) for shape in blobs] for name, blobs in shapes.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    caffemodel.write(path, prototxt.parse(NET).message, params)
    return path


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine without any weights, and an empty cache that is not there yet."""
    monkeypatch.setenv("PYCAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PYCAM_MODELS", raising=False)
    monkeypatch.setenv("NO_PROXY", "*")
    return tmp_path


@pytest.fixture
def card(tmp_path):
    """A card of the user's own beside its net; `card(...)` writes what stands under its weights."""
    home = tmp_path / "mine"
    home.mkdir()
    (home / "tiny.prototxt").write_text(NET)

    def write(weights: str = "{file: tiny.caffemodel, mirrors: ['http://example.invalid/tiny.caffemodel']}"):
        (home / "tiny.yaml").write_text(f"name: tiny\nprototxt: tiny.prototxt\nweights: {weights}\n")
        return zoo.card(home / "tiny.yaml")

    return write


@pytest.fixture
def site(tmp_path):
    """A web server over a folder: gives the folder and its address."""
    folder = tmp_path / "site"
    folder.mkdir()

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


# The bundled cards


def test_the_released_models_are_there():
    assert {card.name for card in CARDS} >= RELEASED


def test_no_name_is_used_twice():
    names = Counter(catalog._fold(name) for card in CARDS for name in (card.name, *card.aliases))
    files = Counter(name for card in CARDS for name in card.weights.names)
    assert [name for name, count in (names + files).items() if count > 1] == []


@pytest.mark.parametrize("card", CARDS, ids=by_name)
def test_a_card_says_what_people_need(card):
    assert card.title and card.licence and card.source and card.paper
    assert card.path.stem == card.name and card.prototxt.startswith("deploy_")
    assert all(Path(urlsplit(url).path).name in card.weights.names for url in card.weights.mirrors)
    in_repository = (zoo.models_folder() / card.weights.file).is_file()
    assert card.weights.mirrors or in_repository or (zoo.prototxt_folder() / card.weights.solver).is_file()


@pytest.mark.parametrize("card", CARDS, ids=by_name)
def test_a_card_agrees_with_its_net_and_its_labels(card):
    net = read_net(zoo.prototxt_path(card))
    assert net.shapes[net.inputs[0]][2:] == card.input_size
    assert card.score_blob in net.outputs
    assert np.prod(net.shapes[card.score_blob][1:]) == len(zoo.card_labels(card))
    channels = net.shapes[card.feature_blob][1]
    if not card.cam:
        with pytest.raises(NetError, match="there is no global pooling before the scores"):
            find_head(net)
        return
    assert (find_head(net).feature_blob, find_head(net).class_layer) == (card.feature_blob, card.class_layer)
    if card.class_layer is None:
        assert channels == len(zoo.card_labels(card))
    else:
        (layer,) = (layer for layer in net.layers if layer.name == card.class_layer)
        assert layer.param_shapes[0] == (len(zoo.card_labels(card)), channels)


@pytest.mark.shared
@pytest.mark.parametrize("name", FACTS)
def test_a_card_agrees_with_the_facts(name, shared):
    card = zoo.card(name)
    layers = json.loads((shared / "facts" / "nets" / f"{FACTS[name]}.json").read_text())["layers"]
    by_top = {top: layer for layer in layers for top in layer["top"]}
    assert {card.feature_blob, card.score_blob} <= set(by_top)
    if card.class_layer is not None:
        (layer,) = (layer for layer in layers if layer["name"] == card.class_layer)
        assert layer["param_shapes"][0] == [len(zoo.card_labels(card)), by_top[card.feature_blob]["top_shape"][1]]


@pytest.mark.shared
def test_the_mean_is_that_of_the_published_image(shared, monkeypatch):
    monkeypatch.setenv("PYCAM_MODELS", str(shared / "data"))
    mean = zoo.bvlc_mean()
    path = zoo.mean_path(mean)
    assert path.name == "ilsvrc_2012_mean.npy" and checksum(path, "sha256") == mean.image.sha256
    assert np.load(path).mean(axis=(1, 2)) == pytest.approx(mean.value, abs=1e-6)


@pytest.mark.shared
def test_googlenet_cam_is_recognised_by_its_published_class_weights(shared, tmp_path):
    weights = scipy.io.loadmat(shared / "data" / "cam-release" / "data_net.mat")["weights_LR"].T
    net = prototxt.parse('layer { name: "CAM_fc" type: "InnerProduct" }').message
    path, googlenet = tmp_path / "cam.caffemodel", zoo.card("googlenet-cam")
    caffemodel.write(path, net, {"CAM_fc": [np.ascontiguousarray(weights).reshape(1, 1, 1000, 1024)]})
    assert zoo.identify(googlenet, path) == "the published weights, according to CAM_fc"
    changed = np.array(weights)
    changed[7, 9] = np.nextafter(changed[7, 9], np.float32(1))
    caffemodel.write(path, net, {"CAM_fc": [changed]})
    assert zoo.identify(googlenet, path) == "not the published weights: CAM_fc differs"


# Names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("googlenet-cam", "googlenet-cam"),
        ("googlenet-CAM", "googlenet-cam"),
        ("GoogLeNetCAM", "googlenet-cam"),
        ("alexnet_cam", "alexnetplus-cam"),
        ("caffenet", "bvlc-caffenet"),
        ("squeezenet_v1.0", "squeezenet-v1.0"),
    ],
)
def test_a_model_is_found_by_name_and_alias(name, expected):
    assert zoo.card(name).name == expected


@pytest.mark.parametrize("name", ["gogglenet-cam", "googlenet-cm", "googlenet"[::-1] + "zzz", ""])
def test_an_unknown_model_offers_the_nearest(name):
    near = r"did you mean 'googlenet-cam'\?" if name.startswith("go") else "no name is similar; `pycam models list`"
    with pytest.raises(ModelError, match=f"no model is called '{name}': {near}"):
        zoo.card(name)


@pytest.mark.parametrize(
    ("name", "models"),
    [
        ("squeezenet", "'squeezenet-v1.0', 'squeezenet-v1.1' or 'squeezenet-cam-caltech101'"),
        ("places_", "'places-alexnet-cam' or 'places-googlenet-cam'"),
    ],
)
def test_the_beginning_of_several_names_offers_each_model_once(name, models):
    with pytest.raises(ModelError, match=rf"did you mean {re.escape(models)}\? `pycam models list`"):
        zoo.card(name)


def test_a_missing_card_is_a_model_error_and_a_wrong_one_a_format_error(tmp_path):
    with pytest.raises(ModelError, match=r"no model card .*none\.yaml"):
        zoo.card(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("name: bad\n")
    with pytest.raises(FormatError, match=r"bad\.yaml: Object missing required field `prototxt`"):
        zoo.card(tmp_path / "bad.yaml")


def test_a_card_of_ones_own_takes_its_files_from_beside_it(tmp_path):
    home = tmp_path / "mine"
    weights = write_weights(home / "snapshots" / "tiny.caffemodel", 1)
    (home / "names.txt").write_text("a\nb\nc\nd\n")
    (home / "deploy_squeezenet_v1.0.prototxt").write_text(NET)
    (home / "my.yaml").write_text(
        "name: my\nprototxt: deploy_squeezenet_v1.0.prototxt\nweights: snapshots/tiny.caffemodel\nlabels: names.txt\n"
    )
    card = zoo.card(str(home / "my.yaml"))
    assert zoo.prototxt_path(card) == home / "deploy_squeezenet_v1.0.prototxt"
    assert zoo.weights_path(card) == weights
    assert zoo.card_labels(card).names == ("a", "b", "c", "d")
    write_weights(weights, 2)
    assert zoo.weights_path(card) == weights and not pin_file(weights).exists()


def test_a_card_of_ones_own_may_name_a_bundled_net_and_labels(tmp_path):
    (tmp_path / "my.yaml").write_text(
        "name: my\nprototxt: deploy_googlenetCAM.prototxt\nweights: my.caffemodel\nlabels: places205\n"
    )
    card = zoo.card(tmp_path / "my.yaml")
    assert zoo.prototxt_path(card) == zoo.prototxt_folder() / "deploy_googlenetCAM.prototxt"
    assert len(zoo.card_labels(card)) == 205
    place = re.escape(f"put it into {tmp_path}, beside the card, ")
    with pytest.raises(ModelError, match=rf"my\.caffemodel is not on this machine: no address is known; {place}"):
        zoo.weights_path(card)
    # The advice is right: a file that lies there is found.
    (tmp_path / "my.caffemodel").touch()
    assert zoo.weights_path(card) == tmp_path / "my.caffemodel"


def test_a_name_that_no_file_can_have_is_a_missing_file(tmp_path):
    card = tmp_path / "mine.yaml"
    card.write_text(f"name: mine\nprototxt: {'x' * 300}\nweights: {'y' * 300}\nlabels: {'z' * 300}\n")
    mine = zoo.card(card)
    for find, what in ((zoo.prototxt_path, "prototxt"), (zoo.labels_path, "labels"), (zoo.weights_path, "y{300}")):
        with pytest.raises(ModelError, match=what):
            find(mine)


def test_missing_files_of_a_card_are_named(tmp_path):
    (tmp_path / "my.yaml").write_text("name: my\nprototxt: no.prototxt\nweights: no.caffemodel\nlabels: no.txt\n")
    card = zoo.card(tmp_path / "my.yaml")
    with pytest.raises(ModelError, match=r"my\.yaml: prototxt: no\.prototxt is neither beside the card nor in"):
        zoo.prototxt_path(card)
    with pytest.raises(
        ModelError, match=r"my\.yaml: labels: no file .*no\.txt; the bundled lists are caltech101, ilsvrc, places205"
    ):
        zoo.card_labels(card)
    (tmp_path / "plain.yaml").write_text("name: my\nprototxt: no.prototxt\nweights: no.caffemodel\n")
    assert zoo.card_labels(zoo.card(tmp_path / "plain.yaml")) is None


def test_a_card_of_ones_own_may_name_the_solver_of_its_weights(card, machine):
    home = machine / "mine"
    tiny = card("{file: tiny.caffemodel, solver: my solver.prototxt}")
    with pytest.raises(ModelError, match=r"tiny\.yaml: solver: my solver\.prototxt is neither beside the card nor in"):
        zoo.weights_path(tiny, download=True)
    (home / "my solver.prototxt").write_text('net: "tiny.prototxt"')
    expected = f'pycam train --solver "$(pycam models path {shlex.quote(str(home / "tiny.yaml"))} --of solver)"'
    with pytest.raises(
        ModelError, match=f"weights of tiny were never published: train them with `{re.escape(expected)}`"
    ):
        zoo.weights_path(tiny, download=True)
    assert zoo.solver_path(tiny) == home / "my solver.prototxt"
    path = write_weights(home / "tiny.caffemodel", 1)
    assert zoo.weights_path(tiny) == path
    assert zoo.training_command(card()) == ""


# Where weights are looked for


def test_missing_weights_say_how_to_get_them(machine, monkeypatch):
    monkeypatch.setenv("PYCAM_MODELS", str(machine / "typo"))
    with pytest.raises(ModelError) as caught:
        zoo.weights_path(zoo.card("googlenet-cam"))
    message = str(caught.value)
    assert "imagenet_googlenetCAM_train_iter_120000.caffemodel is not on this machine" in message
    assert f"PYCAM_MODELS names folders that do not exist: {machine / 'typo'}" in message
    assert "`pycam models download googlenet-cam`" in message
    assert "http://cnnlocalization.csail.mit.edu/demoCAM/models/imagenet_googlenetCAM" in message
    assert str(machine / "cache") in message and "\n" not in message


@pytest.mark.parametrize("name", ["tiny.caffemodel", "old_name.caffemodel"])
@pytest.mark.parametrize("place", ["models/a", "models/a/inside", "models/b", "cache"])
def test_weights_are_found_in_each_place_under_each_name(machine, card, monkeypatch, place, name):
    folders = [str(machine / "models" / "a"), str(machine / "models" / "b")]
    monkeypatch.setenv("PYCAM_MODELS", os.pathsep.join(folders))
    path = write_weights(machine / place / name, 1)
    found = zoo.weights_path(card("{file: tiny.caffemodel, aliases: [old_name.caffemodel]}"))
    assert found == path


def test_the_first_place_wins(machine, card, monkeypatch):
    tiny = card()
    monkeypatch.setenv("PYCAM_MODELS", os.pathsep.join([str(machine / "a"), "", str(machine / "b")]))
    for place in ("cache", "b/inside", "b", "a/inside", "a", "mine"):
        assert zoo.find_weights(tiny) != machine / place / "tiny.caffemodel"
        write_weights(machine / place / "tiny.caffemodel", 1)
        assert zoo.find_weights(tiny) == machine / place / "tiny.caffemodel"


def test_two_levels_down_and_folders_are_not_looked_at(machine, card, monkeypatch):
    monkeypatch.setenv("PYCAM_MODELS", str(machine / "a"))
    write_weights(machine / "a" / "b" / "c" / "tiny.caffemodel", 1)
    (machine / "a" / "tiny.caffemodel").mkdir()
    (machine / "cache").mkdir()
    (machine / "cache" / "tiny.caffemodel").symlink_to(machine / "nowhere")
    assert zoo.find_weights(card()) is None


def test_the_installed_package_has_its_own_folders(tmp_path, monkeypatch):
    package = tmp_path / "site-packages" / "pycam"
    (package / "data" / "models").mkdir(parents=True)
    (package.parent / "models").mkdir()
    monkeypatch.setattr(catalog, "PACKAGE", package)
    assert zoo.models_folder() == package / "data" / "models"
    with pytest.raises(ModelError, match="prototxt/ is missing, install pycam again"):
        zoo.prototxt_folder()


def test_without_pycam_cache_the_platforms_place_is_used(monkeypatch, tmp_path):
    monkeypatch.delenv("PYCAM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert zoo.cache_folder().name == "pycam" or "pycam" in zoo.cache_folder().parts


def test_without_a_home_directory_the_message_says_what_to_set(monkeypatch):
    monkeypatch.setenv("PYCAM_CACHE", "~nobody-of-this-name/cache")
    with pytest.raises(ModelError, match=r"PYCAM_CACHE is ~nobody.*, but no home directory is known: set HOME, or set"):
        zoo.cache_folder()


# What may lie there


def test_in_the_cache_only_the_published_file_is_taken(machine, card, monkeypatch):
    path = write_weights(machine / "cache" / "tiny.caffemodel", 1)
    tiny = card(f"{{file: tiny.caffemodel, git_blob: {checksum(path, 'git_blob')}}}")
    assert zoo.weights_path(tiny) == path and zoo.identify(tiny, path) == "the published file"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    with pytest.raises(
        ModelError,
        match=r"cache/tiny\.caffemodel: this is not the published file: its git_blob is .* the published one is",
    ):
        zoo.weights_path(tiny)
    own = machine / "own" / "tiny.caffemodel"
    write_weights(own, 3)
    monkeypatch.setenv("PYCAM_MODELS", str(own.parent))
    assert zoo.weights_path(tiny) == own and zoo.identify(tiny, own) == "not the published file"


def test_an_unpublished_checksum_is_pinned_at_first_use_and_held_to(machine, card):
    path = write_weights(machine / "cache" / "tiny.caffemodel", 1)
    tiny = card()
    assert zoo.identify(tiny, path) == "unknown: no checksum was published"
    assert zoo.weights_path(tiny) == path
    assert pinned(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    assert zoo.weights_path(tiny) == path and zoo.identify(tiny, path) == "the same as at first use"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"not the file that was first used: .* delete .*\.sha256 to accept it"):
        zoo.weights_path(tiny)
    pin_file(path).unlink()
    assert zoo.weights_path(tiny) == path


def test_what_does_not_fit_the_net_is_not_pinned(machine, card):
    shapes = SHAPES | {"fc": [(5, 2), (5,)]}
    path = write_weights(machine / "cache" / "tiny.caffemodel", 1, shapes)
    with pytest.raises(NetError, match="fc"):
        zoo.weights_path(card())
    assert not pin_file(path).exists()


def test_a_pin_is_kept_to_in_the_users_folders_too_but_none_is_made_there(machine, card, monkeypatch):
    path = write_weights(machine / "own" / "tiny.caffemodel", 1)
    monkeypatch.setenv("PYCAM_MODELS", str(path.parent))
    assert zoo.weights_path(card()) == path and not pin_file(path).exists()
    pin(path)
    write_weights(path, 2)
    with pytest.raises(ModelError, match="not the file that was first used"):
        zoo.weights_path(card())


# Downloads


def test_a_download_without_published_checksum_must_fit_the_net_and_is_pinned(machine, card, site):
    folder, url = site
    write_weights(folder / "tiny.caffemodel", 1)
    tiny = card(f"{{file: tiny.caffemodel, mirrors: ['{url}/tiny.caffemodel']}}")
    path = zoo.weights_path(tiny, download=True)
    assert path == machine / "cache" / "tiny.caffemodel"
    assert path.read_bytes() == (folder / "tiny.caffemodel").read_bytes()
    assert pinned(path) == checksum(path, "sha256")
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "tiny.caffemodel",
        "tiny.caffemodel.sha256",
    ]

    write_weights(folder / "tiny.caffemodel", 2)
    path.unlink()
    with pytest.raises(ModelError, match=r"tiny\.caffemodel: .*not the file that was first used"):
        zoo.weights_path(tiny, download=True)
    assert [file.name for file in path.parent.iterdir()] == ["tiny.caffemodel.sha256"]


@pytest.mark.parametrize(
    "content",
    [
        b"<html>Log in</html>",
        b"",
        b"\x00" * 500,
        b"version https://git-lfs.github.com/spec/v1\n",
        "cut",
        "other",
    ],
)
def test_a_download_that_is_no_weights_of_the_net_is_refused(machine, card, site, content):
    folder, url = site
    weights = write_weights(folder / "tiny.caffemodel", 1, SHAPES if content == "cut" else {"conv": SHAPES["conv"]})
    if content != "other":
        weights.write_bytes(weights.read_bytes()[:-5] if content == "cut" else content)
    tiny = card(f"{{file: tiny.caffemodel, mirrors: ['{url}/tiny.caffemodel']}}")
    with pytest.raises(ModelError, match=rf"tiny\.caffemodel could not be downloaded: {url}") as caught:
        zoo.weights_path(tiny, download=True)
    assert ".part" not in str(caught.value) and "\n" not in str(caught.value)
    assert not any((machine / "cache").iterdir())


@pytest.mark.parametrize("kind", ["sha256", "sha1", "git_blob"])
def test_a_download_must_have_the_published_checksum(machine, card, site, kind):
    folder, url = site
    right = checksum(write_weights(folder / "right" / "tiny.caffemodel", 1), kind)
    write_weights(folder / "wrong" / "tiny.caffemodel", 2)
    mirrors = f"['{url}/wrong/tiny.caffemodel', '{url}/right/tiny.caffemodel']"
    tiny = card(f"{{file: tiny.caffemodel, mirrors: {mirrors}, {kind}: {right}}}")
    path = zoo.weights_path(tiny, download=True)
    assert path.read_bytes() == (folder / "right" / "tiny.caffemodel").read_bytes()
    assert list((machine / "cache").iterdir()) == [path]

    (folder / "right" / "tiny.caffemodel").unlink()
    path.unlink()
    with pytest.raises(ModelError, match=f"not the published file: its {kind} is .*; .*HTTP status 404"):
        zoo.weights_path(tiny, download=True)
    assert not any((machine / "cache").iterdir())


def test_a_damaged_file_in_the_cache_is_downloaded_again(machine, card, site):
    folder, url = site
    right = write_weights(folder / "tiny.caffemodel", 1)
    damaged = write_weights(machine / "cache" / "tiny.caffemodel", 2)
    tiny = card(f"{{file: tiny.caffemodel, mirrors: ['{url}/tiny.caffemodel'], sha1: {checksum(right, 'sha1')}}}")
    assert zoo.weights_path(tiny, download=True) == damaged and damaged.read_bytes() == right.read_bytes()


def test_what_is_there_is_not_downloaded_again(machine, card):
    path = write_weights(machine / "cache" / "tiny.caffemodel", 1)
    assert zoo.weights_path(card(), download=True) == path


def test_a_download_never_leaves_the_cache(machine, card, site):
    folder, url = site
    write_weights(folder / "tiny.caffemodel", 1)
    tiny = card(f"{{file: ../../elsewhere/tiny.caffemodel, mirrors: ['{url}/tiny.caffemodel']}}")
    assert zoo.weights_path(tiny, download=True) == machine / "cache" / "tiny.caffemodel"


def test_a_mean_image_is_found_and_checked(machine, card):
    with pytest.raises(ModelError, match=r"ilsvrc_2012_mean\.npy is not on this machine.*models download --mean"):
        zoo.mean_path(zoo.bvlc_mean())
    with pytest.raises(
        ModelError, match=r"ilsvrc_2012_mean\.npy is not on this machine.*download googlenet-cam --mean"
    ):
        zoo.mean_path(zoo.bvlc_mean(), card=zoo.card("googlenet-cam"))
    with pytest.raises(ModelError, match="has a mean value but no mean image"):
        zoo.mean_path(zoo.card("vgg16").mean)
    (machine / "cache").mkdir()
    (machine / "cache" / "ilsvrc_2012_mean.npy").write_bytes(b"no mean")
    with pytest.raises(ModelError, match="not the published file: its sha256 is"):
        zoo.mean_path(zoo.bvlc_mean())


@pytest.mark.parametrize("name", ["net.pth", "best.pt"])
def test_weights_of_pytorch_are_no_model(name):
    with pytest.raises(ModelError, match=r"weights of PyTorch .*, not the name of a model: export .* with --onnx"):
        zoo.card(name)


def test_the_zoo_is_light():
    heavy = "cv2 onnx onnxruntime scipy pandas torch requests rich numpy platformdirs"
    code = f"import sys, pycam.zoo; pycam.zoo.all_cards(); print([m for m in {heavy.split()!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
