"""What does each head do?

Each head has a score for each of seven roles: does it stand out from its control?

A fixed cut finds heads of some roles in a model that has learnt nothing. Here a head stands out
where its score exceeds the 99.9th percentile of the same score where there is nothing to find: at
the first step, and with what it depends on shuffled.

Thresholds are set on one half of the items, scores measured on the other.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
from annotated_types import Len
from torch import Tensor
from transformer_lens import HookedTransformer

from pythia_traj.bench import TaskBench, add_effect
from pythia_traj.data.roles import BoundRolePrompts, RolePrompts
from pythia_traj.data.tasks.drawing import alternating
from pythia_traj.engines import heads, roles
from pythia_traj.engines.ablation import Head, Means
from pythia_traj.engines.kept import KeptPass, keep_pass
from pythia_traj.engines.means import Design
from pythia_traj.engines.role_scores import COPYING, ROLES, UNIFORM, Arrays, suppresses
from pythia_traj.experiment import COMMA_SEPARATED, Passes, ReferenceRows, Shape, experiment
from pythia_traj.processing import Processing
from pythia_traj.schema import Column
from pythia_traj.values import Key, Rows

SHUFFLED, SELECTION = "shuffled", "selection"

QUANTILE = 0.999
"""Of the scores where there is nothing to find; a head with a larger one stands out."""

N_RECEIVERS = 4
"""S-inhibition is measured on the attention of this many heads."""

SUPPRESSION_READS = 4
"""Queries of a sequence for copy suppression: the last ones whose continuation is still in it."""

ITEMS_AT_ONCE = 64

RECEIVERS = (
    Column("layer", "int16", False, "layer of a head whose attention S-inhibition is measured on"),
    Column("head", "int16", False, "that head"),
)
"""Columns of `tables/receivers/`: a row a head, the one with the largest effect first."""


@dataclass
class Measured:
    """What one role was measured to be.

    Attributes:
        clean, shuffled: the measurements, and the same where there is nothing to find.
        undefined: why there are none.
    """

    clean: Arrays = field(default_factory=dict)
    shuffled: Arrays = field(default_factory=dict)
    undefined: str = ""


class Collected:
    """Values of heads, gathered batch by batch."""

    def __init__(self) -> None:
        self._parts: dict[str, list[Tensor]] = {}

    def add(self, metric: str, values: Tensor) -> None:
        """Adds the values of a batch [item, layer, head]."""
        self._parts.setdefault(metric, []).append(values)

    def arrays(self, order: np.ndarray | slice = slice(None)) -> Arrays:
        """All values, the items in an order; from the device once each."""
        return {
            metric: torch.cat(parts).float().cpu().numpy()[order]
            for metric, parts in self._parts.items()
        }


def passes(shape: Shape, prompts: BoundRolePrompts, **_: object) -> Passes:
    """Kept passes, reads for what heads copy, and ablations.

    One head in four is counted as ablated: which ones must be is known only later.
    """
    names = sum(len(batch.clean) for batch in prompts.names)
    short = sum(len(tokens) for tokens in prompts.short.groups.values())
    repeated = sum(len(tokens) for tokens in prompts.repeated.groups.values())
    ablated = Passes((shape.n_layers - 1) / 2, shape.n_layers) * (shape.n_heads * short / 4)
    copied = Passes(0, 3 * shape.n_layers * shape.n_heads) * names
    return Passes(1, 0) * (5 * names + short + repeated) + ablated + copied


@experiment(
    version=1,
    cites="Wang et al. 2023; Olsson et al. 2022; Gould et al. 2024; McDougall et al. 2023",
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
    reference_models: Mapping[str, HookedTransformer],
    reference_rows: ReferenceRows,
    *,
    b_V: bool = False,
    references: Annotated[tuple[str, ...], COMMA_SEPARATED, Len(1, 1)] = ("final",),
) -> Rows:
    """Each head's scores for seven roles, and whether they stand out from those of their controls.

    The roles are `previous_token`, `duplicate_token`, `induction`, `name_mover`, `s_inhibition`,
    `successor` and `copy_suppression`: a metric each, with a row per head. `above_null` (`target`:
    the role) is 1 where the score exceeds `role_threshold`, and `heads_above_null` counts those
    heads. The threshold is the 99.9th percentile of all scores where there is nothing to find: with
    tokens, targets or successors shuffled (control `shuffled`), and at the first step (of which
    `role_threshold` alone has a control, `init`). Thresholds come from one half of the items, whose
    scores have the `part` `selection`, and scores from the other. By chance a successor is found as
    often as its control `chance` says, and a head that attends alike to all has the attention of
    the control `uniform`. A role that the tokenizer does not allow is null, with the reason. The
    table `receivers` has those of S-inhibition.

    Args:
        b_V: whether a head's OV has its value bias, in name_mover and successor.
        references: the one step at which the receivers of S-inhibition are chosen: init, final,
            previous or step:512.
    """
    (reference,) = references
    rows = Rows()
    measured = {
        **_on_repeated_tokens(model, prompts),
        **_on_names(
            model, prompts, b_V, partial(_receivers, reference_models, reference, prompts), rows
        ),
        "successor": _successor(model, prompts, b_V),
        "copy_suppression": _suppression(model, prompts),
    }
    for role, (metrics, score) in ROLES.items():
        if measured[role].undefined:
            _add_undefined(rows, role, metrics, measured[role].undefined)
            continue
        _add_parts(rows, metrics, measured[role])
        _add_role(rows, role, score, measured[role], reference_rows.get("init"))
    if prompts.ordered:
        rows.add_mean(Key("successor", control="chance"), prompts.chances)
    return rows


def _parts(model: HookedTransformer, tokens: np.ndarray) -> Iterator[tuple[slice, Tensor]]:
    for start in range(0, len(tokens), ITEMS_AT_ONCE):
        part = slice(start, start + ITEMS_AT_ONCE)
        yield part, torch.from_numpy(tokens[part]).to(model.W_E.device)


@torch.inference_mode()
def _on_repeated_tokens(model: HookedTransformer, prompts: BoundRolePrompts) -> dict[str, Measured]:
    """The roles that attention shows.

    Tokens mean nothing to a previous-token head: in its control the targets are random.
    """
    length = prompts.repeated.length
    second = prompts.repeated.start + length
    found = {}
    for name in ("two_halves", "two_halves/shuffled"):
        collected = Collected()
        for part, tokens in _parts(model, prompts.repeated.groups[name]):
            patterns = keep_pass(model, tokens, patterns=True).pattern
            keys = torch.from_numpy(prompts.random_keys[part]).to(tokens.device)
            for role, offset in (
                ("previous_token", 1),
                ("duplicate_token", length),
                ("induction", length - 1),
            ):
                values = [
                    heads.attention_at_offset(pattern, offset, second) for pattern in patterns
                ]
                collected.add(role, torch.stack(values, 1))
            values = [roles.attention_to_keys(pattern, keys, second) for pattern in patterns]
            collected.add("random", torch.stack(values, 1))
        found[name] = collected.arrays()
    clean, shuffled = found.values()
    shuffled["previous_token"] = clean["random"]
    names = ("previous_token", "duplicate_token", "induction")
    return {role: Measured({role: clean[role]}, {role: shuffled[role]}) for role in names}


def _on_names(
    model: HookedTransformer,
    prompts: BoundRolePrompts,
    b_V: bool,
    receivers: Callable[[], list[Head] | str],
    rows: Rows,
) -> dict[str, Measured]:
    """Name movers and S-inhibition, on prompts with names.

    In the control they are measured at the same positions of the shuffled prompts.

    What a head copies is a matter of its weights, which shuffling leaves: the control of a name
    mover is what it copies, and where it attends to in shuffled prompts. That of copying by itself
    asks for the names of the twin.
    """
    if not prompts.names:
        return {
            role: Measured(undefined=prompts.no_names) for role in ("name_mover", "s_inhibition")
        }
    chosen = receivers()
    if not isinstance(chosen, str):
        rows.table(
            "receivers",
            {"layer": [layer for layer, _ in chosen], "head": [head for _, head in chosen]},
        )
    collected = {control: Collected() for control in (None, SHUFFLED)}
    bench = TaskBench(model, prompts.names, ITEMS_AT_ONCE)
    for part in bench.parts:
        items = part.items
        places = part.on_device(np.stack([items.io, items.s1, items.s2]))
        for control, both in (
            (None, (items.clean, items.corrupted)),
            (SHUFFLED, (items.shuffled, items.shuffled_twin)),
        ):
            tokens, twin = (part.on_device(array) for array in both)
            base, found = keep_pass(model, tokens, patterns=True), collected[control]
            for name, place in zip(("io", "s1", "s2"), places, strict=True):
                found.add(f"attention_to_{name}", roles.attention_from_last(base.pattern, place))
            if control is None:
                own, other = roles.copied_share(
                    model, base, places.T, twin.gather(1, places.T), b_V=b_V
                )
                found.add("name_copying", own)
                collected[SHUFFLED].add("name_copying", other)
                collected[SHUFFLED].add(COPYING, own)
            if not isinstance(chosen, str):
                rises = roles.inhibition(
                    model, base, keep_pass(model, twin), part.question, chosen, places[[2, 0]]
                )
                found.add("s_inhibition", rises)
    clean, shuffled = (found.arrays(bench.order) for found in collected.values())
    return {
        "name_mover": Measured(clean, shuffled),
        "s_inhibition": Measured(clean, shuffled, chosen if isinstance(chosen, str) else ""),
    }


@torch.inference_mode()
def _receivers(
    models: Mapping[str, HookedTransformer], name: str, prompts: BoundRolePrompts
) -> list[Head] | str:
    """The heads of the named step that write most towards the right name, on the selection half.

    Where there are none, the result is a text that says why.
    """
    if name not in models:
        return (
            f"its receivers are chosen at the reference {name}, which there is none of at this step"
        )
    bench, collected = TaskBench(models[name], prompts.names, ITEMS_AT_ONCE), Collected()
    for part in bench.parts:
        base = bench.keep(part, "clean")
        collected.add("effect", roles.answer_effects(bench.model, base, part.question))
    effects = collected.arrays(bench.order)["effect"]
    mean = effects[_selection(len(effects))].mean(0)
    best = np.argsort(-mean, axis=None, kind="stable")[:N_RECEIVERS]
    return [(int(i) // mean.shape[1], int(i) % mean.shape[1]) for i in best]


def _successor(model: HookedTransformer, prompts: BoundRolePrompts, b_V: bool) -> Measured:
    """Successors of ordered words; in the control each word's right target is another one's."""
    if not prompts.ordered:
        return Measured(undefined=prompts.no_ordered)
    clean, shuffled = Collected(), Collected()
    for task in prompts.ordered:
        arrays = (task.words, task.targets, np.arange(len(task.words)), task.shuffled)
        words, targets, *orders = (torch.from_numpy(array).to(model.W_E.device) for array in arrays)
        for kind, metric in roles.SUCCESSOR_KINDS.items():
            right, exchanged = roles.is_succeeded(model, words, targets, orders, kind, b_V=b_V)
            clean.add(metric, right)
            shuffled.add(metric, exchanged)
    return Measured(clean.arrays(), shuffled.arrays())


def _suppression(model: HookedTransformer, prompts: BoundRolePrompts) -> Measured:
    """Copy suppression on repeated tokens.

    Only heads that pass the first two conditions are ablated; the others have no rise.
    """
    measured = Measured()
    last = prompts.short.start + 2 * prompts.short.length - 1
    for name, arrays in (
        ("two_halves", measured.clean),
        ("two_halves/shuffled", measured.shuffled),
    ):
        parts = list(_parts(model, prompts.short.groups[name]))
        reads = torch.arange(last - SUPPRESSION_READS, last, device=model.W_E.device)
        bases: list[KeptPass] = [keep_pass(model, tokens, patterns=True) for _, tokens in parts]
        found = [roles.suppression(model, base, reads) for base in bases]
        collected, means = Collected(), Means(by_position=False)
        for base, parts_of_it in zip(bases, found, strict=True):
            means.add(base)
            collected.add("suppression_attention", parts_of_it.attention)
            collected.add("suppression_direct", parts_of_it.direct)
            collected.add(UNIFORM, parts_of_it.uniform[:, None, None])
        arrays |= collected.arrays()
        half = _selection(len(arrays[UNIFORM]))
        heads_of_it = np.argwhere(suppresses(arrays, half) | suppresses(arrays, ~half))
        arrays["suppression_rise"] = np.full_like(arrays["suppression_direct"], np.nan)
        if len(heads_of_it):
            ablated: list[Head] = [(int(layer), int(head)) for layer, head in heads_of_it]
            rises = Collected()
            for base, parts_of_it in zip(bases, found, strict=True):
                rise = roles.ablation_rise(model, base, reads, parts_of_it.favoured, ablated, means)
                rises.add("rise", rise.T)
            arrays["suppression_rise"][:, heads_of_it[:, 0], heads_of_it[:, 1]] = rises.arrays()[
                "rise"
            ]
    return measured


def _selection(items: int) -> np.ndarray:
    """The half of the items that thresholds are set on."""
    return np.asarray(alternating(items) == 0)


def _add_parts(rows: Rows, metrics: tuple[str, ...], measured: Measured) -> None:
    """What a score is made of, on the items that scores are measured on."""
    for control, arrays in ((None, measured.clean), (SHUFFLED, measured.shuffled)):
        for name in metrics:
            values = arrays[name]
            _add_heads(rows, _key(name, control), values[~_selection(len(values))])
    if UNIFORM in measured.clean:
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


def _add_role(
    rows: Rows,
    role: str,
    score: Callable[[Arrays, np.ndarray], np.ndarray],
    measured: Measured,
    init: Any,
) -> None:
    """A role's scores, its threshold, and the heads above."""
    evaluated, selected = {}, {}
    for control, arrays in ((None, measured.clean), (SHUFFLED, measured.shuffled)):
        half = _selection(len(next(iter(arrays.values()))))
        by_half = {None: score(arrays, ~half), SELECTION: score(arrays, half)}
        for part, values in by_half.items():
            of_heads = replace(_key(role, control), part=part)
            _add_heads(rows, of_heads, values, keep=part is None)
        # In the precision of the rows that later steps compare with: otherwise equal shares would
        # differ in the last digit.
        evaluated[control], selected[control] = (
            values.mean(0, dtype=np.float64) for values in by_half.values()
        )
    # The first step has no rows of an earlier one: its own scores are the control's.
    at_init = selected[None].ravel() if init is None else _selected(init, role)
    pools = {
        None: np.concatenate([selected[SHUFFLED].ravel(), at_init]),
        SHUFFLED: selected[SHUFFLED].ravel(),
        "init": at_init,
    }
    for control, pool in pools.items():
        key = Key("role_threshold", control=control, target=role)
        if len(pool):
            rows.add(key, float(np.quantile(pool, QUANTILE)), n=len(pool))
        else:
            rows.undefined(key, "the role is not defined at the first step")
    threshold = np.quantile(pools[None], QUANTILE)
    for control, values in evaluated.items():
        above = values > threshold
        of_heads = replace(_key("above_null", control), target=role)
        for layer, head in np.ndindex(above.shape):
            rows.add(replace(of_heads, layer=layer, head=head), float(above[layer, head]))
        counted = Key("heads_above_null", control=control, target=role)
        rows.add(counted, float(above.sum()), n=above.size)


def _selected(rows: Any, role: str) -> np.ndarray:
    """A role's scores on the selection half, from the rows of another step."""
    chosen = rows[(rows["metric"] == role) & (rows["part"] == SELECTION) & rows["control"].isna()]
    return np.asarray(chosen["value"].dropna(), dtype=np.float64)


def _add_undefined(rows: Rows, role: str, metrics: tuple[str, ...], reason: str) -> None:
    for control in (None, SHUFFLED):
        for name in (role, *metrics):
            rows.undefined(_key(name, control), reason)
        rows.undefined(replace(_key("above_null", control), target=role), reason)
        for metric in ("heads_above_null", "role_threshold"):
            rows.undefined(Key(metric, control=control, target=role), reason)
