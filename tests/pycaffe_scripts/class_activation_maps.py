"""Class activation maps as in the walk-throughs: class weights times the last feature maps, enlarged."""

import caffe
import numpy as np

with open("cam.prototxt", "w") as f:
    f.write("""
name: "cam"
input: "data"
input_dim: 1 input_dim: 3 input_dim: 32 input_dim: 32
layers { name: "conv1" type: CONVOLUTION bottom: "data" top: "conv1" convolution_param { num_output: 8 kernel_size: 3 stride: 2 } }
layers { name: "relu1" type: RELU bottom: "conv1" top: "conv1" }
layers { name: "CAM_conv" type: CONVOLUTION bottom: "conv1" top: "CAM_conv" convolution_param { num_output: 12 kernel_size: 3 pad: 1 } }
layers { name: "CAM_relu" type: RELU bottom: "CAM_conv" top: "CAM_conv" }
layers { name: "CAM_pool" type: POOLING bottom: "CAM_conv" top: "CAM_pool" pooling_param { pool: AVE kernel_size: 15 stride: 15 } }
layers { name: "CAM_fc" type: INNER_PRODUCT bottom: "CAM_pool" top: "CAM_fc" inner_product_param { num_output: 6 } }
layers { name: "prob" type: SOFTMAX bottom: "CAM_fc" top: "prob" }
""")
random = np.random.RandomState(6)
net = caffe.Net("cam.prototxt", caffe.TEST)
for blobs in net.params.values():
    for blob in blobs:
        blob.data[...] = random.randn(*blob.data.shape) * 0.3
print([(layer.type, len(layer.blobs)) for layer in net.layers])
weights_LR = net.params["CAM_fc"][0].data
print(weights_LR.shape)
out_layer, last_conv = "CAM_fc", "CAM_conv"
for trial in range(3):
    net.blobs["data"].data[...] = random.randn(1, 3, 32, 32) * 50
    out = net.forward()
    scores = net.blobs["prob"].data[0]
    activation_lastconv = net.blobs[last_conv].data[0]
    order = np.argsort(scores)[::-1][:3]
    print(order, scores[order])
    for index in order:
        cam = np.tensordot(weights_LR[index], activation_lastconv, axes=(0, 0))
        cam = (cam - cam.min()) / (cam.max() - cam.min())
        enlarged = np.kron(cam, np.ones((2, 2)))
        rows, columns = np.where(enlarged >= 0.6)
        print(
            index,
            cam.shape,
            cam.mean(),
            np.unravel_index(cam.argmax(), cam.shape),
            (columns.min(), rows.min(), columns.max(), rows.max()),
        )
