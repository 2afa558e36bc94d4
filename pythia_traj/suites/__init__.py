"""Suites and models as data: where checkpoints lie, which steps there are.

local.py   a directory of checkpoints
"""
