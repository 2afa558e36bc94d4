"""Streams of random numbers by name: two kinds of data never share draws, whatever their seeds.

A generator of `seed + i` gives draw i of one seed and draw i - 1 of the next seed the same numbers,
and data of two kinds that begin with the same generator draw the same tokens. Here a stream belongs
to (seed, name, number), and another name changes no stream that exists.
"""

from zlib import crc32

import numpy as np


def stream(seed: int, name: str, number: int = 0) -> np.random.Generator:
    """The generator of one stream.

    Args:
        seed: of the request, from 0.
        name: what is drawn, such as a kind of data.
        number: which of several streams of that name, from 0.

    >>> bool(stream(0, "text", 1).random() == stream(1, "text").random())
    False
    """
    return np.random.default_rng(_sequence(seed, name, number))


def derived_seed(seed: int, name: str) -> int:
    """A seed for data that are a part of other data: their streams are then their own."""
    return int(_sequence(seed, name, 0).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _sequence(seed: int, name: str, number: int) -> np.random.SeedSequence:
    return np.random.SeedSequence(entropy=seed, spawn_key=(crc32(name.encode()), number))
