"""caffe.Classifier: oversampled predictions, and the center alone."""

import caffe
import numpy as np

with open("deploy.prototxt", "w") as f:
    f.write("""
input: "data" input_dim: 10 input_dim: 3 input_dim: 16 input_dim: 16
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" convolution_param { num_output: 4 kernel_size: 5 stride: 2 } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "fc" type: "InnerProduct" bottom: "conv1" top: "fc" inner_product_param { num_output: 6 } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
""")
random = np.random.RandomState(20)
net = caffe.Net("deploy.prototxt", caffe.TEST)
for blobs in net.params.values():
    for blob in blobs:
        blob.data[...] = random.randn(*blob.data.shape) * 0.005
net.save("weights.caffemodel")
classifier = caffe.Classifier(
    "deploy.prototxt",
    "weights.caffemodel",
    image_dims=(20, 20),
    raw_scale=255,
    channel_swap=(2, 1, 0),
    mean=np.array([104.0, 117.0, 123.0]),
)
print(
    [int(side) for side in classifier.image_dims],
    classifier.crop_dims,
    list(classifier.inputs),
    list(classifier.outputs),
)
images = [random.rand(20, 20, 3).astype(np.float32) for _ in range(2)]
print(classifier.predict(images, oversample=True))
print(classifier.predict(images, oversample=False))
print(classifier.transformer.preprocess("data", images[0][:16, :16]).sum())
print(classifier.blobs["conv1"].data.shape, classifier.params["fc"][0].data.shape)
classifier.params["fc"][1].data[...] = [0, 0, 5, 0, 0, 0]
print(classifier.predict(images[:1]).argmax())
