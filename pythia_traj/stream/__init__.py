"""A step -> its open files -> its weights in a model.

It serves a sweep and a loop of one's own alike, and knows no unit, run or row.

published.py    a model's name -> its published checkpoints
agreement.py    which model the steps of a request are of, and the steps that are not of it
prefetch.py     the next checkpoints, opened ahead in a background thread
weights.py      one HookedTransformer, and the checkpoints whose weights go into it
session.py      one model's weights and those of its references, swapped in as they are asked for
flaws.py        weights that hold NaN or infinity, in words
checkpoints.py  `checkpoints()`: a model at one step after another, for a loop of one's own
"""
