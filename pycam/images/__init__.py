"""Images before and after the net: reading them, every resizer, the crops of a view, MATLAB's `imresize`, scaling.

What belongs here takes an image or an array and gives an array, and knows neither a net nor a protocol. Colours,
captions, and everything else that is made to be looked at belong to `pycam.drawing`.
"""
