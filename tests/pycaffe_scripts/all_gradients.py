"""Print every blob and parameter, with its gradients, of nets with branches, shared weights and several losses."""

import numpy as np

import caffe

NET = """
%s
layer { name: "data" type: "Input" top: "data" top: "label" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } shape { dim: 2 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" %s convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "bn" type: "BatchNorm" bottom: "conv1" top: "conv1" }
layer { name: "sc" type: "Scale" bottom: "conv1" top: "conv1" scale_param { bias_term: true } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "lrn" type: "LRN" bottom: "conv1" top: "lrn" }
layer { name: "p1" type: "Pooling" bottom: "lrn" top: "p1" pooling_param { kernel_size: 2 stride: 2 pool: AVE } }
layer { name: "p2" type: "Pooling" bottom: "lrn" top: "p2" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "cat" type: "Concat" bottom: "p1" bottom: "p2" top: "cat" }
layer { name: "pre" type: "PReLU" bottom: "cat" top: "pre" }
layer { name: "flat" type: "Flatten" bottom: "pre" top: "flat" }
layer { name: "a" type: "InnerProduct" bottom: "flat" top: "a" %s inner_product_param { num_output: 3 } param { name: "w" } param { name: "b" } }
layer { name: "b" type: "InnerProduct" bottom: "flat" top: "b" inner_product_param { num_output: 3 } param { name: "w" } param { name: "b" } }
layer { name: "sig" type: "Sigmoid" bottom: "b" top: "b" }
layer { name: "sum" type: "Eltwise" bottom: "a" bottom: "b" top: "sum" loss_weight: 0.1 }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "sum" bottom: "label" top: "loss" loss_weight: 2 }
layer { name: "loss2" type: "SoftmaxWithLoss" bottom: "a" bottom: "label" }
%s
"""
ACCURACY = 'layer { name: "acc" type: "Accuracy" bottom: "sum" bottom: "label" top: "acc" top: "per" }'
FROZEN = "param { lr_mult: 0 } param { lr_mult: 0 }"


def show(name, values):
    values = np.asarray(values, float)
    positive = np.maximum(values, 0).ravel()
    print(name, values.shape, np.abs(values).sum(), (positive * (2 + np.cos(np.arange(values.size)))).sum())


def show_all(net):
    for name, blob in net.blobs.items():
        show(name, blob.data)
        show(name + " diff", blob.diff)
    for name, blobs in net.params.items():
        for blob in blobs:
            show(name, blob.data)
            show(name + " diff", blob.diff)


for options in (
    ("", "", "", ACCURACY, caffe.TEST),
    ("force_backward: true", "", "", "", caffe.TEST),
    ("", FROZEN, "propagate_down: false", ACCURACY, caffe.TRAIN),
):
    with open("net.prototxt", "w") as f:
        f.write(NET % options[:4])
    net = caffe.Net("net.prototxt", options[4])
    random = np.random.RandomState(0)
    for name, blobs in net.params.items():
        for blob, start in zip(blobs, (0.1, 2, 1)):
            blob.data[...] = start if name == "bn" else random.randn(*blob.data.shape) * 0.3
    net.blobs["data"].data[...] = random.randn(2, 3, 8, 8)
    net.blobs["label"].data[...] = [0, 2]
    print(
        list(net._layer_names),
        list(net.blobs),
        list(net.inputs),
        list(net.outputs),
        list(net.blob_loss_weights.values()),
    )
    print(list(net.top_names.items()), list(net.bottom_names.items()))
    net.forward()
    net.backward()
    show_all(net)
    net.forward()
    net.backward(start="sum")
    show_all(net)
    net.blobs["data"].reshape(3, 3, 8, 8)
    net.blobs["label"].reshape(3)
    net.blobs["data"].data[...] = random.randn(3, 3, 8, 8)
    net.blobs["label"].data[...] = 1
    net.forward()
    net.backward()
    show_all(net)
