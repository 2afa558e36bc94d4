"""A run, or several, as one HTML page: what was measured, what was found, and how.

reading.py    runs -> what the page needs: rows, items, models, states
notes.py      what a reader must know of a run, in sentences
found.py      `pythia_traj.findings`: what runs show, in sentences
examined.py   what is found in runs that were read: onsets, findings, schedules, methods
methods.py    how a run was measured, as plain text
described.py  what experiments say of themselves, without importing them
counts.py     how many tests were made
summary.py    what was run on what, in one sentence
drawings.py   the figures of each experiment, or why there is none
numbers.py    key numbers as they are written
contents.py   rows and what was found -> the contents of a page
page.py       what the template shows
packed.py     figures as a page carries them
report.py     a page -> one self-contained HTML document
templates/    that document, its style sheet, and its script in parts
export.py     figures -> files: svg, pdf and png through one Chrome, html
outputs.py    runs -> the page, its figures and its references in files
plot.py       one metric of a run -> a figure in a file
"""
