"""How types and shapes of arguments and results are checked while tests run.

A whole number is a float, as it is to mypy. A checkpoint is not checked: Python 3.11 asks an object
for all attributes of a protocol, and a checkpoint of the Hub would go and look up its commit.
"""

from beartype import BeartypeConf, FrozenDict, beartype

from pythia_traj.checkpoint import Checkpoint

check = beartype(
    conf=BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict({Checkpoint: object}))
)
