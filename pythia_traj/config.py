"""A sweep's request, checked when it is read.

YAML, command line or keyword arguments -> a frozen `SweepConfig`.

    model: runs/toy                 # a directory, or a published model's name; a list of them
    steps: log:12
    experiments:
      induction: {length: 25}       # a label; the experiment so named unless `use:` names another
      short: {use: loss, length: 64}
    out: runs/demo
    base: other.yaml                # a file whose settings these are laid over

All of it is checked before the first GPU hour: an unknown experiment, a misspelt parameter or a
value of the wrong type fails here, and the message says what is allowed.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Le
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pythia_traj.discovery import find
from pythia_traj.errors import ConfigError, nearest
from pythia_traj.experiment import Data, Experiment
from pythia_traj.outside import shown
from pythia_traj.parameters import Parameter
from pythia_traj.settings import (
    Bytes,
    Whole,
    as_models,
    as_steps,
    as_words,
    check_value,
    check_word,
    reason,
    storable,
)
from pythia_traj.suites.names import HUB
from pythia_traj.yamlfile import parse_yaml, read_yaml

_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,99}")

_CALLED_ONCE = {"source": "corpus"}
"""Parameters by names that they had in earlier versions."""

Dtype = Literal["float32", "float16", "bfloat16"]
OnDefect = Literal["skip", "measure", "fail"]


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


class SweepConfig(BaseModel):
    """What a sweep is to do.

    Attributes:
        source: `hub`, or a directory below which the models' directories lie.
        model: models: names, directories of checkpoints, or NAME=DIRECTORY.
        steps: an expression (see pythia_traj.steps), for every model.
        experiments: by label.
        out: the run's directory.
        device: `auto`, `cpu`, `cuda`, `cuda:1`.
        dtype: of the model's parameters and activations.
        seed: of everything random in the data; one experiment can have its own, `LABEL.seed`.
        prefetch: how many checkpoints are fetched ahead while experiments run.
        disk_budget: bytes (or `20GB`) on disk for checkpoints that come over a network; None: they
            are put into memory only.
        keep: checkpoints that come over a network stay on disk.
        refresh: whether the Hub is asked again where branches point; what was measured on another
            commit is then redone.
        on_defect: what becomes of a unit whose weights are known not to be its step's: it is left
            out, measured all the same, or fails.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str = HUB
    model: tuple[str, ...]
    steps: Annotated[str, BeforeValidator(as_steps)]
    experiments: dict[str, ExperimentRequest]
    out: Path
    device: str = "auto"
    dtype: Dtype = "float32"
    seed: Whole = 0
    prefetch: Annotated[Whole, Le(1000)] = 2
    disk_budget: Bytes | None = None
    keep: bool = False
    refresh: bool = False
    on_defect: OnDefect = "skip"

    def __init__(self, **settings: Any) -> None:
        """Checks all settings.

        Raises:
            ConfigError: one of them is wrong; the message says which and what is allowed.
        """
        try:
            super().__init__(**settings)
        except ValidationError as error:
            raise ConfigError(_sentence(error, type(self))) from None

    @field_validator("model", mode="before")
    @classmethod
    def _read_models(cls, value: Any, info: ValidationInfo) -> Any:
        return as_models(value, info.data.get("source", HUB))

    @field_validator("out", mode="before")
    @classmethod
    def _read_out(cls, value: Any) -> Any:
        if value == "":
            raise ConfigError("out: it is empty: give the run's directory")
        return value

    @field_validator("model", "source", "device", "out")
    @classmethod
    def _usable(cls, value: Any, info: ValidationInfo) -> Any:
        for word in value if isinstance(value, tuple) else (value,):
            check_word(str(info.field_name), str(word))
        return value

    @field_validator("experiments", mode="before")
    @classmethod
    def _read_experiments(cls, value: Any) -> Any:
        if isinstance(value, str | Path | list | tuple):
            value = by_name(as_words(value))
        if not isinstance(value, Mapping) or not value:
            raise ConfigError("experiments: give at least one experiment, such as induction")
        return {str(label): _request(str(label), settings) for label, settings in value.items()}

    @model_validator(mode="after")
    def _something_to_do(self) -> "SweepConfig":
        if not self.model:
            raise ConfigError(
                "model: give at least one model, a directory of checkpoints or a name"
            )
        return self

    @classmethod
    def from_yaml(cls, path: str | Path, **settings: Any) -> "SweepConfig":
        """Reads a YAML file, lays keyword settings over it, and checks the whole.

        Raises:
            ConfigError: the file cannot be read, or a setting is wrong.
        """
        return cls(**{**read_yaml(path), **settings})

    def resolved(self) -> dict[str, Any]:
        """All settings as plain JSON values, defaults included."""
        return dict(storable(self.model_dump(mode="json")))

    def requested(self) -> dict[str, Any]:
        """What is to be measured, without where it goes and how it gets there."""
        where = {"out", "refresh", "prefetch", "disk_budget", "keep", "on_defect"}
        return dict(storable(self.model_dump(mode="json", exclude=where)))


def override(settings: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Applies `--set LABEL.PARAM=VALUE` and `--set KEY=VALUE` to settings; VALUE is a YAML scalar.

    Raises:
        ConfigError: an assignment has another form, or its first segment is neither a label nor a
            setting.
    """
    changed = {**settings, "experiments": _by_label(settings.get("experiments") or {})}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path.strip():
            raise ConfigError(
                f"--set {shown(assignment)}: write LABEL.PARAM=VALUE, such as induction.length=25"
            )
        _assign(
            changed,
            path.strip(),
            parse_yaml(text, f"--set {shown(path.strip())[1:-1]}: {shown(text)}"),
        )
    return changed


def _assign(settings: dict[str, Any], path: str, value: Any) -> None:
    labels: dict[str, Any] = settings["experiments"]
    label = next(
        (label for label in sorted(labels, key=len, reverse=True) if path.startswith(f"{label}.")),
        None,
    )
    if label is not None:
        own = labels[label] or {}
        if not isinstance(own, Mapping):
            raise ConfigError(f"{label}: expected its parameters as name: value, got {shown(own)}")
        labels[label] = {**own, path[len(label) + 1 :]: value}
    elif path in SweepConfig.model_fields and path != "experiments":
        settings[path] = value
    else:
        known = [*labels, *(name for name in SweepConfig.model_fields if name != "experiments")]
        first = path.partition(".")[0]
        raise ConfigError(
            f"--set {shown(path)}: {shown(first)} is neither a label nor a setting:"
            f" {nearest(first, known)}"
        )


def _by_label(experiments: Any) -> dict[str, Any]:
    """The experiments of unchecked settings as label -> settings."""
    if isinstance(experiments, Mapping):
        return {str(label): settings for label, settings in experiments.items()}
    return by_name(as_words(experiments))


def by_name(uses: Any) -> dict[str, Any]:
    """Experiments without labels, each under its own name.

    Raises:
        ConfigError: two have the same name, or it is not a list of experiments.
    """
    if not isinstance(uses, tuple):
        raise ConfigError(
            f"experiments: {shown(uses)}: give names, or labels with their parameters"
        )
    labelled: dict[str, Any] = {}
    for use in uses:
        name = find(use).name
        if name in labelled and labelled[name]["use"] != use:
            raise ConfigError(
                f"{labelled[name]['use']} and {use} are both named {name}: give them labels, with"
                " use: in a config"
            )
        labelled[name] = {"use": use}
    return labelled


def _request(label: str, settings: Any) -> ExperimentRequest:
    if not _LABEL.fullmatch(label):
        raise ConfigError(
            f"label {shown(label)}: a label is a letter followed by letters, digits, '.', '_' or"
            " '-', at most 100 of them"
        )
    if label in SweepConfig.model_fields:
        raise ConfigError(
            f"label {label!r} is the name of a setting: choose another, with use: naming the"
            " experiment"
        )
    if isinstance(settings, ExperimentRequest):
        return settings
    if settings is not None and not isinstance(settings, Mapping):
        raise ConfigError(f"{label}: expected its parameters as name: value, got {shown(settings)}")
    given = dict(settings or {})
    # What `resolved` wrote comes back in this form.
    nested = given.pop("parameters", {})
    if not isinstance(nested, Mapping):
        raise ConfigError(
            f"{label}.parameters: expected parameters as name: value, got {shown(nested)}"
        )
    parameters = {**nested, **{key: value for key, value in given.items() if key != "use"}}
    use = given.get("use", label)
    if not isinstance(use, str):
        raise ConfigError(f"{label}.use: {shown(use)} is not an experiment: give a name, or a file")
    return ExperimentRequest(use=use, parameters=_check_parameters(label, find(use), parameters))


def _check_parameters(
    label: str, experiment: Experiment, given: Mapping[str, Any]
) -> dict[str, Any]:
    schema = {
        **experiment.parameters,
        "seed": experiment.parameters.get("seed", Parameter("seed", Whole | None, None)),
    }
    for name in given:
        if name not in schema:
            defaults = ", ".join(f"{p.name}={p.default!r}" for p in experiment.parameters.values())
            today = _CALLED_ONCE.get(str(name))
            close = f"did you mean {today}?" if today in schema else nearest(str(name), schema)
            hint = f"{close} " if close.startswith("did") else ""
            raise ConfigError(
                f"{label}: {experiment.name} has no parameter {shown(name)}: {hint}(it has"
                f" {defaults})"
            )
    checked = {}
    for name, parameter in schema.items():
        if name == "seed" and given.get("seed") is None and "seed" not in experiment.parameters:
            continue
        checked[name] = check_value(label, parameter, given.get(name, parameter.default))
    return checked


def _sentence(error: ValidationError, config: type[BaseModel]) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown setting {shown(name)}: {nearest(name, config.model_fields)}"
    if first["type"] == "missing":
        return f"{name} is missing: give it in the config or on the command line"
    return f"{name}: {shown(first['input'])}: {reason(first)}"
