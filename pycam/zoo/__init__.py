"""The zoo: model cards, label lists, checksums, and the verified download of what was published.

What is known about a model before it is loaded belongs here. Loading it belongs to `pycam.model`; parsing Caffe's files
belongs to `pycam.formats`.
"""

from pycam.zoo.catalog import (
    BUNDLED,
    all_cards,
    bvlc_mean,
    cache_folder,
    card,
    card_labels,
    find_weights,
    identify,
    labels_path,
    mean_path,
    models_folder,
    prototxt_folder,
    prototxt_path,
    weights_path,
)

__all__ = [
    "BUNDLED",
    "all_cards",
    "bvlc_mean",
    "cache_folder",
    "card",
    "card_labels",
    "find_weights",
    "identify",
    "labels_path",
    "mean_path",
    "models_folder",
    "prototxt_folder",
    "prototxt_path",
    "weights_path",
]
