"""Rows as pictures: everything here only draws what a run holds.

figures.py   DataFrame -> Figure
style.py     axes, colours and text that all figures share
report.py    rows -> one self-contained HTML document
run.py       a run -> its report
"""
