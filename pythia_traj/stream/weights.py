"""Weights in a model: one HookedTransformer, and the checkpoints whose weights go into it.

The model is built when it is first needed. Weights stay until another step or processing is asked
for; both kinds of processing of one step are made from the same open files.
"""

import gc
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import psutil
import torch
from torch import Tensor
from transformer_lens import HookedTransformer

from pythia_traj.checkpoint import Checkpoint, WeightFile
from pythia_traj.errors import CheckpointError, ModelError
from pythia_traj.models.device import DTYPES
from pythia_traj.models.finite import Watch
from pythia_traj.models.swap import SwappableModel
from pythia_traj.models.tensors import read_tensors
from pythia_traj.processing import Processing
from pythia_traj.stream.agreement import Agreement
from pythia_traj.stream.prefetch import Opened

log = logging.getLogger(__name__)

Opener = Callable[[Checkpoint], AbstractContextManager[Opened]]
"""Opens a checkpoint's weight files."""


@dataclass
class _Open:
    """A checkpoint whose files are open, and its tensors, which are in those files."""

    held: ExitStack
    files: list[WeightFile]
    tensors: dict[str, Tensor]
    greatest: float
    """The largest absolute value of its weights."""

    @property
    def in_memory(self) -> int:
        """Bytes in the process: a mapped file takes none, a `.bin` also those of its tensors."""
        files = sum(len(file.data) for file in self.files if file.path is None)
        if not any(file.name.endswith(".bin") for file in self.files):
            return files
        return files + sum(tensor.numel() * tensor.itemsize for tensor in self.tensors.values())

    @property
    def is_current(self) -> bool:
        """Whether the files are unchanged since they were read."""
        return all(file.is_current() for file in self.files)


class Weights:
    """One HookedTransformer, the weights in it, and the checkpoints that they come from.

    Their files stay open, so that another processing of a step is swapped in from the same bytes.
    With several `kept`, earlier steps can be swapped in again too: the references of a sweep are
    read once, not once a step.
    """

    def __init__(
        self,
        device: torch.device,
        dtype: str,
        open_files: Opener,
        *,
        agreement: Agreement,
        copies: int,
        kept: int = 1,
        default_prepend_bos: bool | None = None,
        rebuilds: bool = False,
    ) -> None:
        """Builds nothing yet.

        Args:
            rebuilds: a model that was changed is built again; otherwise that is an error.
            agreement: the model, and the steps that do not belong to it.
            copies: how many sets of weights are held in all, for the check that they fit.
            kept: how many checkpoints stay open, as far as memory allows.
        """
        self._device, self._dtype = device, DTYPES[dtype]
        self._copies, self._bos = copies, default_prepend_bos
        self._open_files, self._agreement = open_files, agreement
        self._swappable: SwappableModel | None = None
        self._kept, self._rebuilds = kept, rebuilds
        self._open: dict[tuple[str, int], _Open] = {}
        """In order of use; the last was used last."""
        self._loaded: tuple[tuple[str, int], Processing] | None = None
        self._failed: tuple[tuple[str, int], CheckpointError] | None = None
        self.seconds: dict[str, float] = {}
        self.bytes, self.medium = 0, ""
        self._non_finite: dict[int, Mapping[str, str]] = {}
        """By step, the tensors that were found to hold NaN or infinity when they were read."""
        self._overflowed: dict[tuple[int, Processing], Mapping[str, str]] = {}
        """The parameters that became infinite when a step was swapped in."""

    def load(self, checkpoint: Checkpoint, processing: Processing) -> HookedTransformer:
        """The model with the weights of a checkpoint in it.

        Weights that are in it already are not loaded again.

        Raises:
            CheckpointError: the checkpoint's files are not what they should be; the model then
                holds the weights of neither step.
            DeviceError: the model does not fit.
            ModelError: the model was changed in a way that a swap cannot undo.
        """
        wanted = (checkpoint.model, checkpoint.step)
        self._agreement.check(checkpoint.step)
        self._check_model()
        if wanted in self._open and not self._open[wanted].is_current:
            # The record of a unit names the files as they are now: so they are read again.
            self._close(wanted)
            self._loaded = None
        if self._swappable is None:
            with self._timed("build"):
                self._swappable = SwappableModel(
                    self._agreement.pattern or checkpoint,
                    device=self._device,
                    dtype=self._dtype,
                    default_prepend_bos=self._bos,
                    copies=self._copies,
                )
        if self._loaded == (wanted, processing):
            return self._swappable.model
        self._loaded = None
        if wanted not in self._open:
            self._swappable.check_same_architecture(checkpoint)
            self._open[wanted] = self._read(checkpoint, wanted, self._swappable)
        self._open[wanted] = self._open.pop(wanted)
        opened = self._open[wanted]
        with self._timed("swap"):
            self._swappable.swap(opened.tensors, processing)
        with self._timed("check"):
            self._overflowed[checkpoint.step, processing] = self._swappable.overflowed(
                opened.greatest
            )
        if not opened.is_current:
            raise CheckpointError(
                f"the weight files of {checkpoint.revision} were changed while they were in use"
            )
        self._loaded = (wanted, processing)
        return self._swappable.model

    @property
    def watch(self) -> Watch | None:
        """The watch on the model's activations, if the model is built."""
        return None if self._swappable is None else self._swappable.watch

    def flaws(self, processing: Processing) -> dict[int, Mapping[str, str]]:
        """By step, the tensors that were found to hold NaN or infinity.

        They held them when they were read, or since they were processed.
        """
        became = {
            step: found
            for (step, how), found in self._overflowed.items()
            if found and how == processing
        }
        return became | self._non_finite

    def _check_model(self) -> None:
        if self._swappable is None:
            return
        try:
            self._swappable.check_unchanged()
        except ModelError as error:
            if not self._rebuilds:
                raise
            log.warning("%s; it is built again", error)
            self._swappable = self._loaded = None
            gc.collect()

    def _read(
        self, checkpoint: Checkpoint, wanted: tuple[str, int], swappable: SwappableModel
    ) -> _Open:
        """Opens a checkpoint; before that, closes the oldest ones until it has room."""
        if self._failed is not None and self._failed[0] == wanted:
            # Other units of the step ask again: an unreadable file is not fetched once for each of
            # them.
            raise self._failed[1]
        while self._open and not self._have_room():
            self._close_oldest()
        with ExitStack() as held:
            try:
                opened = self._opened(checkpoint, held)
                tensors = read_tensors(opened.files, swappable.promised.architecture)
            except CheckpointError as error:
                self._failed = wanted, error
                raise
            self.seconds["wait"] = self.seconds.get("wait", 0.0) + opened.waited
            self.seconds["fetch"] = self.seconds.get("fetch", 0.0) + opened.seconds
            self.bytes += opened.bytes
            self.medium = opened.medium
            with self._timed("check"):
                found, greatest = swappable.look(tensors)
            self._non_finite.pop(checkpoint.step, None)
            if found:
                self._non_finite[checkpoint.step] = found
            return _Open(held.pop_all(), list(opened.files), tensors, greatest)

    def _opened(self, checkpoint: Checkpoint, held: ExitStack) -> Opened:
        """The checkpoint's files.

        Files that were opened ahead and have changed since are opened again.
        """
        with ExitStack() as ahead:
            opened = ahead.enter_context(self._open_files(checkpoint))
            if all(file.is_current() for file in opened.files):
                held.push(ahead.pop_all())
                return opened
        return held.enter_context(self._open_files(checkpoint))

    def _have_room(self) -> bool:
        """Whether one more may be open.

        Checkpoints of a model have the same size, and half of the free memory is left to others.
        """
        size = max(one.in_memory for one in self._open.values())
        return len(self._open) < self._kept and 2 * size <= psutil.virtual_memory().available

    def _close_oldest(self) -> None:
        self._close(next(iter(self._open)))

    def _close(self, which: tuple[str, int]) -> None:
        closed = self._open.pop(which)
        # The tensors are in the files: they are released first.
        closed.tensors.clear()
        closed.files.clear()
        closed.held.close()

    def close(self) -> None:
        """Closes the files; the weights in the model stay.

        A file that could not be read is tried again after that.
        """
        self._failed = None
        while self._open:
            self._close_oldest()

    @contextmanager
    def _timed(self, phase: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.seconds[phase] = self.seconds.get(phase, 0.0) + time.perf_counter() - start
