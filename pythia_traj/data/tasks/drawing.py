"""How items are drawn: distinct ones, their clusters split into halves first."""

from collections.abc import Iterable
from itertools import islice

import numpy as np

from pythia_traj.data.tasks.prompt import (
    EVALUATION,
    SELECTION,
    Dropped,
    Encoded,
    Prompt,
    Text,
    UnusableError,
    encoded,
)
from pythia_traj.experiment import Vocabulary

MOST = 100
"""Items of a task where their number is not given: all distinct ones, but at most so many."""


def alternating(n: int) -> np.ndarray:
    """The halves of items that are all independent and alike [item]: 0, 1, 1, 0, and again."""
    item = np.arange(n)
    halves: np.ndarray = (item + item // 2) % 2
    return halves


class _Halves:
    """Puts families of items into halves, in the order in which they come.

    Within each template families alternate, so that each half has as many of it; neighbouring
    templates begin with different halves, as tasks alternate two kinds of items.
    """

    def __init__(self) -> None:
        self._half: dict[Text, int] = {}
        self._families: dict[str, int] = {}

    def of(self, prompt: Prompt) -> int:
        family = prompt.family or prompt.cluster or prompt.clean
        if family not in self._half:
            seen = self._families.setdefault(prompt.template, 0)
            place = list(self._families).index(prompt.template)
            self._half[family] = (seen + place + place // 2) % 2
            self._families[prompt.template] += 1
        return self._half[family]


def draw(
    prompts: Iterable[Prompt], vocabulary: Vocabulary, n: int | None, *, bos: bool
) -> tuple[list[Encoded], np.ndarray, Dropped]:
    """The first distinct prompts that the tokenizer allows, half of them in each half.

    Each half takes its own first ones; where one has too few, the other has more.

    Args:
        prompts: in random order, or in that of a file.
        vocabulary: of the model in use.
        n: how many at most; MOST if not given.
        bos: whether BOS is prepended.

    Returns:
        the items in their order, the half of each [item], and why others were dropped.

    Raises:
        DataError: a prompt exceeds the context, or the tokenizer yields ids that the model lacks.
    """
    n = MOST if n is None else n
    enough = {SELECTION: -(-n // 2), EVALUATION: n // 2}
    halves, dropped = _Halves(), Dropped()
    found: dict[int, list[tuple[int, Encoded]]] = {SELECTION: [], EVALUATION: []}
    seen: set[tuple[object, ...]] = set()
    for number, prompt in enumerate(prompts):
        if all(len(found[half]) >= enough[half] for half in found):
            break
        try:
            item = encoded(prompt, vocabulary, bos=bos)
            what = (item.clean.tobytes(), item.corrupted.tobytes(), item.right, item.wrong)
            if what in seen:
                raise UnusableError("it repeats an earlier one")
        except UnusableError as reason:
            dropped.add(str(reason), prompt.where)
            continue
        seen.add(what)
        found[halves.of(prompt)].append((number, item))
    for half, other in ((SELECTION, EVALUATION), (EVALUATION, SELECTION)):
        enough[half] += max(0, enough[other] - len(found[other]))
    chosen = sorted(
        (number, half, item)
        for half, items in found.items()
        for number, item in islice(items, enough[half])
    )
    return (
        [item for _, _, item in chosen],
        np.array([half for _, half, _ in chosen], dtype=np.int64),
        dropped,
    )
