"""The maps of a run, saved for other programs: a folder with one `.npy` for each image, and a manifest.

The parent process writes each map before it stores the result of the image, so that a finished image has its map,
whenever the run is stopped.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pycam.errors import GroundTruthError, UsageError
from pycam.evaluation.record import RECORD, Result
from pycam.formats.files import atomic_write, exists, is_file
from pycam.ilsvrc.manifest import MANIFEST, Manifest, read_manifest
from pycam.ilsvrc.names import image_name


@dataclass(frozen=True)
class SavedMaps:
    """The folder of a run's maps.

    Attributes
    ----------
    folder : Path
        The folder.
    manifest : Manifest
        What it holds.
    names : sequence of str
        Names of all images of the run, by position.
    """

    folder: Path
    manifest: Manifest
    names: Sequence[str]

    def begin(self) -> None:
        """Make the folder and write the manifest, or check that the folder is that of this run.

        Raises
        ------
        UsageError
            The folder holds something else; the message names what differs.
        OSError
            The manifest cannot be written.
        """
        try:
            found = read_manifest(self.folder)
        except GroundTruthError as error:
            raise UsageError(f"{error}: name another --save-maps") from None
        if found is None:
            if exists(self.folder) and any(self.folder.iterdir()):
                raise UsageError(
                    f"{self.folder}: has files, but no {MANIFEST} of a run: name an empty or new folder for --save-maps"
                )
            self.folder.mkdir(parents=True, exist_ok=True)
            atomic_write(self.folder / MANIFEST, self.manifest.text())
        elif found != self.manifest:
            names = ", ".join(_differences(found, self.manifest))
            raise UsageError(
                f"{self.folder}: holds maps of another run, which differs in {names}: name another --save-maps"
            )

    def has(self, position: int) -> bool:
        """Return whether the map of the image at a position is there."""
        return is_file(self._path(position))

    def write(self, results: Iterable[Result]) -> None:
        """Write the maps of results, each atomically; failed images have none."""
        for result in results:
            if result.error:
                continue
            record = np.frombuffer(result.record, RECORD)[0]
            crops, _, height, width = record["maps"].tolist()
            maps = np.frombuffer(result.true_maps, "<f4").reshape(crops, height, width)
            content = io.BytesIO()
            np.save(content, self.manifest.array(maps, tuple(record["size"].tolist())))
            atomic_write(self._path(result.position), content.getvalue())

    def _path(self, position: int) -> Path:
        return self.folder / f"{image_name(self.names[position])}.npy"


def _differences(found: Manifest, expected: Manifest) -> list[str]:
    """Return the names of what differs."""
    own = [name for name in vars(expected) if name != "identity" and getattr(found, name) != getattr(expected, name)]
    names = {**found.identity, **expected.identity}
    return own + [name for name in names if found.identity.get(name) != expected.identity.get(name)]
