"""Does the model do a task? The first question about any circuit, asked at every step.

Beside the task's metrics on its prompts stand those on their corrupted twins, for the same
continuations, and those on the prompts' tokens in random order.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from transformer_lens import HookedTransformer

from pythia_traj.data.prompts import BoundTaskPrompts, TaskPrompts
from pythia_traj.engines.answers import AnswerScores, answer_scores
from pythia_traj.experiment import Passes, Shape, experiment
from pythia_traj.values import Key, Rows

METRICS = ("logit_diff", "prob_diff", "accuracy", "rank0", "nll")
PROMPTS = {None: "clean", "corrupted": "corrupted", "shuffled": "shuffled"}
"""Which prompts stand behind a control, and behind what is measured."""

_FIELDS = {"accuracy": "correct"}
_ITEMS_AT_ONCE = 64


def passes(shape: Shape, prompts: BoundTaskPrompts, **_: object) -> Passes:
    """One for each kind of prompts."""
    return Passes(1, 1) * (len(PROMPTS) * prompts.n)


@experiment(version=1, cites="Wang et al. 2023", data=TaskPrompts(n=100), items=True, passes=passes)
def behaviour(
    model: HookedTransformer,
    prompts: BoundTaskPrompts,
) -> Rows:
    """Logit difference, probability difference, accuracy, rank-0 rate and loss on a task's prompts.

    `logit_diff` is right minus wrong continuation (the mean over each where there are several),
    `prob_diff` the sum of probabilities of the right minus that of the wrong ones over the whole
    vocabulary, `accuracy` the share of items with a positive `prob_diff`, `rank0` the share whose
    first choice is a right one, `nll` the loss on the right ones in nats. `repeats` has no wrong
    ones: its `logit_diff` is above the mean over the vocabulary, its `accuracy` is `rank0`, and all
    are means over the second copy. Rows with a `part` are those of one template. The controls are
    the same continuations after the corrupted prompts (`corrupted`) and after the prompts' tokens
    in random order (`shuffled`). Prompts that the tokenizer does not allow are dropped; how many,
    and why, stands in the unit's footer.
    """
    rows = Rows()
    for control, name in PROMPTS.items():
        values: dict[str, list[tuple[int, float]]] = {metric: [] for metric in METRICS}
        templates: dict[int, str] = {}
        for numbers, labels, scores in _scored(model, prompts, name):
            templates |= dict(zip(numbers, labels, strict=True))
            for metric in METRICS:
                column = getattr(scores, _FIELDS.get(metric, metric)).tolist()
                values[metric] += zip(numbers, column, strict=True)
        for metric in METRICS:
            in_order = [value for _, value in sorted(values[metric])]
            rows.add_items(Key(metric, control=control), in_order)
            _add_templates(rows, Key(metric, control=control), values[metric], templates)
    return rows


def _scored(
    model: HookedTransformer, prompts: BoundTaskPrompts, name: str
) -> Iterator[tuple[list[int], tuple[str, ...], AnswerScores]]:
    """Numbers, templates and scores of the items, batch by batch.

    The unembedding is applied at the positions that are read only.
    """
    for batch in (part for whole in prompts.batches for part in whole.parts(_ITEMS_AT_ONCE)):
        arrays = (getattr(batch, name), batch.reads, batch.candidates, batch.is_right)
        tokens, reads, candidates, is_right = (
            torch.from_numpy(array).to(model.W_E.device) for array in arrays
        )
        with torch.inference_mode():
            residual = model(tokens, stop_at_layer=model.cfg.n_layers)
            scores = answer_scores(
                model.unembed(model.ln_final(residual[:, reads])), candidates, is_right
            )
        yield batch.item.tolist(), batch.templates, scores


def _add_templates(
    rows: Rows, key: Key, values: list[tuple[int, float]], templates: dict[int, str]
) -> None:
    """Means by template: templates differ in when they are learnt."""
    by_template: dict[str, list[float]] = {}
    for number, value in sorted(values):
        by_template.setdefault(templates[number], []).append(value)
    for template, members in sorted(by_template.items()):
        if template:
            rows.add_mean(replace(key, part=template), members)
