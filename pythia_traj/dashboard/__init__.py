"""Rows as pictures: everything here only draws what `pythia_traj.analysis` chooses of a run.

figures.py   DataFrame -> Figure
circuits.py  the same of ablations, circuits and roles
learning.py  the same of n-grams and probes
style.py     axes, colours and text that all figures share
charts.py    which figures the page has, and what stands above them
page.py      rows -> what the page's template is filled with
report.py    rows -> one self-contained HTML document
*.jinja      templates of that document, its style sheet and its script
run.py       a run -> its report
"""
