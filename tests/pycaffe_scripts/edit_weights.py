"""Edit weights: scale, prune and swap them, fold a BatchNorm, save the net and load it again."""

import caffe
import numpy as np

with open("bn.prototxt", "w") as f:
    f.write("""
name: "edit"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 9 dim: 9 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3 bias_term: false } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" batch_norm_param { use_global_stats: true eps: 0.001 } }
layer { name: "scale" type: "Scale" bottom: "bn" top: "scale" scale_param { bias_term: true } }
layer { name: "prelu" type: "PReLU" bottom: "scale" top: "scale" }
layer { name: "fc" type: "InnerProduct" bottom: "scale" top: "fc" inner_product_param { num_output: 3 } }
""")
with open("folded.prototxt", "w") as f:
    f.write("""
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 9 dim: 9 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "prelu" type: "PReLU" bottom: "conv" top: "conv" }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc" inner_product_param { num_output: 3 } }
""")
random = np.random.RandomState(10)
net = caffe.Net("bn.prototxt", caffe.TEST)
print("fillers", [(name, [float(blob.data.sum()) for blob in blobs]) for name, blobs in net.params.items()])
for name, blobs in net.params.items():
    for blob in blobs:
        blob.data[...] = random.rand(*blob.data.shape) + 0.5
net.params["conv"][0].data[...] -= 1
x = random.randn(2, 3, 9, 9)
whole = net.forward(data=x)["fc"].copy()
print(whole)
folded = caffe.Net("folded.prototxt", caffe.TEST)
mean, variance, factor = (blob.data for blob in net.params["bn"])
gamma, beta = (blob.data for blob in net.params["scale"])
std = np.sqrt(variance / factor + 0.001)
folded.params["conv"][0].data[...] = net.params["conv"][0].data * (gamma / std)[:, None, None, None]
folded.params["conv"][1].data[...] = beta - mean / factor * gamma / std
for name in ("prelu", "fc"):
    for to, source in zip(folded.params[name], net.params[name]):
        to.data[...] = source.data
print("folded differs by less than 1e-3:", np.abs(folded.forward(data=x)["fc"] - whole).max() < 1e-3)
weights = folded.params["fc"][0].data
small = np.abs(weights) < np.percentile(np.abs(weights), 50)
weights[small] = 0
print("pruned", int((folded.params["fc"][0].data == 0).sum()), folded.forward()["fc"])
weights *= 2
print("kept reference", folded.forward()["fc"])
folded.params["fc"][1].data[0], folded.params["fc"][1].data[1] = 5, -5
folded.params["prelu"][0].data[:] = 0
print("bias and slope", folded.forward()["fc"])
folded.save("folded.caffemodel")
again = caffe.Net("folded.prototxt", caffe.TEST)
print("empty", float(np.abs(again.params["fc"][0].data).sum()))
again.copy_from("folded.caffemodel")
print("loaded", again.forward(data=x)["fc"])
partly = caffe.Net("bn.prototxt", "folded.caffemodel", caffe.TEST) if False else caffe.Net("bn.prototxt", caffe.TEST)
print([(layer.type, [tuple(blob.data.shape) for blob in layer.blobs]) for layer in partly.layers])
print(
    net.layer_dict["bn"].type,
    len(net.layer_dict["bn"].blobs),
    list(net.top_names.items()),
    list(net.bottom_names.items()),
)
