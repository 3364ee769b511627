"""Predict any number of images batch by batch; the inputs of a net with two of them."""

import caffe
import numpy as np

with open("net.prototxt", "w") as f:
    f.write("""
layer { name: "image" type: "Input" top: "image" input_param { shape { dim: 4 dim: 3 dim: 8 dim: 8 } } }
layer { name: "extra" type: "Input" top: "extra" input_param { shape { dim: 4 dim: 5 } } }
layer { name: "conv" type: "Convolution" bottom: "image" top: "conv" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "elu" type: "ELU" bottom: "conv" top: "conv" }
layer { name: "fc1" type: "InnerProduct" bottom: "conv" top: "fc1" inner_product_param { num_output: 6 } }
layer { name: "fc2" type: "InnerProduct" bottom: "extra" top: "fc2" inner_product_param { num_output: 6 } }
layer { name: "join" type: "Concat" bottom: "fc1" bottom: "fc2" top: "join" }
layer { name: "score" type: "InnerProduct" bottom: "join" top: "score" inner_product_param { num_output: 3 } }
layer { name: "prob" type: "Softmax" bottom: "score" top: "prob" }
layer { name: "best" type: "ArgMax" bottom: "score" top: "best" }
""")
net = caffe.Net("net.prototxt", caffe.TEST)
random = np.random.RandomState(16)
for blobs in net.params.values():
    for blob in blobs:
        blob.data[...] = random.randn(*blob.data.shape) * 0.3
image, extra = random.rand(10, 3, 8, 8), random.rand(10, 5)
out = net.forward_all(image=image, extra=extra)
print([(name, out[name].shape) for name in sorted(out)])
print(out["prob"])
print(out["best"].ravel())
more = net.forward_all(blobs=["join"], image=image[:3], extra=extra[:3])
print([(name, more[name].shape) for name in sorted(more)], more["join"].sum(axis=1))
for size in (1, 4, 7):
    net.blobs["image"].reshape(size, 3, 8, 8)
    net.blobs["extra"].reshape(size, 5)
    net.reshape()
    print(size, net.blobs["prob"].data.shape, net.forward(image=image[:size], extra=extra[:size])["prob"][-1])
net.blobs["image"].data[...] = image[0]
net.blobs["extra"].data[...] = 0
kept = net.blobs["prob"].data
first = net.forward()["prob"].copy()
net.blobs["extra"].data[...] = 1
net.forward()
print("the same array is filled again:", np.array_equal(kept, net.blobs["prob"].data), np.abs(kept - first).sum())
for wrong in (dict(image=image), dict(image=image, extra=extra), dict(photo=image)):
    try:
        net.forward(**wrong)
    except Exception as error:
        print("refused", isinstance(error, Exception))
for call in (lambda: net.forward(start="nowhere"), lambda: net.forward(end="nowhere")):
    try:
        call()
    except ValueError:
        print("no such layer")
try:
    net.forward(blobs=["nowhere"])
except KeyError:
    print("no such blob")
