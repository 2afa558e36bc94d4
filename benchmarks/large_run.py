"""Rows as a run of Pythia-410m has them: every experiment, 24 layers, 16 heads, 154 steps.

A small random model is really measured by all experiments at one step; what it has of each layer
and head is then repeated for so many layers, heads and steps, with values of its own (all digits
of which differ, so that nothing compresses better than a real run).
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

import pythia_traj as pt
from pythia_traj import schema
from pythia_traj.figures.training import with_training
from pythia_traj.reports.contents import Told
from pythia_traj.reports.examined import Examined
from pythia_traj.reports.reading import read_runs
from pythia_traj.store.done import list_units
from pythia_traj.store.layout import Run
from pythia_traj.store.parquet import arrow_schema, read_parquet, write_parquet
from pythia_traj.store.unit import read_footer, write_model
from pythia_traj.suites.catalog import EARLY, EVERY_THOUSAND, TOKENS_PER_STEP, catalog
from pythia_traj.toy.recipe import Recipe
from pythia_traj.toy.train import train

LAYERS, HEADS = 24, 16
STEPS = (*EARLY, *EVERY_THOUSAND)

_SUITE = Recipe(steps=1, batch=4, repeats=3, n_heads=2, d_model=16, d_mlp=32)

_REPEATS = {"task": "repeats", "n": 8}

EXPERIMENTS: dict[str, dict[str, object]] = {
    "loss": {"n": 2, "length": 64, "null_n": 1},
    "induction": {"n": 8, "length": 15},
    "attention": {"length": 8},
    "ngram": {"n": 2, "length": 32, "null_n": 1},
    "logit_lens": {"n": 2, "length": 32},
    "linear_probe": {"n": 600, "length": 64, "resamples": 20},
    "representation": {"n": 16, "length": 32},
    "weights": {},
    "memorization": {"n": 2, "prompt": 8, "continuation": 8},
    "samples": {"tokens": 8, "samples": 1},
    "activations": {"n": 2, "length": 32},
    "behaviour": _REPEATS,
    "logit_attribution": _REPEATS,
    "ablation": _REPEATS | {"top": 2},
    "patching": _REPEATS,
    "transplant": _REPEATS,
    "attribution": _REPEATS | {"sizes": [5, 10, 20], "circuit": 10, "references": ["final"]},
    "head_roles": {"n": 8, "length": 12},
}
"""Of each experiment as little as it takes to have all of its metrics."""


def small_run(folder: Path) -> Path:
    """A run of all experiments at two steps of a small random model."""
    train(folder / "suite", _SUITE)
    config = pt.SweepConfig(
        model=str(folder / "suite"),
        steps="0,1",
        experiments=EXPERIMENTS,
        out=folder / "run",
        device="cpu",
    )
    result = pt.sweep(config)
    if result.failed:
        raise RuntimeError(f"not measured: {result.failed}")
    return folder / "run"


def told_of(run: Path) -> Told:
    """What a page of the large run says beside its rows: methods and texts of the small one.

    The figures have the learning rate of Pythia-410m.
    """
    read = read_runs([run])
    schedules = {str(name): catalog()["pythia-410m"].schedule() for name in read.models["model"]}
    return replace(
        Examined(read).told,
        schedules=list(schedules),
        dress=lambda figure: with_training(figure, schedules),
    )


def enlarged(rows: pd.DataFrame, steps: tuple[int, ...] = STEPS) -> pd.DataFrame:
    """The rows of the small run at its last step, for many layers, heads and steps."""
    one = rows[rows["step"] == rows["step"].max()]
    of_heads = one[one["head"].notna()]
    of_layers = one[one["layer"].notna() & one["head"].isna()]
    rest = one[one["layer"].isna()]
    heads = pd.MultiIndex.from_product([range(LAYERS), range(HEADS)], names=["layer", "head"])
    parts = [
        rest,
        _repeated(of_layers, ["layer"], pd.DataFrame({"layer": range(LAYERS)})),
        _repeated(of_heads, ["layer", "head"], heads.to_frame(index=False)),
    ]
    at_step = pd.concat(parts, ignore_index=True)
    found = pd.concat([at_step.assign(step=step) for step in steps], ignore_index=True)
    numbers = np.random.default_rng(0)
    noise = 1 + 0.1 * numbers.standard_normal(len(found))
    found["tokens"] = found["step"] * TOKENS_PER_STEP
    large: pd.DataFrame = found.assign(
        **{name: found[name] * noise for name in ("value", "stderr", "low", "high")}
    ).astype({"step": "Int64", "tokens": "Int64", "layer": "Int64", "head": "Int64"})
    return large


def _repeated(rows: pd.DataFrame, columns: list[str], places: pd.DataFrame) -> pd.DataFrame:
    """One row of each trajectory, for each of these layers or heads."""
    keys = [name for name in schema.KEYS if name not in columns]
    first = rows.drop_duplicates(keys).drop(columns=columns)
    return first.merge(places, how="cross")[list(rows.columns)]


def written_run(
    small: Path, folder: Path, models: tuple[str, ...], steps: tuple[int, ...], without: set[str]
) -> Path:
    """A run of large units, in files as a sweep writes them.

    Args:
        small: the run whose units are enlarged.
        folder: the directory to write.
        models: their names; each has all of it.
        steps: those that each has.
        without: experiments that are left out.
    """
    run, source = Run.create(folder), Run.open(small)
    one = enlarged(pt.load(small, controls=True), steps[-1:])
    columns = arrow_schema(schema.METRICS)
    labels = sorted(set(one["label"].astype(str)) - without)
    footers = {found.label: read_footer(found.path) or {} for found in list_units(source)}
    numbers = np.random.default_rng(0)
    for label in labels:
        of_label = one[one["label"] == label]
        table = pa.Table.from_pandas(of_label[columns.names], columns, preserve_index=False)
        for model in models:
            for step in steps:
                noise = 1 + 0.1 * numbers.standard_normal(len(table))
                unit = _at(table, step, noise)
                with run.replacing(run.unit_path(model, label, step)) as path:
                    write_parquet(path, unit, footers[label])
    request = json.loads(next((small / "requests").glob("*.json")).read_text())
    request["explicit_steps"] = {model: list(steps) for model in models}
    request["experiments"] = {label: request["experiments"][label] for label in labels}
    run.record_request(request)
    known = pt.load(small, table="models").iloc[0].dropna().drop("model")
    facts = {str(name): one for name, one in known.items()}
    for model in models:
        write_model(run, model, facts | {"n_layers": LAYERS, "n_heads": HEADS}, {}, anew=True)
    return folder


def _at(table: pa.Table, step: int, noise: np.ndarray) -> pa.Table:
    """A unit's rows at another step, with values of their own."""
    changed = {
        "step": np.full(len(table), step),
        "tokens": np.full(len(table), step * TOKENS_PER_STEP),
    }
    for name in ("value", "stderr", "low", "high"):
        changed[name] = table[name].to_numpy() * noise
    for name, values in changed.items():
        place, field = table.schema.get_field_index(name), table.schema.field(name)
        table = table.set_column(place, field, pa.array(values, field.type, from_pandas=True))
    return table


def one_more(run: Run, model: str, step: int) -> None:
    """Writes one more unit of a large run: the first one's, at another step."""
    first = list_units(run)[0]
    table = read_parquet(first.path, schema.METRICS).table()
    with run.replacing(run.unit_path(model, first.label, step)) as path:
        write_parquet(path, _at(table, step, np.ones(len(table))), read_footer(first.path) or {})
