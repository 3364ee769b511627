"""`pycam net cam`: make a CAM net, and a training net for it."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer

from pycam.architectures.train_val import check_train_val, train_val_of
from pycam.cli import options
from pycam.console import print_error, print_line
from pycam.errors import NetError, UsageError
from pycam.formats import caffemodel, prototxt as prototxt_format
from pycam.formats.files import is_folder
from pycam.net import Net, Params, net_from_message, read_net
from pycam.net.layers import dims, single
from pycam.net.surgery import cam_net


def cam(
    context: typer.Context,
    prototxt: Annotated[Path, typer.Argument(help="A classification net, in any of Caffe's prototxt versions.")],
    weights: Annotated[
        Path | None, typer.Argument(help="Its caffemodel. The weights of the remaining layers are kept.")
    ] = None,
    *,
    after: Annotated[str, typer.Option(help="Blob after which the net is cut.")],
    classes: Annotated[int, typer.Option(help="Number of classes of the new net.")],
    out: Annotated[
        Path, typer.Option(help="Output: the deploy net. Its weights are written next to it, as .caffemodel.")
    ],
    channels: Annotated[
        int, typer.Option(help="Output channels of the new 3×3 convolution CAM_conv; 0 adds no convolution.")
    ] = 1024,
    rectify: Annotated[bool, typer.Option(help="Add a ReLU after CAM_conv.")] = True,
    class_name: Annotated[str, typer.Option(help="Name of the new class-weight layer, as in CAM_fc_14.")] = "CAM_fc",
    train_val: Annotated[Path | None, typer.Option(help="Output: a training net for `pycam train`.")] = None,
    freeze_batch_norm: Annotated[
        bool,
        typer.Option(
            help="In the training net, freeze the BatchNorm layers and the Scale layers behind them. Not frozen, "
            "BatchNorm uses and learns the statistics of each batch."
        ),
    ] = True,
) -> None:
    """Make a CAM net: cut a net, and add a convolution, a global average pooling and class weights.

    The new layers have no weights: train them with `pycam train --weights`. With --train-val, the command prints to
    stderr which images the training net expects, what is frozen in it, and how to train it.
    """
    if channels == 0:
        options.refuse(context, "there is no CAM_conv", "rectify")
    if train_val is None:
        options.refuse(context, "it is about the training net of --train-val", "freeze_batch_norm")
    new_weights = None if weights is None else out.parent / f"{out.stem}.caffemodel"
    written = [path for path in (out, new_weights, train_val) if path is not None]
    check_paths(written, [path for path in (prototxt, weights) if path is not None])

    net = read_net(prototxt, weights)
    options.print_notes(net.notes)
    cut = cam_net(net, after, classes, channels=channels, rectify=rectify, class_name=class_name)
    if not any(layer.type == "BatchNorm" for layer in cut.net.layers):
        options.refuse(context, f"the net has no BatchNorm layer before {after!r}", "freeze_batch_norm")
    # What is read back from the text is checked before a file is written.
    deploy = prototxt_format.parse(prototxt_format.dumps(cut.net.message), str(out))
    net = net_from_message(deploy.message, deploy.lines, deploy.path)
    training = None
    if train_val is not None:
        message = train_val_of(deploy.message, freeze_batch_norm=freeze_batch_norm, transform=cut.transform)
        training = prototxt_format.parse(prototxt_format.dumps(message), str(train_val))
        check_train_val(training, net)

    if new_weights is not None:
        _write_weights(new_weights, net, cut.params)
    prototxt_format.write(out, deploy.message)
    if training is not None:
        prototxt_format.write(training.path, training.message)
    for path in written:
        print_line(path)
    if training is not None:
        notes = (
            _data(training.message, cut.transform),
            _frozen(training.message, new_weights),
            _next(training, new_weights),
        )
        for note in notes:
            print_error(note)


def check_paths(written: Sequence[Path], read: Sequence[Path]) -> None:
    """Raise a `UsageError` if a file would be written over another one of the same command, or cannot be written."""
    known = [path.resolve() for path in read]
    for path in written:
        if path.resolve() in known:
            raise UsageError(f"{path} is another file of this command already: change the name of the output")
        if is_folder(path) or not is_folder(path.parent):
            raise UsageError(f"{path}: expected the name of a file in a folder that exists")
        known.append(path.resolve())


def _write_weights(path: Path, net: Net, params: Params) -> None:
    """Write weights, read them back, and put them in place if they fit the net."""
    if not params:
        raise NetError(f"no layer with weights remains for {path}: leave the weights out, or cut after a later blob")
    with TemporaryDirectory(dir=path.parent, prefix=".pycam-") as folder:
        staged = Path(folder, path.name)
        caffemodel.write(staged, net.message, params)
        found = caffemodel.read(staged).layers
        for name, blobs in params.items():
            shapes = tuple(blob.shape for blob in found.get(name, ()))
            if shapes != net.by_name[name].param_shapes or not all(map(np.array_equal, found[name], blobs)):
                raise NetError(
                    f"{path}: the weights of layer {name!r} differ when they are read back: try another disk"
                )
        staged.replace(path)


def _data(training: Any, old: Any) -> str:
    """Say which images a training net expects; `old` is what the old net's data layer did, or None."""
    layer = training.layer[0]
    transform, param = layer.transform_param, layer.image_data_param
    mean = ", ".join(f"{single(value):g}" for value in transform.mean_value)
    values = f"minus {mean}" if mean else "no mean"
    if transform.HasField("scale"):
        values += f", times {single(transform.scale):g}"
    if old is not None and old.mean_file:
        values += f" (the old net: minus {old.mean_file})"
    colour = "in colour (BGR)" if param.is_color else "in grey"
    return f"images: {colour}, resized to {dims((param.new_height, param.new_width))} (height×width), {values}"


def _frozen(training: Any, weights: Path | None) -> str:
    """Say which layers of a training net do not learn, and what their values need."""
    fixed = [layer for layer in training.layer if layer.param and not any(spec.lr_mult for spec in layer.param)]
    learning = sum(map(_learns_statistics, fixed))
    kinds = Counter(layer.type for layer in fixed if not _learns_statistics(layer))
    note = f"frozen: {', '.join(f'{count} {kind}' for kind, count in kinds.items()) or 'nothing'}"
    if learning:
        note += f"; {learning} BatchNorm use and learn the statistics of batches"
    elif kinds["BatchNorm"]:
        note += " (--no-freeze-batch-norm lets BatchNorm and Scale learn)"
        if weights is None:
            note += "; the statistics must come from --weights, without them they are 0"
    return note


def _next(training: prototxt_format.NetText, weights: Path | None) -> str:
    """Say how to train a net."""
    start = "FILE" if weights is None else shlex.quote(str(weights))
    solver = f'with net: "{training.path}" in the solver'
    return f"next: pycam train --solver solver.prototxt --weights {start}, {solver}"


def _learns_statistics(layer: Any) -> bool:
    return layer.type == "BatchNorm" and not layer.batch_norm_param.use_global_stats
