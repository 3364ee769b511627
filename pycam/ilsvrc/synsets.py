"""The three numberings of ILSVRC's 1000 classes, and the one table that joins them.

- Network index: 0…999, the position of the WordNet ID in sorted order. Networks output it.
- WordNet ID: for example `n01440764`. Annotations contain it.
- ILSVRC2014 ID: 1…1000, in another order. The devkit's files and submission files contain it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from pycam.zoo import models_folder

CLASSES = 1000


@dataclass(frozen=True)
class Synsets:
    """The table, one row per class, in the order of the network's outputs.

    Attributes
    ----------
    wnids : tuple of str
        WordNet ID of each network index.
    ids : (1000,) int64
        ILSVRC2014 ID of each network index.
    index_of_wnid : dict
        Network index of each WordNet ID.
    index_of_id : (1001,) int64
        Network index of each ILSVRC2014 ID; -1 for 0, which is not an ID.
    """

    wnids: tuple[str, ...]
    ids: NDArray[np.int64]
    index_of_wnid: dict[str, int]
    index_of_id: NDArray[np.int64]


@cache
def synsets() -> Synsets:
    """Return the project's own table, `models/labels/ilsvrc.tsv`."""
    table = (models_folder() / "labels" / "ilsvrc.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in table.splitlines()[1:]]
    wnids = tuple(wnid for _, _, wnid, _ in rows)
    ids = np.array([int(number) for _, number, _, _ in rows])
    index_of_id = np.full(CLASSES + 1, -1)
    index_of_id[ids] = np.arange(CLASSES)
    for array in (ids, index_of_id):
        array.flags.writeable = False
    return Synsets(wnids, ids, {wnid: index for index, wnid in enumerate(wnids)}, index_of_id)
