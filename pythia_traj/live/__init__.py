"""Runs that are watched while they are written: what changed, and the rows of a choice.

watched.py    several runs as one: looked at again and again, each file opened once
runs.py       one of them: its units, its notes, its tables
choice.py     what a reader of the page chose, and its form in an address
offered.py    what there is to choose, and a choice that fits it
view.py       the rows of a choice
moment.py     what is shown of one step: patterns, samples

It knows no server and no page: what a dashboard asks, a notebook may ask too.
"""
