"""Which directory a request follows, and what of a request cannot be while a training goes on."""

from collections.abc import Iterable
from pathlib import Path

from pythia_traj.config import SweepConfig
from pythia_traj.errors import ConfigError, StepsError, SuiteError
from pythia_traj.steps import selects
from pythia_traj.suites.catalog import look_up
from pythia_traj.suites.growing import GrowingModel
from pythia_traj.suites.names import HUB, check_name, find_directory

_STEP = "step:"


def model_to_follow(config: SweepConfig) -> GrowingModel:
    """The model of the directory that a request names, which need not exist yet.

    Raises:
        ConfigError: the request cannot be followed.
        SuiteError: nothing can arrive where the directory would be.
    """
    check_followable(config)
    name, directory = _directory(config)
    if directory.exists() and not directory.is_dir():
        raise SuiteError(f"{directory} is not a directory: give the one that the training writes")
    return GrowingModel.begin(directory, name=None if name is None else check_name(name))


def check_followable(config: SweepConfig) -> None:
    """Refuses what depends on checkpoints that are still to come.

    Raises:
        ConfigError: the message says what the request has of it.
    """
    if len(config.model) != 1:
        raise ConfigError(
            f"one directory is followed at a time, not {len(config.model)}: give one model",
            ("model",),
        )
    if config.toy_seed is not None:
        raise ConfigError(
            "toy_seed trains a suite before anything is measured, so there is nothing to follow:"
            " leave it out",
            ("toy_seed",),
        )
    try:
        # Which step it is does not matter: what depends on other steps is refused.
        selects(config.steps, 0, tokens_per_step=1)
    except StepsError as error:
        raise ConfigError(f"steps: {error}", ("steps",)) from None
    for label, name in _references(config):
        if name == "final" or (name.startswith(_STEP) and not _is_number(name)):
            raise ConfigError(
                f"{label}: its reference {name} is not known before the training ends: leave it"
                " out, and sweep with it afterwards",
                ("experiments", label, "references"),
            )


def steps_to_wait_for(config: SweepConfig) -> frozenset[int]:
    """The steps that others are compared with by their number."""
    return frozenset(
        int(name.removeprefix(_STEP)) for _, name in _references(config) if _is_number(name)
    )


def _references(config: SweepConfig) -> Iterable[tuple[str, str]]:
    """Each label with the name of each of its references."""
    for label, request in config.experiments.items():
        for name in (*request.references, *request.experiment.row_references):
            yield label, name


def _is_number(name: str) -> bool:
    return name.startswith(_STEP) and name.removeprefix(_STEP).isdecimal()


def _directory(config: SweepConfig) -> tuple[str | None, Path]:
    """The directory, and the name that the request gives it."""
    (asked,) = config.model
    found = find_directory(asked, config.source)
    if found is not None:
        return found
    name, equals, rest = asked.partition("=")
    given, text = (name, rest) if equals else (None, asked)
    if config.source == HUB and look_up(text) is not None:
        raise ConfigError(
            f"{text} is a published model, which gets no further checkpoints: follow the directory"
            " that a training writes, or sweep without following",
            ("model",),
        )
    base = Path() if config.source == HUB else Path(config.source)
    directory = base / Path(text).expanduser()
    if not directory.parent.is_dir():
        raise SuiteError(
            f"no such directory: {text!r}, nor the folder in which it could appear: make"
            f" {str(directory.parent)!r} first, or give the directory that a training writes; a"
            " model of the Hub cannot be followed"
        )
    return given, directory
