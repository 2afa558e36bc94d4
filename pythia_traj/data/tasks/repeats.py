"""Repeated tokens as a task: random tokens, then the same again; judged on the whole second copy.

Nothing competes with the right continuation, so what counts is its loss. The twin's first copy has
the same tokens in another order: the seen tokens are the same, what followed each is not. With
other tokens instead, a model that only knows that seen tokens come again would tell the twins apart
long before it can continue a sequence.
"""

import numpy as np

from pythia_traj.data.tasks.drawing import MOST, alternating
from pythia_traj.data.tasks.prompt import Dropped, TaskBatch, permuted
from pythia_traj.data.tasks.task import Asked, Task
from pythia_traj.experiment import Vocabulary

LENGTH = 25
"""Tokens of one copy."""


def batch(vocabulary: Vocabulary, rng: np.random.Generator, n: int, *, bos: bool) -> TaskBatch:
    """So many items, their ids uniform over the whole embedding.

    Raises:
        DataError: two copies do not fit the model's context.
    """
    start = int(bos)
    needed = start + 2 * LENGTH
    vocabulary.check_length(f"task repeats, two copies of {LENGTH} tokens,", needed, "task")
    copy = rng.integers(0, vocabulary.d_vocab, (n, LENGTH))
    other = rng.permuted(copy, axis=1)
    clean, corrupted = (np.concatenate([first, copy], axis=1) for first in (copy, other))
    if bos:
        clean, corrupted = vocabulary.with_bos(clean), vocabulary.with_bos(corrupted)
    return TaskBatch(
        clean=clean,
        corrupted=corrupted,
        shuffled=permuted(clean, start, rng),
        reads=np.arange(start + LENGTH - 1, start + 2 * LENGTH - 1),
        candidates=copy[:, :, None].astype(np.int64),
        is_right=np.ones((n, LENGTH, 1), dtype=bool),
        item=np.arange(n),
        cluster=np.arange(n),
        half=alternating(n),
        templates=("",) * n,
    )


def _draw(vocabulary: Vocabulary, asked: Asked) -> tuple[list[TaskBatch], Dropped]:
    n = MOST if asked.n is None else asked.n
    return [batch(vocabulary, asked.rng(), n, bos=asked.bos)], Dropped()


TASK = Task("repeats", _draw, metric="nll")
