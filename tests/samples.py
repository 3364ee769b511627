"""Samples for the viewer: a small net that finds blobs of colour, and images with blobs."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import cv2
import numpy as np

from pycam import engines
from pycam.formats import prototxt
from pycam.images.read import Image
from pycam.maps.class_weights import ClassWeightMaps
from pycam.model import Model, Preprocessing
from pycam.net import find_head, net_from_message
from pycam.predict import Cam
from pycam.protocols import protocol as get_protocol
from pycam.zoo.cards import Mean
from pycam.zoo.labels import Labels

NET = """
name: "blobs"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 227 dim: 227 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 6 kernel_size: 19 stride: 16 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "pool" top: "fc" inner_product_param { num_output: 8 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""
MARKUP = "<b onclick=alert(1)>bold</b> & <script>alert(1)</script>"
LABELS = Labels((MARKUP, *(f"blob {i}, synonym {i}" for i in range(1, 8))))


def cam(protocol: str = "default", view: str | None = None, method: str = "cam", seed: int = 0) -> Cam:
    """Make the small net ready. The seed selects the weights. The method is only a name: maps are always CAM's."""
    row = get_protocol(protocol).with_choices(view=view, method=method)
    rng = np.random.default_rng(seed)
    # One filter for each end of each colour axis: features are where a colour is strong or weak.
    colours = np.vstack([np.eye(3), -np.eye(3)]) + rng.normal(0, 0.2, (6, 3))
    filters = np.broadcast_to(colours[:, :, None, None] / (19 * 19), (6, 3, 19, 19)).astype(np.float32)
    weights = {
        "conv": (filters, np.full(6, 20, np.float32)),
        "fc": (rng.normal(0, 0.05, (8, 6)).astype(np.float32), np.zeros(8, np.float32)),
    }
    net = net_from_message(prototxt.parse(NET).message).with_params(weights)
    head = find_head(net)
    model = Model("blobs", net, Preprocessing(Mean((110, 110, 110))), LABELS)
    engine = engines.make("onnxruntime", net, [head.feature_blob, head.score_blob], engines.Options(threads=1))
    return Cam(model, ClassWeightMaps(net, head), engine, row, np.full(3, 110, np.float32))


def cams() -> list[Cam]:
    """Make the net ready for a server, with one method."""
    return [cam()]


def image(seed: int, height: int = 120, width: int = 160, path: str = "") -> Image:
    """Paint a few soft blobs of colour on a soft background."""
    rng = np.random.default_rng(seed)
    ground = cv2.resize(rng.integers(60, 160, (4, 4, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(4):
        centre = (int(rng.integers(width)), int(rng.integers(height)))
        radius = int(min(height, width) * rng.uniform(0.1, 0.25))
        cv2.circle(ground, centre, radius, tuple(int(c) for c in rng.integers(0, 256, 3)), -1)
    return Image(np.asarray(cv2.GaussianBlur(ground, (0, 0), 2), np.uint8), path)


def jpeg(seed: int, height: int = 120, width: int = 160) -> bytes:
    """Return the bytes of an image file."""
    return cv2.imencode(".jpg", image(seed, height, width).pixels)[1].tobytes()


@contextmanager
def served(models: Mapping[str, Callable[[], list[Cam]]], **limits: float) -> Iterator[str]:
    """Run the application of `pycam serve` on a free port; yield its address."""
    from pycam.report.connections import ImageServer, Limits
    from pycam.report.server import application

    given = Limits(**limits)
    server = ImageServer(application(models, given), given)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
