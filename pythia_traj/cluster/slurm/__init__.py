"""Slurm, through submitit: a request becomes an array of tasks, each a worker.

asking.py      what the section `cluster` asks for, as parameters of submitit
dealing.py     which shards have something to do, and what a task is told
task.py        what a task does on its node
batch.py       arrays that are submitted together: all of them, or none
arrays.py      the arrays that a run has submitted, and the name by which Slurm knows its jobs
client.py      Slurm's own commands
queue.py       what Slurm knows of a run's tasks, and their logs
slurm.py       the executor
debug.py       the same tasks in this process, without Slurm
cancel.py      the end of a run's jobs
"""
