"""What a run shows, in sentences whose every number comes from its rows.

A sentence is only made where the uncertainty allows it: an interval that does not reach the
control's, a q over all heads, a control of removal that is surely smaller. Texts are plain: names
of models and labels are in them as they are, and whoever makes a page of them escapes it.

finding.py  a finding, what a kind of them states of one model, and how kinds are registered
dated.py    the onsets that a page marks
chosen.py   `findings`: the few most important, and what is said where there are none
halves.py   where half of a change is reached
values.py   values with their intervals, and which of two is surely larger
kinds/      one file for each kind; another file there adds one
"""
