"""The ILSVRC localization task and the WSOL benchmark: ground truth, submission files, maps, and their scores.

Modules here read files and compare predictions with ground truth. The metrics themselves, on arrays, belong to
`pycam.metrics`, running a model over a data set to `pycam.evaluation`.
"""
