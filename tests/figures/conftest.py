"""Rows as `pythia_traj.load` returns them: categoricals, nullable integers, an induction phase
change at step 1000.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import pythia_traj as pt
from pythia_traj import schema
from tests.figures import runs

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
    found = [key("nll", nll), key("nll", 10.8 - 3.5 * learnt(step, 200), control="shuffled")]
    found += [
        key("accuracy", 0.42 * learnt(step, 300)),
        key("accuracy", 0.05 * learnt(step, 200), control="shuffled"),
    ]
    found += [
        key("surprisal", nll + i, part=part)
        for i, part in enumerate(("word", "number", "rank_1_10", "unseen"))
    ]
    slope = 1.5 * learnt(step, 900)
    found += [
        key("nll", nll + slope / position, position=position) for position in range(1, positions)
    ]
    for control in (None, "shuffled"):
        found.append(key("icl_score", None, control=control, reason=TOO_SHORT))
        found.append(
            key("icl_window", 0.01 if control else -0.4 * learnt(step, 900), control=control)
        )
    return found


def induction_rows(step: int, layers: int, heads: int) -> list[dict[str, object]]:
    noise = np.random.default_rng(step)
    found: list[dict[str, object]] = []
    for control in (None, "shuffled"):
        for variant in ("olsson_entries", "olsson_query"):
            reason = "context too short: four copies of 25 tokens need 101"
            found.append(
                key(
                    "prefix_matching",
                    None,
                    variant=variant,
                    control=control,
                    component="head",
                    reason=reason,
                )
            )
        for layer, head in np.ndindex(layers, heads):
            strength = (
                0.0
                if control
                else {(layers - 1, 1): 0.9, (layers - 1, 2): 0.5}.get((layer, head), 0.05)
            )
            where = {"component": "head", "layer": layer, "head": head, "control": control}
            for variant in CONVENTIONS:
                value = strength * learnt(step, 1000) + 0.02 * noise.random()
                found.append(key("prefix_matching", value, variant=variant, **where))
            for i, metric in enumerate(ATTENTION):
                value = (0.15 * (i + head)) % 0.8 * learnt(step, 200 * (i + 1)) + 0.02
                found.append(key(metric, value, variant="two_halves", **where))
        for part, drop in (("first_copy", 0.2), ("second_copy", 0.2 if control else 7.0)):
            where = {"variant": "two_halves", "control": control, "part": part}
            found.append(key("nll", 10.8 - drop * learnt(step, 1000), **where))
    return found


def frame(found: list[dict[str, object]]) -> pd.DataFrame:
    """Rows with the types that a run has."""
    types = {"dictionary": "category", "float64": "float64"}
    columns = dict.fromkeys(schema.PARTITIONS, "category") | {
        column.name: types.get(column.type, "Int64") for column in schema.METRICS
    }
    return pd.DataFrame(found, columns=list(columns)).astype(columns)


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
                measured = (loss_rows(step), induction_rows(step, layers, heads))
                for name, label, some in zip(("loss", "induction"), labels, measured, strict=True):
                    found += [unit | {"experiment": name, "label": label} | row for row in some]
        return frame(found)

    return make


@pytest.fixture(scope="session")
def rows(rows_of: RowsOf) -> pd.DataFrame:
    """One model's rows."""
    return rows_of()


@pytest.fixture(scope="session")
def two_models(rows_of: RowsOf) -> pd.DataFrame:
    """Two models' rows at few steps."""
    return rows_of(models=("pythia-70m", "pythia-160m"), steps=(0, 1, 512, 1000, 143000))


@pytest.fixture(scope="session")
def every_row(suite: Path, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """The rows of a run of all experiments at three steps, controls among them."""
    out = tmp_path_factory.mktemp("figures") / "run"
    config = pt.SweepConfig(
        model=str(suite), steps="0,1,4", experiments=runs.EXPERIMENTS, out=out, device="cpu"
    )
    assert not pt.sweep(config).failed
    return pt.load(out, controls=True)


@pytest.fixture(scope="session")
def every_value(every_row: pd.DataFrame) -> pd.DataFrame:
    """The same with a number where a value is missing, so that each chart can be drawn."""
    return runs.filled(every_row)
