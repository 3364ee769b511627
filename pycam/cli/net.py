"""`pycam net`: show nets, write the released nets, and convert nets and weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from pycam import architectures, zoo
from pycam.cli import options
from pycam.cli.net_cam import cam, check_paths
from pycam.cli.net_fit import fit
from pycam.console import print_json, print_line
from pycam.engines.onnx_graph import onnx_cam_model, onnx_model
from pycam.errors import NetError, UsageError
from pycam.formats import caffemodel
from pycam.formats.files import atomic_write, exists
from pycam.formats.npy import read_tensors
from pycam.model import ONNX, input_size, load_model
from pycam.net import CamHead, Net, describe_heads, find_head, find_heads, read_net, score_inputs
from pycam.net.layers import dims
from pycam.net.receptive_fields import ReceptiveField, receptive_fields
from pycam.net.stated import stated_input
from pycam.net.tensorflow import with_tf_weights
from pycam.tables import Table

app = typer.Typer(help="Show, write, convert and modify nets.")


@app.command()
def show(
    context: typer.Context,
    prototxt: Annotated[
        Path,
        typer.Argument(
            help="The net, in any of Caffe's prototxt versions, an ONNX file, or the name of a model.",
            autocompletion=options.models,
        ),
    ],
    weights: Annotated[Path | None, typer.Argument(help="Its caffemodel, which is checked with the net.")] = None,
    phase: options.Phase = "TEST",
    stages: options.Stages = None,
    level: options.Level = 0,
    input_size: Annotated[
        str | None, typer.Option(help="Height and width for an ONNX file that leaves them open: 224, or 224x320.")
    ] = None,
    allow_nonfinite: options.AllowNonfinite = False,
    as_json: options.Json = False,
) -> None:
    """Print the layers, shapes, receptive fields and parameters of a net, and the source of its class maps.

    Shapes are for one image. A receptive field is how many rows and columns of the input a value can depend on; that of
    "195 every 32" moves by 32 pixels from one position to the next. Multiply-adds count multiplications with a weight.
    """
    if prototxt.suffix == ONNX:
        options.refuse(
            context,
            "an ONNX file has one state, and its weights",
            "weights",
            "phase",
            "stages",
            "level",
            "allow_nonfinite",
        )
        net = load_model(onnx=prototxt, input_size=input_size).net
    else:
        if weights is None:
            options.refuse(context, "no weights are read", "allow_nonfinite")
        if _names_model(prototxt):
            prototxt = zoo.prototxt_path(zoo.card(prototxt))
        options.refuse(context, "the prototxt says the size", "input_size")
        net = read_net(
            prototxt, weights, phase=phase, stages=stages or (), level=level, allow_nonfinite=allow_nonfinite
        )
    if as_json:
        shown = _as_dict(net)
        for layer in shown["layers"]:
            layer["receptive_fields"] = [field and field.as_dict() for field in layer["receptive_fields"]]
        print_json(shown)
    else:
        _print_net(net)


@app.command()
@options.grouped
def export(
    context: typer.Context,
    onnx: Annotated[Path, typer.Option(help="Output: the ONNX file.")],
    source: options.NetArguments,
    maps: Annotated[
        bool, typer.Option("--maps", help="Output scores, the best classes and their maps, not the net's own outputs.")
    ] = False,
    top: Annotated[int, typer.Option(min=1, help="Number of classes with a map.")] = 5,
    head: options.Head = None,
) -> None:
    """Write a net and its weights as one ONNX file for any batch size, which runs without pycam.

    With --maps the outputs are `scores`, `classes` and `maps`: the class activation maps of the best classes, at the
    size of the features. The input is an image as Caffe expects it: BGR, 0…255, minus the mean. An ONNX file can be
    the model, with --maps: its own input stays.
    """
    if source.model is not None and (source.model.endswith(ONNX) or zoo.card(source.model).onnx):
        _export_onnx(context, onnx, source, maps, top, head)
        return
    if not maps:
        options.refuse(context, "no maps are written without --maps", "top", "head")
        if source.from_files:
            options.refuse(context, "the net and its weights are given", "model")
    loaded = source.load(head=head)
    written = onnx_cam_model(loaded.net, loaded.head, top) if maps else onnx_model(loaded.net, loaded.net.outputs)
    atomic_write(onnx, written.SerializeToString())
    outputs = ", ".join(output.name for output in written.graph.output)
    print_line(f"{onnx}: {outputs}{f' ({loaded.head})' if maps else ''}")


def _export_onnx(
    context: typer.Context, out: Path, source: options.NetArguments, maps: bool, top: int, head: str | None
) -> None:
    """Add class activation maps to an ONNX file; the arguments are those of `export`."""
    from pycam.onnx.reader import read_onnx

    if not maps:
        raise UsageError(f"{source.model} is an ONNX file already: give --maps to add class activation maps")
    states = "prototxt", "weights", "phase", "stages", "level"
    options.refuse(context, "an ONNX file is the net and its weights", *states)
    options.refuse(context, "the model keeps its own input", "preprocess")
    assert source.model is not None
    path = Path(source.model) if source.model.endswith(ONNX) else zoo.weights_path(zoo.card(source.model))
    check_paths([out], [path])
    net = read_onnx(path, size=input_size(source.input_size), own_input=True)
    options.print_notes(net.notes)
    found = find_head(net, head)
    written = onnx_cam_model(net, found, top)
    atomic_write(out, written.SerializeToString())
    print_line(f"{out}: {', '.join(output.name for output in written.graph.output)} ({found})")


@app.command()
def write(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME", help="Names of nets, as in deploy_vgg16CAM.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Write every released net.")] = False,
    out: Annotated[Path, typer.Option(help="Output folder.")] = Path(),
) -> None:
    """Write released nets as prototxt files, in the current version of Caffe's format."""
    if bool(names) == every:
        raise UsageError(f"give the names of nets, or --all; the nets are {', '.join(architectures.FILES)}")
    for path in architectures.write(architectures.FILES if every else names or (), out):
        print_line(path)


app.command()(cam)
app.command()(fit)


@app.command("import")
def import_weights(
    npy: Annotated[Path, typer.Argument(help="A .npy file with a dictionary of TensorFlow weights.")],
    out: Annotated[Path, typer.Option(help="Output: the caffemodel.")],
    prototxt: Annotated[
        Path | None, typer.Option(help="Net of the weights. Default: VGG16-CAM as converted to TensorFlow.")
    ] = None,
) -> None:
    """Convert the weights in vgg16CAM.npy, or in a similar file, to a caffemodel.

    Code in the file is not run: only arrays and numbers are accepted.
    """
    net = read_net(prototxt or zoo.prototxt_folder() / "deploy_vgg16CAM_tf.prototxt")
    options.print_notes(net.notes)
    tensors = read_tensors(npy)
    caffemodel.write(out, net.message, with_tf_weights(net, tensors, str(npy)).params)
    unused = [name for name in tensors if name not in net.by_name]
    print_line(f"{out}" + (f" (not in the net: {', '.join(unused)})" if unused else ""))


def _names_model(given: Path) -> bool:
    """Return whether a path is a card, or no file but the name of a model, such as squeezenet-v1.0."""
    if given.suffix in (".yaml", ".yml"):
        return True
    return given.name == str(given) and not exists(given) and not given.suffix.strip(".0123456789")


def _as_dict(net: Net) -> dict[str, Any]:
    head = _only_head(net)
    properties = ("name", "type", "bottoms", "tops", "output_shapes", "param_shapes")
    fields = _fields(net)
    return {
        "name": net.name,
        "layers": [
            {name: getattr(layer, name) for name in properties}
            | {
                "parameters": sum(math.prod(shape) for shape in layer.param_shapes),
                "multiply_adds": layer.multiply_adds,
                "receptive_fields": tuple(fields.get(value) for value in layer.outputs),
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
        "heads": {
            blob: asdict(found) if isinstance(found, CamHead) else found for blob, found in find_heads(net).items()
        },
        "ignored_weights": net.ignored_weights,
        "fork_layers": net.fork_types,
        "notes": net.notes,
    }


def _fields(net: Net) -> dict[str, ReceptiveField]:
    """Return the receptive fields of a net's values; none if scores depend on several images."""
    images = [blob for blob in score_inputs(net) if len(net.shapes[blob]) == 4]
    return receptive_fields(net, images[0]) if len(images) == 1 else {}


def _only_head(net: Net) -> CamHead | None:
    try:
        return find_head(net)
    except (NetError, UsageError):
        return None


def _print_net(net: Net) -> None:
    from pandas import DataFrame

    Table("", DataFrame(_as_dict(net)["layers"]), formats=FORMATS).show()
    print_line()
    print_line(f"input         {_join(f'{blob} {dims(net.shapes[blob])}' for blob in net.inputs)}")
    print_line(f"output        {_join(f'{blob} {dims(net.shapes[blob])}' for blob in net.outputs)}")
    print_line(f"parameters    {net.param_count:,}")
    print_line(f"multiply-adds {net.multiply_adds:,} per image")
    for line in describe_heads(net):
        print_line(f"class maps    {line}")
    if stated := stated_input(net):
        print_line(f"preprocessing {stated.advice()}")
    if net.ignored_weights:
        print_line(f"ignored       weights of layers that are not in the net: {_join(net.ignored_weights)}")
    for note in net.notes:
        print_line(f"note          {note}")


def _join(items: Iterable[str]) -> str:
    return ", ".join(items) or "-"


FORMATS: dict[str, Callable[[Any], str]] = {
    **dict.fromkeys(["bottoms", "tops"], _join),
    **dict.fromkeys(["output_shapes", "param_shapes"], lambda shapes: _join(map(dims, shapes))),
    **dict.fromkeys(["parameters", "multiply_adds"], lambda count: f"{count:,}" if count else "-"),
    "receptive_fields": lambda fields: _join("-" if field is None else str(field) for field in fields),
}
