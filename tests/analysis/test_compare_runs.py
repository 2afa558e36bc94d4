"""What of some runs is shown beside each other, on made-up rows."""

from pathlib import Path

import pytest

from pythia_traj.analysis.comparison import runs as module
from pythia_traj.analysis.comparison.sides import Side
from tests.analysis.trajectories import both, line

STEPS = (1, 3, 7)


def side(name, losses):
    """A model whose loss falls, and whose score is the index of the step."""
    rows = both(
        line(losses, steps=STEPS, model=name, experiment="loss"),
        line([0.0, 1.0, 2.0], steps=STEPS, model=name, metric="score"),
    )
    return Side(Path(name), name, name, rows, {}, {})


@pytest.fixture
def sides(monkeypatch):
    """Two models, that the runs hold."""
    found = [side("m", [4.0, 3.0, 2.0]), side("n", [3.5, 2.5, 1.0])]
    monkeypatch.setattr(module, "read_sides", lambda *_, **__: (found, []))
    monkeypatch.setattr(Side, "items", lambda *_: None)
    return found


@pytest.mark.parametrize(("by", "last"), [("step", 7), ("tokens", 70), ("loss", 2.0)])
@pytest.mark.parametrize("seeds", [True, False])
def test_what_is_shown_is_at_the_last_point_of_training(sides, by, last, seeds):
    found = module.compare_runs(["m", "n"], by, seeds=seeds)
    assert set(found.metrics["at"]) == {last}
