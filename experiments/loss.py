"""Loss on text: the first curve of every study of training.

Beside the mean stands the loss at each position, from which in-context learning is read (Olsson et
al. 2022), and the same on shuffled tokens: what is left when order says nothing. Rows by class and
by frequency show which kinds of tokens the loss comes from.
"""

import math

import numpy as np
import torch
from torch import Tensor

from pythia_traj.data.text import FREQUENCY_BANDS, TOKEN_CLASSES, BoundTextTokens, TextTokens
from pythia_traj.engines import measures
from pythia_traj.experiment import Activations, experiment
from pythia_traj.processing import RAW
from pythia_traj.schema import Column
from pythia_traj.values import ItemValues, Key

ICL_TOKENS = (50, 500)
"""The early and the late predicted token of Olsson's in-context learning score."""

ICL_WINDOWS = ((40, 59), (450, 549))
"""The windows of `icl_window`, which averages over neighbours because single tokens are noisy."""

TOKENS = (
    Column("item", "int32", False, "which sequence, from 0"),
    Column("position", "int32", False, "position of the predicted token in it"),
    Column("token_id", "int32", False, "the predicted token"),
    Column("nll", "float32", False, "its loss, in nats"),
    Column("correct", "bool", False, "whether it was the model's first choice"),
    Column("variant", "dictionary", True, "null, as in the metrics"),
    Column("control", "dictionary", True, "null for text, shuffled for its tokens in random order"),
)
"""Columns of the table `tokens`."""


@experiment(
    version=5,
    cites="Olsson et al. 2022",
    data=TextTokens(n=16),
    reads=("loss", "correct"),
    groups="every",
    processing=RAW,
    items=True,
    tables={"tokens": TOKENS},
)
def loss(acts: Activations[BoundTextTokens], *, per_token: bool = False) -> ItemValues:
    """Loss and accuracy on text by position, class and frequency, with in-context learning scores.

    `nll`, in nats, and `accuracy` are means over a sequence, then over sequences; with a
    `position`, over sequences at that predicted token. `icl_score` is L[500] - L[50], `icl_window`
    the mean over 450..549 minus that over 40..59; negative is learning from the context. Both are
    null where sequences are too short: 550 is the shortest length at which both exist. Their
    standard error is near 4 / sqrt(n).

    `bits_per_byte` and the `surprisal` of tokens of one class or band of frequency (`part`) are
    sums of losses over all sequences divided by the sums of bytes or of such tokens, never means of
    ratios; null where there are too few of them. Their items are a sequence's loss over the *mean*
    number of bytes or tokens. The numbers of each item are `bytes_per_token` and `share`, the share
    of predicted tokens that are of that `part`. The control `shuffled` is the same on sequences
    whose tokens are in random order. With `per_token` the table `tokens` has a row for each
    predicted token of each sequence, with the `control` of its metrics.

    Args:
        per_token: whether the loss of every token of every sequence is kept in the table `tokens`,
            for learning curves.
    """
    control = None if acts.group == "text" else acts.group
    values = ItemValues()
    nll, correct = acts.output("loss"), acts.output("correct")
    for metric, per_position in (("nll", nll), ("accuracy", correct.float())):
        key = Key(metric, control=control)
        values.add(key, per_position.mean(-1))
        values.add(key, per_position, axes=("position",), first_position=1)
    if per_token:
        values.add_table("tokens", _tokens(acts, control))
    _by_kind(values, acts, control)
    early, late = ICL_TOKENS
    for metric, windows in (
        ("icl_score", ((early, early), (late, late))),
        ("icl_window", ICL_WINDOWS),
    ):
        key = Key(metric, control=control)
        needed = windows[1][1] + 1
        if nll.shape[1] + 1 >= needed:
            values.add(key, measures.window_difference(nll, *windows))
        else:
            values.undefined(
                key, f"context too short: {nll.shape[1] + 1} tokens, {needed} are needed"
            )
    return values


def _tokens(
    acts: Activations[BoundTextTokens], control: str | None
) -> dict[str, Tensor | list[str | None]]:
    """Every predicted token of every sequence, as columns."""
    nll = acts.output("loss")
    item, position = torch.meshgrid(
        torch.arange(nll.shape[0]), torch.arange(nll.shape[1]), indexing="ij"
    )
    columns = {
        "item": item + acts.first,
        "position": position + 1,
        "token_id": acts.tokens[:, 1:],
        "nll": nll,
        "correct": acts.output("correct"),
    }
    return {
        **{name: column.flatten() for name, column in columns.items()},
        "variant": [None] * nll.numel(),
        "control": [control] * nll.numel(),
    }


def _by_kind(values: ItemValues, acts: Activations[BoundTextTokens], control: str | None) -> None:
    """Losses by byte, by class of token and by frequency, and how many of each there are."""
    nll, tokens = acts.output("loss"), acts.tokens[:, 1:]
    in_bytes = (
        torch.from_numpy(acts.data.text_bytes[acts.group][acts.items, 1:]).to(nll.device).float()
    )
    bits = nll.sum(-1) / math.log(2)
    values.add_ratio(
        Key("bits_per_byte", control=control), bits, in_bytes.sum(-1), "the number of bytes"
    )
    values.add(Key("bytes_per_token", control=control), in_bytes.mean(-1))
    for names, table in (
        (TOKEN_CLASSES, acts.data.token_classes),
        (FREQUENCY_BANDS, acts.data.token_bands),
    ):
        kinds = _of_tokens(acts, table, tokens)
        for kind, name in enumerate(names):
            is_kind = (kinds == kind).float()
            values.add(Key("share", control=control, part=name), is_kind.mean(-1))
            key = Key("surprisal", control=control, part=name)
            values.add_ratio(
                key, (nll * is_kind).sum(-1), is_kind.sum(-1), "the number of tokens of this kind"
            )


def _of_tokens(acts: Activations[BoundTextTokens], table: np.ndarray, tokens: Tensor) -> Tensor:
    """The entry of each token in a table of the vocabulary [batch, pos]."""
    return torch.from_numpy(table).to(acts.tokens.device, non_blocking=True)[tokens]
