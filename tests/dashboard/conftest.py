"""Rows as `pythia_traj.load` returns them: categoricals, nullable integers, an induction phase
change at step 1000.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from pythia_traj.dashboard.report import CHARTS, Chart

STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, *range(1000, 20001, 1000), 40000, 80000, 143000)
TOKENS_PER_STEP = 2_097_152
TOO_SHORT = "context too short: 64 tokens, 550 are needed"
ATTENTION = ("previous_token", "duplicate_token", "bos", "self", "local")
CONVENTIONS = ("two_halves", "detect_head_mul", "detect_head_abs")

RowsOf = Callable[..., pd.DataFrame]


def learnt(step: int, onset: float) -> float:
    """0 before the onset, 1 long after it."""
    return float(1 / (1 + np.exp(-3 * (np.log2(step + 1) - np.log2(onset + 1)))))


def key(metric: str, value: float | None, **columns: object) -> dict[str, object]:
    stderr, n = (None, None) if value is None else (0.004 + 0.01 * abs(value), 64)
    return {"metric": metric, "value": value, "stderr": stderr, "n": n, **columns}


def loss_rows(step: int, positions: int = 40) -> list[dict[str, object]]:
    nll = 10.8 - 7.5 * learnt(step, 300)
    found = [key("nll", nll), key("nll", 10.8 - 3.5 * learnt(step, 200), variant="null:shuffled")]
    found += [
        key("accuracy", 0.42 * learnt(step, 300)),
        key("accuracy", 0.05 * learnt(step, 200), variant="null:shuffled"),
    ]
    slope = 1.5 * learnt(step, 900)
    found += [
        key("nll", nll + slope / position, position=position) for position in range(1, positions)
    ]
    for variant in (None, "null:shuffled"):
        found.append(key("icl_score", None, variant=variant, reason=TOO_SHORT))
        found.append(
            key("icl_window", 0.01 if variant else -0.4 * learnt(step, 900), variant=variant)
        )
    return found


def induction_rows(step: int, layers: int, heads: int) -> list[dict[str, object]]:
    noise = np.random.default_rng(step)
    found: list[dict[str, object]] = []
    for null in ("", "null:shuffled:"):
        for variant in ("olsson_entries", "olsson_query"):
            reason = "context too short: four copies of 25 tokens need 101"
            found.append(
                key(
                    "prefix_matching", None, variant=null + variant, component="head", reason=reason
                )
            )
        for layer, head in np.ndindex(layers, heads):
            strength = (
                0.0
                if null
                else {(layers - 1, 1): 0.9, (layers - 1, 2): 0.5}.get((layer, head), 0.05)
            )
            where = {"component": "head", "layer": layer, "head": head}
            for variant in CONVENTIONS:
                value = strength * learnt(step, 1000) + 0.02 * noise.random()
                found.append(key("prefix_matching", value, variant=null + variant, **where))
            for i, metric in enumerate(ATTENTION):
                value = (0.15 * (i + head)) % 0.8 * learnt(step, 200 * (i + 1)) + 0.02
                found.append(key(metric, value, variant=f"{null}two_halves", **where))
        for dim, drop in (("first_copy", 0.2), ("second_copy", 0.2 if null else 7.0)):
            found.append(
                key("nll", 10.8 - drop * learnt(step, 1000), variant=f"{null}two_halves", dim=dim)
            )
    return found


def frame(found: list[dict[str, object]]) -> pd.DataFrame:
    """Rows with the types that a run has."""
    names = (
        "model experiment suite revision commit step tokens variant component layer head position"
        " dim metric value"
    )
    rows = pd.DataFrame(found, columns=[*names.split(), "stderr", "n", "reason"])
    texts = (
        "model",
        "experiment",
        "suite",
        "revision",
        "commit",
        "variant",
        "component",
        "dim",
        "metric",
        "reason",
    )
    types = dict.fromkeys(texts, "category") | {
        "step": "Int32",
        "tokens": "Int64",
        "layer": "Int16",
        "head": "Int16",
    }
    return rows.astype(
        types | {"position": "Int32", "n": "Int64", "value": "float64", "stderr": "float64"}
    )


@pytest.fixture(scope="session")
def rows_of() -> RowsOf:
    """Makes rows of some models, each with both experiments under the labels given."""

    def make(
        models: tuple[str, ...] = ("pythia-70m-deduped",),
        labels: tuple[str, str] = ("loss-stdlib", "ind25"),
        steps: tuple[int, ...] = STEPS,
        layers: int = 2,
        heads: int = 4,
    ) -> pd.DataFrame:
        found = []
        for model in models:
            for step in steps:
                unit = {"model": model, "suite": "pythia", "revision": f"step{step}", "step": step}
                unit["tokens"] = step * TOKENS_PER_STEP
                found += [unit | {"experiment": labels[0]} | row for row in loss_rows(step)]
                found += [
                    unit | {"experiment": labels[1]} | row
                    for row in induction_rows(step, layers, heads)
                ]
        return frame(found)

    return make


@pytest.fixture(scope="session")
def held() -> tuple[Chart, ...]:
    """The charts that these rows have something for: all but those of tasks, n-grams and probes,
    which have a test of their own.
    """
    return tuple(
        chart for chart in CHARTS if not chart.draw.__module__.endswith(("circuits", "learning"))
    )


@pytest.fixture(scope="session")
def rows(rows_of: RowsOf) -> pd.DataFrame:
    """One model's rows."""
    return rows_of()


@pytest.fixture(scope="session")
def two_models(rows_of: RowsOf) -> pd.DataFrame:
    """Two models' rows at few steps."""
    return rows_of(models=("pythia-70m", "pythia-160m"), steps=(0, 1, 512, 1000, 143000))
