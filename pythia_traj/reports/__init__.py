"""A run, or several, as one HTML page: what was measured, what was found, and how.

reading.py   runs -> what the page needs: rows, items, models, states, and what a reader must know
notes.py     what a reader must know of a run, in sentences
page.py      rows -> the contents of the page's template
report.py    contents -> one self-contained HTML document
export.py    figures -> files: svg, pdf and png through one Chrome, html
*.jinja      templates of that document, its style sheet and its script
run.py       a run -> its report
outputs.py   runs -> the page and its figures in files
plot.py      one metric of a run -> a figure in a file
"""
