"""What does the model write? Continuations of prompts, to be read: the first thing one wants to see of a checkpoint."""

from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from pydantic import BeforeValidator
from transformer_lens import HookedTransformer

from pythia_traj.data.continuations import PROMPTS, PromptTexts
from pythia_traj.engines.decoding import continued, uniform_draws
from pythia_traj.experiment import Count, Passes, Shape, experiment
from pythia_traj.values import Key, Rows

SEPARATED = BeforeValidator(lambda value: tuple(value.split("|")) if isinstance(value, str) else value)
"""Prompts on the command line: `One|Two`, because commas stand in them."""


def passes(_shape: Shape, data: PromptTexts, *, tokens: int, temperature: float, samples: int, **_: object) -> Passes:
    """Each prompt is read once for each continuation, with all but the last of its tokens; in sequences of the prompts' mean length."""
    times = samples if temperature else 1
    groups = data.groups.values()
    mean = sum(group.size for group in groups) / sum(len(group) for group in groups)
    rows = times * sum(len(group) for group in groups)
    return Passes(rows * (mean + tokens - 1) / mean, rows * tokens / mean)


@experiment(version=1, cites="Holtzman et al. 2020", data=PromptTexts, items=True, passes=passes)
def samples(
    model: HookedTransformer,
    data: PromptTexts,
    *,
    prompts: Annotated[tuple[str, ...], SEPARATED] = PROMPTS,
    tokens: Count = 32,
    temperature: Annotated[float, Ge(0)] = 0.0,
    samples: Count = 1,
    bos: bool = False,
    seed: Annotated[int, Ge(0)] = 0,
) -> Rows:
    """Continuations of prompts, greedy or sampled, as a table to be read, with their mean log-probability and share of distinct tokens.

    The table `samples` has a row for each continuation: the prompt, which sample it is, the text up to an end of text, the token ids and
    their mean log-probability. `log_prob` is the mean over a continuation's tokens under the model itself at temperature 1, in nats;
    `distinct` the share of its tokens that are different ones: repetition shows there. Means over prompts, the samples of one averaged;
    the null, `null:shuffled`, continues the prompts' tokens in random order. A seed's draws are the same at every step.

    Args:
        prompts: texts to be continued; on the command line separated by |.
        tokens: that are added.
        temperature: 0 takes the likeliest token, above 0 tokens are drawn.
        samples: continuations of each prompt; one where they are not drawn.
        bos: whether BOS is prepended.
        seed: of the draws, and of the null's order.
    """
    rows = Rows()
    times = samples if temperature else 1
    table: dict[str, list[object]] = {
        name: [] for name in ("prompt_number", "prompt", "sample", "continuation", "token_ids", "log_prob")
    }
    made = _continuations(model, data, times, tokens, temperature, seed)
    for variant, found in zip((None, "null:shuffled"), made, strict=True):
        values: dict[str, list[float]] = {"log_prob": [], "distinct": []}
        for number, (ids, log_probs) in sorted(found.items()):
            means = log_probs.mean(-1)
            values["log_prob"].append(float(means.mean()))
            values["distinct"].append(sum(len(set(row)) for row in ids.tolist()) / ids.numel())
            if variant is None:
                for sample, row in enumerate(ids.tolist()):
                    texts = data.prompts[number], sample, data.text(row), row, float(means[sample])
                    for column, value in zip(table.values(), (number, *texts), strict=True):
                        column.append(value)
        for metric, per_prompt in values.items():
            rows.add_items(Key(metric, variant), per_prompt)
    rows.table("samples", table)
    return rows


Written = dict[int, tuple[torch.Tensor, torch.Tensor]]
"""Token ids and log-probabilities [sample, new] by the number of the prompt."""


def _continuations(
    model: HookedTransformer, data: PromptTexts, times: int, tokens: int, temperature: float, seed: int
) -> tuple[Written, Written]:
    """What follows the prompts and what follows them shuffled; both in one batch, since a step reads all weights for however few rows."""
    real: Written = {}
    shuffled: Written = {}
    device = model.W_E.device
    for group, rows in data.groups.items():
        if group.startswith("shuffled/"):
            continue
        numbers = data.numbers[group]
        both = torch.from_numpy(np.concatenate([rows, data.groups[f"shuffled/{group}"]])).to(device)
        draws = None
        if temperature:
            # A prompt's draws are its own, whatever other prompts there are.
            draws = torch.cat([uniform_draws(seed + number, times, tokens) for number in numbers] * 2).to(device)
        made = continued(model, both.repeat_interleave(times, 0), tokens, draws=draws, temperature=temperature or 1.0)
        ids, log_probs = made.tokens.cpu().view(-1, times, tokens), made.log_prob.cpu().view(-1, times, tokens)
        real |= {number: (ids[i], log_probs[i]) for i, number in enumerate(numbers)}
        shuffled |= {number: (ids[i], log_probs[i]) for i, number in enumerate(numbers, len(numbers))}
    return real, shuffled
