"""Models and seeds beside each other.

by_index.py      refuses to compare heads of two models by their index
align.py         values at the same step, number of tokens or loss
loss.py          where in training a model is at a loss
intervals.py     differences with their 95 % intervals
items.py         differences paired by item
pairs.py         two models: differences with their intervals, paired by item where they can be
seeds.py         several seeds: bands
distributions.py heads as distributions: summaries, and the distance between two models
matching.py      heads matched by their trajectories
correlation.py   whether two trajectories change together
which_first.py   the onsets of two models, and whose came first
sides.py         the models of some runs: rows, items, settings
chosen.py        metrics of those by name
runs.py          two models of runs, or bands of seeds: what `pythia-traj compare` shows
"""
