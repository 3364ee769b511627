"""Solvers of all types: their steps, snapshots, and going on from them."""

import os

import caffe
import numpy as np

with open("net.prototxt", "w") as f:
    f.write("""
layer { name: "data" type: "DummyData" top: "data" top: "label"
        dummy_data_param { shape { dim: 3 dim: 4 } shape { dim: 3 } data_filler { type: "constant" value: 0.5 }
                           data_filler { type: "constant" value: 1 } } }
layer { name: "fc1" type: "InnerProduct" bottom: "data" top: "fc1" inner_product_param { num_output: 5 } }
layer { name: "relu" type: "ReLU" bottom: "fc1" top: "fc1" }
layer { name: "fc2" type: "InnerProduct" bottom: "fc1" top: "fc2" inner_product_param { num_output: 3 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc2" bottom: "label" top: "loss" }
""")
START = np.random.RandomState(22)
START = [START.randn(5, 4) * 0.5, START.rand(5), START.randn(3, 5) * 0.5, START.rand(3)]
for kind, extra in (
    ("SGD", "momentum: 0.9"),
    ("Nesterov", "momentum: 0.9"),
    ("AdaGrad", "delta: 1e-6"),
    ("RMSProp", "rms_decay: 0.9 delta: 1e-5"),
    ("AdaDelta", "momentum: 0.95 delta: 1e-6"),
    ("Adam", "momentum: 0.9 momentum2: 0.99"),
):
    with open(kind + ".prototxt", "w") as f:
        f.write(
            'net: "net.prototxt" type: "%s" %s base_lr: %s lr_policy: "exp" gamma: 0.9 max_iter: 8 weight_decay: 0.01 '
            'snapshot_prefix: "%s" iter_size: 2\n' % (kind, extra, "1.0" if kind == "AdaDelta" else "0.05", kind)
        )
    solver = getattr(caffe, kind + "Solver")(kind + ".prototxt")
    blobs = [blob for blobs in solver.net.params.values() for blob in blobs]
    for blob, start in zip(blobs, START):
        blob.data[...] = start
    losses = []
    for it in range(4):
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
    print(
        kind,
        solver.iter,
        losses,
        [float(np.abs(blob.data).sum()) for blob in blobs],
        [float(np.abs(blob.diff).sum()) for blob in blobs],
    )
    solver.snapshot()
    print(sorted(name for name in os.listdir(".") if name.startswith(kind + "_iter")))
    solver.step(2)
    whole = [float(blob.data.sum()) for blob in blobs]
    second = caffe.get_solver(kind + ".prototxt")
    second.restore(kind + "_iter_4.solverstate")
    print(second.iter, type(second).__name__)
    second.step(2)
    print(whole, [float(blob.data.sum()) for blobs in second.net.params.values() for blob in blobs])
    second.solve()
    print(second.iter, float(second.net.blobs["loss"].data), os.path.exists(kind + "_iter_8.caffemodel"))
