"""At which layer is the prediction made?

Every layer's residual stream is read as if it were the last. The logit lens is the model's own
final LayerNorm and unembedding. The tuned lens first moves the residual stream by a translator. It
is trained at each step from 0, so a step's numbers do not depend on other steps.
"""

from collections.abc import Iterator

import torch
from torch import Tensor
from transformer_lens import HookedTransformer

from pythia_traj.data.lens import BoundLensText, LensText
from pythia_traj.engines import lens
from pythia_traj.experiment import Activations, Passes, Shape, experiment
from pythia_traj.processing import RAW
from pythia_traj.values import ItemValues, Key


def passes(shape: Shape, text: BoundLensText, **_: object) -> Passes:
    """One pass over every sequence.

    Each layer is unembedded for each lens; with gradients that costs three times as much.
    """
    measured, length = (
        sum(len(group) for group in text.groups.values()),
        text.groups["text"].shape[1],
    )
    lenses = measured * (1 + shape.n_layers) * (2 if text.parameters.updates else 1)
    trained = len(text.train) * (1 + 3 * (shape.n_layers - 1))
    return Passes(
        measured + len(text.train), (lenses + trained) * text.parameters.positions / length
    )


@experiment(
    version=3,
    cites="nostalgebraist 2020; Belrose et al. 2023",
    data=LensText(),
    reads=("resid_post",),
    groups="every",
    processing=RAW,
    items=True,
    softmax=True,
    passes=passes,
)
def logit_lens(
    acts: Activations[BoundLensText],
) -> ItemValues:
    """What each layer's residual stream predicts, by the logit lens and by a tuned lens.

    After each layer, beside the model's own output: `cross_entropy` of the next token; `kl` from
    the model's own distribution to the lens, KL(final || lens), 0 at the last layer; `agreement`,
    the share of positions where both have the same first choice; `entropy` of the lens. The variant
    is `logit`, and where translators are trained `tuned`: h + A h + b, from 0, on documents that
    are not measured, at this step alone. The control `shuffled` is the same after shuffled tokens.
    """
    values = ItemValues()
    translators = {"logit": acts.once("logit", lambda: lens.identity(acts.model))}
    if acts.data.parameters.updates:
        translators["tuned"] = acts.once("tuned", lambda: _train(acts.model, acts.data))
    at = torch.from_numpy(acts.data.positions[acts.group][acts.items]).to(acts.tokens.device)
    residual = lens.at_positions(acts.layers("resid_post"), at).flatten(1, 2)
    targets = acts.tokens.gather(1, at + 1).flatten()
    control = None if acts.group == "text" else acts.group
    for variant, translator in translators.items():
        for metric, by_layer in lens.measure(acts.model, residual, targets, translator).items():
            for layer, per_item in enumerate(by_layer.reshape(-1, *at.shape).mean(-1)):
                values.add(Key(metric, variant, "resid_post", layer, control=control), per_item)
    return values


def _train(model: HookedTransformer, text: BoundLensText) -> lens.Translators:
    # The shared pass runs in inference mode, in which nothing can have a gradient.
    with torch.inference_mode(mode=False):
        return lens.train(model, _batches(model, text), text.parameters.updates)


def _batches(model: HookedTransformer, text: BoundLensText) -> Iterator[Tensor]:
    """The residual streams of so many sequences at a time [layer, item x read, d_model]."""
    device, size = model.W_U.device, text.parameters.batch
    for start in range(0, len(text.train), size):
        some = torch.from_numpy(text.train[start : start + size]).to(device)
        at = torch.from_numpy(text.positions["train"][start : start + size]).to(device)
        yield lens.residuals(model, some, at).flatten(1, 2)
