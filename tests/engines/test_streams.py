"""Every draw of the package comes from a stream with a name."""

import re
from pathlib import Path

import pytest

from pythia_traj.engines.streams import derived_seed, stream

ROOT = Path(__file__).parents[2]

GENERATORS = re.compile(r"default_rng\(|manual_seed\(|RandomState\(|\bRandom\(|Generator\(")
"""What makes or seeds a generator of random numbers."""

EXEMPT = (
    # The streams themselves.
    "pythia_traj/engines/streams.py",
    # The toy suite is published under a seed: other numbers would be another suite.
    "pythia_traj/toy/",
    # The estimator of onsets is defined with these draws: its worked examples have their digits.
    "pythia_traj/analysis/onsets/curves.py",
)


def test_nothing_else_makes_a_generator():
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in ("pythia_traj", "experiments")
        for path in (ROOT / folder).rglob("*.py")
        if not str(path.relative_to(ROOT)).startswith(EXEMPT)
        for line in path.read_text().splitlines()
        if GENERATORS.search(line)
    ]
    assert not found


@pytest.mark.parametrize(
    "line", ["np.random.default_rng(0)", "torch.Generator().manual_seed(1)", "random.Random(3)"]
)
def test_the_rule_sees_what_it_is_about(line):
    assert GENERATORS.search(line)


def test_seeds_names_and_numbers_each_make_another_stream():
    keys = [
        (seed, name, number)
        for seed in range(20)
        for name in ("one", "other")
        for number in range(20)
    ]
    assert len({stream(*key).random() for key in keys}) == len(keys)
    assert stream(3, "one", 4).random() == stream(3, "one", 4).random()
    assert len({derived_seed(*key[:2]) for key in keys}) == 40
