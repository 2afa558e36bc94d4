"""Random numbers of named streams: no two share draws, and a new name changes none."""

from zlib import crc32

import numpy as np
import pytest

from pythia_traj.data import repeated
from pythia_traj.data.prompts import TaskPrompts, tasks
from pythia_traj.data.repeated import RepeatedTokens
from pythia_traj.data.roles import RolePrompts
from pythia_traj.data.tasks.task import Asked
from pythia_traj.engines.streams import derived_seed, stream
from pythia_traj.experiment import Vocabulary

VOCABULARY = Vocabulary(300, 128)


def test_a_stream_is_that_of_its_seed_name_and_number():
    sequence = np.random.SeedSequence(entropy=7, spawn_key=(crc32(b"text"), 3))
    expected = np.random.default_rng(sequence).random(5)
    np.testing.assert_array_equal(stream(7, "text", 3).random(5), expected)


def test_first_draws_of_all_streams_differ():
    drawn = [
        stream(seed, name, number).random()
        for seed in range(51)
        for name in ("text", "samples", *(f"task:{task}" for task in tasks()))
        for number in range(51)
    ]
    assert len(set(drawn)) == len(drawn)


def test_derived_seeds_are_seeds_and_differ():
    seeds = [derived_seed(seed, name) for seed in range(200) for name in ("roles", "other")]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("seed", range(5))
def test_kinds_of_data_share_no_tokens_at_equal_seeds(seed):
    """Repeated tokens are drawn by induction, by the task and by head roles."""
    roles = RolePrompts(length=25).bind(VOCABULARY, seed=seed)
    (task,) = TaskPrompts(task="repeats", n=16).bind(VOCABULARY, seed=seed).batches
    own = RepeatedTokens(n=16, length=25).bind(VOCABULARY, seed=seed)
    copies = [
        group[:, :25].tolist()
        for group in (own.groups["two_halves"], roles.repeated.groups["two_halves"], task.clean)
    ]
    found = [tuple(sequence) for copy in copies for sequence in copy]
    assert len(set(found)) == len(found)


def test_another_task_changes_no_ones_draws(monkeypatch):
    before = TaskPrompts(task="repeats").bind(VOCABULARY, seed=0).batches[0].clean
    named_differently = Asked("another", 0, 100, False)
    more = tasks()["repeats"].draw(VOCABULARY, named_differently)[0][0].clean
    assert not np.array_equal(before, more)
    monkeypatch.setattr(repeated, "stream", lambda *_: stream(99, "elsewhere"))
    np.testing.assert_array_equal(
        before, TaskPrompts(task="repeats").bind(VOCABULARY, seed=0).batches[0].clean
    )
