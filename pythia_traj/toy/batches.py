"""What the toy suite is trained on: text of the standard library, and random segments that repeat.

Without the repeats, such a small model does not need induction; without the text, its loss on text
would say nothing.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pythia_traj.data.stdlib import documents
from pythia_traj.toy.recipe import Recipe

END_OF_TEXT = "<|endoftext|>"

_TOKENIZER_SAMPLE = 100
"""Documents the tokenizer is trained on: with so few merges, more would not change it."""


@dataclass(frozen=True)
class Corpus:
    """The text of the training run.

    Attributes:
        tokenizer: byte-level BPE with END_OF_TEXT as token 0; any text can be encoded.
        tokens: all training documents, END_OF_TEXT between them.
        sha256: of the documents' text.
    """

    tokenizer: Tokenizer
    tokens: np.ndarray
    sha256: str


@lru_cache(maxsize=1)
def read_corpus(vocab_size: int) -> Corpus:
    """Trains a tokenizer on the standard library's training documents and encodes them.

    That takes as long as a hundred steps of training: the last corpus is kept, for the next seed.
    """
    texts = [text for _, text in documents("train")]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts[:: max(1, len(texts) // _TOKENIZER_SAMPLE)], trainer)
    digest = hashlib.sha256()
    parts = []
    for text, encoding in zip(texts, tokenizer.encode_batch(texts), strict=True):
        digest.update(text.encode())
        parts.append(np.asarray([0, *encoding.ids], dtype=np.int64))
    tokens = np.concatenate(parts)
    tokens.setflags(write=False)
    return Corpus(tokenizer, tokens, digest.hexdigest())


def batches(recipe: Recipe, corpus: Corpus) -> Iterator[np.ndarray]:
    """Endless batches [batch, context] of token ids.

    Each is `recipe.repeats` repeated segments, then text.
    """
    rng = np.random.default_rng(recipe.seed)
    while True:
        yield np.concatenate([repeated_segments(recipe, rng), _text(recipe, corpus.tokens, rng)])


def repeated_segments(recipe: Recipe, rng: np.random.Generator) -> np.ndarray:
    """Sequences [repeats, context], each a segment of uniform ids repeated to fill the context."""
    low, high = recipe.segment
    rows = []
    for length in rng.integers(low, high + 1, recipe.repeats):
        segment = rng.integers(0, recipe.vocab_size, length)
        rows.append(np.resize(segment, recipe.context))
    return np.stack(rows) if rows else np.empty((0, recipe.context), dtype=np.int64)


def _text(recipe: Recipe, tokens: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    starts = rng.integers(0, len(tokens) - recipe.context, recipe.batch - recipe.repeats)
    return (
        np.stack([tokens[start : start + recipe.context] for start in starts])
        if len(starts)
        else tokens[:0].reshape(0, recipe.context)
    )
