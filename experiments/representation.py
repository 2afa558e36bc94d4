"""How the residual stream changes during training.

It measures the stream's similarity to that of other steps, and its shape.

The tokens are the same at every step, one passage a document. The first position is left out: heads
attend to it when they have nothing to do, and its norm is far larger than all others.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal

import torch
from annotated_types import Ge
from torch import Tensor
from transformer_lens import HookedTransformer
from transformer_lens.utilities import get_act_name

from pythia_traj.data.passages import BoundPassages, Passages
from pythia_traj.engines.means import with_error
from pythia_traj.engines.representations import (
    anisotropy,
    cka,
    collect,
    cosine,
    hsic,
    participation_ratio,
    standardised,
)
from pythia_traj.errors import DataError
from pythia_traj.experiment import COMMA_SEPARATED, Passes, ReferenceModels, Shape, experiment
from pythia_traj.processing import RAW
from pythia_traj.values import Key, Rows

Site = Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"]

Places = dict[str, tuple[Site, int]]
"""Site and layer by the name of its hook."""

_FEWEST_TOKENS = 4
"""The unbiased estimator divides by n - 3."""


def passes(shape: Shape, data: BoundPassages, *, references: Sequence[str], **_: object) -> Passes:
    """One pass over the passages, one over them shuffled.

    At a sweep's first step there is one more pass for each reference. The logits are not made.
    """
    return Passes(len(data.groups["text"]) * (2 + len(references)), 0)


@experiment(
    version=2,
    cites="Kornblith et al. 2019; Nguyen et al. 2021; Ethayarajh 2019",
    data=Passages(length=64),
    processing=RAW,
    items=True,
    passes=passes,
)
def representation(
    model: HookedTransformer,
    data: BoundPassages,
    reference_models: ReferenceModels,
    *,
    references: Annotated[tuple[str, ...], COMMA_SEPARATED] = ("init", "final"),
    sites: Annotated[tuple[Site, ...], COMMA_SEPARATED] = ("resid_post",),
    skip: Annotated[int, Ge(0)] = 1,
    seed: Annotated[int, Ge(0)] | None = None,
) -> Rows:
    """CKA and cosine of layers' activations with named steps', participation ratio and anisotropy.

    `cka` and `mean_cosine` are with the `reference`, `cka` also `biased`; their control `permuted`
    compares each token with the one at its position in another passage. `participation_ratio` is
    `centred` or `uncentred`; `anisotropy` is the mean cosine between tokens of different documents;
    the control of both, `shuffled`, is the same on shuffled tokens. `component` is the site;
    weights are as trained, so that the residual stream is that of other libraries.

    Args:
        references: steps to compare with: init, final, previous, step:512.
        sites: whose activations: resid_pre, resid_mid, resid_post, attn_out, mlp_out.
        skip: so many positions at the beginning of a passage are left out.
        seed: of the passages and the control; the sweep's if not given.
    """
    n, length = data.parameters.n, data.parameters.length
    if n * (length - skip) < _FEWEST_TOKENS or skip >= length:
        raise DataError(
            f"representation: {n} passages of {length} tokens without the first {skip} leave too"
            " few: set skip lower"
        )
    rows = Rows()
    places = _places(model, sites)
    with torch.inference_mode():
        own = _activations(model, data, "text", places, skip)
        _shape(rows, own, places, control=None)
        shuffled = _activations(model, data, "shuffled", places, skip)
        _shape(rows, shuffled, places, control="shuffled")
        # The same position of another passage, half of all passages further on.
        moved = n // 2
        for reference in references:
            # The first step has no `previous`.
            if reference in reference_models:
                theirs = reference_models.once(
                    reference, lambda other: _activations(other, data, "text", places, skip)
                )
                _compare(rows, own, theirs, places, reference, moved)
    return rows


def _places(model: HookedTransformer, sites: Sequence[Site]) -> Places:
    places: Places = {
        get_act_name(site, layer): (site, layer)
        for site in sites
        for layer in range(model.cfg.n_layers)
    }
    lacking = next(
        (site for name, (site, _) in places.items() if name not in model.hook_dict), None
    )
    if lacking is not None:
        raise DataError(
            f"representation: this model has no {lacking}: in a parallel model attention and MLP"
            " read the same residual stream"
        )
    return places


def _activations(
    model: HookedTransformer, data: BoundPassages, group: str, places: Places, skip: int
) -> dict[str, Tensor]:
    tokens = torch.from_numpy(data.groups[group]).to(model.W_E.device)
    return {name: found[:, skip:] for name, found in collect(model, tokens, list(places)).items()}


def _shape(
    rows: Rows, activations: Mapping[str, Tensor], places: Places, *, control: str | None
) -> None:
    """Rows of the measures of one set of activations."""
    measures: dict[str, Callable[[Tensor], Tensor]] = {
        "centred": lambda x: participation_ratio(x.flatten(0, 1)),
        "uncentred": lambda x: participation_ratio(x.flatten(0, 1), centred=False),
    }
    ratios = {
        kind: torch.stack([measure(x) for x in activations.values()]).tolist()
        for kind, measure in measures.items()
    }
    documents = torch.stack([anisotropy(x) for x in activations.values()]).cpu()
    for i, (site, layer) in enumerate(places[name] for name in activations):
        for kind, values in ratios.items():
            rows.add(Key("participation_ratio", kind, site, layer, control=control), values[i])
        n = documents.shape[1]
        # A mean over pairs: each document is also in the values of all others, which doubles the
        # standard error.
        stderr = 2 * float(documents[i].std()) / n**0.5
        key = Key("anisotropy", None, site, layer, control=control)
        rows.add_found(key, with_error(float(documents[i].mean()), stderr, n, clusters=n))


def _compare(
    rows: Rows,
    own: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
    places: Places,
    reference: str,
    moved: int,
) -> None:
    """Rows of the similarity of two models' activations, and of one token's to another's."""
    for name, x in own.items():
        site, layer = places[name]
        y = theirs[name]
        ours, others = (standardised(one.flatten(0, 1)) for one in (x, y))
        alone = hsic(ours, ours), hsic(others, others)
        pairs = {
            None: (y, others),
            "permuted": (y.roll(moved, 0), others.roll(moved * y.shape[1], 0)),
        }
        for control, (activation, features) in pairs.items():
            cosines = Key("mean_cosine", None, site, layer, control=control, reference=reference)
            found = cka(hsic(ours, features), *alone).tolist()
            for kind, value in zip((None, "biased"), found, strict=True):
                key = replace(cosines, metric="cka", variant=kind)
                if value == value:
                    rows.add(key, value)
                else:
                    rows.undefined(key, "the activations of one of the two do not vary")
            rows.add_items(cosines, cosine(x, activation).mean(1).cpu().numpy())
