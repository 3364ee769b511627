"""Saliency maps: the gradient of a class score in the image; and a small adversarial change."""

import caffe
import numpy as np

with open("net.prototxt", "w") as f:
    f.write("""
force_backward: true
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 20 dim: 20 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param { num_output: 7 kernel_size: 3 stride: 2 } }
layer { name: "sig" type: "TanH" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool1" top: "fc" inner_product_param { num_output: 4 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
""")
random = np.random.RandomState(8)
net = caffe.Net("net.prototxt", caffe.TEST)
for blobs in net.params.values():
    for blob in blobs:
        blob.data[...] = random.randn(*blob.data.shape) * 0.3
image = random.rand(1, 3, 20, 20).astype(np.float32)
prob = net.forward(data=image)["prob"].copy()
print(prob)
for label in range(4):
    one = np.zeros_like(net.blobs["prob"].data)
    one[0, label] = 1
    back = net.backward(prob=one)
    saliency = np.abs(back["data"][0]).max(axis=0)
    print(label, sorted(back), saliency.sum(), np.unravel_index(saliency.argmax(), saliency.shape), saliency[::6, ::6])
# From the score before the softmax, with the gradients of an inner blob.
net.blobs["fc"].diff[...] = 0
net.blobs["fc"].diff[0, 1] = 1
back = net.backward(start="fc", end="conv1", diffs=["pool1"])
print(sorted(back), back["data"].sum(), back["pool1"].sum(), np.abs(net.blobs["conv1"].diff).sum())
# Grad-CAM by hand.
weights = net.blobs["conv1"].diff[0].mean(axis=(1, 2))
print("grad-cam", np.maximum(np.tensordot(weights, net.blobs["conv1"].data[0], 1), 0)[::3, ::3])
# A step along the sign of the gradient lowers the best class.
best = prob.argmax()
one = np.zeros_like(prob)
one[0, best] = 1
grad = net.backward(prob=one)["data"]
moved = net.forward(data=image - 0.1 * np.sign(grad))["prob"]
print("before", prob[0, best], "after", moved[0, best])
print("parameters have gradients, too:", [float(np.abs(blobs[0].diff).sum()) for blobs in net.params.values()])
net.clear_param_diffs()
print([float(np.abs(blobs[0].diff).sum()) for blobs in net.params.values()])
