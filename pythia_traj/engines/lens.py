"""Lenses: what the model would predict if a layer were its last.

The logit lens (nostalgebraist 2020) puts each layer's residual stream through the final LayerNorm
and the unembedding. The tuned lens (Belrose et al. 2023) first moves it by an affine translator,
h + A h + b, trained so that the prediction is the model's own. The unembedding is the cost: it is
applied to blocks of positions, and what is held of it does not grow with their number.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from transformer_lens import HookedTransformer
from transformer_lens.utilities import get_act_name

from pythia_traj.engines.measures import entropy, kl_divergence, next_token_nll

_LOGIT_BYTES = 24 << 20
"""What the logits of a block of positions may take.

A few tensors of this size are held at once. Below 32 MiB a C library reuses freed memory instead of
returning it to the system page by page.
"""

MOMENTUM, WEIGHT_DECAY, CLIP = 0.9, 1e-3, 1.0
"""Of the training of translators, as published (Belrose et al. 2023)."""

LR = 1.0 - MOMENTUM
"""The published rate of 1, where momentum adds up to 1 / (1 - MOMENTUM) times a gradient."""


@dataclass(frozen=True)
class Translators:
    """Affine maps of the residual stream after each layer but the last: h + A h + b.

    Attributes:
        A: [layer, d_model, d_model].
        b: [layer, d_model].
    """

    A: Float[Tensor, "layer d_model d_model"]
    b: Float[Tensor, "layer d_model"]

    def __call__(
        self, layer: int, residual: Float[Tensor, "pos d_model"]
    ) -> Float[Tensor, "pos d_model"]:
        """The residual stream after a layer, moved; after the last one as it is."""
        if layer == len(self.A):
            return residual
        return _translated(residual, self.A[layer], self.b[layer])


def _translated(residual: Tensor, A: Tensor, b: Tensor) -> Tensor:
    return residual + (residual.float() @ A.T + b).to(residual.dtype)


def identity(model: HookedTransformer) -> Translators:
    """Translators that move nothing: the logit lens, and where training begins."""
    n, d = model.cfg.n_layers - 1, model.cfg.d_model
    device = model.W_U.device
    return Translators(torch.zeros(n, d, d, device=device), torch.zeros(n, d, device=device))


@torch.no_grad()
def residuals(
    model: HookedTransformer, tokens: Int[Tensor, "batch pos"], positions: Int[Tensor, "batch read"]
) -> Float[Tensor, "layer batch read d_model"]:
    """The residual stream after every layer, at some positions of each sequence."""
    kept: list[Tensor] = []

    def keep(tensor: Tensor, hook: Any) -> None:
        kept.append(at_positions([tensor], positions)[0])

    hooks = [(get_act_name("resid_post", layer), keep) for layer in range(model.cfg.n_layers)]
    model.run_with_hooks(tokens, fwd_hooks=hooks, stop_at_layer=model.cfg.n_layers)
    return torch.stack(kept)


def at_positions(
    layers: Sequence[Float[Tensor, "batch pos d_model"]], positions: Int[Tensor, "batch read"]
) -> Float[Tensor, "layer batch read d_model"]:
    """Streams at some positions of each sequence."""
    index = positions.unsqueeze(-1).expand(-1, -1, layers[0].shape[-1])
    return torch.stack([layer.gather(1, index) for layer in layers])


def log_probabilities(
    model: HookedTransformer, residual: Float[Tensor, "pos d_model"], entries: int | None = None
) -> Float[Tensor, "pos entry"]:
    """What is predicted from a residual stream, in fp32.

    From the last layer's it is the model's own output.

    Args:
        model: its final LayerNorm and unembedding.
        residual: after any layer.
        entries: how many rows of the logits take part in the softmax; all, padding rows included,
            if not given.
    """
    logits: Tensor = model.unembed(model.ln_final(residual.unsqueeze(0)))[0, :, :entries]
    return logits.float().log_softmax(-1)


def blocks(model: HookedTransformer, positions: int) -> list[slice]:
    """Positions in blocks whose logits stay small, by the shape of the model alone."""
    size = max(1, _LOGIT_BYTES // (4 * model.cfg.d_vocab_out))
    return [slice(start, min(start + size, positions)) for start in range(0, positions, size)]


@torch.no_grad()
def measure(
    model: HookedTransformer,
    residual: Float[Tensor, "layer pos d_model"],
    targets: Int[Tensor, " pos"],
    translators: Translators,
) -> dict[str, Float[Tensor, "layer pos"]]:
    """How the prediction of every layer compares with the next token and with the model's own.

    Returns:
        `cross_entropy` of the next token, `kl` of the model's own distribution from the layer's,
        KL(final || layer), and the layer's `entropy`, in nats; `agreement`, 1 where both have the
        same first choice.
    """
    measured: dict[str, list[Tensor]] = {
        "cross_entropy": [],
        "kl": [],
        "entropy": [],
        "agreement": [],
    }
    for block in blocks(model, len(targets)):
        final = log_probabilities(model, residual[-1, block])
        first_choice = final.argmax(-1)
        found: dict[str, list[Tensor]] = {name: [] for name in measured}
        for layer in range(len(residual)):
            lens = log_probabilities(model, translators(layer, residual[layer, block]))
            found["cross_entropy"].append(next_token_nll(lens[None], targets[None, block])[0])
            found["kl"].append(kl_divergence(final, lens))
            found["entropy"].append(entropy(lens))
            found["agreement"].append((lens.argmax(-1) == first_choice).float())
        for name, of_layers in found.items():
            measured[name].append(torch.stack(of_layers))
    return {name: torch.cat(parts, 1) for name, parts in measured.items()}


def train(
    model: HookedTransformer, batches: Iterable[Float[Tensor, "layer pos d_model"]], updates: int
) -> Translators:
    """Trains translators from 0 on KL(final || lens), the mean over positions, summed over layers.

    SGD with Nesterov momentum, a rate that falls linearly to 0, weight decay, gradients clipped by
    their norm over all layers.

    Args:
        model: nothing of it is trained.
        batches: what is read at some positions (see `residuals`), one batch an update.
        updates: how many there are.
    """
    start = identity(model)
    parameters = [start.A.requires_grad_(), start.b.requires_grad_()]
    optimizer = torch.optim.SGD(
        parameters, lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, nesterov=True
    )
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_decayed, updates))
    for batch in batches:
        start.A.grad, start.b.grad = _gradients(model, batch, start)
        torch.nn.utils.clip_grad_norm_(parameters, CLIP)
        optimizer.step()
        rates.step()
    return Translators(start.A.detach(), start.b.detach())


def _decayed(updates: int, update: int) -> float:
    return 1 - update / updates


def _gradients(
    model: HookedTransformer, residual: Tensor, translators: Translators
) -> tuple[Tensor, Tensor]:
    """Of the loss with respect to A and b.

    One layer and one block at a time, so that only one graph is in memory.
    """
    grad_A, grad_b = torch.zeros_like(translators.A), torch.zeros_like(translators.b)
    positions = residual.shape[1]
    for block in blocks(model, positions):
        with torch.no_grad():
            final = log_probabilities(model, residual[-1, block])
        for layer in range(len(residual) - 1):
            A, b = (
                part[layer].detach().requires_grad_() for part in (translators.A, translators.b)
            )
            with torch.enable_grad():
                lens = log_probabilities(model, _translated(residual[layer, block], A, b))
                loss = kl_divergence(final, lens).sum() / positions
            # Only what leads to A and b is computed: the unembedding's own gradient would double
            # the cost.
            of_A, of_b = torch.autograd.grad(loss, [A, b])
            grad_A[layer] += of_A
            grad_b[layer] += of_b
    return grad_A, grad_b
