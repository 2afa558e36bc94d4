"""What data needs to know about its model, and the only way from text to the model's tokens."""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

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

_TEXTS_AT_ONCE, _CHARACTERS_AT_ONCE = 64, 1 << 22
"""Where a batch of texts ends that are tokenised on all processors."""

_NO_TOKENIZER = (
    "the checkpoint has no tokenizer.json, so text cannot be tokenised for it: put one beside its"
    " config.json, or give token ids where the experiment takes them"
)


class TokensInText(NamedTuple):
    """The tokens of a text, and which of its characters each stands for.

    Attributes:
        text: as far as it was tokenised.
        ids: int64 [token].
        characters: the first character of each token, and the one after its last: int64 [token, 2].
            They are those that the tokenizer names.
    """

    text: str
    ids: "np.ndarray"
    characters: "np.ndarray"


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

    def encode(self, text: str, *, enough: float = math.inf) -> "np.ndarray":
        """The tokens of a text, without BOS: int64 [token].

        Args:
            enough: how many are wanted. A text of more than a million characters is tokenised piece
                by piece until there are as many; of any other all tokens are returned.

        Raises:
            DataError: the model has no tokenizer, it fails, or yields ids without an embedding.
        """
        import numpy as np

        found: list[np.ndarray] = []
        for piece in _pieces(text):
            found.append(np.asarray(self._encodings([piece])[0].ids, dtype=np.int64))
            enough -= len(found[-1])
            if enough <= 0:
                break
        return found[0] if len(found) == 1 else np.concatenate(found)

    def encode_with_characters(self, text: str, *, enough: float = math.inf) -> "TokensInText":
        """The same tokens, with the characters that the tokenizer names as each one's.

        Raises:
            DataError: as `encode`.
        """
        import numpy as np

        ids, characters, start = [], [], 0
        for piece in _pieces(text):
            (encoding,) = self._encodings([piece])
            ids.append(np.asarray(encoding.ids, dtype=np.int64))
            named = np.asarray(encoding.offsets, dtype=np.int64).reshape(-1, 2)
            characters.append(named + start)
            start += len(piece)
            enough -= len(ids[-1])
            if enough <= 0:
                break
        return TokensInText(text[:start], np.concatenate(ids), np.concatenate(characters))

    def encode_many(self, texts: Iterable[str], *, most: int) -> "Iterator[np.ndarray]":
        """The tokens of texts, at most so many in all, on all processors: int64 [token] of each.

        A text of more than a million characters gives several arrays, one for each piece.

        Raises:
            DataError: as `encode`.
        """
        import numpy as np

        left = most
        for batch in _batches(piece for text in texts for piece in _pieces(text)):
            for encoding in self._encodings(batch):
                ids = np.asarray(encoding.ids[: max(left, 0)], dtype=np.int64)
                left -= len(ids)
                yield ids
            if left <= 0:
                return

    def with_bos(self, sequences: "np.ndarray") -> "np.ndarray":
        """Sequences with BOS in front of each, whatever they begin with.

        int64 [sequence, pos] becomes int64 [sequence, 1 + pos].
        """
        import numpy as np

        return np.pad(sequences, ((0, 0), (1, 0)), constant_values=self.bos_token_id)

    def text_with_bos(self, ids: "np.ndarray") -> "np.ndarray":
        """The tokens of one text with BOS in front, unless they begin with it: int64 [token].

        No document was trained on with two. A text without tokens stays without.
        """
        has_its_own = len(ids) == 0 or ids[0] == self.bos_token_id
        return ids if has_its_own else self.with_bos(ids[None])[0]

    def check_length(self, what: str, length: int, parameter: str, at_most: int = 0) -> None:
        """Refuses what is longer than the model's context.

        Args:
            what: what is that long, for the message.
            length: its tokens, with BOS and all that is added to it.
            parameter: what to change, for the message.
            at_most: the largest value of the parameter that fits; 0 where none does.

        Raises:
            DataError: it is longer.
        """
        if length > self.n_ctx:
            raise DataError(
                f"{what} needs a context of {length} tokens, the model has {self.n_ctx}: "
                + (
                    f"set {parameter} to at most {at_most}"
                    if at_most > 0
                    else f"give a shorter {parameter}"
                )
            )

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

    def _encodings(self, texts: Sequence[str]) -> "list[Encoding]":
        """Tokens with the characters of each, as the tokenizers library has them."""
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


def _pieces(text: str) -> Iterator[str]:
    """A text of at most a million characters as it is, a longer one in pieces of so many.

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


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    for text in texts:
        batch.append(text)
        if len(batch) == _TEXTS_AT_ONCE or sum(map(len, batch)) >= _CHARACTERS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
