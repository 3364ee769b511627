"""Long runs over many images, which survive interruption: plan, store, workers, cluster, results, ablation.

What belongs here drives a model over a data set and keeps what it predicts. Metrics belong to `pycam.ilsvrc`, and pages
to `pycam.report`.
"""
