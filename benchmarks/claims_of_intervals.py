"""How often 95 % intervals cover the mean that they are of: the part of claims.py on intervals.

Values are simulated on the items that tasks and text have: what templates add is fixed, what a
cluster adds and what an item adds is drawn anew each time, with equal spread. The mean to be
covered is that of the templates.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
from tokenizers import Regex, Tokenizer, models, pre_tokenizers

from pythia_traj.bench import design_of
from pythia_traj.data.prompts import TaskPrompts
from pythia_traj.data.tasks import agreement, greater_than, ioi, pronoun
from pythia_traj.data.tasks.prompt import EVALUATION, Prompt
from pythia_traj.data.text import TextTokens
from pythia_traj.engines.means import Design, mean
from pythia_traj.engines.streams import stream
from pythia_traj.experiment import Vocabulary

REPETITIONS, SEEDS = 1000, 10
"""Simulated repetitions, and how many draws of items they are spread over."""

FEWEST = 20
"""Intervals of at least so many clusters are to cover 93 to 97 %."""

PIECES = r" ?[A-Za-z']+| ?\d{1,2}|[^\w\s]"


def coverage() -> tuple[dict[str, float], dict[str, float]]:
    """Shares of repetitions in which the interval covers, by what it is of and its clusters.

    Returns:
        those of at least FEWEST clusters, and those of fewer.
    """
    enough: dict[str, float] = {}
    fewer: dict[str, float] = {}
    for name, designs in _designs():
        clusters = min(design.n_clusters for design in designs)
        (enough if clusters >= FEWEST else fewer)[f"{name}_of_{clusters}"] = covered(designs)
    return enough, fewer


def covered(designs: Sequence[Design], repetitions: int = REPETITIONS) -> float:
    """How often the interval covers, over repetitions that take the designs in turn."""
    count = 0
    for number in range(repetitions):
        rng, design = stream(number, "claims"), designs[number % len(designs)]
        cluster = np.unique(design.cluster, return_inverse=True)[1]
        of_template = 3 * rng.normal(size=int(design.stratum.max()) + 1)[design.stratum]
        of_cluster = rng.normal(size=int(cluster.max()) + 1)[cluster]
        found = mean(of_template + of_cluster + rng.normal(size=len(cluster)), design)
        assert found.low is not None
        assert found.high is not None
        count += found.low <= of_template.mean() <= found.high
    return count / repetitions


def _designs() -> Iterator[tuple[str, list[Design]]]:
    vocabulary = _words()
    for task in ("ioi", "greater_than", "agreement", "agreement_attractor", "pronoun", "repeats"):
        for n in (None, 32):
            drawn = [
                TaskPrompts(task=task, n=n).bind(vocabulary, seed=seed) for seed in range(SEEDS)
            ]
            whole = [design_of(data.batches) for data in drawn]
            halves = [design_of(data.batches, half=EVALUATION) for data in drawn]
            items = len(whole[0].cluster)
            yield f"{task}_{items}", whole
            yield f"{task}_half_of_{items}", halves
    of_bytes = Vocabulary(256, 2048, _bytes())
    for n, length in ((16, 550), (64, 550), (128, 64)):
        texts = [
            TextTokens(n=n, length=length).bind(of_bytes, seed=seed).designs["text"]
            for seed in range(SEEDS)
        ]
        yield f"text_{n}_by_{length}", texts


def _words() -> Vocabulary:
    """A vocabulary in which every word of the tasks is one token, with the space before it."""
    rng = stream(0, "claims")
    prompts: list[Prompt] = [
        *pronoun.prompts(rng),
        *greater_than.prompts(rng),
        *agreement.prompts(rng, attractor=True),
    ]
    texts = [str(prompt.clean) + "".join(map(str, prompt.right)) for prompt in prompts]
    texts += [str(prompt.corrupted) + "".join(map(str, prompt.wrong)) for prompt in prompts]
    texts += [f" {name} {name}" for name in (*ioi.NAMES, *ioi.PLACES, *ioi.THINGS)]
    texts += [re.sub(r"\{\w+\}", "", text) for text in ioi.TEMPLATES.values()]
    pieces = sorted({piece for text in texts for piece in re.findall(PIECES, text)})
    tokenizer = Tokenizer(
        models.WordLevel({"?": 0} | {piece: i for i, piece in enumerate(pieces, 1)}, "?")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), "isolated")
    return Vocabulary(len(pieces) + 1, 128, tokenizer)


def _bytes() -> Tokenizer:
    tokenizer = Tokenizer(
        models.BPE({piece: i for i, piece in enumerate(pre_tokenizers.ByteLevel.alphabet())}, [])
    )
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return tokenizer
