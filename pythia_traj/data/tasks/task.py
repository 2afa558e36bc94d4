"""What a task is: a name, what it is measured by, and how its items are drawn for a model."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np

from pythia_traj.data.tasks.prompt import Dropped, Prompt, TaskBatch, encode
from pythia_traj.experiment import Vocabulary

_TRIES = 20
"""Prompts that are tried for each requested one before giving up on the tokenizer."""

Draw = Callable[[Vocabulary, int, int, bool], tuple[list[TaskBatch], Dropped]]
"""Vocabulary, seed, number of items and whether BOS is prepended -> items of one length together.

With them the prompts that the tokenizer does not allow, by reason.
"""


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
        prompts: endless items, drawn with a generator of random numbers.
    """

    def draw(
        vocabulary: Vocabulary, seed: int, n: int, bos: bool
    ) -> tuple[list[TaskBatch], Dropped]:
        candidates = islice(prompts(np.random.default_rng(seed)), _TRIES * n)
        return encode(candidates, vocabulary, n, bos, np.random.default_rng(seed))

    return draw
