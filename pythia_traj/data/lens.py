"""Text for lenses: sequences, the positions of each that are read, and others to train on."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Ge

from pythia_traj.data.cutting import cut, designs, draw, draw_positions, with_shuffled
from pythia_traj.data.text import (
    TextData,
    heldout,
    heldout_of,
    length_for,
    measured,
    training,
)
from pythia_traj.engines.streams import stream
from pythia_traj.errors import DataError
from pythia_traj.experiment import Count, Vocabulary

_ENOUGH = 256
"""Extra sequences to choose the training sequences from.

Reading of the corpus stops at that number.
"""


@dataclass(frozen=True)
class LensText(TextData["BoundLensText"]):
    """Sequences of text and the positions of each that are read, with others to train on.

    Where there is training, documents are split: one in ten is measured, the others are trained on.
    Without training, all are measured, and the sequences are those of TextTokens (for the standard
    library in either case, because the toy suite is not trained on them).

    Attributes:
        positions: of each sequence that are read, at most, drawn at random; the unembedding of
            every layer at each is the cost.
        updates: of the tuned lens; 0 for none. Published: 250.
        batch: sequences of an update, each read at as many positions. Published: 2^18 tokens an
            update.
    """

    positions: Count = 16
    updates: Annotated[int, Ge(0)] = 0
    batch: Count = 16

    def bind(self, vocabulary: Vocabulary, *, seed: int) -> "BoundLensText":
        """Reads, tokenises and cuts the corpus, and draws the positions.

        Raises:
            DataError: as TextTokens, or nothing is left to train on.
        """
        return BoundLensText(self, vocabulary, seed=seed)


class BoundLensText:
    """The sequences and positions.

    Attributes:
        parameters: what was asked for.
        groups: `text` and `shuffled` as in TextTokens: int64 [item, pos].
        designs: of each group, which sequences are of one document.
        train: where there is training, its sequences in the order of their updates:
            int64 [item, pos]; none otherwise.
        positions: of each group's sequences, and of `train`, those whose next token's prediction is
            read: int64 [item, read], ascending.
        facts: tokens that are trained on, those that are read, and how many sequences there were to
            draw them from.
    """

    def __init__(self, parameters: LensText, vocabulary: Vocabulary, *, seed: int) -> None:
        self.parameters = parameters
        corpus, column, bos = parameters.corpus, parameters.column, parameters.bos
        positions, updates, batch = parameters.positions, parameters.updates, parameters.batch
        length = length_for(vocabulary, parameters.length)
        rng = stream(seed, "text")
        texts, what = (
            (heldout(corpus, column), heldout_of(corpus))
            if updates
            else (measured(corpus, column), corpus)
        )
        drawn = draw(vocabulary, texts, what, n=parameters.n, length=length, bos=bos, rng=rng)
        self.groups = with_shuffled(vocabulary, drawn.tokens, parameters.null_n, bos, rng)
        self.designs = designs(self.groups, drawn.documents)
        # What follows is the lens's own; the sequences are those of other experiments on text.
        rng = stream(seed, "lens")
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
            # A corpus that is too short is used again, in another order.
            rounds = -(-updates * batch // len(found))
            order = np.concatenate([rng.permutation(len(found)) for _ in range(rounds)])[
                : updates * batch
            ]
            ordered = found[order]
            self.train = vocabulary.with_bos(ordered) if bos else ordered
            self.facts = {
                "training_tokens": updates * batch * length,
                "training_positions": updates * batch * positions,
                "training_sequences_to_draw_from": len(found),
            }
        self.positions = {
            name: draw_positions(len(group), positions, range(int(bos), length - 1), rng)
            for name, group in {**self.groups, "train": self.train}.items()
        }
