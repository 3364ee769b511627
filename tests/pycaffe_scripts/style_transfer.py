"""Style transfer: gradients of several layers, sent backward from layer to layer."""

import caffe
import numpy as np

with open("vgg.prototxt", "w") as f:
    f.write("""
force_backward: true
input: "data" input_dim: 1 input_dim: 3 input_dim: 16 input_dim: 16
layer { name: "conv1_1" type: "Convolution" bottom: "data" top: "conv1_1" convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "relu1_1" type: "TanH" bottom: "conv1_1" top: "conv1_1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1_1" top: "pool1" pooling_param { pool: AVE kernel_size: 2 stride: 2 } }
layer { name: "conv2_1" type: "Convolution" bottom: "pool1" top: "conv2_1" convolution_param { num_output: 6 kernel_size: 3 pad: 1 } }
layer { name: "relu2_1" type: "TanH" bottom: "conv2_1" top: "conv2_1" }
layer { name: "conv2_2" type: "Convolution" bottom: "conv2_1" top: "conv2_2" convolution_param { num_output: 6 kernel_size: 3 pad: 1 } }
""")
random = np.random.RandomState(23)
net = caffe.Net("vgg.prototxt", caffe.TEST)
for blobs in net.params.values():
    for blob in blobs:
        blob.data[...] = random.randn(*blob.data.shape) * 0.3
LAYERS = ["conv1_1", "conv2_1", "conv2_2"]


def representations(image):
    net.blobs["data"].data[0] = image
    net.forward()
    features = {name: net.blobs[name].data[0].copy().reshape(net.blobs[name].data.shape[1], -1) for name in LAYERS}
    return features, {name: np.dot(values, values.T) for name, values in features.items()}


_, grams = representations(random.rand(3, 16, 16))
content, _ = representations(random.rand(3, 16, 16))
image = random.rand(3, 16, 16)
for step in range(5):
    features, now = representations(image)
    loss = 0
    net.blobs[LAYERS[-1]].diff[:] = 0
    for i, layer in enumerate(reversed(LAYERS)):
        following = None if i == len(LAYERS) - 1 else LAYERS[-i - 2]
        grad = net.blobs[layer].diff[0]
        if layer == "conv2_2":
            difference = features[layer] - content[layer]
            loss += 0.5 * (difference**2).sum()
            grad += difference.reshape(grad.shape)
        else:
            c = features[layer].shape[0] ** -2.0 * features[layer].shape[1] ** -1.0
            difference = now[layer] - grams[layer]
            loss += c / 4 * (difference**2).sum()
            grad += (c * np.dot(difference, features[layer])).reshape(grad.shape)
        net.backward(start=layer, end=following)
        grad = net.blobs["data"].diff[0] if following is None else net.blobs[following].diff[0]
    image = image - 0.05 * grad
    print(step, loss, float(np.abs(grad).sum()))
print(image[:, ::5, ::5].ravel())
