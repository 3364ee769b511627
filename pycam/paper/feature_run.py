"""Features of many images, computed by a run that can be killed at any moment and resumed."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from io import BufferedReader, BufferedWriter
from pathlib import Path

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray

import pycam
from pycam.errors import ImageError, PycamError, RunError
from pycam.evaluation.image_file import FileState, read_source, state_of
from pycam.formats.files import NamedFile, atomic_write, exists, locked
from pycam.formats.opening import open_file
from pycam.images.read import read_image
from pycam.maps.boxes import Box
from pycam.net.layers import dims
from pycam.net.state import PHASES
from pycam.paper.features import Features, feature_values
from pycam.predict import Cam, Source

MAGIC = b"pycam features 1\n"
MOST = 1 << 20
"""More bytes than a header of another run has in addition."""
_HEAD = struct.Struct("<qI?")
"""What stands before the values of an image: size and CRC-32 of its file, and whether it has values."""
_CRC = struct.Struct("<I")


@dataclass(frozen=True)
class Images:
    """Images whose features are computed.

    Attributes
    ----------
    names : tuple of str
        Their names in the file of features.
    paths : tuple of str
        Their files.
    labels : tuple of int, optional
        Their labels.
    class_names : tuple of str, optional
        The name of each label, from 0 on.
    boxes : tuple of (x0, y0, x1, y1), optional
        The part of each image that is the input, in pixels, half-open; the whole image without.
    """

    names: tuple[str, ...]
    paths: tuple[str, ...]
    labels: tuple[int, ...] | None = None
    class_names: tuple[str, ...] | None = None
    boxes: tuple[Box, ...] | None = None

    def source(self, index: int, channels: int, exif: str) -> tuple[Source, FileState]:
        """Return an image as `feature_values` takes it, with the state of the file that it is made from.

        Parameters
        ----------
        index : int
            The position of the image.
        channels : int
            The number of channels of the net.
        exif : str
            What the protocol does about the orientation.

        Raises
        ------
        ImageError
            A part is needed of an image that cannot be read.
        RunError
            The machine cannot read the file now.
        """
        source, state = read_source(self.paths[index])
        if self.boxes is None:
            return source, state
        return read_image(source, channels=channels, exif=exif).part(self.boxes[index]), state


def about_features(cam: Cam, blob: str, pooling: str, batch: int) -> dict[str, str]:
    """Return everything that the features of an image depend on, by name; `cam` comes from `feature_cam`."""
    model, row, engine = cam.model, cam.protocol, cam.engine
    sources, state, preprocessing = model.net.sources, model.net.state, model.preprocessing
    assert sources is not None
    scale = preprocessing.input_scale if row.input_scale is None else row.input_scale
    mean = cam.mean.astype("<f4")
    about = {
        "model": model.name,
        "net": str(Path(sources.prototxt).absolute()),
        "weights": str(Path(sources.caffemodel or "").absolute()),
        "net sha256": model.digests["net"],
        "weights sha256": model.digests["weights"],
        "phase": PHASES[state.phase],
        # The stages of the net itself are in its file.
        "stages": json.dumps([stage for stage in state.stage if stage not in model.net.message.state.stage]),
        "level": str(state.level),
        "blob": blob,
        "pooling": pooling,
        "input": dims(model.input_size),
        **({"preprocess": model.preprocess} if model.preprocess else {}),
        "protocol": row.name,
        "view": row.view,
        "exif": row.exif,
        "resizer": row.resizer,
        "mean": ", ".join(f"{value:.9g}" for value in mean.tolist())
        if mean.ndim == 1
        else f"image, CRC-32 {zlib.crc32(mean.tobytes()):08x}",
        "input_scale": repr(float(scale)),
        "std": ", ".join(repr(float(value)) for value in preprocessing.std),
        "engine": engine.description,
        "processor": engine.processor,
    }
    if not engine.batch_invariant:
        about |= {"batch": str(batch), "threads": str(engine.options.threads)}
    return about | {
        "pycam": pycam.__version__,
        "NumPy": np.__version__,
        "OpenCV": cv2.__version__,
        "Pillow": PIL.__version__,
        "SciPy": version("scipy"),
    }


def compute_features(
    cam: Cam,
    images: Images,
    out: Path,
    blob: str,
    *,
    pooling: str = "average",
    batch: int = 8,
    skip: bool = False,
    progress: Callable[[int], None] = lambda done: None,
    skipped: Callable[[str], None] = lambda reason: None,
) -> Features:
    """Compute the features of images, and write them to a file; resume a run that was interrupted.

    Parameters
    ----------
    cam : Cam
        From `pycam.paper.features.feature_cam`.
    images : Images
        The images.
    out : Path
        The `.npz`. Until it is complete, `<out>.partial` has what is done.
    blob, pooling
        As for `feature_values`.
    batch : int
        The number of images that the net runs on together. The batch of an image depends only on its position, so that
        interruptions do not change results.
    skip : bool
        Leave out images that cannot be read, instead of stopping at the first.
    progress : callable
        Takes the number of images that are done; the first call has the number of an earlier run.
    skipped : callable
        Takes the reason for each image that is left out.

    Returns
    -------
    Features
        What was written.

    Raises
    ------
    RunError
        The partial file is of another run, an image has changed since, or another process works on the file.
    ImageError, EngineError
        An image cannot be read, or its features are not finite.
    """
    about = about_features(cam, blob, pooling, batch)
    partial = out.with_name(f"{out.name}.partial")
    try:
        with locked(out.with_name(f"{out.name}.lock")):
            store = _Partial(partial, _identity(about, images), cam.model.net.shapes[blob][1])
            done = store.resume(images.paths, batch, skip)
            progress(done)
            for index in (index for index in store.read()[1] if index < done):
                skipped(f"{images.paths[index]}: skipped by the interrupted run")
            for count, error in enumerate(store.extend(cam, images, blob, pooling, batch, done), done + 1):
                if error is not None:
                    if not skip:
                        raise error
                    skipped(f"skipped: {error}")
                progress(count)
            features = _kept(*store.read(), images, about, cam.mean)
            features.save(out)
            partial.unlink()
            return features
    except BlockingIOError:
        raise RunError(f"{out}: another process computes these features: wait for it, or name another --out") from None


def _identity(about: dict[str, str], images: Images) -> bytes:
    """Return what a partial file must agree in, one JSON object."""
    lists = {
        "images": images.names,
        "files": images.paths,
        "labels": images.labels,
        "class names": images.class_names,
        "boxes": images.boxes,
    }
    digests = {
        name: f"{len(each or ())} with CRC-32 {zlib.crc32(json.dumps(each).encode()):08x}"
        for name, each in lists.items()
    }
    return json.dumps(about | digests).encode()


def _kept(
    values: NDArray[np.float32],
    failed: set[int],
    images: Images,
    about: dict[str, str],
    mean: NDArray[np.float32],
) -> Features:
    kept = [index for index in range(len(images.names)) if index not in failed]
    if not kept:
        raise ImageError(f"none of {len(images.names)} images could be read")
    return Features(
        values[kept],
        tuple(images.names[index] for index in kept),
        None if images.labels is None else np.array([images.labels[index] for index in kept], np.int64),
        about | ({"skipped": str(len(failed))} if failed else {}),
        images.class_names,
        mean,
    )


class _Partial:
    """The features that are done, in a file that grows by one record per image.

    Each record ends with a checksum: what a kill has cut off is computed again.
    """

    def __init__(self, path: Path, identity: bytes, channels: int) -> None:
        self.path = path
        self.header = MAGIC + _CRC.pack(len(identity)) + identity
        self.channels = channels
        self.length = _HEAD.size + 4 * channels + _CRC.size
        if exists(path):
            with open_file(path, "features that are not complete", RunError) as file:
                self._check(file.read(len(self.header) + MOST))
        else:
            atomic_write(path, self.header)

    def _check(self, data: bytes) -> None:
        if data.startswith(self.header):
            return
        start = len(MAGIC) + _CRC.size
        try:
            if not data.startswith(MAGIC):
                raise ValueError("it begins with other bytes")
            (length,) = _CRC.unpack_from(data, len(MAGIC))
            found = json.loads(data[start : start + length])
            wanted = json.loads(self.header[start:])
            name = next(name for name in wanted if found.get(name) != wanted[name])
        except (ValueError, AttributeError, StopIteration, struct.error) as error:
            raise RunError(f"{self.path}: not features of an interrupted run ({error}): remove it") from None
        raise RunError(
            f"{self.path}: an interrupted run had another {name} ({found.get(name)}, now {wanted[name]}): "
            "give the same command as before, remove this file, or name another --out"
        )

    def resume(self, paths: Sequence[str], batch: int, skip: bool) -> int:
        """Check what an earlier run has done, remove what must be done again, and return the number of images done.

        Raises
        ------
        RunError
            An image has changed since its features were computed, or cannot be read now.
        """
        done = 0
        for path, (was, has_values, _) in zip(paths, self._records(), strict=False):
            now = state_of(path)
            if has_values and now != was:
                raise RunError(
                    f"{path}: has changed since its features were computed, it had {was.size} bytes: remove "
                    f"{self.path}, or name another --out"
                )
            # A failed image is tried again if its file has changed, or if failures are not to be skipped.
            if not has_values and (not skip or now != was):
                break
            done += 1
        # The same images as in an uninterrupted run enter the net together.
        done = len(paths) if done == len(paths) else done - done % batch
        os.truncate(self.path, len(self.header) + done * self.length)
        return done

    def extend(
        self, cam: Cam, images: Images, blob: str, pooling: str, batch: int, done: int
    ) -> Iterator[PycamError | None]:
        """Compute and append the features of the images from `done` on; yield the error of each, or None."""
        states: deque[FileState] = deque()

        def todo() -> Iterator[Source]:
            for index in range(done, len(images.paths)):
                source, state = images.source(index, cam.model.channels, cam.protocol.exif)
                states.append(state)
                yield source

        with BufferedWriter(NamedFile(self.path, "a")) as file:
            for found in feature_values(cam, todo(), blob, pooling=pooling, batch=batch):
                error = found if isinstance(found, PycamError) else None
                values = np.zeros(self.channels, "<f4") if isinstance(found, PycamError) else found.astype("<f4")
                body = _HEAD.pack(*states.popleft(), error is None) + values.tobytes()
                file.write(body + _CRC.pack(zlib.crc32(body)))
                file.flush()
                yield error

    def read(self) -> tuple[NDArray[np.float32], set[int]]:
        """Return the values, (N, K), and the positions of the images without values."""
        records = list(self._records())
        values = np.array([values for _, _, values in records], np.float32).reshape(-1, self.channels)
        return values, {index for index, (_, has_values, _) in enumerate(records) if not has_values}

    def _records(self) -> Iterator[tuple[FileState, bool, NDArray[np.float32]]]:
        with BufferedReader(NamedFile(self.path, "r")) as file:
            file.seek(len(self.header))
            while len(record := file.read(self.length)) == self.length:
                body = record[: -_CRC.size]
                if _CRC.unpack_from(record, len(body)) != (zlib.crc32(body),):
                    return
                size, crc, has_values = _HEAD.unpack_from(body)
                yield FileState(size, crc), has_values, np.frombuffer(body, "<f4", offset=_HEAD.size)
