"""The ILSVRC localization task: ground truth, submission files, errors, and the WSOL benchmark.

Modules here compare predictions with ground truth, on arrays. Running a model over a data set belongs to
`pycam.evaluation`.
"""
