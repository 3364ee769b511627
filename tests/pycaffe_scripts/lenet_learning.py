"""Learn digits with a solver: check the first pass, step by hand, test by hand along the way."""

import caffe
import h5py
import numpy as np

random = np.random.RandomState(4)
shapes = random.rand(10, 12, 12) > 0.6
for name, count in (("train", 60), ("test", 25)):
    labels = random.randint(0, 10, count)
    noise = random.rand(count, 1, 12, 12) * 0.3
    with h5py.File(name + ".h5", "w") as f:
        f["data"] = (shapes[labels][:, None] * 0.7 + noise).astype(np.float32)
        f["label"] = labels.astype(np.float32)
    with open(name + ".txt", "w") as f:
        f.write(name + ".h5\n")
LENET = """
name: "LeNet"
layer { name: "data" type: "HDF5Data" top: "data" top: "label" hdf5_data_param { source: "%s.txt" batch_size: %d } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param { num_output: 8 kernel_size: 3 } }
layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "fc1" type: "InnerProduct" bottom: "pool1" top: "fc1" inner_product_param { num_output: 20 } }
layer { name: "relu1" type: "ReLU" bottom: "fc1" top: "fc1" }
layer { name: "score" type: "InnerProduct" bottom: "fc1" top: "score" inner_product_param { num_output: 10 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "label" top: "loss" }
"""
for name, size in (("train", 16), ("test", 10)):
    with open("lenet_" + name + ".prototxt", "w") as f:
        f.write(LENET % (name, size))
with open("lenet_solver.prototxt", "w") as f:
    f.write("""
train_net: "lenet_train.prototxt"
test_net: "lenet_test.prototxt"
test_iter: 2 test_interval: 500
base_lr: 0.05 momentum: 0.9 weight_decay: 0.0005
lr_policy: "inv" gamma: 0.0001 power: 0.75
max_iter: 10000 display: 0 snapshot: 5000 snapshot_prefix: "lenet"
""")
caffe.set_mode_cpu()
solver = caffe.SGDSolver("lenet_solver.prototxt")
for blobs in solver.net.params.values():
    for blob in blobs:
        blob.data[...] = random.randn(*blob.data.shape) * 0.1
print([(k, v.data.shape) for k, v in solver.net.blobs.items()])
print([(k, v[0].data.shape) for k, v in solver.net.params.items()])
print(solver.net.forward())
print("train labels:", solver.net.blobs["label"].data[:8])
solver.step(1)
print("gradients:", np.abs(solver.net.params["conv1"][0].diff[:, 0]).sum(), solver.net.params["score"][1].diff)
niter, test_interval = 20, 5
train_loss = np.zeros(niter)
test_acc = np.zeros(int(np.ceil(niter / test_interval)))
output = np.zeros((niter, 8, 10))
for it in range(niter):
    solver.step(1)
    train_loss[it] = solver.net.blobs["loss"].data
    solver.test_nets[0].forward(start="conv1")
    output[it] = solver.test_nets[0].blobs["score"].data[:8]
    if it % test_interval == 0:
        correct = 0
        for test_it in range(3):
            solver.test_nets[0].forward()
            correct += sum(solver.test_nets[0].blobs["score"].data.argmax(1) == solver.test_nets[0].blobs["label"].data)
        test_acc[it // test_interval] = correct / 30.0
print("losses", train_loss)
print("accuracies", test_acc)
print("scores", output[::5, 0])
