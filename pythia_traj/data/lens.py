"""Text for lenses: sequences, the positions of each that are read, and others to train on."""

from typing import Any

import numpy as np

from pythia_traj.data.text import (
    cut,
    draw,
    draw_positions,
    heldout,
    heldout_of,
    identify_split,
    length_for,
    measured,
    prepend,
    training,
    with_shuffled,
)
from pythia_traj.errors import DataError
from pythia_traj.experiment import Vocabulary

_ENOUGH = 256
"""Sequences to choose from for training, besides those that are trained on.

When there are so many, reading of the corpus stops.
"""


class LensText:
    """Sequences of text and the positions of each that are read, with others to train on.

    Where there is training, documents are split: one in ten is measured, the others are trained on.
    Without, all are measured, and the sequences are those of TextTokens (of the standard library
    they are in either case, where the toy suite is not trained on them).

    Attributes:
        groups: `text` and `shuffled` as in TextTokens: int64 [item, pos].
        train: where there is training, its sequences in the order of their updates:
            int64 [item, pos]; none otherwise.
        positions: of each group's sequences, and of `train`, those whose next token's prediction is
            read: int64 [item, read], ascending.
        facts: tokens that are trained on, those that are read, and how many sequences there were to
            draw them from.
    """

    identified = ("corpus",)

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        seed: int,
        n: int = 16,
        length: int | None = None,
        null_n: int = 4,
        positions: int = 16,
        updates: int = 0,
        batch: int = 16,
        corpus: str = "stdlib",
        column: str = "text",
        bos: bool = False,
    ) -> None:
        """Reads, tokenises and cuts the corpus, and draws the positions.

        Raises:
            DataError: as TextTokens, or there is nothing to train on.
        """
        length = length_for(vocabulary, length)
        rng = np.random.default_rng(seed)
        texts, what = (
            (heldout(corpus, column), heldout_of(corpus))
            if updates
            else (measured(corpus, column), corpus)
        )
        tokens = draw(vocabulary, texts, what, n=n, length=length, bos=bos, rng=rng).tokens
        self.groups = with_shuffled(vocabulary, tokens, null_n, bos, rng)
        self.train = np.empty((0, length), dtype=np.int64)
        self.facts: dict[str, int] = {}
        if updates:
            found = cut(
                vocabulary, training(corpus, column), length - int(bos), _ENOUGH + updates * batch
            ).tokens
            if not len(found):
                raise DataError(
                    f"{corpus} holds no sequence of {length} tokens to train on: set length or"
                    " updates lower"
                )
            # A corpus that is too short is gone through again, in another order.
            rounds = -(-updates * batch // len(found))
            order = np.concatenate([rng.permutation(len(found)) for _ in range(rounds)])[
                : updates * batch
            ]
            self.train = prepend(vocabulary, found[order], bos)
            self.facts = {
                "training_tokens": updates * batch * length,
                "training_positions": updates * batch * positions,
                "training_sequences_to_draw_from": len(found),
            }
        self.positions = {
            name: draw_positions(len(group), positions, range(int(bos), length - 1), rng)
            for name, group in {**self.groups, "train": self.train}.items()
        }

    @classmethod
    def spec(cls, *, seed: int, corpus: str = "stdlib", **_: Any) -> dict[str, Any]:
        """The corpus's content and the seed of the draws."""
        return {**identify_split(corpus), "seed": seed}
