"""Caffe's files, read and written: prototxt, caffemodel, mean, NumPy and MATLAB weights, LMDB; and text files by lines.

Code that converts bytes to checked values and back belongs here. The meaning of a net belongs to `pycam.net`.
"""
