"""The zoo: which models there are, and where their files lie on this machine.

Nets and cards come with pycam: in the folders `prototxt/` and `models/` of a checkout, in `pycam/data/` of an
installed package. Weights and mean images are looked for in this order:

1. beside a card of the user's own;
2. in the folders that `PYCAM_MODELS` names, and their subfolders;
3. in the bundled `models/`;
4. in the user's cache: `PYCAM_CACHE`, or the platform's usual place.

What lies in 1 and 2 is the user's choice and is used as it is. What lies in 3 and 4 must be the published
file, by its checksum. Where none was ever published, the file must fit the net when it is first used, and
must not change after that: its SHA-256 is pinned in a small file beside it. A pin counts wherever it lies.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from pycam.errors import ModelError, PycamError, suggest
from pycam.formats.files import is_file
from pycam.zoo.cards import Card, Mean, PublishedFile, read_card, read_mean_card
from pycam.zoo.checksums import checksum, pin_file, pinned
from pycam.zoo.checksums import pin as write_pin
from pycam.zoo.labels import Labels, read_labels

PACKAGE = Path(__file__).parents[1]

BUNDLED = "squeezenet-cam-caltech101"
"""The model whose weights come with pycam."""


def models_folder() -> Path:
    """Return the bundled folder of cards, labels and demo weights."""
    return _bundled("models")


def prototxt_folder() -> Path:
    """Return the bundled folder of deploy nets."""
    return _bundled("prototxt")


def cache_folder() -> Path:
    """Return the folder that downloads go to; it need not be there."""
    if named := os.environ.get("PYCAM_CACHE"):
        return Path(named).expanduser()
    from platformdirs import user_cache_path

    return user_cache_path("pycam")


def all_cards() -> list[Card]:
    """Return the bundled cards, by name."""
    return list(_read_cards(models_folder()))


def card(name: str | Path) -> Card:
    """Return a model's card.

    Parameters
    ----------
    name : str or Path
        A bundled model's name or alias, in any case, or the path of a card (`my-card.yaml`).

    Raises
    ------
    ModelError
        There is no such model (the nearest name is offered) or card.
    FormatError
        The card is wrong.
    """
    text = str(name)
    if text.endswith((".yaml", ".yml")):
        if not is_file(text):
            raise ModelError(f"no model card {text}; `pycam models list` shows the models that need none")
        return read_card(Path(text), models_folder() / "mean")
    known = {_fold(alias): entry for entry in all_cards() for alias in (entry.name, *entry.aliases)}
    if _fold(text) in known:
        return known[_fold(text)]
    raise ModelError(
        f"no model is called {text!r}: {suggest(_fold(text), known, 'no name is similar;')} "
        "`pycam models list` shows all, a card of your own ends in .yaml"
    )


def prototxt_path(card: Card) -> Path:
    """Return the card's deploy net: beside the card, or the bundled one of that name."""
    for path in (card.path.parent / card.prototxt, prototxt_folder() / card.prototxt):
        if is_file(path):
            return path
    raise ModelError(f"{card.path}: prototxt: {card.prototxt} is neither beside the card nor in {prototxt_folder()}")


def labels_path(card: Card) -> Path | None:
    """Return the card's label file, a bundled list or a file beside the card; None when it names none."""
    if card.labels is None:
        return None
    bundled = {path.stem: path for path in (models_folder() / "labels").glob("*.tsv")}
    path = bundled.get(card.labels, card.path.parent / card.labels)
    if not is_file(path):
        raise ModelError(f"{card.path}: labels: no file {path}; bundled are {', '.join(sorted(bundled))}")
    return path


def card_labels(card: Card) -> Labels | None:
    """Return the card's labels, None when it names none."""
    path = labels_path(card)
    return read_labels(path) if path else None


def weights_path(card: Card, download: bool = False) -> Path:
    """Return where the card's caffemodel lies on this machine.

    Parameters
    ----------
    card : Card
        The model.
    download : bool
        Whether to download it when it is not there, or is damaged in the cache.

    Raises
    ------
    ModelError
        It is not there (the message names file, address, place and command), it is not the published file, or
        the download failed.
    """

    def fits(path: Path) -> None:
        from pycam.net import read_net

        read_net(prototxt_path(card), path)

    name = card.name if card.path.parent == models_folder() else str(card.path)
    return _right_file(card.weights, fits, download, f"pycam models download {name}")


def mean_path(mean: Mean, download: bool = False) -> Path:
    """Return where a mean image lies on this machine; parameters and errors as those of `weights_path`."""

    def fits(path: Path) -> None:
        from pycam.formats.mean import read_mean

        read_mean(path)

    if mean.image is None:
        raise ModelError("the model's card names a mean value and no mean image: give one with `--mean FILE`")
    return _right_file(mean.image, fits, download, "pycam models download MODEL --mean")


def bvlc_mean() -> Mean:
    """Return BVLC's mean of ILSVRC 2012, which the release subtracts."""
    return read_mean_card(models_folder() / "mean" / "ilsvrc-2012.yaml")


def find_weights(card: Card) -> Path | None:
    """Return where the card's caffemodel lies, unchecked, or None."""
    return _find(card.weights)


def identify(card: Card, path: Path) -> str:
    """Tell in a few words whether a caffemodel is the card's published one, as far as this can be known."""
    if checksums := card.weights.checksums:
        right = all(checksum(path, kind) == expected for kind, expected in checksums.items())
        return "the published file" if right else "not the published file"
    if layer_sha256 := card.weights.layer_sha256:
        from pycam.formats import caffemodel

        layers = caffemodel.read(path).layers
        for layer, expected in layer_sha256.items():
            if layer not in layers or sha256(layers[layer][0].astype("<f4").tobytes()).hexdigest() != expected:
                return f"not the published weights: {layer} differs"
        return f"the published weights, by their {', '.join(layer_sha256)}"
    return "as when it was first used" if pinned(path) else "nothing was published to compare it with"


def _right_file(file: PublishedFile, fits: Callable[[Path], None], download: bool, command: str) -> Path:
    """Find a file and check it, or download it."""
    found = _find(file)
    if found is not None:
        try:
            return _checked(found, found, file, fits)
        except PycamError:
            if not (download and _is_kept_by_pycam(found)):
                raise
    elif not download:
        raise ModelError(_how_to_get(file, command))
    from pycam.zoo.download import fetch

    target = cache_folder() / file.names[0]
    fetch(file, target, lambda arrived: _checked(arrived, target, file, fits))
    return _checked(target, target, file, fits)


def _find(file: PublishedFile) -> Path | None:
    own = file.folder / file.file if file.folder not in (None, models_folder()) else None
    paths = (folder / name for folder in _folders() for name in file.names)
    return next((path for path in (own, *paths) if path is not None and is_file(path)), None)


def _folders() -> Iterator[Path]:
    for named in _named_folders():
        yield named
        yield from sorted(folder for folder in named.glob("*") if folder.is_dir())
    yield models_folder()
    yield cache_folder()


def _named_folders() -> list[Path]:
    return [Path(name).expanduser() for name in os.environ.get("PYCAM_MODELS", "").split(os.pathsep) if name]


def _is_kept_by_pycam(path: Path) -> bool:
    return path.parent in (models_folder(), cache_folder())


def _checked(path: Path, place: Path, file: PublishedFile, fits: Callable[[Path], None]) -> Path:
    """Return `path` if what is in it may lie at `place`; pin it there when that is its first use."""
    kept = _is_kept_by_pycam(place)
    for kind, expected in file.checksums.items() if kept else ():
        if (found := checksum(path, kind)) != expected:
            raise ModelError(
                f"{place}: not the published file: its {kind} is {found}, published is {expected}; "
                "download it again, or keep it in a folder that PYCAM_MODELS names"
            )
    pin = pinned(place)
    if pin is not None and (found := checksum(path, "sha256")) != pin:
        raise ModelError(
            f"{place}: not the file that was first used: its SHA-256 is {found}, pinned is {pin}; "
            f"delete {pin_file(place)} to accept it"
        )
    if kept and not file.checksums and pin is None:
        fits(path)
        if path == place:
            # A cache that cannot be written is not pinned: nobody can change its files either.
            with suppress(OSError):
                write_pin(place)
    return path


def _how_to_get(file: PublishedFile, command: str) -> str:
    missing = [str(folder) for folder in _named_folders() if not folder.is_dir()]
    notes = f" (no such folder in PYCAM_MODELS: {', '.join(missing)})" if missing else ""
    address = f"run `{command}`, or get {file.mirrors[0]} and" if file.mirrors else "no address is known:"
    place = f"{cache_folder()}, or a folder that PYCAM_MODELS names"
    return f"{file.names[0]} is not on this machine{notes}: {address} put it into {place}"


def _bundled(name: str) -> Path:
    # The installed package first: beside it in site-packages another project's `models/` may lie.
    for folder in (PACKAGE / "data" / name, PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise ModelError(f"{PACKAGE}: {name}/ is missing, install pycam again")


@lru_cache
def _read_cards(folder: Path) -> tuple[Card, ...]:
    paths = sorted(folder.glob("*.yaml"), key=lambda path: path.stem)
    return tuple(read_card(path, folder / "mean") for path in paths)


def _fold(name: str) -> str:
    return name.casefold().replace("_", "-")
