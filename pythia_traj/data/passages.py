"""Passages of text, no two from one document.

They are what similarity between unrelated tokens is measured on.
"""

from typing import Any

import numpy as np

from pythia_traj.data import documents
from pythia_traj.errors import DataError
from pythia_traj.experiment import Vocabulary

_ENOUGH = 16
"""Documents to choose from for each that is asked for, before reading of the corpus stops."""

_BEGINNING = 1 << 17
"""Tokens of a document of more than a million characters among which its passage begins.

Of any other document it begins among all.
"""


class Passages:
    """One passage each of n documents.

    Of all documents that are long enough (or the first 16 n, of a large corpus) n are drawn without
    replacement, and of each a passage that begins at a random token.

    Attributes:
        groups: `text` int64 [item, pos], and `shuffled`, the same with tokens permuted within each
            passage.
    """

    identified = ("corpus",)

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        seed: int,
        n: int = 32,
        length: int = 128,
        corpus: str = "stdlib",
        column: str = "text",
    ) -> None:
        """Reads and tokenises the corpus, and draws the passages.

        Raises:
            DataError: there is no tokenizer, the corpus has too few documents of that length, or
                the passages exceed the context.
        """
        if length > vocabulary.n_ctx:
            raise DataError(
                f"passages of {length} tokens exceed the model's context of {vocabulary.n_ctx}: set"
                f" length to at most {vocabulary.n_ctx}"
            )
        rng = np.random.default_rng(seed)
        found: list[np.ndarray] = []
        for text in documents.read(corpus, column):
            ids = vocabulary.encode(text, most=max(length, _BEGINNING))
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

    @classmethod
    def spec(cls, *, seed: int, corpus: str = "stdlib", **_: Any) -> dict[str, Any]:
        """The corpus's content and the seed of the draw."""
        return {**documents.identify(corpus), "seed": seed}
