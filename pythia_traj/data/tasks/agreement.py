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
    """All items: of each subject in turn the singular and the plural.

    The twin's subject has the other number, and all else is alike. A subject's items are one
    cluster. Where there is an attractor, each subject has one at a time, in an order of its own.
    """
    subjects = rng.permutation(len(NOUNS))
    tails = [rng.permutation(_tails(i)) if attractor else np.zeros((1, 2), int) for i in subjects]
    for turn in range(len(tails[0])):
        for subject, of_subject in zip(subjects, tails, strict=True):
            preposition, other = of_subject[turn]
            for number, template in enumerate(("singular", "plural")):
                tail = (
                    f" {PREPOSITIONS[preposition]} the {NOUNS[other][1 - number]}"
                    if attractor
                    else ""
                )
                yield _prompt(NOUNS[subject], number, tail, template)


def _tails(subject: int) -> np.ndarray:
    """Each preposition with each noun but the subject [tail, 2]."""
    others = [noun for noun in range(len(NOUNS)) if noun != subject]
    return np.array([(i, noun) for i in range(len(PREPOSITIONS)) for noun in others])


def _prompt(noun: tuple[str, str], number: int, tail: str, template: str) -> Prompt:
    right, wrong = (tuple(pair[which] for pair in VERBS) for which in (number, 1 - number))
    clean, corrupted = (f"The {noun[which]}{tail}" for which in (number, 1 - number))
    return Prompt(clean, corrupted, right, wrong, template, cluster=noun[0])


TASK = (
    Task("agreement", in_words(partial(prompts, attractor=False))),
    Task("agreement_attractor", in_words(partial(prompts, attractor=True))),
)
