"""Two nets with the same weights in memory: a net for training, and one for another input size."""

import caffe
import numpy as np

BODY = """
layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: {0} dim: 2 dim: {1} dim: {1} }} }} }}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param {{ num_output: 3 kernel_size: 3 }} }}
layer {{ name: "relu" type: "ReLU" bottom: "conv" top: "conv" }}
layer {{ name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param {{ pool: AVE global_pooling: true }} }}
layer {{ name: "{2}" type: "InnerProduct" bottom: "pool" top: "score" inner_product_param {{ num_output: 2 }} }}
"""
for path, values in (
    ("small.prototxt", (1, 8, "fc")),
    ("large.prototxt", (2, 13, "fc")),
    ("other.prototxt", (1, 8, "fc_new")),
):
    with open(path, "w") as f:
        f.write(BODY.format(*values))
random = np.random.RandomState(17)
small = caffe.Net("small.prototxt", caffe.TEST)
for blobs in small.params.values():
    for blob in blobs:
        blob.data[...] = random.randn(*blob.data.shape)
large, other = caffe.Net("large.prototxt", caffe.TEST), caffe.Net("other.prototxt", caffe.TEST)
large.share_with(small)
other.share_with(small)
x = random.randn(2, 2, 13, 13)
print(large.forward(data=x)["score"], other.forward(data=x[:1, :, :8, :8])["score"])
small.params["conv"][0].data[0] = 0
small.params["fc"][1].data[...] = [10, 20]
print(large.forward()["score"], other.forward()["score"], small.forward(data=x[:1, :, :8, :8])["score"])
large.params["fc"][0].data[...] = 0
print(small.forward()["score"], float(np.abs(small.params["fc"][0].data).sum()))
small.save("small.caffemodel")
small.params["fc"][1].data[...] = 0
large.copy_from("small.caffemodel")
print(small.forward()["score"], large.forward()["score"])
