"""Model cards: what is known about a model, in one YAML file, checked against the dataclasses below.

A card of one's own needs a name, a prototxt and weights; what it leaves out is found from the net:

    name: my-net
    prototxt: my_deploy.prototxt         # beside the card, or the name of a bundled one
    weights: my_net.caffemodel           # beside the card; or file, mirrors, checksums as below
    labels: my_labels.txt                # beside the card; or ilsvrc, places205
    mean: {value: [104, 117, 123]}       # BGR; or ilsvrc-2012
"""

from __future__ import annotations

import math
import re
import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

import yaml

from pycam.errors import FormatError
from pycam.formats.opening import read_file
from pycam.zoo.checksums import DIGITS

LARGEST = 64 * 1024
NOT_WRITTEN = {"written": False}
"""Metadata of a field that says where a card lies, which no card says of itself."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class PublishedFile:
    """A file of a model: its name, where it was published, and how to tell that it is the right one.

    Attributes
    ----------
    file : str
        File name; in a card of the user's own it may be a path, relative to the card.
    aliases : tuple of str
        Other names under which the file may lie on a disk.
    mirrors : tuple of str
        Addresses (http or https), tried in this order.
    sha256, sha1, git_blob : str, optional
        Published checksums in hexadecimal, see `pycam.zoo.checksums`.
    folder : Path, optional
        Folder of the card that names the file, which it may lie beside.
    """

    file: str
    aliases: tuple[str, ...] = ()
    mirrors: tuple[str, ...] = ()
    sha256: str | None = None
    sha1: str | None = None
    git_blob: str | None = None
    folder: Path | None = field(default=None, metadata=NOT_WRITTEN)

    def __post_init__(self) -> None:
        for name in self.names:
            if name in ("", ".", ".."):
                raise ValueError(f"file {self.file!r} is no file name")
        for url in self.mirrors:
            if urlsplit(url).scheme not in ("http", "https") or not url.isprintable():
                raise ValueError(f"mirrors: {url!r} is no http or https address")
        for kind, value in self.checksums.items():
            _refuse_wrong_checksum(kind, value)

    @property
    def names(self) -> tuple[str, ...]:
        """The file names to look for, the published one first."""
        return tuple(Path(name).name for name in (self.file, *self.aliases))

    @property
    def checksums(self) -> dict[str, str]:
        """The published checksums by kind."""
        return {kind: value for kind in DIGITS if (value := getattr(self, kind)) is not None}


@dataclass(frozen=True)
class Weights(PublishedFile):
    """A caffemodel.

    Attributes
    ----------
    layer_sha256 : mapping of str to str
        By layer, the SHA-256 of its first blob as float32, little-endian, in C order.
    """

    layer_sha256: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        for layer, value in self.layer_sha256.items():
            _refuse_wrong_checksum(f"layer_sha256: {layer}", value)


@dataclass(frozen=True)
class Mean:
    """What is subtracted from an image: a colour, `value` (BGR, 0…255), or a mean image, or either."""

    value: tuple[float, float, float] | None = None
    image: PublishedFile | None = None

    def __post_init__(self) -> None:
        if self.value is None and self.image is None:
            raise ValueError("needs value, image, or both")


@dataclass(frozen=True)
class Card:
    """What is known about a model.

    Attributes
    ----------
    name, title, aliases
        What it is called on the command line, in tables, and elsewhere.
    prototxt : str
        File name of the deploy net; relative to a card of the user's own.
    weights : Weights
        The caffemodel.
    labels : str, optional
        Name of a bundled list (`ilsvrc`, `places205`), or a file relative to the card.
    mean : Mean, optional
        The mean; in the file it may be the name of a bundled one (`ilsvrc-2012`).
    input_size : int, optional
        Side of the square input; None: as the prototxt says.
    cam : bool
        Whether the net gives class activation maps; if not, it classifies and has gradients.
    feature_blob, class_layer : str, optional
        Blob of the last features and layer whose weights turn them into class maps. `class_layer` None: the
        channels of the feature blob are the class maps. `feature_blob` None: both are found from the graph.
    score_blob : str, optional
        Blob of the class probabilities; None: the net's output.
    licence, source, paper, notes : str
        For people.
    path : Path
        The card's own file.
    """

    name: str
    prototxt: str
    weights: Weights
    title: str = ""
    aliases: tuple[str, ...] = ()
    labels: str | None = None
    mean: Mean | None = None
    input_size: int | None = None
    cam: bool = True
    feature_blob: str | None = None
    class_layer: str | None = None
    score_blob: str | None = None
    licence: str = ""
    source: str = ""
    paper: str = ""
    notes: str = ""
    path: Path = field(default=Path(), metadata=NOT_WRITTEN)

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]*", self.name):
            raise ValueError(f"name {self.name!r} has more than letters, digits and . _ + -")
        if self.input_size is not None and not 1 <= self.input_size <= 4096:
            raise ValueError(f"input_size {self.input_size} is outside 1…4096")
        if self.class_layer is not None and (self.feature_blob is None or not self.cam):
            raise ValueError("class_layer needs a feature_blob, and cam not false")


def read_card(path: Path, means: Path) -> Card:
    """Read and check a card.

    Parameters
    ----------
    path : Path
        The YAML file, at most 64 KiB.
    means : Path
        Folder of the bundled means, which a card may call by name.

    Raises
    ------
    FormatError
        The file is no YAML, or a key is unknown, missing, twice there, or of the wrong type.
    """
    content = _read_yaml(path)
    if isinstance(content, dict) and isinstance(name := content.get("mean"), str):
        bundled = {file.stem: file for file in means.glob("*.yaml")}
        if name not in bundled:
            known = ", ".join(sorted(bundled))
            raise FormatError(f"{path}: mean: {name!r} is none of {known}; or give value: [B, G, R]")
        content["mean"] = _read_yaml(bundled[name])
    card = _record(Card, content, str(path))
    weights = replace(card.weights, folder=path.parent)
    mean = card.mean
    if mean is not None and mean.image is not None:
        mean = replace(mean, image=replace(mean.image, folder=path.parent))
    return replace(card, path=path, weights=weights, mean=mean)


def read_mean_card(path: Path) -> Mean:
    """Read and check a bundled mean; errors as those of `read_card`."""
    return _record(Mean, _read_yaml(path), str(path))


class _Loader(yaml.SafeLoader):
    """YAML's plain types only, no key twice (YAML would keep the last without a word), no merging of mappings."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        mapping = super().construct_mapping(node, deep=deep)
        if len(mapping) != len(node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key is there twice", node.start_mark)
        return mapping

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        # Some lines of nested merges would take years.
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(None, None, "<< is not taken, write it out", key.start_mark)


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


def _record(cls: type[_T], content: Any, where: str) -> _T:
    """Make the dataclass `cls` from a YAML mapping; `where` is the file and the keys down to here."""
    if not isinstance(content, dict):
        raise FormatError(f"{where}: keys and values expected, {_kind(content)} found")
    known = {item.name: item for item in fields(cls) if item.metadata.get("written", True)}  # type: ignore[arg-type]
    for key in content:
        if key not in known:
            raise FormatError(f"{where}: unknown key {str(key)[:40]!r}; there are {', '.join(known)}")
    for key, item in known.items():
        if key not in content and item.default is MISSING and item.default_factory is MISSING:
            raise FormatError(f"{where}: the key {key!r} is missing")
    hints = get_type_hints(cls)
    values = {key: _value(hints[key], value, f"{where}: {key}") for key, value in content.items()}
    try:
        return cls(**values)
    except ValueError as error:
        raise FormatError(f"{where}: {error}") from None


def _value(hint: Any, value: Any, where: str) -> Any:
    """Check one value against the type that its dataclass field states."""
    if get_origin(hint) is types.UnionType:
        if value is None:
            return None
        hint = next(option for option in get_args(hint) if option is not type(None))
    if is_dataclass(hint):
        shorthand = isinstance(value, str) and "file" in hint.__dataclass_fields__
        return _record(cast(type[Any], hint), {"file": value} if shorthand else value, where)
    if get_origin(hint) is tuple and isinstance(value, list):
        first, *rest = get_args(hint)
        if rest != [...] and len(value) != 1 + len(rest):
            raise FormatError(f"{where}: {1 + len(rest)} values expected, {len(value)} found")
        return tuple(_value(first, item, f"{where}[{index}]") for index, item in enumerate(value))
    if get_origin(hint) is Mapping and isinstance(value, dict):
        return {_value(str, key, where): _value(str, item, f"{where}: {key}") for key, item in value.items()}
    if hint is float and type(value) is int and abs(value) < 2**53:
        value = float(value)
    if type(value) is not hint or (hint is float and not math.isfinite(value)):
        quotes = " (put quotes around it)" if hint is str and type(value) in (int, float, bool) else ""
        raise FormatError(f"{where}: {_NOUNS[get_origin(hint) or hint]} expected, {_kind(value)} found{quotes}")
    if hint is str and not value.isprintable():
        raise FormatError(f"{where}: a control character or a line break in the text")
    return value


_NOUNS: dict[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple: "a list",
    Mapping: "keys and values",
}


def _kind(value: Any) -> str:
    if isinstance(value, (dict, list)):
        return "a list" if isinstance(value, list) else "keys and values"
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a huge number"
    return "nothing" if value is None else f"{str(value)[:40]!r}"


def _refuse_wrong_checksum(key: str, value: str) -> None:
    digits = DIGITS.get(key, 64)
    if not re.fullmatch(rf"[0-9a-f]{{{digits}}}", value):
        raise ValueError(f"{key}: {digits} hexadecimal digits expected, {value[:80]!r} found")
