"""The ILSVRC localization task: ground truth, submission files, errors, and the WSOL benchmark.

What compares predictions with ground truth belongs here, on arrays. Running a model over a data set belongs to
`pycam.evaluation`.
"""
