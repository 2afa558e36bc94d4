"""Metrics by training step, each trajectory under one name, as programs that log training have it.

The name is `label/metric`, then what else tells the trajectory from others:
`induction/prefix_matching/two_halves/L1H3`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pythia_traj.schema import KEYS
from pythia_traj.store.parts import Parts

_PLACE = ("component", "layer", "head")
_BARE = ("model", "label", "metric", "variant", *_PLACE)
"""Columns whose words stand in a name by themselves; the others with their column's name."""


@dataclass(frozen=True)
class Logged:
    """What one model has at one step.

    Attributes:
        model, step: which.
        tokens: seen in training up to there; None where a directory does not say.
        values: by the names of their trajectories; those that are not defined are left out.
    """

    model: str
    step: int
    tokens: int | None
    values: Mapping[str, float]


def logged(parts: Parts) -> Iterator[Logged]:
    """The values of a run, model by model, in the order of steps.

    Raises:
        StoreError: a column of a filter is unknown.
    """
    for (model, step), rows in parts.by(lambda found: (found.model, found.step or 0)):
        known = rows.filter(rows["value"].is_valid())
        if len(known):
            yield Logged(model, step, known["tokens"][0].as_py(), _values(known))


def name_of(key: Mapping[str, Any]) -> str:
    """The name of a trajectory of a model.

    >>> name_of({"label": "induction", "metric": "prefix_matching", "variant": "two_halves",
    ...          "component": "head", "layer": 1, "head": 3})
    'induction/prefix_matching/two_halves/L1H3'
    >>> name_of({"label": "lens", "metric": "nll", "component": "resid_post", "layer": 0})
    'lens/nll/L0.resid_post'
    >>> name_of({"label": "loss", "metric": "nll", "control": "shuffled", "position": 7})
    'loss/nll/control=shuffled/position=7'
    """
    named = {name: value for name, value in key.items() if value is not None}
    words = [named["label"], named["metric"], named.get("variant"), _place(named)]
    words += [f"{name}={named[name]}" for name in KEYS if name in named and name not in _BARE]
    return "/".join(str(word).replace("/", "|") for word in words if word)


def _place(named: Mapping[str, Any]) -> str:
    """Where in the model: `L1H3`, `L0.mlp`, `.embed`."""
    component, layer, head = (named.get(name) for name in _PLACE)
    where = f"{'' if layer is None else f'L{layer}'}{'' if head is None else f'H{head}'}"
    is_said = component is None or (component == "head" and head is not None)
    return where if is_said else f"{where}.{component}"


def _values(rows: pa.Table) -> dict[str, float]:
    names = [name for name in KEYS if name != "model"]
    columns = [rows[name].to_pylist() for name in names]
    keys = (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
    return dict(zip(map(name_of, keys), rows["value"].to_pylist(), strict=True))
