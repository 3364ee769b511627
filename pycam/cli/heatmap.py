"""`pycam heatmap`: the top-5 class activation maps of images."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, cast

import numpy as np
import typer
from numpy.typing import NDArray

from pycam.cli import options
from pycam.cli.images import GivenImages, Images
from pycam.cli.variants import load_variants
from pycam.console import JsonList, Notes, print_error, print_line
from pycam.engines.threads import beside_an_engine
from pycam.errors import ImageError, PycamError, UsageError
from pycam.formats.output_folder import OutputFolder, Rows
from pycam.model import FIXED_MEANS, Model
from pycam.net.layers import dims
from pycam.net.stated import stated_input
from pycam.predict import Cam, Source
from pycam.prediction import BOX_SIDES, NO_CLASS
from pycam.prefetch import prefetch
from pycam.variants import SideBySide, Variant, Variants


@options.grouped
def heatmap(
    context: typer.Context,
    images: Images,
    source: options.ModelOptions,
    maps: options.MapOptions,
    engine: options.EngineOptions,
    model: options.SeveralModels = None,
    top: Annotated[
        int | None, typer.Option(help="Number of classes, best first. Default: the protocol's, 5 in most.")
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(
            "--class", help='Class to show in place of the best ones: index, WordNet ID or label ("red fox").'
        ),
    ] = None,
    boxes: Annotated[bool, typer.Option("--boxes", help="Compute, draw and write boxes.")] = False,
    raw: Annotated[
        str | None,
        typer.Option("--maps", help="Write the maps, too: npy, as float32 at both sizes, image and features."),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(help="Output folder. Each image gets a folder in it; those of other images stay."),
    ] = Path("heatmaps"),
    batch: options.Batch = 1,
    as_json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Write the top-5 class activation maps of images: overlays, a strip, and one JSON file per image.

    With several models, methods or layers, the strip has one row for each, and all show the classes of the first one.
    """
    if raw not in (None, "npy"):
        raise UsageError(f"--maps {raw}: expected npy")
    if not boxes:
        options.refuse(
            context, "boxes are found with --boxes only", "box_rule", "threshold", fix="add --boxes, or leave it out"
        )
    notes = Notes(quiet)
    given = GivenImages(images, notes)
    folder = OutputFolder(out)
    if boxes:
        Rows(folder, *BOXES)  # a file that is not pycam's is an error before the work
    variants = load_variants(source, model, maps, engine, images=given.count, quiet=quiet)
    rows = Rows(folder, *BOXES, variants.variants[0].parts) if boxes else None
    for variant in variants.variants:
        for note in _notes(variant.cam, named=bool(model), boxes=boxes):
            notes.say(f"{variant.name}: {note}" if variant.name else note)
    failures: list[PycamError] = []
    done = 0
    with (
        variants,
        beside_an_engine(),
        ThreadPoolExecutor(1, "pycam-write") as writer,
        JsonList() if as_json else nullcontext() as printed,
        notes.progress() as shown,
    ):
        bar = shown.add_task("heat maps", total=given.count)
        found = variants.stream(
            given, top=top, classes=classes, batch=batch, progress=lambda share: shown.advance(bar, share)
        )
        try:
            # Maps are drawn and written while the net runs on the next images.
            for saved in prefetch(lambda each: writer.submit(_saved, *each, folder, boxes, raw is not None), found, 5):
                if isinstance(saved, PycamError):
                    failures.append(saved.alone())
                    continue
                if not done:
                    for told in _told_once(variants, source, named=bool(model)):
                        notes.say(told)
                done += 1
                name, values = saved
                if rows is not None:
                    rows.add(_box_rows(name, values, variants.variants[0].parts))
                if printed is not None:
                    printed.add(values)
                elif not quiet:
                    for line in _summary(values):
                        print_line(line)
        finally:
            # An interrupted run keeps the boxes of what it has done.
            if rows is not None:
                rows.write()
    if done:
        notes.say(f"wrote the heat maps of {_count(done)} to {out}{os.sep}")
    raise_failures(failures, done + len(failures))


def raise_failures(failures: Sequence[PycamError], images: int) -> None:
    """Print what stands in the place of some of the images, and raise an error if there is any."""
    if len(failures) == 1 == images:
        raise failures[0]
    if failures:
        for failure in failures:
            print_error(f"pycam: {failure}")
        raise ImageError(f"{_count(len(failures))} of {images} could not be read or drawn; they are listed above")


def _notes(cam: Cam, named: bool, boxes: bool) -> Iterator[str]:
    """Yield what the maps of a model are computed from, unless its card says it, and the notes of the model."""
    unsaid = not named or cam.model.net.from_onnx
    if cam.head is not None and (unsaid or cam.head.positions or cam.head.pooling == "max"):
        yield f"class maps: {cam.head}"
    elif cam.model.positions:
        yield f"each score is the mean over {dims(cam.model.positions)} positions of {cam.model.score_blob!r}"
    if cam.model.labels.is_numbered:
        yield "no labels are given: the classes are only numbered; --labels FILE names them"
    yield from cam.model.notes(maps=cam.protocol.method == "cam", boxes=boxes)


def _told_once(variants: Variants, source: options.ModelOptions, named: bool) -> Iterator[str]:
    """Yield what the nets get of each image, and what the classes of a variant's model have no match for."""
    of_model: dict[Model, Variant] = {}
    for variant in variants.variants:
        of_model.setdefault(variant.cam.model, variant)
    for variant in of_model.values():
        prefix = f"{variant.parts['model']}: " if variant.parts.get("model") else ""
        yield prefix + _input(variant.cam)
        if not named and (advice := _advice(variant.cam, source)):
            yield prefix + advice
        if missing := int((variant.matches < 0).sum()):
            count = len(variant.matches)
            yield f"{prefix}{missing} of {count} classes of the first model are not classes of this one"


def _input(cam: Cam) -> str:
    """Return what the net gets of each image, in one line."""
    view, channels, preprocessing = cam.placement.view, cam.model.channels, cam.model.preprocessing
    of_image = {1: ", read as grey", 3: "", 4: ", with alpha (BGRA)"}.get(channels, f", {channels} channels")
    tall, wide = (f"{side / room:.0%}".replace("%", " %") for side, room in zip(view.size, view.canvas, strict=True))
    share = f"{tall} of its height and width" if tall == wide else f"{tall} of its height and {wide} of its width"
    part = {"full": "the whole image, resized", "center": f"the middle of the image, {share}"}.get(
        view.name, f"{len(view.crops)} crops of the image, {share} each"
    )
    less = "less the mean image" if cam.mean.ndim == 3 else f"less the mean {_short(cam.mean)}"
    if not cam.mean.any():
        less = "no mean is subtracted"
    if preprocessing.mean is None and preprocessing.override is None:
        less += f" (none is known for {channels} channel{'s' if channels > 1 else ''}: --mean gives one)"
    scaled = "" if (cam.scale == 1).all() else f", times {_short(cam.scale)}"
    return f"input: {dims(view.size)}{of_image}: {part}; {less}{scaled}"


def _short(values: NDArray[np.float32]) -> str:
    """Return the values of channels, or the value that all have."""
    distinct = values[:1] if (values == values[0]).all() else values
    shown = ", ".join(f"{value:.6g}" for value in distinct[:4].tolist())
    return shown + (", …" if len(distinct) > 4 else "")


def _advice(cam: Cam, source: options.ModelOptions) -> str:
    """Return what the data layer of a net without a card says about its input, as far as nobody has given it."""
    stated = stated_input(cam.model.net)
    if stated is None:
        return ""
    row = cam.protocol
    return stated.advice(
        mean=source.mean is None and row.mean not in FIXED_MEANS, scale=row.input_scale is None and source.std is None
    )


def _saved(
    image: Source, prediction: SideBySide | PycamError, folder: OutputFolder, boxes: bool, maps: bool
) -> tuple[str, dict[str, Any]] | PycamError:
    """Draw and write a prediction; return its folder and its values, which are small, or the error in its place."""
    if isinstance(prediction, PycamError):
        return prediction
    name = folder.name(cast("Path", image))
    try:
        prediction.save(folder.path / name, boxes=boxes, maps=maps)
    except ImageError as error:
        return error
    return name, prediction.as_dict(boxes=boxes)


def _summary(prediction: Mapping[str, Any]) -> list[str]:
    if variants := prediction.get("variants"):
        told = []
        for each in variants:
            image, *lines = _summary({"image": prediction["image"]} | each)
            told += [f" {each['variant']}", *lines, *(f"  {NO_CLASS}: {label}" for label in each["missing"])]
        return [image, *told]
    lines = [prediction["image"]]
    if orientation := prediction.get("exif_orientation_not_applied"):
        lines[0] += f"  (EXIF orientation {orientation} not applied)"
    if orientation := prediction.get("exif_orientation_applied"):
        lines[0] += f"  (EXIF orientation {orientation} applied)"
    for item in prediction["top"]:
        box = f"  box {item['box']}" if item.get("box") else ""
        label = f"{item['wnid']} {item['label']}".strip()
        lines.append(f"  {item['score']:.4f}  {item['index']:4d}  {label}{box}")
    return lines


BOXES = (
    "boxes.csv",
    "folder",
    ["image", "rank", "index", "wnid", "label", "score", *BOX_SIDES, "box_rule", "threshold", "box_pixels", "folder"],
)
"""The file of boxes, its key, and its columns: image pixels, 0-based, half-open. A class without a box has no sides."""


def _box_rows(folder: str, prediction: Mapping[str, Any], differences: Iterable[str]) -> list[dict[str, Any]]:
    """Return one row per class and variant for boxes.csv; `differences` are the keys in which the variants differ."""
    return [
        {name: item[name] for name in ("index", "wnid", "label", "score")}
        | {name: each[name] for name in ("box_rule", "threshold", "box_pixels", *differences)}
        | dict(zip(BOX_SIDES, item["box"] or [None] * 4, strict=True))
        | {"image": prediction["image"], "rank": item.get("rank", rank), "folder": folder}
        for each in prediction.get("variants", [prediction])
        for rank, item in enumerate(each["top"], start=1)
    ]


def _count(number: int) -> str:
    return f"{number} image{'' if number == 1 else 's'}"
