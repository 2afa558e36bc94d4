"""Is the model still an n-gram model? How far its predictions are from those of unigrams, bigrams and trigrams of a corpus.

Models learn the statistics of short contexts first, and then leave them behind (Belrose et al. 2024): the divergence from each order
falls to a minimum and rises again.
"""

import numpy as np
import torch
from torch import Tensor
from transformer_lens import HookedTransformer

from pythia_traj.data.ngrams import ORDERS, NGramText
from pythia_traj.engines.lens import blocks, log_probabilities
from pythia_traj.engines.measures import next_token_nll
from pythia_traj.engines.ngrams import divergences, interpolated
from pythia_traj.experiment import Count, Passes, Shape, experiment
from pythia_traj.values import Key, Rows

_AT_ONCE = 16
"""Sequences of a forward pass."""


def passes(shape: Shape, text: NGramText, **_: object) -> Passes:
    """One pass over every sequence, and another over those whose predictions are compared."""
    sequences = sum(len(group) * (2 if name.startswith("text") else 1) for name, group in text.groups.items())
    return Passes(sequences, sequences)


@experiment(version=1, cites="Belrose et al. 2024", data=NGramText, items=True, passes=passes)
def ngram(
    model: HookedTransformer,
    text: NGramText,
    *,
    n: Count = 16,
    length: Count = 64,
    null_n: Count = 4,
    train_tokens: Count = 4_000_000,
    source: str = "stdlib",
    column: str = "text",
    bos: bool = False,
) -> Rows:
    """Divergence of the model's predictions from n-gram models of a corpus, and its loss on text sampled from them.

    `kl` is KL(n-gram || model) and `js` the Jensen-Shannon divergence, on text of other documents than were counted; the variant is the
    order, unigram, bigram or trigram. At each position the n-gram knows the tokens up to and including that position and predicts the
    next, as the model does; positions with fewer than two tokens are left out for all orders. `nll` is the model's loss on text sampled
    from each order, and, as `text`, on that of the documents. The null is the same after shuffled tokens.

    N-grams are smoothed after Witten and Bell, and logits beyond the tokenizer's entries are cut off before any softmax.

    Args:
        n: sequences of text, and of samples of each order.
        length: tokens of a sequence, BOS included.
        null_n: sequences of each whose tokens are shuffled.
        train_tokens: of the corpus that are counted, at most.
        source: the corpus: stdlib, a .txt, .jsonl or .parquet file, hf:org/name@commit, hf:DIR; nine documents in ten are counted.
        column: the column of a table that holds it.
        bos: whether BOS is prepended; the n-grams never see it.
    """
    rows = Rows()
    for group, ids in text.groups.items():
        name, _, shuffled = group.partition("/")
        null = f"null:{shuffled}:" if shuffled else ""
        parts = [ids[i : i + _AT_ONCE] for i in range(0, len(ids), _AT_ONCE)]
        losses = [_losses(model, part, text.counts.size) for part in parts]
        rows.add_items(Key("nll", variant=null + name), torch.cat(losses).cpu().numpy())
        if name == "text":
            found = [_divergences(model, text, part, int(bos)) for part in parts]
            for metric, order in found[0]:
                values = torch.cat([of_part[metric, order] for of_part in found])
                rows.add_items(Key(metric, variant=null + order), values.cpu().numpy())
    return rows


@torch.inference_mode()
def _losses(model: HookedTransformer, ids: np.ndarray, entries: int) -> Tensor:
    """The model's mean loss on each sequence [item]."""
    tokens = torch.from_numpy(ids).to(model.W_U.device)
    final = _final(model, tokens)[:, :-1].flatten(0, 1)
    targets = tokens[:, 1:].flatten()
    nll = [
        next_token_nll(log_probabilities(model, final[block], entries)[None], targets[None, block])[0]
        for block in blocks(model, len(final))
    ]
    return torch.cat(nll).view(len(ids), -1).mean(-1)


@torch.inference_mode()
def _divergences(
    model: HookedTransformer, text: NGramText, ids: np.ndarray, start: int
) -> dict[tuple[str, str], Tensor]:
    """By metric and order, the mean over positions of each sequence [item]."""
    device = model.W_U.device
    final = _final(model, torch.from_numpy(ids).to(device))[:, start + 1 : -1].flatten(0, 1)
    # Tokens up to and including the position that is read, as the model knows them; the first has one before it.
    contexts = np.stack([ids[:, start:-2], ids[:, start + 1 : -1]], -1).reshape(-1, 2)
    unigram = torch.from_numpy(text.counts.unigram).to(device)[None]
    found: dict[tuple[str, str], list[Tensor]] = {}
    for block in blocks(model, len(final)):
        log_model = log_probabilities(model, final[block], text.counts.size)
        probabilities = unigram
        for order, name in enumerate(ORDERS, 1):
            if order > 1:
                sparse = text.counts.rows(order, contexts[block])
                probabilities = interpolated(probabilities, *(torch.from_numpy(part).to(device) for part in sparse))
            for metric, values in divergences(log_model, probabilities).items():
                found.setdefault((metric, name), []).append(values)
    return {key: torch.cat(parts).view(len(ids), -1).mean(-1) for key, parts in found.items()}


def _final(model: HookedTransformer, tokens: Tensor) -> Tensor:
    residual: Tensor = model(tokens, stop_at_layer=model.cfg.n_layers)
    return residual
