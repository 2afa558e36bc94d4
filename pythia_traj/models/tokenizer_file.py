"""What a `tokenizer.json` may say, checked before it is used, and which parts are left out.

The check comes before the tokenizers library reads the file.

A tokenizer turns a text into the tokens of that text: all of them, nothing else, the same every
time. So truncation, padding, the dropout of merges and the special tokens that are put around a
text are removed from the file; the experiments prepend BOS themselves. A file that would make the
library panic, multiply a text or take hours for it is refused.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, MaxLen
from pydantic import BaseModel, ConfigDict, Field

from pythia_traj.errors import CheckpointError
from pythia_traj.models.expressions import why_slow
from pythia_traj.outside import checked, shown

MOST_GROWTH = 16
"""By which factor normalisation may lengthen a text."""

_MOST_ADDED = 20_000
"""Tokens that are added to a vocabulary; published tokenizers have up to some thousands."""

_MOST_WRITTEN = 64
"""Bytes that a character may become: one Arabic ligature is 18 letters."""

_LONGEST_WORD = 1000
"""Characters of a word that WordPiece may look at; its time grows with their square."""

Id = Annotated[int, Ge(0), Le(2**31 - 1)]


class _Part(BaseModel):
    """A part of the file; the library checks fields that are not named here."""

    model_config = ConfigDict(strict=True, frozen=True, extra="allow")


class AddedToken(_Part):
    """A token that is found in a text before anything else is."""

    id: Id
    content: str
    special: bool = False


class Pattern(_Part):
    """What is replaced or split at: either a text or an expression."""

    String: Annotated[str, Field(min_length=1)] | None = None
    Regex: Annotated[str, Field(min_length=1)] | None = None


class Component(_Part):
    """A normalizer, a pre-tokenizer, a post-processor or a decoder.

    Several of a kind are a Sequence.
    """

    type: str
    pattern: Pattern | None = None
    content: str = ""
    prepend: str = ""
    length: int = Field(default=1, ge=1)
    precompiled_charsmap: str | None = None
    normalizers: "tuple[Component, ...]" = Field(default=(), strict=False)
    pretokenizers: "tuple[Component, ...]" = Field(default=(), strict=False)
    processors: "tuple[Component, ...]" = Field(default=(), strict=False)
    decoders: "tuple[Component, ...]" = Field(default=(), strict=False)

    def all(self) -> "Iterator[Component]":
        """It and all components in it."""
        yield self
        for inner in (*self.normalizers, *self.pretokenizers, *self.processors, *self.decoders):
            yield from inner.all()


class Model(_Part):
    """The vocabulary, and how words become entries of it. Old files name no type."""

    type: Literal["BPE", "WordPiece", "WordLevel", "Unigram"] | None = None
    vocab: Annotated[dict[str, Id], Field(min_length=1)] | Annotated[list[Any], Field(min_length=1)]
    merges: list[Any] = []
    continuing_subword_prefix: str | None = None
    max_input_chars_per_word: int = Field(default=100, ge=0, le=_LONGEST_WORD)


class TokenizerFile(_Part):
    """The whole file."""

    model: Model
    added_tokens: Annotated[list[AddedToken], MaxLen(_MOST_ADDED)] = []
    normalizer: Component | None = None
    pre_tokenizer: Component | None = None
    post_processor: Component | None = None
    decoder: Component | None = None


def check(parsed: Any, what: object) -> TokenizerFile:
    """A parsed file as a typed model.

    Raises:
        CheckpointError: it is not a tokenizer, or one that must not be used, with the reason.
    """
    file = checked(
        TokenizerFile,
        parsed,
        f"{what} is not a usable tokenizer.json",
        error=CheckpointError,
    )
    why = _why_unusable(file)
    if why:
        raise CheckpointError(f"{what} cannot be used: {why}")
    return file


def text_alone(parsed: Mapping[str, Any]) -> dict[str, Any]:
    """The file without parts that add tokens to a text, remove some, or choose them at random."""
    processor = _offsets_alone(parsed.get("post_processor"))
    model = {name: value for name, value in parsed["model"].items() if name != "dropout"}
    return {
        **parsed,
        "truncation": None,
        "padding": None,
        "post_processor": processor,
        "model": model,
    }


def stated_bos(parsed: Mapping[str, Any]) -> int | None:
    """The token that the file itself puts in front of a text."""
    return _first_added(parsed.get("post_processor"))


def _why_unusable(file: TokenizerFile) -> str | None:
    prefix = file.model.continuing_subword_prefix
    if prefix and not all(_second(merge).startswith(prefix) for merge in file.model.merges):
        return (
            f"a merge's second part does not begin with {shown(prefix)}, as"
            " continuing_subword_prefix says"
        )
    for component in _components(file):
        pattern = component.pattern
        if pattern is not None and (pattern.String is None) == (pattern.Regex is None):
            return f"the pattern of a {component.type} is neither a String nor a Regex"
        why = why_slow(pattern.Regex) if pattern is not None and pattern.Regex is not None else None
        why = why or _why_no_charsmap(component)
        if why:
            return why
    if file.normalizer is not None and _growth(file.normalizer) > MOST_GROWTH:
        return f"its normalizer makes a text more than {MOST_GROWTH} times longer"
    return None


def _components(file: TokenizerFile) -> Iterator[Component]:
    for part in (file.normalizer, file.pre_tokenizer, file.post_processor, file.decoder):
        if part is not None:
            yield from part.all()


def _second(merge: Any) -> str:
    """The parts of a merge, which is a pair, or in older files a text with a space in between."""
    parts = merge.split(" ") if isinstance(merge, str) else merge
    return str(parts[1]) if isinstance(parts, list) and len(parts) == 2 else ""


def _growth(component: Component) -> float:
    """The largest factor by which a normalizer lengthens a text, without the library's tables."""
    if component.type == "Sequence":
        factor = 1.0
        for inner in component.normalizers:
            factor *= _growth(inner)
        return factor
    if component.type == "Prepend":
        return max(1.0, len(component.prepend))
    if component.pattern is not None:
        # An expression may match the empty text between any two characters.
        replaced = len(component.pattern.String or "") or 0.5
        return max(1.0, len(component.content) / replaced)
    return 1.0


def _why_no_charsmap(component: Component) -> str | None:
    """A table of sentencepiece: a trie's size, the trie, what characters become.

    Each replacement of a character ends with a NUL.
    """
    if component.type != "Precompiled" or component.precompiled_charsmap is None:
        return None
    try:
        table = base64.b64decode(component.precompiled_charsmap, validate=True)
    except (binascii.Error, ValueError):
        return "its precompiled_charsmap is not base64"
    size = int.from_bytes(table[:4], "little")
    if len(table) < 4 or size % 4 or size > len(table) - 4:
        return "its precompiled_charsmap is damaged"
    longest = max(len(written) for written in table[4 + size :].split(b"\0"))
    return (
        f"its precompiled_charsmap makes {longest} bytes of one character"
        if longest > _MOST_WRITTEN
        else None
    )


def _offsets_alone(processor: Any) -> Any:
    """The part of a post-processor that concerns the places of tokens in the text."""
    if not isinstance(processor, dict):
        return None
    kind = processor.get("type")
    if kind == "Sequence":
        kept = [
            found
            for found in map(_offsets_alone, processor.get("processors") or ())
            if found is not None
        ]
        return {"type": "Sequence", "processors": kept} if kept else None
    if kind == "RobertaProcessing" and processor.get("trim_offsets", True):
        return {
            "type": "ByteLevel",
            "add_prefix_space": bool(processor.get("add_prefix_space", True)),
            "trim_offsets": True,
        }
    return processor if kind == "ByteLevel" else None


def _first_added(processor: Any) -> int | None:
    if not isinstance(processor, dict):
        return None
    kind, found = processor.get("type"), None
    if kind == "Sequence":
        stated = (_first_added(inner) for inner in processor.get("processors") or ())
        return next((one for one in stated if one is not None), None)
    if kind in ("RobertaProcessing", "BertProcessing"):
        found = processor.get("cls")
        found = found[1] if isinstance(found, list) and len(found) == 2 else None
    elif kind == "TemplateProcessing":
        first = next(iter(processor.get("single") or ()), None)
        special = first.get("SpecialToken") if isinstance(first, dict) else None
        name = special.get("id") if isinstance(special, dict) else None
        known = processor.get("special_tokens")
        entry = known.get(name) if isinstance(known, dict) and isinstance(name, str) else None
        ids = entry.get("ids") if isinstance(entry, dict) else None
        found = ids[0] if isinstance(ids, list) and ids else None
    return found if type(found) is int and found >= 0 else None
