"""Maps of the same images by several variants: models, methods or layers, side by side.

The first variant chooses the classes of an image. The others show the same classes, as far as their models have them:
two models may have different labels.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pycam import drawing
from pycam.errors import PycamError, UsageError
from pycam.formats.names import distinct_names, stem_of
from pycam.predict import Cam, Choose, Prepared, Progress, Source, unseen
from pycam.prediction import ClassPrediction, Prediction, write_file

MAIN = ("model", "method", "layer")
"""What the name of a variant tells even if it is distinct without."""


@dataclass(frozen=True, eq=False)
class Variant:
    """A Cam, with what distinguishes it from the other variants.

    Attributes
    ----------
    cam : Cam
        The model, the engine and the protocol.
    parts : mapping
        Of `model`, `method`, `layer`, `view`, `protocol` and `engine`, those that distinguish the variants -> its own.
    name : str
        The values as one text that no other variant has; empty for the only variant.
    key : str
        The same as a part of the names of files.
    matches : (C,) int
        For each class of the first variant, the class here, -1 if the model does not have it.
    """

    cam: Cam = field(repr=False)
    parts: Mapping[str, str]
    name: str
    key: str
    matches: NDArray[np.intp] = field(repr=False)


@dataclass(frozen=True, eq=False)
class SideBySide:
    """The predictions of one image by several variants, with the same classes.

    Attributes
    ----------
    variants : sequence of Variant
        The variants.
    predictions : sequence of Prediction
        The prediction of each, without the classes that its model does not have. The first has all.
    """

    variants: Sequence[Variant]
    predictions: Sequence[Prediction]

    def __repr__(self) -> str:
        return f"<SideBySide of {_short([variant.name for variant in self.variants])}>"

    def items(self, number: int) -> list[ClassPrediction | None]:
        """Return the classes of a variant in the order of the first one's; None for one that its model lacks."""
        found = iter(self.predictions[number].top)
        matched = self.variants[number].matches[self.predictions[0].classes]
        return [next(found) if index >= 0 else None for index in matched]

    def missing(self, number: int) -> list[str]:
        """Return the labels of the classes that the model of a variant lacks."""
        return [
            item.label for item, own in zip(self.predictions[0].top, self.items(number), strict=True) if own is None
        ]

    def as_dict(self, *, boxes: bool = False) -> dict[str, Any]:
        """Return the values that `save` writes as JSON: those of `Prediction.as_dict` for each variant."""
        if len(self.variants) == 1:
            return self.predictions[0].as_dict(boxes=boxes)
        records = []
        for number, (variant, prediction) in enumerate(zip(self.variants, self.predictions, strict=True)):
            record = prediction.as_dict(boxes=boxes)
            image = record.pop("image")
            for item, place in zip(
                record["top"], np.flatnonzero([each is not None for each in self.items(number)]), strict=True
            ):
                item["rank"] = int(place) + 1
            method = {"method": prediction.protocol.method, "layer": prediction.protocol.layer}
            records.append({"variant": variant.name} | record | method | {"missing": self.missing(number)})
        return {"image": image, "variants": records}

    def save(self, folder: str | os.PathLike[str], *, boxes: bool = False, maps: bool = False) -> list[Path]:
        """Write the overlays, one strip and one JSON file of all variants.

        Parameters
        ----------
        folder, boxes, maps
            As for `Prediction.save`, and so are the errors.

        Returns
        -------
        list of Path
            The files of `Prediction.save`. With several variants, the overlays and the maps have the key of the variant
            in their names, `<stem>_<key>_1.jpg` …, and the strip has one row per variant.
        """
        first, *others = self.predictions
        if not others:
            return first.save(folder, boxes=boxes, maps=maps)
        start = Path(folder) / stem_of(first.as_dict()["image"])
        written, rows = [], []
        for number, (variant, prediction) in enumerate(zip(self.variants, self.predictions, strict=True)):
            ranks = [None if item is None else item.rank for item in self.items(number)]
            own = start.with_name(f"{start.name}_{variant.key}")
            files, strip = prediction.save_maps(own, ranks, boxes=boxes, maps=maps)
            written += files
            rows.append((variant.name, strip))
        quality = first.protocol.quality
        written.append(write_file(start, "_strip.jpg", drawing.encode_jpeg(drawing.rows_of_strips(rows), quality)))
        text = json.dumps(self.as_dict(boxes=boxes), indent=2, ensure_ascii=False) + "\n"
        written.append(write_file(start, ".json", text))
        return written


@dataclass(frozen=True, eq=False)
class Variants:
    """One or more variants that are ready for images. Made by `Variants.of`.

    Attributes
    ----------
    variants : sequence of Variant
        The first one chooses the classes.
    """

    variants: Sequence[Variant]

    def __repr__(self) -> str:
        return f"<Variants: {_short([variant.name for variant in self.variants])}>"

    @classmethod
    def of(cls, cams: Sequence[Cam]) -> Variants:
        """Put Cams side by side.

        Parameters
        ----------
        cams : sequence of Cam
            One or more.

        Raises
        ------
        UsageError
            The models take images of different channels, or have no class in common.
        """
        parts = _differences(cams)
        names = [" ".join(filter(None, each.values())) for each in parts]
        keys = distinct_names(name.replace(" ", "_") for name in names) if len(cams) > 1 else [""]
        matches = [_matches(cams[0], cam) for cam in cams]
        return cls([Variant(*each) for each in zip(cams, parts, names, keys, matches, strict=True)])

    def __call__(self, image: Source, top: int | None = None, classes: Sequence[int | str] | None = None) -> SideBySide:
        """Predict one image; parameters and errors are those of `Cam.__call__`, for the first variant."""
        ((_, found),) = self.stream([image], top=top, classes=classes, ahead=0)
        if isinstance(found, PycamError):
            raise found
        return found

    def stream(
        self,
        images: Iterable[Source],
        *,
        top: int | None = None,
        classes: Sequence[int | str] | None = None,
        batch: int = 1,
        ahead: int = 4,
        progress: Progress = unseen,
    ) -> Iterator[tuple[Source, SideBySide | PycamError]]:
        """Predict many images in order; parameters and errors are those of `Cam.stream`, for the first variant.

        An image that one of the variants cannot predict is an error.
        """
        first = self.variants[0].cam
        choose = first.chooser(top, classes)
        at_once = min(variant.cam.batches_at_once for variant in self.variants)

        def part(share: float) -> None:
            progress(share / len(self.variants))

        def predict(prepared: list[Prepared | PycamError]) -> list[SideBySide | PycamError]:
            return self._beside(first.predict(prepared, [choose] * len(prepared), part), part)

        yield from first.on_batches(images, predict, batch=batch, ahead=ahead, at_once=at_once)

    def _beside(self, firsts: Sequence[Prediction | PycamError], progress: Progress) -> list[SideBySide | PycamError]:
        """Predict the images of the first variant's predictions with the other variants, too."""
        found: list[list[Prediction] | PycamError] = [
            each if isinstance(each, PycamError) else [each] for each in firsts
        ]
        for variant in self.variants[1:]:
            wanted = [(number, each[0]) for number, each in enumerate(found) if not isinstance(each, PycamError)]
            progress(len(found) - len(wanted))
            classes = [variant.matches[first.classes] for _, first in wanted]
            prepared = variant.cam.prepare([first.image for _, first in wanted if first.image is not None])
            choices = [_choice(each[each >= 0]) for each in classes]
            for (number, _), own in zip(wanted, variant.cam.predict(prepared, choices, progress), strict=True):
                before = found[number]
                assert not isinstance(before, PycamError)
                found[number] = own if isinstance(own, PycamError) else [*before, own]
        return [each if isinstance(each, PycamError) else SideBySide(self.variants, each) for each in found]

    def close(self) -> None:
        """Close the engines."""
        with ExitStack() as stack:
            for variant in self.variants:
                stack.callback(variant.cam.close)

    def __enter__(self) -> Variants:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _short(names: Sequence[str]) -> str:
    """Return names for a `repr`, which fits on a line."""
    text = ", ".join(names) or "one Cam"
    return text if len(text) <= 120 else f"{text[:120]}…"


def _differences(cams: Sequence[Cam]) -> list[dict[str, str]]:
    """Return what each Cam differs in from the others, most telling first, as far as they need it to be distinct."""
    values = [
        {
            "model": cam.model.name,
            "method": cam.protocol.method,
            "layer": cam.protocol.layer,
            "view": cam.protocol.view,
            "protocol": cam.protocol.name,
            "engine": cam.engine.name,
        }
        for cam in cams
    ]
    seen: Counter[tuple[str, ...]] = Counter()
    for each in values:
        equal = tuple(each.values())
        seen[equal] += 1
        # Models with the same name, such as two cards, get numbers.
        each["model"] += f" ({seen[equal]})" * (seen[equal] > 1)
    shown: list[str] = []
    for name in values[0]:
        distinct = len({tuple(each[part] for part in shown) for each in values}) == len(cams)
        if (name in MAIN or not distinct) and len({each[name] for each in values}) > 1:
            shown.append(name)
    return [{name: each[name] for name in shown} for each in values]


def _matches(first: Cam, other: Cam) -> NDArray[np.intp]:
    """Return the class of another model for each class of the first one, -1 if it has none."""
    if other.model.channels != first.model.channels:
        raise UsageError(
            f"{first.model.name} takes images of {first.model.channels} channels, and {other.model.name} of "
            f"{other.model.channels}: show models side by side that take the same images"
        )
    labels, others = first.model.labels, other.model.labels
    found = np.arange(len(labels)) if others is labels else np.array(others.match(labels), np.intp)
    if (found < 0).all():
        raise UsageError(
            f"no class of {other.model.name} has the WordNet ID or the label of a class of {first.model.name} "
            f"({others.label(0)!r}, … and {labels.label(0)!r}, …): give models of the same classes, or their labels"
        )
    return found


def _choice(classes: NDArray[np.intp]) -> Choose:
    """Return a function that selects these classes."""
    return lambda _: classes
