"""A run of every experiment on the tiny suite, and rows that every chart can draw."""

from typing import Any

import numpy as np
import pandas as pd

from tests.experiments.test_all import SMALL

OTHER: dict[str, dict[str, Any]] = {
    "ablation": {"top": 2},
    "activations": {"sites": "resid_post,mlp_out"},
    "attribution": {"references": "init,final"},
    "head_roles": {"length": 12},
    "linear_probe": {"kinds": "logistic", "sites": "resid_post,mlp_out"},
    "logit_lens": {"updates": 2},
    "representation": {"references": "init,final"},
    "transplant": {"references": "init,final"},
    "weights": {"references": "init,final", "sketch": 0},
}

EXPERIMENTS = {name: {**small, **OTHER.get(name, {})} for name, small in SMALL.items()}
"""What fits the tiny model, compared with the first and the last step."""


def filled(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with a number wherever a value of something is missing, and roles for some heads.

    A random model does no task, so that ratios are null, and none of its heads has a role.
    """
    numbers = pd.Series(np.random.default_rng(0).random(len(rows)), rows.index)
    of_something = rows["component"].isna() | rows["layer"].notna()
    value = rows["value"].mask(rows["value"].isna() & of_something, numbers)
    has_role = (rows["metric"] == "significant") & rows["control"].isna() & rows["layer"].notna()
    some = (rows["layer"].astype(float) + rows["head"].astype(float)) % 2 == 0
    return rows.assign(value=value.mask(has_role, some.astype(float)))
