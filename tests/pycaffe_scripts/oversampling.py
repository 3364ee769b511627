"""Average the predictions of ten crops."""

import caffe
import numpy as np

with open("net.prototxt", "w") as f:
    f.write("""
input: "data" input_dim: 10 input_dim: 3 input_dim: 18 input_dim: 18
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param { num_output: 5 kernel_size: 4 stride: 3 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "fc" type: "InnerProduct" bottom: "conv1" top: "fc" inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
""")
random = np.random.RandomState(9)
net = caffe.Net("net.prototxt", caffe.TEST)
for blobs in net.params.values():
    for blob in blobs:
        blob.data[...] = random.randn(*blob.data.shape) * 0.2
images = [random.rand(24, 24, 3).astype(np.float32) for _ in range(3)]
transformer = caffe.io.Transformer({"data": net.blobs["data"].data.shape})
transformer.set_transpose("data", (2, 0, 1))
transformer.set_channel_swap("data", (2, 1, 0))
transformer.set_raw_scale("data", 255)
transformer.set_input_scale("data", 0.02)
transformer.set_mean("data", np.array([100.0, 110.0, 120.0]))
crops = caffe.io.oversample(images, (18, 18))
print(crops.shape, crops.dtype, crops.sum())
caffe_in = np.zeros(np.array(crops.shape)[[0, 3, 1, 2]], dtype=np.float32)
for ix, in_ in enumerate(crops):
    caffe_in[ix] = transformer.preprocess("data", in_)
out = net.forward_all(data=caffe_in)
predictions = out["prob"]
print(predictions.shape)
averaged = predictions.reshape((len(predictions) // 10, 10, -1)).mean(1)
print(averaged)
center = np.asarray([transformer.preprocess("data", image[3:21, 3:21]) for image in images])
print(net.forward_all(data=center, blobs=["conv1"])["conv1"].sum(axis=(1, 2, 3)))
bigger = caffe.io.resize_image(images[0], (30, 36))
print(bigger.shape, bigger.sum(), caffe.io.resize_image(images[0], (30, 36), interp_order=0).sum())
