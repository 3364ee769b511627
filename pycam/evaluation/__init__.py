"""Long runs over many images that survive interruption: plan, store, workers, cluster, results, ablation.

Modules here run a model over a data set and store its predictions. Metrics belong to `pycam.ilsvrc`, and pages to
`pycam.report`.
"""
