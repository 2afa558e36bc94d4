"""Several runs -> a new run with the units of all of them.

The runs are only read. All of them are compared before anything is written. Every file is whole or
does not exist, tables before metrics, so a merge that was killed goes on where it stopped; run.json
comes last, and with it the new directory is a run. Units that were compacted have files of their
own in it. Where the file system allows it, files of units are hard links, as no program of ours
changes one in place.
"""

import filecmp
import os
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pythia_traj.errors import StoreError
from pythia_traj.outside import read_file
from pythia_traj.store.compacted import open_unit
from pythia_traj.store.done import list_tables, list_units, read_unit, request_files
from pythia_traj.store.events import list_logs
from pythia_traj.store.layout import MERGE, SUFFIXES, Run, foreign_entry, name_of_text, read_facts
from pythia_traj.store.mixed import differences
from pythia_traj.store.origin import recorded_origin
from pythia_traj.store.parquet import DamagedError, write_parquet
from pythia_traj.store.records import Footer, as_json
from pythia_traj.store.refinements import FOLDER
from pythia_traj.store.taking_out import as_written
from pythia_traj.store.writing import writing

UnitName = tuple[str, str, int]
"""Model, label and step."""


@dataclass
class Merge:
    """How a merge ended.

    Attributes:
        out: the new run.
        units: how many units it has.
        written: how many of them were written now.
        damaged: what is wrong with each unit that was left out, as no run has it whole.
        notes: what a reader of the rows must know.
    """

    out: Path
    units: int = 0
    written: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Chosen:
    """The run that a unit is taken from, and what identifies its rows there."""

    run: Run
    digest: str | None
    source: str


def merge_runs(runs: Sequence[Run], out: Path) -> Merge:
    """Makes a run of the units of several.

    Raises:
        StoreError: two of them disagree about a unit or a model, `out` holds something else, or
            it cannot be written.
    """
    _refuse_places(runs, out)
    ids = sorted(read_facts(run.path).id or str(run.path) for run in runs)
    is_complete = _is_ours(out, ids)
    merged, result = Run(out), Merge(out)
    # What the new run has already stays.
    chosen = _choose([merged, *runs] if out.exists() else runs, merged, result)
    models = _models(chosen, [*runs, merged])
    with writing(out):
        if not is_complete:
            with merged.replacing(out / MERGE) as temporary:
                temporary.write_text(_marker(ids), encoding="utf-8")
        merged.remove_leftovers()
        for (model, label, step), one in chosen.items():
            if one.run.path != out:
                _copy_unit(one.run, merged, model, label, step)
                result.written += 1
        for model, run in models.items():
            if os.path.lexists(run.model_path(model)) and run.path != out:
                _link(merged, run.model_path(model), merged.model_path(model))
        for run in runs:
            _copy_records(run, merged)
        if not is_complete:
            merged.write_facts(merged=ids)
        (out / MERGE).unlink(missing_ok=True)
    result.units = len(chosen)
    return result


def _refuse_places(runs: Sequence[Run], out: Path) -> None:
    if len({run.path.resolve() for run in runs}) < 2:
        raise StoreError("a merge needs at least two different runs: give two or more")
    inner = out.resolve()
    for run in runs:
        outer = run.path.resolve()
        if inner.is_relative_to(outer) or outer.is_relative_to(inner):
            raise StoreError(
                f"one of {out} and {run.path} contains the other: give a directory elsewhere"
            )


def _is_ours(out: Path, ids: Sequence[str]) -> bool:
    """Whether the directory is a complete merge of these runs; False if it is to become one.

    Raises StoreError: it holds something else.
    """
    if (out / "run.json").exists():
        if read_facts(out).merged != list(ids):
            raise StoreError(f"{out} is another run: give an empty or a new directory")
        return True
    if (out / MERGE).exists():
        if read_file(out / MERGE, error=StoreError) != _marker(ids).encode():
            raise StoreError(
                f"{out} is an interrupted merge of other runs: give an empty or a new directory"
            )
        return False
    foreign = foreign_entry(out)
    if foreign is not None:
        raise StoreError(f"{out} holds {foreign}: give an empty or a new directory")
    return False


def _marker(ids: Sequence[str]) -> str:
    return as_json({"kind": "pythia-traj merge", "ids": list(ids)}, indent=1) + "\n"


def _choose(runs: Sequence[Run], merged: Run, result: Merge) -> dict[UnitName, _Chosen]:
    """Which run each unit is taken from: the first that has it whole.

    Raises StoreError: two runs have a unit that was made of something else.
    """
    chosen: dict[UnitName, _Chosen] = {}
    damaged: dict[UnitName, tuple[str, str]] = {}
    elsewhere: Counter[str] = Counter()
    for run in runs:
        for found in list_units(run):
            name = (found.model, found.label, found.step or 0)
            try:
                footer = read_unit(run, *name)
            except DamagedError as error:
                damaged[name] = (found.unit, str(error))
                continue
            if footer is None:
                continue
            one = _Chosen(run, footer.digest, _source_of(footer))
            known = chosen.setdefault(name, one)
            if known.digest != one.digest:
                raise _different(known.run, run, name)
            elsewhere[found.model] += known.source != one.source
    result.damaged |= {unit: why for name, (unit, why) in damaged.items() if name not in chosen}
    result.notes += [
        f"{model}: {_units(count)} in more than one run, measured on files of other sizes or times:"
        " those of the run that was named first were taken"
        for model, count in sorted(elsewhere.items())
        if count
    ]
    return chosen


def _different(one: Run, other: Run, name: UnitName) -> StoreError:
    """The error that says how a unit differs in two runs."""
    footers = [read_unit(run, *name) or Footer() for run in (one, other)]
    how = differences([footer.made_of for footer in footers]) or "they do not say how"
    model, label, step = name
    return StoreError(
        f"{model}/{label}/step{step} is in {one.path} and in {other.path} with other settings"
        f" ({how}): measure one of them under another label, or remove it with pythia-traj remove"
    )


def _models(chosen: Mapping[UnitName, _Chosen], runs: Sequence[Run]) -> dict[str, Run]:
    """Which run each model's row is taken from.

    Raises StoreError: two runs have different models of one name.
    """
    models = sorted({model for model, _, _ in chosen})
    found: dict[str, Run] = {}
    for model in models:
        origins: dict[str, Run] = {}
        for run in runs:
            if run.path.exists() and (origin := recorded_origin(run, model)) is not None:
                origins.setdefault(origin, run)
        (first, *others) = [*origins.items()] or [("", runs[0])]
        for origin, run in others:
            if not _is_moved(model, first[1], run):
                raise StoreError(
                    f"{first[1].path} holds rows of {model} from {_place(first[0])}, and {run.path}"
                    f" those of {_place(origin)}: measure one of them again under another name,"
                    " with --model NAME=PATH"
                )
        rows = [run for run in runs if os.path.lexists(run.model_path(model))]
        found[model] = next((run for run in rows if run == runs[-1]), rows[0] if rows else runs[0])
    return found


def _is_moved(model: str, one: Run, other: Run) -> bool:
    """Whether two runs measured the same files of a model at all steps that both have."""
    of_one, of_other = (_sources(run, model) for run in (one, other))
    common = of_one.keys() & of_other.keys()
    return bool(common) and all(of_one[step] == of_other[step] for step in common)


def _sources(run: Run, model: str) -> dict[int, str]:
    found: dict[int, str] = {}
    for one in list_units(run):
        if one.model == model and one.step is not None and one.step not in found:
            try:
                footer = read_unit(run, model, one.label, one.step)
            except DamagedError:
                continue
            if footer is not None:
                found[one.step] = _source_of(footer)
    return found


def _source_of(footer: Footer) -> str:
    """The files of a unit's own step."""
    return as_json({name: value for name, value in footer.source.items() if name != "references"})


def _place(origin: str) -> str:
    return origin.removeprefix("directory:")


def _copy_unit(run: Run, merged: Run, model: str, label: str, step: int) -> None:
    """Tables and tensors first, as a unit is written."""
    for table in (*(one for one in list_tables(run) if one != "models"), None):
        for suffix in SUFFIXES if table is not None else SUFFIXES[:1]:
            own = run.unit_path(model, label, step, table=table, suffix=suffix)
            target = merged.unit_path(model, label, step, table=table, suffix=suffix)
            if os.path.lexists(own):
                _link(merged, own, target)
            elif suffix == ".parquet":
                _write_own(run, merged, (model, label, step), table, target)


def _write_own(run: Run, merged: Run, name: UnitName, table: str | None, target: Path) -> None:
    """Gives a unit that was compacted a file of its own."""
    try:
        whole = open_unit(run, *name, table=table)
    except FileNotFoundError:
        return
    with merged.replacing(target) as temporary:
        write_parquet(temporary, whole.table(), as_written(whole))


def _link(merged: Run, path: Path, target: Path) -> None:
    with merged.replacing(target) as temporary:
        try:
            os.link(path.resolve(), temporary)
        except OSError:
            # Another disk, or one without hard links.
            shutil.copyfile(path, temporary)


def _copy_records(run: Run, merged: Run) -> None:
    """Requests, logs and the choices of refinements, with their times: those are heartbeats."""
    for path in request_files(run):
        target = merged.path / "requests" / path.name
        if target.exists() and not filecmp.cmp(path, target, shallow=False):
            # A request that was changed keeps its name in its run; here another one has it.
            target = target.with_name(f"{name_of_text(path.read_text(encoding='utf-8'))}.json")
        _copy(merged, path, target)
    outputs = (run.path / "log").glob("*.out")
    for path in sorted((*list_logs(run), *outputs, *(run.path / FOLDER).glob("*.json"))):
        target = merged.path / path.relative_to(run.path)
        # Events and rounds are only ever added.
        if not target.exists() or target.stat().st_size < path.stat().st_size:
            _copy(merged, path, target)


def _copy(merged: Run, path: Path, target: Path) -> None:
    with merged.replacing(target) as temporary:
        shutil.copy2(path, temporary)


def _units(count: int) -> str:
    return "1 unit is" if count == 1 else f"{count} units are"
