"""A checkpoint's `tokenizer.json` -> the model's tokenizer, with no network and no guess at a name."""

import json
from pathlib import Path

from tokenizers import Tokenizer
from transformer_lens import HookedTransformer
from transformers import PreTrainedTokenizerFast

from pythia_traj.errors import CheckpointError


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer in a file.

    Raises:
        CheckpointError: the file is damaged, or is something else.
    """
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing more precise than Exception
        raise CheckpointError(f"{path} is no tokenizer.json: {error}") from None


def attach_tokenizer(model: HookedTransformer, path: Path | None) -> None:
    """Gives the model its tokenizer, so that `model.to_tokens("text")` works; without a file the model takes token ids only.

    Raises:
        CheckpointError: the file is damaged.
    """
    if path is None:
        return
    # No bos_token is given: TransformerLens would then load the tokenizer anew by its name, from the network. It takes the end of
    # text for the beginning by itself, which is what Pythia does.
    model.set_tokenizer(PreTrainedTokenizerFast(tokenizer_object=read_tokenizer(path), eos_token=_end_of_text(path)))


def _end_of_text(path: Path) -> str:
    """The first special token of the tokenizer: `<|endoftext|>` in every GPT-NeoX tokenizer."""
    added = json.loads(path.read_text(encoding="utf-8")).get("added_tokens", [])
    return next((token["content"] for token in added if token.get("special")), "<|endoftext|>")
