"""Tile filters and feature maps into one image, and look at how activations are distributed."""

import caffe
import numpy as np

with open("net.prototxt", "w") as f:
    f.write("""
layer { name: "data" type: "Input" top: "data" input_param { shape: { dim: 1 dim: 3 dim: 24 dim: 24 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        convolution_param { num_output: 9 kernel_size: 5 stride: 2 weight_filler { type: "constant" value: 0.01 } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "conv2" type: "Convolution" bottom: "conv1" top: "conv2"
        convolution_param { num_output: 5 kernel_size: 3 group: 1 bias_filler { type: "constant" value: 0.1 } } }
layer { name: "relu2" type: "ReLU" bottom: "conv2" top: "conv2" relu_param { negative_slope: 0.1 } }
layer { name: "pool2" type: "Pooling" bottom: "conv2" top: "pool2" pooling_param { pool: AVE kernel_size: 3 stride: 2 } }
layer { name: "fc" type: "InnerProduct" bottom: "pool2" top: "fc" inner_product_param { num_output: 6 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
""")
net = caffe.Net("net.prototxt", caffe.TEST)
print("fillers:", net.params["conv1"][0].data.sum(), net.params["conv2"][1].data)
random = np.random.RandomState(2)
for name in ("conv1", "conv2", "fc"):
    net.params[name][0].data[...] = random.normal(0, 0.1, net.params[name][0].data.shape)


def vis_square(data):
    data = (data - data.min()) / (data.max() - data.min())
    n = int(np.ceil(np.sqrt(data.shape[0])))
    padding = ((0, n**2 - data.shape[0]), (0, 1), (0, 1)) + ((0, 0),) * (data.ndim - 3)
    data = np.pad(data, padding, mode="constant", constant_values=1)
    data = data.reshape((n, n) + data.shape[1:]).transpose((0, 2, 1, 3) + tuple(range(4, data.ndim + 1)))
    return data.reshape((n * data.shape[1], n * data.shape[3]) + data.shape[4:])


filters = net.params["conv1"][0].data
tiles = vis_square(filters.transpose(0, 2, 3, 1))
print(tiles.shape, tiles.sum(), tiles[3, :4].ravel())
net.blobs["data"].data[...] = random.rand(1, 3, 24, 24)
net.forward()
for name in ("conv1", "conv2", "pool2"):
    tiles = vis_square(net.blobs[name].data[0])
    print(name, tiles.shape, tiles.sum(), tiles.std())
filters = net.params["conv2"][0].data
print(vis_square(filters[:3].reshape(27, 3, 3)).sum())
feat = net.blobs["fc"].data[0]
print("histogram:", np.histogram(feat.flat, bins=4, range=(-2, 2))[0], feat)
print("largest:", [(name, float(blob.data.max())) for name, blob in net.blobs.items()])
