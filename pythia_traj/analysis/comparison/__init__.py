"""Models and seeds beside each other.

by_index.py      refuses to compare heads of two models by their index
align.py         values at the same step, number of tokens or loss
pairs.py         two models: differences with their intervals, paired by item where they can be
seeds.py         several seeds: bands
distributions.py heads as distributions: summaries, and the distance between two models
matching.py      heads matched by their trajectories
correlation.py   whether two trajectories change together
runs.py          two runs or more, read from their directories
"""
