"""`checkpoints()`: a model at one step after another, for a loop of one's own."""

import gc
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from transformer_lens import HookedTransformer

from pythia_traj.checkpoint import Checkpoint, Room
from pythia_traj.config import Dtype
from pythia_traj.errors import CheckpointError, ConfigError
from pythia_traj.models.fit import pick_device
from pythia_traj.models.tensors import buffers_for
from pythia_traj.processing import Processing
from pythia_traj.steps import select
from pythia_traj.sweeps.prefetch import Prefetcher
from pythia_traj.sweeps.published import HUB, open_model
from pythia_traj.sweeps.session import Weights

log = logging.getLogger(__name__)

OnError = Literal["raise", "skip"]


@dataclass(frozen=True)
class LoadedCheckpoint:
    """One step of the stream.

    Attributes:
        model: the HookedTransformer with this step's weights in it: the same object at every step, so its parameters are this step's
            only until the next one is asked for. Copy what is to be kept.
        step, tokens, revision, commit: which step it is.
    """

    model: HookedTransformer
    step: int
    tokens: int | None
    revision: str
    commit: str | None


def checkpoints(
    model: str | Path,
    steps: str = "all",
    *,
    device: str = "auto",
    dtype: Dtype = "float32",
    fold_ln: bool = True,
    center_writing_weights: bool = True,
    center_unembed: bool = True,
    fold_value_biases: bool = True,
    default_prepend_bos: bool | None = None,
    source: str = HUB,
    prefetch: int = 2,
    on_error: OnError = "raise",
) -> Iterator[LoadedCheckpoint]:
    """Streams the checkpoints of a model through one HookedTransformer, whose weights are swapped in place.

    The yielded `model` is the same object each time: built once, with new weights at each step. Nothing of an earlier step is left in it,
    and a tensor of it that is kept changes with the next step; `tensor.clone()` keeps it.

    Args:
        model: a directory of checkpoints, or a published model's name.
        steps: an expression such as `log:12` or `0,512,last` (see pythia_traj.steps).
        device: `auto`, `cpu`, `cuda`, `cuda:1`.
        dtype: of the parameters; other than float32 they are the float32 result cast once.
        fold_ln, center_writing_weights, center_unembed, fold_value_biases: as in `HookedTransformer.from_pretrained`, whose parameters
            the model then has.
        default_prepend_bos: as there; None is its default for GPT-NeoX, which is not to.
        source: `hub`, or the directory below which the models' directories lie.
        prefetch: how many checkpoints are fetched ahead, into memory, while you work on one.
        on_error: what a checkpoint that is damaged, incomplete or not of this model does: `raise` ends the stream,
            `skip` logs a warning and goes on to the next step.

    Raises:
        PythiaTrajError: at the call, when the request is wrong; while streaming, when a checkpoint is damaged and is
            not to be skipped.
    """
    published = open_model(str(model), source)
    selected = select(steps, published.steps, tokens_per_step=published.tokens_per_step)
    processing = Processing(fold_ln, center_writing_weights, center_unembed, fold_value_biases)
    if prefetch < 0:
        raise ConfigError(f"prefetch: {prefetch}: give how many checkpoints are fetched ahead, 0 or more")
    if on_error not in get_args(OnError):
        raise ConfigError(f"on_error: {on_error!r}: give {' or '.join(get_args(OnError))}")
    target = pick_device(device)

    def stream() -> Iterator[LoadedCheckpoint]:
        published.expect(selected)
        with Prefetcher(published, selected, Room(prefetch, allocate=buffers_for(target))) as prefetcher:

            def build() -> Weights:
                return Weights(target, dtype, prefetcher.open, copies=1, default_prepend_bos=default_prepend_bos)

            yield from _each((published.checkpoint(step) for step in selected), build, processing, on_error)

    return stream()


def _each(
    found: Iterable[Checkpoint], build: Callable[[], Weights], processing: Processing, on_error: OnError
) -> Iterator[LoadedCheckpoint]:
    """Loads one checkpoint after another."""
    weights, is_right = build(), False
    try:
        for checkpoint in found:
            try:
                model = weights.load(checkpoint, processing)
                loaded = LoadedCheckpoint(
                    model, checkpoint.step, checkpoint.tokens, checkpoint.revision, checkpoint.commit
                )
            except CheckpointError as error:
                if on_error == "raise":
                    raise
                log.warning("step %d is skipped: %s", checkpoint.step, error)
                if not is_right:
                    # The config that the model was built from may be what is wrong: the next step builds it anew.
                    weights.close()
                    weights = build()
                    gc.collect()
                continue
            is_right = True
            yield loaded
    finally:
        weights.close()
