"""A run that is watched while its finished units are compacted and taken out."""

import shutil

import pandas as pd
import pytest

from pythia_traj.live.watched import Watched
from pythia_traj.store import compacted
from pythia_traj.store.compacting import finish
from pythia_traj.store.layout import COMPACTED, Run
from pythia_traj.store.taking_out import take_out
from tests.store import damage as d
from tests.store.killed import killed_at
from tests.store.test_compacting import SMALL, compact, made, run, small, states, write  # noqa: F401


def looked(watched):
    """The rows of every experiment, and how many units and notes there are, after a look."""
    look = watched.look()
    state = watched.state
    frames = {name: state.rows(name) for name in state.experiments}
    return look, frames, (state.steps, sorted(state.units), state.notes, state.waiting)


def assert_same(found, expected):
    assert found[1].keys() == expected[1].keys()
    for name, frame in expected[1].items():
        pd.testing.assert_frame_equal(found[1][name], frame, check_exact=True)
    assert found[2] == expected[2]


def test_the_rows_stay_the_same_and_a_compacted_file_is_opened_once_a_look(
    run,  # noqa: F811
    monkeypatch,
):
    watched = Watched([run.path])
    before = looked(watched)
    assert before[0].opened == 8
    compact(run)
    opened, real = [], compacted.read_parquet
    monkeypatch.setattr(
        compacted, "read_parquet", lambda path, *a, **o: opened.append(path) or real(path, *a, **o)
    )
    after = looked(watched)
    assert_same(after, before)
    assert after[0].opened == 2
    assert [path.name for path in opened if "metrics" in path.parts] == [COMPACTED] * 2
    opened.clear()
    assert looked(watched)[0].opened == 0
    assert opened == []


def test_at_every_moment_of_a_compaction_that_is_killed_the_rows_are_the_same(
    small,  # noqa: F811
    tmp_path,
):
    expected = looked(Watched([small.path]))
    with killed_at(None) as happened:
        compact(Run(shutil.copytree(small.path, tmp_path / "whole")))
    for operation in states(happened):
        own = Run(shutil.copytree(small.path, tmp_path / "run"))
        watched = Watched([own.path])
        watched.look()
        with killed_at(operation):
            compact(own)
        assert_same(looked(watched), expected)
        finish(own)
        assert_same(looked(watched), expected)
        compact(own)
        assert_same(looked(watched), expected)
        shutil.rmtree(own.path)


@pytest.mark.parametrize("most", [1, 2, 400])
def test_few_units_a_look_take_more_looks_and_miss_nothing(
    small,  # noqa: F811
    tmp_path,
    most,
):
    own = Run(shutil.copytree(small.path, tmp_path / "run"))
    watched = Watched([own.path])
    expected = looked(watched)
    compact(own)
    while watched.look(most).waiting:
        assert sorted(watched.state.units) == expected[2][1]
    assert_same(looked(watched), expected)


def test_a_unit_that_is_measured_again_replaces_its_compacted_rows(
    small,  # noqa: F811
    tmp_path,
):
    own = Run(shutil.copytree(small.path, tmp_path / "run"))
    watched = Watched([own.path])
    before = looked(watched)
    compact(own)
    assert_same(looked(watched), before)
    take_out(own, "m", "loss", [512])
    assert_same(looked(watched), before)
    write(own, "loss", 512, more=1.0)
    after = looked(watched)
    ((name, frame),) = after[1].items()
    expected = before[1][name]
    new = frame.step == 512
    pd.testing.assert_frame_equal(frame[~new], expected[~new], check_categorical=False)
    assert frame[new].value.max() == pytest.approx(expected[new].value.max() + 1 / 3)
    assert after[2] == before[2]
    compact(own)
    assert_same(looked(watched), after)


def test_a_damaged_compacted_file_costs_its_rows_until_they_are_there_again(
    small,  # noqa: F811
    tmp_path,
):
    own = Run(shutil.copytree(small.path, tmp_path / "run"))
    watched = Watched([own.path])
    expected = looked(watched)
    compact(own)
    watched.look()
    d.flipped(0.05)(own.label_folder("m", "loss") / COMPACTED)
    _, frames, (_, units, notes, _) = looked(watched)
    assert (frames, units) == ({}, [])
    assert any("left out 1 damaged file" in note.words for note in notes)
    take_out(own, "m", "loss", SMALL)
    for step in SMALL:
        write(own, "loss", step)
    assert_same(looked(watched), expected)
