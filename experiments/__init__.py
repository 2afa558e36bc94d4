"""One experiment a file.

A file here is found by its being here; it imports engines, data, experiment and values, nothing
else.
"""
