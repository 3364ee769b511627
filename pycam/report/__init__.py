"""What people read of results: tables in every form, the HTML report, and the local server.

What computes results does not belong here.
"""
