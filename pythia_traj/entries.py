"""An entry of a request: an experiment under a label, its parameters checked.

induction: {length: 25}       # the experiment of that name
short: {use: loss, n: 4}      # another one, under a label of one's own
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ConfigDict

from pythia_traj.discovery import find
from pythia_traj.errors import ConfigError, nearest
from pythia_traj.experiment import Data, Experiment
from pythia_traj.outside import shown
from pythia_traj.parameters import Parameter
from pythia_traj.settings import Whole, check_value
from pythia_traj.yamlfile import Key

LABEL = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,99}")

_CALLED_ONCE = {"source": "corpus"}
"""Parameters by names that they had in earlier versions."""

_SEED = Parameter(
    "seed", Whole | None, None, "of everything random in its data; the sweep's if not given."
)
"""A parameter of every experiment with data that declares none of this name."""


class ExperimentRequest(BaseModel):
    """An experiment under a label: which, and with what parameters (defaults filled in)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    use: str
    parameters: dict[str, Any]

    @property
    def experiment(self) -> Experiment:
        """The experiment itself."""
        return find(self.use)

    @property
    def data(self) -> Data[Any] | None:
        """The experiment's data, as the request asks for them."""
        return self.experiment.data_with(self.parameters)

    @property
    def references(self) -> tuple[str, ...]:
        """The steps whose weights it compares with.

        They are the request's, where the experiment has a parameter for them.
        """
        return tuple(self.parameters.get("references", self.experiment.references))


@contextmanager
def at(*key: str | int) -> Iterator[None]:
    """Says of errors which setting they are about, unless they say so themselves."""
    try:
        yield
    except ConfigError as error:
        if error.key:
            raise
        raise ConfigError(str(error), key) from error.__cause__


def not_parameters(label: str, given: object) -> ConfigError:
    """The error of a label under which something else stands than parameters."""
    return ConfigError(
        f"{label}: expected its parameters as name: value, got {shown(given)}",
        ("experiments", label),
    )


def read_entry(label: str, settings: Any) -> ExperimentRequest:
    """What stands under a label, checked.

    Raises:
        ConfigError: it is wrong; the message says what is allowed.
    """
    if not LABEL.fullmatch(label):
        raise ConfigError(
            f"label {shown(label)}: a label is a letter followed by letters, digits, '.', '_' or"
            " '-', at most 100 of them",
            ("experiments", label),
        )
    if isinstance(settings, ExperimentRequest):
        return settings
    if settings is not None and not isinstance(settings, Mapping):
        raise not_parameters(label, settings)
    given = dict(settings or {})
    # What `resolved` wrote comes back in this form.
    nested = given.pop("parameters", {})
    if not isinstance(nested, Mapping):
        raise ConfigError(
            f"{label}.parameters: expected parameters as name: value, got {shown(nested)}",
            ("experiments", label, "parameters"),
        )
    experiment = _experiment_of(label, given)
    keys: dict[str, Key] = {
        **{name: ("experiments", label, "parameters", name) for name in nested},
        **{name: ("experiments", label, name) for name in given},
    }
    use = given.pop("use", label)
    parameters = _check_parameters(label, experiment, {**nested, **given}, keys)
    return ExperimentRequest(use=use, parameters=parameters)


def _experiment_of(label: str, given: Mapping[str, Any]) -> Experiment:
    if "use" in given:
        with at("experiments", label, "use"):
            if not isinstance(given["use"], str):
                raise ConfigError(
                    f"{label}.use: {shown(given['use'])} is not an experiment: give a name, or a"
                    " file"
                )
            return find(given["use"])
    with at("experiments", label):
        try:
            return find(label)
        except ConfigError:
            # Of a label that no experiment has, `use` was probably meant to be there.
            slip = get_close_matches("use", map(str, given), n=1, cutoff=0.6)
            if not slip:
                raise
            raise ConfigError(
                f"{label}: unknown key {shown(slip[0])}: did you mean use?",
                ("experiments", label, slip[0]),
            ) from None


def parameters_of(experiment: Experiment) -> dict[str, Parameter]:
    """What a request may say of an experiment: its parameters, and the seed of its data."""
    parameters = dict(experiment.parameters)
    if experiment.data is not None:
        parameters.setdefault("seed", _SEED)
    return parameters


def _check_parameters(
    label: str, experiment: Experiment, given: Mapping[str, Any], keys: Mapping[str, Key]
) -> dict[str, Any]:
    schema = parameters_of(experiment)
    for name in given:
        if name not in schema:
            defaults = ", ".join(f"{p.name}={p.default!r}" for p in experiment.parameters.values())
            today = _CALLED_ONCE.get(str(name))
            close = f"did you mean {today}?" if today in schema else nearest(str(name), schema)
            hint = f"{close} " if close.startswith("did") else ""
            raise ConfigError(
                f"{label}: {experiment.name} has no parameter {shown(name)}: {hint}(it has"
                f" {defaults})",
                keys[name],
            )
    checked = {}
    for name, parameter in schema.items():
        if name == "seed" and given.get("seed") is None and "seed" not in experiment.parameters:
            continue
        with at(*keys.get(name, ())):
            checked[name] = check_value(label, parameter, given.get(name, parameter.default))
    return checked
