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
value of the wrong type fails here. The message says what is allowed, and of a file's setting the
file and the line.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from pythia_traj.entries import ExperimentRequest as ExperimentRequest
from pythia_traj.entries import at, not_parameters, read_entry
from pythia_traj.errors import ConfigError, StepsError, SuiteError, nearest
from pythia_traj.layers import Settings, by_label, by_name, read_yaml
from pythia_traj.outside import shown
from pythia_traj.resources import Cluster, section
from pythia_traj.settings import (
    Ahead,
    Bytes,
    Whole,
    as_models,
    as_steps,
    as_words,
    check_device,
    check_word,
    reason,
    storable,
)
from pythia_traj.steps import check_steps
from pythia_traj.suites.catalog import can_be_directory, check_known
from pythia_traj.suites.names import HUB
from pythia_traj.yamlfile import parse_yaml

Dtype = Literal["float32", "float16", "bfloat16"]
OnDefect = Literal["skip", "measure", "fail"]

_NOT_REQUESTED = frozenset(
    {"out", "refresh", "prefetch", "disk_budget", "keep", "on_defect", "toy_seed", "cluster"}
)
"""Settings that change no value of a row."""


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
        toy_seed: trains the toy suite of this seed at `model`, a directory, where it does not exist
            yet.
        cluster: what a batch job asks a scheduler for.
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
    prefetch: Ahead = 2
    disk_budget: Bytes | None = None
    keep: bool = False
    refresh: bool = False
    on_defect: OnDefect = "skip"
    toy_seed: Whole | None = None
    cluster: Cluster = Cluster()

    def __init__(self, /, **settings: Any) -> None:
        """Checks all settings.

        Raises:
            ConfigError: one of them is wrong; the message says which and what is allowed.
        """
        _check_names(settings)
        try:
            super().__init__(**settings)
        except ValidationError as error:
            first = error.errors()[0]
            raise ConfigError(_sentence(first), first["loc"]) from None

    @field_validator("model", mode="before")
    @classmethod
    def _read_models(cls, value: Any, info: ValidationInfo) -> Any:
        return as_models(value, info.data.get("source", HUB))

    @field_validator("out", mode="before")
    @classmethod
    def _read_out(cls, value: Any) -> Any:
        if value == "":
            raise ConfigError("out: it is empty: give the run's directory", ("out",))
        return value

    @field_validator("steps")
    @classmethod
    def _read_steps(cls, value: str) -> str:
        try:
            check_steps(value)
        except StepsError as error:
            raise ConfigError(f"steps: {error}", ("steps",)) from None
        return value

    @field_validator("model", "source", "device", "out")
    @classmethod
    def _usable(cls, value: Any, info: ValidationInfo) -> Any:
        for word in value if isinstance(value, tuple) else (value,):
            with at(str(info.field_name)):
                check_word(str(info.field_name), str(word))
                if info.field_name == "device":
                    check_device(word)
        return value

    @field_validator("experiments", mode="before")
    @classmethod
    def _read_experiments(cls, value: Any) -> Any:
        if isinstance(value, str | Path | list | tuple):
            value = by_name(as_words(value))
        if not isinstance(value, Mapping) or not value:
            raise ConfigError(
                "experiments: give at least one experiment, such as induction", ("experiments",)
            )
        for label in value:
            if label in cls.model_fields:
                raise ConfigError(
                    f"label {label!r} is the name of a setting: choose another, with use: naming"
                    " the experiment",
                    ("experiments", label),
                )
        return {str(label): read_entry(str(label), settings) for label, settings in value.items()}

    @field_validator("cluster", mode="before")
    @classmethod
    def _read_cluster(cls, value: Any) -> Any:
        return value if isinstance(value, Cluster) else section(value)

    @model_validator(mode="after")
    def _something_to_do(self) -> "SweepConfig":
        if not self.model:
            raise ConfigError(
                "model: give at least one model, a directory of checkpoints or a name", ("model",)
            )
        return self

    @model_validator(mode="after")
    def _a_place_for_the_toy(self) -> "SweepConfig":
        if self.toy_seed is not None and (
            self.source != HUB or len(self.model) != 1 or not can_be_directory(self.model[0])
        ):
            raise ConfigError(
                "toy_seed: it trains a suite at the one model of the request, which has to be a"
                f" directory, such as runs/toy, not {shown(','.join(self.model))[1:-1]}",
                ("toy_seed",),
            )
        return self

    @classmethod
    def from_yaml(cls, path: str | Path, **settings: Any) -> "SweepConfig":
        """Reads a YAML file, lays keyword settings over it, and checks the whole.

        Raises:
            ConfigError: the file cannot be read, or a setting is wrong.
        """
        return cls.from_settings(read_config(path).under(settings))

    @classmethod
    def from_settings(cls, settings: Settings) -> "SweepConfig":
        """Checks settings, and of models that a file names whether there can be such models.

        Raises:
            ConfigError: one of them is wrong; the message says where it is written, if in a file.
        """
        try:
            request = cls(**settings)
            # A toy suite may be trained later.
            if ("model",) in settings.places and request.toy_seed is None:
                _check_models(settings["model"], request.source)
        except ConfigError as error:
            raise settings.located(error) from None
        return request

    def resolved(self) -> dict[str, Any]:
        """All settings as plain JSON values, defaults included."""
        return dict(storable(self.model_dump(mode="json")))

    def requested(self) -> dict[str, Any]:
        """What is to be measured, without where it goes and how it gets there."""
        return dict(storable(self.model_dump(mode="json", exclude=set(_NOT_REQUESTED))))


def read_config(path: str | Path) -> Settings:
    """The settings of a YAML file over those of its bases; only their names are checked.

    Args:
        path: a file, or the name of a config that comes with the package (`demo`).

    Raises:
        ConfigError: the file cannot be read, or has a setting that no request has.
    """
    settings = read_yaml(path)
    try:
        _check_names(settings)
    except ConfigError as error:
        raise settings.located(error) from None
    return settings


def override(settings: Mapping[str, Any], assignments: Sequence[str]) -> Settings:
    """Applies `--set LABEL.PARAM=VALUE` and `--set KEY=VALUE` to settings; VALUE is a YAML scalar.

    Raises:
        ConfigError: an assignment has another form, or its first segment is neither a label nor a
            setting.
    """
    changed = Settings(settings, settings.places if isinstance(settings, Settings) else None)
    try:
        changed["experiments"] = by_label(settings.get("experiments") or {})
    except ConfigError as error:
        raise changed.located(error) from None
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


def _assign(settings: Settings, path: str, value: Any) -> None:
    labels: dict[str, Any] = settings["experiments"]
    label = next(
        (label for label in sorted(labels, key=len, reverse=True) if path.startswith(f"{label}.")),
        None,
    )
    if label is not None:
        own, name = labels[label] or {}, path[len(label) + 1 :]
        if not isinstance(own, Mapping):
            raise settings.located(not_parameters(label, own))
        labels[label] = {**own, name: value}
        settings.forget(("experiments", label, name))
    elif path.startswith("cluster."):
        name = path.removeprefix("cluster.")
        try:
            settings["cluster"] = {**section(settings.get("cluster")), name: value}
        except ConfigError as error:
            raise settings.located(error) from None
        settings.forget(("cluster", name))
    elif path in SweepConfig.model_fields and path != "experiments":
        settings[path] = value
        settings.forget((path,))
    else:
        known = [*labels, *(name for name in SweepConfig.model_fields if name != "experiments")]
        first = path.partition(".")[0]
        raise ConfigError(
            f"--set {shown(path)}: {shown(first)} is neither a label nor a setting:"
            f" {nearest(first, known)}"
        )


def _check_names(settings: Mapping[str, Any]) -> None:
    for name in settings:
        if name not in SweepConfig.model_fields:
            known = [*SweepConfig.model_fields, "base"]
            raise ConfigError(f"unknown setting {shown(name)}: {nearest(name, known)}", (name,))


def _check_models(given: Any, source: str) -> None:
    """Refuses names that neither a directory nor a repository can have; asks nobody."""
    for i, entry in enumerate(given if isinstance(given, list) else [given]):
        for name in as_models(entry, source) if source == HUB else ():
            try:
                check_known(name)
            except SuiteError as error:
                raise ConfigError(f"model: {error}", ("model", i)) from None


def _sentence(error: Any) -> str:
    name = ".".join(str(part) for part in error["loc"])
    if error["type"] == "missing":
        return f"{name} is missing: give it in the config or on the command line"
    return f"{name}: {shown(error['input'])}: {reason(error)}"
