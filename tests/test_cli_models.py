from __future__ import annotations

import io
import json

import pytest
from typer.testing import CliRunner

from pycam import zoo
from pycam.cli import main, models
from pycam.errors import ModelError, UsageError

NET = """
input: "data" input_shape { dim: 1 dim: 3 dim: 4 dim: 4 }
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool"
        pooling_param { pool: AVE global_pooling: true } }
"""


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch):
    """A machine with an empty cache."""
    monkeypatch.setenv("PYCAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("PYCAM_MODELS", raising=False)
    return tmp_path


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def run(*arguments: str) -> str:
    """Give what `pycam models` prints; raise what it raises."""
    result = CliRunner().invoke(models.app, arguments, catch_exceptions=False)
    if result.exit_code:
        raise AssertionError(f"exit code {result.exit_code}: {result.output}")
    return result.stdout


def put(machine, name, content=b"weights"):
    (machine / "cache").mkdir(exist_ok=True)
    path = machine / "cache" / name
    path.write_bytes(content)
    return path


def test_the_list_tells_what_is_here(machine):
    path = put(machine, "squeezenet_v1.1.caffemodel")
    rows = [line.split("\t") for line in run("list").splitlines()]
    assert rows.pop(0) == ["model", "description", "class maps", "weights"]
    assert [row[0] for row in rows] == [card.name for card in zoo.all_cards()]
    assert {row[0] for row in rows if row[3] == "never published"} == {"alexnet-gap", "googlenet-gmp"}
    assert {row[0]: row[3] for row in rows if row[3] not in ("missing", "never published")} == {
        "squeezenet-v1.1": str(path),
        "squeezenet-cam-caltech101": str(zoo.models_folder() / "squeezenet-cam-caltech101.caffemodel"),
    }
    assert {row[0] for row in rows if row[2] == "no"} == {"bvlc-alexnet", "bvlc-caffenet", "vgg16"}


def test_the_list_as_json(machine):
    path = put(machine, "squeezenet_v1.1.caffemodel")
    rows = {row["name"]: row for row in json.loads(run("list", "--json"))}
    assert rows["squeezenet-v1.1"]["weights"] == str(path) and rows["googlenet-cam"]["weights"] is None
    assert "alexnet-cam" in rows["alexnetplus-cam"]["aliases"] and rows["vgg16"]["cam"] is False


def test_a_terminal_gets_a_table(machine, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(models.sys, "stdout", _Terminal())
    models.list_models()
    models.show("googlenet-cam")
    text = models.sys.stdout.getvalue()
    assert "description" in text and "googlenet-cam-places205" in text and "\t" not in text
    assert "CAM_fc" in text and "missing: run `pycam models download googlenet-cam`" in text


def test_show_tells_the_card_and_whether_the_file_is_the_published_one(machine):
    put(machine, "squeezenet_v1.1.caffemodel")
    rows = dict(line.split("\t") for line in run("show", "SqueezeNet-1.1").splitlines())
    assert rows["name"] == "squeezenet-v1.1" and rows["feature_blob"] == "conv10" and "class_layer" not in rows
    assert rows["weights git_blob"] == "9d2fc33abf653a6e8b2ee6cc63ede0e72ec67f44"
    assert rows["mean value"] == "104.00698793, 116.66876762, 122.67891434"
    assert rows["found state"] == "not the published file"
    facts = json.loads(run("show", "vgg16", "--json"))
    assert facts["mean"] == {"value": [103.939, 116.779, 123.68], "image": None}
    assert facts["found"] == {"weights": None, "state": "missing: run `pycam models download vgg16`"}


@pytest.mark.parametrize(
    ("of", "expected"),
    [
        ("prototxt", "prototxt/deploy_googlenetCAM.prototxt"),
        ("labels", "models/labels/ilsvrc.tsv"),
        ("card", "models/googlenet-cam.yaml"),
    ],
)
def test_path_prints_where_a_file_is(of, expected):
    (line,) = run("path", "googlenet-cam", "--of", of).splitlines()
    assert line.endswith(expected)


def test_path_fails_for_what_is_not_here(machine):
    with pytest.raises(ModelError, match="run `pycam models download vgg16-cam`, or get http"):
        run("path", "vgg16-cam")
    with pytest.raises(ModelError, match=r"ilsvrc_2012_mean\.npy is not on this machine"):
        run("path", "vgg16-cam", "--of", "mean")
    with pytest.raises(ModelError, match="no model is called 'vgg16cm': did you mean 'vgg16cam'"):
        run("path", "vgg16cm")
    card = machine / "my.yaml"
    card.write_text("name: my\nprototxt: my.prototxt\nweights: my.caffemodel\n")
    with pytest.raises(ModelError, match=r"my\.yaml: the card names no labels"):
        run("path", str(card), "--of", "labels")


def test_download_checks_what_is_there_and_goes_on_after_a_failure(machine, capsys):
    home = machine / "mine"
    home.mkdir()
    (home / "my.prototxt").write_text(NET)
    (home / "my.caffemodel").write_bytes(b"my own")
    (home / "my.yaml").write_text("name: my\nprototxt: my.prototxt\nweights: my.caffemodel\n")
    (home / "none.yaml").write_text("name: none\nprototxt: my.prototxt\nweights: none.caffemodel\n")
    assert main(["models", "download", str(home / "none.yaml"), str(home / "my.yaml")]) == ModelError.exit_code
    printed = capsys.readouterr()
    assert "no address is known" in printed.err
    assert printed.out.splitlines() == [f"my\t{home / 'my.caffemodel'}\tunknown: no checksum was published"]


def test_download_of_nothing_is_a_usage_error():
    with pytest.raises(UsageError, match="nothing to download: give names"):
        run("download")


@pytest.mark.shared
def test_a_mean_image_alone(shared, monkeypatch):
    monkeypatch.setenv("PYCAM_MODELS", str(shared / "data" / "mean"))
    assert run("download", "--mean") == f"ilsvrc-2012\t{shared / 'data/mean/ilsvrc_2012_mean.npy'}\tmean\n"


def test_a_model_without_a_mean_image_has_its_mean_value():
    name = "squeezenet-cam-caltech101"
    weights, mean = run("download", name, "--mean").splitlines()
    assert weights.startswith(f"{name}\t/") and mean == f"{name}\t-\tno mean image: a mean value"
    with pytest.raises(ModelError, match=r"\.yaml: the card names no mean image"):
        run("path", name, "--of", "mean")


def test_unknown_names_are_refused_before_anything_is_fetched(machine):
    with pytest.raises(ModelError, match="no model is called 'typo'"):
        run("download", "squeezenet-v1.1", "typo")
    assert not (machine / "cache").exists()


def test_protocols_are_a_table():
    rows = {line.split()[0]: line.split()[1:] for line in run("protocols").splitlines()}
    assert rows["protocol"][:3] == ["default", "py_demo", "matlab_demo"]
    assert rows["view"][:3] == ["model", "center", "ten"]
    assert rows["placement"][:2] == ["in_place", "stretched"]
    by_name = {row["name"]: row for row in json.loads(run("protocols", "--json"))}
    assert by_name["released"]["box_rule"] == "released"
