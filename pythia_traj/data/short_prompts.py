"""Short prompts in words that are read as they are, and each of their tokens as text."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pythia_traj.data.continuations import Prompts
from pythia_traj.data.token_bytes import own_bytes, texts_of_tokens
from pythia_traj.errors import DataError
from pythia_traj.experiment import AtLeastTwo, Data, Vocabulary

SHORT_PROMPTS = (
    "Mary and John went out. John gave a book to",
    "violin seven cloud amber violin seven cloud",
    "Lena Kovacs called Omar Reyes. Lena Kovacs",
    "The keys to the cabinet near the doors were",
    "The Eiffel Tower stands in the city of",
    "one two three four five six seven eight nine",
)
"""What is read by default: an indirect object, words that repeat, names that repeat, a distant
subject, a fact, counting. None has more than 47 bytes, so that with BOS all of it is read even
where each byte is a token. They are six because fewer have no standard error.
"""


@dataclass(frozen=True)
class ShortPrompts(Data["BoundShortPrompts"]):
    """Prompts in words, to be read.

    Attributes:
        prompts: texts to be read: a list, or on the command line separated by |, but for those
            of <|endoftext|> or after a backslash.
        length: the most tokens of a prompt that are read, from its beginning, BOS included.
        bos: whether BOS is prepended.
    """

    prompts: Prompts = SHORT_PROMPTS
    length: AtLeastTwo = 48
    bos: bool = True

    def spec(self, *, seed: int) -> dict[str, Any]:
        """Nothing is drawn, so the seed is not in it; the prompts are fields."""
        return {"source": "short_prompts"}

    def bind(self, vocabulary: Vocabulary, *, seed: int) -> "BoundShortPrompts":
        """Tokenises the prompts.

        Raises:
            DataError: the model has no tokenizer, a prompt is empty, or what is read of it too long
                for the context.
        """
        return BoundShortPrompts(self, vocabulary)


class BoundShortPrompts:
    """Prompts as token ids, and each token as text.

    Attributes:
        parameters: what was asked for.
        prompts: the texts, whole, in their order.
        lengths: how many tokens of each are read, BOS included: int64 [item].
        token_texts: each token that is read, as text, by prompt.
        groups: `prompts` int64 [item, pos], each prompt at the beginning of its row. Causal
            attention of its tokens does not see what fills the rest of the row.
        facts: `cut`, the numbers of the prompts of which only the beginning is read.
    """

    def __init__(self, parameters: ShortPrompts, vocabulary: Vocabulary) -> None:
        self.parameters, self.prompts = parameters, parameters.prompts
        whole = [self._encode(vocabulary, number) for number in range(len(self.prompts))]
        read = [ids[: parameters.length] for ids in whole]
        for number, ids in enumerate(read):
            vocabulary.check_length(f"prompt {number}", len(ids), "length", vocabulary.n_ctx)
        self.lengths = np.array([len(ids) for ids in read], dtype=np.int64)
        of_token = own_bytes(vocabulary)
        self.token_texts = [texts_of_tokens(ids, of_token) for ids in read]
        rows = np.full((len(read), max(self.lengths)), vocabulary.bos_token_id, dtype=np.int64)
        for row, ids in zip(rows, read, strict=True):
            row[: len(ids)] = ids
        self.groups = {"prompts": rows}
        cut = [number for number, ids in enumerate(whole) if len(ids) > parameters.length]
        self.facts = {"cut": cut}

    def _encode(self, vocabulary: Vocabulary, number: int) -> np.ndarray:
        """The ids of a prompt, BOS included, at least one more than are read if it has them."""
        enough = self.parameters.length + 1
        ids = vocabulary.encode(self.prompts[number], enough=enough)
        if not len(ids):
            raise DataError(f"prompt {number} is empty: give it a word, or leave it out")
        return vocabulary.text_with_bos(ids) if self.parameters.bos else ids
