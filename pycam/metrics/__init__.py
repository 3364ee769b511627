"""Metrics on arrays: figures, intervals and tests, computed from arrays alone.

Functions of NumPy arrays that know no file and no data set belong here. Reading ground truth and predictions does not.
"""
