"""How the residual stream changes during training.

It measures the stream's similarity to that of other steps, and its shape.

The tokens are the same at every step, one passage a document. The first position is left out: heads
attend to it when they have nothing to do, and its norm is far larger than all others.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Literal

import numpy as np
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
    shifts,
    standardised,
)
from pythia_traj.engines.streams import stream
from pythia_traj.errors import DataError
from pythia_traj.experiment import (
    COMMA_SEPARATED,
    Count,
    Passes,
    ReferenceModels,
    Shape,
    experiment,
)
from pythia_traj.processing import RAW
from pythia_traj.values import Key, Rows

Site = Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"]

Places = dict[str, tuple[Site, int]]
"""Site and layer by the name of its hook."""

PERMUTED, SHUFFLED = "permuted", "shuffled"
"""The controls in which passages are compared with others, and their tokens are shuffled."""

_FEWEST_TOKENS = 4
"""The unbiased estimator divides by n - 3."""


def passes(
    shape: Shape, data: BoundPassages, *, references: Sequence[str], controls: int, **_: object
) -> Passes:
    """One pass over the passages, and one over each way of shuffling them.

    At a sweep's first step there is one more pass for each reference. The logits are not made.
    """
    return Passes(len(data.groups["text"]) * (1 + controls + len(references)), 0)


def check(
    shape: Shape, data: BoundPassages, *, sites: Sequence[Site], skip: int, **_: object
) -> None:
    """Refuses a model without one of the sites, and a `skip` that leaves too few tokens."""
    n, length = data.parameters.n, data.parameters.length
    if n * (length - skip) < _FEWEST_TOKENS or skip >= length:
        raise DataError(
            f"{n} passages of {length} tokens without the first {skip} leave too few: set skip"
            " lower"
        )
    lacking = next((site for site in sites if not shape.has(site)), None)
    if lacking is not None:
        raise DataError(
            f"this model has no {lacking}: in a parallel model attention and MLP read the same"
            " residual stream: leave it out of sites"
        )


@experiment(
    version=2,
    cites="Kornblith et al. 2019; Nguyen et al. 2021; Ethayarajh 2019",
    data=Passages(length=64),
    processing=RAW,
    items=True,
    passes=passes,
    check=check,
)
def representation(
    model: HookedTransformer,
    data: BoundPassages,
    reference_models: ReferenceModels,
    *,
    references: Annotated[tuple[str, ...], COMMA_SEPARATED] = ("init", "final"),
    sites: Annotated[tuple[Site, ...], COMMA_SEPARATED] = ("resid_post",),
    skip: Annotated[int, Ge(0)] = 1,
    controls: Count = 5,
    seed: Annotated[int, Ge(0)] | None = None,
) -> Rows:
    """CKA and cosine of layers' activations with named steps', participation ratio and anisotropy.

    `cka` and `mean_cosine` are with the `reference`, `cka` also `biased`; their control `permuted`
    compares each token with the one at its position in another passage. `participation_ratio` is
    `centred` or `uncentred`; `anisotropy` is the mean cosine between tokens of different documents;
    the control of both, `shuffled`, is the same on tokens that are shuffled in each passage. A
    control is the mean over `n` ways to pair or to shuffle, its spread is under the metric's name
    and `_sd`. `component` is the site; weights are as trained, so that the residual stream is that
    of other libraries.

    Args:
        references: steps to compare with: init, final, previous, step:512.
        sites: whose activations: resid_pre, resid_mid, resid_post, attn_out, mlp_out.
        skip: so many positions at the beginning of a passage are left out.
        controls: ways to shuffle passages, one more pass each, and to pair them with others: of
            those at most half as many as there are passages.
        seed: of the passages and the shuffled ones; the sweep's if not given.
    """
    rows = Rows()
    places = _places(model, sites)
    with torch.inference_mode():
        own = _activations(model, data.groups["text"], places, skip)
        _add_shape(rows, places, own)
        _add_shuffled(
            rows,
            places,
            (
                _activations(model, tokens, places, skip)
                for tokens in _shuffled(data.groups["shuffled"], controls)
            ),
        )
        moved = shifts(data.parameters.n, controls)
        for reference in references:
            # The first step has no `previous`.
            if reference in reference_models:
                theirs = reference_models.once(
                    reference, lambda other: _activations(other, data.groups["text"], places, skip)
                )
                _compare(rows, own, theirs, places, reference, moved)
    return rows


def _places(model: HookedTransformer, sites: Sequence[Site]) -> Places:
    return {
        get_act_name(site, layer): (site, layer)
        for site in sites
        for layer in range(model.cfg.n_layers)
    }


def _activations(
    model: HookedTransformer, tokens: np.ndarray, places: Places, skip: int
) -> dict[str, Tensor]:
    on_device = torch.from_numpy(tokens).to(model.W_E.device)
    found = collect(model, on_device, list(places))
    return {name: found[name][:, skip:] for name in places}


def _shuffled(tokens: np.ndarray, controls: int) -> Iterator[np.ndarray]:
    """The passages in random order of their tokens, in so many ways.

    What is shuffled already, and the same shuffled again.
    """
    yield tokens
    for number in range(1, controls):
        yield stream(0, "shuffled passages", number).permuted(tokens, axis=1)


def _participation_ratios(activations: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of each site and layer, centred and uncentred [place]."""
    kinds = {"centred": True, "uncentred": False}
    return {
        kind: torch.stack(
            [participation_ratio(x.flatten(0, 1), centred=centred) for x in activations.values()]
        )
        for kind, centred in kinds.items()
    }


def _anisotropies(activations: Mapping[str, Tensor]) -> Tensor:
    """Of each site and layer and of each document [place, document]."""
    return torch.stack([anisotropy(x) for x in activations.values()]).cpu()


def _add_shape(rows: Rows, places: Places, activations: Mapping[str, Tensor]) -> None:
    """Rows of the measures of one set of activations."""
    ratios = {kind: of.tolist() for kind, of in _participation_ratios(activations).items()}
    for i, (values, place) in enumerate(
        zip(_anisotropies(activations), places.values(), strict=True)
    ):
        for kind, found in ratios.items():
            rows.add(Key("participation_ratio", kind, *place), found[i])
        # A mean over pairs: each document is also in the values of all others, which doubles the
        # standard error.
        n = len(values)
        stderr = 2 * float(values.std()) / n**0.5
        of_pairs = with_error(float(values.mean()), stderr, n, clusters=n)
        rows.add_found(Key("anisotropy", None, *place), of_pairs)


def _add_shuffled(rows: Rows, places: Places, draws: Iterator[Mapping[str, Tensor]]) -> None:
    """Rows of the same measures of shuffled tokens, over several ways to shuffle them."""
    ratios, documents = [], []
    for activations in draws:
        ratios.append(_participation_ratios(activations))
        documents.append(_anisotropies(activations).double().mean(1))
    for i, place in enumerate(places.values()):
        for kind in ratios[0]:
            key = Key("participation_ratio", kind, *place, control=SHUFFLED)
            rows.add_draws(key, [float(found[kind][i]) for found in ratios])
        key = Key("anisotropy", None, *place, control=SHUFFLED)
        rows.add_draws(key, [float(means[i]) for means in documents])


def _compare(
    rows: Rows,
    own: Mapping[str, Tensor],
    theirs: Mapping[str, Tensor],
    places: Places,
    reference: str,
    moved: Sequence[int],
) -> None:
    """Rows of the similarity of two models' activations, and of one token's to another's."""
    for name, x in own.items():
        site, layer = places[name]
        y = theirs[name]
        ours, others = (standardised(one.flatten(0, 1)) for one in (x, y))
        alone = hsic(ours, ours), hsic(others, others)
        cosines = Key("mean_cosine", None, site, layer, reference=reference)
        rows.add_items(cosines, cosine(x, y).mean(1).cpu().numpy())
        drawn = [cosine(x, y.roll(by, 0)).mean(1).double() for by in moved]
        rows.add_draws(replace(cosines, control=PERMUTED), torch.stack(drawn).cpu().numpy())
        # [the same passage and others, unbiased and biased]
        found = torch.stack(
            [cka(hsic(ours, others.roll(by * y.shape[1], 0)), *alone) for by in (0, *moved)]
        ).cpu()
        for kind, values in zip((None, "biased"), found.double().numpy().T, strict=True):
            key = replace(cosines, metric="cka", variant=kind)
            _add(rows, key, values[:1])
            _add(rows, replace(key, control=PERMUTED), values[1:])


def _add(rows: Rows, key: Key, values: np.ndarray) -> None:
    """A measurement, or the draws of its control."""
    if np.isnan(values).any():
        rows.undefined(key, "the activations of one of the two do not vary")
    elif key.control is None:
        rows.add(key, float(values[0]))
    else:
        rows.add_draws(key, values)
