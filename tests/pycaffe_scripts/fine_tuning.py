"""Fine-tune the last layer of a net by solver steps, with the lower layers frozen, and compare with scratch."""

import caffe
import numpy as np

TRAIN = """
layer { name: "data" type: "Input" top: "data" top: "label"
        input_param { shape { dim: 8 dim: 3 dim: 12 dim: 12 } shape { dim: 8 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" param { lr_mult: 0 } param { lr_mult: 0 }
        convolution_param { num_output: 6 kernel_size: 3 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "fc7" type: "InnerProduct" bottom: "pool1" top: "fc7" param { lr_mult: 1 decay_mult: 1 }
        param { lr_mult: 2 decay_mult: 0 } inner_product_param { num_output: 10 } }
layer { name: "relu7" type: "ReLU" bottom: "fc7" top: "fc7" }
layer { name: "fc8_flickr" type: "InnerProduct" bottom: "fc7" top: "fc8_flickr" param { lr_mult: 10 decay_mult: 1 }
        param { lr_mult: 20 decay_mult: 0 } inner_product_param { num_output: 5 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc8_flickr" bottom: "label" top: "loss" }
layer { name: "acc" type: "Accuracy" bottom: "fc8_flickr" bottom: "label" top: "acc" }
"""
with open("train.prototxt", "w") as f:
    f.write(TRAIN)
with open("solver.prototxt", "w") as f:
    f.write("""
train_net: "train.prototxt"
base_lr: 0.01 lr_policy: "step" gamma: 0.1 stepsize: 6
momentum: 0.9 weight_decay: 0.0005 max_iter: 100 display: 0
snapshot: 0 snapshot_prefix: "flickr" solver_mode: CPU
""")
random = np.random.RandomState(3)
pretrained = caffe.Net("train.prototxt", caffe.TEST)
for name, blobs in pretrained.params.items():
    for blob in blobs:
        blob.data[...] = random.randn(*blob.data.shape) * 0.1
pretrained.save("pretrained.caffemodel")
images = random.rand(32, 3, 12, 12).astype(np.float32)
labels = random.randint(0, 5, 32)


def run_solvers(niter, solvers):
    blobs = ("loss", "acc")
    loss, acc = ({name: np.zeros(niter) for name, _ in solvers} for _ in blobs)
    for it in range(niter):
        for name, s in solvers:
            rows = np.arange(it * 8, it * 8 + 8) % 32
            s.net.blobs["data"].data[...] = images[rows]
            s.net.blobs["label"].data[...] = labels[rows]
            s.step(1)
            loss[name][it], acc[name][it] = (s.net.blobs[b].data.copy() for b in blobs)
    return loss, acc


style_solver = caffe.get_solver("solver.prototxt")
style_solver.net.copy_from("pretrained.caffemodel")
scratch = caffe.get_solver("solver.prototxt")
for blobs in scratch.net.params.values():
    for blob in blobs:
        blob.data[...] = random.randn(*blob.data.shape) * 0.05
frozen = style_solver.net.params["conv1"][0].data.copy()
loss, acc = run_solvers(12, [("pretrained", style_solver), ("scratch", scratch)])
for name in ("pretrained", "scratch"):
    print(name, loss[name], acc[name])
print("conv1 moved:", np.abs(style_solver.net.params["conv1"][0].data - frozen).max())
print("iterations:", style_solver.iter)
for name, blobs in style_solver.net.params.items():
    print(name, [float(np.abs(blob.data).sum()) for blob in blobs], [float(np.abs(blob.diff).sum()) for blob in blobs])
style_solver.net.save("tuned.caffemodel")
tuned = caffe.Net("train.prototxt", "tuned.caffemodel", caffe.TEST)
tuned.blobs["data"].data[...] = images[:8]
print(tuned.forward(end="fc8_flickr")["fc8_flickr"])
