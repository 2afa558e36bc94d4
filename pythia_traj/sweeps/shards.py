"""A request -> n shards of roughly equal cost.

Pure. A shard is made from the request alone, from all its steps, done or not: workers that begin at
different times, or on other machines, agree on who does what.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pythia_traj.errors import ConfigError
from pythia_traj.schedulers import find_task

Steps = Mapping[str, Sequence[int]]
"""By model, ascending."""

_SHARD = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")

_EVERY_STEP = 20_000_000
"""What a step takes beside its weights, in bytes of weights.

Opening, swapping and writing do not shrink with the model: without it a shard full of steps of the
smallest models, of 28 MB each, would take longest.
"""


@dataclass(frozen=True)
class Shard:
    """The part of a request that one worker does: number `index` of `count`, from 0.

    Attributes:
        told_by: where the two numbers are from, for the log.
    """

    index: int = 0
    count: int = 1
    told_by: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        """Checks the numbers.

        Raises:
            ConfigError: the index is beyond the last.
        """
        if 0 <= self.index < self.count:
            return
        origin = f" ({self.told_by})" if self.told_by else ""
        allowed = (
            f"shards count from 0, so the last of {self.count} is {self.count - 1}/{self.count}"
            if self.count > 0
            else "there has to be at least one"
        )
        raise ConfigError(f"shard {self}{origin}: {allowed}")

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Reads `0/4`.

        Raises:
            ConfigError: it has another form, or the index is beyond the last.
        """
        match = _SHARD.fullmatch(text)
        if match is None:
            raise ConfigError(f"--shard {text!r}: write i/n, such as 0/4 for the first of four")
        return cls(int(match[1]), int(match[2]))

    @classmethod
    def of_environment(cls, environment: Mapping[str, str], shards: int | None = None) -> "Shard":
        """The shard that a scheduler's variables say; `shards` is how many there are.

        Raises:
            ConfigError: they say none.
        """
        task = find_task(environment, shards)
        return cls(task.index, task.count, task.told_by)

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


WHOLE = Shard()
"""The one shard of a sweep that a single process does."""


def steps_of(shard: Shard, steps: Steps, weight_bytes: Mapping[str, int | None]) -> Steps:
    """The steps of a shard; all labels of a step are in one shard, which reads its weights once.

    Args:
        weight_bytes: of one step of each model.
    """
    found: dict[str, list[int]] = {}
    for model, step, index in _cut(shard.count, steps, weight_bytes):
        if index == shard.index:
            found.setdefault(model, []).append(step)
    return found


def shards_with(
    wanted: Collection[tuple[str, int]],
    count: int,
    steps: Steps,
    weight_bytes: Mapping[str, int | None],
) -> dict[int, set[tuple[str, int]]]:
    """Which of the wanted models and steps each of `count` shards holds, in their order.

    Shards that hold none are left out.
    """
    found: dict[int, set[tuple[str, int]]] = {}
    for model, step, index in _cut(count, steps, weight_bytes):
        if (model, step) in wanted:
            found.setdefault(index, set()).add((model, step))
    return dict(sorted(found.items()))


def _cut(
    count: int, steps: Steps, weight_bytes: Mapping[str, int | None]
) -> Iterator[tuple[str, int, int]]:
    """Each model and step, with the number of its shard.

    The steps of all models, one model after the other, are a line that is cut into pieces of equal
    cost: so the steps of a shard follow each other, and each costs at most one step more than the
    mean.
    """
    costs = costs_of(steps, weight_bytes)
    total = sum(costs[model] * len(selected) for model, selected in steps.items())
    before = 0
    for model, selected in steps.items():
        for step in selected:
            # Where the middle of the step is on the line, in whole numbers: equal on all machines.
            yield model, step, (2 * before + costs[model]) * count // (2 * total)
            before += costs[model]


def costs_of(models: Iterable[str], weight_bytes: Mapping[str, int | None]) -> dict[str, int]:
    """What a step of each model costs.

    It is the size of the weights, as both their bytes and the time of a forward pass grow with it,
    and a constant. A model of unknown size costs as much as the mean of the others.
    """
    known = [size for size in weight_bytes.values() if size is not None]
    unknown = sum(known) // len(known) if known else 0
    return {
        model: _EVERY_STEP + (unknown if (size := weight_bytes.get(model)) is None else size)
        for model in models
    }
