"""What a run's JSON says, one typed model for each kind of document.

It also writes such a document.

Disks fail, editors save half a file, and other programs write into a run's directory. A document is
one of these, or it is damaged.
"""

import json
import math
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Any

from annotated_types import Interval
from pydantic import BaseModel, ConfigDict, Field

MARKER = "pythia-traj run"

_MOST_UNITS = 10_000_000
"""The most units of one request; a larger number must be damage."""

Step = Annotated[int, Interval(ge=0, lt=2**31)]
"""A step, as its column can hold it."""

ProcessId = Annotated[int, Interval(ge=1, lt=2**31)]


class _Record(BaseModel):
    """Other keys are allowed: later versions write more."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow", allow_inf_nan=False)


class RunFacts(_Record):
    """`run.json`.

    Attributes:
        version: of the pythia-traj that wrote it; None in runs of schema 1.
        id: identifies the run.
        converted: the `id` and `schema` of the run that it is a conversion of.
        merged: the `id` of each of the runs that were merged into it.
    """

    kind: str
    schema_version: Annotated[int, Field(alias="schema", ge=1)]
    version: str | None = None
    id: str | None = None
    converted: dict[str, Any] | None = None
    merged: list[str] | None = None


class Request(_Record):
    """`requests/<digest>.json`: what to measure, with all that decides which worker does it.

    Attributes:
        explicit_steps: of each model.
        weight_bytes: of one step of each model; without those whose size is not known.
    """

    explicit_steps: dict[str, list[Step]]
    experiments: dict[str, Any]
    weight_bytes: dict[str, Annotated[int, Interval(ge=1, lt=2**53)] | None] = {}

    @property
    def is_possible(self) -> bool:
        """Whether the number of units is one that a user can have meant."""
        return sum(map(len, self.explicit_steps.values())) * len(self.experiments) <= _MOST_UNITS


class Event(_Record):
    """A line of a log."""

    event: str
    time: float
    unit: str | None = None
    error: str | None = None
    request: str | None = None
    host: str | None = None
    pid: ProcessId | None = None


class Array(_Record):
    """`jobs/<submission>/array.json`: tasks that were given to a scheduler together.

    Attributes:
        request: the one that they do.
        count: how many shards that is cut into; 0 for a task that only fetches.
        shards: the number of each task's shard, in the order of the tasks.
        job: the scheduler's id of the whole; None until it is known.
    """

    request: str
    count: Annotated[int, Field(ge=0)]
    shards: list[Annotated[int, Field(ge=0)]]
    job: str | None = None


class Round(_Record):
    """A round of a refinement: what it chose to measure, and what was known then.

    Attributes:
        steps: chosen to be measured.
        why: as a word of `analysis.adaptive.rule.REASONS`.
        measured: how many steps were measured before.
        onset: of those steps; None before the first steps are measured.
    """

    steps: list[Step]
    why: str
    measured: Annotated[int, Field(ge=0)]
    onset: dict[str, Any] | None = None


class Refinement(_Record):
    """`refinements/<name>.json`: how a search for an onset chose its steps.

    Attributes:
        model, label, metric: whose onset it is.
        where: the words and numbers by which its trajectory was asked for.
        trajectory: the key columns of the one that was taken; empty until it is known.
        rounds: in their order.
        ended: why the search ended, what it found, and where nothing was measured; empty before.
    """

    model: str
    label: str
    metric: str
    where: dict[str, str | int | None] = {}
    trajectory: dict[str, str | int | None] = {}
    rounds: list[Round] = []
    ended: dict[str, Any] = {}


class IndexedUnit(_Record):
    """A unit of a compacted label.

    Attributes:
        step: its step.
        digest, source: as in its provenance.
        tables: the tables beside the metrics in which it has compacted rows.
    """

    step: Step
    digest: str | None = None
    source: dict[str, Any] = {}
    tables: list[str] = []


class Index(_Record):
    """`compacted/model=<model>/label=<label>/compacted.json`: the units of compacted files.

    It says to people and other programs what the units were made of. Whether a unit is whole, and
    so done, only the compacted file says, whose footer has the same.

    Attributes:
        finished: whether the compacted files are where readers look for them.
        units: by step.
    """

    finished: bool
    units: list[IndexedUnit]


class Share(_Record):
    """A unit's share of a compacted file.

    Attributes:
        rows: how many of its rows, in the order of the units.
        own: its provenance, without what all units have in common.
    """

    step: Step
    rows: Annotated[int, Field(ge=0)]
    own: dict[str, Any]


class Together(_Record):
    """The provenance in a compacted file.

    Attributes:
        common: what the provenance of all its units has in common.
        units: by step.
    """

    common: dict[str, Any]
    units: list[Share]


class ExperimentSource(_Record):
    """The file an experiment was defined in.

    Attributes:
        file: its name, or that of the module.
        sha256: of its bytes.
        packaged: whether it came with pythia-traj.
        description: the first line of the experiment's docstring; None in rows of older versions.
        cites: where its measures come from; None likewise.
    """

    file: str
    sha256: str
    packaged: bool
    description: str | None = None
    cites: str | None = None


class Footer(_Record):
    """The provenance in a file of a unit.

    Attributes:
        digest: see architecture.md, *Units, digests, sources*.
        made_of: what the digest is of.
        source: the files it was measured on.
        origin: where those were published; None in rows of older versions.
        experiment_source: the file that defines the experiment; None likewise.
        beside: names of the tables and tensors that belong to the unit, with their suffixes; None
            likewise.
        versions: of the libraries it was computed with.
        name: the device's.
        converted: of rows that were made from those of another schema, that `schema`, the
            `version` of pythia-traj that wrote them and the `digest` they had; None of others.
    """

    digest: str | None = None
    made_of: dict[str, Any] = {}
    source: dict[str, Any] = {}
    origin: str | None = None
    experiment_source: ExperimentSource | None = None
    beside: list[str] | None = None
    versions: dict[str, str] = {}
    name: str | None = None
    converted: dict[str, Any] | None = None

    @property
    def schema_number(self) -> int:
        """The schema that it was written in; 0 where it does not say."""
        number = (self.model_extra or {}).get("schema")
        return number if isinstance(number, int) else 0

    @property
    def defect(self) -> str | None:
        """What was known to be wrong with the weights that it was measured on."""
        found = (self.model_extra or {}).get("integrity")
        if not isinstance(found, Mapping) or found.get("verdict") != "known-defect":
            return None
        return str(found.get("why") or "it does not say how")

    @property
    def published_at(self) -> str | None:
        """Where the model was published, as `PublishedModel.origin` says it.

        Rows of older versions record it only for the Hub.
        """
        repo = self.source.get("repo")
        return self.origin or (f"hub:{repo}" if isinstance(repo, str) else None)

    @property
    def settings(self) -> dict[str, Any]:
        """What must be equal before rows of a label at two steps can be compared.

        It is all that they were made of except the references' steps.
        """
        return {name: value for name, value in self.made_of.items() if name != "references"}


def digest(made_of: Mapping[str, Any]) -> str:
    """sha256 of the canonical JSON of what a unit is made of."""
    return sha256(json.dumps(made_of, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def as_json(document: Mapping[str, Any], *, indent: int | None = None) -> str:
    """A document as text that can be read again.

    Values that JSON cannot hold become null, invalid text is escaped.
    """
    return json.dumps(_plain(document), sort_keys=True, indent=indent)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        # File names that are not UTF-8 come with lone surrogates.
        return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_plain(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value
