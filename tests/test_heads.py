"""Heads: found or denied for the true reason, against maps and scores that real layers compute."""

from __future__ import annotations

from itertools import cycle, pairwise, product

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from nets import conv, data, layer, pool, seeded_net

from pycam import engines
from pycam.errors import NetError, PycamError, UsageError
from pycam.formats import prototxt
from pycam.net import CamHead, Net, find_head, find_heads, find_scores, head_weights, named_head, net_from_message

TRUNK = data(1, 3, 8, 8) + conv("first", "data") + layer("ReLU", "relu", "first", "first") + conv("second", "first")
RECTIFIED = TRUNK + layer("ReLU", "relu2", "second", "second")
MEAN = pool("mean", "second", "pool: AVE global_pooling: true")
FC = layer("InnerProduct", "fc", "mean", params="inner_product_param { num_output: 5 }")
PROB = layer("Softmax", "prob", "fc")
CLASSIFIER = TRUNK + MEAN + FC + PROB


def net_of(text: str) -> Net:
    return net_from_message(prototxt.parse(text).message)


def names(head: CamHead) -> tuple[str, str | None, str]:
    return head.feature_blob, head.class_layer, head.score_blob


def mean_of_map_and_score(net: Net, head: CamHead, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of each class's map plus its bias, and the score before the last activation, from a real run."""
    rng = np.random.default_rng(seed)
    inputs = {blob: rng.uniform(-50, 50, net.shapes[blob]).astype(np.float32) for blob in net.inputs}
    values = engines.make("onnxruntime", net, [head.feature_blob, head.logits]).forward(inputs)
    numbers = head_weights(net, head)
    features = values[head.feature_blob][0].astype(np.float64)
    maps = features if numbers.matrix is None else np.tensordot(numbers.matrix.astype(np.float64), features, 1)
    if numbers.coverage is not None:
        maps = maps * numbers.coverage
    logits = values[head.logits].reshape(len(numbers.bias), -1).mean(axis=1)
    return maps.mean(axis=(1, 2)) + numbers.bias, logits


def assert_the_mean_is_the_score(net: Net, head: CamHead) -> None:
    means, scores = mean_of_map_and_score(net, head)
    np.testing.assert_allclose(means, scores, rtol=0, atol=1e-5 * max(1, np.abs(scores).max()))


@pytest.mark.parametrize(
    ("text", "head"),
    [
        (CLASSIFIER, ("second", "fc", "prob")),
        (CLASSIFIER.replace("global_pooling: true", "kernel_size: 8 stride: 8"), ("second", "fc", "prob")),
        (TRUNK + MEAN + FC, ("second", "fc", "fc")),
        (TRUNK + MEAN + FC + layer("Sigmoid", "each", "fc"), ("second", "fc", "each")),
        (TRUNK + MEAN + layer("Softmax", "prob", "mean"), ("second", None, "prob")),
        (CLASSIFIER + layer("Accuracy", "right", "prob label") + data(1, name="label"), None),
    ],
)  # fmt: skip
def test_the_head_is_found_in_the_graph(text, head):
    if head is None:
        text, head = data(1, name="label") + text.replace(data(1, name="label"), ""), ("second", "fc", "prob")
    assert names(find_head(net_of(text))) == head


# What stands before the pooling, the pooling, what stands behind it, the class layer, and what stands behind that.

POOLINGS = {
    "global": "pool: AVE global_pooling: true",
    "whole kernel": "pool: AVE kernel_size: 8",
    "kernel per side": "pool: AVE kernel_h: 8 kernel_w: 8 stride: 3",
    "padded": "pool: AVE kernel_size: 10 pad: 1",
    "four windows": "pool: AVE kernel_size: 4 stride: 4",
    "overlapping windows": "pool: AVE kernel_size: 5 stride: 1",
    "overhanging windows": "pool: AVE kernel_size: 3 stride: 3",
}
BEHIND = {
    "nothing": "",
    "Dropout": layer("Dropout", "x", "mean", "mean"),
    "Power": layer("Power", "x", "mean", "mean", "power_param { scale: -3 shift: 0.5 }"),
    "Scale": layer("Scale", "x", "mean", "mean", "scale_param { bias_term: true }"),
    "BatchNorm": layer("BatchNorm", "x", "mean", "mean"),
    "ReLU": layer("ReLU", "x", "mean", "mean"),
}
CLASSES = {
    "InnerProduct": FC,
    "transposed": FC.replace("num_output: 5", "num_output: 5 transpose: true"),
    "no bias": FC.replace("num_output: 5", "num_output: 5 bias_term: false"),
    "two": FC.replace('"fc"', '"hidden"') + FC.replace('bottom: "mean"', 'bottom: "hidden"'),
    "1×1": conv("fc", "mean", params="num_output: 5 kernel_size: 1"),
    "3×3": conv("fc", "mean", params="num_output: 5 kernel_size: 3 pad: 1"),
    "dilated": conv("fc", "mean", params="num_output: 5 kernel_size: 3 pad: 2 dilation: 2"),
    "groups": conv("fc", "mean", params="num_output: 6 kernel_size: 1 group: 2"),
}
AFTER = {
    "Softmax": PROB,
    "Scale": layer("Scale", "t", "fc", params="scale_param { bias_term: true }") + layer("Softmax", "prob", "t"),
    "Power": layer("Power", "t", "fc", params="power_param { scale: 0.1 shift: 2 }") + layer("Sigmoid", "prob", "t"),
    "Dropout": layer("Dropout", "t", "fc", "fc") + layer("TanH", "prob", "fc"),
}
SEVERAL = ("four windows", "overlapping windows", "overhanging windows")


@pytest.mark.parametrize(("pooling", "behind"), [*product(POOLINGS, BEHIND)])
def test_the_mean_of_a_map_is_the_score_or_the_reason_is_true(pooling, behind):
    afters = cycle(AFTER.values())
    for classes, trunk in product(CLASSES, (TRUNK, RECTIFIED) if behind == "ReLU" else (TRUNK,)):
        text = trunk + pool("mean", "second", POOLINGS[pooling]) + BEHIND[behind] + CLASSES[classes] + next(afters)
        net = seeded_net(prototxt.parse(text).message)
        if behind == "ReLU" and trunk is TRUNK:
            told = r"layer 'x' \(ReLU\) is not linear: it cuts off negative values"
        elif pooling in SEVERAL and classes in ("InnerProduct", "transposed", "no bias", "two"):
            told = r"layer '(fc|hidden)' \(InnerProduct\) mixes the .* positions"
        elif pooling in SEVERAL and classes in ("3×3", "dilated"):
            told = r"layer 'fc' \(Convolution\) mixes the .* positions of its bottom"
        else:
            head = find_head(net)
            assert (head.feature_blob, head.score_blob) == ("second", "prob")
            assert (head.positions is not None) == (pooling in SEVERAL)
            assert_the_mean_is_the_score(net, head)
            continue
        found = find_heads(net)["prob"]
        if isinstance(found, CamHead):  # the scores of a convolution with positions are maps themselves
            assert found.pooling == "none" and pooling in SEVERAL and "Convolution" in CLASSES[classes]
            assert_the_mean_is_the_score(net, found)
            continue
        with pytest.raises(
            NetError, match=f"{told}.*; name the layers in a model card.* or use method gradcam or scorecam"
        ):
            find_head(net)


@pytest.mark.parametrize(
    ("text", "head"),
    [
        (MEAN + layer("Flatten", "flat", "mean") + FC.replace("mean", "flat") + PROB, ("second", "fc", "prob")),
        (
            MEAN
            + layer("Reshape", "r", "mean", params="reshape_param { shape { dim: 0 dim: 2 dim: 2 } }")
            + layer("Softmax", "prob", "r", params="softmax_param { axis: 2 }"),
            ("second", None, "prob"),
        ),
        (
            MEAN
            + FC.replace("num_output: 5", "num_output: 7")
            + layer("Slice", "s", "fc", "a b", "slice_param { slice_point: 3 }")
            + layer("Softmax", "prob", "b"),
            ("second", "fc", "prob"),
        ),
        (
            MEAN
            + FC
            + FC.replace('"fc"', '"other"')
            + layer("Eltwise", "sum", "fc other", params="eltwise_param { coeff: 1 coeff: -2 }")
            + layer("Softmax", "prob", "sum"),
            ("second", "other", "prob"),
        ),
        (
            MEAN
            + FC
            + layer("Flatten", "flat", "mean")
            + layer("Concat", "both", "flat fc")
            + layer("Softmax", "prob", "both"),
            ("second", "fc", "prob"),
        ),
        (
            pool("half", "second", "pool: AVE kernel_size: 2 stride: 2") + MEAN.replace("second", "half") + FC + PROB,
            ("half", "fc", "prob"),
        ),
        (MEAN + pool("again", "mean", "pool: MAX global_pooling: true") + FC.replace("mean", "again") + PROB,
         ("second", "fc", "prob")),
        (conv("maps", "second", params="num_output: 5 kernel_size: 1") + layer("Softmax", "prob", "maps"),
         ("maps", None, "prob")),
    ],
)  # fmt: skip
def test_rare_heads(text, head):
    net = seeded_net(prototxt.parse(TRUNK + text).message)
    found = find_head(net, "prob")
    assert names(found) == head
    assert_the_mean_is_the_score(net, found)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (conv("scores", "second", params="num_output: 5 kernel_size: 8") + layer("Softmax", "prob", "scores"),
         "no global pooling before the scores; use method gradcam or scorecam, which need none, or "
         "convert .* `pycam net cam`"),
        (FC.replace('bottom: "mean"', 'bottom: "second"') + PROB, "no global pooling before the scores"),
        (MEAN + layer("Power", "p", "mean", params="power_param { power: 2 }") + FC.replace('"mean"', '"p"') + PROB,
         r"layer 'p' \(Power\) is not linear: its power is 2, between the pooling and the scores"),
        (MEAN + layer("Sigmoid", "p", "mean") + FC.replace('"mean"', '"p"') + PROB,
         r"layer 'p' \(Sigmoid\) is not linear"),
        (MEAN + FC + layer("ReLU", "p", "fc") + layer("Softmax", "prob", "p"), r"layer 'p' \(ReLU\) is not linear"),
        (MEAN + pool("most", "second", "pool: MAX global_pooling: true") + layer("Concat", "both", "mean most")
         + FC.replace('"mean"', '"both"') + PROB, "the scores combine several poolings, 'mean' and 'most'"),
        (MEAN + FC + FC.replace('"fc"', '"gate"')
         + layer("Eltwise", "el", "fc gate", params="eltwise_param { operation: PROD }")
         + layer("Softmax", "prob", "el"), r"layer 'el' \(Eltwise\) is not linear: its operation is PROD"),
        (MEAN + layer("Concat", "both", "mean mean", params="concat_param { axis: 0 }") + FC.replace('"mean"', '"both"')
         + PROB, r"layer 'both' \(Concat\) works along axis 0"),
        (pool("mean", "second", "pool: AVE kernel_size: 7 stride: 7 round_mode: FLOOR") + FC + PROB,
         r"layer 'mean' \(Pooling\) leaves out some of its 8×8 positions"),
        (pool("mean", "second", "pool: AVE kernel_size: 4 stride: 4") + layer("Flatten", "fc", "mean") + PROB,
         r"layer 'fc' \(Flatten\) mixes the 2×2 positions"),
        (MEAN + FC.replace("num_output", "axis: 2 num_output") + PROB,
         r"layer 'fc' \(InnerProduct\) does not combine all values of its bottom"),
        (MEAN + FC + FC.replace('"fc"', '"gate"') + layer("Scale", "el", "fc gate", params="scale_param { axis: 0 }")
         + layer("Softmax", "prob", "el"), r"layer 'el' \(Scale\) is not linear: it multiplies two blobs"),
        (MEAN + conv("fc", "mean", params="num_output: 5 kernel_size: 1 pad: 1") + PROB,
         r"layer 'fc' \(Convolution\) makes 3×3 positions out of one"),
        (pool("mean", "second", "pool: AVE kernel_size: 4 stride: 4")
         + conv("fc", "mean", params="num_output: 5 kernel_size: 1")
         + layer("Softmax", "prob", "fc", params="softmax_param { axis: 2 }"),
         r"layer 'prob' \(Softmax\) is not along the classes"),
    ],
)  # fmt: skip
def test_what_stands_in_the_way_is_named(text, told):
    with pytest.raises(NetError, match=told):
        find_head(net_of(TRUNK + text), "prob")


@pytest.mark.parametrize(("kind", "bottoms"), [("Dropout", "{0}"), ("Eltwise", "{0} {0}")])
def test_a_relu_behind_the_pooling_is_checked_through_any_number_of_layers(kind, bottoms):
    blobs = ["second", *(f"x{number}" for number in range(1100))]
    chain = [layer(kind, top, bottoms.format(bottom)) for bottom, top in pairwise(blobs)]
    tail = pool("mean", blobs[-1], "pool: AVE global_pooling: true") + layer("ReLU", "last", "mean", "mean") + FC
    assert find_head(net_of(RECTIFIED + "".join(chain) + tail)).feature_blob == blobs[-1]
    negative = find_heads(net_of(TRUNK + "".join(chain) + tail))["fc"]
    assert "layer 'last' (ReLU) is not linear: it cuts off negative values" in str(negative)


def test_scores_with_positions_are_averaged_and_so_said():
    net = net_of(CLASSIFIER.replace("global_pooling: true", "kernel_size: 4 stride: 4").replace(
        FC, conv("fc", "mean", params="num_output: 5 kernel_size: 1")))  # fmt: skip
    head = find_head(net)
    assert head.positions == (2, 2)
    assert "each score is the mean over 2×2 positions" in str(head)


def test_global_max_pooling_is_named():
    head = find_head(net_of(CLASSIFIER.replace("AVE", "MAX")))
    assert (*names(head), head.pooling) == ("second", "fc", "prob", "max")
    assert "global max pooling" in str(head)


TWO = CLASSIFIER + FC.replace('"fc"', '"fc_sex"').replace("num_output: 5", "num_output: 2") + PROB.replace(
    '"fc"', '"fc_sex"').replace('"prob"', '"sex"')  # fmt: skip


@pytest.mark.parametrize("name", ["sex", "fc_sex"])
def test_one_of_two_heads_must_be_chosen(name):
    net = net_of(TWO)
    with pytest.raises(UsageError, match=r"2 heads: prob \(.*\); sex \(.*\); choose one of them with --head"):
        find_head(net)
    with pytest.raises(UsageError, match="2 blobs can hold class scores: prob, sex; choose one of them with --head"):
        find_scores(net)
    assert names(find_head(net, name)) == ("second", "fc_sex", "sex")
    assert find_scores(net, name) == "sex"
    with pytest.raises(NetError, match="no blob 'se' for class scores: did you mean 'sex'"):
        find_head(net, "se")


def test_a_blob_that_is_only_there_to_be_seen_is_no_head():
    net = net_of(CLASSIFIER + pool("seen", "second", "pool: MAX kernel_size: 2 stride: 2"))
    assert names(find_head(net)) == ("second", "fc", "prob")
    assert find_scores(net) == "prob"


# Cards


@pytest.mark.parametrize(
    ("feature", "class_layer", "scores", "told"),
    [
        ("first", "fc", "prob", r"does not weight feature_blob 'first': layer 'second' \(Convolution\) stands between"),
        ("mean", "fc", "prob", "feature_blob 'mean' is 1×4×1×1: maps need rows and columns"),
        ("fc", None, "prob", "feature_blob 'fc' is 1×5: maps need rows and columns"),
        ("nothing", "fc", "prob", "no blob 'nothing' for feature_blob"),
        ("second", "fcc", "prob", "no layer 'fcc' for class_layer: did you mean 'fc'"),
        ("second", "prob", "prob", "class_layer 'prob' is of type 'Softmax'"),
        ("second", "first", "prob", "class_layer 'first' is no 1×1 convolution"),
        ("second", "fc", "pron", "no blob 'pron' for class scores: did you mean 'prob'"),
        ("second", "fc", "data", "blob 'data' cannot hold class scores: it is an input"),
        ("first", None, "prob", "has 4 channels, and the scores 'prob' are 5 classes: name the class_layer"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(feature, class_layer, scores, told):
    with pytest.raises(NetError, match=told):
        named_head(net_of(CLASSIFIER), feature, class_layer, scores)


def test_hidden_units_are_no_classes():
    hidden = FC.replace('"fc"', '"hidden"')
    net = net_of(TRUNK + MEAN + hidden + FC.replace('bottom: "mean"', 'bottom: "hidden"') + PROB)
    with pytest.raises(NetError, match=r"'hidden' does not give the scores 'prob': layer 'fc' \(InnerProduct\) stands"):
        named_head(net, "second", "hidden", None)
    wide = hidden.replace("num_output: 5", "num_output: 6")
    net = net_of(TRUNK + MEAN + wide + FC.replace('bottom: "mean"', 'bottom: "hidden"') + PROB)
    for name, size in (("hidden", "6×4"), ("fc", "5×6")):
        if name == "fc":  # the product of both layers is the head
            assert named_head(net, "second", "fc", None).path == ("hidden", "fc")
            continue
        with pytest.raises(NetError, match=f"class_layer {name!r} has weights of {size}, but .* expected 5×4"):
            named_head(net, "second", name, None)


def test_what_a_card_leaves_out_is_found():
    net = net_of(CLASSIFIER)
    for given_keys in ((None, None, None), ("second", None, None), (None, None, "prob"), ("second", "fc", None)):
        assert names(named_head(net, *given_keys)) == ("second", "fc", "prob")
    assert names(named_head(net_of(TWO), "second", "fc_sex", None)) == ("second", "fc_sex", "sex")
    with pytest.raises(UsageError, match="choose one of them"):
        named_head(net_of(TWO), None, None, None)


def test_a_card_may_ignore_layers_that_keep_channels_apart():
    text = TRUNK + MEAN + layer("Sigmoid", "p", "mean") + FC.replace('"mean"', '"p"') + PROB
    net = seeded_net(prototxt.parse(text).message)
    with pytest.raises(NetError, match="not linear"):
        find_head(net)
    head = named_head(net, "second", "fc", "prob")
    assert head.named and "other layers between them are ignored" in str(head)
    np.testing.assert_array_equal(head_weights(net, head).matrix, net.params["fc"][0])


NETS = [
    CLASSIFIER,
    TWO,
    TRUNK + MEAN + layer("Softmax", "prob", "mean"),
    RECTIFIED + MEAN + layer("Scale", "x", "mean", "mean") + FC + PROB,
    TRUNK + MEAN + FC.replace("5", "4").replace('"fc"', '"hidden"')
    + FC.replace("5", "4").replace("mean", "hidden") + PROB,
    TRUNK + pool("mean", "second", "pool: AVE kernel_size: 4 stride: 2")
    + conv("fc", "mean", params="num_output: 4 kernel_size: 1") + PROB,
]  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(range(len(NETS))), st.data())
def test_random_cards_never_give_the_map_of_another_layer(number, drawn):
    net = seeded_net(prototxt.parse(NETS[number]).message)
    blobs = st.sampled_from([None, *net.shapes])
    feature, scores = drawn.draw(blobs), drawn.draw(blobs)
    class_layer = None if feature is None else drawn.draw(st.sampled_from([None, *net.by_name]))
    try:
        head = named_head(net, feature, class_layer, scores)
    except PycamError as error:
        assert str(error)
        return
    assert feature in (None, head.feature_blob) and scores in (None, head.score_blob)
    assert class_layer in (None, head.class_layer)
    # Every head of these nets is linear, so an accepted card must keep the identity of maps and scores.
    assert_the_mean_is_the_score(net, head)
