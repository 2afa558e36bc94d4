"""What the rows of a run say: pandas in, pandas out, the same for figures, pages and notebooks.

selection.py     the rows of some metrics as plain columns, those of text, why values are missing
trajectories.py  the lines of chosen rows: their names, their order, and which of many are shown
steps.py         where steps lie, and the few that are shown for all
text.py          loss, accuracy and in-context learning on text and on repeated segments
heads.py         attention of heads, the largest head, the top heads
patterns.py      attention patterns of a head on prompts, and how spread out attention is
tasks.py         whether tasks are done, what removing heads costs, patching, circuits of edges
layers.py        metrics of layers and sites, and of all parts of a model
weights.py       statistics of single matrices
roles.py         roles of heads as timelines
samples.py       what a model writes, by prompt and step
metric.py        rows of any metric: the figure they are for, and what lines are called
learning.py      n-grams and probes
tables.py        key numbers, and the metrics without a value
schedules.py     how the learning rates of a run's models went
named.py         the names by which a metric is asked for
wording.py       numbers, steps and lists as words
training.py      where each model is in training at each step: tokens, loss
records.py       a table as JSON has it
onsets/          when trajectories take off, and how sure that is
findings/        what a run shows, in sentences
adaptive/        which steps to measure so that few of them find an onset
comparison/      models and seeds beside each other: aligned, as bands, heads as distributions
smoothing.py     trajectories smoothed over log step
learning_curves.py  age of acquisition, forgetting, stability between seeds
matrix.py        the trajectories of a model and label as a matrix

A function that chooses takes rows as `pythia_traj.load` gives them and returns *chosen rows*: the
columns of `selection.choose`, and `what`, the name of a row's line. Rows without a value are
included, because they have the reason.
"""
