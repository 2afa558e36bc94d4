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
    """Endless items, men and women in turn; the twin has a name of the other kind."""
    for i in range(10**9):
        man, woman = MEN[rng.integers(len(MEN))], WOMEN[rng.integers(len(WOMEN))]
        pairs = [(man, " he"), (woman, " she")]
        (name, right), (other, wrong) = pairs if i % 2 == 0 else reversed(pairs)
        yield Prompt(_sentence(name), _sentence(other), (right,), (wrong,), right.strip())


def _sentence(name: str) -> str:
    return f"So {name} is a really great friend, isn't"


TASK = Task("pronoun", in_words(prompts))
