"""A siamese net: two branches with shared weights, trained with the contrastive loss."""

import caffe
import numpy as np

BRANCH = """
layer {{ name: "conv1{0}" type: "Convolution" bottom: "data{0}" top: "conv1{0}" param {{ name: "conv1_w" lr_mult: 1 }}
        param {{ name: "conv1_b" lr_mult: 2 }} convolution_param {{ num_output: 5 kernel_size: 3 }} }}
layer {{ name: "pool1{0}" type: "Pooling" bottom: "conv1{0}" top: "pool1{0}" pooling_param {{ kernel_size: 2 stride: 2 }} }}
layer {{ name: "ip1{0}" type: "InnerProduct" bottom: "pool1{0}" top: "ip1{0}" param {{ name: "ip1_w" lr_mult: 1 }}
        param {{ name: "ip1_b" lr_mult: 2 }} inner_product_param {{ num_output: 8 }} }}
layer {{ name: "relu1{0}" type: "ReLU" bottom: "ip1{0}" top: "ip1{0}" }}
layer {{ name: "feat{0}" type: "InnerProduct" bottom: "ip1{0}" top: "feat{0}" param {{ name: "feat_w" lr_mult: 1 }}
        param {{ name: "feat_b" lr_mult: 2 }} inner_product_param {{ num_output: 2 }} }}
"""
with open("siamese.prototxt", "w") as f:
    f.write(
        """
name: "siamese"
layer { name: "pair" type: "Input" top: "pair_data" top: "sim" input_param { shape { dim: 6 dim: 2 dim: 10 dim: 10 } shape { dim: 6 } } }
layer { name: "slice_pair" type: "Slice" bottom: "pair_data" top: "data" top: "data_p" slice_param { slice_dim: 1 slice_point: 1 } }
"""
        + BRANCH.format("")
        + BRANCH.format("_p")
        + """
layer { name: "loss" type: "ContrastiveLoss" bottom: "feat" bottom: "feat_p" bottom: "sim" top: "loss"
        contrastive_loss_param { margin: 1 } }
"""
    )
with open("solver.prototxt", "w") as f:
    f.write(
        'net: "siamese.prototxt" base_lr: 0.01 momentum: 0.9 lr_policy: "inv" gamma: 0.0001 power: 0.75 '
        'max_iter: 50 snapshot_prefix: "siamese" type: "SGD"\n'
    )
random = np.random.RandomState(13)
solver = caffe.SGDSolver("solver.prototxt")
net = solver.net
for name in ("conv1", "ip1", "feat"):
    for blob in net.params[name]:
        blob.data[...] = random.randn(*blob.data.shape) * 0.3
print(
    "shared:",
    [
        bool(np.array_equal(net.params[name][0].data, net.params[name + "_p"][0].data))
        for name in ("conv1", "ip1", "feat")
    ],
)
losses = []
for it in range(12):
    first, second = random.randint(0, 3, 6), random.randint(0, 3, 6)
    noise = random.rand(6, 2, 10, 10) * 0.5
    noise[:, 0, :3] += first[:, None, None]
    noise[:, 1, :3] += second[:, None, None]
    net.blobs["pair_data"].data[...] = noise
    net.blobs["sim"].data[...] = first == second
    solver.step(1)
    losses.append(float(net.blobs["loss"].data))
print(losses)
print("features", net.blobs["feat"].data, net.blobs["feat_p"].data)
print("still shared:", np.abs(net.params["feat"][0].data - net.params["feat_p"][0].data).max())
print("updates", [float(np.abs(net.params[name][0].diff).sum()) for name in ("conv1", "conv1_p", "feat", "feat_p")])
net.save("siamese.caffemodel")
with open("single.prototxt", "w") as f:
    f.write('input: "data" input_shape { dim: 3 dim: 1 dim: 10 dim: 10 }' + BRANCH.format(""))
single = caffe.Net("single.prototxt", "siamese.caffemodel", caffe.TEST)
print(single.forward_all(data=noise[:, :1])["feat"])
