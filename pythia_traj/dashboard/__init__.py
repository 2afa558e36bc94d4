"""Rows as pictures: everything here only draws what a run holds.

figures.py   DataFrame -> Figure
circuits.py  the same of ablations, circuits and roles
learning.py  the same of n-grams and probes
roles.py     roles of heads as timelines
style.py     axes, colours and text that all figures share
report.py    rows -> one self-contained HTML document
run.py       a run -> its report
"""
