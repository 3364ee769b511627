"""Read a caffemodel as a message, change it, and write it back."""

import caffe
import numpy as np
from caffe.proto import caffe_pb2

with open("net.prototxt", "w") as f:
    f.write("""
name: "model"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 6 dim: 6 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 2 kernel_size: 3 } }
layer { name: "left" type: "ReLU" bottom: "conv" top: "left" }
layer { name: "right" type: "AbsVal" bottom: "conv" top: "right" }
layer { name: "sum" type: "Eltwise" bottom: "left" bottom: "right" top: "sum" }
layer { name: "fc" type: "InnerProduct" bottom: "sum" top: "fc" inner_product_param { num_output: 2 } }
""")
random = np.random.RandomState(19)
net = caffe.Net("net.prototxt", caffe.TEST)
for blobs in net.params.values():
    for blob in blobs:
        blob.data[...] = random.randn(*blob.data.shape)
net.save("model.caffemodel")

model = caffe_pb2.NetParameter()
with open("model.caffemodel", "rb") as f:
    model.ParseFromString(f.read())
print(model.name)
for layer in model.layer:
    shapes = [tuple(blob.shape.dim) for blob in layer.blobs]
    print(layer.name, layer.type, list(layer.bottom), list(layer.top), shapes)
weights = {
    layer.name: [caffe.io.blobproto_to_array(blob) for blob in layer.blobs] for layer in model.layer if layer.blobs
}
for name, arrays in weights.items():
    print(name, [float(np.abs(array - blob.data).max()) for array, blob in zip(arrays, net.params[name])])
conv = [layer for layer in model.layer if layer.name == "conv"][0]
conv.blobs[0].data[:] = [value * 2 for value in conv.blobs[0].data]
with open("doubled.caffemodel", "wb") as f:
    f.write(model.SerializeToString())
doubled = caffe.Net("net.prototxt", "doubled.caffemodel", caffe.TEST)
print((doubled.params["conv"][0].data / net.params["conv"][0].data).mean())
x = random.rand(1, 3, 6, 6)
print(net.forward(data=x)["fc"], doubled.forward(data=x)["fc"])
text = caffe_pb2.NetParameter()
from google.protobuf import text_format

with open("net.prototxt") as f:
    text_format.Merge(f.read(), text)
print([layer.name for layer in text.layer], text.layer[1].convolution_param.num_output)
text.layer[1].convolution_param.pad.append(1)
with open("padded.prototxt", "w") as f:
    f.write(text_format.MessageToString(text))
print(caffe.Net("padded.prototxt", caffe.TEST).blobs["conv"].data.shape)
