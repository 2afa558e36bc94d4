"""One forward pass over some data, shared by all experiments that read it.

Batches are sized from the model's and the data's shapes alone, never from which experiments share the pass or from free memory, so that
a unit that is redone alone gives the same bits as one that was done with others.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from transformer_lens import HookedTransformer
from transformer_lens.utilities import get_act_name

from pythia_traj.engines.measures import is_top1, next_token_nll
from pythia_traj.errors import ConfigError
from pythia_traj.experiment import ACTIVATION_READS, OUTPUT_READS, Activations
from pythia_traj.values import ItemValues

_BATCH_BYTES = {"cpu": 512 << 20, "cuda": 4 << 30}
"""What the activations of a batch may take: attention patterns and residual streams of all layers are counted, read or not."""

_LOGIT_BYTES = 128 << 20
"""What the logits of a block of positions may take: the unembedding is applied block by block, so that it never sets the peak."""

_MAX_BATCH_TOKENS = 1 << 16


@dataclass(frozen=True)
class Reader:
    """An experiment that reads activations, ready to be called: what it reads, and what turns them into values."""

    label: str
    reads: tuple[str, ...]
    measure: Callable[[Activations], ItemValues]


@dataclass
class _Kept:
    """The activations of one pass, by short name, one entry a layer."""

    layers: dict[str, list[Tensor]] = field(default_factory=dict)

    def keep(self, tensor: Tensor, hook: Any, name: str) -> None:
        self.layers[name].append(tensor)


@torch.inference_mode()
def measure_shared(model: HookedTransformer, data: Any, readers: list[Reader]) -> dict[str, ItemValues]:
    """Runs the data through the model once, and every reader on every batch.

    Returns:
        by label, the values of all items.

    Raises:
        ConfigError: a reader reads what this model does not have.
    """
    reads = {name for reader in readers for name in reader.reads}
    _check_reads(model, reads)
    values = {reader.label: ItemValues() for reader in readers}
    for group, tokens in _batches(model, data.groups):
        output, layers = _pass(model, tokens, reads)
        for reader in readers:
            own_output = {name: output[name] for name in reader.reads if name in output}
            own_layers = {name: layers[name] for name in reader.reads if name in layers}
            acts = Activations(group, tokens, data, own_output, own_layers)
            values[reader.label].extend(reader.measure(acts))
    return values


def _check_reads(model: HookedTransformer, reads: set[str]) -> None:
    for name in reads & set(ACTIVATION_READS):
        if get_act_name(name, 0) not in model.hook_dict:
            raise ConfigError(
                f"this model has no {name}: in a parallel model attention and MLP read the same residual stream"
            )


def _batches(model: HookedTransformer, groups: Mapping[str, Any]) -> Iterator[tuple[str, Tensor]]:
    device = next(model.parameters()).device
    for group, ids in groups.items():
        size = batch_size(model, ids.shape[1], device.type)
        for start in range(0, len(ids), size):
            yield group, torch.from_numpy(ids[start : start + size]).to(device, non_blocking=True)


def batch_size(model: HookedTransformer, length: int, device_type: str) -> int:
    """Sequences of a batch, from shapes alone."""
    cfg = model.cfg
    patterns = cfg.n_layers * cfg.n_heads * length * length
    streams = 2 * cfg.n_layers * length * cfg.d_model
    per_item = 4 * (patterns + streams)
    budget = _BATCH_BYTES.get(device_type, _BATCH_BYTES["cpu"])
    return max(1, min(int(budget // per_item), _MAX_BATCH_TOKENS // length))


def _pass(
    model: HookedTransformer, tokens: Tensor, reads: set[str]
) -> tuple[dict[str, Tensor], dict[str, list[Tensor]]]:
    """The output measures [batch, pos - 1] and the activations of every layer that were asked for."""
    kept = _Kept({name: [] for name in sorted(reads & set(ACTIVATION_READS))})
    hooks = [
        (get_act_name(name, layer), partial(kept.keep, name=name))
        for name in kept.layers
        for layer in range(model.cfg.n_layers)
    ]
    residual = model.run_with_hooks(tokens, fwd_hooks=hooks, stop_at_layer=model.cfg.n_layers)
    if not reads & set(OUTPUT_READS):
        return {}, kept.layers
    return _output_measures(model, residual, tokens), kept.layers


def _output_measures(model: HookedTransformer, residual: Tensor, tokens: Tensor) -> dict[str, Tensor]:
    normalized = model.ln_final(residual[:, :-1])
    targets = tokens[:, 1:]
    block = max(1, _LOGIT_BYTES // (4 * tokens.shape[0] * model.cfg.d_vocab_out))
    nll, correct = [], []
    for start in range(0, targets.shape[1], block):
        positions = slice(start, start + block)
        logits = model.unembed(normalized[:, positions])
        nll.append(next_token_nll(logits, targets[:, positions]))
        correct.append(is_top1(logits, targets[:, positions]))
    return {"loss": torch.cat(nll, 1), "correct": torch.cat(correct, 1)}
