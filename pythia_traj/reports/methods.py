"""How runs were measured: plain strings and tuples, for a page or a paper to show.

Everything comes from rows, footers and onsets. Texts are as they stand there; whatever shows them
escapes them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from pythia_traj.analysis.wording import counted, listed, step_words
from pythia_traj.bibliography import ERRORS, LIBRARIES, ONSETS, SUITES, bibtex, cited, reference
from pythia_traj.reports.counts import counted_tests
from pythia_traj.reports.described import Description, description_of
from pythia_traj.store.done import Found
from pythia_traj.store.records import ExperimentSource, Footer
from pythia_traj.suites.catalog import catalog

_MOST_COMMITS = 3
_COMMIT_SIGNS = 12


@dataclass(frozen=True)
class MeasuredModel:
    """A model, and which of its steps were measured.

    Attributes:
        name: as its rows have it.
        suite: the family of models that it belongs to.
        published_at: its repository on the Hub, or its directory; empty where it is not known.
        parameters: how many, such as `70,426,624`; empty where it is not known.
        steps: how many were measured, with the first and the last.
        commits: those of its steps: the one, or how many and some of them; empty for a directory.
    """

    name: str
    suite: str
    published_at: str
    parameters: str
    steps: str
    commits: str


@dataclass(frozen=True)
class MeasuredExperiment:
    """An experiment under a label, as one file defined it.

    Two runs may have one label for two experiments: each is described apart.

    Attributes:
        label: the label.
        name: the experiment's.
        version: of the experiment; several are separated by commas.
        summary: the first line of its docstring; empty where its source is not here.
        defined_in: the file that defines it, and the first digits of its digest.
        parameters: all of them, as names and values.
        conventions: the variants that its measurements have.
        controls: the controls that it has.
        processing: how weights were processed.
        data: what identifies its data beside the seed: the source, digests of texts.
        seeds: of its data.
        compared_with: the other steps that it compares with.
        cites: short citations.
        units: how many units were measured.
    """

    label: str
    name: str
    version: str
    summary: str
    defined_in: str
    parameters: tuple[tuple[str, str], ...]
    conventions: tuple[str, ...]
    controls: tuple[str, ...]
    processing: str
    data: tuple[tuple[str, str], ...]
    seeds: tuple[str, ...]
    compared_with: tuple[str, ...]
    cites: tuple[str, ...]
    units: str


@dataclass(frozen=True)
class Methods:
    """How runs were measured.

    Attributes:
        models: in the order of the rows.
        experiments: in the order of their labels, then of their names and files.
        versions: packages with their versions; several are separated by commas.
        device: what computed.
        dtype: in which precision.
        processing: each way in which weights were processed.
        seeds: of all data.
        tests: a sentence for each kind of test that was made.
        references: the works that these experiments and methods cite, as lines of text.
        bibtex: the same works as BibTeX.
    """

    models: tuple[MeasuredModel, ...]
    experiments: tuple[MeasuredExperiment, ...]
    versions: tuple[tuple[str, str], ...]
    device: str
    dtype: str
    processing: tuple[str, ...]
    seeds: tuple[str, ...]
    tests: tuple[str, ...]
    references: tuple[str, ...]
    bibtex: str


def methods_of(
    rows: pd.DataFrame,
    footers: Mapping[Found, Footer],
    onsets: pd.DataFrame,
    models: pd.DataFrame | None = None,
) -> Methods:
    """How the rows of one or several runs were measured.

    Args:
        rows: the rows, with controls.
        footers: the provenance of their files (`pythia_traj.store.read.Read.footers`).
        onsets: of the rows, as `pythia_traj.analysis.findings.dated` gives them.
        models: the table `models` of the runs; without it the sizes of published models are known.
    """
    of_models: dict[str, list[Footer]] = {}
    for found, footer in footers.items():
        of_models.setdefault(found.model, []).append(footer)
    measured_models = _models(rows, of_models, models)
    experiments = tuple(
        _experiment(which, units, rows) for which, units in sorted(_together(footers).items())
    )
    versions = _versions(footers.values())
    citations = _citations(measured_models, experiments, versions, rows, onsets)
    return Methods(
        models=measured_models,
        experiments=experiments,
        versions=versions,
        device=", ".join(_distinct(map(_device, footers.values()))),
        dtype=", ".join(_distinct(_text(one.made_of.get("dtype")) for one in footers.values())),
        processing=_distinct(one.processing for one in experiments),
        seeds=_distinct(seed for one in experiments for seed in one.seeds),
        tests=counted_tests(rows, onsets),
        references=tuple(map(reference, citations)),
        bibtex=bibtex(citations),
    )


@dataclass(frozen=True, order=True)
class _Which:
    """What units have in common that are described together."""

    label: str
    experiment: str
    file: str
    sha256: str


def _together(footers: Mapping[Found, Footer]) -> dict[_Which, dict[Found, Footer]]:
    """The units of each experiment under a label."""
    units: dict[_Which, dict[Found, Footer]] = {}
    for found, footer in footers.items():
        source = footer.experiment_source
        file, sha256 = ("", "") if source is None else (source.file, source.sha256)
        which = _Which(found.label, _text(footer.made_of.get("experiment")), file, sha256)
        units.setdefault(which, {})[found] = footer
    return units


def _models(
    rows: pd.DataFrame, footers: Mapping[str, Sequence[Footer]], table: pd.DataFrame | None
) -> tuple[MeasuredModel, ...]:
    if rows.empty:
        return ()
    sizes = {}
    if table is not None and len(table):
        sizes = dict(zip(table["model"].astype(str), table["n_parameters"], strict=True))
    found = []
    for name, at in rows.groupby("model", sort=False, observed=True):
        own = footers.get(str(name), ())
        places = _distinct(_place(one.published_at) for one in own)
        size = sizes.get(str(name), _published_size(str(name), own))
        steps = sorted({int(step) for step in at["step"]})
        measured = counted(len(steps), "step")
        if len(steps) > 1:
            measured += f", from {step_words(steps[0])} to {step_words(steps[-1])}"
        elif steps:
            measured += f", {step_words(steps[0])}"
        found.append(
            MeasuredModel(
                name=str(name),
                suite=", ".join(_words(at["suite"])),
                published_at=", ".join(places),
                parameters="" if size is None or pd.isna(size) else f"{int(size):,}",
                steps=measured,
                commits=_commits(_words(at["commit"])),
            )
        )
    return tuple(found)


def _published_size(name: str, footers: Sequence[Footer]) -> int | None:
    """The parameters of a model of a suite, if it was published where the suite is."""
    record = catalog().get(name)
    if record is None or not any((one.published_at or "").startswith("hub:") for one in footers):
        return None
    return record.size.n_parameters


def _place(origin: str | None) -> str:
    """A repository's name, or a directory's path, of an origin such as `hub:org/name`."""
    kind, _, place = (origin or "").partition(":")
    return place if kind in ("hub", "directory") else origin or ""


def _commits(commits: Sequence[str]) -> str:
    if not commits:
        return ""
    if len(commits) == 1:
        return f"commit {commits[0]}"
    short = [one[:_COMMIT_SIGNS] for one in commits]
    such_as = f", such as {', '.join(short[:_MOST_COMMITS])}" if len(short) > _MOST_COMMITS else ""
    named = such_as or f": {listed(short, _MOST_COMMITS)}"
    return f"{len(short)} commits{named}"


def _experiment(
    which: _Which, units: Mapping[Found, Footer], rows: pd.DataFrame
) -> MeasuredExperiment:
    made = [footer.made_of for footer in units.values()]
    source = next(iter(units.values())).experiment_source
    says = description_of(which.experiment, source) if which.experiment else Description()
    own = rows
    if len(rows):
        own = rows[(rows["label"] == which.label) & rows["model"].isin({u.model for u in units})]
        own = own[own["experiment"] == which.experiment] if which.experiment else own
    variants = own["variant"] if len(own) else pd.Series(dtype=object)
    controls = own["control"] if len(own) else pd.Series(dtype=object)
    return MeasuredExperiment(
        label=which.label,
        name=which.experiment,
        version=", ".join(_distinct(_text(one.get("version")) for one in made)),
        summary=says.summary,
        defined_in=_defined_in(source),
        parameters=_pairs(one.get("parameters") for one in made),
        conventions=_words(variants),
        controls=_words(controls),
        processing=", ".join(_distinct(_processing(one.get("processing")) for one in made)),
        data=tuple(
            (word, text) for word, text in _pairs(one.get("data") for one in made) if word != "seed"
        ),
        seeds=_distinct(seed for one in made for seed in _seeds(one.get("data"))),
        compared_with=_compared_with(made),
        cites=cited(says.cites),
        units=counted(len(units), "unit"),
    )


def _defined_in(source: ExperimentSource | None) -> str:
    return "" if source is None else f"{source.file} (sha256 {source.sha256[:_COMMIT_SIGNS]})"


def _pairs(of_units: Iterable[object]) -> tuple[tuple[str, str], ...]:
    """Names and values of a label's units; of one that differs between units all its values."""
    values: dict[str, list[str]] = {}
    for one in of_units:
        for name, value in one.items() if isinstance(one, Mapping) else ():
            values.setdefault(str(name), []).append("not set" if value is None else _text(value))
    return tuple((name, "; ".join(_distinct(some))) for name, some in sorted(values.items()))


def _compared_with(made: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """The references of a label's units: `final (step 1,600)`."""
    steps: dict[str, set[int]] = {}
    for one in made:
        references = one.get("references")
        for name, step in references.items() if isinstance(references, Mapping) else ():
            steps.setdefault(str(name), set()).update([step] if isinstance(step, int) else [])
    return tuple(
        f"{name} (step {step_words(*some)})" if len(some) == 1 else name
        for name, some in sorted(steps.items())
    )


def _processing(options: object) -> str:
    """How weights were processed: as trained, or which rewrites."""
    if not isinstance(options, Mapping):
        return ""
    done = [str(name) for name, is_done in options.items() if is_done]
    return ", ".join(sorted(done)) if done else "as trained"


def _seeds(data: object) -> tuple[str, ...]:
    """The seeds in what identifies an experiment's data, at any depth."""
    if isinstance(data, Mapping):
        own = [_text(value) for name, value in data.items() if name == "seed"]
        return (*own, *(seed for value in data.values() for seed in _seeds(value)))
    if isinstance(data, list | tuple):
        return tuple(seed for value in data for seed in _seeds(value))
    return ()


def _versions(footers: Iterable[Footer]) -> tuple[tuple[str, str], ...]:
    found: dict[str, set[str]] = {}
    for footer in footers:
        for name, version in footer.versions.items():
            found.setdefault(name, set()).add(version)
    return tuple((name, ", ".join(sorted(some))) for name, some in sorted(found.items()))


def _device(footer: Footer) -> str:
    """The device's name, and its kind where that says more."""
    kind, name = _text((footer.model_extra or {}).get("device")), footer.name or ""
    return f"{kind} ({name})" if kind and name and kind != name else name or kind


def _citations(
    models: Sequence[MeasuredModel],
    experiments: Sequence[MeasuredExperiment],
    versions: Sequence[tuple[str, str]],
    rows: pd.DataFrame,
    onsets: pd.DataFrame,
) -> tuple[str, ...]:
    """What is cited, in alphabetical order: by experiments, suites, packages and tests."""
    works = {work for one in experiments for work in one.cites}
    works |= {SUITES[one.suite] for one in models if one.suite in SUITES}
    works |= {LIBRARIES[name] for name, _ in versions if name in LIBRARIES}
    if len(onsets) and onsets["q"].notna().any():
        works |= set(ONSETS)
    if len(rows) and (rows["clusters"] < rows["n"]).fillna(False).any():
        works |= set(ERRORS)
    return tuple(sorted(works, key=str.lower))


def _words(column: pd.Series) -> tuple[str, ...]:
    """The words of a column, in alphabetical order."""
    return tuple(sorted(str(word) for word in column.dropna().unique()))


def _distinct(words: Iterable[str]) -> tuple[str, ...]:
    """Each word once, in their order, without empty ones."""
    return tuple(dict.fromkeys(word for word in words if word))


def _text(value: object) -> str:
    """A value of a footer as text; empty for null."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
