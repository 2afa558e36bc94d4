"""How a training run went over its steps: the learning rate, and when its data began anew."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_POINTS = 200
"""Evenly spaced steps at which a rate is given, beside the powers of two and the bends."""


@dataclass(frozen=True)
class Schedule:
    """What is known of a training run beside its weights, to draw over its steps.

    Attributes:
        steps: ascending, close enough for straight lines between them, on a log axis too.
        lr: the learning rate of the update that leads from each of these steps to the next.
        warmup_end: the first step at which the rate is at its peak.
        second_epoch: the step at which data is seen for the second time; None where none is, or it
            is not known.
    """

    steps: tuple[int, ...]
    lr: tuple[float, ...]
    warmup_end: int
    second_epoch: int | None = None

    @classmethod
    def of(
        cls,
        rate: Callable[[int], float],
        last: int,
        *,
        bends: Iterable[int],
        warmup_end: int,
        second_epoch: int | None = None,
    ) -> "Schedule":
        """A schedule with points dense enough to draw.

        Args:
            rate: the learning rate at a step.
            last: the last step.
            bends: steps at which the curve has a corner.
            warmup_end, second_epoch: as the attributes.
        """
        powers = (2**i for i in range(last.bit_length()))
        evenly = range(0, last + 1, max(1, last // _POINTS))
        steps = sorted({*powers, *evenly, *bends, last})
        return cls(tuple(steps), tuple(map(rate, steps)), warmup_end, second_epoch)


class Trapezoid(BaseModel):
    """A rate that rises linearly, stays, and falls linearly to 0, as a `suite.json` may record it.

    It is what the toy suite is trained with: its `recipe` has these names, among others.

    Attributes:
        steps: of training.
        peak_lr: the rate between rise and fall.
        warmup: steps of the rise.
        decay_from: the share of all steps after which it falls.
    """

    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", allow_inf_nan=False)

    steps: Annotated[int, Field(ge=1, lt=2**31)]
    peak_lr: Annotated[float, Field(gt=0)]
    warmup: Annotated[int, Field(ge=1, lt=2**31)]
    decay_from: Annotated[float, Field(ge=0, lt=1)]

    def lr(self, step: int) -> float:
        """The learning rate of the update that leads from `step` to `step + 1`."""
        rising = (step + 1) / self.warmup
        falling = (self.steps - step) / (self.steps * (1 - self.decay_from))
        return max(0.0, self.peak_lr * min(1.0, rising, falling))

    def schedule(self) -> Schedule:
        """The same as points."""
        full, falls = min(self.warmup - 1, self.steps), int(self.steps * self.decay_from)
        bends = (full, falls)
        return Schedule.of(self.lr, self.steps, bends=bends, warmup_end=full)
