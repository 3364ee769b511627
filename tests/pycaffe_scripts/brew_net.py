"""Write nets and a solver in Python, train them, and read what was written."""

import caffe
import numpy as np
from caffe import layers as L, params as P
from caffe.proto import caffe_pb2


def lenet(shape, classes):
    n = caffe.NetSpec()
    n.data = L.Input(input_param=dict(shape=dict(dim=list(shape))))
    n.label = L.Input(input_param=dict(shape=dict(dim=[shape[0]])))
    n.conv1 = L.Convolution(n.data, kernel_size=3, num_output=6, weight_filler=dict(type="constant", value=0.1))
    n.relu1 = L.ReLU(n.conv1, in_place=True)
    n.pool1 = L.Pooling(n.conv1, kernel_size=2, stride=2, pool=P.Pooling.MAX)
    n.ip1 = L.InnerProduct(
        n.pool1, num_output=classes, weight_filler=dict(type="constant"), bias_filler=dict(type="constant", value=0.2)
    )
    n.loss = L.SoftmaxWithLoss(n.ip1, n.label)
    return n.to_proto()


def conv_relu(bottom, ks, nout, stride=1, pad=0, group=1):
    conv = L.Convolution(
        bottom,
        kernel_size=ks,
        stride=stride,
        num_output=nout,
        pad=pad,
        group=group,
        param=[dict(lr_mult=1, decay_mult=1), dict(lr_mult=2, decay_mult=0)],
    )
    return conv, L.ReLU(conv, in_place=True)


message = lenet((4, 1, 10, 10), 3)
with open("auto_train.prototxt", "w") as f:
    f.write(str(message))
print([(layer.name, layer.type, list(layer.bottom), list(layer.top)) for layer in message.layer])
print(message.layer[2].convolution_param.num_output, list(message.layer[2].convolution_param.kernel_size))

s = caffe_pb2.SolverParameter()
s.train_net = "auto_train.prototxt"
s.base_lr = 0.02
s.lr_policy = "multistep"
s.stepvalue.extend([4, 8])
s.gamma = 0.5
s.momentum = 0.9
s.weight_decay = 5e-4
s.max_iter = 100
s.snapshot_prefix = "brew"
s.type = "Nesterov"
s.solver_mode = caffe_pb2.SolverParameter.CPU
with open("auto_solver.prototxt", "w") as f:
    f.write(str(s))
solver = caffe.get_solver("auto_solver.prototxt")
print(type(solver).__name__)
random = np.random.RandomState(11)
solver.net.params["conv1"][0].data[...] = random.randn(6, 1, 3, 3) * 0.3
solver.net.params["ip1"][0].data[...] = random.randn(*solver.net.params["ip1"][0].data.shape) * 0.1
losses = []
for it in range(10):
    labels = random.randint(0, 3, 4)
    solver.net.blobs["label"].data[...] = labels
    solver.net.blobs["data"].data[...] = random.rand(4, 1, 10, 10) + labels[:, None, None, None]
    solver.step(1)
    losses.append(float(solver.net.blobs["loss"].data))
print(losses)
print([float(np.abs(blob.data).sum()) for blobs in solver.net.params.values() for blob in blobs])

n = caffe.NetSpec()
n.data = L.DummyData(shape=dict(dim=[1, 4, 9, 9]), data_filler=dict(type="constant", value=0.5))
n.conv, n.relu = conv_relu(n.data, 3, 4, pad=1, group=2)
n.conv2, n.relu2 = conv_relu(n.relu, 1, 4)
n.sum = L.Eltwise(n.relu, n.relu2, operation=P.Eltwise.SUM)
n.left, n.right = L.Slice(n.sum, ntop=2, slice_param=dict(axis=1, slice_point=1))
n.score = L.Reduction(n.right, axis=1, operation=P.Reduction.MEAN)
proto = n.to_proto()
with open("block.prototxt", "w") as f:
    f.write(str(proto))
block = caffe.Net("block.prototxt", caffe.TEST)
for blobs in block.params.values():
    blobs[0].data[...] = random.rand(*blobs[0].data.shape)
print(block.forward()["score"], list(block._layer_names), list(block.blobs))
print([(param.lr_mult, param.decay_mult) for layer in proto.layer for param in layer.param])
