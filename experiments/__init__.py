"""One experiment a file.

A file in this folder is found without being registered. It imports only engines, data, errors,
experiment, processing, schema and values.
"""
