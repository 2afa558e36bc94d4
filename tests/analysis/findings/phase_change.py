"""Rows and items of a run in which some heads take off: with the types of a run, and controls.

Each metric's items are made first, and its rows are their means, so that both say the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy import stats

from pythia_traj import schema
from pythia_traj.analysis.findings.chosen import findings
from pythia_traj.analysis.findings.dated import dated
from pythia_traj.analysis.findings.finding import Finding

STEPS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, *range(1000, 8001, 1000))
UNIFORM = 0.03

Heads = Mapping[tuple[int, int], tuple[float, float]]
"""(layer, head) -> (onset, height) of prefix matching."""


def learnt(steps: Sequence[int], onset: float) -> np.ndarray:
    """0 before the onset, 1 long after it [step]."""
    x = np.log2(np.array(steps, float) + 1)
    return 1 / (1 + np.exp(-8 * (x - np.log2(onset + 1))))


@dataclass
class Planted:
    """A run that is being made up: `put` adds one trajectory of one label."""

    model: str = "m"
    steps: tuple[int, ...] = STEPS
    n: int = 16
    noise: float = 0.01
    _rows: list[dict[str, object]] = field(default_factory=list)
    _items: list[dict[str, object]] = field(default_factory=list)

    def put(
        self,
        experiment: str,
        metric: str,
        means: np.ndarray | float,
        *,
        noise: float | None = None,
        keeps_items: bool = True,
        label: str = "",
        **key: object,
    ) -> "Planted":
        """Adds the means [step] of a trajectory, through items that scatter about them."""
        rng = np.random.default_rng(len(self._rows))
        scatter = rng.normal(size=self.n)[:, None]
        scatter = scatter + 0.3 * rng.normal(size=(self.n, len(self.steps)))
        spread = self.noise if noise is None else noise
        values = np.broadcast_to(means, len(self.steps)) + spread * (scatter - scatter.mean(0))
        reach = stats.t.ppf(0.975, self.n - 1)
        for t, step in enumerate(self.steps):
            unit = {
                "model": self.model,
                "label": label or experiment,
                "suite": "s",
                "revision": f"step{step}",
                "experiment": experiment,
                "step": step,
                "tokens": step,
                "metric": metric,
                **key,
            }
            mean, stderr = values[:, t].mean(), values[:, t].std(ddof=1) / self.n**0.5
            stated = {"value": mean, "stderr": stderr, "n": self.n, "clusters": self.n}
            ends = {"low": mean - reach * stderr, "high": mean + reach * stderr}
            self._rows.append(unit | stated | ends)
            if keeps_items and not key.get("control"):
                self._items += [
                    unit | {"item": i, "n": 1, "value": value}
                    for i, value in enumerate(values[:, t])
                ]
        return self

    @property
    def rows(self) -> pd.DataFrame:
        """As `load` gives them, controls included."""
        return typed(self._rows, schema.METRICS)

    @property
    def items(self) -> pd.DataFrame:
        """The same of the table `items`."""
        return typed(self._items, schema.ITEMS)


def typed(found: Sequence[Mapping[str, object]], columns: Sequence[schema.Column]) -> pd.DataFrame:
    """Rows with the types of a run."""
    types = {"dictionary": "category", "float64": "float64", "float32": "float64"}
    kinds = dict.fromkeys(schema.PARTITIONS, "category") | {
        column.name: types.get(column.type, "Int64") for column in columns
    }
    return pd.DataFrame(found, columns=list(kinds)).astype(kinds)


TWO_HEADS: Heads = {(1, 1): (1500, 0.8), (1, 2): (1500, 0.7)}


def with_heads(
    planted: Planted,
    heads: Heads = TWO_HEADS,
    control: float = UNIFORM,
    metric: str = "prefix_matching",
    layers: int = 2,
    label: str = "",
) -> Planted:
    """Adds a metric of four heads a layer, of which some rise, and its control on shuffled tokens.

    A control is a number, the same for all heads.
    """
    for layer, head in np.ndindex(layers, 4):
        onset, height = heads.get((layer, head), (1.0, 0.0))
        key = {"component": "head", "layer": layer, "head": head, "variant": "two_halves"}
        rise = UNIFORM + height * learnt(planted.steps, onset)
        planted.put("induction", metric, rise, label=label, **key)
        planted.put("induction", metric, control, label=label, control="shuffled", **key)
    return planted


def with_copies(planted: Planted, second: float = 0.5, shuffled: float = 6.0) -> Planted:
    """Adds the loss on both copies; the second falls at step 1500."""
    rise = learnt(planted.steps, 1500)
    key = {"variant": "two_halves"}
    for part, drop, of_control in (("first_copy", 0.0, 6.0), ("second_copy", 6 - second, shuffled)):
        planted.put("induction", "nll", 6 - drop * rise, part=part, noise=0.05, **key)
        planted.put("induction", "nll", of_control, part=part, control="shuffled", **key)
    return planted


def with_removal(planted: Planted, harm: float = 3.0, matched: float = 0.1) -> Planted:
    """Adds the effects of removing each of four heads of layer 1, of which L1H1 harms."""
    for head in range(4):
        own = harm * learnt(planted.steps, 1500) if head == 1 else 0.0
        key = {"component": "head", "layer": 1, "head": head, "variant": "mean", "target": "nll"}
        planted.put("ablation", "effect", own, noise=0.1, **key)
        for metric, value in (("effect", matched), ("effect_sd", 0.05)):
            planted.put("ablation", metric, value, noise=0.0, control="matched", **key)
        rank = 1.0 if head == 1 and harm > matched else 4.0
        planted.put("ablation", "effect_rank", rank, noise=0.0, keeps_items=False, **key)
    return planted


def with_task(planted: Planted, shuffled=0.5, label="ioi"):
    """Adds accuracy on a task, which rises at step 1500, and its controls."""
    rise = learnt(planted.steps, 1500)
    planted.put("behaviour", "logit_diff", 3 * rise, label=label, noise=0.1)
    planted.put("behaviour", "accuracy", 0.5 + 0.45 * rise, label=label)
    planted.put("behaviour", "accuracy", shuffled, label=label, control="shuffled")
    return planted.put("behaviour", "accuracy", 0.02, label=label, control="corrupted")


def with_text(planted: Planted, shuffled=9.0):
    """Adds loss on text, which falls at step 100, and on shuffled tokens."""
    fall = learnt(planted.steps, 100)
    planted.put("loss", "nll", 10 - 7 * fall, noise=0.1)
    return planted.put("loss", "nll", shuffled, control="shuffled", noise=0.1)


def with_circuit(planted: Planted, random=90.0, sd=3.0, differ=lambda steps: steps >= 256):
    """Adds a circuit of nine edges from step 512 on, at steps at which the prompts differ."""
    steps = np.array(planted.steps)
    fall, apart = learnt(planted.steps, 1500), differ(steps)
    late, key = (steps >= 512) & apart, {"variant": "eap_ig"}
    planted.put("attribution", "nll", 6 - 5 * fall, noise=0.1)
    planted.put("attribution", "nll", 6.0, noise=0.1, control="corrupted")
    planted.put("attribution", "circuit_size", np.where(late, 9.0, np.nan), noise=0.0, **key)
    planted.put("attribution", "circuit_size", random, noise=0.0, control="random", **key)
    planted.put("attribution", "circuit_size_sd", sd, noise=0.0, control="random", **key)
    shares = np.where(apart, 0.9, np.nan)
    return planted.put("attribution", "faithfulness_normalised", shares, size=10, **key)


def with_roles(planted: Planted, shuffled=()):
    """Adds three heads of which two have a role, and those that have it on shuffled tokens."""
    for head in range(3):
        for fold in ("fold_1", "fold_2"):
            key = {"component": "head", "layer": 0, "head": head, "part": fold}
            key["target"] = "induction"
            has = np.where(np.array(planted.steps) >= 512, float(head < 2), 0.0)
            planted.put("head_roles", "significant", has, noise=0.0, keeps_items=False, **key)
            own = float(head in shuffled)
            planted.put("head_roles", "significant", own, noise=0.0, control="shuffled", **key)
    return planted


def with_probes(planted: Planted, selectivity=0.2, lead=0.0):
    """Adds probes of three layers, of which the last is selective."""
    for layer in range(3):
        key = {"component": "resid_post", "layer": layer, "variant": "logistic"}
        height = 0.6 + 0.1 * (layer == 2)
        planted.put("linear_probe", "accuracy", height, **key)
        planted.put("linear_probe", "accuracy", 0.5, control="control_task", **key)
        own = selectivity * (layer == 2)
        planted.put("linear_probe", "selectivity", own, **key)
        planted.put("linear_probe", "selectivity", lead, control="control_task", **key)
    return planted


def found_in(*planted: Planted, most: int = 20) -> tuple[Finding, ...]:
    """What several runs together show."""
    rows = pd.concat([one.rows for one in planted], ignore_index=True)
    items = pd.concat([one.items for one in planted], ignore_index=True)
    return findings(rows, dated(rows, items), most)


def words_in(*planted: Planted, most: int = 20) -> list[str]:
    """The same in words."""
    return [one.words for one in found_in(*planted, most=most)]
