"""Extract features of many images at an inner layer, in batches, and normalise them."""

import caffe
import numpy as np

with open("net.prototxt", "w") as f:
    f.write("""
name: "features"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 3 dim: 16 dim: 16 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param { num_output: 5 kernel_size: 3 pad: 1 } }
layer { name: "bn1" type: "BatchNorm" bottom: "conv1" top: "conv1" }
layer { name: "scale1" type: "Scale" bottom: "conv1" top: "conv1" scale_param { bias_term: true } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "left" type: "Convolution" bottom: "conv1" top: "left" convolution_param { num_output: 3 kernel_size: 1 } }
layer { name: "right" type: "Convolution" bottom: "conv1" top: "right" convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "concat" type: "Concat" bottom: "left" bottom: "right" top: "concat" }
layer { name: "gap" type: "Pooling" bottom: "concat" top: "gap" pooling_param { pool: AVE global_pooling: true } }
layer { name: "fc" type: "InnerProduct" bottom: "gap" top: "fc" inner_product_param { num_output: 3 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
""")
net = caffe.Net("net.prototxt", caffe.TEST)
random = np.random.RandomState(5)
for name, blobs in net.params.items():
    for blob in blobs:
        blob.data[...] = random.rand(*blob.data.shape) + 0.5 if name == "bn1" else random.randn(*blob.data.shape) * 0.3
images = random.rand(10, 3, 16, 16)

features = []
for begin in range(0, len(images), 4):
    chunk = images[begin : begin + 4]
    net.blobs["data"].reshape(len(chunk), 3, 16, 16)
    net.reshape()
    net.blobs["data"].data[...] = chunk
    out = net.forward(end="gap")
    print(sorted(out), out["gap"].shape)
    features.append(net.blobs["gap"].data.reshape(len(chunk), -1).copy())
features = np.vstack(features)
features /= np.linalg.norm(features, axis=1, keepdims=True)
print(features.shape)
print(features)
print("similarity", features.dot(features[0]))
both = net.forward(blobs=["left", "right"], data=images[:2])
print(sorted(both), both["left"].sum(), both["right"].sum(), both["prob"])
net.blobs["gap"].data[...] = 1
print("from a middle blob", net.forward(start="fc")["prob"])
print(list(net.inputs), list(net.outputs), list(net._layer_names))
print([(name, blob.num, blob.channels, blob.height, blob.width, blob.count) for name, blob in net.blobs.items()])
