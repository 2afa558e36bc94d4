"""The weights that units need: those of one model, and those of the reference steps."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from transformer_lens import HookedTransformer

from pythia_traj.checkpoint import Checkpoint, PublishedModel
from pythia_traj.errors import CheckpointError
from pythia_traj.processing import Processing
from pythia_traj.stream.agreement import Agreement
from pythia_traj.stream.prefetch import Opened, Prefetcher
from pythia_traj.stream.weights import Weights

T = TypeVar("T")


@dataclass
class Traffic:
    """What was loaded for some units.

    Attributes:
        seconds: by phase. `wait`, `build` and `swap` were spent; `fetch` is how long the files took
            to arrive, mostly while other work was done.
        bytes: of the files.
        medium: `network` or `disk`; empty if nothing was opened.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    bytes: int = 0
    medium: str = ""

    @property
    def spent(self) -> float:
        """Seconds without any other work."""
        return sum(seconds for phase, seconds in self.seconds.items() if phase != "fetch")


class Session:
    """The weights of one model in a sweep, and those of the steps its experiments compare with."""

    def __init__(
        self,
        published: PublishedModel,
        device: torch.device,
        dtype: str,
        *,
        agreement: Agreement,
        references: int,
    ) -> None:
        """Builds nothing yet; checkpoints are opened while it is `reading`.

        Args:
            agreement: the model, and the steps that do not belong to it.
            references: how many other steps a unit compares with at most.
        """
        self.published = published
        self._prefetcher: Prefetcher | None = None
        copies, kept = 2 if references else 1, max(references, 1)
        self._current = Weights(
            device, dtype, self._open, agreement=agreement, copies=copies, rebuilds=True
        )
        self._reference = Weights(
            device,
            dtype,
            self._open_aside,
            agreement=agreement,
            copies=1,
            kept=kept,
            rebuilds=True,
        )

    def model(self, step: int, processing: Processing) -> HookedTransformer:
        """The model at a step, without hooks that the previous unit left on it."""
        model = self._current.load(self.published.checkpoint(step), processing)
        model.reset_hooks()
        for weights in (self._current, self._reference):
            if weights.watch is not None:
                weights.watch.begin()
        return model

    def reference_model(self, step: int, processing: Processing) -> HookedTransformer:
        """A second model, at another step."""
        return self._reference.load(self.published.checkpoint(step), processing)

    def flaws(self, processing: Processing) -> dict[int, Mapping[str, str]]:
        """By step, the tensors that hold NaN or infinity, as stored or after this processing.

        Those of references are included.
        """
        return self._reference.flaws(processing) | self._current.flaws(processing)

    @property
    def saw_overflow(self) -> bool:
        """Whether activations of the current unit, or of its references, were not finite."""
        return any(
            weights.watch is not None and weights.watch.has_seen
            for weights in (self._current, self._reference)
        )

    def take_traffic(self) -> Traffic:
        """What was loaded since the last call, and how long it took."""
        traffic = Traffic()
        for weights in (self._current, self._reference):
            for phase, seconds in weights.seconds.items():
                traffic.seconds[phase] = traffic.seconds.get(phase, 0.0) + seconds
            traffic.bytes += weights.bytes
            traffic.medium = traffic.medium or weights.medium
            weights.seconds.clear()
            weights.bytes, weights.medium = 0, ""
        return traffic

    @contextmanager
    def reading(self, prefetcher: Prefetcher) -> Iterator[None]:
        """Opens checkpoints by this prefetcher until the block ends.

        Then all files are closed; the weights stay in the models, so another block can follow.
        """
        self._prefetcher = prefetcher
        try:
            yield
        finally:
            self._current.close()
            self._reference.close()
            self._prefetcher = None

    def _open(self, checkpoint: Checkpoint) -> AbstractContextManager[Opened]:
        return self._reads_by.open(checkpoint)

    def _open_aside(self, checkpoint: Checkpoint) -> AbstractContextManager[Opened]:
        return self._reads_by.open_aside(checkpoint)

    @property
    def _reads_by(self) -> Prefetcher:
        assert self._prefetcher is not None
        return self._prefetcher


class SessionReferences:
    """References of one unit, from a session (see experiment.ReferenceModels)."""

    def __init__(
        self, session: Session, steps: dict[str, int], processing: Processing, made: dict[int, Any]
    ) -> None:
        """`made` holds what earlier units of the label made of references, by step.

        Entries of steps that have no name here are deleted.
        """
        self._session, self._processing = session, processing
        self.steps = steps
        for step in made.keys() - set(steps.values()):
            del made[step]
        self._made = made

    def __contains__(self, name: object) -> bool:
        return name in self.steps

    def __getitem__(self, name: str) -> HookedTransformer:
        return self._session.reference_model(self._step(name), self._processing)

    def once(self, name: str, make: Callable[[HookedTransformer], T]) -> T:
        """What depends only on a reference's model: made once in a sweep."""
        step = self._step(name)
        if step not in self._made:
            self._made[step] = make(self[name])
        found: T = self._made[step]
        return found

    def _step(self, name: str) -> int:
        if name not in self.steps:
            raise CheckpointError(
                f"this step has no reference {name!r}: its references are"
                f" {', '.join(self.steps) or 'none'}"
            )
        return self.steps[name]
