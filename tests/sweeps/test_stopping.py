"""A worker whose end is announced finishes the unit in hand, and begins no other."""

import os
import signal

import pytest

import pythia_traj as pt
from pythia_traj.errors import Interrupted
from pythia_traj.store.events import read_events
from pythia_traj.store.layout import Run
from pythia_traj.sweeps.record import Silent
from pythia_traj.sweeps.requests import find_request, record
from pythia_traj.sweeps.shards import WHOLE
from pythia_traj.sweeps.stopping import stopping
from pythia_traj.sweeps.worker import work


class Announcing(Silent):
    """Announces the end while the units of a step are measured: the first words are about them."""

    def __init__(self, what):
        self._what = what

    def working(self, what):
        if what == self._what:
            os.kill(os.getpid(), signal.SIGUSR2)


@pytest.fixture
def config(suite, tmp_path):
    # Two processings, and so two passes a step.
    experiments = {
        "induction": {"length": 20, "n": 2},
        "loss": {"length": 32, "n": 2, "null_n": 2},
    }
    config = pt.SweepConfig(
        model=str(suite), steps="all", experiments=experiments, out=tmp_path / "run", device="cpu"
    )
    record(config)
    return config


def stopped(config, what):
    """Works until it is announced, during that work, that the end comes; returns what is done."""
    before = signal.getsignal(signal.SIGUSR2)
    with stopping() as stop, pytest.raises(Interrupted) as end:
        work(find_request(Run.open(config.out)), WHOLE, observer=Announcing(what), stop=stop)
    assert signal.getsignal(signal.SIGUSR2) == before
    assert end.value.signum == signal.SIGUSR2
    assert list((config.out / "claims").glob("*/*")) == []
    return {name for name, state in pt.status(config.out).units.items() if state == "done"}


def test_the_unit_in_hand_is_finished_and_no_other_begun(config):
    done = stopped(config, "step 1: loss")
    assert done == {"tiny/induction/step0", "tiny/loss/step0", "tiny/loss/step1"}
    last = [event for event in read_events(Run.open(config.out)) if event["event"] != "note"][-1]
    assert (last["event"], last["signal"]) == ("stopped", signal.SIGUSR2)
    left = work(find_request(Run.open(config.out)), WHOLE)
    assert len(left.done) == 5
    whole = config.model_copy(update={"out": config.out.parent / "whole"})
    pt.sweep(whole)
    ours, theirs = (pt.load(run, controls=True) for run in (config.out, whole.out))
    assert ours.equals(theirs)


def test_between_two_steps_no_other_is_begun(config):
    assert len(stopped(config, "step 2: induction")) == 6
