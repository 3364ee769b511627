from __future__ import annotations

import json
from pathlib import Path

import pytest
from example_nets import train_val_squeezenet_cam_caltech101

from pycam import architectures
from pycam.errors import NetError, UsageError
from pycam.formats import prototxt
from pycam.net import find_head, read_net

FOLDER = Path(__file__).parents[1] / "prototxt"

# File of facts, as computed by Caffe 1.0 -> released name.
FACTS = {
    "alexnet-cam": "deploy_alexnetplusCAM_imagenet",
    "alexnet-cam-places205": "deploy_alexnetplusCAM_places205",
    "googlenet-cam": "deploy_googlenetCAM",
    "googlenet-cam-places205": "deploy_googlenetCAM_places205",
    "vgg16-cam": "deploy_vgg16CAM",
    "squeezenet-v1.0": "deploy_squeezenet_v1.0",
    "squeezenet-v1.1": "deploy_squeezenet_v1.1",
    "bvlc-googlenet": "deploy_bvlc_googlenet",
    "bvlc-alexnet": "deploy_bvlc_alexnet",
    "bvlc-reference-caffenet": "deploy_bvlc_caffenet",
}


@pytest.mark.parametrize("name", architectures.FILES)
def test_the_file_in_prototxt_is_what_the_net_writes(name, tmp_path):
    (written,) = architectures.write([name], tmp_path / "new")
    assert written == tmp_path / "new" / f"{name}.prototxt"
    assert (FOLDER / written.name).read_bytes() == written.read_bytes()


@pytest.mark.parametrize("name", architectures.RELEASED)
def test_written_nets_are_read_equal(name):
    text = prototxt.read(FOLDER / f"{name}.prototxt")
    assert text.message == architectures.build(name)


@pytest.mark.shared
@pytest.mark.parametrize("facts_name", FACTS)
def test_every_layer_is_as_in_caffe(facts_name, shared):
    facts = json.loads((shared / f"facts/nets/{facts_name}.json").read_text("utf-8"))
    path = FOLDER / f"{FACTS[facts_name]}.prototxt"
    net = read_net(path)
    assert net.name == facts["net"]["name"]
    assert list(prototxt.read(path).message.layer[0].input_param.shape[0].dim) == facts["net"]["input"]
    assert net.layers[0].type == "Input"
    assert net.layers[0].output_shapes == ((1, *facts["net"]["input"][1:]),)

    # Some published files have their input without a layer.
    expected = [fact for fact in facts["layers"] if fact["type"] != "Input"]
    assert [layer_facts(layer) for layer in net.layers[1:]] == expected

    # A blob has the shape that its last writer gave it.
    last = {fact["top"][0]: tuple(fact["top_shape"]) for fact in facts["layers"]}
    assert {**net.shapes, **last} == net.shapes


@pytest.mark.shared
def test_the_training_net_is_as_released(shared):
    facts = json.loads((shared / "facts/nets/train_val_googlenetCAM.json").read_text("utf-8"))
    message = prototxt.read(FOLDER / "train_val_googlenetCAM.prototxt").message
    assert message.name == facts["net"]["name"]
    assert [training_facts(layer) for layer in message.layer] == facts["layers"]


def training_facts(layer):
    """Convert a layer of a training net to the form of the facts."""
    facts = {"name": layer.name, "type": layer.type, "bottom": list(layer.bottom), "top": list(layer.top)}
    if layer.include:
        facts["include"] = [{0: "TRAIN", 1: "TEST"}[rule.phase] for rule in layer.include]
    if layer.type == "Data":
        facts["backend"] = {0: "LEVELDB", 1: "LMDB"}[layer.data_param.backend]
        facts["batch_size"] = layer.data_param.batch_size
        transform = layer.transform_param
        facts |= {
            "mirror": transform.mirror,
            "crop_size": transform.crop_size,
            "mean_value": list(transform.mean_value),
        }
    if layer.param:
        facts["lr_mult"] = [spec.lr_mult for spec in layer.param]
        facts["decay_mult"] = [spec.decay_mult for spec in layer.param]
    if layer.type in ("Convolution", "InnerProduct"):
        param = layer.convolution_param if layer.type == "Convolution" else layer.inner_product_param
        facts["num_output"] = param.num_output
        if layer.type == "Convolution":
            (facts["kernel_size"],) = param.kernel_size
            (facts["stride"],) = param.stride or [1]
            (facts["pad"],) = param.pad or [0]
            facts["group"] = param.group
        for name in ("weight_filler", "bias_filler"):
            facts[name] = {field.name: given(value) for field, value in getattr(param, name).ListFields()}
    elif layer.type == "Pooling":
        window = layer.pooling_param
        method = {0: "MAX", 1: "AVE"}[window.pool]
        facts |= {"pool": method, "kernel_size": window.kernel_size, "stride": window.stride, "pad": window.pad}
    elif layer.type == "LRN":
        norm = layer.lrn_param
        facts |= {"local_size": norm.local_size, "alpha": given(norm.alpha), "beta": given(norm.beta)}
    elif layer.type == "SoftmaxWithLoss":
        facts["loss_weight"] = list(layer.loss_weight)
    elif layer.type == "Accuracy":
        facts["top_k"] = layer.accuracy_param.top_k
    return facts


def given(value):
    """Return a number as in the file, not as in single precision."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


def layer_facts(layer):
    """Convert a layer to the form of the facts."""
    facts = {
        "name": layer.name,
        "type": layer.type,
        "bottom": list(layer.bottoms),
        "top": list(layer.tops),
        "top_shape": list(layer.output_shapes[0]),
    }
    if layer.param_shapes:
        facts["param_shapes"] = [list(shape) for shape in layer.param_shapes]
    if layer.type == "Convolution":
        assert layer.dilation == (1, 1)
        assert layer.bias
        facts |= {"num_output": layer.num_output, "group": layer.group} | window(layer)
    elif layer.type == "Pooling":
        facts["pool"] = layer.method
        facts |= {"global_pooling": True} if layer.message.pooling_param.global_pooling else window(layer)
    elif layer.type == "LRN":
        facts |= {"local_size": layer.local_size, "alpha": layer.alpha, "beta": layer.beta, "k": layer.k}
        facts["norm_region"] = "WITHIN_CHANNEL" if layer.within_channel else "ACROSS_CHANNELS"
    elif layer.type == "InnerProduct":
        assert (layer.axis, layer.transpose) == (1, False)
        facts |= {"num_output": layer.num_output, "bias_term": layer.bias}
    elif layer.type == "Dropout":
        facts["dropout_ratio"] = layer.ratio
    elif layer.type == "ReLU":
        assert layer.negative_slope == 0
    elif layer.type in ("Concat", "Softmax"):
        assert layer.axis == 1
    return facts


def window(layer):
    sizes = {"kernel_size": layer.kernel, "stride": layer.stride, "pad": layer.pad}
    assert all(rows == columns for rows, columns in sizes.values())
    return {name: rows for name, (rows, _) in sizes.items()}


@pytest.mark.parametrize(
    ("name", "parameters", "multiply_adds"),
    [
        # Weights and biases; weights times the output positions that Caffe 1.0 gives.
        ("deploy_vgg16", 138_357_544, 15_470_264_320),
        ("deploy_bvlc_alexnet", 60_965_224, 724_406_816),
        ("deploy_bvlc_caffenet", 60_965_224, 724_406_816),
        ("deploy_bvlc_googlenet", 6_998_552, 1_582_671_872),
        # As published: NIN in its author's readme (29 MiB), AlexNet-GAP in the authors' later code.
        ("deploy_nin_imagenet", 7_595_176, 1_100_188_800),
        ("deploy_caffeNetCAM", 4_539_752, 866_169_376),
        ("deploy_googlenetGMP", 8_345_896, 2_212_330_496),
        ("deploy_squeezenet_v1.0", 1_248_424, 861_339_936),
        ("deploy_squeezenet_v1.1", 1_235_496, 387_747_520),
    ],
)
def test_parameters_and_multiply_adds(name, parameters, multiply_adds):
    net = read_net(FOLDER / f"{name}.prototxt")
    assert net.param_count == parameters
    assert net.multiply_adds == multiply_adds


@pytest.mark.parametrize(
    ("name", "feature_blob", "class_layer", "side"),
    [
        ("deploy_alexnetplusCAM_imagenet", "conv7", "fc9", 11),
        ("deploy_alexnetplusCAM_places205", "conv7", "fc9", 11),
        ("deploy_googlenetCAM", "CAM_conv", "CAM_fc", 14),
        ("deploy_googlenetCAM_places205", "CAM_conv", "CAM_fc", 14),
        ("deploy_vgg16CAM", "CAM_conv", "CAM_fc", 14),
        ("deploy_caffeNetCAM", "CAM_conv", "CAM_fc", 13),
        ("deploy_googlenetGMP", "CAM_conv", "CAM_fc", 14),
        ("deploy_nin_imagenet", "cccp8-1024", None, 6),
        ("deploy_squeezenet_v1.0", "conv10", None, 15),
        ("deploy_squeezenet_v1.1", "conv10", None, 14),
        ("deploy_bvlc_googlenet", "inception_5b/output", "loss3/classifier", 7),
        ("deploy_squeezenet_cam_caltech101", "fire9/concat", "CAM_fc", 13),
    ],
)
def test_the_cam_head_is_found(name, feature_blob, class_layer, side):
    net = read_net(FOLDER / f"{name}.prototxt")
    assert (find_head(net).feature_blob, find_head(net).class_layer) == (feature_blob, class_layer)
    assert net.shapes[feature_blob][2:] == (side, side)


@pytest.mark.parametrize("name", ["deploy_vgg16", "deploy_bvlc_alexnet", "deploy_bvlc_caffenet"])
def test_nets_without_global_average_have_no_cam_head(name):
    with pytest.raises(NetError, match=r"no global pooling before the scores; .* gradcam.* or .*`pycam net cam`"):
        find_head(read_net(FOLDER / f"{name}.prototxt"))


def test_the_example_is_in_step():
    example = Path(__file__).parents[1] / "examples/caltech101/train_val.prototxt"
    assert prototxt.read(example).message == train_val_squeezenet_cam_caltech101()


def test_building_twice_gives_two_messages():
    first, second = architectures.build("deploy_vgg16CAM"), architectures.build("deploy_vgg16CAM.prototxt")
    assert first == second
    first.layer[0].name = "changed"
    assert second.layer[0].name == "data"


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(UsageError, match=r"'deploy_vgg16cam': did you mean 'deploy_vgg16CAM'\?"):
        architectures.build("deploy_vgg16cam")
    with pytest.raises(UsageError, match=r"deploy_alexnetplusCAM_imagenet, .*solver_nin_imagenet$"):
        architectures.build("?")


def test_an_unknown_name_writes_nothing(tmp_path):
    with pytest.raises(UsageError, match="no released net"):
        architectures.write(["deploy_vgg16", "resnet50"], tmp_path / "new")
    assert not (tmp_path / "new").exists()
