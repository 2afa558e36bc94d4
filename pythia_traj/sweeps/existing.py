"""What a run holds already, compared with the request.

It finds which units are done, which model their rows belong to, and what to warn about.

A unit is done when all its files are whole, its digest is the same and the files that it was
measured on are current; else there is a reason to redo it. Rows of another model that has the same
name never replace them.
"""

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pythia_traj.architectures.settings import shape
from pythia_traj.architectures.tensors import parameter_count
from pythia_traj.checkpoint import PublishedModel
from pythia_traj.config import SweepConfig
from pythia_traj.discovery import has_changed
from pythia_traj.errors import CheckpointError, HubError, StoreError
from pythia_traj.store.done import list_units, read_footer, read_unit
from pythia_traj.store.layout import Run
from pythia_traj.store.mixed import differences
from pythia_traj.store.origin import recorded_origin, row_footer
from pythia_traj.store.parquet import DamagedError
from pythia_traj.store.records import ExperimentSource, Footer, as_json
from pythia_traj.store.unit import write_model
from pythia_traj.sweeps.changes import changes
from pythia_traj.sweeps.plan import NEW, Plan, Unit
from pythia_traj.sweeps.sources import what_changed

_DIRECTORY = "directory:"

_DAMAGED = "its files are damaged"


class Existing:
    """The requested units that a run holds already."""

    def __init__(self, run: Run | None, models: Sequence[PublishedModel]) -> None:
        """Checks that rows under the models' names belong to these models.

        Args:
            run: None where it does not exist yet.

        Raises:
            StoreError: they belong to another model.
        """
        self._run = run
        self._models = {published.model: published for published in models}
        self._defined: dict[Unit, ExperimentSource | None] = {}
        self._damaged: dict[str, str] = {}
        self._compared: dict[tuple[str, int, str], str | None] = {}
        if run is not None:
            for published in models:
                refuse_other_origin(run, published)

    def why_todo(self, unit: Unit) -> str | None:
        """Why a unit must be done; None where it exists, is whole, and would be the same now.

        It is NEW, or the text is the reason to redo it. Opens no connection.
        """
        if self._run is None:
            return NEW
        why = NEW
        for cached in (False, True) if unit.cached else (False,):
            try:
                footer = read_unit(self._run, unit.model, unit.label, unit.step, cached=cached)
            except DamagedError as error:
                self._damaged[unit.name] = str(error)
                why = _DAMAGED
                continue
            if footer is None:
                continue
            changed = self._what_changed(unit, footer)
            if changed is None:
                self._defined[unit] = footer.experiment_source
                self._damaged.pop(unit.name, None)
                return None
            why = changed
        return why

    def _what_changed(self, unit: Unit, footer: Footer) -> str | None:
        """Looks at files only where nothing else has changed."""
        if footer.digest != unit.digest:
            return changes(footer.made_of, unit.made_of)
        # The labels of a step rest on the same files, which are looked at once for all of them.
        source = as_json({"now": unit.references, "then": footer.source})
        compared = (unit.model, unit.step, source)
        if compared not in self._compared:
            found = what_changed(self._models[unit.model], unit, footer.source)
            self._compared[compared] = found
        return self._compared[compared]

    def warnings(self, config: SweepConfig, plan: Plan) -> tuple[str, ...]:
        """What the user should know before the first unit is measured."""
        return (*self._say_damaged(), *self._say_other_settings(plan), *self._say_edited(config))

    def _say_damaged(self) -> list[str]:
        if not self._damaged:
            return []
        count, first = len(self._damaged), next(iter(self._damaged.values()))
        more = f", and {count - 1} more" if count > 1 else ""
        return [f"measured again because their files are damaged: {first}{more}"]

    def _say_other_settings(self, plan: Plan) -> list[str]:
        """Rows of the same label at steps outside this request stay as they are."""
        if self._run is None:
            return []
        units = {(unit.model, unit.label): unit for unit in (*plan.todo, *plan.done)}
        kept: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for found in list_units(self._run):
            name = (found.model, found.label)
            if name in units and found.step not in plan.steps[found.model]:
                footer = read_footer(self._run, found)
                if footer is not None and footer.settings != _settings(units[name]):
                    kept.setdefault(name, []).append(footer.settings)
        said = []
        for (model, label), others in kept.items():
            different = differences([_settings(units[model, label]), *others])
            said.append(
                f"{model}/{label}: at other steps {_units(len(others))} made with other settings"
                f" ({different}), which stay: give this one a label of its own, or ask for those"
                " steps too"
            )
        return said

    def _say_edited(self, config: SweepConfig) -> list[str]:
        """An experiment is identified by its version.

        After an edit of its file without a new version, the old rows are kept.
        """
        stale: Counter[str] = Counter()
        for unit, before in self._defined.items():
            now = unit.definition
            if (
                before is not None
                and now is not None
                and not now.packaged
                and before.sha256 != now.sha256
            ):
                stale[unit.label] += 1
        said = [
            f"{label}: {config.experiments[label].use} has changed since {_units(count)} measured,"
            " its version has not: raise version= to measure them again"
            for label, count in stale.items()
        ]
        for label, request in config.experiments.items():
            if has_changed(request.experiment):
                said.append(
                    f"{label}: {request.use} has changed since it was imported: start Python again"
                    " to use it as it is now"
                )
        return said


def facts_of(published: PublishedModel, config: Mapping[str, Any]) -> dict[str, Any]:
    """A model's row of the `models` table: facts from its suite and from its config.

    Raises:
        CheckpointError: the config is of another architecture.
    """
    sizes = shape(config)
    return {
        "suite": published.suite,
        "tokens_per_step": published.tokens_per_step,
        "n_steps": len(published.steps),
        **{name: sizes[name] for name in ("n_layers", "n_heads", "d_model", "d_vocab")},
        "n_parameters": parameter_count(config),
        **published.facts(),
    }


def record_model(run: Run, published: PublishedModel, facts: Mapping[str, Any]) -> None:
    """Writes a model's row, which also records which model the rows under its name belong to.

    Raises:
        StoreError: they belong to another model, such as that of a simultaneous sweep.
    """
    footer = {"origin": published.origin}
    if not write_model(run, published.model, facts, footer, anew=True):
        refuse_other_origin(run, published)
        write_model(run, published.model, facts, footer, anew=False)


def renew_models(run: Run, models: Iterable[PublishedModel]) -> None:
    """Writes damaged rows of models again, where their checkpoints can be read."""
    for published in models:
        is_there = os.path.lexists(run.model_path(published.model))
        if published.steps and is_there and row_footer(run, published.model) is None:
            try:
                record_model(
                    run,
                    published,
                    facts_of(published, published.checkpoint(published.steps[-1]).config()),
                )
            except (CheckpointError, HubError):
                # The next sweep that measures the model writes the row.
                continue


def refuse_other_origin(run: Run, published: PublishedModel) -> None:
    """Checks that the rows under a model's name belong to it.

    A moved directory is the same model as long as its files are the same. Rows of older versions do
    not say where the model was.

    Raises:
        StoreError: they belong to another model.
    """
    known = recorded_origin(run, published.model)
    if known is None or known == published.origin or _is_moved(run, published):
        return
    directory = published.origin.removeprefix(_DIRECTORY)
    is_directory = directory != published.origin
    advice = (
        f"give it another name with --model NAME={directory}, or use" if is_directory else "use"
    )
    raise StoreError(
        f"{run.path} holds rows of {published.model} from {known.removeprefix(_DIRECTORY)}, "
        f"and {directory} has the same name: {advice} another --out"
    )


def _is_moved(run: Run, published: PublishedModel) -> bool:
    """Whether the existing files of all measured steps are those that were measured."""
    recorded: dict[int, Mapping[str, Any]] = {}
    for found in list_units(run):
        if (
            found.model == published.model
            and found.step in published.steps
            and found.step not in recorded
        ):
            footer = read_footer(run, found)
            if footer is not None:
                recorded[found.step] = {
                    name: value for name, value in footer.source.items() if name != "references"
                }
    return bool(recorded) and all(
        _is_current(published, step, source) for step, source in recorded.items()
    )


def _is_current(published: PublishedModel, step: int, source: Mapping[str, Any]) -> bool:
    try:
        return published.what_changed(step, source) is None
    except CheckpointError:
        return False


def _units(count: int) -> str:
    return "1 unit was" if count == 1 else f"{count} units were"


def _settings(unit: Unit) -> dict[str, Any]:
    """In the form that a footer has."""
    return Footer(made_of=json.loads(as_json(unit.made_of))).settings
