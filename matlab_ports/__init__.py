"""The MATLAB scripts and functions of the release under their own names, with MATLAB's array layout.

There is one module per file of the release, with a function of the same name. README.md lists them.
"""
