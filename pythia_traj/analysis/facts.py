"""What a run holds, in a few lines."""

import pandas as pd

from pythia_traj.store.read import Read


def facts_of(found: Read) -> dict[str, str]:
    """What a reader wants to know about a run before looking at its numbers.

    Args:
        found: the rows of a run, as `pythia_traj.store.read.read_run` gives them.

    Returns:
        models, steps, experiments, rows, precision and versions by name, if the run has rows; then
        notes on what was left out or cannot be compared.
    """
    rows, notes = found.frame, {f"Note {i}": note for i, note in enumerate(found.notes, 1)}
    if rows.empty:
        return notes
    steps = sorted(rows.step.unique())
    footer = next(iter(found.footers.values()))
    versions = ", ".join(f"{name} {version}" for name, version in footer.versions.items())
    return {
        "Models": ", ".join(map(str, rows.model.cat.categories)),
        "Steps": f"{len(steps)}, from {steps[0]} to {steps[-1]}",
        "Experiments": ", ".join(labels_of(rows)),
        "Rows": f"{len(rows):,}",
        "Precision": f"{footer.made_of.get('dtype', 'unknown')} on {footer.name or 'unknown'}",
        "Versions": versions,
        **notes,
    }


def labels_of(rows: pd.DataFrame) -> list[str]:
    """The labels in alphabetical order, each with its experiment where the names differ."""
    named = rows[["label", "experiment"]].drop_duplicates().astype(str).sort_values("label")
    return [
        label if label == experiment else f"{label} ({experiment})"
        for label, experiment in named.itertuples(index=False)
    ]
