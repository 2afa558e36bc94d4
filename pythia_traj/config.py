"""A sweep's request, checked when it is read: YAML, command line or keyword arguments -> a frozen `SweepConfig`.

    model: runs/toy                 # a directory, or a published model's name; a list of them
    steps: log:12
    experiments:
      induction: {length: 25}       # a label; the experiment of that name unless `use:` names another
      short: {use: loss, length: 64}
    out: runs/demo
    base: other.yaml                # a file whose settings these are laid over

Nothing of this is looked at in the middle of a GPU hour: an unknown experiment, a misspelt parameter or a value of the wrong type fails
here, naming what is allowed.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from annotated_types import Ge
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from pythia_traj.discovery import find
from pythia_traj.errors import ConfigError, nearest
from pythia_traj.experiment import Experiment, Parameter


class _Loader(yaml.SafeLoader):
    """YAML without its numbers of base 60: `1:4` is a range of steps, not 64."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:int"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9_]*)$"), list("-+0123456789"))


def _load(text: str) -> Any:
    """YAML's safe subset.

    Raises:
        yaml.YAMLError, ValueError: it is none.
    """
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader


_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")

Dtype = Literal["float32", "float16", "bfloat16"]
OnDefect = Literal["skip", "measure", "fail"]


def _as_tuple(value: Any) -> Any:
    """A comma-separated word, or a list of them, as a tuple of words."""
    words = [value] if isinstance(value, str | Path) else value
    if not isinstance(words, Sequence):
        return words
    return tuple(part.strip() for word in words for part in str(word).split(",") if part.strip())


_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
_BYTES = re.compile(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)")


def as_bytes(value: Any) -> Any:
    """`20GB` as a number of bytes; what is no text is left as it is.

    Raises:
        ConfigError: it is no number of bytes.
    """
    if not isinstance(value, str):
        return value
    match = _BYTES.fullmatch(value.strip())
    if match is None or match[2].upper() not in _UNITS:
        raise ConfigError(f"disk_budget: {value!r} is no number of bytes: write 20GB, 500MB or 20000000000")
    return int(float(match[1]) * _UNITS[match[2].upper()])


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
    def references(self) -> tuple[str, ...]:
        """The steps whose weights it compares with: the request's, where the experiment has a parameter for them."""
        return tuple(self.parameters.get("references", self.experiment.references))


class SweepConfig(BaseModel):
    """What a sweep is to do.

    Attributes:
        model: models: names, or directories of checkpoints.
        steps: an expression (see pythia_traj.steps), for every model.
        experiments: by label.
        out: the run's directory.
        source: `hub`, or a directory below which the models' directories lie.
        device: `auto`, `cpu`, `cuda`, `cuda:1`.
        dtype: of the model's parameters and activations.
        seed: of everything random in the data; one experiment can have its own, `LABEL.seed`.
        prefetch: how many checkpoints are fetched ahead while experiments run.
        disk_budget: bytes (or `20GB`) on disk for checkpoints that come over a network; None: they are put into memory only.
        keep: checkpoints that come over a network stay on disk.
        refresh: whether the Hub is asked again where branches point; what was measured on another commit is then redone.
        on_defect: what becomes of a unit whose weights are known not to be its step's: it is left out, measured all the same, or fails.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
    steps: Annotated[
        str, BeforeValidator(lambda value: ",".join(map(str, value)) if isinstance(value, list) else str(value))
    ]
    experiments: dict[str, ExperimentRequest]
    out: Path
    source: str = "hub"
    device: str = "auto"
    dtype: Dtype = "float32"
    seed: Annotated[int, Ge(0)] = 0
    prefetch: Annotated[int, Ge(0)] = 2
    disk_budget: Annotated[int | None, BeforeValidator(as_bytes)] = None
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

    @field_validator("experiments", mode="before")
    @classmethod
    def _read_experiments(cls, value: Any) -> Any:
        if isinstance(value, str | Path) or (isinstance(value, Sequence) and not isinstance(value, Mapping)):
            value = by_name(_as_tuple(value))
        if not isinstance(value, Mapping) or not value:
            raise ConfigError("experiments: give at least one experiment, such as induction")
        return {str(label): _request(str(label), settings) for label, settings in value.items()}

    @model_validator(mode="after")
    def _something_to_do(self) -> "SweepConfig":
        if not self.model:
            raise ConfigError("model: give at least one model, a directory of checkpoints or a name")
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
        return self.model_dump(mode="json")

    def requested(self) -> dict[str, Any]:
        """What is to be measured, without where it goes and how it gets there."""
        return self.model_dump(mode="json", exclude={"out", "refresh", "prefetch", "disk_budget", "keep", "on_defect"})


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The settings of a YAML file laid over those of its `base:`, if it names one.

    Args:
        path: a file, or the name of a config that comes with the package (`demo`).
    """
    return _read_layers(_config_file(Path(path)), ())


def override(settings: dict[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """Applies `--set LABEL.PARAM=VALUE` and `--set KEY=VALUE` to settings, VALUE being a YAML scalar.

    Raises:
        ConfigError: an assignment has another form, or its first segment is neither a label nor a setting.
    """
    changed = {**settings, "experiments": _by_label(settings.get("experiments") or {})}
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path.strip():
            raise ConfigError(f"--set {assignment!r}: write LABEL.PARAM=VALUE, such as induction.length=25")
        try:
            value = _load(text)
        except (yaml.YAMLError, ValueError):
            raise ConfigError(f"--set {assignment!r}: {text!r} is not a YAML value") from None
        _assign(changed, path.strip(), value)
    return changed


def _assign(settings: dict[str, Any], path: str, value: Any) -> None:
    labels: dict[str, Any] = settings["experiments"]
    label = next((label for label in sorted(labels, key=len, reverse=True) if path.startswith(f"{label}.")), None)
    if label is not None:
        own = labels[label] or {}
        if not isinstance(own, Mapping):
            raise ConfigError(f"{label}: expected its parameters as name: value, got {own!r}")
        labels[label] = {**own, path[len(label) + 1 :]: value}
    elif path in SweepConfig.model_fields and path != "experiments":
        settings[path] = value
    else:
        known = [*labels, *(name for name in SweepConfig.model_fields if name != "experiments")]
        first = path.partition(".")[0]
        raise ConfigError(f"--set {path}: {first!r} is neither a label nor a setting: {nearest(first, known)}")


def _by_label(experiments: Any) -> dict[str, Any]:
    """The experiments of unchecked settings as label -> settings."""
    if isinstance(experiments, Mapping):
        return {str(label): settings for label, settings in experiments.items()}
    return by_name(_as_tuple(experiments))


def by_name(uses: Any) -> dict[str, Any]:
    """Experiments without labels, each under its own name.

    Raises:
        ConfigError: two have one name, or it is no list of them.
    """
    if not isinstance(uses, tuple):
        raise ConfigError(f"experiments: {uses!r}: give names, or labels with their parameters")
    labelled: dict[str, Any] = {}
    for use in uses:
        name = find(use).name
        if name in labelled and labelled[name]["use"] != use:
            raise ConfigError(
                f"{labelled[name]['use']} and {use} are both named {name}: give them labels, with use: in a config"
            )
        labelled[name] = {"use": use}
    return labelled


def _request(label: str, settings: Any) -> ExperimentRequest:
    if isinstance(settings, ExperimentRequest):
        return settings
    if not _LABEL.fullmatch(label):
        raise ConfigError(f"label {label!r}: a label is a letter followed by letters, digits, '.', '_' or '-'")
    if label in SweepConfig.model_fields:
        raise ConfigError(f"label {label!r} is the name of a setting: choose another, with use: naming the experiment")
    if settings is not None and not isinstance(settings, Mapping):
        raise ConfigError(f"{label}: expected its parameters as name: value, got {settings!r}")
    given = dict(settings or {})
    # What `resolved` wrote comes back in this form.
    nested = given.pop("parameters", {})
    if not isinstance(nested, Mapping):
        raise ConfigError(f"{label}.parameters: expected parameters as name: value, got {nested!r}")
    parameters = {**nested, **{key: value for key, value in given.items() if key != "use"}}
    use = str(given.get("use", label))
    return ExperimentRequest(use=use, parameters=_check_parameters(label, find(use), parameters))


def _check_parameters(label: str, experiment: Experiment, given: Mapping[str, Any]) -> dict[str, Any]:
    schema = {
        **experiment.parameters,
        "seed": experiment.parameters.get("seed", Parameter("seed", Annotated[int, Ge(0)] | None, None)),
    }
    for name in given:
        if name not in schema:
            defaults = ", ".join(f"{p.name}={p.default!r}" for p in experiment.parameters.values())
            close = nearest(str(name), schema)
            hint = f"{close} " if close.startswith("did") else ""
            raise ConfigError(f"{label}: {experiment.name} has no parameter {name!r}: {hint}(it has {defaults})")
    checked = {}
    for name, parameter in schema.items():
        if name == "seed" and given.get("seed") is None and "seed" not in experiment.parameters:
            continue
        checked[name] = _check_value(label, parameter, given.get(name, parameter.default))
    return checked


def _check_value(label: str, parameter: Parameter, value: Any) -> Any:
    try:
        if isinstance(value, bool) and parameter.annotation is not bool and _refuses_bool(parameter):
            raise ConfigError(f"{label}.{parameter.name}: {value!r} is not a number")
        return TypeAdapter(parameter.annotation).validate_python(value)
    except ValidationError as error:
        raise ConfigError(f"{label}.{parameter.name}: {value!r}: {_reason(error.errors()[0])}") from None


def _refuses_bool(parameter: Parameter) -> bool:
    """Whether a yes or no is a slip: pydantic would quietly take it for 1 or 0."""
    return isinstance(parameter.default, int | float) and not isinstance(parameter.default, bool)


def _config_file(path: Path) -> Path:
    packaged = Path(__file__).parent / "configs"
    if not packaged.is_dir():  # an editable install, where the folder lies at the top of the repository
        packaged = Path(__file__).parent.parent / "configs"
    if path.is_file():
        return path
    named = packaged / f"{path}.yaml"
    if named.is_file():
        return named
    known = sorted(config.stem for config in packaged.glob("*.yaml"))
    raise ConfigError(
        f"there is no config {path}: give a YAML file, or one that comes with the package ({', '.join(known)})"
    )


def _read_layers(path: Path, seen: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in seen:
        raise ConfigError(f"{path}: its base: leads back to itself")
    try:
        settings = _load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(f"{path}{where} is not YAML: {getattr(error, 'problem', error)}") from None
    except ValueError as error:
        raise ConfigError(f"{path} holds a value that cannot be: {error}") from None
    if settings is None:
        settings = {}
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise ConfigError(f"{path}: expected settings as name: value")
    base = settings.pop("base", None)
    if base is None:
        return settings
    return {**_read_layers(_config_file(path.parent / str(base)), (*seen, path.resolve())), **settings}


def _sentence(error: ValidationError, config: type[BaseModel]) -> str:
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"there is no setting {name!r}: {nearest(name, config.model_fields)}"
    if first["type"] == "missing":
        return f"{name} is missing: give it in the config or on the command line"
    return f"{name}: {first['input']!r}: {_reason(first)}"


def _reason(error: Any) -> str:
    message = str(error["msg"])
    return message[:1].lower() + message[1:]
