"""The page of a model: a static page whose net runs in the reader's browser.

Code that writes such a page and the scripts that run only in it belong here, and so does what finds the engine that
runs the net there. The viewer does not (`pycam.report`), nor does the ONNX export (`pycam.engines`).
"""
