"""The programs in docs/other-tools.md run, `pycam score` takes their maps, and maps of our nets are ours."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest
from markdown_it import MarkdownIt
from nets import conv, data, layer, pool
from test_ground_truth import TENCH, annotate

import pycam
from pycam.cli import main
from pycam.engines import Options
from pycam.formats import caffemodel
from pycam.net import read_net
from pycam.training.fillers import fill

with suppress(ImportError):
    import torch

    from pycam.engines.torch_graph import TorchNet

PAGE = Path(__file__).parents[1] / "docs" / "other-tools.md"
SIDE = 64
COUNT = 3

pytestmark = pytest.mark.torch


def program(tool: str) -> str:
    """Return the Python below the heading of a tool."""
    tokens = MarkdownIt("commonmark").parse(PAGE.read_text("utf-8"))
    (start,) = (i for i, token in enumerate(tokens) if token.type == "inline" and token.content == tool)
    return next(token.content for token in tokens[start:] if token.type == "fence")


def make_net():
    torch.manual_seed(0)
    features = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 7, stride=4), torch.nn.ReLU())
    pool = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    return torch.nn.Sequential(features, pool, torch.nn.Linear(6, 5)).eval()


def grad_cam(net, image, index: int) -> np.ndarray:
    """Compute Grad-CAM by its definition, at the size of the image."""
    maps = net[0](image[None])
    (gradient,) = torch.autograd.grad(net[1:](maps)[0, index], maps)
    map_ = (gradient.mean((2, 3), keepdim=True) * maps).sum(1, keepdim=True).relu()
    map_ = torch.nn.functional.interpolate(map_, (SIDE, SIDE), mode="bilinear")[0, 0]
    return map_.detach().numpy()


@pytest.mark.parametrize(
    "tool",
    [
        pytest.param("torch-cam", marks=pytest.mark.torchcam),
        pytest.param("pytorch-grad-cam", marks=pytest.mark.gradcam),
        pytest.param("captum", marks=pytest.mark.captum),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_maps_of_a_tool_are_scored(capsys, tmp_path, monkeypatch, tool):
    net = make_net()
    data = [(f"{number}", torch.rand(3, SIDE, SIDE), number) for number in range(COUNT)]
    monkeypatch.chdir(tmp_path)
    Path("maps").mkdir()
    exec(program(tool), {"net": net, "layer": net[0], "data": data})
    for name, image, index in data:
        annotate(tmp_path / "truth", name, (TENCH, 1, 1, 40, 30), size=(80, 80))
        map_, expected = np.load(f"maps/{name}.npy"), grad_cam(net, image, index)
        assert map_.shape == (SIDE, SIDE)
        assert expected.max() > 0
        assert np.corrcoef(map_.ravel(), expected.ravel())[0, 1] > 0.98
    assert main(["score", "--maps", "maps", "--ground-truth", "truth", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["nan_maps"] == result["zero_maps"] == []
    assert 0 <= result["max_box_acc"] <= 100


def test_each_program_is_about_ten_lines():
    for tool in ("torch-cam", "pytorch-grad-cam", "captum"):
        assert len([line for line in program(tool).splitlines() if line.strip()]) <= 10


@pytest.mark.torchcam
@pytest.mark.gradcam
@pytest.mark.filterwarnings("ignore")
def test_the_program_with_a_caffe_net_makes_maps(monkeypatch):
    monkeypatch.chdir(PAGE.parents[1])
    done = {}
    exec(program("Caffe nets in PyTorch's tools"), done)
    prediction = done["cam"]("docs/images/coffee.jpg", top=1)
    assert prediction.top[0].index == done["index"]
    np.testing.assert_allclose(done["map_of_torch_cam"][0], scaled(prediction.top[0].feature_maps[0]), atol=1e-4)
    assert done["map_of_pytorch_grad_cam"].shape == (1, 227, 227)


class Example:
    """A net, as it is and as a module, and an image."""

    def __init__(self, image: Path, **files) -> None:
        self.files, self.image = files, image
        self.cam = pycam.load(**files)
        self.module = pycam.to_torch(self.cam)
        self.x = self.cam.preprocess(self.image)
        self.images = torch.from_numpy(self.x)
        self.index = int(self.module(self.images).argmax())

    def map(self, method: str, blob: str) -> np.ndarray:
        """Return our map of the class with the best score, (h, w)."""
        cam = pycam.load(**self.files, method=method, layer=blob, options=Options(threads=1))
        return cam(self.image, classes=[self.index]).top[0].feature_maps[0]


@pytest.fixture(scope="module")
def example(shared):
    """SqueezeNet with its published weights."""
    weights = shared / "data/weights/squeezenet_v1.0.caffemodel"
    return Example(min((shared / "data/samples").glob("*.JPEG")), model="squeezenet-v1.0", weights=weights)


def scaled(map_):
    """Scale a map as torch-cam does, to [0, 1]."""
    return (map_ - map_.min()) / np.ptp(map_)


def enlarged(map_, side=227):
    """Scale a map and enlarge it as pytorch-grad-cam does."""
    return scaled(cv2.resize(scaled(map_).astype(np.float32), (side, side)))


# Our blob, and the layer whose output its values are.
CONCAT, CONV10 = ("fire9/concat", "fire9/concat"), ("conv10", "relu_conv10")


@pytest.mark.shared
@pytest.mark.caffe
def test_scores_are_those_of_real_caffe_and_layers_those_of_the_prototxt(example):
    with pycam.load(**example.files, engine="caffe", options=Options(threads=1)) as caffe:
        expected = caffe(example.image).scores
    with torch.no_grad():
        scores = pycam.to_torch(**example.files, output="scores")(example.images)[0]
        logits = example.module(example.images)[0]
    np.testing.assert_allclose(scores, expected, rtol=0, atol=2e-5)
    np.testing.assert_allclose(logits.softmax(0), expected, rtol=0, atol=2e-5)
    layers = [layer.name for layer in example.cam.model.net.layers if layer.type not in ("Input", "Softmax")]
    assert [name for name, _ in example.module.named_children()] == layers


@pytest.mark.shared
@pytest.mark.torchcam
@pytest.mark.parametrize(
    ("tool", "method", "place"),
    [
        ("GradCAM", "gradcam", CONCAT),
        ("GradCAMpp", "gradcam++", CONV10),
        ("XGradCAM", "xgradcam", CONCAT),
        ("LayerCAM", "layercam", CONCAT),
        ("LayerCAM", "layercam", ("fire5/concat", "fire5/concat")),
    ],
)
def test_maps_of_torch_cam_are_ours(example, tool, method, place):
    from torchcam import methods

    blob, layer = place
    with getattr(methods, tool)(example.module, layer) as extractor:
        (found,) = extractor(example.index, example.module(example.images))
    np.testing.assert_allclose(found[0], scaled(example.map(method, blob)), atol=1e-4)


@pytest.mark.shared
@pytest.mark.torchcam
def test_class_activation_maps_of_torch_cam_are_ours(example):
    from torchcam.methods import CAM

    with CAM(example.module, "fire9/concat", "conv10") as extractor:
        example.module(example.images)
        (found,) = extractor(example.index)
    net = example.cam.model.net
    features = TorchNet(net).eval()({"data": example.images}, ["fire9/concat"])["fire9/concat"].detach().numpy()
    expected = pycam.class_activation_maps(features, net.class_weights("conv10")[[example.index]])
    np.testing.assert_allclose(found[0], scaled(expected[0, 0]), atol=1e-4)

    cam = pycam.load("squeezenet-cam-caltech101")
    with CAM(pycam.to_torch(cam), input_shape=(3, 227, 227)) as extractor:
        assert extractor.target_names == ["fire9/concat"]
        extractor.model(torch.from_numpy(cam.preprocess(example.image)))
        (found,) = extractor(3)
    np.testing.assert_allclose(found[0], scaled(cam(example.image, classes=[3]).top[0].feature_maps[0]), atol=1e-4)


@pytest.mark.shared
@pytest.mark.gradcam
@pytest.mark.parametrize(
    ("tool", "method", "place"),
    [
        ("GradCAM", "gradcam", CONCAT),
        ("GradCAMPlusPlus", "gradcam++", CONV10),
        ("XGradCAM", "xgradcam", CONCAT),
        ("LayerCAM", "layercam", CONCAT),
    ],
)
def test_maps_of_pytorch_grad_cam_are_ours(example, tool, method, place):
    blob, layer = place
    np.testing.assert_allclose(
        grad_cam_tool(tool, example.module, layer, example), enlarged(example.map(method, blob)), atol=1e-4
    )


def grad_cam_tool(tool, module, name, example):
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with getattr(pytorch_grad_cam, tool)(module, [module.get_submodule(name)]) as extractor:
        return extractor(example.images, [ClassifierOutputTarget(example.index)])[0]


@pytest.mark.shared
@pytest.mark.torchcam
@pytest.mark.gradcam
def test_maps_without_gradients_on_squeezenet(example):
    blob, name = "fire2/squeeze1x1", "fire2/relu_squeeze1x1"
    ablation = grad_cam_tool("AblationCAM", example.module, name, example)
    np.testing.assert_allclose(ablation, enlarged(example.map("ablationcam", blob)), atol=1e-4)
    # Each program enlarges the masks of Score-CAM in its own way.
    score = scaled(example.map("scorecam", blob))
    assert np.corrcoef(torch_cam_scores(example, name).ravel(), score.ravel())[0, 1] > 0.995


def torch_cam_scores(example, name):
    from torchcam.methods import ScoreCAM

    with ScoreCAM(example.module, name, input_shape=example.x.shape[1:]) as extractor:
        example.module(example.images)
        return extractor(example.index)[0][0].numpy()


@pytest.mark.torchcam
@pytest.mark.gradcam
def test_score_cam_is_ours_where_masks_need_no_enlarging(tmp_path):
    gaussian = 'weight_filler { type: "gaussian" std: 0.3 } bias_filler { type: "gaussian" std: 0.3 }'
    (tmp_path / "net.prototxt").write_text(
        data(1, 3, 16, 16)
        + conv("conv", "data", params=f"num_output: 7 kernel_size: 3 pad: 1 {gaussian}")
        + layer("ReLU", "relu", "conv", "conv")
        + pool("pool", "conv", "pool: AVE global_pooling: true")
        + layer("InnerProduct", "fc", "pool", params=f"inner_product_param {{ num_output: 4 {gaussian} }}")
    )
    net = read_net(tmp_path / "net.prototxt")
    caffemodel.write(tmp_path / "net.caffemodel", net.message, fill(net, 1))
    files = {"prototxt": tmp_path / "net.prototxt", "weights": tmp_path / "net.caffemodel"}
    small = Example(PAGE.parent / "images/coffee.jpg", **files, input_scale="0.01")
    expected = small.map("scorecam", "conv")
    np.testing.assert_allclose(torch_cam_scores(small, "relu"), scaled(expected), atol=1e-4)
    np.testing.assert_allclose(grad_cam_tool("ScoreCAM", small.module, "relu", small), scaled(expected), atol=1e-4)


@pytest.mark.shared
@pytest.mark.gradcam
def test_what_pytorch_grad_cam_adds_to_a_denominator_is_all_that_differs(example):
    """The same net with values 2²⁰ times smaller, and gradients that much larger, to which 1e-6 is nothing."""
    module = pycam.to_torch(example.cam)
    with torch.no_grad():
        for name in ("fire9/expand1x1", "fire9/expand3x3"):
            for parameter in module.get_submodule(name).parameters():
                parameter /= 2**20
        module.conv10.weight *= 2**20
        assert torch.equal(module(example.images), example.module(example.images))
    expected = enlarged(example.map("gradcam++", "fire9/concat"))
    np.testing.assert_allclose(grad_cam_tool("GradCAMPlusPlus", module, "fire9/concat", example), expected, atol=1e-4)
    plain = grad_cam_tool("GradCAMPlusPlus", example.module, "fire9/concat", example)
    assert 0.1 < np.abs(plain - expected).max() < 0.3


@pytest.mark.onnx
def test_the_program_with_a_module_makes_a_prediction(monkeypatch):
    monkeypatch.chdir(PAGE.parents[1])
    done = {"net": make_net()}
    exec(program("PyTorch modules in pycam"), done)
    assert done["prediction"].top[0].index == int(done["net"](done["images"].flip(1)).argmax())
