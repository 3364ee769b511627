"""The zoo: model cards, label lists, checksums, and the verified download of published files.

Everything that is known about a model before it is loaded belongs here. Loading belongs to `pycam.model`; parsing
Caffe's files belongs to `pycam.formats`.
"""

from pycam.zoo.catalog import BUNDLED as BUNDLED
from pycam.zoo.catalog import all_cards as all_cards
from pycam.zoo.catalog import bvlc_mean as bvlc_mean
from pycam.zoo.catalog import cache_folder as cache_folder
from pycam.zoo.catalog import card as card
from pycam.zoo.catalog import card_labels as card_labels
from pycam.zoo.catalog import find_weights as find_weights
from pycam.zoo.catalog import identify as identify
from pycam.zoo.catalog import labels_path as labels_path
from pycam.zoo.catalog import mean_path as mean_path
from pycam.zoo.catalog import models_folder as models_folder
from pycam.zoo.catalog import prototxt_folder as prototxt_folder
from pycam.zoo.catalog import prototxt_path as prototxt_path
from pycam.zoo.catalog import weights_path as weights_path
