"""Gradient ascent on the input, with octaves: the objective is the norm of a layer's activations."""

import caffe
import numpy as np

with open("dream.prototxt", "w") as f:
    f.write("""
name: "dream"
force_backward: true
input: "data" input_dim: 10 input_dim: 3 input_dim: 32 input_dim: 32
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param { num_output: 6 kernel_size: 5 pad: 2 stride: 2 } }
layer { name: "relu1" type: "TanH" bottom: "conv1" top: "conv1" }
layer { name: "norm1" type: "LRN" bottom: "conv1" top: "norm1" lrn_param { local_size: 3 alpha: 0.1 } }
layer { name: "a" type: "Convolution" bottom: "norm1" top: "a" convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "b" type: "Convolution" bottom: "norm1" top: "b" convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "inception/output" type: "Concat" bottom: "a" bottom: "b" top: "inception/output" }
layer { name: "pool" type: "Pooling" bottom: "inception/output" top: "pool" pooling_param { kernel_size: 3 stride: 2 } }
layer { name: "loss3" type: "Softmax" bottom: "pool" top: "loss3" }
""")
random = np.random.RandomState(7)
net = caffe.Net("dream.prototxt", caffe.TEST)
for blobs in net.params.values():
    for blob in blobs:
        blob.data[...] = random.randn(*blob.data.shape) * 0.002
mean = np.float32([104.0, 116.0, 122.0])


def preprocess(img):
    return np.float32(np.rollaxis(img, 2)[::-1]) - mean.reshape(3, 1, 1)


def objective_L2(dst):
    dst.diff[:] = dst.data


def make_step(net, step_size=1.5, end="inception/output", jitter=4, clip=True, objective=objective_L2):
    src = net.blobs["data"]
    dst = net.blobs[end]
    ox, oy = random.randint(-jitter, jitter + 1, 2)
    src.data[0] = np.roll(np.roll(src.data[0], ox, -1), oy, -2)
    net.forward(end=end)
    objective(dst)
    net.backward(start=end)
    g = src.diff[0]
    src.data[:] += step_size / np.abs(g).mean() * g
    src.data[0] = np.roll(np.roll(src.data[0], -ox, -1), -oy, -2)
    if clip:
        bias = mean.reshape(3, 1, 1)
        src.data[:] = np.clip(src.data, -bias, 255 - bias)


base = random.rand(32, 40, 3) * 255
octaves = [preprocess(base)]
octaves.append(octaves[0][:, ::2, ::2])
src = net.blobs["data"]
detail = np.zeros_like(octaves[-1])
for octave_base in octaves[::-1]:
    h, w = octave_base.shape[-2:]
    if detail.shape[-2:] != (h, w):
        detail = detail.repeat(2, -2).repeat(2, -1)
    src.reshape(1, 3, h, w)
    src.data[0] = octave_base + detail
    for i in range(2):
        make_step(net)
        print(
            h,
            w,
            i,
            float(src.data.mean()),
            1e6 * float(np.abs(src.diff).mean()),
            net.blobs["inception/output"].data.shape,
        )
    detail = src.data[0] - octave_base
print(src.data[0, :, ::8, ::8].ravel())
guide = random.rand(8, 60).astype(np.float32)


def objective_guide(dst):
    x = dst.data[0].copy()
    ch = x.shape[0]
    x = x.reshape(ch, -1)
    A = x.T.dot(guide)
    dst.diff[0].reshape(ch, -1)[:] = guide[:, A.argmax(1)]


make_step(net, objective=objective_guide, jitter=2)
print(float(src.data.mean()), 1e6 * float(np.abs(src.diff).mean()))
