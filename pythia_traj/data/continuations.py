"""Prompts in words, to be continued, and what a model wrote as text."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pythia_traj.errors import DataError
from pythia_traj.experiment import Vocabulary

PROMPTS = (
    "The capital of France is",
    "Once upon a time, there was a little girl who",
    "def fibonacci(n):\n",
    "1 2 3 4 5 6",
    "Kevin and Martin went to the house. Kevin gave a key to",
)
"""What is continued by default: a fact, a story, code, counting, an indirect object."""


class PromptTexts:
    """Prompts as token ids, and the same shuffled.

    Attributes:
        prompts: the texts, in their order.
        lengths: tokens of each, BOS included.
        entries: of the vocabulary that can be written (see Vocabulary.entries).
        groups: `prompts` int64 [item, pos], each prompt at the beginning of its row; `shuffled` the same with tokens permuted within each
            prompt, BOS in its place.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        seed: int,
        prompts: Sequence[str] = PROMPTS,
        tokens: int = 32,
        bos: bool = False,
    ) -> None:
        """Tokenises the prompts.

        Raises:
            DataError: there is no tokenizer, a prompt is empty, or is too long with its continuation for the context.
        """
        if vocabulary.tokenizer is None:
            raise DataError(
                "the checkpoint has no tokenizer.json, so prompts cannot be tokenised for it: put one beside its config.json"
            )
        self._tokenizer, self._end = vocabulary.tokenizer, vocabulary.bos_token_id
        self.entries = vocabulary.entries
        self.prompts = tuple(prompts)
        encoded = [self._encode(vocabulary, number, tokens + int(bos)) for number in range(len(self.prompts))]
        self.lengths = [int(bos) + len(ids) for ids in encoded]
        rng = np.random.default_rng(seed)
        rows = np.full((2, len(encoded), max(self.lengths)), vocabulary.bos_token_id, dtype=np.int64)
        for number, ids in enumerate(encoded):
            for row, own in zip(rows[:, number], (ids, rng.permuted(ids)), strict=True):
                row[int(bos) : self.lengths[number]] = own
        self.groups = {"prompts": rows[0], "shuffled": rows[1]}

    def _encode(self, vocabulary: Vocabulary, number: int, more: int) -> list[int]:
        """The ids of a prompt, which so many more tokens are going to stand beside."""
        ids: list[int] = self._tokenizer.encode(self.prompts[number], add_special_tokens=False).ids
        if not ids:
            raise DataError(f"prompt {number} is empty")
        if len(ids) + more > vocabulary.n_ctx:
            raise DataError(
                f"prompt {number} has {len(ids)} tokens, with {more} more it exceeds the model's context of {vocabulary.n_ctx}: "
                "shorten it, or set tokens lower"
            )
        if max(ids) >= vocabulary.d_vocab:
            raise DataError(
                f"the tokenizer yields id {max(ids)}, the model has {vocabulary.d_vocab} embeddings: "
                "tokenizer and model do not belong together"
            )
        return ids

    def text(self, tokens: Sequence[int]) -> str:
        """Tokens as text, up to the end-of-text token where there is one, which GPT-NeoX writes as its BOS; special tokens are shown."""
        ids = list(tokens)
        end = ids.index(self._end) if self._end in ids else len(ids)
        return str(self._tokenizer.decode(ids[:end], skip_special_tokens=False))

    @classmethod
    def spec(cls, *, seed: int, **_: Any) -> dict[str, Any]:
        """The seed of the shuffling; the prompts are parameters of their own."""
        return {"source": "prompts", "seed": seed}
