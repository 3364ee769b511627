from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from pycam.errors import UsageError
from pycam.images.views import view_of
from pycam.maps.placement import Placement
from pycam.protocols import CHOICES, PROTOCOLS, Protocol, protocol

DOCS = Path(__file__).parents[1] / "docs"


def test_rows_have_the_choices_of_the_release():
    assert protocol("default").choices() == {
        "view": "model", "exif": "apply", "resizer": "opencv_bilinear", "input_scale": "", "mean": "value",
        "method": "cam", "target": "logit", "layer": "", "map_resizer": "opencv_bilinear",
        "merge": "single", "placement": "in_place", "base": "image", "box_rule": "paper",
        "threshold": "0.2",
        "submission": "pixels", "metric": "errors", "overlay": "half", "caption": "label", "strip": "captioned",
        "quality": "92",
    }  # fmt: skip
    assert (protocol("py_demo").placement, protocol("py_demo").base) == ("stretched", "canvas")
    assert (protocol("matlab_demo").view, protocol("matlab_demo").mean) == ("ten", "image")
    assert (protocol("released").box_rule, protocol("released").submission) == ("released", "as_released")
    assert (protocol("sweep").box_rule, protocol("sweep").metric) == ("paper", "max_box_acc")
    assert [name for name, row in PROTOCOLS.items() if row.strip == "matlab_demo"] == ["matlab_demo"]


def test_every_row_has_its_name_and_its_section():
    pages = {name: (DOCS / name).read_text("utf-8") for name in ("release.md", "recipes.md")}
    headings = re.findall(r"^## (.+)$", "\n".join(pages.values()), re.MULTILINE)
    numbers = {heading.split(".")[0] for heading in headings if heading[0].isdigit()}
    for name, row in PROTOCOLS.items():
        assert row.name == name
        assert row.section in headings or set(row.section.split(", ")) <= numbers


def test_unknown_values_of_choices_are_refused():
    for choice in CHOICES:
        with pytest.raises(UsageError, match=f"{choice} is 'odd'; expected one of"):
            dataclasses.replace(protocol("default"), **{choice: "odd"})


def test_view_brings_its_merge():
    assert protocol("default").with_choices(view="ten").merge == "absolute_sum"
    assert protocol("matlab_demo").with_choices(view="full").merge == "single"
    assert protocol("default").with_choices(view="full").name == "default"
    with pytest.raises(UsageError, match="view 'ten' cannot have merge 'single'"):
        Protocol(name="x", view="ten")


def test_view_of_the_model_is_taken_by_the_default_row_only():
    for view, merge in (("full", "single"), ("center", "single"), ("ten", "absolute_sum")):
        row = protocol("default").for_view(view)
        assert (row.view, row.merge) == (view, merge)
        assert row == protocol("default").with_choices(view=view)
    named = [row for name, row in PROTOCOLS.items() if name != "default"]
    assert all(row.for_view("full") is row for row in named)
    assert protocol("default").with_choices(view="center").for_view("full").view == "center"
    assert protocol("py_demo").with_choices(view="model").for_view("full").view == "full"


def test_choices_replace_those_of_a_row():
    row = protocol("matlab_demo").with_choices(view="full", method="gradcam", layer="conv5_3", target=None)
    assert (row.view, row.merge, row.method, row.layer, row.target) == ("full", "single", "gradcam", "conv5_3", "logit")
    assert row.with_choices(view="ten").layer == "conv5_3"
    assert protocol("paper").with_choices(method="saliency").box_rule == "smoothed"
    assert protocol("paper").with_choices(method="saliency", box_rule="paper").box_rule == "paper"
    assert protocol("released").with_choices(method="saliency").box_rule == "released"


@pytest.mark.parametrize(
    ("choices", "complaint"),
    [
        (
            {"layer": "conv5_3"},
            "layer 'conv5_3' has no effect with method 'cam': .* set method to one of gradcam, gradcam_mean, ",
        ),
        ({"method": "saliency", "layer": "conv5_3"}, "layer 'conv5_3' has no effect with method 'saliency'"),
        ({"target": "probability"}, "target 'probability' has no effect with method 'cam'"),
        ({"view": "full", "placement": "stretched"}, "placement 'stretched' has no effect with view 'full'"),
        (
            {"placement": "stretched"},
            "'stretched' has no effect with view 'model': leave it out, or set view to center",
        ),
        ({"view": "ten", "placement": "stretched"}, "placement 'stretched' has no effect with view 'ten'"),
    ],
)
def test_a_choice_without_effect_is_refused(choices, complaint):
    with pytest.raises(UsageError, match=complaint):
        protocol("default").with_choices(**choices)


@pytest.mark.parametrize(
    ("choices", "complaint"),
    [
        ({"quality": 0}, "quality is 0; expected 1 to 100"),
        ({"base": "input"}, "base 'input' needs view 'full', not 'model'"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(choices, complaint):
    with pytest.raises(UsageError, match=f"^protocol 'default': {complaint}$"):
        protocol("default").with_choices(**choices)


def test_choices_without_effect_are_reset_with_new_choices():
    assert protocol("py_demo").with_choices(view="full").placement == "in_place"
    cam = protocol("keras_gradcam").with_choices(method="cam")
    assert (cam.layer, cam.target) == ("", "logit")
    saliency = protocol("keras_gradcam").with_choices(method="saliency")
    assert (saliency.layer, saliency.target) == ("", "probability")


def test_choices_are_used_with_the_methods_that_need_them():
    rows = protocol("default").with_methods(["cam", "gradcam", "saliency"], ["conv5_3"], target="probability")
    assert [(row.layer, row.target) for row in rows] == [
        ("", "logit"), ("conv5_3", "probability"), ("", "probability")
    ]  # fmt: skip
    assert protocol("default").with_methods(["cam"], target=None) == [protocol("default")]
    with pytest.raises(UsageError, match="layer 'conv5_3' has no effect with method 'cam'"):
        protocol("default").with_methods(["cam", "saliency"], ["conv5_3"])


def test_ten_crops_reach_the_image_by_the_map_resizer():
    # MATLAB's resize alone brings the maps to the canvas; the choice affects the resize from the canvas to the image.
    maps = np.random.default_rng(0).normal(size=(10, 7, 7)).astype(np.float32)
    placements = [
        Placement(view_of("ten", (224, 224)), name, "absolute_sum", "in_place")
        for name in ("matlab_bicubic", "opencv_bilinear")
    ]
    canvases = [placement.on_canvas(maps) for placement in placements]
    images = [placement.on_image(maps, 300, 200) for placement in placements]
    np.testing.assert_array_equal(*canvases)
    assert (images[0] != images[1]).any()


def test_a_box_rule_brings_its_submission():
    assert protocol("released").with_choices(box_rule="paper").submission == "pixels"
    assert protocol("released").with_choices(view="full").submission == "as_released"
    assert protocol("released").with_choices(submission="pixels").box_rule == "released"
    assert protocol("paper").with_choices(box_rule="released_no_jpeg").submission == "as_released"
    assert protocol("paper").with_choices(box_rule="released", submission="pixels").submission == "pixels"


@pytest.mark.parametrize(("text", "value"), [("0.017", 0.017), ("1/255", 1 / 255), ("2", 2.0)])
def test_the_input_scale_is_a_number_or_a_fraction(text, value):
    assert protocol("default").with_choices(input_scale=text).input_scale == value


@pytest.mark.parametrize("text", ["0", "-1", "-1/255", "1e-999", "x", "", "1/0", "1e999", "nan", "inf", "1/2/3"])
def test_other_input_scales_are_refused(text):
    with pytest.raises(UsageError, match=r"input_scale is .*; expected a (finite )?number"):
        protocol("default").with_choices(input_scale=text)


def test_an_unknown_row_suggests_the_most_similar_one():
    with pytest.raises(UsageError, match="did you mean 'matlab_demo'"):
        protocol("matlab-demo")
