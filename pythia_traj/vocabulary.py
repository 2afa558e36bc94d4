"""What data needs to know about its model, and the only way from text to the model's tokens."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pythia_traj.errors import DataError
from pythia_traj.outside import in_one_line

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Encoding, Tokenizer

PIECE = 1 << 20
"""Characters of a text that are tokenised at once: each takes some 200 bytes meanwhile."""

_NEAR = 1 << 12
"""A piece ends at white space among its last so many characters."""

_BOUNDARY = re.compile(r"(?<=\w)\s(?=\S)")
"""One character of white space after a letter or digit.

Tokenizers begin a word there, so the pieces have the same tokens as the whole text.
"""

_NO_TOKENIZER = (
    "the checkpoint has no tokenizer.json, so text cannot be tokenised for it: put one beside its"
    " config.json, or give token ids where the experiment takes them"
)


@dataclass(frozen=True)
class Vocabulary:
    """A model's tokens.

    Attributes:
        d_vocab: rows of the embedding, padding included.
        n_ctx: the longest context.
        tokenizer: None where the checkpoint has none.
        bos_token_id: the token that is prepended as BOS.
        eos_token_ids: the tokens that end a text.
    """

    d_vocab: int
    n_ctx: int
    tokenizer: "Tokenizer | None" = None
    bos_token_id: int = 0
    eos_token_ids: tuple[int, ...] = (0,)

    @property
    def entries(self) -> int:
        """Ids up to the tokenizer's last one, gaps included: later embedding rows are padding.

        Without a tokenizer, all of the model's.
        """
        return (
            self.d_vocab
            if self.tokenizer is None
            else min(self.d_vocab, max(self.tokenizer.get_vocab().values()) + 1)
        )

    def encode(self, text: str, *, most: float = math.inf) -> "np.ndarray":
        """The tokens of a text, without BOS: int64 [token].

        Args:
            most: how many are needed. A text of more than a million characters is tokenised piece
                by piece until it has given that many; any other text gives all its tokens.

        Raises:
            DataError: the model has no tokenizer, it fails, or yields ids without an embedding.
        """
        import numpy as np

        found: list[np.ndarray] = []
        for piece in pieces(text):
            found.append(np.asarray(self.encoding(piece).ids, dtype=np.int64))
            most -= len(found[-1])
            if most <= 0:
                break
        return found[0] if len(found) == 1 else np.concatenate(found)

    def encoding(self, text: str) -> "Encoding":
        """A text's tokens with the characters each stands for, as the tokenizers library has it.

        Raises:
            DataError: as `encode`.
        """
        return self.encodings([text])[0]

    def encodings(self, texts: Sequence[str]) -> "list[Encoding]":
        """The same of several texts, on all processors.

        Raises:
            DataError: as `encode`.
        """
        if self.tokenizer is None:
            raise DataError(_NO_TOKENIZER)
        with in_one_line("the checkpoint's tokenizer cannot tokenise this text", error=DataError):
            found = (
                [self.tokenizer.encode(texts[0], add_special_tokens=False)]
                if len(texts) == 1
                else self.tokenizer.encode_batch(list(texts), add_special_tokens=False)
            )
        largest = max((max(encoding.ids, default=0) for encoding in found), default=0)
        if largest >= self.d_vocab:
            raise DataError(
                f"the tokenizer yields id {largest}, the model has {self.d_vocab} embeddings: "
                "tokenizer and model do not belong together"
            )
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """Tokens as text, special ones too.

        Raises:
            DataError: the model has no tokenizer, or it fails.
        """
        if self.tokenizer is None:
            raise DataError(_NO_TOKENIZER)
        with in_one_line(
            "the checkpoint's tokenizer cannot write these tokens as text", error=DataError
        ):
            return str(self.tokenizer.decode(list(ids), skip_special_tokens=False))


def pieces(text: str) -> Iterator[str]:
    """A text of at most a million characters as one piece, a longer one in pieces of that size.

    The pieces end before white space if possible.
    """
    start = 0
    while len(text) - start > PIECE:
        end = start + PIECE
        spaces = [found.start() for found in _BOUNDARY.finditer(text, end - _NEAR, end)]
        end = spaces[-1] if spaces else end
        yield text[start:end]
        start = end
    yield text[start:] if start else text
