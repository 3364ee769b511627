"""Maps: the CAM formula, the ten-crop merge, gradients, the place of a map on the image, and boxes.

What belongs here takes feature maps or maps and gives maps or boxes, as arrays. Running a net belongs to
`pycam.engines`, drawing to `pycam.drawing`, and comparing boxes with ground truth to `pycam.ilsvrc`.
"""
