"""A request -> units -> rows in a run.

existing.py    what a run holds already, compared with the request
changes.py     how what a unit was made of differs from what it would be made of now, in words
sources.py     what identifies the files of a unit, and their known defects
plan.py        which units to do, in which order: config and what is done -> units, pure
shards.py      a request's steps -> n parts of roughly equal cost, pure
requests.py    a request and its run: what there is to do, written by whoever asks, read by workers
cost.py        forward passes and seconds of a step, before it is begun
datasets.py    the data of a sweep, built once, and which experiments read the same tokens
forward.py     one forward pass for all experiments that read the same tokens
measure.py     units of a step -> rows
failure.py     an exception -> what is recorded of it
record.py      what happened to a unit -> its files, the log, the result
heartbeat.py   whether a worker is alive: the time of change of its log
claims.py      which worker has a step in hand, and who has finished units
upkeep.py      compacting, removing, merging: never beside a worker that writes
stopping.py    the wish to stop between two units
runner.py      one model's units, step by step: swap, measure, write
worker.py      a sweep, or a worker that does a shard and then what nobody works on
goal.py        whose onset a sweep seeks that chooses its steps
search.py      the rows of a model -> the step to measure next, and the record of the choices
refining.py    a sweep that chooses its steps, round by round
journal.py     a worker's log -> what it did last, without parsing what is finished
pace.py        how fast the workers are, and how long the rest will take
status.py      how far a run is, from names and logs
"""
