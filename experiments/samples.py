"""What does the model write?

Continuations of prompts, for people to read: the first thing to look at in a checkpoint.
"""

from operator import attrgetter
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from transformer_lens import HookedTransformer

from pythia_traj.data.continuations import BoundPromptTexts, PromptTexts
from pythia_traj.engines.decoding import Continuation, continued, uniform_draws
from pythia_traj.experiment import Count, Passes, Shape, experiment
from pythia_traj.schema import Column
from pythia_traj.values import Key, Rows

SAMPLES = (
    Column("prompt_number", "int32", False, "which prompt, from 0"),
    Column("prompt", "string", False, "its text"),
    Column("sample", "int32", False, "which continuation of it, from 0"),
    Column("continuation", "string", False, "the text that was added, up to an end of text"),
    Column("token_ids", "list<int32>", False, "all tokens that were added"),
    Column("log_prob", "float32", False, "their mean log-probability at temperature 1, in nats"),
)
"""Columns of `tables/samples/`: a row a continuation; those of the control are not kept."""


def passes(
    _shape: Shape, data: BoundPromptTexts, *, temperature: float, samples: int, **_: object
) -> Passes:
    """Every row is read to the end of the longest prompt's continuation, except the last token.

    Passes are counted in sequences of that prompt's length.
    """
    longest, tokens = max(data.lengths), data.parameters.tokens
    rows = 2 * len(data.prompts) * (samples if temperature else 1)
    steps = longest - min(data.lengths) + tokens
    return Passes(rows * (longest + tokens - 1) / longest, rows * steps / longest)


@experiment(
    version=4,
    cites="Holtzman et al. 2020",
    data=PromptTexts(),
    items=True,
    softmax=attrgetter("entries"),
    tables={"samples": SAMPLES},
    passes=passes,
)
def samples(
    model: HookedTransformer,
    data: BoundPromptTexts,
    *,
    temperature: Annotated[float, Ge(0)] = 0.0,
    samples: Count = 1,
    seed: Annotated[int, Ge(0)] = 0,
) -> Rows:
    """Continuations of prompts, with their mean log-probability and share of distinct tokens.

    They are greedy or sampled. The table `samples`, to be read, has a row for each continuation:
    the prompt, which sample it is, the text up to an end of text, the token ids and their mean
    log-probability. `log_prob` is the mean over a continuation's tokens under the model itself at
    temperature 1, in nats; `distinct` the share of its tokens that are different ones: repetition
    shows there. Rows that pad the vocabulary are never written. Means over prompts, the samples of
    one averaged; the control `shuffled` continues the prompts' tokens in random order. A seed's
    draws are the same at every step.

    Args:
        temperature: 0 takes the likeliest token, above 0 tokens are drawn.
        samples: continuations of each prompt; one where they are not drawn.
        seed: of the draws, and of the control's order.
    """
    rows = Rows()
    times = samples if temperature else 1
    table: dict[str, list[object]] = {column.name: [] for column in SAMPLES}
    made = _continuations(model, data, times, temperature, seed)
    for control, found in zip((None, "shuffled"), made, strict=True):
        values: dict[str, list[float]] = {"log_prob": [], "distinct": []}
        for number, (ids, log_probs) in enumerate(zip(found.tokens, found.log_prob, strict=True)):
            means = log_probs.mean(-1)
            values["log_prob"].append(float(means.mean()))
            values["distinct"].append(sum(len(set(row)) for row in ids.tolist()) / ids.numel())
            if control is None:
                for sample, row in enumerate(ids.tolist()):
                    texts = data.prompts[number], sample, data.text(row), row, float(means[sample])
                    for column, value in zip(table.values(), (number, *texts), strict=True):
                        column.append(value)
        for metric, per_prompt in values.items():
            rows.add_items(Key(metric, control=control), per_prompt)
    rows.table("samples", table)
    return rows


def _continuations(
    model: HookedTransformer,
    data: BoundPromptTexts,
    times: int,
    temperature: float,
    seed: int,
) -> tuple[Continuation, Continuation]:
    """What follows the prompts and what follows them shuffled, [prompt, sample, new].

    Both are made in one batch, because each new token reads all weights.
    """
    numbers, tokens = range(len(data.prompts)), data.parameters.tokens
    both = torch.from_numpy(np.concatenate([data.groups["prompts"], data.groups["shuffled"]])).to(
        model.W_E.device
    )
    draws = None
    if temperature:
        # A prompt's draws are its own, whatever other prompts there are.
        draws = torch.cat(
            [uniform_draws(seed, number, times, tokens) for number in numbers] * 2
        ).to(both.device)
    made = continued(
        model,
        both.repeat_interleave(times, 0),
        tokens,
        lengths=[length for length in data.lengths * 2 for _ in range(times)],
        draws=draws,
        temperature=temperature or 1.0,
        entries=data.entries,
    )
    written, log_prob = (
        part.cpu().view(2, len(numbers), times, tokens) for part in (made.tokens, made.log_prob)
    )
    return Continuation(written[0], log_prob[0]), Continuation(written[1], log_prob[1])
