"""What an item of a task is, and how items become token batches of one length."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, Self

import numpy as np

from pythia_traj.errors import DataError
from pythia_traj.experiment import Vocabulary

Text = str | tuple[int, ...]
"""A prompt or an answer: text, or token ids as they are."""

PromptKind = Literal["clean", "corrupted", "shuffled"]
"""The kinds of prompts that every item has."""


@dataclass(frozen=True)
class Prompt:
    """One item.

    Attributes:
        clean, corrupted: the prompt, and its twin, which differs in what decides the answer.
        right, wrong: the continuations that are right for the clean prompt, and those that compete
            with them.
        template: which of the task's wordings it is.
        cluster: what it shares with other items that are not independent of it: a name, a subject;
            its own prompt if not given.
        family: what else is measured on the same half as it; its cluster if not given.
        splits: texts that must become exactly these tokens for the task to work:
            (" 1732", (" 17", "32")).
        where: the file and row it is from, for messages; empty where a program made it.
    """

    clean: Text
    corrupted: Text
    right: tuple[Text, ...]
    wrong: tuple[Text, ...]
    template: str = ""
    cluster: str = ""
    family: str = ""
    splits: tuple[tuple[str, tuple[str, ...]], ...] = ()
    where: str = ""


@dataclass(frozen=True)
class TaskBatch:
    """Items of one length and with equally many continuations.

    Attributes:
        clean, corrupted: token ids [item, pos].
        shuffled: the clean prompts with their tokens permuted within each item: the same types, but
            no clue.
        reads: the positions after which continuations are judged [read]; the last one alone, but
            for tasks that say otherwise.
        candidates: token ids of the continuations [item, read, candidate].
        is_right: which of them are right [item, read, candidate].
        item: the items' numbers in the task, from 0 [item].
        cluster: numbers of what is independent: equal ones mean items that resemble each other
            [item].
        half: SELECTION or EVALUATION, for what is chosen on some items and measured on others
            [item]. A cluster is in one half.
        templates: each item's template.
    """

    clean: np.ndarray
    corrupted: np.ndarray
    shuffled: np.ndarray
    reads: np.ndarray
    candidates: np.ndarray
    is_right: np.ndarray
    item: np.ndarray
    cluster: np.ndarray
    half: np.ndarray
    templates: tuple[str, ...]

    def part(self, items: slice | np.ndarray) -> Self:
        """Some of the items: a slice of them, or where an array is true [item]."""
        chosen = {
            field.name: getattr(self, field.name)[items]
            for field in fields(self)
            if field.name not in ("reads", "templates")
        }
        templates = tuple(self.templates[i] for i in np.arange(len(self.templates))[items])
        return replace(self, **chosen, templates=templates)

    def parts(self, size: int) -> Iterator[Self]:
        """The same items, at most so many at a time."""
        for start in range(0, len(self.item), size):
            yield self.part(slice(start, start + size))


class Dropped(Counter[str]):
    """How many items were not used, by reason.

    Attributes:
        first: where the first of them stands, by reason, if they are from a file.
    """

    def __init__(self) -> None:
        """None so far."""
        super().__init__()
        self.first: dict[str, str] = {}

    def add(self, reason: str, where: str) -> None:
        """One more."""
        self[reason] += 1
        if where:
            self.first.setdefault(reason, where)

    def __str__(self) -> str:
        """The reasons in words, the most frequent first."""
        first = {reason: f", {where} first" for reason, where in self.first.items()}
        return "; ".join(
            f"{reason} ({count}{first.get(reason, '')})" for reason, count in self.most_common()
        )


class UnusableError(Exception):
    """Why a prompt cannot be used with this tokenizer."""


@dataclass(frozen=True)
class Encoded:
    """A prompt as token ids."""

    prompt: Prompt
    clean: np.ndarray
    corrupted: np.ndarray
    right: tuple[int, ...]
    wrong: tuple[int, ...]


def encoded(prompt: Prompt, vocabulary: Vocabulary, *, bos: bool) -> Encoded:
    """A prompt as token ids, if the tokenizer allows it.

    A continuation has to be one token, the twins of one length. Where there is one right and one
    wrong continuation, neither may merge with the end of the prompt (both are encoded together to
    see).

    Args:
        prompt: the item.
        vocabulary: of the model in use; without a tokenizer prompts are ids.
        bos: whether BOS is prepended; what begins with it keeps its own.

    Raises:
        UnusableError: the tokenizer does not allow it.
        DataError: it exceeds the context, or the tokenizer yields ids that the model lacks.
    """
    ids = _encoder(vocabulary, prompt.where or "a prompt")
    clean, corrupted = (
        np.array(ids(text), dtype=np.int64) for text in (prompt.clean, prompt.corrupted)
    )
    if bos:
        clean, corrupted = vocabulary.text_with_bos(clean), vocabulary.text_with_bos(corrupted)
    if len(clean) != len(corrupted):
        raise UnusableError("clean and corrupted prompt differ in length")
    if not len(clean) or any(
        isinstance(text, str) and not text.strip() for text in (prompt.clean, prompt.corrupted)
    ):
        raise UnusableError("the prompt is empty")
    vocabulary.check_length(prompt.where or "a prompt", len(clean), "prompt")
    for whole, pieces in prompt.splits:
        if ids(whole) != tuple(token for piece in pieces for token in ids(piece)) or len(
            ids(whole)
        ) != len(pieces):
            raise UnusableError("a word of it is not split as the task needs")
    right, wrong = (
        [_answer(text, ids) for text in texts] for texts in (prompt.right, prompt.wrong)
    )
    if len(right) == len(wrong) == 1:
        for text in (*prompt.right, *prompt.wrong):
            _check_boundary(prompt.clean, text, ids)
    if set(right) & set(wrong):
        raise UnusableError("an answer is right and wrong")
    return Encoded(prompt, clean, corrupted, tuple(right), tuple(wrong))


def _encoder(vocabulary: Vocabulary, where: str) -> Callable[[Text], tuple[int, ...]]:
    def ids(text: Text) -> tuple[int, ...]:
        if not isinstance(text, str):
            return tuple(text)
        if vocabulary.tokenizer is None:
            raise UnusableError("it is text, and the model has no tokenizer")
        try:
            return tuple(vocabulary.encode(text, enough=vocabulary.n_ctx + 1).tolist())
        except DataError as error:
            raise DataError(f"{where}: {error}") from None

    return ids


def _answer(text: Text, ids: Callable[[Text], tuple[int, ...]]) -> int:
    answer = ids(text)
    if not answer:
        raise UnusableError("an answer is empty")
    if len(answer) != 1:
        raise UnusableError("an answer is more than one token")
    return answer[0]


def _check_boundary(prompt: Text, answer: Text, ids: Callable[[Text], tuple[int, ...]]) -> None:
    if (
        isinstance(prompt, str)
        and isinstance(answer, str)
        and ids(prompt + answer) != (*ids(prompt), *ids(answer))
    ):
        raise UnusableError("an answer merges with the end of the prompt")


def batches(
    items: Sequence[Encoded], halves: np.ndarray, *, bos: bool, rng: np.random.Generator
) -> Iterator[TaskBatch]:
    """Items grouped by length and number of candidates, in their order.

    Args:
        items: the items; their numbers are their places.
        halves: which half each is in [item].
        bos: whether they begin with BOS.
        rng: shuffles the null.
    """
    groups: dict[tuple[int, int], list[int]] = {}
    for i, item in enumerate(items):
        groups.setdefault((len(item.clean), len(item.right) + len(item.wrong)), []).append(i)
    clusters: dict[Text, int] = {}
    for item in items:
        clusters.setdefault(item.prompt.cluster or item.prompt.clean, len(clusters))
    for (_, candidates), members in sorted(groups.items()):
        some = [items[i] for i in members]
        n_right = np.array([[len(item.right)] for item in some])
        clean = np.array([item.clean for item in some], dtype=np.int64)
        yield TaskBatch(
            clean=clean,
            corrupted=np.array([item.corrupted for item in some], dtype=np.int64),
            shuffled=permuted(clean, int(bos), rng),
            reads=np.array([clean.shape[1] - 1]),
            candidates=np.array([[(*item.right, *item.wrong)] for item in some], dtype=np.int64),
            is_right=(np.arange(candidates) < n_right)[:, None],
            item=np.array(members, dtype=np.int64),
            cluster=np.array(
                [clusters[item.prompt.cluster or item.prompt.clean] for item in some],
                dtype=np.int64,
            ),
            half=halves[members],
            templates=tuple(item.prompt.template for item in some),
        )


def permuted(tokens: np.ndarray, start: int, rng: np.random.Generator) -> np.ndarray:
    """The tokens from `start` on in random order, within each item."""
    return np.concatenate([tokens[:, :start], rng.permuted(tokens[:, start:], axis=1)], axis=1)


SELECTION, EVALUATION = 0, 1
"""The halves of a task's items: what is chosen on one is measured on the other."""
