"""Which bytes of a text each token stands for, and each token as text."""

import json
import re

import numpy as np
from tokenizers import Tokenizer

from pythia_traj.data.labels.alignment import tokenise
from pythia_traj.vocabulary import Vocabulary

_ONE_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def given_bytes(
    vocabulary: Vocabulary, text: str, ids: np.ndarray, of_token: list[bytes]
) -> np.ndarray:
    """How many bytes of the original text each of its first tokens stands for: int64 [token].

    Where the tokens spell the text, these are their own bytes. Where the tokenizer rewrites it
    first (an e and a combining accent as one character, capitals as small letters) or leaves white
    space out, they are the bytes of the characters that a token was made from; what was left out
    belongs to the next token.

    Args:
        ids: the text's tokens, or the first of them.
        of_token: the bytes that each token of the vocabulary stands for, from `bytes_of_tokens`.
    """
    own = [of_token[number] for number in ids.tolist()]
    if text.encode().startswith(b"".join(own)):
        return np.array([len(one) for one in own], dtype=np.int64)
    read = tokenise(vocabulary, text, 1, enough=len(ids))
    up_to = np.concatenate([[0], _sizes(read.text).cumsum()])
    return np.diff(up_to[np.maximum.accumulate(read.ends)], prepend=0)[: len(ids)]


def _sizes(text: str) -> np.ndarray:
    """How many bytes each character has in UTF-8: int64 [character]."""
    characters = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    return np.searchsorted([0x80, 0x800, 0x10000], characters, side="right") + 1


def bytes_of_tokens(tokenizer: Tokenizer, d_vocab: int) -> list[bytes]:
    """The UTF-8 bytes each id stands for, which need not be whole characters.

    They are empty for an id the tokenizer lacks.

    Byte-level tokenizers write each byte as a character of their own, except in the tokens added
    later; others mark a space as U+2581 and a single byte as <0x0A>.
    """
    described = json.loads(tokenizer.to_str())
    added = {token["id"] for token in described.get("added_tokens") or ()}
    is_byte_level = "ByteLevel" in json.dumps(
        [described.get("decoder"), described.get("pre_tokenizer")]
    )
    found = [b""] * d_vocab
    for token, number in tokenizer.get_vocab().items():
        if number >= d_vocab:
            continue
        one = _ONE_BYTE.fullmatch(token)
        if number in added or (is_byte_level and not _BYTES.keys() >= set(token)):
            found[number] = token.encode()
        elif is_byte_level:
            found[number] = bytes(_BYTES[character] for character in token)
        else:
            found[number] = bytes.fromhex(one[1]) if one else token.replace("\u2581", " ").encode()
    return found


def own_bytes(vocabulary: Vocabulary) -> list[bytes]:
    """The bytes of each token of a vocabulary; none where it has no tokenizer."""
    if vocabulary.tokenizer is None:
        return []
    return bytes_of_tokens(vocabulary.tokenizer, vocabulary.d_vocab)


def texts_of_tokens(ids: np.ndarray, of_token: list[bytes]) -> tuple[str, ...]:
    r"""Each token as a reader sees it: with the space before a word, where it belongs to the token.

    Bytes that are not a character stay visible, as `\xe2`. A token that the tokenizer lacks, as BOS
    can be, is its number, as `[0]`.

    Args:
        ids: int64 [token].
        of_token: the bytes that each token of the vocabulary stands for, from `own_bytes`.
    """
    return tuple(
        of_token[one].decode(errors="backslashreplace")
        if any(of_token[one : one + 1])
        else f"[{one}]"
        for one in ids.tolist()
    )


def _byte_characters() -> dict[str, int]:
    """The character that stands for each byte in GPT-2's byte-level vocabulary.

    It is the byte itself where that can be printed.
    """
    printed = [
        *range(ord("!"), ord("~") + 1),
        *range(ord("¡"), ord("¬") + 1),
        *range(ord("®"), ord("ÿ") + 1),
    ]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {
        chr(256 + i): byte for i, byte in enumerate(others)
    }


_BYTES = _byte_characters()
