"""Units: the channels of a net's features, how much each adds to the score of a class, where, and for which images.

What is computed of single channels belongs here: their accounts, their best images, and the parts of these images that
they respond to. Class activation maps belong to `pycam.maps`, drawing to `pycam.drawing`, and the figure of the paper
to `pycam.paper`.
"""
