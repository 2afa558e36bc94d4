"""One page of one or several runs, and its figures as files.

reading.py   runs -> what the page needs: rows, items, models, states, and what a reader must know
notes.py     what a reader must know of a run, in sentences
"""
