"""Logistic regression on vectors in HDF5, and a small net for the same data."""

import caffe
import h5py
import numpy as np

random = np.random.RandomState(12)
X = random.randn(200, 4).astype(np.float32)
y = (X[:, 0] * X[:, 1] + X[:, 2] + 0.1 * random.randn(200) > 0).astype(np.float32)
for name, rows in (("train", slice(0, 150)), ("test", slice(150, 200))):
    with h5py.File(name + ".h5", "w") as f:
        f["data"], f["label"] = X[rows], y[rows]
    with open(name + ".txt", "w") as f:
        f.write(name + ".h5\n")
NET = """
layer { name: "data" type: "HDF5Data" top: "data" top: "label" include { phase: TRAIN }
        hdf5_data_param { source: "train.txt" batch_size: 10 } }
layer { name: "data" type: "HDF5Data" top: "data" top: "label" include { phase: TEST }
        hdf5_data_param { source: "test.txt" batch_size: 10 } }
%s
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" }
"""
LINEAR = """
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" param { lr_mult: 1 decay_mult: 1 }
        param { lr_mult: 2 decay_mult: 0 } inner_product_param { num_output: 2 } }
"""
DEEP = """
layer { name: "fc0" type: "InnerProduct" bottom: "data" top: "fc0" inner_product_param { num_output: 12 } }
layer { name: "relu" type: "ReLU" bottom: "fc0" top: "fc0" }
layer { name: "fc" type: "InnerProduct" bottom: "fc0" top: "fc" inner_product_param { num_output: 2 } }
"""
for kind, body in (("linear", LINEAR), ("deep", DEEP)):
    with open(kind + ".prototxt", "w") as f:
        f.write(NET % body)
    with open(kind + "_solver.prototxt", "w") as f:
        f.write(
            """
net: "%s.prototxt" test_iter: 5 test_interval: 10 base_lr: 0.05 lr_policy: "step" gamma: 0.1 stepsize: 500
momentum: 0.9 weight_decay: 0.0005 max_iter: 30 snapshot: 20 snapshot_prefix: "%s" solver_mode: CPU
"""
            % (kind, kind)
        )
    solver = caffe.get_solver(kind + "_solver.prototxt")
    for blobs in solver.net.params.values():
        blobs[0].data[...] = random.randn(*blobs[0].data.shape) * 0.3
    solver.solve()
    accuracy = 0
    batch_size = solver.test_nets[0].blobs["data"].num
    test_iters = 5
    for i in range(test_iters):
        solver.test_nets[0].forward()
        accuracy += solver.test_nets[0].blobs["accuracy"].data
    print(kind, "accuracy", accuracy / test_iters, "batch", batch_size, "iterations", solver.iter)
    print([blob.data.ravel()[:6] for blobs in solver.net.params.values() for blob in blobs])
saved = caffe.Net(kind + ".prototxt", kind + "_iter_30.caffemodel", caffe.TEST)
print(sorted(saved.forward().items()), np.allclose(saved.params["fc"][0].data, solver.net.params["fc"][0].data))
