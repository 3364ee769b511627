"""Groups of options: how commands take them, and what they give."""

from __future__ import annotations

import pytest
import typer
from typer.testing import CliRunner

from pycam.cli import main, options
from pycam.errors import UsageError


def called(*arguments: str, default: options.RunOptions | None = None) -> options.RunOptions:
    """Return the group that a command gets."""
    taken = []

    def command(engine: options.EngineOptions = default or options.EngineOptions()) -> None:
        taken.append(engine)

    app = typer.Typer()
    app.command()(options.grouped(command))
    result = CliRunner().invoke(app, arguments, env={"PYCAM_DEVICE": None}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    (group,) = taken
    return group


def test_a_command_gets_its_options_as_one_value():
    assert called() == options.EngineOptions()
    given = called("--engine", "torch", "--threads", "2", "--device", "cuda")
    assert given == options.EngineOptions("cuda", 2, engine="torch")
    assert (given.options.device, given.options.threads, given.options.precision) == ("cuda", 2, None)


def test_a_default_of_the_group_gives_the_defaults_of_its_options():
    default = options.EngineOptions(precision="bf16", engine="torch")
    assert called("--threads", "3", default=default) == options.EngineOptions(None, 3, "bf16", "torch")


@pytest.mark.parametrize(
    ("maps", "methods"),
    [
        (options.MapOptions(), ["cam"]),
        (options.MapOptions("keras_gradcam"), ["gradcam_mean"]),
        (options.MapOptions("keras_gradcam", method=["cam", "saliency"]), ["cam", "saliency"]),
    ],
)
def test_the_protocol_decides_the_method_unless_one_is_given(maps, methods):
    assert [row.method for row in maps.rows] == methods


def test_layer_and_target_of_no_method_are_refused():
    with pytest.raises(UsageError, match="layer 'conv' has no effect with method 'cam'"):
        _ = options.MapOptions(layer=["conv"]).rows


def test_layers_are_for_the_methods_that_take_one():
    rows = options.MapOptions(method=["saliency", "gradcam", "cam"], layer=["b", "a"]).rows
    assert [(row.method, row.layer) for row in rows] == [
        ("saliency", ""), ("gradcam", "b"), ("gradcam", "a"), ("cam", "")
    ]  # fmt: skip
    assert [row.layer for row in options.MapOptions("keras_gradcam", layer=["a", "b"]).rows] == ["a", "b"]


@pytest.mark.parametrize(
    ("maps", "told"),
    [
        (options.MapOptions(method=["cam", "cam"]), "method cam is given twice"),
        (options.MapOptions(method=["gradcam"], layer=["a", "a"]), "method gradcam at layer a is given twice"),
    ],
)
def test_the_same_maps_twice_are_refused(maps, told):
    with pytest.raises(UsageError, match=told):
        _ = maps.rows


def test_a_parameter_of_the_command_replaces_an_option_of_its_group():
    taken = []

    def command(source: options.NetOptions, model: options.SeveralModels = None) -> None:
        taken.append((source, model))

    app = typer.Typer()
    app.command()(options.grouped(command))
    CliRunner().invoke(app, ["-m", "a", "--model", "b", "--level", "2"], catch_exceptions=False)
    assert taken == [(options.NetOptions(level=2), ["a", "b"])]


@pytest.mark.parametrize("group", [[], ["net"], ["report"], ["models"]])
def test_a_group_without_a_command_prints_its_help(capsys, group):
    assert main([*group, "--help"]) == 0
    expected = capsys.readouterr()
    assert main(group) == 0
    assert capsys.readouterr() == expected
    assert expected.out.startswith(" ".join(["Usage: pycam", *group]))
