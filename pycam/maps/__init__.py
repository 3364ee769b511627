"""Maps: the CAM formula, the ten-crop merge, gradients, the placement of a map on the image, and boxes.

Functions that compute maps or boxes from arrays belong here. These do not belong here: running a net (`pycam.engines`),
drawing (`pycam.drawing`), and the comparison of boxes with ground truth (`pycam.ilsvrc`).
"""
