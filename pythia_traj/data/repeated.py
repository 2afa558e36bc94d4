"""Random tokens that repeat: what induction is measured on, with the same shuffled as a control.

Two layouts, each as its convention has it:

- `two_halves`: `length` ids uniform over the whole embedding, then the same again; no BOS unless
  asked for.
- `olsson`: BOS, then 25 ids four times over; the 4 % most and least frequent types are left out
  (Olsson et al. 2022). Frequency is read off the token ids: byte-pair encoding numbers its merges
  from frequent to rare.

In a group's `shuffled` twin everything after the first copy is permuted: each sequence has the same
types, and nothing to continue.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pythia_traj.engines.streams import stream
from pythia_traj.experiment import AtLeastTwo, Count, Data, Vocabulary

OLSSON_LENGTH, OLSSON_COPIES = 25, 4
_EXTREME_TYPES = 0.04


@dataclass(frozen=True)
class RepeatedTokens(Data["BoundRepeatedTokens"]):
    """Sequences of random tokens in which a segment repeats.

    Attributes:
        n: sequences of random tokens.
        length: tokens of one half; published figures have 50.
        bos: whether BOS is prepended to the two halves; published figures have none.
    """

    n: Count = 50
    length: AtLeastTwo = 50
    bos: bool = False

    def spec(self, *, seed: int) -> dict[str, Any]:
        """Random numbers alone: a seed identifies them."""
        return {"source": "repeated-tokens", "version": 2, "seed": seed}

    def bind(self, vocabulary: Vocabulary, *, seed: int) -> "BoundRepeatedTokens":
        """Draws the sequences.

        Raises:
            DataError: two halves do not fit the model's context.
        """
        return BoundRepeatedTokens(self, vocabulary, seed=seed)


class BoundRepeatedTokens:
    """The sequences, drawn.

    Attributes:
        parameters: what was asked for.
        groups: `two_halves`, `two_halves/shuffled`, and where the context is long enough `olsson`,
            `olsson/shuffled`: int64 [item, pos].
        length: tokens of one half of `two_halves`.
        start: position of the first token of `two_halves` after BOS, if any.
    """

    def __init__(self, parameters: RepeatedTokens, vocabulary: Vocabulary, *, seed: int) -> None:
        self.parameters = parameters
        n, length, bos = parameters.n, parameters.length, parameters.bos
        self.length, self.start = length, int(bos)
        needed = self.start + 2 * length
        vocabulary.check_length(
            f"a sequence of two halves of {length} tokens",
            needed,
            "length",
            (vocabulary.n_ctx - self.start) // 2,
        )
        rng = stream(seed, "repeated-tokens")
        halves = rng.integers(0, vocabulary.d_vocab, (n, length))
        tokens = np.tile(halves, (1, 2))
        self.groups = _with_control(
            "two_halves",
            vocabulary.with_bos(tokens) if bos else tokens,
            self.start + length,
            rng,
        )
        if self.has_olsson(vocabulary.n_ctx):
            low, high = _ordinary_types(vocabulary)
            segments = rng.integers(low, high, (n, OLSSON_LENGTH))
            tokens = vocabulary.with_bos(np.tile(segments, (1, OLSSON_COPIES)))
            self.groups |= _with_control("olsson", tokens, 1 + OLSSON_LENGTH, rng)

    @staticmethod
    def has_olsson(n_ctx: int) -> bool:
        """Whether the context holds the four copies and BOS."""
        return n_ctx >= 1 + OLSSON_COPIES * OLSSON_LENGTH


def _ordinary_types(vocabulary: Vocabulary) -> tuple[int, int]:
    size = (
        vocabulary.tokenizer.get_vocab_size()
        if vocabulary.tokenizer is not None
        else vocabulary.d_vocab
    )
    size = min(size, vocabulary.d_vocab)
    cut = round(size * _EXTREME_TYPES)
    return cut, max(size - cut, cut + 1)


def _with_control(
    name: str, tokens: np.ndarray, first_end: int, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """The group and its control.

    In the control all after `first_end`, the end of the first copy, is permuted within each
    sequence.
    """
    shuffled = tokens.copy()
    shuffled[:, first_end:] = rng.permuted(shuffled[:, first_end:], axis=1)
    return {name: tokens.astype(np.int64), f"{name}/shuffled": shuffled.astype(np.int64)}
