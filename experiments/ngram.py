"""Is the model still an n-gram model?

Its predictions are compared with those of unigrams, bigrams and trigrams of a corpus.

Models learn the statistics of short contexts first, and then leave them behind (Belrose et al.
2024): the divergence from each order falls to a minimum and rises again.
"""

from collections.abc import Iterator
from operator import attrgetter

import numpy as np
import torch
from torch import Tensor

from pythia_traj.data.ngrams import ORDERS, BoundNGramText, NGramCounts, NGramText
from pythia_traj.engines.lens import at_positions, blocks, log_probabilities
from pythia_traj.engines.measures import next_token_nll
from pythia_traj.engines.ngrams import divergences, interpolated
from pythia_traj.experiment import Activations, Passes, Shape, experiment
from pythia_traj.processing import RAW
from pythia_traj.values import ItemValues, Key


def passes(_shape: Shape, text: BoundNGramText, **_: object) -> Passes:
    """One pass over every sequence, counted in sequences of their mean length.

    The positions that are read are unembedded.
    """
    mean = sum(ids.size for ids in text.groups.values()) / sum(
        len(ids) for ids in text.groups.values()
    )
    reads = sum(positions.size for positions in text.positions.values())
    return Passes(sum(len(ids) for ids in text.groups.values()), reads / mean)


@experiment(
    version=3,
    cites="Belrose et al. 2024",
    data=NGramText(),
    reads=("final",),
    groups="every",
    processing=RAW,
    items=True,
    softmax=attrgetter("counts.size"),
    passes=passes,
)
def ngram(
    acts: Activations[BoundNGramText],
) -> ItemValues:
    """Divergence of predictions from n-gram models of a corpus, and loss on text sampled from them.

    `kl` is KL(n-gram || model) and `js` the Jensen-Shannon divergence, on text of other documents
    than were counted; `size` is the order, 1 for unigrams to 3 for trigrams. At each position that
    is read the n-gram knows the tokens up to and including that position and predicts the next, as
    the model does; positions with fewer than two tokens are left out for all orders. `nll` is the
    model's loss on text sampled from the order `size`, and, as the `part` `text`, on that of the
    documents at the same positions. The control `shuffled` is the same after shuffled tokens.

    N-grams are smoothed after Witten and Bell, and logits beyond the tokenizer's entries are cut
    off before any softmax.
    """
    name, _, shuffled = acts.group.partition("/")
    control = shuffled or None
    sampled_from = None if name == "text" else ORDERS.index(name) + 1
    values = ItemValues()
    for (metric, order), per_item in _measured(acts, with_divergences=name == "text").items():
        size = order or sampled_from
        key = Key(metric, control=control, size=size, part=None if size else "text")
        values.add(key, per_item)
    return values


def _measured(
    acts: Activations[BoundNGramText], *, with_divergences: bool
) -> dict[tuple[str, int | None], Tensor]:
    """By metric and order, the mean over a batch's read positions [item]; the loss has no order."""
    model, counts, device = acts.model, acts.data.counts, acts.tokens.device
    positions = acts.data.positions[acts.group][acts.items]
    at = torch.from_numpy(positions).to(device)
    final = at_positions([acts.output("final")], at)[0].flatten(0, 1)
    targets = acts.tokens.gather(1, at + 1).flatten()
    # Tokens up to and including the position that is read, as for the model; the first such
    # position has one token before it.
    ids = acts.data.groups[acts.group][acts.items]
    contexts = np.stack(
        [np.take_along_axis(ids, positions - back, 1) for back in (1, 0)], -1
    ).reshape(-1, 2)
    found: dict[tuple[str, int | None], list[Tensor]] = {}
    for block in blocks(model, len(final)):
        log_model = log_probabilities(model, final[block], counts.size)
        found.setdefault(("nll", None), []).append(
            next_token_nll(log_model[None], targets[None, block])[0]
        )
        for order, ngram in _ngrams(counts, contexts[block], device) if with_divergences else ():
            for metric, of_block in divergences(log_model, ngram).items():
                found.setdefault((metric, order), []).append(of_block)
    return {key: torch.cat(parts).view(at.shape).mean(-1) for key, parts in found.items()}


def _ngrams(
    counts: NGramCounts, contexts: np.ndarray, device: torch.device
) -> Iterator[tuple[int, Tensor]]:
    """The distribution of each order after contexts [pos, 2]: [pos, entry]."""
    probabilities = torch.from_numpy(counts.unigram).to(device)[None]
    for order in range(1, len(ORDERS) + 1):
        if order > 1:
            sparse = counts.rows(order, contexts)
            probabilities = interpolated(
                probabilities, *(torch.from_numpy(part).to(device) for part in sparse)
            )
        yield order, probabilities
