"""Images before and after the net: reading, all resizers, the crops of a view, MATLAB's `imresize`, scaling.

The functions here take an image or an array and return an array. They know neither nets nor protocols. Colours,
captions and other presentation belong to `pycam.drawing`.
"""
