"""The one table of protocols: named sets of the choices that lie between a picture and its maps and boxes.

A row is data. What a choice means is carried out where it belongs (`pycam.views`, `pycam.cam`, `pycam.boxes`,
`pycam.render`), by the choice's name; no code asks for a protocol's name. Single choices can be overridden:
`dataclasses.replace(protocol("default"), view="full")`.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields, replace

from pycam.errors import UsageError

CHOICES: dict[str, tuple[str, ...]] = {
    "view": ("center", "full", "ten"),
    "resizer": ("opencv_bilinear", "opencv_cubic", "pillow_bicubic", "matlab_bicubic", "matlab_bilinear"),
    "mean": ("pixel", "picture"),
    "method": ("cam", "gradcam", "gradcam_mean", "saliency"),
    "target": ("logit", "probability"),
    "map_resizer": ("opencv_bilinear", "matlab_bicubic"),
    "merge": ("single", "absolute_sum", "sum", "absolute_mean"),
    "placement": ("in_place", "stretched"),
    "base": ("picture", "canvas"),
    "box_rule": ("paper", "released", "released_30_90_150", "released_no_jpeg", "sweep"),
    "blend": ("half", "py_demo", "matlab_demo"),
}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """A row of the table.

    Attributes
    ----------
    name
        As in `--protocol`.
    view
        Which parts of the picture the net sees: `center` crop, the `full` picture, or `ten` crops.
    resizer
        How the picture is brought to the view's canvas.
    mean
        What is subtracted: the mean `pixel`, or the mean `picture`.
    method
        How a class gets its map: by the net's class weights, `cam`; or from gradients: `gradcam`, `gradcam_mean`, where
        channels are averaged and nothing is rectified, or `saliency`.
    target
        Of gradients: whether they are those of the class's `logit`, or of its `probability`.
    layer
        Of Grad-CAM: the blob that it is made at; none for the deepest with rows and columns.
    map_resizer
        How maps are enlarged.
    merge
        How the crops' maps become one: there is only a `single` one; or the `absolute_sum` of ten, as released, their
        plain `sum`, or their `absolute_mean` over the crops that cover a pixel.
    placement
        Where a crop's map lies: `in_place`, where the crop was; or `stretched` over the whole picture.
    base
        What maps are drawn on: the `picture` at its own size, or the 256×256 `canvas`.
    box_rule
        How boxes are found: a row of `pycam.boxes.BOX_RULES`.
    blend
        The colours, and how they are mixed with what lies below: `pycam.render`.
    section
        Where docs/release.md tells what the row does.
    """

    name: str
    view: str = "center"
    resizer: str = "opencv_bilinear"
    mean: str = "pixel"
    method: str = "cam"
    target: str = "logit"
    layer: str = ""
    map_resizer: str = "opencv_bilinear"
    merge: str = "single"
    placement: str = "in_place"
    base: str = "picture"
    box_rule: str = "paper"
    blend: str = "half"
    section: str = ""

    def __post_init__(self) -> None:
        for choice, allowed in CHOICES.items():
            value = getattr(self, choice)
            if value not in allowed:
                raise UsageError(f"protocol {self.name!r}: {choice} {value!r} is none of {', '.join(allowed)}")
        if (self.view == "ten") != (self.merge != "single"):
            raise UsageError(f"protocol {self.name!r}: view {self.view!r} does not go with merge {self.merge!r}")

    def choices(self) -> dict[str, str]:
        """Every choice by name, without the row's name and section."""
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("name", "section")}

    def with_view(self, view: str) -> Protocol:
        """Give the same choices with another view, and the merge that goes with it."""
        return replace(self, view=view, merge="absolute_sum" if view == "ten" else "single")

    def with_choices(self, **choices: str | None) -> Protocol:
        """Give the row with other choices where they are not None; a view brings its merge."""
        given = {name: value for name, value in choices.items() if value is not None}
        row = self.with_view(given.pop("view")) if "view" in given else self
        return replace(row, **given)


PROTOCOLS = {
    row.name: row
    for row in (
        Protocol(name="default", section="2, 5"),
        Protocol(name="py_demo", placement="stretched", base="canvas", blend="py_demo", section="2"),
        Protocol(
            name="matlab_demo",
            view="ten",
            resizer="matlab_bicubic",
            mean="picture",
            map_resizer="matlab_bicubic",
            merge="absolute_sum",
            base="canvas",
            blend="matlab_demo",
            section="3",
        ),
        Protocol(
            name="released",
            view="ten",
            resizer="matlab_bilinear",
            mean="picture",
            map_resizer="matlab_bicubic",
            merge="absolute_sum",
            box_rule="released",
            section="4, 5",
        ),
        Protocol(name="paper", section="2, 5"),
        Protocol(name="sweep", view="full", box_rule="sweep", section="2, 5"),
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
        near = difflib.get_close_matches(name, PROTOCOLS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(PROTOCOLS)}"
        raise UsageError(f"no protocol is called {name!r}: {hint}")
    return PROTOCOLS[name]
