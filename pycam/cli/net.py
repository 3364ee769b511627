"""`pycam net`: look at a net, write the released ones."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

from pycam import nets, zoo
from pycam.cli import options
from pycam.errors import UsageError
from pycam.files import write_whole
from pycam.layers import Layer, dims
from pycam.net import Net, read_net
from pycam.predict import model_head, model_net

# Wide enough for any table, so that a layer stays on one line when the output is piped.
UNBOUNDED = 100_000

app = typer.Typer(help="Look at nets; write the released ones.", no_args_is_help=True)


@app.command()
def show(
    prototxt: Annotated[Path, typer.Argument(help="The net, in any dialect of Caffe's.")],
    weights: Annotated[Path | None, typer.Argument(help="Its caffemodel, to be held to the net.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print a net's layers, shapes, parameters and multiply-adds, and where its class maps come from.

    Shapes are those of one picture. Multiply-adds count the multiplications with a weight.
    """
    net = read_net(prototxt, weights)
    if as_json:
        typer.echo(json.dumps(_as_dict(net), indent=2))
    else:
        _print_net(net)


@app.command()
def export(
    onnx: Annotated[Path, typer.Option(help="The ONNX file to write.")],
    model: Annotated[str | None, typer.Argument(help="Model by name, or a card of your own.")] = None,
    prototxt: options.Prototxt = None,
    weights: options.Weights = None,
    maps: Annotated[
        bool, typer.Option("--maps", help="Give scores, the best classes and their maps, not the net's outputs.")
    ] = False,
    top: Annotated[int, typer.Option(help="How many classes get a map.")] = 5,
) -> None:
    """Write a net and its weights as one ONNX file for any batch, to be run without pycam.

    With --maps its outputs are `scores`, `classes` and `maps`: the class activation maps of the best classes, at the
    size of the features. Its input is a picture as Caffe wants it: BGR, 0…255, less the mean.
    """
    # Writing ONNX is the only command here that needs the package.
    from pycam.onnx_graph import onnx_cam_model, onnx_model

    card = zoo.card(model) if model else None
    net = model_net(card, prototxt, weights)
    if maps:
        head = model_head(net, card)
        written = onnx_cam_model(net, head, top)
    else:
        written = onnx_model(net, net.outputs)
    write_whole(onnx, written.SerializeToString())
    outputs = ", ".join(output.name for output in written.graph.output)
    typer.echo(f"{onnx}: {outputs}{f' ({head})' if maps else ''}")


@app.command()
def write(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Such as deploy_vgg16CAM.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Write every released net.")] = False,
    out: Annotated[Path, typer.Option(help="The folder to write into.")] = Path(),
) -> None:
    """Write released nets as prototxt files, in Caffe's current dialect."""
    if bool(names) == every:
        raise UsageError(f"name the nets to write, or give --all; there is {', '.join(nets.FILES)}")
    for path in nets.write(nets.FILES if every else names or (), out):
        typer.echo(path)


def _as_dict(net: Net) -> dict[str, Any]:
    head = net.cam_head
    return {
        "name": net.name,
        "layers": [
            {
                "name": layer.name,
                "type": layer.type,
                "bottoms": layer.bottoms,
                "tops": layer.tops,
                "output_shapes": layer.output_shapes,
                "param_shapes": layer.param_shapes,
                "parameters": _param_count(layer),
                "multiply_adds": layer.multiply_adds,
            }
            for layer in net.layers
        ],
        "blobs": net.shapes,
        "inputs": net.inputs,
        "outputs": net.outputs,
        "parameters": net.param_count,
        "multiply_adds": net.multiply_adds,
        "feature_blob": head.feature_blob if head else None,
        "class_layer": head.class_layer if head else None,
        "ignored_weights": net.ignored_weights,
    }


def _print_net(net: Net) -> None:
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = UNBOUNDED

    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=False, show_edge=False)
    for heading in ("layer", "type", "bottom", "top", "shape", "parameter shapes"):
        table.add_column(heading, overflow="fold", no_wrap=heading == "type")
    for heading in ("parameters", "multiply-adds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in net.layers:
        table.add_row(
            layer.name,
            layer.type,
            _join(layer.bottoms),
            _join(layer.tops),
            _join(map(dims, layer.output_shapes)),
            _join(map(dims, layer.param_shapes)),
            _number(_param_count(layer)),
            _number(layer.multiply_adds),
        )
    console.print(table)

    console.print(f"\ninput         {_join(f'{blob} {dims(net.shapes[blob])}' for blob in net.inputs)}")
    console.print(f"output        {_join(f'{blob} {dims(net.shapes[blob])}' for blob in net.outputs)}")
    console.print(f"parameters    {net.param_count:,}")
    console.print(f"multiply-adds {net.multiply_adds:,} a picture")
    console.print(f"class maps    {net.cam_head or 'none: no global average pooling before the scores'}")
    if net.ignored_weights:
        console.print(f"ignored       weights of layers that the net does not have: {_join(net.ignored_weights)}")


def _param_count(layer: Layer) -> int:
    return sum(math.prod(shape) for shape in layer.param_shapes)


def _number(count: int) -> str:
    return f"{count:,}" if count else "-"


def _join(words: Iterable[str]) -> str:
    return ", ".join(words) or "-"
