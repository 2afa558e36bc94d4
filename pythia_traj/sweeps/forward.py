"""One forward pass over some tokens, shared by all experiments that read them.

It does not matter which data the tokens belong to.

The size of a batch depends only on the model's and the tokens' shapes, never on which experiments
share the pass or on free memory. So a unit that is redone alone gives the same bits as one that was
done with others. An experiment that reads more than is counted for all has smaller batches, and
shares them only with those that read as much.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformer_lens import HookedTransformer

from pythia_traj.engines.measures import is_top1, next_token_nll
from pythia_traj.errors import DataError, DeviceError, StoreError
from pythia_traj.keys import Extent
from pythia_traj.reads import OUTPUT_READS, Activations, Shape, hooks_of, layer_of
from pythia_traj.sweeps.datasets import token_digests
from pythia_traj.sweeps.failure import Failure
from pythia_traj.values import ItemValues

_BATCH_BYTES = {"cpu": 512 << 20, "cuda": 4 << 30}
"""The memory for the activations of a batch; `Shape.bytes_per_item` says what counts."""

_LOGIT_BYTES = 128 << 20
"""The memory for the logits of a block of positions.

The unembedding is applied block by block, so that it never sets the peak.
"""

_MAX_BATCH_TOKENS = 1 << 16


@dataclass
class Reader:
    """An experiment that reads activations, ready to be called.

    Attributes:
        label: the label of its rows.
        data: what it runs on.
        groups: the groups of its data that it measures.
        reads: what it reads of each pass.
        measure: what turns a batch's activations into values.
        failure: what it raised; it is then not called again.
    """

    label: str
    data: Any
    groups: Mapping[str, np.ndarray]
    reads: tuple[str, ...]
    measure: Callable[[Activations[Any]], ItemValues]
    failure: Failure | None = None
    _found: dict[str, ItemValues] = field(default_factory=dict)
    _made: dict[str, Any] = field(default_factory=dict)

    def read(
        self,
        model: HookedTransformer,
        group: str,
        first: int,
        tokens: Tensor,
        kept: Mapping[str, Tensor],
    ) -> None:
        """Measures a batch of one of its data's groups.

        Raises:
            StoreError, DeviceError, DataError: the machine or the request is wrong at every step:
                the sweep ends.
        """
        try:
            own = {name: kept[name] for name in _kept_by([self], model.cfg.n_layers)}
            values = self.measure(
                Activations(model, group, first, tokens, self.data, own, self._made)
            )
            if not isinstance(values, ItemValues):
                raise TypeError(
                    f"experiment {self.label} returned {type(values).__name__}, not ItemValues"
                )
            values.check(
                Extent(model.cfg.n_layers, model.cfg.n_heads, tokens.shape[1], len(tokens))
            )
            design = getattr(self.data, "designs", {}).get(group)
            if design is not None:
                values.belong_together(design.part(slice(first, first + len(tokens))))
            self._found.setdefault(group, ItemValues()).extend(values)
        except (StoreError, DeviceError, DataError):
            raise
        except Exception as error:
            # Experiments are third-party code: one that raises must not cost the others their pass.
            self.failure = Failure.of(error)

    def values(self) -> ItemValues:
        """The values of all items, in the order of the data's groups, however the passes went."""
        values = ItemValues()
        for group in self.groups:
            values.extend(self._found.get(group, ItemValues()))
        return values


Places = list[tuple[Reader, str]]
"""Readers of some tokens, each with the name that its data gives the group."""


@torch.inference_mode()
def measure_shared(model: HookedTransformer, readers: Sequence[Reader]) -> None:
    """Runs the readers' tokens through the model, equal tokens once.

    Every batch goes to all its readers.
    """
    for tokens, size, places in _shared(model, readers):
        for first, batch in _batches(model, tokens, size):
            _measure_batch(model, first, batch, places)


def _measure_batch(model: HookedTransformer, first: int, tokens: Tensor, places: Places) -> None:
    """A batch's activations are freed before the next pass begins."""
    places = [place for place in places if place[0].failure is None]
    if not places:
        return
    kept = _pass(model, tokens, _kept_by((reader for reader, _ in places), model.cfg.n_layers))
    for reader, group in places:
        reader.read(model, group, first, tokens, kept)


def _shared(
    model: HookedTransformer, readers: Iterable[Reader]
) -> Iterator[tuple[np.ndarray, int, Places]]:
    """Distinct tokens, how many are a batch, their readers, and the group in each reader's data."""
    device_type = model.W_E.device.type
    tokens: dict[tuple[str, int], np.ndarray] = {}
    places: dict[tuple[str, int], Places] = {}
    for reader in readers:
        for group, digest in token_digests(reader.groups).items():
            ids = reader.groups[group]
            size = batch_size(model, ids.shape[1], device_type, reader.reads)
            tokens[digest, size] = ids
            places.setdefault((digest, size), []).append((reader, group))
    for (digest, size), ids in tokens.items():
        yield ids, size, places[digest, size]


def _kept_by(readers: Iterable[Reader], n_layers: int) -> list[str]:
    """The outputs and hooks that readers read."""
    reads = {name for reader in readers for name in reader.reads}
    hooks = {hook for name in reads - set(OUTPUT_READS) for hook in hooks_of(name, n_layers)}
    return sorted(reads & set(OUTPUT_READS)) + sorted(hooks)


def _batches(model: HookedTransformer, ids: np.ndarray, size: int) -> Iterator[tuple[int, Tensor]]:
    """The number of each batch's first item, and its tokens."""
    device = next(model.parameters()).device
    for start in range(0, len(ids), size):
        yield start, torch.from_numpy(ids[start : start + size]).to(device, non_blocking=True)


def batch_size(
    model: HookedTransformer, length: int, device_type: str, reads: Iterable[str] = ()
) -> int:
    """Sequences of a batch, from shapes alone."""
    per_item = Shape.of(model).bytes_per_item(length, reads)
    budget = _BATCH_BYTES.get(device_type, _BATCH_BYTES["cpu"])
    return max(1, min(budget // per_item, _MAX_BATCH_TOKENS // length))


def _pass(model: HookedTransformer, tokens: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Outputs and activations by name; layers above the last one that is read are not run."""
    kept: dict[str, Tensor] = {}

    def keep(tensor: Tensor, hook: Any) -> None:
        kept[hook.name] = tensor

    hooks = [name for name in names if name not in OUTPUT_READS]
    outputs = [name for name in names if name in OUTPUT_READS]
    last = model.cfg.n_layers - 1 if outputs else max(layer_of(hook) or 0 for hook in hooks)
    residual = model.run_with_hooks(
        tokens, fwd_hooks=[(hook, keep) for hook in hooks], stop_at_layer=last + 1
    )
    if {"loss", "correct"} & set(outputs):
        kept |= _output_measures(model, residual, tokens)
    return {**kept, "final": residual}


def _output_measures(
    model: HookedTransformer, residual: Tensor, tokens: Tensor
) -> dict[str, Tensor]:
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
