"""A run in other hands: as one file, in other programs' formats, on the Hub.

one_file.py     rows as one CSV or Parquet file; `pythia_traj.export`
series.py       metrics by training step, each under one name
event_files.py  these as event files for TensorBoard
wandb_runs.py   these as runs of Weights & Biases, one a model
unnamed.py      a run's files without the names of hosts, workers, jobs and folders
card.py         a dataset card from a run's provenance
dataset.py      a dataset of the Hub that is written to
publish.py      a run as a dataset of the Hub; `pythia_traj.publish`
"""
