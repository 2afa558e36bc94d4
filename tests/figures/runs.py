"""A run of every experiment on the tiny suite, and rows that every chart can draw."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

TEXTS = str(Path(__file__).parents[1] / "store" / "schema1" / "corpus.jsonl")
OWN = str(Path(__file__).parents[1] / "experiments" / "own_task.jsonl")

EXPERIMENTS: dict[str, dict[str, Any]] = {
    "ablation": {"task": OWN, "sets": "L0H1+L1H2", "top": 2},
    "activations": {"n": 4, "length": 20, "null_n": 2, "sites": "resid_post,mlp_out"},
    "attribution": {
        "task": OWN,
        "sizes": "5,20,60",
        "circuit": 20,
        "points": 2,
        "references": "init,final",
    },
    "behaviour": {"task": OWN},
    "head_roles": {"length": 12, "n": 8},
    "induction": {"length": 20, "n": 6},
    "linear_probe": {
        "n": 600,
        "length": 64,
        "kinds": "logistic",
        "sites": "resid_post,mlp_out",
        "resamples": 50,
    },
    "logit_attribution": {"task": OWN},
    "logit_lens": {"length": 32, "n": 6, "updates": 2, "batch": 4},
    "loss": {"length": 64, "n": 6, "null_n": 4},
    "memorization": {"n": 6, "prompt": 8, "continuation": 5, "corpus": TEXTS},
    "ngram": {"length": 32, "n": 6, "positions": 12, "sampled": 20, "train_tokens": 100_000},
    "patching": {"task": OWN},
    "representation": {"n": 5, "length": 20, "references": "init,final"},
    "samples": {"prompts": "def one|class", "tokens": 5, "temperature": 1.0, "samples": 2},
    "transplant": {"task": OWN, "references": "init,final"},
    "weights": {"references": "init,final", "sketch": 0},
}
"""Parameters that fit the tiny model."""


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
