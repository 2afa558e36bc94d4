"""When trajectories take off, and how sure that is: docs/onsets.md has the definition.

A row and its items become a curve, a curve an onset, an onset a row:

tables.py         rows and items of a run -> curves, together where steps and items are the same
curves.py         trajectories through the same items: means, draws, standard errors
grid.py           measured steps in octaves: smoothing, the base, thinning
crossing.py       where a rising curve passes a level; the same arithmetic for draws
evidence.py       whether it rises at all, evenly, and which crossings are sure
half.py           the default estimator: status, interval, flags
methods.py        other estimators by their names, for comparison only
change_points.py  where the mean changes, by PELT
directions.py     which way a metric goes
options.py        draws and seeds, checked
onset.py          what an onset is said to be: statuses and flags
words.py          the same in a sentence
frames.py         `pythia_traj.onset`
order.py          `pythia_traj.order`: which came first
heads.py          false onsets among many heads
selected.py       `pythia_traj.select_heads`: heights that chance did not choose
run.py            the onsets of a run, as the command line shows them
"""
