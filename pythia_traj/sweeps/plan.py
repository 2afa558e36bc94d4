"""Which units to do, in which order.

Pure: a config, the published checkpoints and what is done go in, units come out.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pythia_traj import schema
from pythia_traj.checkpoint import PublishedModel
from pythia_traj.config import ExperimentRequest, SweepConfig
from pythia_traj.discovery import Definition, definition
from pythia_traj.errors import ConfigError, DataError, SuiteError
from pythia_traj.steps import select
from pythia_traj.store.records import digest


@dataclass(frozen=True)
class Unit:
    """The smallest piece of work: one model, one step, one label.

    Attributes:
        digest: of all inputs of its values except the files.
        made_of: the inputs of the digest.
        references: the step of each named reference, for its weights or its rows.
        row_references: the references whose rows it compares with.
        reference_digests: the digest that this label has at each of those.
        cached: the request does not ask for it, but another unit compares with its rows.
        tables: the columns of the tables that its experiment may have beside its rows.
        definition: the file that defines its experiment.
    """

    model: str
    step: int
    label: str
    digest: str = field(repr=False)
    made_of: Mapping[str, Any] = field(repr=False, compare=False)
    references: Mapping[str, int] = field(default_factory=dict, compare=False)
    row_references: Mapping[str, int] = field(default_factory=dict, compare=False)
    reference_digests: Mapping[int, str] = field(default_factory=dict, repr=False, compare=False)
    cached: bool = False
    tables: Mapping[str, Sequence[schema.Column]] = field(
        default_factory=dict, repr=False, compare=False
    )
    definition: Definition | None = field(default=None, repr=False, compare=False)

    @property
    def experiment(self) -> str:
        """The registered name of its experiment."""
        return str(self.made_of["experiment"])

    @property
    def name(self) -> str:
        """The unit in a log or a message."""
        return f"{self.model}/{self.label}/step{self.step}"


@dataclass(frozen=True)
class Plan:
    """What a sweep has to do, and what is done already.

    Attributes:
        steps: the steps of each model that the request asks for, all shards' together.
        todo: units to do, in order; a unit that others compare with comes before them.
        done: units that exist already.
        redone: the units to do that exist but would differ now, each with the difference.
        warnings: existing rows that could be misunderstood.
    """

    steps: Mapping[str, tuple[int, ...]]
    todo: tuple[Unit, ...]
    done: tuple[Unit, ...]
    redone: Mapping[Unit, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def _repr_html_(self) -> str:
        """In a notebook."""
        from pythia_traj.sweeps.shown import plan_as_html

        return plan_as_html(self)


_Inputs = tuple[Mapping[str, Any], str]
"""What a unit is made of, and the digest of that."""

NEW = ""
"""Why a unit that does not exist must be done."""


def make_plan(
    config: SweepConfig,
    models: Sequence[PublishedModel],
    why_todo: Callable[[Unit], str | None],
    *,
    steps: Mapping[str, Sequence[int]] | None = None,
    part: Mapping[str, Sequence[int]] | None = None,
) -> Plan:
    """Expands a request into units and takes away those that are done.

    What a unit compares with and the part does not have is planned too, for the run's cache: a part
    needs no other part.

    Args:
        why_todo: says why a unit must be done: NEW, or how the existing one differs, in words. None
            where it is done.
        steps: of each model, in place of those that the request's expression selects now.
        part: the steps to do, of each model; None are all.

    Raises:
        StepsError: the steps are not published.
        SuiteError: two models have one name.
    """
    _refuse_one_name_for_two(models)
    if steps is None:
        steps = {
            m.model: select(config.steps, m.steps, tokens_per_step=m.tokens_per_step)
            for m in models
        }
    part = steps if part is None else part
    planner = _Planner(config, why_todo, part)
    for published in models:
        for step in part.get(published.model, ()):
            for label in config.experiments:
                planner.add(published, step, label)
    explicit = {model: tuple(selected) for model, selected in steps.items()}
    return Plan(explicit, tuple(planner.todo), tuple(planner.done), planner.redone)


def _refuse_one_name_for_two(models: Sequence[PublishedModel]) -> None:
    """Names that differ only in upper and lower case count as equal, as on some file systems."""
    first: dict[str, PublishedModel] = {}
    for published in models:
        other = first.setdefault(published.model.casefold(), published)
        if other is not published:
            names = " and ".join(dict.fromkeys((other.model, published.model)))
            raise SuiteError(
                f"two models are named {names} ({other.origin}, {published.origin}): results are"
                " stored by name, so give one another name with NAME=DIRECTORY, or use another"
                " --out"
            )


class _Planner:
    def __init__(
        self,
        config: SweepConfig,
        why_todo: Callable[[Unit], str | None],
        part: Mapping[str, Sequence[int]],
    ) -> None:
        self.config, self.why_todo = config, why_todo
        self._part = {model: frozenset(steps) for model, steps in part.items()}
        self.todo: list[Unit] = []
        self.done: list[Unit] = []
        self.redone: dict[Unit, str] = {}
        self._specs = {label: data_spec(config, label) for label in config.experiments}
        self._seen: set[tuple[str, int, str]] = set()
        self._known: dict[tuple[str, tuple[tuple[str, int], ...]], _Inputs] = {}

    def add(self, published: PublishedModel, step: int, label: str) -> None:
        """Adds a unit once, after the units it compares with."""
        # A stack of its own: a part may begin after thousands of steps that each compare with the
        # step before.
        stack: list[int | Unit] = [step]
        in_progress: set[int] = set()
        while stack:
            top = stack.pop()
            if isinstance(top, Unit):
                in_progress.remove(top.step)
                self.todo.append(top)
            elif top in in_progress:
                raise ConfigError(
                    f"{label}: its references lead from step {top} back to it: rows cannot be"
                    " compared in a circle"
                )
            elif (published.model, top, label) not in self._seen:
                self._seen.add((published.model, top, label))
                unit = self._not_done(published, top, label)
                if unit is not None:
                    in_progress.add(top)
                    others = set(unit.row_references.values()) - {top}
                    stack += [unit, *sorted(others, reverse=True)]

    def _not_done(self, published: PublishedModel, step: int, label: str) -> Unit | None:
        """The unit, if it has to be measured; else it is noted as done."""
        cached = step not in self._part.get(published.model, ())
        unit = self._unit(published, step, label, self.config.experiments[label], cached)
        why = self.why_todo(unit)
        if why is None:
            self.done.append(unit)
            return None
        if why != NEW:
            self.redone[unit] = why
        return unit

    def _unit(
        self,
        published: PublishedModel,
        step: int,
        label: str,
        request: ExperimentRequest,
        cached: bool,
    ) -> Unit:
        rows = resolve_references(request.experiment.row_references, published, step)
        references = resolve_references(request.references, published, step) | rows
        made_of, own_digest = self._inputs(label, references)
        compared: dict[int, str] = {}
        for other in rows.values():
            names = (*request.references, *request.experiment.row_references)
            _, compared[other] = self._inputs(label, resolve_references(names, published, other))
        return Unit(
            model=published.model,
            step=step,
            label=label,
            digest=own_digest,
            made_of=made_of,
            references=references,
            row_references=rows,
            reference_digests=compared,
            cached=cached,
            tables=request.experiment.tables,
            definition=definition(request.experiment),
        )

    def _inputs(self, label: str, references: Mapping[str, int]) -> _Inputs:
        """What a unit is made of, and its digest: shared by all steps where it is the same."""
        which = (label, tuple(references.items()))
        if which not in self._known:
            made_of = self._made_of(label, references)
            self._known[which] = (made_of, digest(made_of))
        return self._known[which]

    def _made_of(self, label: str, references: Mapping[str, int]) -> dict[str, Any]:
        """All inputs of a unit's values except its files, through JSON as it will be stored."""
        request = self.config.experiments[label]
        experiment = request.experiment
        # Inputs that the data's spec identifies by content are left out by name: a moved file is
        # the same file.
        by_content = () if experiment.data is None else experiment.data.identified
        made_of = {
            "schema": schema.VERSION,
            "experiment": experiment.name,
            "version": experiment.version,
            "parameters": {
                name: value for name, value in request.parameters.items() if name not in by_content
            },
            "processing": experiment.processing.as_dict(),
            "dtype": self.config.dtype,
            "data": self._specs[label],
            "references": dict(references),
        }
        if experiment.reads and experiment.groups != "every":
            # Experiments once saw all groups by default: those rows differ under the same version.
            made_of["groups"] = experiment.groups
        try:
            return dict(json.loads(json.dumps(made_of, allow_nan=False)))
        except ValueError:
            raise ConfigError(
                f"{label}: a parameter is infinite or not a number: give a finite one"
            ) from None


def data_seed(config: SweepConfig, request: ExperimentRequest) -> int:
    """The seed of a label's data: its own, or the sweep's."""
    own = request.parameters.get("seed")
    return config.seed if own is None else int(own)


def data_spec(config: SweepConfig, label: str) -> dict[str, Any] | None:
    """What identifies a label's data, without a model.

    Raises:
        DataError: a file that it names cannot be read; the message begins with the label.
    """
    request = config.experiments[label]
    data = request.data
    try:
        return None if data is None else data.spec(seed=data_seed(config, request))
    except DataError as error:
        raise DataError(f"{label}: {error}") from error


def resolve_references(
    names: Sequence[str], published: PublishedModel, step: int
) -> dict[str, int]:
    """The steps that an experiment's references stand for at a step.

    `previous` of the first step is left out.

    Raises:
        ConfigError: a reference is unknown, or names a step that is not published.
    """
    found: dict[str, int] = {}
    for name in names:
        if name == "init":
            found[name] = published.steps[0]
        elif name == "final":
            found[name] = published.steps[-1]
        elif name == "previous":
            at = published.steps.index(step)
            if at > 0:
                found[name] = published.steps[at - 1]
        elif name.startswith("step:"):
            found[name] = select(name.removeprefix("step:"), published.steps)[0]
        else:
            raise ConfigError(f"unknown reference {name!r}: use init, final, previous or step:512")
    return found
