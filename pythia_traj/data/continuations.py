"""Prompts in words that a model continues, and its tokens as text."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Len
from pydantic import BeforeValidator

from pythia_traj.engines.streams import stream
from pythia_traj.errors import DataError
from pythia_traj.experiment import Count, Data, Vocabulary

PROMPTS = (
    "The capital of France is",
    "Once upon a time, there was a little girl who",
    "def fibonacci(n):\n",
    "1 2 3 4 5 6",
    "Kevin and Martin went to the house. Kevin gave a key to",
)
"""What is continued by default: a fact, a story, code, counting, an indirect object."""


_PROMPT = re.compile(r"(?:<\|[^|<>\s]*\|>|\\\||[^|])*")
"""Up to the next |, but for one after a backslash, and those of a token such as <|endoftext|>."""


def separated(value: object) -> object:
    r"""Prompts on the command line: `One|Two`, because they contain commas.

    Lists stay as they are.

    >>> separated(r"<|endoftext|>One|a \| b")
    ('<|endoftext|>One', 'a | b')
    """
    if not isinstance(value, str):
        return value
    prompts, start = [], 0
    while start <= len(value):
        found = _PROMPT.match(value, start)
        assert found is not None  # it matches nothing at all too
        prompts.append(found[0].replace("\\|", "|"))
        start = found.end() + 1
    return tuple(prompts)


Prompts = Annotated[
    tuple[str, ...],
    Len(1),
    BeforeValidator(separated, json_schema_input_type=tuple[str, ...] | str),
]
"""One or more prompts, as a request gives them."""


@dataclass(frozen=True)
class PromptTexts(Data["BoundPromptTexts"]):
    """Prompts in words, to be continued.

    Attributes:
        prompts: texts to be continued: a list, or on the command line separated by |, but for those
            of <|endoftext|> or after a backslash.
        tokens: that are added.
        bos: whether BOS is prepended.
    """

    prompts: Prompts = PROMPTS
    tokens: Count = 32
    bos: bool = False

    def spec(self, *, seed: int) -> dict[str, Any]:
        """The seed of the shuffling; the prompts are fields."""
        return {"source": "prompts", "seed": seed}

    def bind(self, vocabulary: Vocabulary, *, seed: int) -> "BoundPromptTexts":
        """Tokenises the prompts.

        Raises:
            DataError: the model has no tokenizer, a prompt is empty, or with its continuation too
                long for the context.
        """
        return BoundPromptTexts(self, vocabulary, seed=seed)


class BoundPromptTexts:
    """Prompts as token ids, and the same shuffled.

    Attributes:
        parameters: what was asked for.
        prompts: the texts, in their order.
        lengths: tokens of each, BOS included.
        entries: of the vocabulary that can be written (see Vocabulary.entries).
        groups: `prompts` int64 [item, pos], each prompt at the beginning of its row; `shuffled` the
            same with tokens permuted within each prompt, BOS in its place.
    """

    def __init__(self, parameters: PromptTexts, vocabulary: Vocabulary, *, seed: int) -> None:
        self.parameters, self._vocabulary = parameters, vocabulary
        self.entries = vocabulary.entries
        self.prompts = parameters.prompts
        tokens, bos = parameters.tokens, parameters.bos
        encoded = [
            self._encode(vocabulary, number, tokens, bos) for number in range(len(self.prompts))
        ]
        self.lengths = [len(ids) for ids in encoded]
        rng = stream(seed, "prompts")
        rows = np.full(
            (2, len(encoded), max(self.lengths)), vocabulary.bos_token_id, dtype=np.int64
        )
        for number, ids in enumerate(encoded):
            shuffled = np.concatenate([ids[: int(bos)], rng.permuted(ids[int(bos) :])])
            rows[:, number, : len(ids)] = ids, shuffled
        self.groups = {"prompts": rows[0], "shuffled": rows[1]}

    def _encode(self, vocabulary: Vocabulary, number: int, tokens: int, bos: bool) -> np.ndarray:
        """The ids of a prompt, BOS included, which so many more are going to follow."""
        ids = vocabulary.encode(self.prompts[number], enough=vocabulary.n_ctx)
        if not len(ids):
            raise DataError(f"prompt {number} is empty")
        if bos:
            ids = vocabulary.text_with_bos(ids)
        vocabulary.check_length(f"prompt {number} with a token after it", len(ids) + 1, "prompt")
        vocabulary.check_length(
            f"prompt {number} with {tokens} tokens after it",
            len(ids) + tokens,
            "tokens",
            vocabulary.n_ctx - len(ids),
        )
        return ids

    def text(self, tokens: Sequence[int]) -> str:
        """Tokens as text, up to the first end of text if there is one.

        Special tokens are shown.
        """
        ids = list(
            itertools.takewhile(lambda number: number not in self._vocabulary.eos_token_ids, tokens)
        )
        return self._vocabulary.decode(ids)
