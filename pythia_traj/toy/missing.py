"""The toy suite that a request trains where it does not exist yet: `toy_seed`.

Only training loads torch.
"""

from collections.abc import Callable
from pathlib import Path

from pythia_traj.config import SweepConfig
from pythia_traj.errors import SuiteError
from pythia_traj.standins import missing
from pythia_traj.toy.recipe import Recipe, check_same


def is_missing(config: SweepConfig) -> bool:
    """Whether a request trains a suite first.

    Raises:
        SuiteError: its directory exists and is something else than the suite of this seed.
    """
    if config.toy_seed is None:
        return False
    directory = _directory(config)
    if not directory.exists():
        return True
    check_same(directory, Recipe(seed=config.toy_seed))
    return False


def train_if_missing(
    config: SweepConfig, on_step: Callable[[int, int, float], None] | None = None
) -> None:
    """Trains the suite that a request wants trained, unless it exists.

    Several processes may do so at once: each trains a suite of its own, and the first that is whole
    stays.

    Args:
        config: a request, with `toy_seed` or without.
        on_step: is called now and then with the step, the last step and the loss.

    Raises:
        SuiteError: its directory exists and is something else than the suite of this seed, or torch
            is not installed.
        StoreError: it cannot be written.
    """
    if config.toy_seed is not None and is_missing(config):
        if "torch" in missing():
            directory = _directory(config)
            raise SuiteError(
                f"the toy suite {directory} does not exist yet, and torch, which trains it, is not"
                f" installed here: where it is, run pythia-traj toy {directory} --seed"
                f" {config.toy_seed}"
            )
        from pythia_traj.toy.train import train

        train(_directory(config), Recipe(seed=config.toy_seed), on_step=on_step)


def refuse_missing(config: SweepConfig) -> None:
    """For who only looks: says how to train the suite that a request wants trained.

    Raises:
        SuiteError: it does not exist, or something else does.
    """
    if is_missing(config):
        directory = _directory(config)
        raise SuiteError(
            f"the toy suite {directory} does not exist yet, and a dry run trains nothing: first"
            f" pythia-traj toy {directory} --seed {config.toy_seed}"
        )


def _directory(config: SweepConfig) -> Path:
    (model,) = config.model
    return Path(model).expanduser()
