"""Loss on text: the first curve of every study of training.

Beside the mean stands the loss at each position, from which in-context learning is read (Olsson et al. 2022), and the same on shuffled
tokens: what is left when order says nothing. What kind of tokens it comes from is told by their class and by how frequent they are.
"""

import math

import numpy as np
import torch
from torch import Tensor

from pythia_traj.data.text import FREQUENCY_BANDS, TOKEN_CLASSES, TextTokens
from pythia_traj.engines import measures
from pythia_traj.experiment import Activations, Count, experiment
from pythia_traj.values import ItemValues, Key

ICL_TOKENS = (50, 500)
"""The early and the late predicted token of Olsson's in-context learning score."""

ICL_WINDOWS = ((40, 59), (450, 549))
"""The windows of `icl_window`, which averages over neighbours because single tokens are noisy."""


@experiment(version=2, cites="Olsson et al. 2022", data=TextTokens, reads=("loss", "correct"), items=True)
def loss(
    acts: Activations,
    *,
    n: Count = 32,
    length: Count = 550,
    null_n: Count = 8,
    source: str = "stdlib",
    column: str = "text",
    bos: bool = False,
    per_token: bool = False,
) -> ItemValues:
    """Loss in nats and accuracy on text, per position, class and frequency of tokens, with in-context learning scores.

    `nll` and `accuracy` are means over a sequence, then over sequences; with a `position`, over sequences at that predicted token.
    `icl_score` is L[500] - L[50], `icl_window` the mean over 450..549 minus that over 40..59; negative is learning from the context. Both
    are null where sequences are too short: 550 is the shortest length at which both exist. Their standard error is near 4 / sqrt(n).

    `bits_per_byte` and the `surprisal` of tokens of one class or band of frequency (`dim`) are sums of losses over all sequences divided
    by the sums of bytes or of such tokens, never means of ratios. Their items are a sequence's loss over the *mean* number of bytes or
    tokens; so their standard error takes those numbers as given, and is too large where a class is rare. The numbers of each item are
    `bytes_per_token` and `share`, the share of predicted tokens that are of the class.

    Args:
        n: sequences of text.
        length: tokens of a sequence, BOS included.
        null_n: sequences whose tokens are shuffled.
        source: what text: stdlib, a .txt, .jsonl or .parquet file, hf:org/name@commit, hf:DIR.
        column: the column of a table that holds it.
        bos: whether BOS is prepended.
        per_token: whether the loss of every token of every sequence is kept in the table `items`, for learning curves.
    """
    variant = None if acts.group == "text" else f"null:{acts.group}"
    values = ItemValues()
    nll = acts.output("loss")
    for metric, per_position in (("nll", nll), ("accuracy", acts.output("correct").float())):
        key = Key(metric, variant=variant)
        values.add(key, per_position.mean(-1))
        if per_token and metric == "nll":
            # Scalars are kept item by item, and their means are the same rows.
            for i in range(per_position.shape[1]):
                values.add(Key(metric, variant=variant, position=i + 1), per_position[:, i])
        else:
            values.add(key, per_position, axes=("position",), first_position=1)
    _by_kind(values, acts, variant)
    early, late = ICL_TOKENS
    for metric, windows in (("icl_score", ((early, early), (late, late))), ("icl_window", ICL_WINDOWS)):
        key = Key(metric, variant=variant)
        needed = windows[1][1] + 1
        if nll.shape[1] + 1 >= needed:
            values.add(key, measures.window_difference(nll, *windows))
        else:
            values.undefined(key, f"context too short: {nll.shape[1] + 1} tokens, {needed} are needed")
    return values


def _by_kind(values: ItemValues, acts: Activations, variant: str | None) -> None:
    """Losses by byte, by class of token and by frequency, and how many of each there are."""
    nll, tokens = acts.output("loss"), acts.tokens[:, 1:]
    in_bytes = _of_tokens(acts, acts.data.token_bytes, tokens).float()
    # The same for every batch of a group, so that the mean over all items is the ratio of the sums.
    predicted = acts.data.groups[acts.group][:, 1:]
    mean_bytes = float(acts.data.token_bytes[predicted].sum(1).mean())
    values.add(Key("bits_per_byte", variant=variant), nll.sum(-1) / (math.log(2) * mean_bytes))
    values.add(Key("bytes_per_token", variant=variant), in_bytes.mean(-1))
    for names, table in ((TOKEN_CLASSES, acts.data.token_classes), (FREQUENCY_BANDS, acts.data.token_bands)):
        kinds = _of_tokens(acts, table, tokens)
        counts = np.bincount(table[predicted].ravel(), minlength=len(names))
        for kind, (name, count) in enumerate(zip(names, counts, strict=True)):
            is_kind = (kinds == kind).float()
            values.add(Key("share", variant=variant, dim=name), is_kind.mean(-1))
            key = Key("surprisal", variant=variant, dim=name)
            if count:
                values.add(key, (nll * is_kind).sum(-1) * (len(predicted) / float(count)))
            else:
                values.undefined(key, "no token of the text is of this kind")


def _of_tokens(acts: Activations, table: np.ndarray, tokens: Tensor) -> Tensor:
    """What a table of the vocabulary says of each token [batch, pos]."""
    return torch.from_numpy(table).to(acts.tokens.device, non_blocking=True)[tokens]
