"""What a run computes: its images, the recipe for each, and all that decides the result."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import PIL
import scipy

import pycam
from pycam import zoo
from pycam.engines import Options, engine_class
from pycam.errors import GroundTruthError, RunError, UsageError
from pycam.evaluation.notes import from_note, read_note
from pycam.evaluation.record import Batch, Task
from pycam.formats.files import atomic_write, exists, is_folder
from pycam.ilsvrc.ground_truth import GroundTruth, read_ground_truth
from pycam.ilsvrc.synsets import CLASSES
from pycam.model import Model, load_model
from pycam.predict import Cam, make_cam
from pycam.protocols import DRAWING, Protocol

PLAN = "plan.json"
IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm"}

Identity = tuple[tuple[str, str], ...]
"""Names of what decides a result, each with its value: versions, hashes, choices."""


@dataclass(frozen=True)
class Recipe:
    """How an image is evaluated, as names and paths: small enough to be sent to a worker on another machine.

    Attributes
    ----------
    protocol
        A row of the table, with its overrides.
    model, engine, prototxt, weights, mean, options
        As for `pycam.load`.
    """

    protocol: Protocol
    model: str | None = None
    engine: str = "onnxruntime"
    prototxt: str | None = None
    weights: str | None = None
    mean: str | None = None
    options: Options = field(default_factory=Options)

    @property
    def name(self) -> str:
        """The model's name, or its weights' file name."""
        return zoo.card(self.model).name if self.model is not None else Path(self.weights or "").name

    @property
    def batch_invariant(self) -> bool:
        """Whether an image's results have the same bits in any batch and with any number of threads."""
        return engine_class(self.engine).batch_invariant and self.protocol.method == "cam"

    def load(self) -> Model:
        """Load the model.

        Raises
        ------
        PycamError
            As `load_model`; and if the net does not tell ILSVRC's 1000 classes apart.
        """
        model = load_model(
            self.model,
            prototxt=self.prototxt,
            weights=self.weights,
            mean=self.mean,
            needs_maps=self.protocol.method == "cam",
        )
        if model.class_count != CLASSES:
            raise UsageError(
                f"{model.name} tells {model.class_count} classes apart: ILSVRC's errors need its {CLASSES}"
            )
        return model

    def make(self, model: Model, streams: int = 1) -> Cam:
        """Make the loaded model ready, to be used by so many threads at the same time (`pycam.engines.Options`)."""
        options = replace(self.options, streams=streams)
        return make_cam(model, engine=self.engine, protocol=self.protocol, options=options)

    def identity(self, cam: Cam) -> Identity:
        """Give all that decides what the recipe makes of an image, on this machine; `cam` is its model."""
        # A mean that is given by the user takes the place of the protocol's.
        without_effect = DRAWING if self.mean is None else (*DRAWING, "mean")
        choices = {name: value for name, value in self.protocol.choices().items() if name not in without_effect}
        return (
            *cam.model.digests.items(),
            ("mean values", hashlib.sha256(cam.mean.astype("<f4").tobytes()).hexdigest()),
            ("input", str(cam.model.input_size)),
            *choices.items(),
            ("engine", cam.engine.description),
            *(() if self.batch_invariant else (("threads", str(self.options.threads)),)),
            *(() if self.protocol.method == "cam" else (("PyTorch", version("torch")),)),
            ("pycam", pycam.__version__),
            ("NumPy", np.__version__),
            ("SciPy", scipy.__version__),
            ("OpenCV", cv2.__version__),
            ("Pillow", PIL.__version__),
        )


@dataclass(frozen=True)
class Sources:
    """Where the images of a run are, and what is true of them: as for `pycam evaluate`.

    Attributes
    ----------
    images
        Folder of the images.
    ground_truth, labels, blacklist, meta
        As for `pycam.ilsvrc.ground_truth.read_ground_truth`.
    limit
        How many images to evaluate, the first; None for all.
    """

    images: str
    ground_truth: str
    labels: str | None = None
    blacklist: str | None = None
    meta: str | None = None
    limit: int | None = None


@dataclass(frozen=True, eq=False)
class Plan:
    """A run.

    Attributes
    ----------
    recipe
        How each image is evaluated.
    truth
        What is true of the images, in their order.
    images
        Their files.
    batch
        How many go through the net together. An image's batch follows from its position, so that results do not
        depend on where a run was interrupted.
    sources
        Where truth and images were read from, if they were.
    """

    recipe: Recipe
    truth: GroundTruth
    images: tuple[Path, ...]
    batch: int
    sources: Sources | None = None

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def read(cls, recipe: Recipe, sources: Sources, batch: int) -> Plan:
        """Make a plan of the files that it is about.

        Raises
        ------
        GroundTruthError, UsageError
            The ground truth contradicts itself, or the images are not those that it names.
        """
        others = {name: getattr(sources, name) for name in ("labels", "blacklist", "meta")}
        paths = {name: None if path is None else Path(path) for name, path in others.items()}
        truth = read_ground_truth(Path(sources.ground_truth), **paths)
        images = find_images(Path(sources.images), truth.names)
        whole = cls(recipe, truth, images, batch, sources)
        return whole if sources.limit is None else whole.only(range(min(sources.limit, len(truth))))

    def save(self, folder: Path) -> None:
        """Note in a run's folder how the run was made, for `restore`; a plan that was not read from files cannot be."""
        if self.sources is not None:
            made = {"recipe": asdict(self.recipe), "sources": asdict(self.sources), "batch": self.batch}
            try:
                atomic_write(folder / PLAN, json.dumps(made, indent=2) + "\n")
            except OSError as error:
                raise RunError(f"{folder / PLAN}: cannot be written ({error.strerror})") from None

    @classmethod
    def restore(cls, folder: Path) -> Plan:
        """Make the plan of a run anew.

        Raises
        ------
        RunError
            The folder is not that of a run.
        GroundTruthError, UsageError
            As `read`, for what the run was made of.
        """
        path = folder / PLAN
        try:
            made = read_note(path)
            parts = {"protocol": Protocol, "options": Options}
            of_recipe = {
                **made["recipe"],
                **{name: from_note(kind, made["recipe"][name]) for name, kind in parts.items()},
            }
            recipe, sources = from_note(Recipe, of_recipe), from_note(Sources, made["sources"])
            batch = made["batch"]
            if not (isinstance(batch, int) and min(batch, 1 if sources.limit is None else sources.limit) > 0):
                raise ValueError("a batch, or a limit, of no images")
        except (ValueError, TypeError, LookupError, UsageError) as error:
            raise RunError(f"{folder}: not the folder of a run ({PLAN}: {error}): start it again") from None
        try:
            return cls.read(recipe, sources, batch)
        except (GroundTruthError, UsageError) as error:
            raise type(error)(f"{path} names what is not as it was: {error}") from None

    def only(self, positions: Sequence[int]) -> Plan:
        """Give the same plan for the images at these positions alone."""
        names = [self.truth.names[position] for position in positions]
        images = tuple(self.images[position] for position in positions)
        return replace(self, truth=self.truth.select(names), images=images)

    def identity(self, of_recipe: Identity) -> Identity:
        """Give all that decides the result of the run; `of_recipe` is the recipe's."""
        names = hashlib.sha256("\n".join(self.truth.names).encode()).hexdigest()
        return (
            ("protocol", self.recipe.protocol.name),
            *of_recipe,
            *(() if self.recipe.batch_invariant else (("batch", str(self.batch)),)),
            ("images", f"{len(self)} in the list {names}"),
            ("ground truth", self.truth.digest()),
        )

    def batches(self) -> Iterator[Batch]:
        """Cut the list of images into batches."""
        for start in range(0, len(self), self.batch):
            yield tuple(self._task(position) for position in range(start, min(start + self.batch, len(self))))

    def _task(self, position: int) -> Task:
        width, height = self.truth.sizes[position].tolist()
        return Task(
            position,
            str(self.images[position]),
            int(self.truth.classes[position]),
            self.truth.boxes_of(position),
            (width, height),
        )


def find_images(folder: Path, names: Sequence[str]) -> tuple[Path, ...]:
    """Find the files of the images that the ground truth names.

    Parameters
    ----------
    folder
        With all these images and no other. Files that are no images, by their names, are not looked at.
    names
        `GroundTruth.names`: file names with or without extension, or "1", "2", …, for all files in the order of
        their names.

    Raises
    ------
    GroundTruthError
        Naming the first image without ground truth, or the reverse.
    UsageError
        The folder is none, or has no images.
    """
    if not is_folder(folder):
        raise UsageError(f"{folder}: {'not a folder' if exists(folder) else 'no such folder'}: name that of the images")
    paths = sorted(path.absolute() for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not paths:
        raise UsageError(f"{folder}: no images in it")
    by_stem: dict[str, Path] = {}
    for path in paths:
        if (other := by_stem.setdefault(path.stem, path)) is not path:
            raise GroundTruthError(f"{path}: there is {other} as well: which of the two is image {path.stem!r}?")
    stems = [_stem(name) for name in names]
    missing = next((name for name, stem in zip(names, stems, strict=True) if stem not in by_stem), None)
    if missing == "1" and names[-1] == str(len(names)):
        if len(paths) != len(names):
            raise GroundTruthError(f"{folder}: {len(paths)} images in it, the ground truth is of {len(names)}")
        return tuple(paths)
    if missing is not None:
        raise GroundTruthError(f"{folder}: no image {missing!r} in it, which the ground truth names")
    if extra := by_stem.keys() - set(stems):
        raise GroundTruthError(f"{by_stem[min(extra)]}: the ground truth does not name this image")
    return tuple(by_stem[stem] for stem in stems)


def _stem(name: str) -> str:
    path = Path(name)
    return path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name
