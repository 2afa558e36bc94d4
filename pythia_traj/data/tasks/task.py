"""What a task is: a name, what it is measured by, and how its items are drawn for a model."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np

from pythia_traj.data.tasks.drawing import MOST, draw
from pythia_traj.data.tasks.prompt import Dropped, Prompt, TaskBatch, batches
from pythia_traj.engines.streams import stream
from pythia_traj.experiment import Vocabulary

_TRIES = 20
"""Prompts that are tried for each requested one before giving up on the tokenizer."""


class Asked(NamedTuple):
    """How many items are drawn, and how.

    Attributes:
        name: the task's, which names its streams of random numbers.
        seed: of the draws.
        n: items; all distinct ones, but at most MOST, if not given.
        bos: whether BOS is prepended.
    """

    name: str
    seed: int
    n: int | None
    bos: bool

    def rng(self, number: int = 0) -> np.random.Generator:
        """One of the task's streams of random numbers."""
        return stream(self.seed, f"task:{self.name}", number)


Draw = Callable[[Vocabulary, Asked], tuple[list[TaskBatch], Dropped]]
"""Items of one length together, and the prompts that the tokenizer does not allow, by reason."""


@dataclass(frozen=True)
class Task:
    """A task of this folder: a file here that defines `TASK`, or a tuple of them, adds one.

    Attributes:
        name: by which a request asks for it.
        draw: its items.
        metric: what it is measured by: `logit_diff`, `prob_diff` or `nll`.
    """

    name: str
    draw: Draw
    metric: str = "logit_diff"


def in_words(prompts: Callable[[np.random.Generator], Iterator[Prompt]]) -> Draw:
    """Items of prompts in words, as many as the tokenizer allows up to the number asked for.

    Args:
        prompts: all of a task in random order, or endless ones, drawn with a generator of random
            numbers; first items of as many clusters and templates as there are.
    """

    def drawn(vocabulary: Vocabulary, asked: Asked) -> tuple[list[TaskBatch], Dropped]:
        some = islice(prompts(asked.rng()), _TRIES * max(asked.n or 0, MOST))
        return as_batches(some, vocabulary, asked)

    return drawn


def as_batches(
    prompts: Iterator[Prompt], vocabulary: Vocabulary, asked: Asked
) -> tuple[list[TaskBatch], Dropped]:
    """Prompts, drawn and put together as batches."""
    items, halves, dropped = draw(prompts, vocabulary, asked.n, bos=asked.bos)
    return list(batches(items, halves, bos=asked.bos, rng=asked.rng(1))), dropped
