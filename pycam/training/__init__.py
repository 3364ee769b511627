"""Training from Caffe's own files: a solver, its nets and data in, caffemodels out; PyTorch computes.

What belongs here is about solvers, data layers and snapshots. The layers themselves belong to `pycam.net` and
`pycam.engines`.
"""
