"""What a batch job asks a scheduler for: the `cluster` section of a config.

    cluster: {partition: gpu, memory: 16GB, time: "4:00:00", at_once: 8}

It says how a request is done, not what is measured: a run's requests and digests leave it out. Its
words end up in job scripts, where a second line would be another directive. So names are one word
each, and whatever else is text is one line.
"""

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Any

from annotated_types import Ge
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError, WithJsonSchema
from pydantic_core import PydanticCustomError

from pythia_traj.errors import ConfigError, nearest
from pythia_traj.outside import shown
from pythia_traj.settings import Bytes, Counted, Whole, reason

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.,:+/@%=-]{0,999}")
"""One word without quotes, spaces or what a shell or a comment would read; not an option."""

_LONGEST = 4096
"""Characters of a line."""

_TIME = re.compile(
    r"(?:([0-9]{1,4})-(?=[01]?[0-9]:|2[0-3]:))?([0-9]{1,5}):([0-5][0-9]):([0-5][0-9])"
)
"""HH:MM:SS, or D-HH:MM:SS with fewer than 24 hours."""

_MINUTES = re.compile(r"[0-9]{1,7}")


def _name(value: Any) -> Any:
    """A word, or a number that stands for one."""
    word = str(value) if type(value) is int else value
    if not isinstance(word, str) or not _NAME.fullmatch(word):
        raise PydanticCustomError(
            "name",
            "give one word of letters, digits and _ . , : + / @ % = -, such as gpu",
        )
    return word


def _line(value: Any) -> Any:
    if not isinstance(value, str) or not value.strip() or len(value) > _LONGEST:
        raise PydanticCustomError("line", "give a line of text")
    if not value.isprintable():
        raise PydanticCustomError(
            "line", "a line holds no line break or control character: give a list of lines"
        )
    return value


def _lines(value: Any) -> Any:
    if not isinstance(value, str | list | tuple | None):
        raise PydanticCustomError("lines", "give a line of text, or a list of lines")
    return () if value is None else (value,) if isinstance(value, str) else value


def _time(value: Any) -> Any:
    """A duration as HH:MM:SS, which all schedulers know."""
    text = str(value) if type(value) is int else value
    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    if match is not None:
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    elif isinstance(text, str) and _MINUTES.fullmatch(text):
        total = int(text) * 60
    else:
        total = 0
    if total == 0:
        raise PydanticCustomError(
            "duration",
            "give HH:MM:SS, D-HH:MM:SS or minutes, such as 4:00:00, 1-12:00:00 or 90",
        )
    return f"{total // 3600:02}:{total // 60 % 60:02}:{total % 60:02}"


Name = Annotated[
    str,
    BeforeValidator(_name),
    WithJsonSchema({"type": ["string", "integer"], "pattern": f"^{_NAME.pattern}$"}),
]
"""A word that a scheduler knows something by."""

Line = Annotated[str, BeforeValidator(_line)]
"""A line of a script."""

_AS_LINE = {"type": "string", "pattern": r"^[^\x00-\x1f\x7f]+$"}

Lines = Annotated[
    tuple[Line, ...],
    BeforeValidator(_lines),
    WithJsonSchema({"anyOf": [{"type": "array", "items": _AS_LINE}, _AS_LINE, {"type": "null"}]}),
]
"""Lines of a script; a word alone is one."""

Duration = Annotated[
    str,
    BeforeValidator(_time),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": f"^({_TIME.pattern}|{_MINUTES.pattern})$"},
                {"type": "integer", "minimum": 1},
            ]
        }
    ),
]
"""How long a task may take, kept as HH:MM:SS."""

Memory = Annotated[
    Bytes, Ge(10**6), WithJsonSchema({"type": ["string", "integer"], "minimum": 10**6})
]
"""A size of which a few bytes are a slip: `16` for `16GB`."""


_EVERYWHERE = {"gpus", "cpus", "memory", "setup"}
_BATCH = {*_EVERYWHERE, "partition", "account", "time", "at_once", "directives"}

KNOWN: Mapping[str, Collection[str]] = {
    "slurm": {*_BATCH, "qos", "fetch"},
    "kubernetes": {*_EVERYWHERE, "time", "at_once", "image", "volume"},
    # A pool's size says how many tasks run at once, and its workers have the volumes.
    "skypilot": {*_EVERYWHERE, "partition", "directives", "image"},
    "pbs": _BATCH,
    "lsf": _BATCH,
}
"""The settings that each scheduler can be asked for."""


class Cluster(BaseModel):
    """What a batch job asks a scheduler for. A task is one worker, which does one shard.

    Attributes:
        partition: where tasks wait: a partition of Slurm, a queue of PBS and LSF, a pool of
            SkyPilot.
        account: who is charged: an account of Slurm and PBS, a project of LSF.
        qos: the quality of service, which Slurm alone has.
        gpus: of a task; a worker uses one.
        cpus: of a task.
        memory: of a task: `16GB`, or bytes.
        time: how long a task may take: `HH:MM:SS`, `D-HH:MM:SS` or minutes.
        at_once: at most so many tasks run at once.
        directives: more lines for the scheduler, written as they are after its prefix: `-C a100`
            for `#SBATCH -C a100`. SkyPilot reads them as lines of `resources:`, `accelerators:
            H100`.
        setup: lines of shell that each task runs before its worker: `module load cuda`.
        image: a container's image, which Kubernetes needs and SkyPilot takes.
        volume: the PersistentVolumeClaim of Kubernetes that holds the run.
        fetch: a partition of Slurm whose nodes reach the Hub: a job there downloads the checkpoints
            first, without a GPU, and the tasks then ask for no network.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    partition: Name | None = None
    account: Name | None = None
    qos: Name | None = None
    gpus: Whole = 1
    cpus: Counted | None = None
    memory: Memory | None = None
    time: Duration | None = None
    at_once: Counted | None = None
    directives: Lines = ()
    setup: Lines = ()
    image: Name | None = None
    volume: Name | None = None
    fetch: Name | None = None

    def __init__(self, /, **settings: Any) -> None:
        """Checks all settings.

        Raises:
            ConfigError: one of them is wrong; the message says which and what is allowed.
        """
        for name in settings:
            if name not in type(self).model_fields:
                raise ConfigError(
                    f"cluster: unknown setting {shown(name)}:"
                    f" {nearest(name, type(self).model_fields)}",
                    ("cluster", name),
                )
        try:
            super().__init__(**settings)
        except ValidationError as error:
            first = error.errors()[0]
            key = ("cluster", *first["loc"])
            raise ConfigError(
                f"{'.'.join(map(str, key))}: {shown(first['input'])}: {reason(first)}", key
            ) from None

    def refuse_unknown(self, scheduler: str) -> None:
        """Refuses what a scheduler cannot be asked for.

        Raises:
            ConfigError: something is set that this one does not know.
        """
        for name, field in type(self).model_fields.items():
            if name not in KNOWN[scheduler] and getattr(self, name) != field.default:
                able = [other for other, names in KNOWN.items() if name in names]
                raise ConfigError(
                    f"cluster.{name}: {scheduler} cannot be asked for it ({' and '.join(able)}"
                    f" can): leave it out, or give --set cluster.{name}=null",
                    ("cluster", name),
                )

    def need(self, scheduler: str, **meanings: str) -> None:
        """Refuses to go on without what a scheduler needs.

        Args:
            meanings: what each setting is to it.

        Raises:
            ConfigError: one of them is not set.
        """
        for name, meaning in meanings.items():
            if getattr(self, name) is None:
                raise ConfigError(
                    f"cluster.{name} is missing: {scheduler} needs {meaning}", ("cluster", name)
                )

    @property
    def seconds(self) -> int | None:
        """How long a task may take."""
        if self.time is None:
            return None
        hours, minutes, seconds = map(int, self.time.split(":"))
        return (hours * 60 + minutes) * 60 + seconds


def section(value: Any) -> Mapping[str, Any]:
    """The section as it is given; null asks for nothing, and so removes a base's.

    Raises:
        ConfigError: it is something else than settings.
    """
    if value is not None and not isinstance(value, Mapping):
        raise ConfigError(
            f"cluster: {shown(value)}: give settings as name: value, such as partition: gpu",
            ("cluster",),
        )
    return value or {}
