"""PyTorch, out and in: a net as a module for other tools, and other people's modules as models with maps.

What computes a layer with PyTorch belongs to `pycam.engines`, and maps from gradients to `pycam.maps`. The modules here
import PyTorch when their functions are called.
"""
