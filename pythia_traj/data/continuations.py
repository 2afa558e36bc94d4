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
    """Prompts by their length in tokens, so that those of one length are a batch, and the same shuffled.

    Attributes:
        prompts: the texts, in their order.
        numbers: by group, which prompt each row is.
        groups: `<length>` int64 [item, pos]; `shuffled/<length>` the same with tokens permuted within each prompt, BOS in its place.
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
        self.prompts = tuple(prompts)
        by_length: dict[int, list[tuple[int, list[int]]]] = {}
        for number, prompt in enumerate(self.prompts):
            ids = vocabulary.tokenizer.encode(prompt, add_special_tokens=False).ids
            if not ids:
                raise DataError(f"prompt {number} is empty")
            length = len(ids) + int(bos)
            if length + tokens > vocabulary.n_ctx:
                raise DataError(
                    f"prompt {number} has {length} tokens, with {tokens} more it exceeds the model's context of {vocabulary.n_ctx}: "
                    "shorten it, or set tokens lower"
                )
            if max(ids) >= vocabulary.d_vocab:
                raise DataError(
                    f"the tokenizer yields id {max(ids)}, the model has {vocabulary.d_vocab} embeddings: "
                    "tokenizer and model do not belong together"
                )
            by_length.setdefault(length, []).append((number, ids))
        rng = np.random.default_rng(seed)
        self.groups: dict[str, np.ndarray] = {}
        self.numbers: dict[str, list[int]] = {}
        for length, found in sorted(by_length.items()):
            rows = np.array([ids for _, ids in found], dtype=np.int64)
            front = np.full((len(rows), int(bos)), vocabulary.bos_token_id, dtype=np.int64)
            for prefix, some in (("", rows), ("shuffled/", rng.permuted(rows, axis=1))):
                self.groups[f"{prefix}{length}"] = np.concatenate([front, some], 1)
                self.numbers[f"{prefix}{length}"] = [number for number, _ in found]

    def text(self, tokens: Sequence[int]) -> str:
        """Tokens as text, up to the end-of-text token where there is one, which GPT-NeoX writes as its BOS; special tokens are shown."""
        ids = list(tokens)
        end = ids.index(self._end) if self._end in ids else len(ids)
        return str(self._tokenizer.decode(ids[:end], skip_special_tokens=False))

    @classmethod
    def spec(cls, *, seed: int, **_: Any) -> dict[str, Any]:
        """The seed of the shuffling; the prompts are parameters of their own."""
        return {"source": "prompts", "seed": seed}
