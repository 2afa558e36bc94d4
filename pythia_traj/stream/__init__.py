"""A step -> its open files -> its weights in a model.

Sweeps and users' own loops use it; it knows nothing of units, runs or rows.

published.py    a model's name -> its published checkpoints
agreement.py    the model of most steps of a request, and the steps that do not belong to it
prefetch.py     the next checkpoints, opened ahead in a background thread
weights.py      one HookedTransformer, and the checkpoints whose weights go into it
session.py      one model's weights and those of its references, swapped in as they are asked for
flaws.py        weights that hold NaN or infinity, in words
checkpoints.py  `checkpoints()`: a model at one step after another, for a user's own loop
"""
