"""Presentation: the HTML report, its viewer, and the local server.

Code that presents predictions and runs belongs here. Code that computes results does not, nor do tables
(`pycam.tables`).
"""
