"""Which of its training sequences can a model write by heart?

It reads the beginning of each, and its continuation is compared with the true one.

The default is modules of Python's standard library: models trained on code have seen many of them,
and the toy suite all. A file can hold a model's own training data, or a sample of them.
"""

from typing import Annotated

import torch
from annotated_types import Ge
from transformer_lens import HookedTransformer

from pythia_traj.data.sequences import BoundTrainingSequences, TrainingSequences
from pythia_traj.engines.decoding import continued, matches
from pythia_traj.experiment import Passes, Shape, experiment
from pythia_traj.values import Key, Rows


def passes(_shape: Shape, data: BoundTrainingSequences, **_: object) -> Passes:
    """Each token but the last is read once, and each one that is written unembedded.

    Both are counted as shares of a sequence.
    """
    n, length = data.groups["sequences"].shape
    return Passes(n * (length - 1) / length, n * data.parameters.continuation / length)


@experiment(
    version=2,
    cites="Biderman et al. 2023",
    data=TrainingSequences(),
    items=True,
    softmax=True,
    passes=passes,
)
def memorization(
    model: HookedTransformer,
    data: BoundTrainingSequences,
    *,
    seed: Annotated[int, Ge(0)] | None = None,
) -> Rows:
    """Share of training sequences that greedy decoding repeats, and mean share of matching tokens.

    `match` is the share of the continuation's positions with the true token, `extractible` is 1
    where it is all of them (a sequence that is k-extractible, k the length of the prompt), 0
    elsewhere; means over sequences. No BOS is prepended. The control `permuted` compares with the
    continuation of another sequence: what common tokens match by chance.

    Args:
        seed: of the draw; the sweep's if not given.
    """
    prompt, continuation = data.parameters.prompt, data.parameters.continuation
    tokens = torch.from_numpy(data.groups["sequences"]).to(model.W_E.device)
    written = continued(model, tokens[:, :prompt], continuation).tokens
    rows = Rows()
    for control, true in ((None, tokens), ("permuted", tokens.roll(1, 0))):
        match, extractible = matches(written, true[:, prompt:])
        for metric, values in (("match", match), ("extractible", extractible)):
            key = Key(metric, control=control)
            if control and len(tokens) == 1:
                rows.undefined(key, "there is no other sequence")
            else:
                rows.add_items(key, values.cpu().numpy(), data.design)
    return rows
