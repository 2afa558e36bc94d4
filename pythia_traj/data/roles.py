"""What roles of heads are measured on: repeated tokens, prompts with names, and ordered words.

Repeated tokens work with every tokenizer; the others need names and ordered words of one token.
Where the tokenizer lacks these, a sentence says so in their place.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge

from pythia_traj.data.prompts import TaskPrompts
from pythia_traj.data.repeated import RepeatedTokens
from pythia_traj.data.tasks.prompt import TaskBatch
from pythia_traj.errors import DataError
from pythia_traj.experiment import Data, Vocabulary

FEWEST = 4
"""The fewest items of a role: two to set its threshold on, two to measure it on."""

AtLeastFour = Annotated[int, Ge(FEWEST)]

SUPPRESSION_LENGTH = 8
"""Tokens of one half of the sequences for copy suppression.

They are short because heads are ablated on them one by one.
"""

_NUMBER_WORDS = [
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
    "twenty",
]  # fmt: skip
_DAYS = [
    "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday",
]  # fmt: skip
_MONTHS = [
    "January", "February", "March", "April", "May", "June", "July", "August", "September",
    "October", "November", "December",
]  # fmt: skip
_ROMAN = [
    "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV", "XV",
    "XVI", "XVII", "XVIII", "XIX", "XX",
]  # fmt: skip
_LETTERS = [chr(code) for code in range(ord("A"), ord("Z") + 1)]

ORDERED: dict[str, tuple[list[str], ...]] = {
    "numbers": ([str(number) for number in range(1, 101)],),
    "number_words": (_NUMBER_WORDS, [word.capitalize() for word in _NUMBER_WORDS]),
    "days": (_DAYS, [word.lower() for word in _DAYS]),
    "months": (_MONTHS, [word.lower() for word in _MONTHS]),
    "letters": (_LETTERS, [word.lower() for word in _LETTERS]),
    "roman": (_ROMAN, [word.lower() for word in _ROMAN]),
}
"""Ordered vocabularies in their spellings (Gould et al. 2024), from first to last.

No word follows the last one.
"""

_FEWEST_TARGETS = 3
"""A task with fewer targets is left out: guesses would be right too often."""


@dataclass(frozen=True)
class NamePrompts(TaskBatch):
    """Prompts of indirect object identification of one length, and where the names stand.

    Their twins have three other names. They are read at the last position, END; the candidates are
    the right and the wrong name.

    Attributes:
        shuffled_twin: the corrupted prompts with their tokens in the order that those of `shuffled`
            have [item, pos].
        io, s1, s2: positions in `clean` of the name that is right, of the other, and of where that
            stands again [item].
    """

    shuffled_twin: np.ndarray
    io: np.ndarray
    s1: np.ndarray
    s2: np.ndarray


@dataclass(frozen=True)
class OrderedWords:
    """A task: the words of a vocabulary in one spelling, each with the word that follows it.

    Attributes:
        words: tokens [item].
        targets: the token that follows each of them [item].
        shuffled: for each word the number of another word's target, all different [item].
    """

    words: np.ndarray
    targets: np.ndarray
    shuffled: np.ndarray


@dataclass(frozen=True)
class RolePrompts(Data["BoundRolePrompts"]):
    """What roles of heads are measured on.

    Attributes:
        n: sequences, and prompts with names: half for thresholds, half for scores.
        length: tokens of one half of the repeated tokens.
        bos: whether BOS is prepended.
    """

    n: AtLeastFour = 16
    length: AtLeastFour = 25
    bos: bool = False

    def spec(self, *, seed: int) -> dict[str, Any]:
        """Random numbers and our own words: a seed identifies them."""
        return {"source": "roles", "version": 1, "seed": seed}

    def bind(self, vocabulary: Vocabulary, *, seed: int) -> "BoundRolePrompts":
        """Draws all parts.

        Raises:
            DataError: the repeated tokens do not fit the model's context.
        """
        return BoundRolePrompts(self, vocabulary, seed=seed)


class BoundRolePrompts:
    """All parts, drawn.

    Attributes:
        parameters: what was asked for.
        repeated: `two_halves` of `length` tokens, and their null.
        short: `two_halves` of SUPPRESSION_LENGTH tokens, for copy suppression.
        random_keys: for each query of the second half of `repeated` an earlier position, or its own
            [item, query].
        names: prompts with names by length; empty where the tokenizer has none, and then `no_names`
            says why.
        ordered: tasks of words with an order; empty where the tokenizer has none, and then
            `no_ordered` says why.
        groups: all token ids, by name: int64 [item, pos].
        facts: how many items each part has, for the record.
    """

    def __init__(self, parameters: RolePrompts, vocabulary: Vocabulary, *, seed: int) -> None:
        self.parameters = parameters
        n, length, bos = parameters.n, parameters.length, parameters.bos
        self.repeated, self.short = (
            RepeatedTokens(n=n, length=half, bos=bos).bind(vocabulary, seed=seed)
            for half in (length, SUPPRESSION_LENGTH)
        )
        rng = np.random.default_rng(seed)
        second = self.repeated.start + length
        self.random_keys = rng.integers(0, np.arange(second, second + length) + 1, (n, length))
        self.names, self.no_names = _names(vocabulary, seed, n, bos, rng)
        self.ordered, self.no_ordered = _ordered(vocabulary, rng)
        self.groups = {
            **{name: self.repeated.groups[name] for name in ("two_halves", "two_halves/shuffled")},
            **{
                f"short/{name}": self.short.groups[name]
                for name in ("two_halves", "two_halves/shuffled")
            },
            **{f"names/{i}": batch.clean for i, batch in enumerate(self.names)},
        }
        self.facts = {
            "sequences": n,
            "names": sum(len(batch.item) for batch in self.names) or self.no_names,
            "ordered": sum(len(task.words) for task in self.ordered) or self.no_ordered,
        }

    @property
    def chances(self) -> np.ndarray:
        """How often a guess among the task's targets is right, for each ordered word [item]."""
        return np.concatenate(
            [np.full(len(task.words), 1 / len(task.words)) for task in self.ordered]
        )


def _names(
    vocabulary: Vocabulary, seed: int, n: int, bos: bool, rng: np.random.Generator
) -> tuple[list[NamePrompts], str]:
    try:
        task = TaskPrompts(task="ioi_abc", n=n, bos=bos).bind(vocabulary, seed=seed)
    except DataError as error:
        return [], str(error)
    if task.n < FEWEST:
        return [], (
            f"only {task.n} prompts of task ioi_abc can be used with this model's tokenizer,"
            f" {FEWEST} are needed"
        )
    return [_name_prompts(batch, int(bos), rng) for batch in task.batches], ""


def _name_prompts(batch: TaskBatch, start: int, rng: np.random.Generator) -> NamePrompts:
    io, s = batch.candidates[:, 0, :1], batch.candidates[:, 0, 1:]
    is_s = batch.clean == s
    length = batch.clean.shape[1]
    order = np.tile(np.arange(length), (len(batch.item), 1))
    order[:, start:] = rng.permuted(order[:, start:], axis=1)
    return NamePrompts(
        clean=batch.clean,
        corrupted=batch.corrupted,
        shuffled=np.take_along_axis(batch.clean, order, 1),
        reads=batch.reads,
        candidates=batch.candidates,
        is_right=batch.is_right,
        item=batch.item,
        cluster=batch.cluster,
        half=batch.half,
        templates=batch.templates,
        shuffled_twin=np.take_along_axis(batch.corrupted, order, 1),
        io=(batch.clean == io).argmax(1),
        s1=is_s.argmax(1),
        s2=length - 1 - is_s[:, ::-1].argmax(1),
    )


def _ordered(vocabulary: Vocabulary, rng: np.random.Generator) -> tuple[list[OrderedWords], str]:
    tasks = []
    try:
        found = list(_tasks(vocabulary))
    except DataError as error:
        return [], str(error)
    for pairs in found:
        words, targets = np.array(pairs, dtype=np.int64).T.copy()
        tasks.append(OrderedWords(words, targets, _derangement(len(pairs), rng)))
    if sum(len(task.words) for task in tasks) < FEWEST:
        return [], (
            f"this model's tokenizer has no {_FEWEST_TARGETS + 1} ordered words in a row that are"
            " one token each"
        )
    return tasks, ""


def _tasks(vocabulary: Vocabulary) -> Iterator[list[tuple[int, int]]]:
    """Each vocabulary in each spelling as (word, the word after it), where both are one token."""
    seen = set()
    for spellings in ORDERED.values():
        for spelling in spellings:
            for space in ("", " "):
                tokens = [_single_token(vocabulary, space + word) for word in spelling]
                pairs = [(a, b) for a, b in pairwise(tokens) if a is not None and b is not None]
                # A tokenizer of whole words has the same tokens with and without a space; a token
                # that follows two words cannot be a target.
                if len(pairs) >= _FEWEST_TARGETS and tuple(pairs) not in seen:
                    seen.add(tuple(pairs))
                    yield pairs


def _single_token(vocabulary: Vocabulary, text: str) -> int | None:
    """The token that is the text; None where it takes several, or is unknown."""
    if vocabulary.tokenizer is None:
        return None
    ids = vocabulary.encode(text).tolist()
    is_it = len(ids) == 1 and vocabulary.decode(ids).strip() == text.strip()
    return int(ids[0]) if is_it else None


def _derangement(n: int, rng: np.random.Generator) -> np.ndarray:
    """A permutation that leaves nothing in its place, as about one permutation in e does."""
    while True:
        order = rng.permutation(n)
        if (order != np.arange(n)).all():
            return order
