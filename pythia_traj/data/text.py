"""Token sequences cut from documents, and the same with their tokens shuffled: what losses are measured on."""

from typing import Any

import numpy as np

from pythia_traj.data import documents
from pythia_traj.errors import DataError
from pythia_traj.experiment import Vocabulary

_ENOUGH = 16
"""Sequences to choose from for each that is asked for, before reading of the source stops."""


class TextTokens:
    """Sequences of text, each from one document.

    Documents are tokenised and cut into consecutive sequences; what is left of a document at its end is dropped. From all of them
    (or the first 16 n, of a large source) n are drawn without replacement.

    Attributes:
        groups: `text` int64 [item, pos], and `shuffled` [null_n, pos]: the first of them with tokens permuted within each
            sequence, which keeps their types and takes away their order. BOS stays in front.
    """

    identified = ("source",)

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        seed: int,
        n: int = 64,
        length: int = 512,
        null_n: int = 16,
        source: str = "stdlib",
        column: str = "text",
        bos: bool = False,
    ) -> None:
        """Reads, tokenises and cuts the source.

        Raises:
            DataError: there is no tokenizer, the source is shorter than n sequences, or the sequences exceed the context.
        """
        if vocabulary.tokenizer is None:
            raise DataError(
                "the checkpoint has no tokenizer.json, so text cannot be tokenised for it: put one beside its config.json"
            )
        if length > vocabulary.n_ctx:
            raise DataError(
                f"sequences of {length} tokens exceed the model's context of {vocabulary.n_ctx}: set length to at most {vocabulary.n_ctx}"
            )
        text_length = length - int(bos)
        if text_length < 2:
            raise DataError(f"sequences of {length} tokens predict nothing: set length to at least {2 + int(bos)}")
        rng = np.random.default_rng(seed)
        sequences = _cut(vocabulary, documents.read(source, column), text_length, _ENOUGH * n)
        if len(sequences) < n:
            raise DataError(
                f"{source} holds {len(sequences)} sequences of {text_length} tokens, {n} were asked for: set n or length lower"
            )
        tokens = sequences[np.sort(rng.permutation(len(sequences))[:n])]
        shuffled = rng.permuted(tokens[:null_n], axis=1)
        prefix = [vocabulary.bos_token_id] if bos else []
        self.groups = {name: _prepend(prefix, group) for name, group in (("text", tokens), ("shuffled", shuffled))}

    @classmethod
    def spec(cls, *, seed: int, source: str = "stdlib", **_: Any) -> dict[str, Any]:
        """The source's content and the seed of the draw."""
        return {**documents.identify(source), "seed": seed}


def _cut(vocabulary: Vocabulary, texts: Any, length: int, enough: int) -> np.ndarray:
    """Consecutive sequences of `length` tokens of each document, until there are enough."""
    found: list[np.ndarray] = []
    count = 0
    assert vocabulary.tokenizer is not None
    for text in texts:
        ids = np.asarray(vocabulary.tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int64)
        pieces = ids[: len(ids) // length * length].reshape(-1, length)
        found.append(pieces)
        count += len(pieces)
        if count >= enough:
            break
    tokens = np.concatenate(found) if found else np.empty((0, length), dtype=np.int64)
    if tokens.size and tokens.max() >= vocabulary.d_vocab:
        raise DataError(
            f"the tokenizer yields id {tokens.max()}, the model has {vocabulary.d_vocab} embeddings: "
            "tokenizer and model do not belong together"
        )
    return tokens[:enough]


def _prepend(prefix: list[int], tokens: np.ndarray) -> np.ndarray:
    return np.concatenate([np.tile(np.array(prefix, dtype=np.int64), (len(tokens), 1)), tokens], axis=1)
