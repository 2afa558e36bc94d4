"""The kinds of findings, one a file: each defines `KIND`, or several in a tuple.

A kind takes the chosen rows of one model and label, and the onsets of it, and states what is sure.
It asks for rows by metric, never by label, and names no experiment.

taking_off.py    when heads take off, by prefix matching and by attention to the previous token
answers.py       accuracy on tasks
copies.py        loss on the second copy of random tokens
removed.py       what removing heads costs
circuit.py       how few edges are faithful
roles.py         roles of heads
text.py          loss on text
nearest_ngram.py the n-gram model that predictions are nearest to
probes.py        accuracy and selectivity of probes
memorized.py     training sequences that are continued as trained
whole.py         other metrics of the whole model
"""
