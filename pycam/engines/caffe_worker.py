"""Program that runs real Caffe for pycam: it answers requests through a pipe, in a Python that has pycaffe.

`pycam.engines.caffe` passes this file's text to that Python with `-c`. The Python may be in a container, and may be
older than pycam: this program needs Python 2.7 or 3, NumPy and pycaffe only. Prototxts and caffemodels are sent as the
bytes of the user's files, because their paths may not exist here.

A message in either direction is `MAGIC`, the length of the header (uint32), the header (JSON), and the bytes of the
arrays that the header lists, little-endian. The header of a request names a method of `Worker` and its arguments. The
header of a reply has the key `error` if the method raised an error. If a check in Caffe fails, Caffe ends the process.

The only argument is the number of threads, 0 for the BLAS's default.
"""
# mypy: allow-untyped-defs, allow-untyped-calls
# The syntax is Python 2.7's. The methods of `CaffeProcess` document the methods of `Worker`.
# ruff: noqa: B905, SIM115, UP004, UP020, UP031, UP035

import io
import json
import os
import struct
import sys
import tempfile
import traceback

if __name__ == "__main__":
    # The libraries read these when they are loaded, which the next lines do.
    os.environ.setdefault("GLOG_minloglevel", "2")
    if sys.argv[1] != "0":
        for library in ("OPENBLAS", "MKL", "OMP"):
            os.environ[library + "_NUM_THREADS"] = sys.argv[1]

import numpy as np

MYPY = False
if MYPY:
    from typing import Any, BinaryIO, Dict, List, Sequence, Tuple  # noqa: F401 - used in the comments below

MAGIC = b"pycam-1\n"

# Types of layers that would write over the values that the user gave.
SOURCES = ("Data", "DummyData", "HDF5Data", "ImageData", "MemoryData", "WindowData")


def send(stream, header, arrays):
    # type: (BinaryIO, Dict[str, Any], Sequence[np.ndarray[Any, Any]]) -> None
    """Write a message; dtypes are written as `<f4`, `|u1` and so on."""
    arrays = [array.astype(array.dtype.newbyteorder("<"), copy=False) for array in arrays]
    header = dict(header, arrays=[[array.dtype.str, array.shape] for array in arrays])
    text = json.dumps(header).encode("ascii")
    stream.write(MAGIC + struct.pack("<I", len(text)) + text)
    for array in arrays:
        stream.write(array.tobytes())
    stream.flush()


def receive(stream):
    # type: (BinaryIO) -> Tuple[Dict[str, Any], List[np.ndarray[Any, Any]]]
    """Read a message; raise EOFError if there is none, ValueError if it is not one of pycam's."""
    if _read(stream, len(MAGIC)) != MAGIC:
        raise ValueError("this is not a message of pycam's")
    (length,) = struct.unpack("<I", bytes(_read(stream, 4)))
    header = json.loads(_read(stream, length).decode("ascii"))
    arrays = []
    for dtype, shape in header.pop("arrays"):
        kind = np.dtype(str(dtype))
        count = int(np.prod(shape, dtype=np.int64)) * kind.itemsize
        arrays.append(np.ndarray(shape, kind, _read(stream, count)))
    return header, arrays


def _read(stream, count):
    data = bytearray(count)
    view = memoryview(data)
    while len(view):
        got = stream.readinto(view)
        if not got:
            raise EOFError("the other end has closed the pipe")
        view = view[got:]
    return data


class Worker(object):
    """The requests to Caffe: methods that take a request's arrays and return a header and arrays."""

    def hello(self, arrays):
        import caffe  # type: ignore[import-not-found]

        self.caffe = caffe
        versions = {"caffe": getattr(caffe, "__version__", "of unknown version"), "numpy": np.__version__}
        return dict(versions, python="%d.%d" % sys.version_info[:2]), []

    def load(self, arrays, phase, stages, level):
        # Old versions of pycaffe know neither stages nor levels.
        state = {"stages": [str(stage) for stage in stages], "level": level} if stages or level else {}
        with _as_file(arrays[0]) as prototxt:
            self.net = self.caffe.Net(_path(prototxt), getattr(self.caffe, phase), **state)
        return {}, []

    def load_weights(self, arrays):
        with _as_file(arrays[0]) as caffemodel:
            self.net.copy_from(_path(caffemodel))
        return {}, []

    def set_params(self, arrays, params):
        for (layer, index), array in zip(params, arrays):
            if layer not in self.net.params or index >= len(self.net.params[layer]):
                raise ValueError("the net has no parameter %d of %s" % (index, layer))
            _fill("parameter %d of %s" % (index, layer), self.net.params[layer][index].data, array)
        return {}, []

    def forward(self, arrays, inputs, wanted):
        # `wanted` are a layer, None for the end of the run, the number of layers of that name before it, and a blob.
        for name, array in zip(inputs, arrays):
            self._blob(name).reshape(*array.shape)
        self.net.reshape()
        self._fill_inputs(inputs, arrays)

        stops = [self._stop(layer, nth) for layer, nth, _ in wanted]
        blobs = [self._top(stop, blob) for stop, (_, _, blob) in zip(stops, wanted)]
        values = [None] * len(wanted)
        start = 0
        for stop in sorted(set(stops)):
            self._forward(start, stop, inputs)
            start = stop + 1
            for i, blob in enumerate(blobs):
                if stops[i] == stop:
                    values[i] = blob.data.copy()
        return {}, values

    def _forward(self, start, stop, inputs):
        """Run the layers from `start` to `stop`, but not those that would write over the inputs."""
        names = list(self.net._blob_names)
        for i in range(start, stop + 1):
            tops = [names[top] for top in self.net._top_ids(i)]
            if self.net.layers[i].type not in SOURCES or not set(tops).intersection(inputs):
                self.net._forward(i, i)

    def _fill_inputs(self, inputs, arrays):
        for name, array in zip(inputs, arrays):
            _fill("blob " + name, self._blob(name).data, array)

    def _blob(self, name):
        if name not in self.net.blobs:
            raise ValueError("the net has no blob %s" % name)
        return self.net.blobs[name]

    def _top(self, layer, name):
        """Return the blob of a name: the top of a layer if it has one of that name."""
        names = list(self.net._blob_names)
        # Several blobs may have the name that Caffe gives to tops without one.
        for i in self.net._top_ids(layer) if names.count(name) > 1 else ():
            if names[i] == name:
                return self.net._blobs[i]
        return self._blob(name)

    def _stop(self, layer, nth):
        """Return the index of the layer after which to stop."""
        names = list(self.net._layer_names)
        if layer is None:
            return len(names) - 1
        found = [i for i, name in enumerate(names) if name == layer]
        if nth >= len(found):
            raise ValueError("the net has no layer %s" % layer)
        return found[nth]


def _fill(what, target, array):
    if target.shape != array.shape:  # NumPy would broadcast
        raise ValueError("%s has shape %s in Caffe, not %s" % (what, target.shape, array.shape))
    target[...] = array


def _as_file(array):
    """Write bytes to a file without a name, which disappears with the process even if Caffe ends it."""
    handle = tempfile.TemporaryFile()
    handle.write(array.tobytes())
    handle.seek(0)  # also flushes; if /dev/fd duplicates the handle, Caffe reads from here
    return handle


def _path(handle):
    return "/dev/fd/%d" % handle.fileno()


def main():
    """Answer requests until the pipe is closed."""
    requests, replies = io.open(os.dup(0), "rb"), io.open(os.dup(1), "wb")
    # From here on no other code can read a request or write into a reply by chance.
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)

    worker = Worker()
    while True:
        try:
            header, arrays = receive(requests)
        except EOFError:
            return
        command = header.pop("command")
        try:
            reply, arrays = getattr(worker, command)(arrays, **header)
        except Exception as error:
            reply, arrays = {"error": traceback.format_exception_only(type(error), error)[-1]}, []
        send(replies, dict(reply, reply=command), arrays)


if __name__ == "__main__":
    main()
