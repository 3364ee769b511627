"""The zoo: model cards, label lists, checksums, and the verified download of published files.

Everything that is known about a model before it is loaded belongs here. Loading belongs to `pycam.model`; parsing
Caffe's files belongs to `pycam.formats`.
"""

from pycam.zoo.catalog import (
    BUNDLED as BUNDLED,
    all_cards as all_cards,
    bundled_labels as bundled_labels,
    bvlc_mean as bvlc_mean,
    cache_folder as cache_folder,
    card as card,
    card_labels as card_labels,
    find_weights as find_weights,
    identify as identify,
    labels_path as labels_path,
    mean_path as mean_path,
    models_folder as models_folder,
    prototxt_folder as prototxt_folder,
    prototxt_path as prototxt_path,
    solver_path as solver_path,
    training_command as training_command,
    weights_path as weights_path,
)
