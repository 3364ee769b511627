from __future__ import annotations

import dataclasses

import pytest

from pycam.errors import UsageError
from pycam.protocols import CHOICES, PROTOCOLS, Protocol, protocol


def test_rows_say_what_the_release_does():
    assert protocol("default").choices() == {
        "view": "center", "resizer": "opencv_bilinear", "brightest": "255", "mean": "pixel",
        "method": "cam", "target": "logit", "layer": "", "map_resizer": "opencv_bilinear",
        "merge": "single", "placement": "in_place", "base": "picture", "box_rule": "paper", "blend": "half",
        "caption": "words",
    }  # fmt: skip
    assert (protocol("py_demo").placement, protocol("py_demo").base) == ("stretched", "canvas")
    assert (protocol("matlab_demo").view, protocol("matlab_demo").mean) == ("ten", "picture")
    assert protocol("released").box_rule == "released"


def test_every_row_cites_its_section_and_is_called_by_its_name():
    for name, row in PROTOCOLS.items():
        assert row.name == name
        assert row.section


def test_every_choice_is_taken_from_its_list():
    for choice in CHOICES:
        with pytest.raises(UsageError, match=f"{choice} 'odd' is none of"):
            dataclasses.replace(protocol("default"), **{choice: "odd"})


def test_view_brings_its_merge():
    assert protocol("default").with_view("ten").merge == "absolute_sum"
    assert protocol("matlab_demo").with_view("full").merge == "single"
    assert protocol("default").with_view("full").name == "default"
    with pytest.raises(UsageError, match="does not go with"):
        Protocol(name="x", view="ten")


def test_choices_in_place_of_a_rows():
    row = protocol("matlab_demo").with_choices(view="full", method="gradcam", layer="conv5_3", target=None)
    assert (row.view, row.merge, row.method, row.layer, row.target) == ("full", "single", "gradcam", "conv5_3", "logit")
    assert row.with_view("ten").layer == "conv5_3"
    assert protocol("paper").with_choices(method="saliency").box_rule == "smoothed"
    assert protocol("paper").with_choices(method="saliency", box_rule="paper").box_rule == "paper"
    assert protocol("released").with_choices(method="saliency").box_rule == "released"


def test_unknown_row_offers_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'matlab_demo'"):
        protocol("matlab-demo")
