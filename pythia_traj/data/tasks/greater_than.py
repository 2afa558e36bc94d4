"""Greater-than (Hanna et al. 2023): what began in 17YY ended in a later year, whose 17 is given.

Only years of the eighteenth century: Pythia's tokenizer splits their numbers into the century and
the year, which is checked.
"""

from collections.abc import Iterator

import numpy as np

from pythia_traj.data.tasks.prompt import Prompt
from pythia_traj.data.tasks.task import Task, in_words

NOUNS = (
    "war", "siege", "trial", "reign", "strike", "project", "voyage", "contract", "plan", "work",
    "dispute", "campaign", "course", "rebellion", "treaty", "mission", "journey", "study",
    "conflict", "program", "tour", "search", "feud", "drought", "famine", "occupation",
    "construction", "expedition", "partnership", "marriage",
)  # fmt: skip

CENTURY = "17"
YEARS = tuple(f"{year:02d}" for year in range(100))


def prompts(rng: np.random.Generator) -> Iterator[Prompt]:
    """All items: the nouns in turn, each with years from 02 to 98 in an order of its own.

    The twin began in 01, after which nearly every year is later. A noun's items are one cluster.
    """
    nouns: list[str] = rng.permutation(NOUNS).tolist()
    years = [rng.permutation(np.arange(2, 99)) for _ in nouns]
    for turn in range(len(years[0])):
        for noun, of_noun in zip(nouns, years, strict=True):
            yield _prompt(noun, int(of_noun[turn]))


def _prompt(noun: str, year: int) -> Prompt:
    start = f"{year:02d}"
    return Prompt(
        clean=_sentence(noun, start),
        corrupted=_sentence(noun, "01"),
        right=YEARS[year + 1 :],
        wrong=YEARS[: year + 1],
        template="lasted",
        cluster=noun,
        splits=(
            (f" {CENTURY}{start}", (f" {CENTURY}", start)),
            (f" {CENTURY}01", (f" {CENTURY}", "01")),
        ),
    )


def _sentence(noun: str, year: str) -> str:
    return f"The {noun} lasted from the year {CENTURY}{year} to the year {CENTURY}"


TASK = Task("greater_than", in_words(prompts), metric="prob_diff")
