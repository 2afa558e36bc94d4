"""Continuing token sequences, many at once and of different lengths.

The keys and values of what was read are kept. Only its length ends a continuation: a caller that
wants text cuts it at an end of text. So all rows of a batch do the same, and nothing has to be read
from the device on the way.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import TransformerLensKeyValueCache

from pythia_traj.engines.kept import CPU_BUDGET, bytes_per_row
from pythia_traj.engines.streams import stream

if TYPE_CHECKING:
    from transformer_lens import HookedTransformer

_BUDGET = {"cpu": 4 * CPU_BUDGET, "cuda": 4 << 30}
"""Bytes that a batch may take.

Its rows follow from shapes alone, so that the same request has the same batches, and the same bits.
"""

_MOST_ROWS = 256


@dataclass(frozen=True)
class Continuation:
    """What a model wrote.

    Attributes:
        tokens: the new ones of each item, or of each prompt and sample.
        log_prob: of each token where it was chosen, in nats, of the model's own distribution at
            temperature 1.
    """

    tokens: Int[Tensor, "*item new"]
    log_prob: Float[Tensor, "*item new"]


@torch.inference_mode()
def continued(
    model: "HookedTransformer",
    prompts: Int[Tensor, "item pos"],
    new: int,
    *,
    lengths: Sequence[int] | None = None,
    draws: Float[Tensor, "item new"] | None = None,
    temperature: float = 1.0,
    entries: int | None = None,
) -> Continuation:
    """Continues prompts by `new` tokens each.

    Args:
        lengths: how many tokens of each prompt there are, from its beginning; what follows them is
            ignored. All if not given.
        draws: uniform numbers in 0..1, one a token: the token is drawn by inverting the
            distribution's cumulative sum, so that the same numbers draw alike on every device and
            from every checkpoint. None takes the likeliest token.
        temperature: logits are divided by it before a token is drawn.
        entries: how many rows of the logits there are to choose from; all, padding rows included,
            if not given.
    """
    lengths = [prompts.shape[1]] * len(prompts) if lengths is None else lengths
    # Batches of equal size: a small last batch would read all weights once more.
    batches = -(-len(prompts) // rows_at_once(model, prompts.shape[1] + new))
    size = -(-len(prompts) // batches)
    slices = [slice(start, start + size) for start in range(0, len(prompts), size)]
    parts = [
        _batch(
            model,
            prompts[s],
            lengths[s],
            new,
            _Choice(temperature, entries, None if draws is None else draws[s]),
        )
        for s in slices
    ]
    return Continuation(
        torch.cat([part.tokens for part in parts]), torch.cat([part.log_prob for part in parts])
    )


def rows_at_once(model: "HookedTransformer", length: int) -> int:
    """How many sequences there are in a batch.

    Each takes the activations of a layer, the logits of a position with what is made of them, and
    the keys and values of all layers.
    """
    cfg = model.cfg
    keys_and_values = 4 * 2 * cfg.n_layers * length * cfg.n_heads * cfg.d_head
    each: int = bytes_per_row(model, length, 0) + 4 * 4 * cfg.d_vocab_out + keys_and_values
    budget = _BUDGET.get(model.W_E.device.type, _BUDGET["cpu"])
    return max(1, min(budget // each, _MOST_ROWS))


@dataclass(frozen=True)
class _Choice:
    """How tokens are chosen from logits; see `continued`."""

    temperature: float
    entries: int | None
    draws: Float[Tensor, "item new"] | None

    def __call__(
        self, logits: Float[Tensor, "item d_vocab"], number: Int[Tensor, " item"]
    ) -> tuple[Tensor, Tensor]:
        """Each item's new token at this place, and the token's log-probability [item, 1]."""
        logits = logits[:, : self.entries].float()
        if self.draws is None:
            chosen = logits.argmax(-1, keepdim=True)
        else:
            draws = self.draws.gather(1, number.clamp(0, self.draws.shape[1] - 1)[:, None])
            chosen = _drawn(logits / self.temperature, draws)
        return chosen, logits.gather(-1, chosen) - logits.logsumexp(-1, keepdim=True)


def _batch(
    model: "HookedTransformer", prompts: Tensor, lengths: Sequence[int], new: int, choose: _Choice
) -> Continuation:
    """All rows read on from the end of the shortest prompt.

    Rows with some of their prompt left read that, the others read what they wrote.
    """
    cache = TransformerLensKeyValueCache.init_cache(model.cfg, prompts.device, len(prompts))
    begin, end = min(lengths), max(lengths)
    length = torch.tensor(lengths).to(prompts.device, non_blocking=True)
    tokens, log_prob = [], []
    read = prompts[:, :begin]
    for position in range(begin, end + new):
        # By default TransformerLens takes every end-of-text token for padding and hides it, and
        # what is written may contain one.
        seen = torch.ones_like(read)
        # The unembedding is applied to the last position alone.
        final = model(
            read, past_kv_cache=cache, attention_mask=seen, stop_at_layer=model.cfg.n_layers
        )[:, -1:]
        chosen, of_chosen = choose(model.unembed(model.ln_final(final))[:, 0], position - length)
        tokens.append(chosen)
        log_prob.append(of_chosen)
        read = (
            torch.where(position < length[:, None], prompts[:, position, None], chosen)
            if position < end
            else chosen
        )
    own = (length - begin)[:, None] + torch.arange(new, device=prompts.device)
    return Continuation(torch.cat(tokens, 1).gather(1, own), torch.cat(log_prob, 1).gather(1, own))


def _drawn(
    logits: Float[Tensor, "item d_vocab"], draws: Float[Tensor, "item 1"]
) -> Int[Tensor, "item 1"]:
    """Tokens whose share of the cumulative sum the draws fall into."""
    cumulative = logits.softmax(-1).cumsum(-1)
    # Rounding can leave the sum a little off 1, so draws are shares of the actual sum.
    chosen = torch.searchsorted(cumulative, draws.to(cumulative) * cumulative[:, -1:], right=True)
    return chosen.clamp(max=logits.shape[-1] - 1)


def uniform_draws(seed: int, prompt: int, rows: int, new: int) -> Float[Tensor, "row new"]:
    """The uniform numbers of one prompt's continuations.

    Those of the first rows do not depend on how many rows there are.
    """
    rng = stream(seed, "samples", prompt)
    return torch.from_numpy(rng.random((rows, new), dtype=np.float32))


def matches(
    written: Int[Tensor, "item new"], true: Int[Tensor, "item new"]
) -> tuple[Float[Tensor, " item"], Float[Tensor, " item"]]:
    """Share of positions at which a continuation has the true token, and whether all have it.

    The second is 1 where all of them do, else 0 (Biderman et al. 2023).
    """
    same = written == true
    return same.float().mean(-1), same.all(-1).float()
