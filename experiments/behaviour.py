"""Does the model do a task? The first question about any circuit, asked at every step.

Beside the task's metrics on its prompts stand those on their corrupted twins, for the same
continuations, and those on the prompts' tokens in random order.
"""

from dataclasses import replace

import numpy as np
from transformer_lens import HookedTransformer

from pythia_traj.bench import CONTROLS, METRICS, TaskBench
from pythia_traj.data.prompts import BoundTaskPrompts, TaskPrompts
from pythia_traj.data.tasks.prompt import TaskBatch
from pythia_traj.experiment import Passes, Shape, experiment
from pythia_traj.values import Key, Rows

_ITEMS_AT_ONCE = 64


def passes(shape: Shape, prompts: BoundTaskPrompts, **_: object) -> Passes:
    """One for each kind of prompts."""
    return Passes(1, 1) * (len(CONTROLS) * prompts.n)


@experiment(
    version=2,
    cites="Wang et al. 2023",
    data=TaskPrompts(),
    items=True,
    softmax=True,
    passes=passes,
)
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
    bench = TaskBench(model, prompts.batches, _ITEMS_AT_ONCE)
    for kind, control in CONTROLS.items():
        for metric in METRICS:
            values = bench.add_baseline(rows, kind, metric)
            _add_templates(rows, Key(metric, control=control), values, bench)
    return rows


def _add_templates(rows: Rows, key: Key, values: np.ndarray, bench: TaskBench[TaskBatch]) -> None:
    """Means by template: templates differ in when they are learnt."""
    of_item = np.array(bench.templates, dtype=object)
    for template in sorted(set(bench.templates) - {""}):
        is_it = of_item == template
        rows.add_mean(replace(key, part=template), values[is_it], bench.design.part(is_it))
