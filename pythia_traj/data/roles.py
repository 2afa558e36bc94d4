"""What roles of heads are measured on: repeated tokens, prompts with names, and ordered words.

Repeated tokens work with every tokenizer; the others need names and ordered words of one token.
Where the tokenizer lacks these, a sentence says so in their place.

Items come in sets of equal size that share none: two folds, on which heads are tested, and the sets
of selection, which are the draws of the null. Equal sizes make the noise of their means equal.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from itertools import pairwise
from typing import Annotated, Any, get_args

import numpy as np
from annotated_types import Ge, Len, MultipleOf

from pythia_traj.data.prompts import TaskPrompts
from pythia_traj.data.repeated import RepeatedTokens
from pythia_traj.data.tasks.prompt import TaskBatch
from pythia_traj.engines.role_scores import Role
from pythia_traj.engines.streams import derived_seed, stream
from pythia_traj.errors import DataError
from pythia_traj.experiment import COMMA_SEPARATED, Data, Vocabulary

NAME = "roles"
"""The streams of random numbers of all parts begin with it."""

FOLDS = 2

ON_REPEATED: tuple[Role, ...] = ("previous_token", "duplicate_token", "induction")
ON_NAMES: tuple[Role, ...] = ("name_mover", "s_inhibition")

AtLeastFour = Annotated[int, Ge(4)]

FEWEST_WORDS = 6
"""Two of each fold, two of selection."""

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
        shuffled: for each word the number of another word's target, all different
            [1 + draw, item]: first for the control, then for the draws of the null.
    """

    words: np.ndarray
    targets: np.ndarray
    shuffled: np.ndarray


@dataclass(frozen=True)
class RolePrompts(Data["BoundRolePrompts"]):
    """What roles of heads are measured on.

    Attributes:
        roles: which roles; all that the tokenizer allows if not given. One that is asked for by
            name and has no items is refused.
        n: sequences, and prompts with names, that heads are measured on, an even number: half of
            them are one fold, half the other.
        draws: sets of further items, as many as a fold has: shuffled, and at the first step as they
            are, each is a draw of every head for the null.
        length: tokens of one half of the repeated tokens.
        bos: whether BOS is prepended.
    """

    roles: Annotated[Annotated[tuple[Role, ...], Len(1)] | None, COMMA_SEPARATED] = None
    n: Annotated[int, Ge(4), MultipleOf(2)] = 16
    draws: Annotated[int, Ge(20)] = 20
    length: AtLeastFour = 25
    bos: bool = False

    def spec(self, *, seed: int) -> dict[str, Any]:
        """Random numbers and our own words: a seed identifies them."""
        return {"source": "roles", "version": 2, "seed": seed}

    def bind(self, vocabulary: Vocabulary, *, seed: int) -> "BoundRolePrompts":
        """Draws all parts.

        Raises:
            DataError: the repeated tokens do not fit the model's context, or the tokenizer has no
                items for a role that is asked for by name.
        """
        return BoundRolePrompts(self, vocabulary, seed=seed)


class BoundRolePrompts:
    """All parts, drawn.

    Items 0 to n - 1 are measured on, the first half of them in one fold; then come the sets of
    selection, one after the other.

    Attributes:
        parameters: what was asked for.
        fold: items of a fold, and of each set of selection.
        repeated: `two_halves` of `length` tokens, and the same shuffled.
        short: `two_halves` of SUPPRESSION_LENGTH tokens, for copy suppression.
        random_keys: for each query of the second half of `repeated` an earlier position, or its own
            [item, query].
        names: prompts with names by length; empty where the tokenizer has none or no role needs
            them, and then `no_names` says why.
        ordered: tasks of words with an order; empty likewise, and then `no_ordered` says why.
        words: the words of all tasks, numbered one task after the other, in random order and as
            three sets: the folds and selection, which has one set alone as words are few
            [set, item]. At most two words are left out.
        groups: all token ids, by name: int64 [item, pos].
        facts: how many items of each part are measured on, for the record.
    """

    def __init__(self, parameters: RolePrompts, vocabulary: Vocabulary, *, seed: int) -> None:
        self.parameters = parameters
        n, length, bos = parameters.n, parameters.length, parameters.bos
        self.fold = n // FOLDS
        items = n + parameters.draws * self.fold
        self.repeated, self.short = (
            RepeatedTokens(n=items, length=half, bos=bos).bind(
                vocabulary, seed=derived_seed(seed, name)
            )
            for name, half in ((NAME, length), (f"{NAME}:short", SUPPRESSION_LENGTH))
        )
        second = self.repeated.start + length
        self.random_keys = stream(seed, NAME, 0).integers(
            0, np.arange(second, second + length) + 1, (items, length)
        )
        self.names: list[NamePrompts] = []
        self.ordered: list[OrderedWords] = []
        self.no_names = self.no_ordered = "not asked for"
        if self.has(*ON_NAMES):
            self.names, self.no_names = _names(vocabulary, seed, items, bos)
        if self.has("successor"):
            self.ordered, self.no_ordered = _ordered(vocabulary, seed, parameters.draws)
        self.words = _thirds(sum(len(task.words) for task in self.ordered), seed)
        self._refuse_what_is_missing()
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
            "names": n if self.names else self.no_names,
            "ordered": self.words[:FOLDS].size or self.no_ordered,
        }

    @property
    def roles(self) -> tuple[Role, ...]:
        """The roles that are asked for."""
        asked = self.parameters.roles
        return tuple(role for role in get_args(Role) if asked is None or role in asked)

    def has(self, *roles: Role) -> bool:
        """Whether one of these roles is asked for."""
        return not set(roles).isdisjoint(self.roles)

    @property
    def chances(self) -> np.ndarray:
        """How often a guess among its task's targets is right, for each word of the folds."""
        of_all = np.concatenate(
            [np.full(len(task.words), 1 / len(task.words)) for task in self.ordered]
        )
        of_folds: np.ndarray = of_all[self.words[:FOLDS].ravel()]
        return of_folds

    def _refuse_what_is_missing(self) -> None:
        reasons = {**dict.fromkeys(ON_NAMES, self.no_names), "successor": self.no_ordered}
        for role in self.parameters.roles or ():
            if reason := reasons.get(role):
                raise DataError(f"role {role} cannot be measured: {reason}")


def _names(
    vocabulary: Vocabulary, seed: int, items: int, bos: bool
) -> tuple[list[NamePrompts], str]:
    try:
        task = TaskPrompts(task="ioi_abc", n=items, bos=bos).bind(
            vocabulary, seed=derived_seed(seed, NAME)
        )
    except DataError as error:
        return [], str(error)
    if task.n < items:
        return [], (
            f"only {task.n} prompts of task ioi_abc can be used with this model's tokenizer,"
            f" {items} are needed"
        )
    # The task has its templates in turn: in random order no set has a part of them alone.
    number = stream(seed, NAME, 1).permutation(items)
    rng = stream(seed, NAME, 2)
    return [
        _name_prompts(replace(batch, item=number[batch.item]), int(bos), rng)
        for batch in task.batches
    ], ""


def _name_prompts(batch: TaskBatch, start: int, rng: np.random.Generator) -> NamePrompts:
    io, s = batch.candidates[:, 0, :1], batch.candidates[:, 0, 1:]
    is_s = batch.clean == s
    length = batch.clean.shape[1]
    order = np.tile(np.arange(length), (len(batch.item), 1))
    order[:, start:] = rng.permuted(order[:, start:], axis=1)
    as_they_are = {field.name: getattr(batch, field.name) for field in fields(batch)}
    return NamePrompts(
        **as_they_are | {"shuffled": np.take_along_axis(batch.clean, order, 1)},
        shuffled_twin=np.take_along_axis(batch.corrupted, order, 1),
        io=(batch.clean == io).argmax(1),
        s1=is_s.argmax(1),
        s2=length - 1 - is_s[:, ::-1].argmax(1),
    )


def _ordered(vocabulary: Vocabulary, seed: int, draws: int) -> tuple[list[OrderedWords], str]:
    tasks, rng = [], stream(seed, NAME, 3)
    try:
        found = list(_tasks(vocabulary))
    except DataError as error:
        return [], str(error)
    for pairs in found:
        words, targets = np.array(pairs, dtype=np.int64).T.copy()
        shuffled = np.stack([_derangement(len(pairs), rng) for _ in range(1 + draws)])
        tasks.append(OrderedWords(words, targets, shuffled))
    if not tasks:
        return [], (
            f"this model's tokenizer has no {_FEWEST_TARGETS + 1} ordered words in a row that are"
            " one token each"
        )
    if (words_found := sum(len(task.words) for task in tasks)) < FEWEST_WORDS:
        return [], (
            f"this model's tokenizer has only {words_found} ordered words with a successor that are"
            f" one token each, {FEWEST_WORDS} are needed"
        )
    return tasks, ""


def _thirds(words: int, seed: int) -> np.ndarray:
    """The numbers of words in random order, in three sets of one size [set, item]."""
    size = words // (FOLDS + 1)
    order = stream(seed, NAME, 4).permutation(words)
    return order[: size * (FOLDS + 1)].reshape(FOLDS + 1, size)


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
