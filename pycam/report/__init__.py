"""What people look at: the HTML report, its viewer, and the local server.

What belongs here presents predictions and runs. What computes results does not, nor do tables (`pycam.tables`).
"""
