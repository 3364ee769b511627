"""Caffe's files, read and written: prototxt, caffemodel, mean. Nothing here knows what a net means."""
