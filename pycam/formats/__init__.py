"""Caffe's files, both ways: prototxt, caffemodel, mean, NumPy and MATLAB weights, LMDB; safe reading and writing.

What belongs here turns bytes into checked values and back. Nothing here knows what a net means.
"""
