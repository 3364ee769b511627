"""Train without a solver: forward, backward, and updates by hand; check gradients numerically."""

import caffe
import numpy as np

with open("net.prototxt", "w") as f:
    f.write("""
layer { name: "data" type: "Input" top: "data" top: "target" input_param { shape { dim: 5 dim: 4 } shape { dim: 5 dim: 2 } } }
layer { name: "fc1" type: "InnerProduct" bottom: "data" top: "fc1" inner_product_param { num_output: 6 } }
layer { name: "tanh" type: "TanH" bottom: "fc1" top: "fc1" }
layer { name: "fc2" type: "InnerProduct" bottom: "fc1" top: "fc2" inner_product_param { num_output: 2 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "fc2" bottom: "target" top: "loss" }
layer { name: "gate" type: "Sigmoid" bottom: "fc2" top: "gate" }
layer { name: "aux" type: "SigmoidCrossEntropyLoss" bottom: "fc2" bottom: "target" top: "aux" loss_weight: 0.5 }
""")
random = np.random.RandomState(21)
net = caffe.Net("net.prototxt", caffe.TRAIN)
for blobs in net.params.values():
    for blob in blobs:
        blob.data[...] = random.randn(*blob.data.shape) * 0.5
x, t = random.randn(5, 4), random.rand(5, 2)
net.blobs["data"].data[...], net.blobs["target"].data[...] = x, t
print(list(net.blob_loss_weights.values()), [float(blob.diff.sum()) for blob in net.blobs.values()])
for it in range(6):
    net.clear_param_diffs()
    out = net.forward()
    net.backward()
    print(
        it,
        float(out["loss"]),
        float(out["aux"]),
        [float(np.abs(b.diff).sum()) for bs in net.params.values() for b in bs],
    )
    for blobs in net.params.values():
        for blob in blobs:
            blob.data[...] -= 0.1 * blob.diff
net.clear_param_diffs()
net.forward()
net.backward()
net.backward()
print("twice", net.params["fc2"][1].diff)
net.clear_param_diffs()
net.forward()
net.backward()
gradient = net.params["fc1"][0].diff.copy()


def total():
    out = net.forward()
    return float(out["loss"]) + 0.5 * float(out["aux"])


weights = net.params["fc1"][0].data
kept = weights[2, 1]
weights[2, 1] = kept + 0.01
above = total()
weights[2, 1] = kept - 0.01
below = total()
print("numerically right:", abs((above - below) / 0.02 - gradient[2, 1]) < 1e-3, gradient[2, 1])
print(
    {
        name: float(np.abs(blob.diff).sum())
        for name, blob in net.blobs.items()
        if name in ("fc1", "fc2", "data", "target")
    }
)
