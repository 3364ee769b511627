"""Cast a classifier into a fully convolutional net, and edit filters by hand."""

import caffe
import numpy as np

TOP = """
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 6 kernel_size: 3 } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
"""
DENSE = (
    """
input: "data" input_dim: 1 input_dim: 3 input_dim: 14 input_dim: 14
"""
    + TOP
    + """
layer { name: "fc6" type: "InnerProduct" bottom: "pool" top: "fc6" inner_product_param { num_output: 10 } }
layer { name: "relu6" type: "ReLU" bottom: "fc6" top: "fc6" }
layer { name: "fc7" type: "InnerProduct" bottom: "fc6" top: "fc7" inner_product_param { num_output: 4 } }
layer { name: "prob" type: "Softmax" bottom: "fc7" top: "prob" }
"""
)
FULL = (
    """
input: "data" input_dim: 1 input_dim: 3 input_dim: 26 input_dim: 30
"""
    + TOP
    + """
layer { name: "fc6-conv" type: "Convolution" bottom: "pool" top: "fc6-conv"
        convolution_param { num_output: 10 kernel_size: 6 } }
layer { name: "relu6" type: "ReLU" bottom: "fc6-conv" top: "fc6-conv" }
layer { name: "fc7-conv" type: "Convolution" bottom: "fc6-conv" top: "fc7-conv"
        convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "prob" type: "Softmax" bottom: "fc7-conv" top: "prob" }
"""
)
for path, text in (("dense.prototxt", DENSE), ("full.prototxt", FULL)):
    with open(path, "w") as f:
        f.write(text)
random = np.random.RandomState(1)
net = caffe.Net("dense.prototxt", caffe.TEST)
for blobs in net.params.values():
    for blob in blobs:
        blob.data[...] = random.randn(*blob.data.shape) * 0.2
net.save("dense.caffemodel")

net = caffe.Net("dense.prototxt", "dense.caffemodel", caffe.TEST)
params = ["fc6", "fc7"]
fc_params = {pr: (net.params[pr][0].data, net.params[pr][1].data) for pr in params}
for fc in params:
    print(f"{fc} weights are {fc_params[fc][0].shape} dimensional and biases are {fc_params[fc][1].shape} dimensional")
net_full_conv = caffe.Net("full.prototxt", "dense.caffemodel", caffe.TEST)
params_full_conv = ["fc6-conv", "fc7-conv"]
conv_params = {pr: (net_full_conv.params[pr][0].data, net_full_conv.params[pr][1].data) for pr in params_full_conv}
for conv in params_full_conv:
    print(
        f"{conv} weights are {conv_params[conv][0].shape} dimensional and biases are {conv_params[conv][1].shape} dimensional"
    )
for pr, pr_conv in zip(params, params_full_conv):
    conv_params[pr_conv][0].flat = fc_params[pr][0].flat
    conv_params[pr_conv][1][...] = fc_params[pr][1]
net_full_conv.save("full.caffemodel")

image = random.rand(3, 26, 30).astype(np.float32)
out = net_full_conv.forward_all(data=np.asarray([image]))
print(out["prob"][0].argmax(axis=0))
print(out["prob"][0].ravel())
crop = net.forward_all(data=np.asarray([image[:, 4:18, 6:20]]))["prob"][0]
print("a window by itself:", crop, "in the map:", out["prob"][0][:, 2, 3])

# Shift the bias, blur the second filter, and see only that channel change.
before = net_full_conv.blobs["conv"].data[0].copy()
net_full_conv.params["conv"][0].data[1] = 1 / 27.0
net_full_conv.params["conv"][1].data[0] += 1.0
net_full_conv.forward()
change = np.abs(net_full_conv.blobs["conv"].data[0] - before).reshape(6, -1).sum(1)
print("changes:", change)
print("mean of the blurred channel:", net_full_conv.blobs["conv"].data[0, 1].mean())
again = caffe.Net("full.prototxt", "full.caffemodel", caffe.TEST)
print("saved before the edits:", np.abs(again.params["conv"][0].data).sum(), again.params["conv"][1].data)
