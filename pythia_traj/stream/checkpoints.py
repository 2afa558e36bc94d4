"""`checkpoints()`: a model at one step after another, for a user's own loop."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from transformer_lens import HookedTransformer

from pythia_traj.checkpoint import Checkpoint, Room
from pythia_traj.config import Dtype
from pythia_traj.errors import CheckpointError, ConfigError
from pythia_traj.models.device import pick_device
from pythia_traj.models.tensors import buffers_for
from pythia_traj.processing import Processing
from pythia_traj.steps import select
from pythia_traj.stream.agreement import agree
from pythia_traj.stream.flaws import say_non_finite
from pythia_traj.stream.prefetch import Prefetcher
from pythia_traj.stream.published import open_model
from pythia_traj.stream.weights import Weights
from pythia_traj.suites.names import HUB

log = logging.getLogger(__name__)

OnError = Literal["raise", "skip"]


@dataclass(frozen=True)
class LoadedCheckpoint:
    """One step of the stream.

    Attributes:
        model: the HookedTransformer with this step's weights in it: the same object at every step,
            so its parameters are this step's only until the next one is asked for. Copy what you
            want to keep.
        step, tokens, revision, commit: which step it is.
        non_finite: the weights that hold NaN or infinity, or became infinite in the model's dtype,
            each with how many. Results computed from them mean nothing, even if they are finite.
    """

    model: HookedTransformer
    step: int
    tokens: int | None
    revision: str
    commit: str | None
    non_finite: Mapping[str, str] = field(default_factory=dict)


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
    """Streams the checkpoints of a model through one HookedTransformer, swapping weights in place.

    The yielded `model` is the same object each time: built once, with new weights at each step.
    Nothing of an earlier step is left in it. A tensor of it that you keep changes with the next
    step: keep a `tensor.clone()`. After each step your hooks are removed, except those added with
    `is_permanent=True`, and so are gradients and edits in place. A change that cannot be undone,
    such as `model.to(torch.float64)` or a replaced module, ends the stream with a `ModelError`:
    make it in a `copy.deepcopy(ckpt.model)`.

    Args:
        model: a directory of checkpoints, or a published model's name.
        steps: an expression such as `log:12` or `0,512,last` (see pythia_traj.steps).
        device: `auto`, `cpu`, `cuda`, `cuda:1`.
        dtype: of the parameters; other than float32 they are the float32 result cast once.
        fold_ln, center_writing_weights, center_unembed, fold_value_biases: as in
            `HookedTransformer.from_pretrained`, whose parameters the model then has.
        default_prepend_bos: as there; None is its default for GPT-NeoX, which is not to.
        source: `hub`, or the directory below which the models' directories lie.
        prefetch: how many checkpoints are fetched ahead, into memory, while you work on one.
        on_error: what happens at a checkpoint that is damaged, incomplete or of another model:
            `raise` ends the stream, `skip` logs a warning and goes on to the next step.

    Raises:
        PythiaTrajError: at the call, when the request is wrong; while streaming, when a checkpoint
            is damaged and must not be skipped.
    """
    published = open_model(str(model), source)
    selected = select(steps, published.steps, tokens_per_step=published.tokens_per_step)
    processing = Processing(fold_ln, center_writing_weights, center_unembed, fold_value_biases)
    if prefetch < 0:
        raise ConfigError(
            f"prefetch: {prefetch}: give how many checkpoints are fetched ahead, 0 or more"
        )
    if on_error not in get_args(OnError):
        raise ConfigError(f"on_error: {on_error!r}: give {' or '.join(get_args(OnError))}")
    target = pick_device(device)

    def stream() -> Iterator[LoadedCheckpoint]:
        published.expect(selected)
        agreement = agree(published, selected, dtype=dtype, device=target)
        right = [step for step in selected if step not in agreement.refused]
        with Prefetcher(
            published, right, Room(prefetch, allocate=buffers_for(target))
        ) as prefetcher:
            open_files, bos = prefetcher.open, default_prepend_bos
            weights = Weights(
                target, dtype, open_files, agreement=agreement, copies=1, default_prepend_bos=bos
            )
            with closing(weights):
                yield from _each(
                    (published.checkpoint(step) for step in selected), weights, processing, on_error
                )

    return stream()


def _each(
    found: Iterable[Checkpoint], weights: Weights, processing: Processing, on_error: OnError
) -> Iterator[LoadedCheckpoint]:
    """Loads one checkpoint after another."""
    for checkpoint in found:
        try:
            model = weights.load(checkpoint, processing)
            flaws = weights.flaws(processing).get(checkpoint.step, {})
            loaded = LoadedCheckpoint(
                model,
                checkpoint.step,
                checkpoint.tokens,
                checkpoint.revision,
                checkpoint.commit,
                flaws,
            )
        except CheckpointError as error:
            if on_error == "raise":
                raise
            log.warning("step %d is skipped: %s", checkpoint.step, error)
            continue
        if flaws:
            log.warning(
                "%s: results computed from them mean nothing",
                say_non_finite(checkpoint.step, flaws),
            )
        yield loaded
