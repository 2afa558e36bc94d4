"""The names by which a user asks for a metric of a run."""

from pathlib import Path
from typing import Any

from pythia_traj.errors import AnalysisError, nearest
from pythia_traj.store.describe import describe


def filters_of(run: str | Path, name: str) -> dict[str, Any]:
    """The filters of `pythia_traj.load` that the name of a metric stands for.

    Args:
        run: the run's directory.
        name: `METRIC`, `LABEL.METRIC` or `EXPERIMENT.METRIC`.

    Raises:
        StoreError: it is not a run.
        AnalysisError: it has no such metric; the text has the names that are near.
    """
    there = describe(run).metrics[["label", "experiment", "metric"]].astype(str)
    where, _, metric = name.rpartition(".")
    some = there[there["metric"] == metric]
    if some.empty and name in {*there["label"], *there["experiment"]}:
        own = there[(there["label"] == name) | (there["experiment"] == name)]["metric"].iloc[0]
        raise AnalysisError(f"{name!r} is a label or an experiment: give a metric, {name}.{own}")
    if some.empty:
        raise AnalysisError(
            f"{run} has no metric {metric!r}: {nearest(metric, set(there['metric']))}"
        )
    if not where:
        return {"metric": metric}
    labels = some.loc[(some["label"] == where) | (some["experiment"] == where), "label"]
    if labels.empty:
        known = {f"{one}.{metric}" for one in {*some["label"], *some["experiment"]}}
        raise AnalysisError(f"{run} has no {name!r}: {nearest(name, known)}")
    return {"metric": metric, "label": sorted(set(labels))}
