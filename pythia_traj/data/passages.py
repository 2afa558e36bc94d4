"""Passages of text, no two from one document.

Similarity between unrelated tokens is measured on them.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from pythia_traj.data import documents
from pythia_traj.engines.streams import stream
from pythia_traj.errors import DataError
from pythia_traj.experiment import AtLeastTwo, Data, Vocabulary

_ENOUGH = 16
"""Documents to choose from for each that is asked for, before reading of the corpus stops."""

_BEGINNING = 1 << 17
"""In a document of more than a million characters, the passage begins among so many tokens.

In a shorter one it begins anywhere.
"""


@dataclass(frozen=True)
class Passages(Data["BoundPassages"]):
    """One passage each of n documents.

    Of all documents that are long enough (or the first 16 n, of a large corpus) n are drawn without
    replacement, and of each a passage that begins at a random token.

    Attributes:
        n: passages, each of another document.
        length: tokens of a passage.
        corpus: what text: stdlib, a .txt, .jsonl or .parquet file, hf:org/name@commit, hf:DIR.
        column: the column of a table that holds it.
    """

    identified: ClassVar = ("corpus",)

    n: AtLeastTwo = 32
    length: AtLeastTwo = 128
    corpus: str = "stdlib"
    column: str = "text"

    def spec(self, *, seed: int) -> dict[str, Any]:
        """The corpus's content and the seed of the draw."""
        return {**documents.identify(self.corpus), "seed": seed}

    def bind(self, vocabulary: Vocabulary, *, seed: int) -> "BoundPassages":
        """Reads and tokenises the corpus, and draws the passages.

        Raises:
            DataError: the model has no tokenizer, the corpus has too few documents of that length,
                or the passages exceed the context.
        """
        return BoundPassages(self, vocabulary, seed=seed)


class BoundPassages:
    """The passages, drawn.

    Attributes:
        parameters: what was asked for.
        groups: `text` int64 [item, pos], and `shuffled`, the same with tokens permuted within each
            passage.
    """

    def __init__(self, parameters: Passages, vocabulary: Vocabulary, *, seed: int) -> None:
        self.parameters = parameters
        n, length = parameters.n, parameters.length
        corpus, column = parameters.corpus, parameters.column
        vocabulary.check_length("a passage", length, "length", vocabulary.n_ctx)
        rng = stream(seed, "passages")
        found: list[np.ndarray] = []
        for text in documents.read(corpus, column):
            ids = vocabulary.encode(text, enough=max(length, _BEGINNING))
            if len(ids) >= length:
                found.append(ids)
            if len(found) == _ENOUGH * n:
                break
        if len(found) < n:
            raise DataError(
                f"{corpus} holds {len(found)} documents of at least {length} tokens, {n} were asked"
                " for: set n or length lower"
            )
        drawn = [found[i] for i in np.sort(rng.permutation(len(found))[:n])]
        starts = [int(rng.integers(len(ids) - length + 1)) for ids in drawn]
        tokens = np.stack(
            [ids[start : start + length] for ids, start in zip(drawn, starts, strict=True)]
        )
        self.groups = {"text": tokens, "shuffled": rng.permuted(tokens, axis=1)}
