"""The paper's tables and figures: its published values, and those of our runs beside them.

What only makes sense next to the paper belongs here. Computing errors belongs to `pycam.evaluation` and
`pycam.ilsvrc`, and the forms that tables are written in to `pycam.tables`.
"""
