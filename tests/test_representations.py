"""How values show themselves in Python: short representations, plots, tables, and overlays in RGB."""

from __future__ import annotations

import dataclasses
import sys
from dataclasses import replace

import numpy as np
import pytest
import samples

import pycam
from pycam import zoo
from pycam.engines import Options
from pycam.errors import UsageError
from pycam.net import head_weights
from pycam.protocols import PROTOCOLS
from pycam.zoo.labels import Labels

PIXELS = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
LONG = "a label that goes on and on, " * 40
VALUES = dict.fromkeys(("Prediction", "ClassPrediction", "Cam", "Net", "Model", "Protocol", "Labels", "Card", "Engine"))


def test_public_objects_have_short_representations():
    cam = samples.cam()
    long = replace(cam.model, name=LONG, labels=Labels((LONG,) * 8), net=replace(cam.model.net, name=LONG))
    seen = set()
    for each in (cam, replace(cam, model=long)):
        prediction = each(PIXELS)
        values = [
            each, prediction, *prediction.top, replace(prediction, image=None), each.model, each.model.net, each.engine,
            *each.model.net.layers, each.model.labels,
            head_weights(each.model.net, each.head), each.placement, each.model.preprocessing,
            prediction.image, Options(), pycam.box_rules, *PROTOCOLS.values(), *zoo.all_cards(), Labels(()),
        ]  # fmt: skip
        for value in values:
            assert 0 < len(repr(value)) < 200, repr(value)
            assert "\n" not in repr(value)
            seen |= {base.__name__ for base in type(value).__mro__}
    assert seen >= set(VALUES)
    assert {getattr(pycam, name) for name in pycam.__all__ if name in seen} >= {pycam.Cam, pycam.Net, pycam.Prediction}


def test_a_representation_says_what_matters():
    cam = samples.cam()
    prediction = cam(PIXELS)
    assert repr(cam.protocol) == "<Protocol 'default': view center, method cam, box rule paper>"
    assert repr(cam.model.net) == "<Net 'blobs', 6 layers, 2 with parameters>"
    assert repr(cam.model.net.layers[1]) == "<Convolution 'conv' -> conv, 1×6×14×14>"
    assert repr(prediction.top[1]).startswith(f"<ClassPrediction 1: {prediction.top[1].index} ")
    assert f"5 classes, best {prediction.top[0].index} " in repr(prediction)
    assert dataclasses.is_dataclass(prediction)


def test_a_table_of_the_classes():
    prediction = samples.cam()(PIXELS)
    frame = prediction.to_frame()
    assert list(frame) == ["image", "rank", "index", "wnid", "label", "score", "x0", "y0", "x1", "y1"]
    assert frame["rank"].tolist() == [1, 2, 3, 4, 5]
    assert frame["index"].tolist() == prediction.classes.tolist()
    assert frame["score"].tolist() == [item.score for item in prediction.top]
    assert frame[["x0", "y0", "x1", "y1"]].astype("float").values.tolist() == [
        list(item.box) if item.box else [float("nan")] * 4 for item in prediction.top
    ]


def test_a_class_without_a_box_has_missing_sides():
    prediction = samples.cam()(PIXELS)
    empty = replace(prediction, kept_boxes=[np.empty((0, 4), int)] * 5)
    assert empty.to_frame()[["x0", "y1"]].isna().all(axis=None)


def test_overlays_in_rgb():
    prediction = samples.cam()(PIXELS, rgb=True)
    assert np.array_equal(prediction.base, PIXELS[:, :, ::-1])
    rgb = prediction.overlay(1, box=True, rgb=True)
    assert np.array_equal(rgb, prediction.overlay(1, box=True)[:, :, ::-1])
    assert rgb.flags.c_contiguous


@pytest.mark.paper
def test_a_plot_shows_the_overlays():
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot

    prediction = samples.cam()(PIXELS)
    first = prediction.plot(box=True)
    panels = first.figure.axes
    assert len(panels) == 6 and panels[0] is first
    assert np.array_equal(panels[0].images[0].get_array(), PIXELS[:, :, ::-1])
    for rank, panel in enumerate(panels[1:]):
        assert np.array_equal(panel.images[0].get_array(), prediction.overlay(rank, box=True, rgb=True))
        assert panel.get_title().endswith(f"\n{prediction.top[rank].score:.3f}")
    # A dollar sign in a label is text.
    costly = replace(prediction, labels=Labels(("$a^b$ and $c_d$",) * 8)).plot()
    costly.figure.canvas.draw()
    pyplot.close("all")


def test_a_plot_without_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"a plot needs matplotlib: pip install 'caffe-cam\[paper\]'"):
        samples.cam()(PIXELS).plot()
