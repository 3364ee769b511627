"""The one table of protocols: named sets of the choices that lie between an image and its maps and boxes.

A row is data. What a choice means is carried out where it belongs (`pycam.images`, `pycam.maps`, `pycam.drawing`), by
the choice's name; no code asks for a protocol's name. Single choices can be overridden:
`dataclasses.replace(protocol("default"), view="full")`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any

from pycam.errors import UsageError, suggest

RELEASED_BOX_RULES = ("released", "released_30_90_150", "released_no_jpeg")
"""The box rules of the released generator, which finds any number of boxes in a map."""

CHOICES: dict[str, tuple[str, ...]] = {
    "view": ("center", "full", "ten"),
    "resizer": (
        "opencv_bilinear",
        "opencv_cubic",
        "pillow_bicubic",
        "pillow_nearest",
        "matlab_bicubic",
        "matlab_bilinear",
        "caffe_bilinear",
    ),
    "mean": ("value", "image", "vgg_value", "rounded_value", "none"),
    "method": ("cam", "gradcam", "gradcam_mean", "saliency"),
    "target": ("logit", "probability"),
    "map_resizer": ("opencv_bilinear", "opencv_cubic", "matlab_bicubic", "tf_corner"),
    "merge": ("single", "absolute_sum", "sum", "absolute_mean"),
    "placement": ("in_place", "stretched"),
    "base": ("image", "canvas", "input"),
    "box_rule": ("paper", *RELEASED_BOX_RULES, "smoothed"),
    "submission": ("pixels", "as_released"),
    "metric": ("errors", "max_box_acc"),
    "overlay": ("half", "py_demo", "matlab_demo", "jet_50", "viridis_30", "viridis_40", "keras", "keras_clipped"),
    "caption": ("label", "ordinal", "on_image"),
    "strip": ("captioned", "matlab_demo"),
}

DRAWING = ("base", "overlay", "caption", "strip")
"""Choices that decide what drawings look like, and no score, map or box."""

NEEDS = {
    "placement": ("view", ("center",)),
    "target": ("method", ("gradcam", "gradcam_mean", "saliency")),
    "layer": ("method", ("gradcam", "gradcam_mean")),
}
"""Choices that have an effect with some values of another choice only: that choice, and these values."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A row of the table.

    Attributes
    ----------
    name
        As in `--protocol`.
    view
        Which parts of the image the net sees: `center` crop, the `full` image, or `ten` crops.
    resizer
        How the image is brought to the view's canvas.
    input_scale
        What pixels, 0…255, are multiplied by before the mean is subtracted.
    mean
        What is subtracted: the model's mean `value` or mean `image`; VGG's value, (103.939, 116.779, 123.68); the
        `rounded_value` (104, 117, 123); or `none`.
    method
        How a class gets its map: by the net's class weights, `cam`; or from gradients: `gradcam`, `gradcam_mean`, where
        channels are averaged and nothing is rectified, or `saliency`.
    target
        Of gradients: whether they are those of the class's `logit`, or of its `probability`.
    layer
        Of Grad-CAM: the blob that it is made at; none for the deepest with rows and columns.
    map_resizer
        How maps are enlarged. With the view `ten`, MATLAB's bicubic resize enlarges the crops' maps as released, and
        the `map_resizer` brings the merged map from the canvas to the image.
    merge
        How the crops' maps become one: there is only a `single` one; or the `absolute_sum` of ten, as released, their
        plain `sum`, or their `absolute_mean` over the crops that cover a pixel.
    placement
        Where a crop's map lies: `in_place`, where the crop was; or `stretched` over the whole image, which
        needs the view `center`: the other views cover the whole image anyway.
    base
        What maps are drawn on: the `image` at its own size, the 256×256 `canvas`, or, with the view `full`, the
        square that the net has as `input`.
    box_rule
        How boxes are found: a row of `pycam.maps.boxes.BOX_RULES`.
    submission
        How an evaluation submits boxes: `pixels`, in ILSVRC's form; or `as_released`, the 0-based corners as they are,
        although ILSVRC counts from 1, so that a box begins one pixel too far to the left and to the top.
    metric
        What an evaluation computes: ILSVRC's `errors`; or, besides, `max_box_acc`, the accuracies of the true class's
        map at every threshold (`pycam.ilsvrc.wsol`).
    overlay
        The colours, and how they are mixed with what lies below: `pycam.drawing.overlays`.
    caption
        The class's `words` below its map, with an `ordinal` before them, or in a sentence `on_image`.
    strip
        How the image and its overlays stand side by side: at one height, `captioned`; or as in the `matlab_demo`.
    top
        How many classes, unless a number is asked for.
    section
        Where docs/release.md or docs/recipes.md tells what the row does.
    """

    name: str
    view: str = "center"
    resizer: str = "opencv_bilinear"
    input_scale: float = 1.0
    mean: str = "value"
    method: str = "cam"
    target: str = "logit"
    layer: str = ""
    map_resizer: str = "opencv_bilinear"
    merge: str = "single"
    placement: str = "in_place"
    base: str = "image"
    box_rule: str = "paper"
    submission: str = "pixels"
    metric: str = "errors"
    overlay: str = "half"
    caption: str = "label"
    strip: str = "captioned"
    top: int = 5
    section: str = ""

    def __post_init__(self) -> None:
        for choice, allowed in CHOICES.items():
            value = getattr(self, choice)
            if value not in allowed:
                raise UsageError(f"protocol {self.name!r}: {choice} {value!r} is none of {', '.join(allowed)}")
        if not (math.isfinite(self.input_scale) and self.input_scale > 0):
            raise UsageError(f"protocol {self.name!r}: input_scale {self.input_scale}: expected a number above 0")
        if (self.view == "ten") != (self.merge != "single"):
            raise UsageError(f"protocol {self.name!r}: view {self.view!r} does not go with merge {self.merge!r}")
        if self.base == "input" and self.view != "full":
            raise UsageError(f"protocol {self.name!r}: maps on the net's input need the view full, not {self.view!r}")
        for choice, (other, values) in NEEDS.items():
            if getattr(self, choice) != getattr(Protocol, choice) and getattr(self, other) not in values:
                raise UsageError(
                    f"protocol {self.name!r}: {choice} {getattr(self, choice)!r} has no effect with {other} "
                    f"{getattr(self, other)!r}: leave it out, or choose {other} {' or '.join(values)}"
                )

    def choices(self) -> dict[str, str]:
        """Every choice by name, without the row's name, number of classes, and section."""
        return {f.name: str(getattr(self, f.name)) for f in fields(self) if f.name not in ("name", "top", "section")}

    def with_choices(self, **choices: str | None) -> Protocol:
        """Return the row with other choices where they are not None.

        A view brings its merge, saliency its box rule, and a box rule the submission that belongs to it; of the row's
        other choices, those that have no effect with the new ones are left out.

        Raises
        ------
        UsageError
            The choices do not go together.
        """
        given: dict[str, Any] = {name: value for name, value in choices.items() if value is not None}
        if "input_scale" in given:
            given["input_scale"] = _number(given["input_scale"])
        if given.get("method") == "saliency" and self.box_rule == "paper":
            given.setdefault("box_rule", "smoothed")
        if "view" in given:
            given.setdefault("merge", "absolute_sum" if given["view"] == "ten" else "single")
        if "box_rule" in given:
            given.setdefault("submission", "as_released" if given["box_rule"] in RELEASED_BOX_RULES else "pixels")
        for choice, (other, values) in NEEDS.items():
            if given.get(other, getattr(self, other)) not in values:
                given.setdefault(choice, getattr(Protocol, choice))
        return replace(self, **given)

    def with_methods(self, methods: Sequence[str], **choices: str | None) -> list[Protocol]:
        """Give the row once per method; each of `choices` goes to the methods with which it has an effect.

        Parameters
        ----------
        methods
            One or more.
        **choices
            `layer` and `target`.

        Raises
        ------
        UsageError
            A choice has no effect with any of the methods.
        """
        takers = {name: [method for method in methods if method in NEEDS[name][1]] or methods for name in choices}
        return [self.with_choices(method=m, **{n: choices[n] for n in choices if m in takers[n]}) for m in methods]


def _number(text: str) -> float:
    """Read a number, or a fraction as in 1/255."""
    try:
        return float(Fraction(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise UsageError(f"input_scale {text!r}: expected a number or a fraction, as in 0.017 or 1/255") from None


PROTOCOLS = {
    row.name: row
    for row in (
        Protocol(name="default", section="2, 5"),
        Protocol(name="py_demo", placement="stretched", base="canvas", overlay="py_demo", section="2"),
        Protocol(
            name="matlab_demo",
            view="ten",
            resizer="matlab_bicubic",
            mean="image",
            map_resizer="matlab_bicubic",
            merge="absolute_sum",
            base="canvas",
            overlay="matlab_demo",
            strip="matlab_demo",
            section="3",
        ),
        Protocol(
            name="released",
            view="ten",
            resizer="matlab_bilinear",
            mean="image",
            map_resizer="matlab_bicubic",
            merge="absolute_sum",
            box_rule="released",
            submission="as_released",
            section="4, 5",
        ),
        Protocol(name="paper", section="2, 5"),
        Protocol(name="sweep", view="full", metric="max_box_acc", section="2, 5"),
        Protocol(
            name="tf_vgg16cam",
            view="full",
            resizer="pillow_bicubic",
            mean="vgg_value",
            map_resizer="tf_corner",
            base="input",
            overlay="jet_50",
            caption="ordinal",
            top=2,
            section="VGG16-CAM in TensorFlow",
        ),
        Protocol(
            name="cells",
            view="full",
            resizer="opencv_cubic",
            input_scale=1 / 255,
            mean="none",
            map_resizer="opencv_cubic",
            base="input",
            overlay="viridis_30",
            top=1,
            section="A small CNN from scratch",
        ),
        Protocol(
            name="keras_gradcam",
            view="full",
            resizer="pillow_nearest",
            mean="vgg_value",
            method="gradcam_mean",
            target="probability",
            layer="conv5_3",
            overlay="keras",
            top=3,
            section="Grad-CAM with VGG16",
        ),
        Protocol(
            name="keras_grid",
            view="full",
            resizer="pillow_nearest",
            input_scale=1 / 255,
            mean="none",
            section="Grad-CAM with VGG16",
        ),
        Protocol(
            name="mpii",
            view="full",
            resizer="caffe_bilinear",
            mean="rounded_value",
            base="input",
            overlay="viridis_40",
            caption="on_image",
            top=1,
            section="Fine-tuning to new classes",
        ),
    )
}


def protocol(name: str) -> Protocol:
    """Give a row by its name.

    Raises
    ------
    UsageError
        No row has that name; the nearest is offered.
    """
    if name not in PROTOCOLS:
        hint = suggest(name, PROTOCOLS, f"there are {', '.join(PROTOCOLS)}")
        raise UsageError(f"no protocol is called {name!r}: {hint}")
    return PROTOCOLS[name]
