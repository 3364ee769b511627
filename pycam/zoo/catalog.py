"""The catalog of models, and the places of their files on this machine.

Nets and cards are part of pycam: they are in the folders `prototxt/` and `models/` of a checkout, and in `pycam/data/`
of an installed package. pycam searches for weights and mean images in this order:

1. beside the user's own card;
2. in the folders that `PYCAM_MODELS` names, and their subfolders;
3. in the bundled `models/`;
4. in the user's cache: `PYCAM_CACHE`, or the platform's usual place.

Files in 1 and 2 are the user's choice and are used without a check. Files in 3 and 4 must have the published checksum.
If no checksum was published, the file must fit the net when it is first used, and must not change after that: its
SHA-256 is pinned in a small file beside it. A pin is respected in every place.
"""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from hashlib import sha256
from itertools import chain
from pathlib import Path

from pycam.errors import ModelError, PycamError, near_names, suggest, system_error
from pycam.formats.files import is_file
from pycam.formats.opening import FROM_TORCH, PYTORCH
from pycam.zoo.cards import Card, Mean, PublishedFile, read_card, read_mean_card
from pycam.zoo.checksums import checksum, pin as write_pin, pin_file, pinned
from pycam.zoo.label_files import read_labels
from pycam.zoo.labels import Labels

PACKAGE = Path(__file__).parents[1]

BUNDLED = "squeezenet-cam-caltech101"
"""Name of the model whose weights are part of pycam."""


def models_folder() -> Path:
    """Return the bundled folder of cards, labels and demo weights."""
    return _bundled("models")


def prototxt_folder() -> Path:
    """Return the bundled folder of deploy nets."""
    return _bundled("prototxt")


def cache_folder() -> Path:
    """Return the folder of downloaded files; it may not exist yet.

    Raises
    ------
    ModelError
        It would be in a home directory, and none is known.
    """
    from platformdirs import user_cache_path

    named = os.environ.get("PYCAM_CACHE")
    try:
        # Some versions of platformdirs leave a `~` that they do not know, which would be a folder of this name here.
        return (Path(named) if named else user_cache_path("pycam")).expanduser()
    except RuntimeError:
        raise ModelError(
            f"{f'PYCAM_CACHE is {named}' if named else 'downloaded files are kept in the home directory'}, but no home "
            "directory is known: set HOME, or set PYCAM_CACHE to the whole path of a folder"
        ) from None


def all_cards() -> list[Card]:
    """Return the bundled cards, in the order of their names."""
    return [_read_card(path) for path in _card_paths().values()]


def card(name: str | Path) -> Card:
    """Return a model's card.

    Parameters
    ----------
    name : str or Path
        A bundled model's name or alias, in any case, or the path of a card (`my-card.yaml`).

    Raises
    ------
    ModelError
        There is no such model or card; the message suggests the most similar name.
    FormatError
        The card is not valid, see `read_card`.
    """
    text = str(name)
    if text.endswith((".yaml", ".yml")):
        if not is_file(text):
            raise ModelError(f"no model card {text}; `pycam models list` shows the models that need no card")
        return read_card(Path(text), models_folder() / "mean")
    if _fold(text) in (paths := _card_paths()):
        return _read_card(paths[_fold(text)])  # without the others
    if text.lower().endswith((".caffemodel", ".prototxt")):
        raise ModelError(f"{text}: a file of a model, not its name or card: give both a prototxt and its weights")
    if text.lower().endswith((".pth", ".pt")):
        raise ModelError(f"{text}: {PYTORCH}, not the name of a model: {FROM_TORCH}")
    known = {_fold(alias): entry for entry in all_cards() for alias in (entry.name, *entry.aliases)}
    if _fold(text) in known:
        return known[_fold(text)]
    near = near_names(_fold(text), known)
    # Of the near names of a model, the first is enough: its own one comes before its aliases.
    first = {entry.name: alias for alias, entry in reversed(known.items()) if alias in near}
    raise ModelError(
        f"no model is called {text!r}: {suggest(_fold(text), first.values(), 'no name is similar;')} "
        "`pycam models list` shows all models; the name of your own card must end in .yaml"
    )


def prototxt_path(card: Card) -> Path:
    """Return the path of the card's deploy net: beside the card, or the bundled one of that name.

    Raises
    ------
    ModelError
        There is no such file, or the card names an ONNX file.
    """
    if card.onnx:
        raise ModelError(f"{card.path}: the card names an ONNX file, which is the net too, and no prototxt")
    return _prototxt(card, "prototxt", card.prototxt)


def training_command(card: Card) -> str:
    """Return the command that trains a card's weights, if they were never published; else an empty text.

    The command is the same on every machine: it asks for the paths.

    Raises
    ------
    ModelError
        There is no such solver.
    """
    if solver_path(card) is None:
        return ""
    weights = card.weights
    command = f'pycam train --solver "$(pycam models path {_named(card)} --of solver)"'
    return f'{command} --weights "$(pycam models path {weights.initial})"' if weights.initial else command


def solver_path(card: Card) -> Path | None:
    """Return the path of the solver that trains a card's weights: beside the card, or the bundled one of that name.

    None if the weights were published.

    Raises
    ------
    ModelError
        There is no such file.
    """
    return None if card.weights.solver is None else _prototxt(card, "solver", card.weights.solver)


def _named(card: Card) -> str:
    """Return how a command names a card: by its name if it is bundled, else by its file."""
    return card.name if card.path.parent == models_folder() else shlex.quote(str(card.path))


def _prototxt(card: Card, key: str, name: str) -> Path:
    for path in (card.path.parent / name, prototxt_folder() / name):
        if is_file(path):
            return path
    raise ModelError(f"{card.path}: {key}: {name} is neither beside the card nor in {prototxt_folder()}")


def labels_path(card: Card) -> Path | None:
    """Return the path of the card's labels, a bundled list or a file beside the card; None if the card names none.

    Raises
    ------
    ModelError
        There is no such file.
    """
    if card.labels is None:
        return None
    bundled = {path.stem: path for path in (models_folder() / "labels").glob("*.tsv")}
    path = bundled.get(card.labels, card.path.parent / card.labels)
    if not is_file(path):
        raise ModelError(f"{card.path}: labels: no file {path}; the bundled lists are {', '.join(sorted(bundled))}")
    return path


def bundled_labels(name: str) -> Labels:
    """Return a bundled list of labels: `ilsvrc` or `places205`."""
    return read_labels(models_folder() / "labels" / f"{name}.tsv")


def card_labels(card: Card) -> Labels | None:
    """Return the card's labels, None if the card names none."""
    path = labels_path(card)
    return read_labels(path) if path else None


def weights_path(card: Card, download: bool = False) -> Path:
    """Return the path of the card's caffemodel or ONNX file on this machine, after the checks that its place needs.

    Parameters
    ----------
    card : Card
        The model.
    download : bool
        Download the file if it does not exist, or if the file in the cache is damaged.

    Returns
    -------
    Path

    Raises
    ------
    ModelError
        The file does not exist (the message gives its name, address, place and the command to download it), it is
        not the published file, or the download failed.
    """
    from pycam.formats.onnx_file import read_onnx_file
    from pycam.net import read_net

    if card.weights.solver is not None and find_weights(card) is None:
        raise ModelError(
            f"{card.weights.names[0]} is not on this machine{_missing_folders()}: weights of {card.name} were never "
            f"published: train them with `{training_command(card)}`, and put the file into {_places()}"
        )

    def fits(path: Path) -> object:
        return read_onnx_file(path) if card.onnx else read_net(prototxt_path(card), path)

    return _checked_file(card.weights, fits, download, _download_command(card))


def _download_command(card: Card | None) -> str:
    if card is None:
        return "pycam models download"
    return f"pycam models download {_named(card)}"


def mean_path(mean: Mean, download: bool = False, card: Card | None = None) -> Path:
    """Return the path of a mean image on this machine; parameters and errors as those of `weights_path`.

    `card` is the model that the mean is for, which the command to download it names.
    """
    from pycam.formats.mean import read_mean

    if mean.image is None:
        raise ModelError("the model's card has a mean value but no mean image: give one with `--mean FILE`")
    return _checked_file(mean.image, partial(read_mean, channels=None), download, f"{_download_command(card)} --mean")


def bvlc_mean() -> Mean:
    """Return BVLC's mean of ILSVRC 2012, the mean that the release subtracts."""
    return read_mean_card(models_folder() / "mean" / "ilsvrc-2012.yaml")


def find_weights(card: Card) -> Path | None:
    """Return the path of the card's caffemodel or ONNX file without checking it, or None if there is none."""
    return _find(card.weights)


def identify(card: Card, path: Path) -> str:
    """Describe in a few words whether a caffemodel is the card's published one.

    Parameters
    ----------
    card : Card
        The model, with the published checksums of its file or of its layers, if there are any.
    path : Path
        The caffemodel to describe.

    Returns
    -------
    str
        Words such as "the published file".
    """
    if checksums := card.weights.checksums:
        right = all(checksum(path, kind) == expected for kind, expected in checksums.items())
        return "the published file" if right else "not the published file"
    if layer_sha256 := card.weights.layer_sha256:
        from pycam.formats import caffemodel

        layers = caffemodel.read(path).layers
        for layer, expected in layer_sha256.items():
            if layer not in layers or sha256(layers[layer][0].astype("<f4").tobytes()).hexdigest() != expected:
                return f"not the published weights: {layer} differs"
        return f"the published weights, according to {', '.join(layer_sha256)}"
    if card.weights.solver is not None:
        return "trained by a user: no weights were published"
    return "the same as at first use" if pinned(path) else "unknown: no checksum was published"


def _checked_file(file: PublishedFile, fits: Callable[[Path], object], download: bool, command: str) -> Path:
    """Find a file and check it, or download it; `fits` raises a `PycamError` if the file is not usable."""
    found = _find(file)
    if found is not None:
        try:
            return _check(found, found, file, fits)
        except PycamError:
            if not (download and file.mirrors and _is_kept_by_pycam(found)):
                raise
    elif not download:
        raise ModelError(_how_to_get(file, command))
    from pycam.zoo.download import fetch

    target = cache_folder() / file.names[0]
    fetch(file, target, lambda arrived: _check(arrived, target, file, fits))
    return _check(target, target, file, fits)


def _find(file: PublishedFile) -> Path | None:
    own = [] if file.folder in (None, models_folder()) else [file.folder / file.file]
    paths = (folder / name for folder in _folders() for name in file.names)
    return next(filter(is_file, chain(own, paths)), None)


def _folders() -> Iterator[Path]:
    for named in _named_folders():
        yield named
        yield from sorted(folder for folder in named.glob("*") if folder.is_dir())
    yield models_folder()
    yield cache_folder()


def _named_folders() -> list[Path]:
    return [Path(name).expanduser() for name in os.environ.get("PYCAM_MODELS", "").split(os.pathsep) if name]


def _is_kept_by_pycam(path: Path) -> bool:
    return path.parent == models_folder() or path.parent == cache_folder()


def _check(path: Path, place: Path, file: PublishedFile, fits: Callable[[Path], object]) -> Path:
    """Return `path` if its content is right for `place`; pin it if it is at `place` and used for the first time."""
    kept = _is_kept_by_pycam(place)
    for kind, expected in file.checksums.items() if kept else ():
        if (found := checksum(path, kind)) != expected:
            raise ModelError(
                f"{place}: this is not the published file: its {kind} is {found}, the published one is {expected}; "
                "download it again, or keep it in a folder that PYCAM_MODELS names"
            )
    pin = pinned(place)
    if pin is not None and (found := checksum(path, "sha256")) != pin:
        raise ModelError(
            f"{place}: this is not the file that was first used: its SHA-256 is {found}, the pinned one is {pin}; "
            f"delete {pin_file(place)} to accept it"
        )
    if kept and not file.checksums and pin is None:
        fits(path)
        if path == place:
            try:
                write_pin(place)
            except OSError as error:
                # A read-only cache needs no pin: its files cannot change.
                if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                    raise ModelError(
                        f"the checksum of {place.name} could not be pinned: {system_error(error)}"
                    ) from None
    return path


def _how_to_get(file: PublishedFile, command: str) -> str:
    address = f"run `{command}`, or get {file.mirrors[0]} and" if file.mirrors else "no address is known;"
    own = file.folder is not None and file.folder.resolve() != _bundled("models").resolve()
    beside = f"{file.folder}, beside the card, " if own else ""
    return f"{file.names[0]} is not on this machine{_missing_folders()}: {address} put it into {beside}{_places()}"


def _missing_folders() -> str:
    missing = [str(folder) for folder in _named_folders() if not folder.is_dir()]
    return f" (PYCAM_MODELS names folders that do not exist: {', '.join(missing)})" if missing else ""


def _places() -> str:
    return f"{cache_folder()}, or a folder that PYCAM_MODELS names"


def _bundled(name: str) -> Path:
    # The installed package first: site-packages may have another project's `models/` beside it.
    for folder in (PACKAGE / "data" / name, PACKAGE.parent / name):
        if folder.is_dir():
            return folder
    raise ModelError(f"{PACKAGE}: {name}/ is missing, install pycam again")


def _card_paths() -> dict[str, Path]:
    """Return the bundled cards' files by the models' names, in their order."""
    return {path.stem: path for path in sorted(models_folder().glob("*.yaml"), key=lambda path: path.stem)}


@lru_cache
def _read_card(path: Path) -> Card:
    return read_card(path, path.parent / "mean")


def _fold(name: str) -> str:
    return name.casefold().replace("_", "-")
