"""Kinds of ablation: a file here that defines `KIND`, or a tuple of them, adds one.

kind.py    what a kind is
kinds.py   those that there are
"""
