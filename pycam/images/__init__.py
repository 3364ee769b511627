"""Arithmetic on images before and after the net: every resizer, MATLAB's `imresize`, min-max scaling.

What belongs here takes an array and gives an array, and knows neither a net nor a protocol. Colours, captions, and
everything else that is made to be looked at belong in `pycam.drawing`.
"""
