"""Indirect object identification (Wang et al. 2023): which of two people is given something.

The person who is named again is the giver, not the receiver. The names and sentences are ours; the
tokenizer decides which of them can be used. Half of the items name the giver first (BABA), half
second (ABBA), in every template alike.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np

from pythia_traj.data.tasks.prompt import Prompt
from pythia_traj.data.tasks.task import Task, in_words

NAMES = (
    "Alice", "Amy", "Andrew", "Anna", "Anthony", "Ben", "Brian", "Carl", "Chris", "Daniel", "David",
    "Emily", "Emma", "Eric", "Frank", "George", "Grace", "Greg", "Henry", "Jack", "James", "Jane",
    "Jason", "Jennifer", "Jim", "Joe", "John", "Karen", "Kate", "Kevin", "Laura", "Linda", "Lisa",
    "Lucy", "Maria", "Mark", "Martin", "Mary", "Matt", "Michael", "Michelle", "Mike", "Nick",
    "Paul", "Peter", "Rachel", "Richard", "Robert", "Ruth", "Ryan", "Sam", "Sarah", "Scott",
    "Simon", "Steve", "Susan", "Thomas", "Tim", "Tom", "William",
)  # fmt: skip

TEMPLATES = {
    "went": "When{first} and{second} went to the {place},{giver} gave a {thing} to",
    "met": "After{first} and{second} met at the {place},{giver} handed the {thing} to",
    "worked": "While{first} and{second} were working at the {place},{giver} passed a {thing} to",
    "talk": "Then{first} and{second} had a long talk. Afterwards{giver} sold the {thing} to",
    "friends": (
        "Some say{first} and{second} are old friends from the {place}."
        " Today{giver} brought a {thing} to"
    ),
}
"""Sentences in which every name, the answer too, is one token with the space before it."""

PLACES = ("office", "school", "garden", "store", "hospital", "station", "house", "library")
THINGS = ("book", "ring", "drink", "letter", "ball", "key", "pen", "picture")


def prompts(rng: np.random.Generator, corruption: str) -> Iterator[Prompt]:
    """Endless items, each independent of the others.

    Args:
        corruption: `abba` swaps who gives, so that the right answer becomes the wrong one; `abc`
            replaces all three names by others, so that neither is right.
    """
    names = list(TEMPLATES)
    for i in range(10**9):
        name, is_baba = names[i // 2 % len(names)], i % 2 == 0
        io, s, a, b, c = (f" {NAMES[j]}" for j in rng.choice(len(NAMES), 5, replace=False))
        words = {"place": rng.choice(PLACES), "thing": rng.choice(THINGS)}
        first, second = (s, io) if is_baba else (io, s)
        fill = TEMPLATES[name].format
        clean = fill(first=first, second=second, giver=s, **words)
        corrupted = (
            fill(first=first, second=second, giver=io, **words)
            if corruption == "abba"
            else fill(first=a, second=b, giver=c, **words)
        )
        yield Prompt(clean, corrupted, (io,), (s,), f"{name}_{'baba' if is_baba else 'abba'}")


TASK = (
    Task("ioi", in_words(partial(prompts, corruption="abba"))),
    Task("ioi_abc", in_words(partial(prompts, corruption="abc"))),
)
