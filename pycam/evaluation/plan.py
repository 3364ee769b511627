"""The plan of a run: its images, the recipe for each image, and everything that affects the result."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import Annotated

import cv2
import msgspec
import numpy as np
import PIL
import scipy

import pycam
from pycam import zoo
from pycam.engines import Options, cores, engine_class
from pycam.errors import GroundTruthError, RunError, UsageError
from pycam.evaluation.notes import from_note, read_note
from pycam.evaluation.record import Batch, Task
from pycam.formats.files import atomic_write, exists, is_folder
from pycam.ilsvrc.classes import names_of
from pycam.ilsvrc.ground_truth import GroundTruth, label_file, read_ground_truth
from pycam.ilsvrc.names import image_name, known_name, normal
from pycam.ilsvrc.synsets import CLASSES, synsets
from pycam.images.files import IMAGE_SUFFIXES
from pycam.maps.methods import method_class
from pycam.model import ONNX, Model, load_model
from pycam.net import Net
from pycam.net.layers import dims
from pycam.net.state import describe
from pycam.predict import Cam, best_streams, make_cam
from pycam.protocols import DRAWING, PROTOCOLS, Protocol

PLAN = "plan.json"

Positive = Annotated[int, msgspec.Meta(ge=1)]
Identity = tuple[tuple[str, str], ...]
"""Everything that affects a result, as pairs of name and value: versions, hashes, choices."""


@dataclass(frozen=True)
class Recipe:
    """How an image is evaluated, as names and paths, which are small enough to be sent to other machines.

    Attributes
    ----------
    protocol : Protocol
        A row of the table, with its overrides.
    model, engine, prototxt, weights, onnx, preprocess, input_size, mean, std, head, phase, stages, level, options
        As for `pycam.load`.
    """

    protocol: Protocol
    model: str | None = None
    engine: str = "onnxruntime"
    prototxt: str | None = None
    weights: str | None = None
    onnx: str | None = None
    preprocess: str | None = None
    input_size: str | None = None
    mean: str | None = None
    std: str | None = None
    head: str | None = None
    phase: str = "TEST"
    stages: tuple[str, ...] = ()
    level: int = 0
    options: Options = field(default_factory=Options)

    @property
    def name(self) -> str:
        """The model's name, or its weights' file name."""
        if self.model is not None and not self.model.endswith(ONNX):
            return zoo.card(self.model).name
        return normal(Path(self.weights or self.onnx or self.model or "").name)

    @property
    def batch_invariant(self) -> bool:
        """True if an image's results have the same bits in any batch and with any number of threads."""
        return engine_class(self.engine).batch_invariant and method_class(self.protocol.method).by_engine

    def load(self) -> Model:
        """Load the model.

        Raises
        ------
        PycamError
            As `load_model`.
        """
        return load_model(
            self.model,
            prototxt=self.prototxt,
            weights=self.weights,
            onnx=self.onnx,
            preprocess=self.preprocess,
            input_size=self.input_size,
            mean=self.mean,
            std=self.std,
            head=self.head,
            phase=self.phase,
            stages=self.stages,
            level=self.level,
            needs_maps=method_class(self.protocol.method).from_class_weights,
        )

    @property
    def best_streams(self) -> int:
        """The number of streams with the most images per second, if only one process computes."""
        return best_streams(self.engine, self.protocol, self.options)

    def make(self, model: Model, streams: int = 1) -> Cam:
        """Make a `Cam` of the loaded model, for so many threads at the same time (`pycam.engines.Options`)."""
        options = replace(self.options, streams=streams)
        return make_cam(model, engine=self.engine, protocol=self.protocol, options=options)


def identity_of(cam: Cam) -> Identity:
    """Return everything that affects the prediction of an image by a `Cam` on this machine."""
    model, engine, protocol = cam.model, cam.engine, cam.protocol
    # The user's mean replaces the mean of the protocol.
    without_effect = DRAWING if model.preprocessing.override is None else (*DRAWING, "mean")
    choices = {name: value for name, value in protocol.choices().items() if name not in without_effect}
    by_engine = method_class(protocol.method).by_engine
    return (
        *model.digests.items(),
        ("mean values", hashlib.sha256(cam.mean.astype("<f4").tobytes()).hexdigest()),
        ("scale", ", ".join(f"{factor:.9g}" for factor in cam.scale.tolist())),
        ("input", dims(model.input_size)),
        *((("preprocess", model.preprocess),) if model.preprocess else ()),
        *_state(model.net),
        ("scores", model.score_blob),
        ("head", str(cam.head or "")),
        *choices.items(),
        ("engine", engine.description),
        ("processor", engine.processor),
        *(() if engine.batch_invariant and by_engine else (("threads", str(engine.options.threads or cores())),)),
        *(() if by_engine else (("PyTorch", version("torch")),)),
        ("pycam", pycam.__version__),
        ("NumPy", np.__version__),
        ("SciPy", scipy.__version__),
        ("OpenCV", cv2.__version__),
        ("Pillow", PIL.__version__),
    )


def _state(net: Net) -> Identity:
    """Return the state that the net was read in, if it is not the usual one."""
    state = describe(net.state)
    return () if state == "phase TEST" else (("state", state),)


@dataclass(frozen=True)
class Sources:
    """The files of a run: its images and their ground truth, as for `pycam evaluate`.

    Attributes
    ----------
    images : str
        Folder of the images.
    ground_truth, labels, ground_truth_classes, blacklist, meta : str, optional
        As for `pycam.ilsvrc.ground_truth.read_ground_truth`.
    limit : int, optional
        Evaluate only so many images, the first; None for all.
    """

    images: str
    ground_truth: str
    labels: str | None = None
    ground_truth_classes: str | None = None
    blacklist: str | None = None
    meta: str | None = None
    limit: Positive | None = None

    @property
    def truth_files(self) -> dict[str, Path]:
        """The files that complete the ground truth, as arguments of `read_ground_truth`."""
        names = ("labels", "ground_truth_classes", "blacklist", "meta")
        return {name: Path(path) for name in names if (path := getattr(self, name)) is not None}


@dataclass(frozen=True)
class PlanNote:
    """The content of a run's `PLAN`: how each image is evaluated, from which files, and how many at once."""

    recipe: Recipe
    sources: Sources
    batch: Positive
    class_count: Positive = CLASSES

    @classmethod
    def read(cls, folder: Path) -> PlanNote:
        """Read the note in the folder of a run.

        Raises
        ------
        RunError
            The folder is not that of a run.
        """
        try:
            note = read_note(folder / PLAN)
            sources = note.get("sources")
            if isinstance(sources, dict) and "classes" in sources:  # from before `labels` were always the net's
                sources["ground_truth_classes"], sources["labels"] = sources.get("labels"), sources.pop("classes")
            return from_note(cls, note)
        except (ValueError, UsageError) as error:
            raise RunError(f"{folder}: not the folder of a run ({PLAN}: {error}): start the run again") from None

    def command(self, out: Path) -> str:
        """Return the command line of `pycam evaluate` that makes the run again, in a folder `out`."""
        recipe, sources, protocol = self.recipe, self.sources, self.recipe.protocol
        row = PROTOCOLS[protocol.name]
        single = ("model", "prototxt", "weights", "onnx", "preprocess", "input_size", "mean", "std", "head")
        values: list[tuple[str, object]] = [
            ("images", sources.images),
            ("ground_truth", sources.ground_truth),
            *sources.truth_files.items(),
            ("limit", sources.limit),
            *((name, getattr(recipe, name)) for name in single),
            ("phase", None if recipe.phase == "TEST" else recipe.phase),
            *(("stage", stage) for stage in recipe.stages),
            ("level", recipe.level or None),
            ("protocol", protocol.name),
            *(
                ("set", f"{name}={value}")
                for name, value in protocol.choices().items()
                if value not in ("", row.choices()[name])
            ),
            ("engine", recipe.engine),
            ("device", recipe.options.device),
            ("threads", recipe.options.threads),
            ("precision", recipe.options.precision),
            ("batch", self.batch),
            ("out", out),
        ]
        words = (
            word for name, value in values if value is not None for word in (f"--{name.replace('_', '-')}", str(value))
        )
        return shlex.join(["pycam", "evaluate", *words])


@dataclass(frozen=True, eq=False)
class Plan:
    """The plan of a run.

    Attributes
    ----------
    recipe : Recipe
        How each image is evaluated.
    truth : GroundTruth
        Ground truth of the images, in their order.
    images : tuple of Path
        Their files.
    batch : int
        The number of images in a forward pass. The batch of an image depends only on its position, so that
        interruptions do not change results.
    sources : Sources, optional
        Files from which ground truth and images were read.
    class_count : int
        The number of classes of the net.
    """

    recipe: Recipe
    truth: GroundTruth
    images: tuple[Path, ...]
    batch: int
    sources: Sources | None = None
    class_count: int = CLASSES

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def read(cls, recipe: Recipe, sources: Sources, batch: int) -> Plan:
        """Read the ground truth and list the images of a run.

        Raises
        ------
        GroundTruthError, UsageError
            The files of the ground truth disagree, or the images are not those in the ground truth.
        """
        truth = read_ground_truth(Path(sources.ground_truth), **sources.truth_files)
        whole = cls(recipe, truth, find_images(Path(sources.images), truth.names), batch, sources)
        return whole if sources.limit is None else whole.only(range(min(sources.limit, len(truth))))

    def save(self, folder: Path) -> None:
        """Write the plan to a run's folder, for `restore`. A plan without `sources` is not written.

        Raises
        ------
        RunError
            The file cannot be written.
        """
        if self.sources is not None:
            made = asdict(PlanNote(self.recipe, self.sources, self.batch, self.class_count))
            try:
                atomic_write(folder / PLAN, json.dumps(made, indent=2) + "\n")
            except OSError as error:
                raise RunError(f"{folder / PLAN}: cannot be written ({error.strerror})") from None

    @classmethod
    def restore(cls, folder: Path) -> Plan:
        """Read the plan of a run from its folder.

        Raises
        ------
        RunError
            The folder is not that of a run.
        GroundTruthError, UsageError
            As `read`.
        """
        path, note = folder / PLAN, PlanNote.read(folder)
        try:
            return replace(cls.read(note.recipe, note.sources, note.batch), class_count=note.class_count)
        except (GroundTruthError, UsageError) as error:
            if isinstance(error.__cause__, OSError) and not isinstance(error.__cause__, FileNotFoundError):
                raise  # the machine cannot read it now
            raise type(error)(f"{path}: an input of the run has changed: {error}") from None

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the net's classes. If the ground truth has none: ILSVRC's for a net of 1000, or else numbers."""
        if self.truth.class_names:
            return self.truth.class_names
        return synsets().wnids if self.class_count == CLASSES else tuple(map(str, range(self.class_count)))

    def for_net(self, model: Model) -> Plan:
        """Return the same plan for a net, whose number of classes must fit the ground truth.

        If the ground truth names classes, and the labels of the net have all of these names, they give the numbers.

        Raises
        ------
        UsageError
            The ground truth names another number of classes, or has a class that the net does not have.
        """
        if self.sources is not None and self.sources.labels is None:
            file = label_file(self.truth, model.labels)
            if file is not None:
                sources = replace(self.sources, labels=str(file.absolute()))
                return Plan.read(self.recipe, sources, self.batch).for_net(model)
        count, names = model.class_count, self.truth.class_names
        if names and len(names) != count:
            own = names_of(model.labels)
            strange = next((name for name in names if name not in own), None)
            found = f"{len(names)} ({', '.join(names[:3])}, …)"
            if strange is not None and not model.labels.is_numbered:
                found += f", and {strange!r} is not among the labels of the model, such as {own[0]!r}"
            raise UsageError(
                f"{model.name} has {count} classes, but the ground truth names {found}: give the names of all, in the "
                "order of the net's outputs, with --labels"
            )
        if (wrong := self.truth.classes >= count).any():
            row = int(np.argmax(wrong))
            raise UsageError(
                f"{model.name} has {count} classes, but image {self.truth.names[row]!r} has class "
                f"{self.truth.classes[row]} in the ground truth: 0…{count - 1} was expected; is it their net?"
            )
        return replace(self, class_count=count)

    def only(self, positions: Sequence[int]) -> Plan:
        """Return the same plan for only the images at these positions."""
        names = [self.truth.names[position] for position in positions]
        images = tuple(self.images[position] for position in positions)
        return replace(self, truth=self.truth.select(names), images=images)

    def identity(self, of_recipe: Identity) -> Identity:
        """Return everything that affects the result of the run; `of_recipe` is the identity of the recipe."""
        names = hashlib.sha256("\n".join(self.truth.names).encode(errors="surrogatepass")).hexdigest()
        return (
            ("protocol", self.recipe.protocol.name),
            *of_recipe,
            *(() if self.recipe.batch_invariant else (("batch", str(self.batch)),)),
            ("images", f"{len(self)} in the list {names}"),
            ("ground truth", self.truth.digest()),
        )

    def batches(self) -> Iterator[Batch]:
        """Yield the images in batches."""
        for start in range(0, len(self), self.batch):
            yield tuple(self._task(position) for position in range(start, min(start + self.batch, len(self))))

    def _task(self, position: int) -> Task:
        width, height = self.truth.sizes[position].tolist()
        label, boxes = int(self.truth.classes[position]), self.truth.boxes_of(position)
        return Task(position, str(self.images[position]), label, boxes, (width, height))


def find_images(folder: Path, names: Sequence[str]) -> tuple[Path, ...]:
    """Find the files of the images in the ground truth.

    Parameters
    ----------
    folder : Path
        A folder with all these images and no others. Files without an image's suffix are ignored.
    names : sequence of str
        `GroundTruth.names`: file names with or without extension; or "1", "2", … for all files in the order of
        their names.

    Raises
    ------
    GroundTruthError
        With the first image that has no ground truth, or the reverse.
    UsageError
        The folder does not exist, or has no images.
    """
    if not is_folder(folder):
        raise UsageError(f"{folder}: {'not a folder' if exists(folder) else 'no such folder'}: give that of the images")
    paths = sorted(
        (path.absolute() for path in _files(folder) if path.suffix.lower() in IMAGE_SUFFIXES),
        key=lambda path: [normal(part) for part in path.parts],
    )
    if not paths:
        raise UsageError(f"{folder}: no images in it")
    places, stems = [normal(str(path.parent)) for path in paths], [normal(path.stem) for path in paths]
    # Images of the same name in several folders are told apart by their folders, in the ground truth, too.
    nested = len(set(stems)) < len(set(zip(places, stems, strict=True)))
    by_name: dict[str, Path] = {}
    for path, stem in zip(paths, stems, strict=True):
        name = normal(path.relative_to(folder.absolute()).with_name(path.stem).as_posix()) if nested else stem
        if (other := by_name.setdefault(name, path)) is not path:
            raise GroundTruthError(f"{path}: {other} exists, too: which of the two is image {name!r}?")
    keys = [_in_its_folder(name, by_name) if nested else known_name(name, by_name) for name in names]
    missing = next((name for name, key in zip(names, keys, strict=True) if key is None), None)
    if missing == "1" and names[-1] == str(len(names)):
        if len(paths) != len(names):
            raise GroundTruthError(f"{folder}: {len(paths)} images in it, but {len(names)} in the ground truth")
        return tuple(paths)
    if missing is not None:
        hint = ", with its folder: several folders have images of the same name" if nested else ""
        raise GroundTruthError(f"{folder}: no image {missing!r} in it, which the ground truth names{hint}")
    found = tuple(by_name[key] for key in keys if key is not None)
    if extra := set(paths).difference(found):
        raise GroundTruthError(f"{min(extra)}: the ground truth does not name this image")
    if len(set(found)) < len(found):
        twice = next(path for path, count in Counter(found).items() if count > 1)
        raise GroundTruthError(f"{twice}: the ground truth names this image twice, with and without its suffix")
    return found


def _in_its_folder(name: str, known: Container[str]) -> str | None:
    """Return under which of the known names, with folders, an image is found: its whole name, or without suffix."""
    short = PurePath(name).parent / image_name(name)
    return next((each for each in (normal(name), normal(short.as_posix())) if each in known), None)


def _files(folder: Path) -> Iterator[Path]:
    """Yield all files in a folder and in its subfolders."""

    def refuse(error: OSError) -> None:
        raise UsageError(f"{error.filename}: cannot be listed ({error.strerror}): make it readable") from error

    for place, _, names in os.walk(folder, onerror=refuse):
        yield from (Path(place, name) for name in names)
