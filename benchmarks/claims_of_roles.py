"""What `head_roles` claims of models that have learnt nothing, and of the toy suite.

Two parts of `claims.py`:

1. Random models. So many initialisations of the toy's shape, each with items of its own and with a
   tokenizer of whole words, which has items for all seven roles. The same weights stand at two
   steps in a row: what is called is called because of what the weights happen to be. At most 10 %
   of them may have any head called.
2. The demo: L1H1 and L1H2 are induction heads at the last step, no head has a role at the steps up
   to 64, and at most 10 % of the results of roles, (role, step), are undefined.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from pythia_traj.experiments.head_roles import N_RECEIVERS, RATE, head_roles
from tokenizers import Tokenizer, models, pre_tokenizers
from transformer_lens import HookedTransformer

import pythia_traj as pt
from pythia_traj.data.roles import ORDERED, BoundRolePrompts, RolePrompts
from pythia_traj.data.tasks import ioi
from pythia_traj.engines.role_scores import scores_of_sets
from pythia_traj.engines.significance import discoveries, p_values
from pythia_traj.experiment import Vocabulary
from pythia_traj.rolebench import measure_roles, strongest_heads
from pythia_traj.toy.recipe import Recipe
from pythia_traj.toy.train import initialised, save, train
from pythia_traj.values import Rows

T = TypeVar("T")

INDUCTION_HEADS = ((1, 1), (1, 2))
"""Layer and head, of the demo at its last step."""

FIRST_STEP_DRAWS = (0, 1, 20)
"""Nulls that are compared; the last one is that of `head_roles`."""

EARLY = 64
"""At the demo's steps up to this one no head has a role."""


class Itself:
    """The model as the one reference that S-inhibition needs."""

    def __init__(self, model: HookedTransformer) -> None:
        self._model = model

    def __contains__(self, name: object) -> bool:
        return name == "final"

    def __getitem__(self, name: str) -> HookedTransformer:
        return self._model

    def once(self, name: str, make: Callable[[HookedTransformer], T]) -> T:
        """What is made of it."""
        return make(self._model)


def word_tokenizer() -> Tokenizer:
    """Whole words: those of the prompts with names, and ordered ones."""
    sentences = [re.sub(r"\{\w+\}", " ", text) for text in ioi.TEMPLATES.values()]
    ordered = [spelling[:40] for spellings in ORDERED.values() for spelling in spellings[:1]]
    texts = [*sentences, *ioi.NAMES, *ioi.PLACES, *ioi.THINGS, *(" ".join(o) for o in ordered)]
    found = re.findall(r"\w+|[^\w\s]+", " ".join(texts))
    words = {word: number for number, word in enumerate(dict.fromkeys(["[UNK]", *found]))}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def random_models(root: Path, seeds: range) -> Iterator[tuple[int, HookedTransformer]]:
    """A seed and the model that it initialises, of the toy's shape."""
    tokenizer = word_tokenizer()
    for seed in seeds:
        save(root, seed, initialised(Recipe(seed=seed)), tokenizer)
    for checkpoint in pt.checkpoints(root, steps="all", device="cpu", fold_value_biases=False):
        yield checkpoint.step, checkpoint.model


def prompts_of(seed: int) -> BoundRolePrompts:
    """The items of one model."""
    recipe = Recipe()
    vocabulary = Vocabulary(recipe.vocab_size, recipe.context, word_tokenizer())
    return RolePrompts().bind(vocabulary, seed=seed)


def called(model: HookedTransformer, seed: int) -> pd.DataFrame:
    """The heads of a model that have a role where its weights stand at two steps in a row."""
    prompts = prompts_of(seed)
    first = frame(head_roles(model, prompts, Itself(model), {}), 0)
    again = frame(head_roles(model, prompts, Itself(model), {"init": first}), 1)
    timeline = pt.role_timeline(pd.concat([first, again]))
    assert timeline["role"].nunique() == len(prompts.roles)
    return timeline[timeline["has_role"]]


def called_by_null(model: HookedTransformer, seed: int) -> dict[int, bool]:
    """Whether any head is called where the null has so many draws of the first step."""
    prompts = prompts_of(seed)
    receivers = strongest_heads(model, prompts, N_RECEIVERS)
    measured = measure_roles(model, prompts, receivers, b_V=False, is_first=True)
    by_draws = dict.fromkeys(FIRST_STEP_DRAWS, False)
    for role, found in measured.items():
        assert not isinstance(found, str)
        size = len(next(iter(found.clean.values()))) // 2
        folds, shuffled, first = (
            scores_of_sets(role, arrays, size) for arrays in (found.clean, found.null, found.init)
        )
        for draws in by_draws:
            null = np.concatenate([shuffled, first[:draws]])
            before, now = (discoveries(p_values(scores, null), RATE) for scores in folds)
            by_draws[draws] |= bool((before & now).any())
    return by_draws


def frame(rows: Rows, step: int) -> pd.DataFrame:
    """Rows of a unit as a run has them, as far as roles need it."""
    values = [
        {**asdict(row.key), "value": row.value, "stderr": row.stderr, "n": row.n}
        for row in rows.metrics
    ]
    return pd.DataFrame(values).assign(model="m", label="roles", step=step)


def on_random_models(root: Path, n: int) -> tuple[float, dict[str, object]]:
    """The share of models with any head called; by role, and by null, how many of them have one."""
    by_role, by_null, with_any = Counter[str](), Counter[int](), 0
    for seed, model in random_models(root, range(n)):
        found = set(called(model, seed)["role"])
        by_role.update(found)
        with_any += bool(found)
        by_null.update(draws for draws, some in called_by_null(model, seed).items() if some)
    return with_any / n, {
        "by role": dict(by_role),
        "by draws of the first step": {draws: by_null[draws] for draws in FIRST_STEP_DRAWS},
    }


def on_the_demo(root: Path) -> tuple[dict[str, float], dict[str, str]]:
    """Shares of the second part's claims, and the heads with a role at the last step, by role."""
    train(root / "toy")
    demo = pt.SweepConfig.from_yaml("demo", model=str(root / "toy"), out=root / "run")
    pt.sweep(demo)
    rows = pt.load(root / "run", experiment="head_roles")
    timeline = pt.role_timeline(rows)
    last = timeline[(timeline["step"] == timeline["step"].max()) & timeline["has_role"]]
    induction = last.loc[last["role"] == "induction", ["layer", "head"]]
    found = set(induction.itertuples(index=False, name=None))
    decisions = rows[rows["metric"] == "heads_significant"]
    undefined = decisions.groupby(["target", "step"], observed=True)["value"].apply(
        lambda values: values.isna().any()
    )
    heads = {
        str(role): ", ".join(f"L{layer}H{head}" for layer, head in at[["layer", "head"]].to_numpy())
        for role, at in last.groupby("role")
    }
    early = timeline[timeline["step"] <= EARLY]
    return {
        "demo_induction_heads": sum(head in found for head in INDUCTION_HEADS)
        / len(INDUCTION_HEADS),
        "demo_early_heads": float(early["has_role"].sum()),
        "demo_undefined": float(undefined.mean()),
    }, heads
