"""The paper's tables and figures: its published values beside those of our runs.

Modules here have a meaning only in comparison with the paper. Computing errors belongs to `pycam.evaluation` and
`pycam.ilsvrc`, and the formats of tables to `pycam.tables`.
"""
