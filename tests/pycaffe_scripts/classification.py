"""Classify an image: mean, channel order, a batch of another size, the classes with the highest scores."""

import caffe
import numpy as np

NET = """
name: "classifier"
input: "data"
input_shape { dim: 10 dim: 3 dim: 27 dim: 27 }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
        convolution_param { num_output: 8 kernel_size: 5 stride: 2 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "norm1" type: "LRN" bottom: "conv1" top: "norm1" lrn_param { local_size: 5 alpha: 0.0001 beta: 0.75 } }
layer { name: "pool1" type: "Pooling" bottom: "norm1" top: "pool1" pooling_param { pool: MAX kernel_size: 3 stride: 2 } }
layer { name: "fc8" type: "InnerProduct" bottom: "pool1" top: "fc8" inner_product_param { num_output: 7 } }
layer { name: "drop" type: "Dropout" bottom: "fc8" top: "fc8" }
layer { name: "prob" type: "Softmax" bottom: "fc8" top: "prob" }
"""
with open("deploy.prototxt", "w") as f:
    f.write(NET)
random = np.random.RandomState(0)
maker = caffe.Net("deploy.prototxt", caffe.TEST)
for name in maker.params:
    for blob in maker.params[name]:
        blob.data[...] = random.randn(*blob.data.shape) * 0.001
maker.save("weights.caffemodel")

caffe.set_mode_cpu()
net = caffe.Net("deploy.prototxt", "weights.caffemodel", caffe.TEST)
mu = random.rand(3, 32, 32).mean(1).mean(1) * 255
print("mean-subtracted values:", [(c, round(float(m), 3)) for c, m in zip("BGR", mu)])
transformer = caffe.io.Transformer({"data": net.blobs["data"].data.shape})
transformer.set_transpose("data", (2, 0, 1))
transformer.set_mean("data", mu)
transformer.set_raw_scale("data", 255)
transformer.set_channel_swap("data", (2, 1, 0))

net.blobs["data"].reshape(50, 3, 27, 27)
image = random.rand(27, 27, 3).astype(np.float32)
transformed_image = transformer.preprocess("data", image)
net.blobs["data"].data[...] = transformed_image
output = net.forward()
output_prob = output["prob"][0]
print("predicted class is:", output_prob.argmax())
top_inds = output_prob.argsort()[::-1][:5]
print("probabilities and labels:", list(zip(output_prob[top_inds], top_inds)))
for layer_name, blob in net.blobs.items():
    print(layer_name + "\t" + str(blob.data.shape))
for layer_name, param in net.params.items():
    print(layer_name + "\t" + str(param[0].data.shape), str(param[1].data.shape))
print(net.blobs["pool1"].data[0].ravel()[:20])
print(transformer.deprocess("data", net.blobs["data"].data[0]).ravel()[:6])
