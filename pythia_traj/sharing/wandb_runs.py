"""Metrics by training step as runs of Weights & Biases, one a model, grouped by the run's name.

`wandb` reads its own settings: `WANDB_MODE=offline` writes to `WANDB_DIR` and sends nothing. What
was logged cannot be taken back, so all is read and checked once before.
"""

from collections.abc import Callable
from importlib import import_module
from itertools import groupby
from pathlib import PurePath
from typing import Any

from pythia_traj.errors import ConfigError, StoreError
from pythia_traj.outside import in_one_line
from pythia_traj.sharing.series import logged
from pythia_traj.store.parts import Parts


def log_to_wandb(parts: Callable[[], Parts], project: str, run: str, *, mixed: bool) -> list[str]:
    """Logs the values of each model as a run of its own, with the training step as its step.

    Each call makes new runs.

    Args:
        parts: gives the rows, anew at each call.
        project: the project's name.
        run: the run's directory or address; its name becomes the group.
        mixed: allow rows that several versions of one experiment measured.

    Returns:
        what a reader of the values must know.

    Raises:
        StoreError: as `load`, or wandb refuses.
        ConfigError: the package `wandb` is not installed.
    """
    try:
        wandb = import_module("wandb")
    except ImportError:
        raise ConfigError(
            "Weights & Biases needs its package: pip install 'pythia-traj[wandb]'"
        ) from None
    first = parts()
    for _ in logged(first):
        pass
    notes = first.said(mixed=mixed)
    with in_one_line("wandb", error=StoreError):
        for model, points in groupby(logged(parts()), lambda one: one.model):
            with _opened(wandb, project, model, PurePath(run).name) as opened:
                for point in points:
                    tokens = {} if point.tokens is None else {"tokens": point.tokens}
                    opened.log({**point.values, **tokens}, step=point.step)
    return notes


def _opened(wandb: Any, project: str, model: str, group: str) -> Any:
    """A new run without facts about the machine; wandb itself records the host's name."""
    settings = wandb.Settings(
        console="off",
        silent=True,
        disable_git=True,
        disable_code=True,
        x_disable_stats=True,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_save_requirements=False,
    )
    return wandb.init(
        project=project,
        name=model,
        group=group,
        config={"model": model},
        reinit="create_new",
        settings=settings,
    )
