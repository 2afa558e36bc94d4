"""What an item of a task is, and how items become token batches of one length."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

Text = str | tuple[int, ...]
"""A prompt or an answer: text, or token ids as they are."""


@dataclass(frozen=True)
class Prompt:
    """One item.

    Attributes:
        clean, corrupted: the prompt, and its twin in which what decides is changed.
        right, wrong: the continuations that are right for the clean prompt, and those that compete with them.
        template: which of the task's wordings it is.
        splits: texts that have to become just these tokens, or the task would not be what it says: (" 1732", (" 17", "32")).
    """

    clean: Text
    corrupted: Text
    right: tuple[Text, ...]
    wrong: tuple[Text, ...]
    template: str = ""
    splits: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class TaskBatch:
    """Items of one length and with equally many continuations.

    Attributes:
        clean, corrupted: token ids [item, pos].
        shuffled: the clean prompts with their tokens permuted within each item: the same types, nothing to go by.
        reads: the positions after which continuations are judged [read]; the last one alone, but for tasks that say otherwise.
        candidates: token ids of the continuations [item, read, candidate].
        is_right: which of them are right [item, read, candidate].
        item: the items' numbers in the task, from 0 [item].
        templates: each item's template.
    """

    clean: np.ndarray
    corrupted: np.ndarray
    shuffled: np.ndarray
    reads: np.ndarray
    candidates: np.ndarray
    is_right: np.ndarray
    item: np.ndarray
    templates: tuple[str, ...]

    def parts(self, size: int) -> "Iterator[TaskBatch]":
        """The same items, at most so many at a time."""
        for start in range(0, len(self.item), size):
            part = slice(start, start + size)
            yield TaskBatch(
                clean=self.clean[part],
                corrupted=self.corrupted[part],
                shuffled=self.shuffled[part],
                reads=self.reads,
                candidates=self.candidates[part],
                is_right=self.is_right[part],
                item=self.item[part],
                templates=self.templates[part],
            )


Dropped = Counter[str]
"""How many items were not used, by reason."""


@dataclass(frozen=True)
class _Encoded:
    clean: tuple[int, ...]
    corrupted: tuple[int, ...]
    right: tuple[int, ...]
    wrong: tuple[int, ...]
    template: str


def encode(
    prompts: Iterable[Prompt], tokenizer: Tokenizer | None, n: int, bos: int | None, rng: np.random.Generator
) -> tuple[list[TaskBatch], Dropped]:
    """The first n prompts that the tokenizer allows, as batches, and why the others were dropped.

    A continuation has to be one token, the twins of one length. Where there is one right and one wrong continuation, neither may merge
    with the end of the prompt (both are encoded together to see).

    Args:
        tokenizer: of the model in use; None where prompts are ids.
        bos: what is prepended, if anything.
        rng: shuffles the null.
    """
    dropped: Dropped = Counter()
    kept: list[_Encoded] = []
    for prompt in prompts:
        if len(kept) == n:
            break
        try:
            kept.append(_encode(prompt, tokenizer, bos))
        except _UnusableError as reason:
            dropped[str(reason)] += 1
    return list(_batches(kept, int(bos is not None), rng)), dropped


class _UnusableError(Exception):
    """Why a prompt cannot be used with this tokenizer."""


def _encode(prompt: Prompt, tokenizer: Tokenizer | None, bos: int | None) -> _Encoded:
    ids = _encoder(tokenizer)
    clean, corrupted = ids(prompt.clean), ids(prompt.corrupted)
    if len(clean) != len(corrupted):
        raise _UnusableError("clean and corrupted prompt differ in length")
    if not clean:
        raise _UnusableError("the prompt is empty")
    for whole, pieces in prompt.splits:
        if ids(whole) != tuple(token for piece in pieces for token in ids(piece)) or len(ids(whole)) != len(pieces):
            raise _UnusableError("a word of it is not split as the task needs")
    right, wrong = ([_answer(text, ids) for text in texts] for texts in (prompt.right, prompt.wrong))
    if len(right) == len(wrong) == 1:
        for text in (*prompt.right, *prompt.wrong):
            _check_boundary(prompt.clean, text, ids)
    if set(right) & set(wrong):
        raise _UnusableError("an answer is right and wrong")
    prefix = () if bos is None else (bos,)
    return _Encoded(prefix + clean, prefix + corrupted, tuple(right), tuple(wrong), prompt.template)


def _encoder(tokenizer: Tokenizer | None) -> Callable[[Text], tuple[int, ...]]:
    def ids(text: Text) -> tuple[int, ...]:
        if not isinstance(text, str):
            return tuple(text)
        if tokenizer is None:
            raise _UnusableError("it is text, and the model has no tokenizer")
        return tuple(tokenizer.encode(text, add_special_tokens=False).ids)

    return ids


def _answer(text: Text, ids: Callable[[Text], tuple[int, ...]]) -> int:
    answer = ids(text)
    if len(answer) != 1:
        raise _UnusableError("an answer is more than one token")
    return answer[0]


def _check_boundary(prompt: Text, answer: Text, ids: Callable[[Text], tuple[int, ...]]) -> None:
    if isinstance(prompt, str) and isinstance(answer, str) and ids(prompt + answer) != (*ids(prompt), *ids(answer)):
        raise _UnusableError("an answer merges with the end of the prompt")


def _batches(encoded: Sequence[_Encoded], start: int, rng: np.random.Generator) -> Iterator[TaskBatch]:
    """Items of one length and number of candidates together, in their order."""
    groups: dict[tuple[int, int], list[int]] = {}
    for i, item in enumerate(encoded):
        groups.setdefault((len(item.clean), len(item.right) + len(item.wrong)), []).append(i)
    for (_, candidates), members in sorted(groups.items()):
        items = [encoded[i] for i in members]
        n_right = np.array([[len(item.right)] for item in items])
        clean = np.array([item.clean for item in items], dtype=np.int64)
        yield TaskBatch(
            clean=clean,
            corrupted=np.array([item.corrupted for item in items], dtype=np.int64),
            shuffled=permuted(clean, start, rng),
            reads=np.array([clean.shape[1] - 1]),
            candidates=np.array([[(*item.right, *item.wrong)] for item in items], dtype=np.int64),
            is_right=(np.arange(candidates) < n_right)[:, None],
            item=np.array(members, dtype=np.int64),
            templates=tuple(item.template for item in items),
        )


def permuted(tokens: np.ndarray, start: int, rng: np.random.Generator) -> np.ndarray:
    """The tokens from `start` on in random order, each item by itself."""
    return np.concatenate([tokens[:, :start], rng.permuted(tokens[:, start:], axis=1)], axis=1)


SELECTION, EVALUATION = 0, 1
"""The halves of a task's items: what is chosen on one is measured on the other."""


def half_of(item: np.ndarray) -> np.ndarray:
    """Which half items belong to, by their numbers: 0, 1, 1, 0, and again.

    Not every other one: tasks make two kinds of items in turn, and each half is to have both.
    """
    halves: np.ndarray = (item + item // 2) % 2
    return halves
