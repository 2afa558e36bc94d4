"""What a sweep will take, before it begins.

Forward passes are counted from the request; seconds come from a measured pass of a model of the
same shape with random weights, so no weights are fetched.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from transformer_lens import HookedTransformer

from pythia_traj.checkpoint import PublishedModel
from pythia_traj.config import ExperimentRequest, SweepConfig
from pythia_traj.errors import CheckpointError
from pythia_traj.experiment import Passes, Shape
from pythia_traj.models.device import DTYPES, pick_device
from pythia_traj.models.swap import SwappableModel
from pythia_traj.stream.agreement import agree
from pythia_traj.sweeps.datasets import Datasets
from pythia_traj.sweeps.forward import batch_size
from pythia_traj.sweeps.plan import Unit

_MEASURED_SEQUENCES = 8
_TIMES = 3

Groups = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Cost:
    """What one step of one experiment takes.

    Attributes:
        passes: forward passes of one sequence through the whole model; a part of a pass counts for
            its share, gradients count for two more passes.
        tokens: of a sequence, on average.
        seconds: estimated, without computation besides the passes, and without fetching and
            swapping weights.
        memory: bytes of activations that are held at once: those of a batch, and those that are
            written when the step ends. None for an experiment that runs its own passes.
        shared_with: labels that read some of the same tokens, directly or through other labels;
            these tokens go through the model once.
    """

    passes: float
    tokens: float
    seconds: float
    memory: int | None = None
    shared_with: tuple[str, ...] = ()


def estimate(
    config: SweepConfig, published: PublishedModel, units: Iterable[Unit]
) -> dict[str, Cost]:
    """The cost of a step, by label, for experiments that state their cost.

    Raises:
        CheckpointError: no step's config and tokenizer can be read.
        DataError: the data cannot be made for this model, or not be measured on it.
        DeviceError: the model does not fit.
    """
    todo = list(units)
    if not todo:
        return {}
    device = pick_device(config.device)
    agreement = agree(published, {unit.step for unit in todo}, dtype=config.dtype, device=device)
    checkpoint = agreement.pattern
    if checkpoint is None:
        raise CheckpointError(next(iter(agreement.refused.values())))
    datasets = Datasets(config, checkpoint)
    costs: dict[str, Cost] = {}
    labels = list(dict.fromkeys(unit.label for unit in todo))
    datasets.prepare(labels)
    swappable = SwappableModel(checkpoint, device=device, dtype=DTYPES[config.dtype])
    swappable.fill_randomly()
    for label in labels:
        data = datasets.get(label)
        request = config.experiments[label]
        groups = datasets.groups(label) if request.experiment.reads else getattr(data, "groups", {})
        passes = _passes(request, data, groups, datasets.shape)
        if passes is not None:
            cost = _measured(swappable.model, data, groups, passes)
            held = _held(swappable.model, request, groups, passes)
            costs[label] = replace(cost, memory=held)
    for together in datasets.sharing(labels):
        for label in together:
            others = tuple(other for other in together if other != label)
            costs[label] = replace(costs[label], shared_with=others)
    return costs


def _passes(request: ExperimentRequest, data: Any, groups: Groups, shape: Shape) -> Passes | None:
    if request.experiment.passes is not None:
        return request.experiment.passes(shape, data, **request.experiment.own(request.parameters))
    if not request.experiment.reads:
        return None
    sequences = sum(len(tokens) for tokens in groups.values())
    is_unembedded = {"loss", "correct"} & set(request.experiment.reads_with(request.parameters))
    return Passes(sequences, sequences if is_unembedded else 0)


def _held(
    model: HookedTransformer, request: ExperimentRequest, groups: Groups, passes: Passes
) -> int | None:
    if not request.experiment.reads:
        return None
    reads, shape = request.experiment.reads_with(request.parameters), Shape.of(model)
    batches = [
        min(len(ids), batch_size(model, ids.shape[1], model.W_E.device.type, reads))
        * shape.bytes_per_item(ids.shape[1], reads)
        for ids in groups.values()
    ]
    return max(batches) + passes.held


@torch.inference_mode()
def _measured(model: Any, data: Any, groups: Groups, passes: Passes) -> Cost:
    """Times a pass over some sequences of the largest group; returns what so many passes take."""
    sequences = sum(len(group) for group in groups.values())
    tokens = sum(group.size for group in groups.values())
    largest = max(groups.values(), key=len)
    length = largest.shape[1]
    device = model.W_E.device
    size = min(len(largest), _MEASURED_SEQUENCES, batch_size(model, length, device.type))
    some = torch.from_numpy(largest[:size]).to(device)
    reads = next(
        (torch.from_numpy(batch.reads) for batch in getattr(data, "batches", ())),
        torch.arange(length),
    )
    # The quickest of a few: the first one includes set-up, and other programs can slow down any of
    # them.
    timed = [_pass(model, some, reads.to(device)) for _ in range(_TIMES)]
    per_pass, per_read = (min(seconds) / size for seconds in zip(*timed, strict=True))
    mean_length = tokens / sequences
    seconds = passes.layers * per_pass * mean_length / length + passes.reads * per_read
    return Cost(passes.layers, mean_length, seconds)


def _pass(model: Any, tokens: torch.Tensor, reads: torch.Tensor) -> tuple[float, float]:
    """Seconds of the layers, and of unembedding the positions that are read."""
    device = tokens.device
    start = _now(device)
    final = model(tokens, stop_at_layer=model.cfg.n_layers)
    middle = _now(device)
    model.unembed(model.ln_final(final[:, reads]))
    return middle - start, _now(device) - middle


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
