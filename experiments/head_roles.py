"""What does each head do?

Each head has a score for each of seven roles: is it larger than where there is nothing to find?

A fixed cut finds heads of some roles in a model that has learnt nothing. Here a head is tested: its
p-value is that of its score among the same scores of all heads on other items, with what they
depend on shuffled, and as they are at the first step. Shuffled input alone would not do: a head of
random weights prefers its own token, say, a little, always, and shuffling hides it.

A head has a role where it is significant at two measured steps in a row, on items that the two do
not share: with the same items, weights that hardly change repeat the same accident.
"""

from dataclasses import replace
from typing import Annotated, Any

import numpy as np
from annotated_types import Len
from transformer_lens import HookedTransformer

from pythia_traj.bench import add_effect
from pythia_traj.data.roles import FOLDS, ON_NAMES, ON_REPEATED, BoundRolePrompts, RolePrompts
from pythia_traj.engines.ablation import Head
from pythia_traj.engines.means import Design
from pythia_traj.engines.role_scores import ROLES, UNIFORM, Role, scores_of_sets, sets_of
from pythia_traj.engines.significance import discoveries, p_values
from pythia_traj.experiment import (
    COMMA_SEPARATED,
    Passes,
    ReferenceModels,
    ReferenceRows,
    Shape,
    experiment,
)
from pythia_traj.processing import Processing
from pythia_traj.rolebench import Measured, Undefined, measure_roles, strongest_heads
from pythia_traj.schema import Column
from pythia_traj.values import Key, Rows

SHUFFLED, INIT = "shuffled", "init"

RATE = 0.05
"""The false discovery rate among a model's heads, of a role on a fold."""

N_RECEIVERS = 4
"""S-inhibition is measured on the attention of this many heads."""

RECEIVERS = (
    Column("layer", "int16", False, "layer of a head whose attention S-inhibition is measured on"),
    Column("head", "int16", False, "that head"),
)
"""Columns of `tables/receivers/`: a row a head, the one with the largest effect first."""


def passes(shape: Shape, prompts: BoundRolePrompts, **_: object) -> Passes:
    """Kept passes, reads for what heads copy, and ablations, at any step but the first.

    One head in four is counted as ablated in the folds, one in sixteen in the null: which ones must
    be is known only later. At the first step selection is measured as it is, too.
    """
    n, fold, null = (
        prompts.parameters.n,
        prompts.fold,
        prompts.fold * prompts.parameters.draws,
    )
    total = Passes(0, 0)
    if prompts.has(*ON_REPEATED):
        total += Passes(1, 0) * (2 * n + null)
    if prompts.has(*ON_NAMES) and prompts.names:
        total += Passes(1, 0) * (5 * n + 2 * null + fold)
        total += Passes(0, 3 * shape.n_layers * shape.n_heads) * (n + fold)
    if prompts.has("copy_suppression"):
        ablated = Passes((shape.n_layers - 1) / 2, shape.n_layers) * shape.n_heads
        total += Passes(1, 0) * (2 * n + null) + ablated * (2 * n / 4 + null / 16)
    return total


@experiment(
    version=2,
    cites="Wang et al. 2023; Olsson et al. 2022; Gould et al. 2024; McDougall et al. 2023;"
    " Benjamini and Hochberg 1995",
    data=RolePrompts(),
    processing=Processing(fold_value_biases=False),
    row_references=("init",),
    items=True,
    tables={"receivers": RECEIVERS},
    passes=passes,
)
def head_roles(
    model: HookedTransformer,
    prompts: BoundRolePrompts,
    reference_models: ReferenceModels,
    reference_rows: ReferenceRows,
    *,
    b_V: bool = False,
    references: Annotated[tuple[str, ...], COMMA_SEPARATED, Len(1, 1)] = ("final",),
) -> Rows:
    """Each head's scores for seven roles, and which of them are significant.

    The roles are `previous_token`, `duplicate_token`, `induction`, `name_mover`, `s_inhibition`,
    `successor` and `copy_suppression`: a metric each, with a row per head, on all `n` items and on
    the two halves of them that share no item (`part`: `fold_1`, `fold_2`). On each fold, `p_value`
    (`target`: the role) is the share of the null that is as large as the head's score, and `n` how
    many values the null has: `draws` of every head, pooled, from further items with tokens, targets
    or successors shuffled (control `shuffled`, measured on the folds too), and as many from the
    first step as it is, which has them as the control `init`, `part` `selection_1` and so on (of
    ordered words there is one). `significant` is 1 for the heads that Benjamini-Hochberg finds at a
    false discovery rate of 5 % among the model's heads, `heads_significant` counts them; the
    control `shuffled` of these says the same of shuffled input. A head has a role where it is
    significant on `fold_1` at a measured step and on `fold_2` at the next. By chance a successor is
    found as often as its control `chance` says, and a head that attends alike to all has the
    attention of the control `uniform`. A role that the tokenizer does not allow is null, with the
    reason. The table `receivers` has those of S-inhibition.

    Args:
        b_V: whether a head's OV has its value bias, in name_mover and successor.
        references: the one step at which the receivers of S-inhibition are chosen: init, final,
            previous or step:512.
    """
    (reference,) = references
    rows, init = Rows(), reference_rows.get("init")
    receivers = _receivers(reference_models, reference, prompts)
    if not isinstance(receivers, Undefined):
        columns = zip(*receivers, strict=True)
        rows.table("receivers", dict(zip(("layer", "head"), map(list, columns), strict=True)))
    # The first step is the one that has no rows of it to compare with.
    measured = measure_roles(model, prompts, receivers, b_V=b_V, is_first=init is None)
    for role, found in measured.items():
        if isinstance(found, Undefined):
            _add_undefined(rows, role, found)
            continue
        _add_parts(rows, role, found)
        _add_role(rows, role, found, init)
    if not isinstance(measured.get("successor", ""), Undefined):
        rows.add_mean(Key("successor", control="chance"), prompts.chances)
    return rows


def _receivers(
    models: ReferenceModels, name: str, prompts: BoundRolePrompts
) -> list[Head] | Undefined:
    """Those of S-inhibition, chosen at the named step; where there are none, why."""
    if not (prompts.names and prompts.has("s_inhibition")):
        return prompts.no_names
    if name not in models:
        return (
            f"its receivers are chosen at the reference {name}, which there is none of at this step"
        )
    return models.once(name, lambda model: strongest_heads(model, prompts, N_RECEIVERS))


def _add_parts(rows: Rows, role: Role, measured: Measured) -> None:
    """What a score is made of, on the items of both folds."""
    metrics, _ = ROLES[role]
    for control, arrays in ((None, measured.clean), (SHUFFLED, measured.shuffled)):
        for name in metrics:
            _add_heads(rows, _key(name, control), arrays[name])
    if role == "copy_suppression":
        uniform = measured.clean[UNIFORM][:, 0, 0]
        rows.add_mean(Key("suppression_attention", control="uniform"), uniform)


def _key(name: str, control: str | None) -> Key:
    """Of a metric, or metric/variant, of heads."""
    metric, _, variant = name.partition("/")
    return Key(metric, variant or None, "head", control=control)


def _add_heads(rows: Rows, of_heads: Key, values: np.ndarray, *, keep: bool = True) -> None:
    for layer, head in np.ndindex(values.shape[1:]):
        key = replace(of_heads, layer=layer, head=head)
        of_head = values[:, layer, head]
        if np.isnan(of_head).all():
            rows.undefined(
                key,
                "not ablated: it does not attend to the copies,"
                " or does not write against the token",
            )
        elif keep:
            add_effect(rows, key, of_head, Design.independent(len(of_head)))
        else:
            rows.add_mean(key, of_head)


def _add_role(rows: Rows, role: Role, measured: Measured, init: Any) -> None:
    """A role's scores, their p-values, and the heads that are significant."""
    _, score = ROLES[role]
    fold = len(next(iter(measured.clean.values()))) // FOLDS
    shuffled, at_init = (
        scores_of_sets(role, measured.null, fold),
        scores_of_sets(role, measured.init, fold),
    )
    if init is None:
        _add_selection(rows, role, at_init)
    else:
        at_init = _selected(init, role)
    null = np.concatenate([shuffled.ravel(), at_init.ravel()])
    for control, arrays in ((None, measured.clean), (SHUFFLED, measured.shuffled)):
        _add_heads(rows, _key(role, control), score(arrays, slice(None)))
        for number, items in enumerate(sets_of(arrays, fold), 1):
            part, values = f"fold_{number}", score(arrays, items)
            if control is None:
                _add_heads(rows, replace(_key(role, control), part=part), values, keep=False)
            undefined = _undefined(values, null, at_init)
            if undefined:
                _add_untested(rows, role, control, part, undefined)
            else:
                _add_tests(rows, role, control, part, values.mean(0, dtype=np.float64), null)


def _add_selection(rows: Rows, role: Role, scores: np.ndarray) -> None:
    """The first step's draws of the null, which later steps need."""
    for number, layer, head in np.ndindex(scores.shape):
        key = replace(_key(role, INIT), layer=layer, head=head, part=f"selection_{number + 1}")
        rows.add(key, float(scores[number, layer, head]))


def _selected(init: Any, role: Role) -> np.ndarray:
    """The same, from the rows of the first step."""
    is_draw = (init["metric"] == role) & (init["control"] == INIT)
    return np.asarray(init.loc[is_draw, "value"], dtype=np.float64)


def _undefined(values: np.ndarray, null: np.ndarray, at_init: np.ndarray) -> str:
    """Why heads cannot be tested; empty where they can."""
    if not len(at_init):
        return "the null needs the role's scores at the first step, which has none"
    finite = np.isfinite(values).all() and np.isfinite(null).all()
    return "" if finite else "scores, or those of the null, are not finite"


def _add_tests(
    rows: Rows, role: Role, control: str | None, part: str, scores: np.ndarray, null: np.ndarray
) -> None:
    """Which heads are significant, and how many."""
    p = p_values(scores, null)
    significant = discoveries(p, RATE)
    for layer, head in np.ndindex(p.shape):
        key = Key("p_value", None, "head", layer, head, control=control, part=part, target=role)
        rows.add(key, float(p[layer, head]), n=len(null))
        rows.add(replace(key, metric="significant"), float(significant[layer, head]))
    counted = Key("heads_significant", control=control, part=part, target=role)
    rows.add(counted, float(significant.sum()), n=significant.size)


def _add_untested(rows: Rows, role: Role, control: str | None, part: str, reason: str) -> None:
    for metric in ("p_value", "significant"):
        rows.undefined(Key(metric, None, "head", control=control, part=part, target=role), reason)
    rows.undefined(Key("heads_significant", control=control, part=part, target=role), reason)


def _add_undefined(rows: Rows, role: Role, reason: str) -> None:
    metrics, _ = ROLES[role]
    for control in (None, SHUFFLED):
        for name in (role, *metrics):
            rows.undefined(_key(name, control), reason)
        for number in range(1, FOLDS + 1):
            _add_untested(rows, role, control, f"fold_{number}", reason)
