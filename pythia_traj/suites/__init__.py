"""Suites and models as data: where checkpoints lie, which steps there are.

catalog.py    the published suites as records
local.py      a directory of checkpoints
schedules.py  how a training run went over its steps
"""
