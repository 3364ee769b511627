"""`pycam net`: look at nets, write the released ones, make nets of other nets and of other files."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from pycam import architectures, zoo
from pycam.architectures.train_val import train_val_of
from pycam.cli import options
from pycam.errors import UsageError
from pycam.formats import caffemodel
from pycam.formats import prototxt as prototxt_format
from pycam.formats.files import atomic_write
from pycam.formats.npy import read_tensors
from pycam.model import load_model
from pycam.net import Net, read_net
from pycam.net.layers import Layer, Shape, dims
from pycam.net.surgery import cam_net
from pycam.net.tensorflow import with_tf_weights
from pycam.tables import Table

app = typer.Typer(help="Look at nets, write the released ones, make new ones.", no_args_is_help=True)


@app.command()
def show(
    context: typer.Context,
    prototxt: Annotated[Path, typer.Argument(help="The net, in any dialect of Caffe's.")],
    weights: Annotated[Path | None, typer.Argument(help="Its caffemodel, to be held to the net.")] = None,
    allow_nonfinite: options.AllowNonfinite = False,
    as_json: options.Json = False,
) -> None:
    """Print a net's layers, shapes, parameters and multiply-adds, and where its class maps come from.

    Shapes are those of one image. Multiply-adds count the multiplications with a weight.
    """
    if weights is None:
        options.refuse(context, "no weights are read", "allow_nonfinite")
    net = read_net(prototxt, weights, allow_nonfinite=allow_nonfinite)
    if as_json:
        typer.echo(json.dumps(_as_dict(net), indent=2))
    else:
        _print_net(net)


@app.command()
def export(
    context: typer.Context,
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
    size of the features. Its input is an image as Caffe wants it: BGR, 0…255, less the mean.
    """
    if not maps:
        options.refuse(context, "no maps are written without --maps", "top")
        if prototxt is not None and weights is not None:
            options.refuse(context, "the net and its weights are given", "model")
    # Writing ONNX is the only command here that needs the package.
    from pycam.engines.onnx_graph import onnx_cam_model, onnx_model

    loaded = load_model(model, prototxt=prototxt, weights=weights)
    written = onnx_cam_model(loaded.net, loaded.head, top) if maps else onnx_model(loaded.net, loaded.net.outputs)
    atomic_write(onnx, written.SerializeToString())
    outputs = ", ".join(output.name for output in written.graph.output)
    typer.echo(f"{onnx}: {outputs}{f' ({loaded.head})' if maps else ''}")


@app.command()
def write(
    names: Annotated[list[str] | None, typer.Argument(metavar="NAME", help="Such as deploy_vgg16CAM.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Write every released net.")] = False,
    out: Annotated[Path, typer.Option(help="The folder to write into.")] = Path(),
) -> None:
    """Write released nets as prototxt files, in Caffe's current dialect."""
    if bool(names) == every:
        raise UsageError(f"name the nets to write, or give --all; there is {', '.join(architectures.FILES)}")
    for path in architectures.write(architectures.FILES if every else names or (), out):
        typer.echo(path)


@app.command()
def cam(
    context: typer.Context,
    prototxt: Annotated[Path, typer.Argument(help="A classification net, in any dialect of Caffe's.")],
    weights: Annotated[Path | None, typer.Argument(help="Its caffemodel; what remains of it is kept.")] = None,
    *,
    after: Annotated[str, typer.Option(help="The blob behind which the net is cut.")],
    classes: Annotated[int, typer.Option(help="How many classes the new net tells apart.")],
    out: Annotated[Path, typer.Option(help="Deploy net to write; its weights go beside it, as .caffemodel.")],
    channels: Annotated[int, typer.Option(help="Outputs of the new 3×3 convolution CAM_conv; 0 for none.")] = 1024,
    rectify: Annotated[bool, typer.Option(help="Put a ReLU behind CAM_conv.")] = True,
    class_name: Annotated[str, typer.Option(help="Name of the new class-weight layer, such as CAM_fc_14.")] = "CAM_fc",
    train_val: Annotated[Path | None, typer.Option(help="Training net to write, for `pycam train`.")] = None,
) -> None:
    """Make a CAM net: cut a net, and put a convolution, a global average and class weights on what remains.

    The new layers have no weights yet: train them with `pycam train --weights`.
    """
    if channels == 0:
        options.refuse(context, "without CAM_conv nothing is rectified", "rectify")
    cut = cam_net(
        read_net(prototxt, weights), after, classes, channels=channels, rectify=rectify, class_name=class_name
    )
    prototxt_format.write(out, cut.net.message)
    written = [out]
    if weights is not None:
        written.append(out.with_suffix(".caffemodel"))
        caffemodel.write(written[-1], cut.net.message, cut.params)
    if train_val is not None:
        written.append(train_val)
        prototxt_format.write(train_val, train_val_of(cut.net.message))
    typer.echo("\n".join(map(str, written)))


@app.command("import")
def import_weights(
    npy: Annotated[Path, typer.Argument(help="A .npy with a dictionary of TensorFlow's weights.")],
    out: Annotated[Path, typer.Option(help="The caffemodel to write.")],
    prototxt: Annotated[
        Path | None, typer.Option(help="The net that they are of; VGG16-CAM as converted to TensorFlow if not given.")
    ] = None,
) -> None:
    """Write a caffemodel of the weights in vgg16CAM.npy, or in a file made like it.

    Nothing in the file is run: it may hold arrays and numbers only.
    """
    net = read_net(prototxt or zoo.prototxt_folder() / "deploy_vgg16CAM_tf.prototxt")
    tensors = read_tensors(npy)
    caffemodel.write(out, net.message, with_tf_weights(net, tensors, str(npy)).params)
    unused = [name for name in tensors if name not in net.by_name]
    typer.echo(f"{out}" + (f" (not in the net: {', '.join(unused)})" if unused else ""))


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
    from pandas import DataFrame

    Table("", DataFrame(_as_dict(net)["layers"]), formats=FORMATS).show()
    print(f"\ninput         {_join(f'{blob} {dims(net.shapes[blob])}' for blob in net.inputs)}")
    print(f"output        {_join(f'{blob} {dims(net.shapes[blob])}' for blob in net.outputs)}")
    print(f"parameters    {net.param_count:,}")
    print(f"multiply-adds {net.multiply_adds:,} an image")
    print(f"class maps    {net.cam_head or 'none: no global average pooling before the scores'}")
    if net.ignored_weights:
        print(f"ignored       weights of layers that the net does not have: {_join(net.ignored_weights)}")


def _param_count(layer: Layer) -> int:
    return sum(math.prod(shape) for shape in layer.param_shapes)


def _number(count: int) -> str:
    return f"{count:,}" if count else "-"


def _shapes(shapes: Iterable[Shape]) -> str:
    return _join(map(dims, shapes))


def _join(words: Iterable[str]) -> str:
    return ", ".join(words) or "-"


FORMATS: dict[str, Callable[[Any], str]] = {
    "bottoms": _join,
    "tops": _join,
    "output_shapes": _shapes,
    "param_shapes": _shapes,
    "parameters": _number,
    "multiply_adds": _number,
}
