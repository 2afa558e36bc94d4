"""What there is to choose, and a choice that fits it."""

from dataclasses import dataclass, replace

import pandas as pd

from pythia_traj.analysis.metric import metrics_of
from pythia_traj.live.choice import Choice
from pythia_traj.live.watched import State


@dataclass(frozen=True)
class Offered:
    """What there is to choose.

    Attributes:
        choice: what was asked for, as far as it is there.
        experiments: all of them.
        models, labels: those of the experiment.
        metrics: those of the experiment in these models and labels, but for controls alone.
        variants: those of the metric, or of all of them.
    """

    choice: Choice
    experiments: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()


def offered(state: State, asked: Choice) -> Offered:
    """What a state has to choose, and what of a choice it has."""
    if not state.experiments:
        return Offered(asked)
    known = asked.experiment in state.experiments
    experiment = asked.experiment if known else state.experiments[0]
    rows = state.rows(experiment)
    models = sorted(
        {key[0] for key, one in state.units.items() if one.held.experiment == experiment}
    )
    labels = state.labels[experiment]
    choice = replace(
        asked,
        experiment=experiment,
        models=_those(asked.models, models),
        labels=_those(asked.labels, labels),
    )
    of_both = some(rows, choice.models, choice.labels)
    metrics = metrics_of(of_both)
    choice = replace(choice, metric=choice.metric if choice.metric in metrics else "")
    variants = _variants(of_both, choice.metric)
    choice = replace(choice, variant=choice.variant if choice.variant in variants else "")
    return Offered(
        choice,
        tuple(state.experiments),
        tuple(models),
        tuple(labels),
        tuple(metrics),
        tuple(variants),
    )


def some(rows: pd.DataFrame, models: tuple[str, ...], labels: tuple[str, ...]) -> pd.DataFrame:
    """The rows of some models and labels; of all where none is named."""
    for column, names in (("model", models), ("label", labels)):
        if names:
            rows = rows[rows[column].isin(names)]
    return rows


def _those(asked: tuple[str, ...], there: list[str]) -> tuple[str, ...]:
    """The ones asked for that are there; none, which is all, where they are all of them."""
    found = tuple(one for one in asked if one in there)
    return () if len(found) == len(there) else found


def _variants(rows: pd.DataFrame, metric: str) -> list[str]:
    if rows.empty:
        return []
    of_metric = rows[rows["metric"].isin([metric])] if metric else rows
    return sorted(map(str, of_metric["variant"].dropna().unique()))
