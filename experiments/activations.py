"""Activations as files, for autoencoders and probes elsewhere: the same tokens in the same order at every step and of every model.

How much is written is bounded before anything is run: whole sequences are left out, from the end, until the file keeps to its budget.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Ge
from torch import Tensor
from transformer_lens import HookedTransformer
from transformer_lens.utilities import get_act_name

from pythia_traj.data.text import TextTokens
from pythia_traj.engines.representations import collect
from pythia_traj.errors import DataError
from pythia_traj.experiment import COMMA_SEPARATED, Count, Passes, Shape, experiment
from pythia_traj.processing import RAW
from pythia_traj.values import Key, Rows

Site = Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "q", "k", "v", "z", "pre", "post"]
FileType = Literal["float32", "float16"]

_TYPES = {"float32": torch.float32, "float16": torch.float16}


def passes(shape: Shape, data: TextTokens, *, layers: Sequence[int], **_: object) -> Passes:
    """At most one pass over each sequence, up to the last layer that is read; a budget may leave some out."""
    share = (max(layers) + 1) / shape.n_layers if layers else 1.0
    return Passes(sum(len(group) for group in data.groups.values()) * min(share, 1.0), 0)


@experiment(version=1, cites="Bricken et al. 2023", data=TextTokens, processing=RAW, items=True, passes=passes)
def activations(
    model: HookedTransformer,
    data: TextTokens,
    *,
    n: Count = 64,
    length: Count = 128,
    sites: Annotated[tuple[Site, ...], COMMA_SEPARATED] = ("resid_post",),
    layers: Annotated[tuple[Annotated[int, Ge(0)], ...], COMMA_SEPARATED] = (),
    budget: Count = 512_000_000,
    file_type: FileType = "float32",
    null_n: Count = 4,
    source: str = "stdlib",
    column: str = "text",
    bos: bool = False,
    seed: int | None = None,
) -> Rows:
    """Activations of chosen sites on fixed tokens, written to a safetensors file a step, and their root mean square.

    The file is `tables/activations/model=.../experiment=.../step-000512.safetensors`. It holds `tokens` [sequence, pos], and each
    activation under the name of its hook, such as `blocks.3.hook_resid_post` [sequence, pos, d_model]; a head's have
    [sequence, pos, head, d_head]. Weights are as trained. `rms` is the root mean square of an activation over positions and features,
    mean over the `n` sequences that are in the file; its null, `null:shuffled`, is that on shuffled tokens, which are not written.

    Args:
        n: sequences of text, in the same order at every step; fewer, from the beginning, where the budget is too small.
        length: tokens of a sequence, BOS included.
        sites: which activations, by TransformerLens's short names.
        layers: of which layers; all if none is given.
        budget: bytes that a step's file may have, its header not counted.
        file_type: float32 or float16; in the latter, values beyond 65504 are written as that.
        null_n: sequences whose tokens are shuffled.
        source: what text: stdlib, a .txt, .jsonl or .parquet file, hf:org/name@commit, hf:DIR.
        column: the column of a table that holds it.
        bos: whether BOS is prepended.
        seed: of the draw of sequences; the sweep's if not given.
    """
    names = {get_act_name(site, layer): (site, layer) for site in sites for layer in _layers(model, layers)}
    lacking = next((site for name, (site, _) in names.items() if name not in model.hook_dict), None)
    if lacking is not None:
        raise DataError(
            f"activations: this model has no {lacking}: in a parallel model attention and MLP read the same residual stream"
        )
    text = data.groups["text"]
    kept = text[: _fitting(model, sites, len(names) // len(sites), text, budget, file_type)]
    written = _collected(model, kept, list(names), file_type)
    shuffled = _collected(model, data.groups["shuffled"], list(names), file_type)
    rows = Rows()
    for variant, arrays in ((None, written), ("null:shuffled", shuffled)):
        for name, (site, layer) in names.items():
            rows.add_items(Key("rms", variant, component=site, layer=layer), _rms(arrays[name]))
    rows.tensors("activations", {"tokens": kept.astype(np.int32), **{name: a.numpy() for name, a in written.items()}})
    return rows


def _layers(model: HookedTransformer, layers: Sequence[int]) -> Sequence[int]:
    if layers and max(layers) >= model.cfg.n_layers:
        raise DataError(f"activations: layer {max(layers)}: the model has {model.cfg.n_layers} layers")
    return layers or range(model.cfg.n_layers)


def _fitting(
    model: HookedTransformer, sites: Sequence[Site], n_layers: int, text: np.ndarray, budget: int, file_type: FileType
) -> int:
    """How many sequences the budget holds, of the tokens' own bytes too."""
    cfg = model.cfg
    widths = {"pre": cfg.d_mlp, "post": cfg.d_mlp} | dict.fromkeys(("q", "k", "v", "z"), cfg.n_heads * cfg.d_head)
    width = n_layers * sum(widths.get(site, cfg.d_model) for site in sites)
    each = text.shape[1] * (width * _TYPES[file_type].itemsize + 4)
    if each > budget:
        raise DataError(
            f"activations: one sequence takes {each} bytes, the budget is {budget}: read fewer sites or layers, or raise it"
        )
    return min(len(text), budget // each)


@torch.inference_mode()
def _collected(
    model: HookedTransformer, tokens: np.ndarray, names: Sequence[str], file_type: FileType
) -> dict[str, Tensor]:
    kind = _TYPES[file_type]
    limit = torch.finfo(kind).max

    def make(activation: Tensor) -> Tensor:
        return activation.float().clamp(-limit, limit).to(kind).cpu()

    return collect(model, torch.from_numpy(tokens).to(model.W_E.device), names, make=make)


def _rms(activation: Tensor) -> np.ndarray:
    """Root mean square of each sequence, one after another: all at once would be a second copy."""
    return np.array([float(one.float().square().mean().sqrt()) for one in activation])
