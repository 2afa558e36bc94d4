"""A checkpoint's `config.json` -> HookedTransformerConfig.

No Hugging Face config object is needed: `architectures/` says what a config means.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig

from pythia_traj.architectures.finding import architecture_of
from pythia_traj.architectures.settings import shape


def hooked_config(
    config: Mapping[str, Any],
    *,
    model: str,
    dtype: torch.dtype,
    device: torch.device,
    default_prepend_bos: bool | None,
) -> HookedTransformerConfig:
    """The HookedTransformerConfig of a checkpoint, with LayerNorms as trained.

    Args:
        config: the parsed `config.json`.
        model: the name for `cfg.model_name`.
        default_prepend_bos: None is TransformerLens's choice, which for GPT-NeoX is not to prepend.

    Raises:
        CheckpointError: another architecture, or a setting that HookedTransformer cannot express.
    """
    architecture = architecture_of(config)
    if default_prepend_bos is None:
        default_prepend_bos = architecture.prepends_bos
    return HookedTransformerConfig(
        **shape(config),
        model_name=model,
        original_architecture=architecture.name,
        default_prepend_bos=default_prepend_bos,
        init_weights=False,
        dtype=dtype,
        device=str(device),
    )


def hook_names(config: Mapping[str, Any]) -> frozenset[str]:
    """The hooks of a checkpoint's model, without memory for its weights.

    Raises:
        CheckpointError: as `hooked_config`.
    """
    nowhere = torch.device("meta")
    cfg = hooked_config(
        config, model="", dtype=torch.float32, device=nowhere, default_prepend_bos=None
    )
    with nowhere, warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="HookedTransformer is deprecated", category=DeprecationWarning
        )
        return frozenset(HookedTransformer(cfg, move_to_device=False).hook_dict)
