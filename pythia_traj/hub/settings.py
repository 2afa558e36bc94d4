"""Config and tokenizer of a step: `main`'s, where the step's own say the same in other words.

A model is trained with one config and one tokenizer. Branches that were saved again differ from
`main` in token ids and metadata (the sharded branches of pythia-2.8b name another end of text):
then `main`'s are right. A difference that changes the forward pass, or the tokens of a text, is an
error: that step's files contradict the model's.
"""

from collections.abc import Mapping
from typing import Any

from pythia_traj.architectures.settings import differences


def contradictions(own: Mapping[str, Any], main: Mapping[str, Any]) -> list[str]:
    """The settings in which two configs compute different things, each with both values.

    Raises:
        CheckpointError: one of them is not of a supported architecture.
    """
    return [
        f"{key} {ours!r}, main's {theirs!r}" for key, ours, theirs in sorted(differences(own, main))
    ]


def have_same_vocabulary(own: Mapping[str, Any], main: Mapping[str, Any]) -> bool:
    """Whether two parsed `tokenizer.json` know the same tokens and merge them alike."""
    return _vocabulary(own) == _vocabulary(main)


def _vocabulary(tokenizer: Mapping[str, Any]) -> tuple[Any, ...]:
    model = tokenizer.get("model")
    if not isinstance(model, dict):
        return (model,)
    merges = model.get("merges")
    if isinstance(merges, list):
        # tokenizers wrote a merge as "a b" before 0.20, and as ["a", "b"] since.
        merges = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    return model.get("type"), model.get("vocab"), merges
