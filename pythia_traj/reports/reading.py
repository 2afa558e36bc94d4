"""One or several runs -> what the page needs of them, whatever state they are in.

What cannot be read is left out and said in a note. Only what is not a run at all is refused.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from pythia_traj import schema
from pythia_traj.analysis.comparison.sides import given_twice, unique_names
from pythia_traj.analysis.wording import listed
from pythia_traj.errors import AnalysisError
from pythia_traj.reports.notes import Note, notes_of, of_files
from pythia_traj.store.done import Found, list_tables
from pythia_traj.store.layout import Run, read_facts, say_newer
from pythia_traj.store.mixed import differences
from pythia_traj.store.read import Read, published_models, read_run
from pythia_traj.store.records import Footer
from pythia_traj.sweeps.status import Status, status


@dataclass(frozen=True)
class ReadRuns:
    """What a page needs of one or several runs.

    Attributes:
        names: what each run is called, by its directory.
        rows: the rows of all runs, as `pythia_traj.load(controls=True, mixed=True)` gives those of
            one. A model that several runs have is called `run/model`.
        footers: the provenance of each file that was read; `model` is as in the rows.
        models: the table of models, `model` as in the rows, and in `origin` where each is
            published, as `PublishedModel.origin` says it; None where that is not recorded.
        status: how far each run is, by its directory.
        notes: what a reader of the rows must know.
    """

    names: Mapping[Path, str]
    rows: pd.DataFrame
    footers: Mapping[Found, Footer]
    models: pd.DataFrame
    status: Mapping[Path, Status]
    notes: tuple[Note, ...]
    _runs: tuple["_OneRun", ...] = field(repr=False, compare=False, default=())
    _beside: dict[tuple[str, ...], tuple[pd.DataFrame | None, tuple[Note, ...]]] = field(
        repr=False, compare=False, default_factory=dict
    )

    def items(self, metrics: Sequence[str]) -> pd.DataFrame | None:
        """The items of some metrics, read when they are first asked for.

        Returns:
            the table `items` of all runs, with `model` as in the rows, controls included; None
            where no run keeps items of these metrics.

        Args:
            metrics: their names.
        """
        asked = sorted(set(metrics))
        return self._table("items", *asked, controls=True, unknown=True, metric=asked)

    @property
    def samples(self) -> pd.DataFrame | None:
        """What the models wrote: the table `samples`, with `model` as in the rows; None without."""
        return self._table("samples")

    @property
    def notes_on_tables(self) -> tuple[Note, ...]:
        """What must be known of the tables that were read until now, beside what `notes` says."""
        said = dict.fromkeys(note for _, notes in self._beside.values() for note in notes)
        return tuple(note for note in said if note not in self.notes)

    def _table(self, name: str, *asked: str, **options: Any) -> pd.DataFrame | None:
        """A table beside the rows, of all runs, read once; None where no run has any row of it."""
        if (name, *asked) not in self._beside:
            found = [(one, one.table(name, **options)) for one in self._runs]
            parts = [(one, read) for one, read in found if read is not None]
            frames = [one.renamed(read.frame) for one, read in parts if len(read.frame)]
            notes = [note for one, read in parts for note in one.said(of_files(read))]
            self._beside[name, *asked] = together(frames) if frames else None, tuple(notes)
        return self._beside[name, *asked][0]


def read_runs(runs: Sequence[str | Path]) -> ReadRuns:
    """Reads one or several runs for a page.

    Runs that are empty, being written, partly failed or damaged, or of a newer schema, are read as
    far as possible, and the notes say what is missing.

    Args:
        runs: their directories.

    Raises:
        StoreError: one is not a run, or one of an older schema, which can be converted.
        AnalysisError: none is given, or one twice.
    """
    names = run_names(runs)
    paths = [*names]
    read = [_read(path, f"{names[path]}: " if len(paths) > 1 else "") for path in paths]
    pairs = [(one.path, model) for one in read for model in one.known]
    called = dict(zip(pairs, unique_names(pairs), strict=True))
    read = [
        replace(one, called={model: called[one.path, model] for model in one.known}) for one in read
    ]
    return ReadRuns(
        names=names,
        rows=together([one.renamed(one.found.frame) for one in read]),
        footers={
            replace(unit, model=one.called[unit.model]): footer
            for one in read
            for unit, footer in one.found.footers.items()
        },
        models=together([one.renamed(one.models) for one in read]),
        status={one.path: one.status for one in read},
        notes=(
            *(note for one in read for note in one.notes),
            *apart(
                (names[one.path], found.label, footer.settings)
                for one in read
                for found, footer in one.found.footers.items()
            ),
        ),
        _runs=tuple(read),
    )


@dataclass(frozen=True)
class _OneRun:
    """One run, its models named as in it.

    Attributes:
        prefix: in front of what is said of it; empty where there is one run.
        models: its table of models, with `origin`.
        notes: with the prefix.
        called: the names of its models among those of all runs.
    """

    path: Path
    run: Run
    prefix: str
    found: Read
    models: pd.DataFrame
    status: Status
    notes: tuple[Note, ...] = ()
    called: Mapping[str, str] = field(default_factory=dict)

    @property
    def known(self) -> list[str]:
        """Its models: those that have rows, or a row in the table of models."""
        with_rows = (unit.model for unit in self.found.footers)
        return sorted({*with_rows, *map(str, self.models["model"])})

    def renamed(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Rows of it with the names among all runs."""
        if all(name == model for model, name in self.called.items()):
            return frame
        words = frame["model"].cat
        # A model whose metrics are all damaged may still have items.
        renamed = words.rename_categories(lambda name: self.called.get(name, name))
        return frame.assign(model=renamed)

    def table(self, name: str, **options: Any) -> Read | None:
        """A table with the options of `read_run`; None where it has none of that name."""
        if name not in list_tables(self.run):
            return None
        return read_run(self.run, table=name, mixed=True, **options)

    def said(self, notes: Iterable[Note]) -> tuple[Note, ...]:
        """Notes that name the run where there are several."""
        return tuple(replace(note, words=f"{self.prefix}{note.words}") for note in notes)


def _read(path: Path, prefix: str) -> _OneRun:
    run, facts = Run.open(path, newer=True), read_facts(path, newer=True)
    found, state = read_run(run, controls=True, mixed=True), status(run)
    notes = []
    if facts.schema_version > schema.VERSION:
        notes.append(Note("warning", f"the run {say_newer(facts)}"))
        # Only files of units say which schema they are of.
        models = no_models()
    else:
        models, of_models = read_models(run, found.footers)
        notes += of_models
    one = _OneRun(path, run, prefix, found, models, state)
    return replace(one, notes=one.said([*notes, *notes_of(found, state)]))


def read_models(run: Run, units: Mapping[Found, Footer]) -> tuple[pd.DataFrame, list[Note]]:
    """The table of models with where each is published, and what was left out of it.

    Args:
        run: a run of this schema.
        units: the provenance of its units, which in old runs alone say where a model is from.
    """
    if "models" not in list_tables(run):
        return no_models(), []
    read = read_run(run, table="models", mixed=True)
    origins: dict[str, str | None] = {}
    for found, footer in (*read.footers.items(), *units.items()):
        origins[found.model] = origins.get(found.model) or footer.published_at
    origin = [origins[model] for model in read.frame["model"]]
    return read.frame.assign(origin=pd.array(origin, dtype=object)), list(of_files(read))


def no_models() -> pd.DataFrame:
    """A table of models without any, with `origin`."""
    return published_models().iloc[:0].astype({"model": "category"}).assign(origin=None)


def apart(settings: Iterable[tuple[str, str, Mapping[str, Any]]]) -> Iterator[Note]:
    """Which labels of several runs were measured with different settings.

    Args:
        settings: of units: the run's name, the label, and what the unit was made of.
    """
    of_labels: dict[str, dict[str, Mapping[str, Any]]] = {}
    for run, label, own in settings:
        of_labels.setdefault(label, {}).setdefault(run, own)
    for label, of_runs in of_labels.items():
        if different := differences(of_runs.values()):
            runs = listed(list(of_runs))
            yield Note(
                "warning",
                f"{label} was measured with different settings in {runs} ({different}): what"
                " differs there may not come from training",
            )


def run_names(runs: Sequence[str | Path]) -> dict[Path, str]:
    """What each run is called: the name of its directory, or its path where two have one name.

    Raises:
        AnalysisError: none is given, or one twice.
    """
    paths = [Path(run) for run in runs]
    if not paths:
        raise AnalysisError("no run is given: name the directory of one run or several")
    if twice := given_twice(paths):
        raise AnalysisError(f"{twice} is given twice: give each run once")
    short = {path: path.resolve().name for path in paths}
    counts = Counter(short.values())
    return {path: name if counts[name] == 1 else str(path) for path, name in short.items()}


def together(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """The rows of some frames, one after the other; words stay categories."""
    if len(frames) == 1:
        return frames[0]
    words: dict[str, list[Any]] = {}
    for name in frames[0].columns:
        if all(isinstance(frame[name].dtype, pd.CategoricalDtype) for frame in frames):
            every = (word for frame in frames for word in frame[name].cat.categories)
            words[name] = list(dict.fromkeys(every))
    of_one_type = [
        frame.assign(**{name: frame[name].cat.set_categories(words[name]) for name in words})
        for frame in frames
    ]
    return pd.concat(of_one_type, ignore_index=True)
