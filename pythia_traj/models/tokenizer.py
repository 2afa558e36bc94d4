"""A checkpoint's `tokenizer.json` -> the model's tokenizer, without network and without guesses.

The token that begins a sequence is `bos_token_id` of the model's config. If that is null or
missing, it is the token that `tokenizer.json` itself puts in front of a text, else the end of text
that the config names, because GPT-NeoX has one token for both.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformer_lens import HookedTransformer
from transformers import PreTrainedTokenizerFast

from pythia_traj.errors import CheckpointError
from pythia_traj.models.tokenizer_file import check, stated_bos, text_alone
from pythia_traj.outside import in_one_line, shown
from pythia_traj.suites.files import read_json

END_OF_TEXT = "<|endoftext|>"
"""How every GPT-NeoX tokenizer writes the end of a text."""

_TRIED = "aZ1 \n\t.-_(é\u0301яא\u0628ध中あ가😀\u200b\0"
"""Characters of the trial text.

Each is repeated, because expressions that backtrack spend their time on repetitions.
"""

_RUNS = (10, 40, 160, 320, 640)
"""Lengths of the runs, one trial after the other.

So a slow tokenizer is found before it takes long.
"""

_SECONDS, _SECONDS_PER_CHARACTER = 0.2, 1 / 40_000
"""Processor time that a trial may take: tokenizers read a million characters a second and more."""


@dataclass(frozen=True)
class CheckpointTokenizer:
    """A checkpoint's tokenizer, which yields the tokens of a text and no others.

    Attributes:
        tokenizer: the tokenizers library's.
        stated_bos: the token that its file puts in front of a text, if it does.
        special: the first token that its file calls special.
    """

    tokenizer: Tokenizer
    stated_bos: int | None = None
    special: str | None = None


def read_tokenizer(path: Path) -> CheckpointTokenizer:
    """The tokenizer in a file.

    Raises:
        CheckpointError: the file is damaged, is something else, or is a tokenizer that must not be
            used: it would take hours, multiply a text, or end the process.
    """
    parsed = read_json(path, what=path.name)
    file = check(parsed, path)
    with in_one_line(f"{path} is not a usable tokenizer.json", error=CheckpointError):
        tokenizer = Tokenizer.from_str(json.dumps(text_alone(parsed)))
        _try(tokenizer, path)
    special = next((token.content for token in file.added_tokens if token.special), None)
    return CheckpointTokenizer(tokenizer, stated_bos(parsed), special)


def bos_token_id(config: Mapping[str, Any], found: CheckpointTokenizer | None) -> int:
    """The token that begins a sequence.

    Raises:
        CheckpointError: config or tokenizer name a token that the model does not have.
    """
    number, whose = config.get("bos_token_id"), "bos_token_id of config.json"
    if number is None and found is not None:
        number, whose = found.stated_bos, "the token that tokenizer.json puts in front of a text"
    if number is None:
        return next(iter(eos_token_ids(config, found)), 0)
    if not _is_token(number, config):
        most = f" up to {config['vocab_size'] - 1}" if type(config.get("vocab_size")) is int else ""
        raise CheckpointError(
            f"{whose} is {shown(number)}: it must be a token's number from 0{most}; set"
            " bos_token_id in config.json"
        )
    return number


def eos_token_ids(config: Mapping[str, Any], found: CheckpointTokenizer | None) -> tuple[int, ...]:
    """The tokens that end a text: those of the config, one or a list, that the model has.

    Without any, it is the tokenizer's `<|endoftext|>`, if it has one.
    """
    named = config.get("eos_token_id")
    several = named if isinstance(named, list) else [named]
    ends = tuple(number for number in several if _is_token(number, config))
    if ends or found is None:
        return ends
    number = found.tokenizer.token_to_id(END_OF_TEXT)
    return (number,) if _is_token(number, config) else ()


def _is_token(number: Any, config: Mapping[str, Any]) -> TypeGuard[int]:
    size = config.get("vocab_size")
    return type(number) is int and 0 <= number < (size if type(size) is int else 2**31)


def attach_tokenizer(
    model: HookedTransformer, path: Path | None, config: Mapping[str, Any]
) -> None:
    """Gives the model its tokenizer, so that `model.to_tokens("text")` works.

    Without a file the model takes token ids only. `to_tokens` prepends the BOS that experiments do.

    Raises:
        CheckpointError: the file is damaged, or config or tokenizer name a BOS that the model does
            not have.
    """
    if path is None:
        return
    found = read_tokenizer(path)
    bos = bos_token_id(config, found)
    with in_one_line(f"{path} is not a usable tokenizer.json", error=CheckpointError):
        added = found.tokenizer.get_added_tokens_decoder()
        ends = (added[number].content for number in eos_token_ids(config, found) if number in added)
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=found.tokenizer, eos_token=next(ends, found.special or END_OF_TEXT)
        )
        written = found.tokenizer.id_to_token(bos)
        is_written = bos in added and _begins(found.tokenizer, added[bos].content, bos)
        if not is_written:
            # This token cannot be written as text, or only beside certain others: it is prepended
            # by its number.
            name = f"<|{bos}|>"
            template = TemplateProcessing(single=[name, "$A"], special_tokens=[(name, bos)])
            tokenizer.backend_tokenizer.post_processor = template
        # With a bos_token TransformerLens would load the tokenizer again by its name, from the
        # network: so it is set afterwards.
        model.set_tokenizer(tokenizer)
        model.cfg.tokenizer_prepends_bos = not is_written
        if written is not None:
            tokenizer.bos_token = written


def _begins(tokenizer: Tokenizer, written: str, number: int) -> bool:
    """Whether a text that begins with how a token is written begins with that token.

    The rest of the text must have the same tokens as without it.
    """
    return all(
        tokenizer.encode(written + text).ids == [number, *tokenizer.encode(text).ids]
        for text in ("", "a", " a", "\n")
    )


def _try(tokenizer: Tokenizer, path: Path) -> None:
    for run in _RUNS:
        text = "".join(character * run + "Words, numbers 3.14 and x_1!\n" for character in _TRIED)
        start = time.thread_time()
        tokenizer.encode(text)
        seconds = time.thread_time() - start
        if seconds > _SECONDS + _SECONDS_PER_CHARACTER * len(text):
            raise CheckpointError(
                f"{path} cannot be used: it takes {seconds:.1f} s for {len(text)} characters, which"
                " its expressions do when they backtrack"
            )
