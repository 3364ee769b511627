"""The release's MATLAB scripts and functions under their own names, with MATLAB's array layout.

A module a file of the release, a function of the same name in it. README.md lists them.
"""
