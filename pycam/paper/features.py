"""Features: a blob of a net, averaged over its rows and columns, for many images; and the file that keeps them."""

from __future__ import annotations

import json
import os
import struct
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from pycam import engines
from pycam.engines import Options
from pycam.engines.base import not_finite
from pycam.errors import FormatError, NetError, PycamError, UsageError, suggest
from pycam.formats.files import atomic_open
from pycam.formats.npy import numbers_in
from pycam.formats.opening import open_file
from pycam.images.read import Image
from pycam.model import Model
from pycam.net import Net
from pycam.net.layers import dims
from pycam.predict import Cam, Prepared, Source
from pycam.protocols import Protocol
from pycam.units.head import unit_head

POOLINGS = ("average", "max")
"""How the rows and columns of a blob become one number per channel."""


@dataclass(frozen=True, eq=False)
class Features:
    """Features of images.

    Attributes
    ----------
    values : (N, K) float32
        One row per image.
    images : tuple of str
        The name of each image.
    labels : (N,) int64, optional
        The label of each image.
    about : dict of str to str
        Everything that the values depend on: model, net, weights, blob, pooling, view, mean, engine, versions.
    class_names : tuple of str, optional
        The name of each label, from 0 on.
    mean : (C,) or (C, H, W) float32, optional
        The mean that was subtracted from the images.
    """

    values: NDArray[np.float32]
    images: tuple[str, ...]
    labels: NDArray[np.int64] | None = None
    about: dict[str, str] = field(default_factory=dict)
    class_names: tuple[str, ...] | None = None
    mean: NDArray[np.float32] | None = None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a `.npz` that `numpy.load` reads; equal features give equal bytes."""
        arrays: dict[str, NDArray[Any]] = {
            "values": np.ascontiguousarray(self.values, "<f4"),
            "images": np.array(self.images, dtype="<U"),
        }
        if self.labels is not None:
            arrays["labels"] = np.ascontiguousarray(self.labels, "<i8")
        if self.class_names is not None:
            arrays["class_names"] = np.array(self.class_names, dtype="<U")
        if self.mean is not None:
            arrays["mean"] = np.ascontiguousarray(self.mean, "<f4")
        arrays["about"] = np.array(json.dumps(self.about, sort_keys=True, ensure_ascii=True), dtype="<U")
        with atomic_open(path) as file, zipfile.ZipFile(file, "w") as archive:
            for name, array in arrays.items():
                # A fixed time: the time of writing would change the bytes.
                entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
                with archive.open(entry, "w", force_zip64=True) as stream:
                    npy_format.write_array(stream, array, allow_pickle=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Features:
        """Read features that `save` wrote.

        Raises
        ------
        FormatError
            The file is missing, damaged, or of another kind.
        """
        name = os.fspath(path)
        arrays = _read_arrays(name)
        for key, (kinds, axes) in _ARRAYS.items():
            array = arrays.get(key)
            if array is None and key in ("values", "images", "about"):
                raise FormatError(f"{name}: {EXPECTED} has an array {key!r}, this file has none; {AGAIN}")
            if array is not None and (array.dtype.kind not in kinds or array.ndim not in axes):
                raise FormatError(f"{name}: {key!r} is an array {dims(array.shape)} of {array.dtype}; {AGAIN}")
        values = arrays["values"].astype(np.float32, copy=False)
        for key in ("images", "labels"):
            if key in arrays and len(arrays[key]) != len(values):
                raise FormatError(f"{name}: {len(values)} rows of values, but {len(arrays[key])} {key}; {AGAIN}")
        try:
            texts = {key: arrays[key].tolist() for key in ("images", "class_names", "about") if key in arrays}
            about = json.loads(texts["about"])
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{name}: a text in it is damaged ({error}); {AGAIN}") from None
        if not isinstance(about, dict) or not all(isinstance(value, str) for value in about.values()):
            raise FormatError(f"{name}: 'about' is no mapping of names to texts; {AGAIN}")
        labels = arrays.get("labels")
        return cls(
            values,
            tuple(texts["images"]),
            None if labels is None else labels.astype(np.int64, copy=False),
            about,
            tuple(texts["class_names"]) if "class_names" in texts else None,
            arrays.get("mean"),
        )


EXPECTED = "a file of features"
AGAIN = "make it again with `pycam features`"

_ARRAYS = {
    "values": ("f", (2,)),
    "images": ("U", (1,)),
    "labels": ("iu", (1,)),
    "class_names": ("U", (1,)),
    "mean": ("f", (1, 3)),
    "about": ("U", (0,)),
}
"""The arrays of a file: kinds of NumPy's types, and numbers of axes."""


def _read_arrays(name: str) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    with open_file(name, EXPECTED) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                for entry in archive.infolist():
                    key = entry.filename.removesuffix(".npy")
                    # What is not compressed cannot become larger than the file.
                    if key in _ARRAYS and entry.compress_type == zipfile.ZIP_STORED:
                        arrays[key] = numbers_in(archive.read(entry), f"{name}: {key}", kinds="fiuU")
        # A damaged archive makes zipfile raise errors of many types.
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, struct.error) as error:
            raise FormatError(f"{name}: expected {EXPECTED} (.npz), but: {error}; {AGAIN}") from None
    return arrays


def default_blob(model: Model) -> str:
    """Return the blob that a model's class activation maps are computed from.

    If each channel of that blob is the map of one class, it is the blob that the classes are made from: SqueezeNet's
    `fire9/concat`, not its `conv10`.

    Raises
    ------
    NetError
        The net has no such blob; the message names blobs that have features.
    """
    try:
        head = model.head
    except NetError as error:
        raise NetError(f"{error}; or name the features with --blob: {_examples(model.net)}") from None
    if head.class_layer is not None or head.named:
        return head.feature_blob
    units = unit_head(model.net, head).blob
    read = (names for layer in model.net.layers for names in zip(layer.inputs, layer.bottoms, strict=True))
    return dict(read).get(units, head.feature_blob)


def default_pooling(model: Model, blob: str) -> str:
    """Return `max` for the blob under a global max pooling of the model's head, else `average`."""
    try:
        head = model.head
    except (NetError, UsageError):
        return "average"
    return "max" if head.pooling == "max" and head.feature_blob == blob else "average"


def check_blob(net: Net, blob: str) -> None:
    """Check that a blob can be features: N×K×h×w, or N×K.

    Raises
    ------
    NetError
        The net has no such blob, or it has another number of axes.
    """
    shape = net.shapes.get(blob)
    if shape is None:
        raise NetError(f"the net has no blob {blob!r}: {suggest(blob, net.shapes, _examples(net))}")
    if len(shape) not in (2, 4):
        raise NetError(f"blob {blob!r} is {dims(shape)}; features are N×K or N×K×h×w: {_examples(net)}")


def _examples(net: Net) -> str:
    """Return the last blobs that can be features."""
    blobs = [blob for blob, shape in net.shapes.items() if len(shape) in (2, 4) and blob not in net.inputs]
    return f"its last blobs with features are {', '.join(blobs[-6:])}"


def feature_cam(
    model: Model, blob: str, *, engine: str = engines.DEFAULT_ENGINE, protocol: Protocol, options: Options = Options()
) -> Cam:
    """Prepare a model for `feature_values`; it needs no class activation maps.

    Parameters
    ----------
    model : Model
        A loaded model.
    blob : str
        The only blob that the engine computes.
    engine, protocol, options
        As for `pycam.load`.
    """
    check_blob(model.net, blob)
    runner = engines.make(engine, model.net, [blob], options)
    mean = model.preprocessing.mean_values(protocol.mean)
    scale = model.preprocessing.scale(protocol.input_scale)
    return Cam(model, None, runner, protocol, mean, scale)


def feature_values(
    cam: Cam, images: Iterable[Source], blob: str, *, pooling: str = "average", batch: int = 1
) -> Iterator[NDArray[np.float32] | PycamError]:
    """Compute the features of images.

    Parameters
    ----------
    cam : Cam
        From `feature_cam` or `pycam.load`; its view gives the crops.
    images : iterable
        Images as for calling a `Cam`.
    blob : str
        The blob, N×K×h×w or N×K.
    pooling : {"average", "max"}
        How the rows and columns become one number.
    batch : int
        The number of images that the net runs on together.

    Yields
    ------
    (K,) float32, or PycamError
        For each image, the pooled channels, the mean over its crops: computed in double precision, rounded once. An
        error for an image that cannot be read, or whose features are not finite; it does not stop the others.
    """
    check_blob(cam.model.net, blob)
    with ExitStack() as stack:
        engine = cam.engine
        if blob not in engine.outputs:
            engine = stack.enter_context(engines.make(engine.name, cam.model.net, [blob], engine.options))
        crops = len(cam.placement.view.crops)

        def work(prepared: Sequence[Prepared | PycamError]) -> list[NDArray[np.float32] | PycamError]:
            inputs = [each[1] for each in prepared if not isinstance(each, PycamError)]
            if not inputs:
                return [each for each in prepared if isinstance(each, PycamError)]
            found = engine.forward({cam.model.image_input: np.concatenate(inputs)})[blob]
            pooled = iter(pooled_values(found, pooling, crops))
            return [each if isinstance(each, PycamError) else _finite(next(pooled), *each) for each in prepared]

        def _finite(values: NDArray[np.float32], image: Image, _: object) -> NDArray[np.float32] | PycamError:
            if np.isfinite(values).all():
                return values
            return not_finite(engine.name, "features", image.path)

        yield from (values for _, values in cam.on_batches(images, work, batch=batch))


def pooled_values(values: NDArray[np.float32], pooling: str = "average", crops: int = 1) -> NDArray[np.float32]:
    """Return one number per channel and image.

    Parameters
    ----------
    values : (N · crops, K, h, w) or (N · crops, K) float32
        The values of a blob.
    pooling : {"average", "max"}
        What is taken over rows and columns.
    crops : int
        The number of crops of each image, of which the mean is taken.

    Returns
    -------
    (N, K) float32
        Computed in double precision.
    """
    flat = values.reshape(*values.shape[:2], -1)  # (N · crops, K, h · w)
    pooled = flat.mean(axis=2, dtype=np.float64) if pooling == "average" else flat.max(axis=2).astype(np.float64)
    per_image: NDArray[np.float64] = pooled.reshape(-1, crops, pooled.shape[1]).mean(axis=1)
    return per_image.astype(np.float32)
