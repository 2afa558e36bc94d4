"""A checkpoint's tensors on their way to the device.

On a CUDA device they are copied on a stream of their own, in the order in which a swap takes them,
while the swap folds those that have arrived. From pinned memory such a copy runs beside the
processor; its buffer must not be released before the copy has ended, and `finish` waits for that.
On the CPU a tensor stays where it is.
"""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


class Upload:
    """Tensors by name, each on the device before it is used there."""

    def __init__(
        self, tensors: Mapping[str, Tensor], names: Iterable[str], device: torch.device
    ) -> None:
        """Begins to copy.

        Args:
            names: the tensors that will be taken, in that order; the others stay where they are.
        """
        self._tensors, self._device = tensors, device
        self._moved: dict[str, tuple[Tensor, torch.cuda.Event]] = {}
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        if self._stream is not None:
            with torch.cuda.stream(self._stream):
                for name in names:
                    moved = tensors[name].to(device, non_blocking=True)
                    self._moved[name] = moved, self._stream.record_event()

    def __getitem__(self, name: str) -> Tensor:
        """The tensor; later work on the current stream finds it complete."""
        if self._stream is None:
            return self._tensors[name]
        tensor, copied = self._moved[name]
        current = torch.cuda.current_stream(self._device)
        current.wait_event(copied)
        # Its memory belongs to the other stream: it may be reused only when this stream is done
        # with it.
        tensor.record_stream(current)
        return tensor

    def finish(self) -> None:
        """Waits until all copies from the host have ended."""
        if self._stream is not None:
            self._stream.synchronize()
        self._moved.clear()
