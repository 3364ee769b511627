"""The table of protocols: named sets of choices for the steps from an image to its maps and boxes.

A row is data. `pycam.images`, `pycam.maps` and `pycam.drawing` implement the choices by their names; no code depends on
the name of a protocol. Single choices can be replaced: `protocol("default").with_choices(view="full")`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pycam.errors import UsageError, suggest
from pycam.formats.numbers import read_number
from pycam.maps.rules import PYTHON_ONLY, box_rules

DRAWING = ("base", "overlay", "caption", "strip", "quality")
"""Choices that change drawings only, and no score, map or box."""

NEEDS = {
    "placement": ("view", ("center",)),
    "target": (
        "method",
        ("gradcam", "gradcam_mean", "gradcam++", "xgradcam", "layercam", "saliency", "scorecam", "ablationcam"),
    ),
    "layer": ("method", ("gradcam", "gradcam_mean", "gradcam++", "xgradcam", "layercam", "scorecam", "ablationcam")),
}
"""Choices that have an effect only with certain values of another choice: the other choice, and these values."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A row of the table.

    Attributes
    ----------
    name : str
        The value of `--protocol`.
    view : str
        The part of the image that is the input of the net: the `center` crop, the `full` image, or `ten` crops; or the
        view of the `model`, which its card names (`for_view`).
    exif : str
        The EXIF orientation of an image, as phones store it: `apply` it, so that the image is upright, as OpenCV's
        `imread` does today; or `ignore` it, as Caffe's users did. Boxes count in these pixels.
    resizer : str
        The resizer from the image to the canvas of the view: a name in `pycam.images.resize.RESIZERS`.
    input_scale : float, optional
        The factor for pixels minus the mean, as `scale` in Caffe's transform_param; a finite number above 0. Options
        also take a fraction: `0.017` or `1/255`. Without it, the factor is the model's.
    mean : str
        The mean that is subtracted: the model's mean `value` or mean `image`; `vgg_value`, (103.939, 116.779, 123.68);
        `rounded_value`, (104, 117, 123); or `none`. All are BGR.
    method : str
        The source of the maps: the class weights of the net, `cam`; gradients: `gradcam`, `gradcam_mean` (the mean
        over the channels, without ReLU), `gradcam++`, `xgradcam`, `layercam`, or `saliency`; or many runs of the net:
        `scorecam`, `ablationcam`. docs/methods.md has the formulas.
    target : str
        For all methods but `cam`: the score that maps explain, the `logit` of the class or its `probability`.
    layer : str
        For methods that weight the channels of a blob: the blob; empty for the deepest blob with rows and columns.
    map_resizer : str
        The resizer that enlarges maps. With the view `ten`, MATLAB's bicubic resize enlarges the maps of the crops, as
        in the release, and the `map_resizer` brings the merged map from the canvas to the image.
    merge : str
        The way to merge the maps of the crops: `single`, for one crop; or for ten crops the `absolute_sum`, as in the
        release, the `sum`, or the `absolute_mean` over the crops that cover a pixel.
    placement : str
        The position of the map: `in_place`, where the crop was; or `stretched` over the whole image, which needs the
        view `center`. The other views cover the whole image.
    base : str
        The image below the map: the `image` at its own size, the `canvas` of the view (256×256 for the released nets),
        or, with the view `full`, the `input` of the net.
    box_rule : str
        The rule that finds boxes: a name in `pycam.box_rules`.
    threshold : float, optional
        The threshold of the box rule, from 0 to 1, if the rule takes one. Without it, the threshold is the rule's own
        default.
    submission : str
        The form of the boxes that an evaluation submits: `pixels`, in ILSVRC's form; or `as_released`, the 0-based
        corners without conversion. ILSVRC counts from 1, so these boxes begin one pixel too far left and too high.
    metric : str
        The metrics of an evaluation: ILSVRC's `errors`; or `max_box_acc`, which adds the accuracies of the ground-truth
        class's map at every threshold (`pycam.metrics.box_accuracy`).
    overlay : str
        The colours of the map and the way to mix them with the base: a name in `pycam.drawing.overlays.OVERLAYS`.
    caption : str
        The text of an overlay: the `label` below the map, the label after an `ordinal`, or a sentence `on_image`.
    strip : str
        The layout of the image and its overlays: `captioned`, all at one height; or as in the `matlab_demo`.
    quality : int
        The quality of drawings as JPEG, from 1 to 100.
    top : int
        The default number of classes.
    section : str
        The section of docs/release.md (a number) or docs/recipes.md (a title) that describes the row.
    """

    name: str
    view: Literal["model", "center", "full", "ten"] = "center"
    exif: Literal["apply", "ignore"] = "ignore"
    resizer: Literal[
        "opencv_bilinear",
        "opencv_cubic",
        "pillow_bilinear",
        "pillow_bicubic",
        "pillow_nearest",
        "matlab_bicubic",
        "matlab_bilinear",
        "caffe_bilinear",
    ] = "opencv_bilinear"
    input_scale: float | None = None
    mean: Literal["value", "image", "vgg_value", "rounded_value", "none"] = "value"
    method: Literal[
        "cam",
        "gradcam",
        "gradcam_mean",
        "gradcam++",
        "xgradcam",
        "layercam",
        "saliency",
        "scorecam",
        "ablationcam",
    ] = "cam"
    target: Literal["logit", "probability"] = "logit"
    layer: str = ""
    map_resizer: Literal["opencv_bilinear", "opencv_cubic", "matlab_bicubic", "tf_corner", "levels_256"] = (
        "opencv_bilinear"
    )
    merge: Literal["single", "absolute_sum", "sum", "absolute_mean"] = "single"
    placement: Literal["in_place", "stretched"] = "in_place"
    base: Literal["image", "canvas", "input"] = "image"
    box_rule: str = "paper"
    threshold: float | None = None
    submission: Literal["pixels", "as_released"] = "pixels"
    metric: Literal["errors", "max_box_acc"] = "errors"
    overlay: Literal[
        "half", "py_demo", "matlab_demo", "pytorch_cam", "jet_50", "viridis_30", "viridis_40", "keras", "keras_clipped"
    ] = "half"
    caption: Literal["label", "ordinal", "on_image"] = "label"
    strip: Literal["captioned", "matlab_demo"] = "captioned"
    quality: int = 92
    top: int = 5
    section: str = ""

    def __repr__(self) -> str:
        return f"<Protocol {self.name!r}: view {self.view}, method {self.method}, box rule {self.box_rule}>"

    def __post_init__(self) -> None:
        if self.box_rule in PYTHON_ONLY:
            raise UsageError(PYTHON_ONLY[self.box_rule])
        for choice, allowed in CHOICES.items():
            value = getattr(self, choice)
            if value not in allowed:
                hint = suggest(str(value), allowed, f"expected one of {', '.join(allowed)}")
                raise UsageError(f"protocol {self.name!r}: {choice} is {value!r}; {hint}")
        if self.threshold is not None:
            box_rules[self.box_rule].check_threshold(self.threshold)
        if self.input_scale is not None and not 0 < self.input_scale < math.inf:
            raise UsageError(
                f"protocol {self.name!r}: input_scale is {self.input_scale}; expected a finite number above 0"
            )
        if not 1 <= self.quality <= 100:
            raise UsageError(f"protocol {self.name!r}: quality is {self.quality}; expected 1 to 100")
        if (self.view == "ten") != (self.merge != "single"):
            raise UsageError(f"protocol {self.name!r}: view {self.view!r} cannot have merge {self.merge!r}")
        if self.base == "input" and self.view != "full":
            raise UsageError(f"protocol {self.name!r}: base 'input' needs view 'full', not {self.view!r}")
        for choice, (other, values) in NEEDS.items():
            if getattr(self, choice) != getattr(Protocol, choice) and getattr(self, other) not in values:
                one_of = "one of " if len(values) > 1 else ""
                raise UsageError(
                    f"protocol {self.name!r}: {choice} {getattr(self, choice)!r} has no effect with {other} "
                    f"{getattr(self, other)!r}: leave it out, or set {other} to {one_of}{', '.join(values)}"
                )

    def choices(self) -> dict[str, str]:
        """Return all choices by name: all fields but `name`, `top` and `section`.

        A choice that is left to the model is "", and so is the threshold of a box rule that has none.
        """
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("name", "top", "section")}
        found["threshold"] = self.box_threshold
        return {name: "" if value is None else str(value) for name, value in found.items()}

    @property
    def box_threshold(self) -> float | None:
        """The threshold that the box rule uses: the row's, or else the rule's own; None if it takes none."""
        default = box_rules[self.box_rule].threshold
        return self.threshold if self.threshold is not None or default is None else default.default

    @property
    def boxes_by(self) -> str:
        """The box rule and its threshold, in words."""
        threshold = self.box_threshold
        return f"box rule {self.box_rule}" + ("" if threshold is None else f", threshold {threshold:g}")

    def with_choices(self, **choices: str | float | None) -> Protocol:
        """Return the row with those of `choices` that are not None.

        A view sets its merge, saliency sets its box rule, and a box rule sets its submission, unless `choices` has
        them. Choices of the row that have no effect with the new ones are reset to their defaults.

        Raises
        ------
        UsageError
            A value is invalid, or the choices cannot be combined.
        """
        given: dict[str, Any] = {name: value for name, value in choices.items() if value is not None}
        for name in ("input_scale", "threshold"):
            if name in given:
                given[name] = _number(name, given[name])
        if given.get("method") == "saliency" and self.box_rule == "paper":
            given.setdefault("box_rule", "smoothed")
        if "view" in given:
            given.setdefault("merge", "absolute_sum" if given["view"] == "ten" else "single")
        if "box_rule" in given:
            given.setdefault("submission", "as_released" if given["box_rule"] in RELEASED_BOX_RULES else "pixels")
        if self.threshold is not None and box_rules[given.get("box_rule", self.box_rule)].threshold is None:
            given.setdefault("threshold", None)
        for choice, (other, values) in NEEDS.items():
            if given.get(other, getattr(self, other)) not in values:
                given.setdefault(choice, getattr(Protocol, choice))
        return replace(self, **given)

    def for_view(self, view: str) -> Protocol:
        """Return the row for a model: the view of the model in the place of the view `model`.

        Parameters
        ----------
        view : str
            The view of the model, `pycam.model.Model.view`.
        """
        return self.with_choices(view=view) if self.view == "model" else self

    def with_methods(
        self, methods: Sequence[str], layers: Sequence[str] = (), **choices: str | float | None
    ) -> list[Protocol]:
        """Return the row once per method, and once per layer with the methods that take one, in the given orders.

        Parameters
        ----------
        methods : sequence of str
            One or more; none for the method of the row.
        layers : sequence of str
            Blobs; none for the layer of the row, or the default.
        **choices
            As for `with_choices`; each is used with the methods for which it has an effect.

        Raises
        ------
        UsageError
            A choice or a layer has no effect with any of the methods, or the same maps are asked for twice.
        """
        methods = methods or [self.method]
        given = {**choices, "layer": layers or None}
        takers = {
            name: [method for method in methods if name not in NEEDS or method in NEEDS[name][1]] or methods
            for name in given
        }
        rows = [
            self.with_choices(
                method=method,
                layer=layer,
                **{name: value for name, value in choices.items() if method in takers[name]},
            )
            for method in methods
            for layer in (layers if method in takers["layer"] and layers else [None])
        ]
        for row in rows:
            if rows.count(row) > 1:
                at = f" at layer {row.layer}" if row.layer else ""
                raise UsageError(f"method {row.method}{at} is given twice: give each method and each layer once")
        return rows


CHOICES: dict[str, tuple[str, ...]] = {
    name: get_args(hint) for name, hint in get_type_hints(Protocol).items() if get_origin(hint) is Literal
}
CHOICES["box_rule"] = tuple(name for name in box_rules if name not in PYTHON_ONLY)
"""The values of each choice that has a fixed list of them."""

RELEASED_BOX_RULES = tuple(rule for rule in CHOICES["box_rule"] if rule.startswith("released"))
"""The box rules of the released generator, which finds any number of boxes in a map."""


def _number(choice: str, text: str | float) -> float:
    """Parse a number such as 0.017, or a fraction such as 1/255."""
    try:
        return read_number(str(text))
    except (ValueError, ZeroDivisionError, OverflowError):
        raise UsageError(f"{choice} is {text!r}; expected a number or a fraction, as in 0.017 or 1/255") from None


PROTOCOLS = {
    row.name: row
    for row in (
        Protocol(name="default", view="model", exif="apply", section="2, 5"),
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
        Protocol(
            name="pytorch_cam",
            view="full",
            resizer="pillow_bilinear",
            map_resizer="levels_256",
            overlay="pytorch_cam",
            quality=95,
            top=1,
            section="8",
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
"""The rows, by name."""


def protocol(name: str) -> Protocol:
    """Return the row of a name.

    Raises
    ------
    UsageError
        No row has that name; the message suggests the most similar one.
    """
    if name not in PROTOCOLS:
        hint = suggest(name, PROTOCOLS, f"expected one of {', '.join(PROTOCOLS)}")
        raise UsageError(f"unknown protocol {name!r}: {hint}")
    return PROTOCOLS[name]
