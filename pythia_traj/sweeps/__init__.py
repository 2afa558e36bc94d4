"""A request -> units -> rows in a run.

published.py   a model's name -> its published checkpoints, and the files of a unit
plan.py        which units are to be done, in which order: config and what is done -> units, pure
cost.py        forward passes and seconds of a step, before it is begun
datasets.py    the data of a sweep, built once, and which experiments read the same tokens
forward.py     one forward pass for all experiments that read the same tokens
session.py     one model's weights and those of its references, swapped in as units need them
measure.py     units of a step -> rows
failure.py     an exception -> what of it is recorded
record.py      what happened to a unit -> its files, the log, the result
runner.py      the loop: swap, measure, write
stream.py      `checkpoints()`: the same stream of weights for a loop of one's own
status.py      how far a run is, from its files
"""
