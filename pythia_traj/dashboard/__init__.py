"""Rows as pictures: everything here only draws what `pythia_traj.analysis` chooses from a run.

figures.py   DataFrame -> Figure
circuits.py  the same of ablations, circuits and roles
learning.py  the same of n-grams and probes
style.py     axes, colours and text that all figures share
charts.py    which figures the page has, with headings and captions
page.py      rows -> the contents of the page's template
report.py    rows -> one self-contained HTML document
*.jinja      templates of that document, its style sheet and its script
run.py       a run -> its report
"""
