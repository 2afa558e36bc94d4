"""A request -> workers: on this machine, or a script for a scheduler.

executor.py    the interface of executors
submission.py  submit: plan, record, hand over; the executors by name
inline.py      in this process
outcome.py     what became of workers that were watched here
local.py       processes of this machine, a GPU each
children.py    such processes: started, followed by their logs, ended
slurm/         an array of tasks of Slurm, and what became of them
written.py     a job script in the run
scripts.py     what such scripts say
estimate.py    what a submission will take
"""
