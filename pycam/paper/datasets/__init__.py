"""The data sets of the paper's tables, read from the files that they are published as.

One module per form of files; each gives images with labels, and splits into training and test. Boxes and ILSVRC's own
files belong to `pycam.ilsvrc`, which also reads CUB-200-2011.
"""

from pycam.paper.datasets.labelled import LabelledImages, Split
from pycam.paper.datasets.published import DATA_SETS, DataSet
from pycam.paper.datasets.sun_attribute import AttributeImages

__all__ = ["DATA_SETS", "AttributeImages", "DataSet", "LabelledImages", "Split"]
