"""Evaluate a trained net by hand: accuracy, top-3 accuracy and a confusion matrix over a test set."""

import caffe
import numpy as np

with open("train_val.prototxt", "w") as f:
    f.write("""
name: "evaluate"
layer { name: "data" type: "MemoryData" top: "data" top: "label" memory_data_param { batch_size: 5 channels: 2 height: 6 width: 6 } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "fc" type: "InnerProduct" bottom: "conv1" top: "fc" inner_product_param { num_output: 4 } }
layer { name: "accuracy" type: "Accuracy" bottom: "fc" bottom: "label" top: "accuracy" top: "per_class" include { phase: TEST } }
layer { name: "top3" type: "Accuracy" bottom: "fc" bottom: "label" top: "top3" accuracy_param { top_k: 3 } include { phase: TEST } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }
""")
random = np.random.RandomState(14)
net = caffe.Net("train_val.prototxt", caffe.TEST)
for blobs in net.params.values():
    blobs[0].data[...] = random.randn(*blobs[0].data.shape) * 0.3
images = random.rand(20, 2, 6, 6).astype(np.float32)
labels = random.randint(0, 4, 20).astype(np.float32)
net.set_input_arrays(images, labels)
matrix = np.zeros((4, 4), int)
sums = {"accuracy": 0.0, "top3": 0.0, "loss": 0.0}
for batch in range(4):
    out = net.forward()
    for name in sums:
        sums[name] += float(out[name])
    predicted = net.blobs["fc"].data.argmax(axis=1)
    truth = net.blobs["label"].data.astype(int).ravel()
    np.add.at(matrix, (truth, predicted), 1)
    print(batch, net.blobs["label"].data.shape, truth, predicted, out["per_class"])
print({name: round(value / 4, 5) for name, value in sorted(sums.items())})
print(matrix, np.trace(matrix) / 20.0)
print(sorted(net.outputs), list(net.inputs), list(net._layer_names))
net.forward()
print("again from the first:", np.array_equal(net.blobs["data"].data, images[:5]))
