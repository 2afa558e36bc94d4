"""Activations as files, for autoencoders and probes elsewhere.

The tokens are the same in the same order, at every step and of every model. The file's size is
limited: whole sequences are left out, from the end, until it fits the budget.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Len
from torch import Tensor
from transformer_lens.utilities import get_act_name

from pythia_traj.data.text import BoundTextTokens, TextTokens
from pythia_traj.errors import DataError
from pythia_traj.experiment import COMMA_SEPARATED, Activations, Count, Passes, Shape, experiment
from pythia_traj.processing import RAW
from pythia_traj.values import ItemValues, Key

Site = Literal[
    "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "q", "k", "v", "z", "pre", "post"
]
FileType = Literal["float32", "float16"]

_TYPES = {"float32": torch.float32, "float16": torch.float16}


def reads(*, sites: Sequence[Site], layers: Sequence[int], **_: object) -> tuple[str, ...]:
    """The sites, or the hooks of the chosen layers."""
    return tuple(get_act_name(site, layer) for site in sites for layer in layers) or tuple(sites)


def passes(
    shape: Shape,
    data: BoundTextTokens,
    *,
    sites: Sequence[Site],
    layers: Sequence[int],
    budget: int,
    file_type: FileType,
    **_: object,
) -> Passes:
    """One pass over each sequence, up to the last layer that is read; the file is held."""
    share = (max(layers) + 1) / shape.n_layers if layers else 1.0
    n, length = data.groups["text"].shape
    each = _bytes_of_a_sequence(shape, length, sites, layers, file_type)
    sequences = sum(len(group) for group in data.groups.values())
    return Passes(sequences * min(share, 1.0), 0, held=min(budget // each, n) * each)


def check(
    shape: Shape,
    data: BoundTextTokens,
    *,
    sites: Sequence[Site],
    layers: Sequence[int],
    budget: int,
    file_type: FileType,
    **_: object,
) -> None:
    """Refuses a budget that holds no sequence."""
    each = _bytes_of_a_sequence(shape, data.groups["text"].shape[1], sites, layers, file_type)
    if each > budget:
        raise DataError(
            f"one sequence takes {each} bytes, the budget is {budget}: read fewer sites or layers,"
            " or raise budget"
        )


@experiment(
    version=3,
    cites="Bricken et al. 2023",
    data=TextTokens(),
    reads=reads,
    groups="every",
    processing=RAW,
    items=True,
    passes=passes,
    check=check,
)
def activations(
    acts: Activations[BoundTextTokens],
    *,
    sites: Annotated[tuple[Site, ...], COMMA_SEPARATED, Len(1)] = ("resid_post",),
    layers: Annotated[tuple[Annotated[int, Ge(0)], ...], COMMA_SEPARATED] = (),
    budget: Count = 512_000_000,
    file_type: FileType = "float32",
    seed: Annotated[int, Ge(0)] | None = None,
) -> ItemValues:
    """Activations of chosen sites on fixed tokens, as a safetensors file a step, and their RMS.

    The file is `tables/activations/model=.../label=.../step-000512.safetensors`. It holds `tokens`
    [sequence, pos], and each activation under the name of its hook, such as
    `blocks.3.hook_resid_post` [sequence, pos, d_model]; a head's have
    [sequence, pos, head, d_head]. Weights are as trained. `rms` is the root mean square of an
    activation over positions and features, mean over the sequences that are in the file, by
    `component` and `layer`; its control `shuffled` is that on shuffled tokens, which are not
    written.

    Args:
        sites: which activations, by TransformerLens's short names.
        layers: of which layers; all if none is given.
        budget: bytes that a step's file may have, its header not counted; where it is too small,
            fewer sequences are written, from the beginning.
        file_type: float32 or float16; in the latter, values beyond 65504 are written as that.
        seed: of the draw of sequences; the sweep's if not given.
    """
    sites, layers = tuple(dict.fromkeys(sites)), tuple(dict.fromkeys(layers))
    is_written = acts.group == "text"
    tokens = acts.tokens
    if is_written:
        shape, length = Shape.of(acts.model), tokens.shape[1]
        each = _bytes_of_a_sequence(shape, length, sites, layers, file_type)
        tokens = tokens[: max(0, budget // each - acts.first)]
    values = ItemValues(items=len(tokens))
    if not len(tokens):
        return values
    for site in sites:
        for layer in layers or range(acts.model.cfg.n_layers):
            hook = get_act_name(site, layer)
            activation = _made(acts.hooked(hook)[: len(tokens)], file_type)
            control = None if is_written else "shuffled"
            key = Key("rms", component=site, layer=layer, control=control)
            values.add(key, _rms(activation))
            if is_written:
                values.add_tensor("activations", hook, activation)
    if is_written:
        values.add_tensor("activations", "tokens", tokens.int())
    return values


def _bytes_of_a_sequence(
    shape: Shape, length: int, sites: Sequence[Site], layers: Sequence[int], file_type: FileType
) -> int:
    """In the file, with its tokens."""
    width = (len(set(layers)) or shape.n_layers) * sum(_width(shape, site) for site in set(sites))
    return length * (width * _TYPES[file_type].itemsize + 4)


def _width(shape: Shape, site: Site) -> int:
    if site in ("pre", "post"):
        return shape.d_mlp
    return shape.n_heads * shape.d_head if site in ("q", "k", "v", "z") else shape.d_model


def _made(activation: Tensor, file_type: FileType) -> Tensor:
    """In the type of the file."""
    kind = _TYPES[file_type]
    limit = torch.finfo(kind).max
    return activation.float().clamp(-limit, limit).to(kind).cpu()


def _rms(activation: Tensor) -> Tensor:
    """Root mean square of each sequence [sequence]."""
    return activation.float().flatten(1).square().mean(1).sqrt()
