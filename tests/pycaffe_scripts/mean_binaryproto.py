"""Convert a mean file to NumPy, and subtract it."""

import caffe
import numpy as np

random = np.random.RandomState(15)
mean = random.rand(1, 3, 12, 12).astype(np.float32) * 255
with open("mean.binaryproto", "wb") as f:
    f.write(caffe.io.array_to_blobproto(mean).SerializeToString())

blob = caffe.proto.caffe_pb2.BlobProto()
with open("mean.binaryproto", "rb") as f:
    data = f.read()
blob.ParseFromString(data)
arr = np.array(caffe.io.blobproto_to_array(blob))
out = arr[0]
np.save("mean.npy", out)
print(arr.shape, out.sum(), list(blob.shape.dim), len(blob.data))
old = caffe.proto.caffe_pb2.BlobProto(num=1, channels=2, height=2, width=2)
old.data.extend(range(8))
print(caffe.io.blobproto_to_array(old).shape, caffe.io.blobproto_to_array(old).ravel())

transformer = caffe.io.Transformer({"data": (1, 3, 12, 12)})
transformer.set_transpose("data", (2, 0, 1))
transformer.set_mean("data", np.load("mean.npy"))
transformer.set_raw_scale("data", 255)
transformer.set_channel_swap("data", (2, 1, 0))
image = random.rand(12, 12, 3).astype(np.float32)
given = transformer.preprocess("data", image)
print(given.dtype, given.shape, given.sum(), given[:, 3, 4])
transformer.set_mean("data", np.load("mean.npy").mean(1).mean(1))
print(transformer.preprocess("data", image)[:, 3, 4])

datum = caffe.io.array_to_datum((image * 255).astype(np.uint8).transpose(2, 0, 1), 7)
raw = datum.SerializeToString()
again = caffe.proto.caffe_pb2.Datum()
again.ParseFromString(raw)
print(again.channels, again.height, again.width, again.label, caffe.io.datum_to_array(again).astype(int).sum())
