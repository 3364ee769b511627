"""Occlusion maps: how the score of a class changes when a square of the image is grey."""

import caffe
import numpy as np

with open("net.prototxt", "w") as f:
    f.write("""
input: "data" input_dim: 16 input_dim: 3 input_dim: 20 input_dim: 20
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param { num_output: 6 kernel_size: 4 stride: 2 group: 3 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "norm1" type: "LRN" bottom: "conv1" top: "norm1" lrn_param { local_size: 3 alpha: 0.01 norm_region: WITHIN_CHANNEL } }
layer { name: "pool1" type: "Pooling" bottom: "norm1" top: "pool1" pooling_param { pool: MAX kernel_size: 3 stride: 2 pad: 1 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool1" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
""")
net = caffe.Net("net.prototxt", caffe.TEST)
random = np.random.RandomState(18)
for blobs in net.params.values():
    for blob in blobs:
        blob.data[...] = random.randn(*blob.data.shape) * 0.3
image = random.rand(3, 20, 20).astype(np.float32)
net.blobs["data"].data[...] = image
whole = net.forward()["prob"][0].copy()
label = whole.argmax()
print(label, whole)
places = [(y, x) for y in range(0, 20, 5) for x in range(0, 20, 5)]
for index, (y, x) in enumerate(places):
    net.blobs["data"].data[index, :, y : y + 5, x : x + 5] = 0.5
scores = net.forward()["prob"][:, label]
drop = (whole[label] - scores).reshape(4, 4)
print(drop)
print("most important", int(drop.argmax()), float(drop.max()))
layers = ("conv1", "norm1", "pool1", "fc")
print([(name, float(np.abs(net.blobs[name].data[0] - net.blobs[name].data[15]).sum())) for name in layers])
