from __future__ import annotations

import hypothesis
import numpy as np
import pytest
from nets import PITFALLS, images, seeded_net, small_nets

from pycam import architectures, engines
from pycam.architectures.train_val import train_val_of
from pycam.cli import main
from pycam.engines import Options
from pycam.errors import NetError
from pycam.formats import caffemodel, prototxt
from pycam.net import find_head, net_from_message, read_net
from pycam.net.surgery import cam_net, net_from

RNG = np.random.default_rng(0)


def net_of(name):
    return net_from_message(architectures.build(name))


def with_weights(net):
    return net.with_params(
        {
            layer.name: tuple(RNG.normal(size=shape).astype(np.float32) for shape in layer.param_shapes)
            for layer in net.layers
            if layer.param_shapes
        }
    )


def test_vgg16_becomes_vgg16_cam_except_for_groups():
    cut = cam_net(net_of("deploy_vgg16"), "conv5_3", 1000).net
    released = net_of("deploy_vgg16CAM")
    assert [layer.name for layer in cut.layers] == [
        layer.name for layer in released.layers if layer.name != "CAM_dropout"
    ]
    assert cut.shapes["CAM_conv"] == released.shapes["CAM_conv"] == (1, 1024, 14, 14)
    assert cut.by_name["CAM_fc"].param_shapes == released.by_name["CAM_fc"].param_shapes
    assert (find_head(cut).feature_blob, find_head(cut).class_layer) == ("CAM_conv", "CAM_fc")


def test_googlenet_is_cut_across_its_branches():
    net = with_weights(net_of("deploy_bvlc_googlenet"))
    cut = cam_net(net, "inception_4e/output", 7, channels=16, rectify=False)
    assert {"inception_4e/pool_proj", "CAM_conv"} <= cut.net.by_name.keys()
    assert not {"inception_5a/1x1", "loss3/classifier", "CAM_relu", "pool4/3x3_s2"} & cut.net.by_name.keys()
    assert cut.params.keys() == {layer.name for layer in cut.net.layers if layer.param_shapes} - {"CAM_conv", "CAM_fc"}
    np.testing.assert_array_equal(cut.params["conv1/7x7_s2"][0], net.params["conv1/7x7_s2"][0])


def test_a_new_head_under_a_new_name():
    net = with_weights(net_of("deploy_squeezenet_cam_caltech101"))
    cut = cam_net(net, "fire9/concat", 14, channels=0, class_name="CAM_fc_14")
    assert [layer.name for layer in cut.net.layers[-3:]] == ["CAM_pool", "CAM_fc_14", "prob"]
    assert cut.net.shapes["prob"] == (1, 14)
    assert "CAM_fc" not in cut.params
    # The blob includes the ReLU that changes it in place.
    cut = cam_net(net_of("deploy_googlenetCAM"), "CAM_conv", 14, channels=0, class_name="CAM_fc_14").net
    assert [layer.name for layer in cut.layers[-4:]] == ["CAM_relu", "CAM_pool", "CAM_fc_14", "prob"]
    # A name that the head has otherwise goes to the layer that it was given for.
    for given in ("CAM_conv", "CAM_relu", "CAM_pool", "prob"):
        layers = cam_net(net, "fire9/concat", 14, class_name=given).net.layers[-5:]
        assert [layer.type for layer in layers] == ["Convolution", "ReLU", "Pooling", "InnerProduct", "Softmax"]
        assert layers[3].name == given and f"{given}_2" in [layer.name for layer in layers]


@pytest.mark.parametrize(
    ("blob", "options", "message"),
    [
        ("conv9", {}, "no blob 'conv9' to cut after; it has data, conv1_1"),
        ("fc6", {}, r"blob 'fc6' is 1×4096: a CAM head needs a blob with rows"),
        ("conv5_3", {"conv_name": "conv5_1"}, "conv5_1"),
        ("conv5_3", {"channels": -1}, "a head of -1 channels"),
    ],
)
def test_impossible_cuts_are_refused(blob, options, message):
    with pytest.raises(NetError, match=message):
        cam_net(net_of("deploy_vgg16"), blob, 10, **options)


def test_from_the_command_line(tmp_path, capsys):
    architectures.write(["deploy_squeezenet_v1.0"], tmp_path)
    net = with_weights(net_of("deploy_squeezenet_v1.0"))
    caffemodel.write(tmp_path / "w.caffemodel", net.message, net.params)
    out, training = tmp_path / "new.prototxt", tmp_path / "train_val.prototxt"
    arguments = ["--after", "fire9/concat", "--classes", "14", "--channels", "0", "--class-name", "CAM_fc_14"]
    files = [str(tmp_path / "deploy_squeezenet_v1.0.prototxt"), str(tmp_path / "w.caffemodel")]
    assert main(["net", "cam", *files, *arguments, "--out", str(out), "--train-val", str(training)]) == 0
    assert capsys.readouterr().out.split() == [str(out), str(out.with_suffix(".caffemodel")), str(training)]
    assert find_head(read_net(out)).class_layer == "CAM_fc_14"
    assert "conv10" not in caffemodel.read(out.with_suffix(".caffemodel")).layers
    trained = prototxt.read(training).message
    assert [layer.type for layer in trained.layer[-3:]] == ["InnerProduct", "SoftmaxWithLoss", "Accuracy"]
    assert trained.layer[0].image_data_param.new_width == 227
    assert trained.layer[2].convolution_param.weight_filler.type == "xavier"


@pytest.mark.torch
def test_a_cut_net_can_be_trained(tmp_path):
    import cv2

    from pycam.training.loop import train
    from pycam.training.solver import read_solver

    folder = tmp_path / "images"
    for number in range(4):
        path = folder / f"class {number % 2}" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), RNG.integers(0, 256, (30, 30, 3), np.uint8))
    small = prototxt.parse(
        """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 24 dim: 24 } } }
        layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
          convolution_param { num_output: 4 kernel_size: 5 } }
        layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param { num_output: 9 } }"""
    )
    net = with_weights(net_from_message(small.message))
    cut = cam_net(net, "conv", 2, channels=6)
    caffemodel.write(tmp_path / "init.caffemodel", cut.net.message, cut.params)
    prototxt.write(tmp_path / "train_val.prototxt", train_val_of(cut.net.message))
    (tmp_path / "solver.prototxt").write_text(
        f'net: "train_val.prototxt" base_lr: 0 lr_policy: "fixed" max_iter: 1 snapshot_prefix: "{tmp_path}/new"'
    )
    last = train(
        read_solver(tmp_path / "solver.prototxt"),
        weights=[tmp_path / "init.caffemodel"],
        data=folder,
        options=Options(threads=1),
    )
    begun = read_net_from(cut.net.message, tmp_path, last)
    np.testing.assert_array_equal(begun.params["conv"][0], net.params["conv"][0])
    assert np.std(begun.params["CAM_conv"][0]) == pytest.approx(0.01, rel=0.3)


def read_net_from(message, folder, weights):
    prototxt.write(folder / "deploy.prototxt", message)
    return read_net(folder / "deploy.prototxt", weights)


def check_parts(text):
    """Check that the part behind each value computes what the whole net computes from the value on."""
    net = seeded_net(prototxt.parse(text).message)
    target = net.outputs[-1]
    inputs = images(net, 2)
    values = list(net.value_shapes)
    whole = engines.make("onnxruntime", net, values, Options(threads=1)).forward(inputs)
    parts = 0
    for value in values:
        try:
            part = net_from(net, value, target)
        except NetError as error:
            assert "has no influence on" in str(error)
            dependent = {output for layer in net.layers_before([target]) for output in layer.inputs}
            assert value == target or value not in dependent
            continue
        parts += 1
        assert part.inputs[0] == value
        assert not {layer.name for layer in part.layers[1:]} - {layer.name for layer in net.layers_before([target])}
        given = {each: whole[each] for each in part.inputs}
        found = engines.make("onnxruntime", part, [target], Options(threads=1)).forward(given)[target]
        scale = max(1, np.abs(whole[target]).max())
        np.testing.assert_allclose(found, whole[target], rtol=0, atol=1e-5 * scale, err_msg=value)
    return parts


@pytest.mark.parametrize("name", PITFALLS)
def test_the_part_of_a_net_behind_a_value(name):
    check_parts(PITFALLS[name])


@hypothesis.given(small_nets())
@hypothesis.settings(max_examples=15)
def test_the_part_of_any_net_behind_a_value(text):
    assert check_parts(text)


def test_a_value_that_no_path_leads_from():
    net = net_of("deploy_googlenetCAM")
    part = net_from(net, "inception_4a/1x1", "CAM_fc")
    # What goes past the blob is an input, too: the other branches of its module.
    assert part.inputs == ("inception_4a/1x1", "inception_4a/3x3", "inception_4a/5x5", "inception_4a/pool_proj")
    assert part.layers[1].name == "inception_4a/output" and part.outputs == ("CAM_fc",)
    with pytest.raises(NetError, match="blob 'CAM_fc' has no influence on 'CAM_fc'"):
        net_from(net, "CAM_fc", "CAM_fc")
