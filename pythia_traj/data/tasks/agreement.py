"""Agreement of subject and verb, with and without an attractor.

An attractor is another noun in between, which has the other number.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from pythia_traj.data.tasks.prompt import Prompt
from pythia_traj.data.tasks.task import Task, in_words

NOUNS = (
    ("boy", "boys"), ("girl", "girls"), ("car", "cars"), ("dog", "dogs"), ("cat", "cats"),
    ("book", "books"), ("house", "houses"), ("teacher", "teachers"), ("doctor", "doctors"),
    ("student", "students"), ("artist", "artists"), ("worker", "workers"), ("driver", "drivers"),
    ("player", "players"), ("friend", "friends"), ("picture", "pictures"), ("letter", "letters"),
    ("door", "doors"), ("window", "windows"), ("table", "tables"), ("tree", "trees"),
    ("flower", "flowers"), ("bird", "birds"), ("horse", "horses"), ("king", "kings"),
    ("soldier", "soldiers"), ("ship", "ships"), ("train", "trains"), ("road", "roads"),
    ("river", "rivers"),
)  # fmt: skip
"""Singular and plural.

Pairs in which one word is more than one token make twins of unequal length, and are dropped.
"""

PREPOSITIONS = ("near", "behind", "beside", "by")

VERBS = ((" is", " are"), (" was", " were"), (" has", " have"))
"""Singular and plural."""


def prompts(rng: np.random.Generator, *, attractor: bool) -> Iterator[Prompt]:
    """Endless items, singular and plural subjects in turn.

    The twin's subject has the other number, and all else is alike.
    """
    for i in range(10**9):
        number = i % 2
        subject, other = (NOUNS[j] for j in rng.choice(len(NOUNS), 2, replace=False))
        tail = (
            f" {PREPOSITIONS[rng.integers(len(PREPOSITIONS))]} the {other[1 - number]}"
            if attractor
            else ""
        )
        right, wrong = (tuple(pair[which] for pair in VERBS) for which in (number, 1 - number))
        clean, corrupted = (f"The {subject[which]}{tail}" for which in (number, 1 - number))
        yield Prompt(clean, corrupted, right, wrong, ("singular", "plural")[number])


TASK = (
    Task("agreement", in_words(partial(prompts, attractor=False))),
    Task("agreement_attractor", in_words(partial(prompts, attractor=True))),
)
