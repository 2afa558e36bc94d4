"""Gendered pronoun: the name decides between he and she."""

from collections.abc import Iterator

import numpy as np

from pythia_traj.data.tasks.prompt import Prompt
from pythia_traj.data.tasks.task import Task, in_words

MEN = (
    "Adam", "Brian", "Carl", "Daniel", "David", "Eric", "Frank", "George", "Henry", "Jack", "James",
    "John", "Kevin", "Mark", "Martin", "Michael", "Paul", "Peter", "Richard", "Robert", "Steve",
    "Thomas", "Tom", "William",
)  # fmt: skip
WOMEN = (
    "Alice", "Amy", "Anna", "Barbara", "Emily", "Emma", "Helen", "Jane", "Jennifer", "Julia",
    "Karen", "Kate", "Laura", "Linda", "Lisa", "Lucy", "Maria", "Mary", "Michelle", "Nancy",
    "Rachel", "Ruth", "Sarah", "Susan",
)  # fmt: skip


def prompts(rng: np.random.Generator) -> Iterator[Prompt]:
    """All items: each name once, men and women in turn.

    Men and women are paired: each is the other's twin, so both are in one half.
    """
    for man, woman in zip(
        *(rng.permutation(names).tolist() for names in (MEN, WOMEN)), strict=True
    ):
        pair = f"{man} {woman}"
        yield Prompt(_sentence(man), _sentence(woman), (" he",), (" she",), "he", man, pair)
        yield Prompt(_sentence(woman), _sentence(man), (" she",), (" he",), "she", woman, pair)


def _sentence(name: str) -> str:
    return f"So {name} is a really great friend, isn't"


TASK = Task("pronoun", in_words(prompts))
