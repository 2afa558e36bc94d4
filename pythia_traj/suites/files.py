"""The files of a checkpoint in Hugging Face layout: which are its weights, and how they are read.

Shared by all code that reads checkpoints, from a directory or from the Hub.
"""

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pythia_traj import outside
from pythia_traj.errors import CheckpointError

CONFIG, TOKENIZER = "config.json", "tokenizer.json"

WEIGHTS = (
    "model.safetensors.index.json",
    "model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
)
"""In order of preference; only one of them is read.

Shards come first: where a branch holds both, the single file was the stale one (EleutherAI/pythia
#205).
"""


def preferred_weights(names: Collection[str], where: object) -> str:
    """The weight file to read, or the index of its shards.

    Raises:
        CheckpointError: it has no weights.
    """
    for name in WEIGHTS:
        if name in names:
            return name
    raise CheckpointError(f"{where} holds no weights: expected one of {', '.join(WEIGHTS)}")


_OTHER_FOLDERS = (
    (
        r"adapter_config\.json|adapter_model\.(safetensors|bin)",
        "a PEFT adapter, not a model",
        (
            "merge it into its model with `model.merge_and_unload().save_pretrained(...)`, and"
            " remove the adapter's files"
        ),
    ),
    (
        r"layer_\d+-model_\d+-model_states\.pt",
        "GPT-NeoX's own checkpoint",
        "convert it with GPT-NeoX's tools/ckpts/convert_neox_to_hf.py",
    ),
    (
        r"zero_to_fp32\.py|(bf16_)?zero_pp_rank_\d+_mp_rank_\d+_\w+\.pt",
        "DeepSpeed ZeRO's parts of a model",
        "put them together with `python zero_to_fp32.py . .` in that folder",
    ),
    (
        r"mp_rank_\d+_model_states\.pt",
        "a checkpoint of DeepSpeed or of GPT-NeoX itself",
        (
            "convert it with GPT-NeoX's tools/ckpts/convert_neox_to_hf.py, or with DeepSpeed's"
            " zero_to_fp32.py"
        ),
    ),
    (
        r"\S+\.distcp",
        "FSDP's parts of a model",
        "put them together with `accelerate merge-weights`",
    ),
    (
        r"\S+\.(gguf|h5|msgpack|onnx|ckpt\.index)",
        "weights of another format",
        "load them with transformers and save them with save_pretrained, unquantised",
    ),
    (
        r"optimizer\.(pt|bin)|scheduler\.pt|scaler\.pt|rng_state\S*\.pth|trainer_state\.json|training_args\.bin",
        "the state of a training and no weights",
        "save the model too, wait until it is saved, or remove the folder",
    ),
)
"""Folders that are not checkpoints: names of their files, what they hold, what to do.

The first that fits counts.
"""


def what_it_holds(names: Collection[str]) -> str | None:
    """What a folder without weights in Hugging Face layout holds instead, and what to do.

    None if that is not known.

    Args:
        names: of its files, those of its folders included:
            `global_step500/mp_rank_00_model_states.pt`.
    """
    last_parts = [name.rpartition("/")[2] for name in names]
    for pattern, what, advice in _OTHER_FOLDERS:
        found = next((name for name in last_parts if re.fullmatch(pattern, name)), None)
        if found is not None:
            return f"{what} ({found}): {advice}"
    return None


def is_adapter(names: Collection[str]) -> bool:
    """Whether a folder holds an adapter, with or without weights.

    The weights may be those of its model, without the adapter.
    """
    return any(re.fullmatch(_OTHER_FOLDERS[0][0], name) for name in names)


_SLOW_TOKENIZERS = (
    ("vocab.json", "merges.txt"),
    ("tokenizer.model",),
    ("spiece.model",),
    ("vocab.txt",),
)
"""Files of tokenizers that transformers runs in Python; it can write any as tokenizer.json."""


def slow_tokenizer(names: Collection[str]) -> str | None:
    """Which tokenizer files a folder without tokenizer.json has, and what to do.

    None if it has none.
    """
    found = next((files for files in _SLOW_TOKENIZERS if set(files) <= set(names)), None)
    return found and (
        f"{' and '.join(found)} are of a slow tokenizer, which is not read:"
        " `AutoTokenizer.from_pretrained(FOLDER, use_fast=True).save_pretrained(FOLDER)` writes"
        " tokenizer.json"
    )


def is_index(name: str) -> bool:
    """Whether a weight file names shards instead of holding tensors."""
    return name.endswith(".index.json")


def is_weights(name: str) -> bool:
    """Whether a file holds tensors, by its ending."""
    return name.endswith((".safetensors", ".bin"))


class _Index(BaseModel):
    """The part of an index that is read: tensor -> shard."""

    model_config = ConfigDict(frozen=True, strict=True)

    weight_map: dict[str, str]


def shards(index: Mapping[str, Any], where: object) -> dict[str, frozenset[str]]:
    """The shards an index names, sorted, each with the tensors to take from it.

    Raises:
        CheckpointError: it names none, or something that is not the plain name of a weight file.
    """
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(
            f"{where} has no weight_map, so its shards are unknown: fetch it again"
        )
    named: dict[str, set[str]] = {}
    for tensor, shard in outside.checked(
        _Index, {"weight_map": weight_map}, where, error=CheckpointError
    ).weight_map.items():
        named.setdefault(shard, set()).add(tensor)
    for name in named:
        # An index comes from outside: a name that is a path could point anywhere.
        if not is_plain(name) or not is_weights(name):
            raise CheckpointError(
                f"{where} names a shard {outside.shown(name)}, which is not a plain file name of"
                " weights"
            )
    return {shard: frozenset(named[shard]) for shard in sorted(named)}


def is_plain(name: str) -> bool:
    """Whether a name from outside can only be a file in the same folder."""
    return (
        Path(name).name == name
        and name not in {".", ".."}
        and "\\" not in name
        and "\0" not in name
    )


def most_bytes(name: str) -> int:
    """Bytes that a small file of a checkpoint may have, by its name."""
    return outside.SMALL if name == CONFIG else outside.LARGE


_LFS_POINTER = b"version https://git-lfs.github.com/spec/"
_WEB_PAGE = re.compile(rb"\s*<(!doctype html|html|head|\?xml)", re.IGNORECASE)


def what_it_is_instead(data: memoryview) -> str | None:
    """What was stored instead of a weight file, and what to do; None if that is not known."""
    beginning = bytes(data[:200])
    if beginning.startswith(_LFS_POINTER):
        return "a Git LFS pointer, not the file: fetch that with `git lfs pull`"
    if _WEB_PAGE.match(beginning):
        return "a web page, not the file: what was to be fetched was not there, or needed a login"
    return None


def read_json(path: Path, *, what: str) -> dict[str, Any]:
    """The object in a JSON file of a checkpoint.

    Raises:
        CheckpointError: it is missing, cannot be read, or is something else.
    """
    try:
        data = outside.read_file(path, error=CheckpointError, most=most_bytes(path.name))
    except FileNotFoundError:
        raise CheckpointError(f"{path} is missing: every checkpoint needs {what}") from None
    instead = what_it_is_instead(memoryview(data))
    if instead is not None:
        raise CheckpointError(f"{path} is {instead}")
    parsed = outside.parse_json(data, path, error=CheckpointError)
    if not isinstance(parsed, dict):
        raise CheckpointError(f"{path} holds {type(parsed).__name__} where {what} is an object")
    return parsed
