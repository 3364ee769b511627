"""Model cards: one YAML file per model, checked against the types below.

A user's own card needs a name, a prototxt and weights. The net supplies what the card leaves out:

    name: my-net
    prototxt: my_deploy.prototxt         # beside the card, or the name of a bundled one
    weights: my_net.caffemodel           # beside the card; or file, mirrors, checksums as below
    labels: my_labels.txt                # beside the card; or ilsvrc, places205
    mean: {value: [104, 117, 123]}       # BGR; or ilsvrc-2012
    input_scale: 0.017                   # times pixels minus the mean
    view: full                           # what the net sees of an image; or center, ten

An ONNX file is a net and its weights at once, and stands in place of both:

    name: my-onnx-net
    onnx: my_net.onnx                    # beside the card; or file, mirrors, checksums as for weights
    preprocess: imagenet                 # what the net expects of images
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
import yaml
from msgspec import Meta
from msgspec.structs import replace
from yaml.constructor import ConstructorError

from pycam.errors import FormatError
from pycam.formats.numbers import read_number
from pycam.formats.opening import read_file
from pycam.zoo.checksums import DIGITS

LARGEST = 64 * 1024
DEEPEST = 32
"""The most blocks of a card inside one another."""
LONGEST_NUMBER = 10_000
"""The most characters of a number: one in base 60 takes long to compute, and cannot be shown."""

Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*\Z")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Sha1 = Annotated[str, Meta(pattern=r"^[0-9a-f]{40}\Z")]
Side = Annotated[int, Meta(ge=1, le=4096)]
Values = Annotated[tuple[float, ...], Meta(min_length=1, max_length=4096)]
"""One number per channel, or one for all."""

ViewName = Literal["center", "full", "ten"]
"""A view, as in `pycam.images.views.view_of`."""

_T = TypeVar("_T")


class PublishedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of a model: its name, its addresses, and its checksums.

    Attributes
    ----------
    file : str
        File name; in a user's own card it may be a path, relative to the card.
    aliases : tuple of str
        Other names that the file may have on a disk.
    mirrors : tuple of str
        Addresses (http or https), tried in this order.
    sha256, sha1, git_blob : str, optional
        Published checksums in hexadecimal, see `pycam.zoo.checksums`.
    folder : Path, optional
        Folder of the card that names the file; the file may lie there. `read_card` sets it, a card cannot.
    """

    file: str
    aliases: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    sha256: Sha256 | None = None
    sha1: Sha1 | None = None
    git_blob: Sha1 | None = None
    folder: Path | None = None

    def __post_init__(self) -> None:
        for name in self.names:
            if name in ("", ".", ".."):
                raise ValueError(f"{self.file!r} is not a file name")
        for url in self.mirrors:
            if urlsplit(url).scheme not in ("http", "https"):
                raise ValueError(f"mirror {url!r} is not an http or https address")

    @property
    def names(self) -> tuple[str, ...]:
        """The file names to search for, the published one first."""
        return tuple(Path(name).name for name in (self.file, *self.aliases))

    @property
    def checksums(self) -> dict[str, str]:
        """The published checksums by kind."""
        return {kind: value for kind in DIGITS if (value := getattr(self, kind)) is not None}


class Weights(PublishedFile, frozen=True):
    """A caffemodel.

    Attributes
    ----------
    layer_sha256 : mapping of str to str
        Layer name -> SHA-256 of its first blob as float32, little-endian, in C order.
    solver : str, optional
        For weights that were never published: the file name of the solver that trains them, beside the card or the name
        of a bundled one.
    initial : str, optional
        With `solver`: the model whose weights the training starts from.
    """

    layer_sha256: Mapping[str, Sha256] = {}
    solver: str | None = None
    initial: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        published = [name for name in ("mirrors", "layer_sha256") if getattr(self, name)] + [*self.checksums]
        if self.solver is not None and published:
            raise ValueError(f"solver is for weights that were never published: leave out solver, or {published[0]}")
        if self.initial is not None and self.solver is None:
            raise ValueError("initial needs a solver, which trains from these weights")


class Mean(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The values to subtract from an image: one per channel, or one per pixel.

    Attributes
    ----------
    value : tuple of float, optional
        One number per channel, or one for all: for three channels BGR, 0…255.
    image : PublishedFile, optional
        The file of a mean image. At least one of the two is given.
    """

    value: Values | None = None
    image: PublishedFile | None = None

    def __post_init__(self) -> None:
        if self.value is None and self.image is None:
            raise ValueError("needs value, image, or both")
        if self.value is not None and not all(map(math.isfinite, self.value)):
            raise ValueError(f"value {list(self.value)} has a number that is not finite")


class Card(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The description of a model.

    Attributes
    ----------
    name : str
        Name on the command line: letters, digits, and `. _ + -`.
    prototxt : str
        File name of the deploy net; relative to a user's own card.
    weights : Weights
        The caffemodel, or the ONNX file.
    onnx : bool
        Whether the net and its weights are one ONNX file: in the file, `onnx` has the keys of `weights`, and stands in
        place of `prototxt` and `weights`.
    preprocess : str, optional
        What an ONNX file expects of images, a key of `pycam.onnx.PREPROCESSINGS`; `mean`, `std` and `input_scale` of
        the card come before it.
    title : str
        Name in tables.
    aliases : tuple of str
        Other names on the command line.
    labels : str, optional
        Name of a bundled list (`ilsvrc`, `places205`), or a file relative to the card.
    mean : Mean, optional
        The mean; in the file it may be the name of a bundled one (`ilsvrc-2012`).
    input_scale : float
        The factor for pixels minus the mean, as `scale` in Caffe's transform_param; a finite number above 0. In the
        file it may be a fraction in quotes, "1/255".
    std : tuple of float, optional
        What pixels minus the mean are divided by: one finite number above 0 per channel, or one for all.
    view : str
        The part of an image that the net sees unless a protocol or the user chooses another: the `center` crop, as in
        Caffe's drivers; the `full` image; or `ten` crops.
    input_size : (int, int), optional
        Height and width of the input, 1…4096; in the file one number for a square. None: the prototxt's.
    cam : bool
        Whether the net has class activation maps; otherwise it has scores and gradients only.
    feature_blob, class_layer : str, optional
        Blob of the last features and layer whose weights turn them into class maps. If `class_layer` is None, the
        channels of the feature blob are the class maps. If `feature_blob` is None, both are found from the graph.
    score_blob : str, optional
        Blob of the class probabilities; None: the net's output.
    licence, source, paper, notes : str
        Information for readers.
    path : Path
        The card's own file. `read_card` sets it, a card cannot.
    """

    name: Name
    prototxt: str
    weights: Weights
    onnx: bool = False
    preprocess: str | None = None
    title: str = ""
    aliases: tuple[str, ...] = ()
    labels: str | None = None
    mean: Mean | None = None
    input_scale: float = 1.0
    std: Values | None = None
    view: ViewName = "center"
    input_size: tuple[Side, Side] | None = None
    cam: bool = True
    feature_blob: str | None = None
    class_layer: str | None = None
    score_blob: str | None = None
    licence: str = ""
    source: str = ""
    paper: str = ""
    notes: str = ""
    path: Path = Path()

    def __repr__(self) -> str:
        return f"<Card {self.name[:60]!r}>"

    def __post_init__(self) -> None:
        if self.class_layer is not None and (self.feature_blob is None or not self.cam):
            raise ValueError("class_layer needs a feature_blob, and cam must not be false")
        if self.preprocess is not None and not self.onnx:
            raise ValueError("preprocess is for onnx; give mean, std and input_scale")
        if not 0 < self.input_scale < math.inf:
            raise ValueError(f"input_scale is {self.input_scale}; expected a finite number above 0")
        if self.std is not None and not all(0 < number < math.inf for number in self.std):
            raise ValueError(f"std {list(self.std)} has a number that is not finite and above 0")


def read_card(path: Path, means: Path) -> Card:
    """Read and check a card.

    Parameters
    ----------
    path : Path
        The YAML file, at most 64 KiB.
    means : Path
        Folder of the bundled means; a card may name one of them.

    Returns
    -------
    Card

    Raises
    ------
    FormatError
        The file is not YAML, or a key is unknown, missing, duplicate, or of the wrong type.
    """
    content = _read_yaml(path)
    if isinstance(content, dict):
        _onnx_as_weights(content, path)
        _name_only(content, "weights")
        _name_only(content.get("mean"), "image")
        _as_list(content.get("mean"), "value")
        _as_list(content, "std")
        _as_list(content, "input_size", 2)
        _fraction(content, "input_scale")
        if isinstance(name := content.get("mean"), str):
            bundled = {file.stem: file for file in means.glob("*.yaml")}
            if name not in bundled:
                known = ", ".join(sorted(bundled))
                raise FormatError(f"{path}: mean: no mean is called {name!r}; use {known}, or value: [B, G, R]")
            content["mean"] = _read_yaml(bundled[name])
    card = _convert(content, Card, path)
    mean = card.mean
    if mean is not None and mean.image is not None:
        mean = replace(mean, image=replace(mean.image, folder=path.parent))
    return replace(card, path=path, weights=replace(card.weights, folder=path.parent), mean=mean)


def read_mean_card(path: Path) -> Mean:
    """Read and check a bundled mean; errors as those of `read_card`."""
    return _convert(_read_yaml(path), Mean, path)


class _Loader(yaml.SafeLoader):
    """A loader of YAML's plain types: what it makes is no larger than the file, and not deeper than `DEEPEST`.

    It refuses duplicate keys, aliases, merged mappings, long numbers, and control characters.
    """

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        mark = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            # Some lines of aliases of aliases become gigabytes, when they are checked or shown.
            raise ConstructorError(None, None, f"*{event.anchor} is an alias: write its value here", mark)
        if self.depth > DEEPEST:
            raise ConstructorError(None, None, "nested too deeply", mark)
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) != len(node.value):
            # YAML keeps the last one without a message.
            raise ConstructorError(None, None, "duplicate key", node.start_mark)
        return mapping

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> str:
        text = super().construct_scalar(node)
        if len(text) > LONGEST_NUMBER and node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
            raise ConstructorError(None, None, f"a number of {len(text)} characters", node.start_mark)
        if not text.isprintable():
            raise ConstructorError(None, None, "a control character or a line break in a text", node.start_mark)
        return text

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        # A few lines of nested merges would take years.
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise ConstructorError(None, None, "<< is not supported, write its keys here", key.start_mark)


def _onnx_as_weights(content: dict[str, Any], path: Path) -> None:
    """Put the ONNX file that a card gives into the place of the weights."""
    if "onnx" not in content:
        return
    if both := [key for key in ("prototxt", "weights") if key in content]:
        raise FormatError(f"{path}: onnx and {both[0]}: an ONNX file is the net and its weights: leave out one of them")
    if not isinstance(content["onnx"], str | dict):
        raise FormatError(f"{path}: onnx: expected the name of a file, found {content['onnx']!r}")
    content |= {"prototxt": "", "weights": content["onnx"], "onnx": True}


def _name_only(mapping: Any, key: str) -> None:
    """Replace a file that a card gives by its name only with the mapping of a `PublishedFile`."""
    if isinstance(mapping, dict) and isinstance(mapping.get(key), str):
        mapping[key] = {"file": mapping[key]}


def _as_list(mapping: Any, key: str, length: int = 1) -> None:
    """Replace a number in place of a list of numbers with the list."""
    if isinstance(mapping, dict) and type(mapping.get(key)) in (int, float):
        mapping[key] = [mapping[key]] * length


def _fraction(mapping: dict[str, Any], key: str) -> None:
    """Replace a fraction, which YAML reads as a text, with its value."""
    if isinstance(mapping.get(key), str):
        with suppress(ValueError, ZeroDivisionError, OverflowError):
            mapping[key] = read_number(mapping[key])


def _read_yaml(path: Path) -> Any:
    content = read_file(path, "a model card", LARGEST)
    try:
        return yaml.load(content, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise FormatError(f"{path}{line}: expected a model card in YAML, but: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        raise FormatError(f"{path}: expected a model card in YAML, but: {reason}") from None


def _convert(content: Any, kind: type[_T], path: Path) -> _T:
    try:
        return msgspec.convert(content, kind)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$")
        key = f" {place.strip('.`')}:" if place.strip("`") else ""
        plain = re.match(r"Expected `str( \| null)?`, got `(int|float|bool|date)", problem)
        hint = " (write quotes around a text)" if plain else ""
        raise FormatError(f"{path}:{key} {problem}{hint}") from None
