"""The page on which a net runs in its reader's browser.

What makes the page belongs here, with the scripts of the page in `browser/`. What shows an image and its maps does not:
the viewer is in `pycam.report`.
"""
