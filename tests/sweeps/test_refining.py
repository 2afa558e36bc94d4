"""A sweep that chooses its steps: it finds the full sweep's bracket with few of them, is resumable,
measures nothing twice, and says what it chose and why.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import pythia_traj as pt
from pythia_traj.analysis.adaptive.rule import START
from pythia_traj.errors import ConfigError
from pythia_traj.steps import select
from pythia_traj.store.events import read_events
from pythia_traj.store.layout import Run
from pythia_traj.sweeps.refining import preview
from pythia_traj.sweeps.search import Search
from tests.sweeps.planted import PUBLISHED, plant, ramp, write_experiment

FIRST = set(select(START, PUBLISHED))


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A suite of 154 steps whose height rises within an octave about step 2500."""
    return plant(tmp_path_factory.mktemp("planted") / "toy", ramp(11.3))


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    return write_experiment(tmp_path_factory.mktemp("experiment"))


def request(suite, experiment, out, **settings):
    given = {
        "model": str(suite),
        "steps": "all",
        "experiments": {"planted": {"use": str(experiment)}},
        "out": out,
        "device": "cpu",
        **settings,
    }
    return pt.SweepConfig(**given)


def started(out):
    """How often each unit was begun."""
    events = read_events(Run(out))
    return Counter(event["unit"] for event in events if event["event"] == "started")


def record_of(found):
    return json.loads(found.record.read_text())


@pytest.fixture(scope="module")
def refined(toy, experiment, tmp_path_factory):
    out = tmp_path_factory.mktemp("refined") / "run"
    return pt.refine(request(toy, experiment, out), "planted.height")


def test_it_measures_the_first_steps_and_then_halves_the_bracket(refined):
    (found,) = refined.found
    onset = found.onset
    assert onset.status == "onset"
    assert (onset.bracket_low, onset.bracket_high) == (2000, 3000)
    assert set(found.steps) >= FIRST
    assert len(found.steps) <= 17
    assert [unit.step for unit in refined.result.done] == [
        0,
        *sorted(FIRST - {0}),
        *[step for one in record_of(found)["rounds"][2:] for step in one["steps"]],
    ]


def test_its_choices_are_recorded_with_the_onset_of_the_time(refined):
    (found,) = refined.found
    record = record_of(found)
    rounds = record["rounds"]
    assert [one["why"] for one in rounds[:3]] == ["start", "start", "bracket"]
    assert [one["measured"] for one in rounds[:3]] == [0, 1, 12]
    assert rounds[1]["onset"] is None
    assert rounds[2]["onset"]["bracket_low"] == 2000
    assert record["ended"]["why"] == found.end.why == "found"
    assert record["ended"]["steps"] == list(found.steps)
    assert record["ended"]["onset"] == json.loads(json.dumps(asdict(found.onset)))
    assert record["trajectory"] == dict(found.trajectory.key)


def test_what_it_can_have_missed_is_said(refined):
    (found,) = refined.found
    assert found.gaps[0].octaves == max(gap.octaves for gap in found.gaps)
    missed = sum(gap.unmeasured for gap in found.gaps)
    assert missed == len(PUBLISHED) - len(found.steps)


def test_repeated_after_its_end_it_measures_and_writes_nothing(refined, toy, experiment):
    out = refined.result.out
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    record = refined.found[0].record
    text = record.read_text()
    again = pt.refine(request(toy, experiment, out), "planted.height")
    assert (len(again.result.done), len(again.result.skipped)) == (
        0,
        len(refined.found[0].steps),
    )
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")} == before
    assert again.found == refined.found
    assert record.read_text() == text


def test_rows_from_before_count_as_measured(toy, experiment, tmp_path):
    out = tmp_path / "run"
    some = [*sorted(FIRST)[:6], 3000, 4000]
    pt.sweep(request(toy, experiment, out, steps=",".join(map(str, some))))
    refined = pt.refine(request(toy, experiment, out), "planted.height")
    (found,) = refined.found
    assert (found.onset.bracket_low, found.onset.bracket_high) == (2000, 3000)
    assert set(some) <= set(found.steps)
    assert max(started(out).values()) == 1
    assert not {unit.step for unit in refined.result.done} & set(some)
    # Of a budget that they have used up, nothing is left.
    pt.sweep(request(toy, experiment, out, steps="0:30000"))
    (found,) = pt.refine(request(toy, experiment, out), "planted.flat").found
    assert (found.end.why, len(found.steps) > 30) == ("budget", True)


def test_only_the_steps_of_the_request_may_be_chosen(toy, experiment, tmp_path):
    config = request(toy, experiment, tmp_path / "run", steps="0:1000,5000:143000:5000")
    (found,) = pt.refine(config, "planted.height").found
    assert (found.onset.bracket_low, found.onset.bracket_high) == (1000, 5000)
    assert found.published == len(select("0:1000,5000:143000:5000", PUBLISHED))


def test_without_a_rise_the_budget_is_spent_on_the_gaps(toy, experiment, tmp_path):
    config = request(toy, experiment, tmp_path / "run")
    (found,) = pt.refine(config, "planted.flat", budget=15).found
    assert (found.onset.status, found.end.why, len(found.steps)) == ("none", "budget", 15)


def test_of_several_heads_the_one_that_rises_most_is_followed_and_another_can_be_named(
    toy, experiment, tmp_path
):
    config = request(toy, experiment, tmp_path / "run")
    (found,) = pt.refine(config, "planted.share").found
    assert (found.trajectory.key["head"], found.trajectory.among) == (1, 3)
    assert found.trajectory.in_words == "two_halves, layer 1, head 1"
    (other,) = pt.refine(config, "planted.share", where={"head": 2}).found
    assert (other.trajectory.key["head"], other.trajectory.among) == (2, 1)
    assert other.onset.top == pytest.approx(found.onset.top / 2, abs=0.15)
    assert other.record != found.record


def test_rows_at_other_steps_do_not_change_which_head_is_followed(experiment, tmp_path):
    suite = plant(tmp_path / "own", ramp(11.3), spike_at=100000)
    config = request(suite, experiment, tmp_path / "run")
    pt.sweep(request(suite, experiment, config.out, steps=f"100000,{','.join(map(str, FIRST))}"))
    rows, items = (pt.load(config.out, table=table, metric="spiky") for table in (None, "items"))
    assert pt.onset(rows, items).set_index("head").top.idxmax() == 1
    (found,) = pt.refine(config, "planted.spiky").found
    assert (found.trajectory.key["head"], found.onset.bracket_low) == (0, 2000)


def test_a_choice_that_is_made_again_is_recorded_once(refined, tmp_path):
    run = Run.create(tmp_path / "run")
    search = Search(refined.found[0].goal, "toy", PUBLISHED, [])
    choice = search.choose(run)
    for _ in range(2):
        search.note(run, choice)
    (file,) = (run.path / "refinements").iterdir()
    assert [one["steps"] for one in json.loads(file.read_text())["rounds"]] == [sorted(FIRST)]
    file.write_text("{half")
    search.note(run, choice)
    assert len(json.loads(file.read_text())["rounds"]) == 1


def test_every_experiment_of_the_request_is_measured_at_the_chosen_steps(toy, experiment, tmp_path):
    both = {"planted": {"use": str(experiment)}, "induction": {"length": 10, "n": 4}}
    config = request(toy, experiment, tmp_path / "run", experiments=both)
    (found,) = pt.refine(config, "planted.height").found
    for label in both:
        assert set(pt.load(config.out, label=label).step) == set(found.steps)
    assert max(started(config.out).values()) == 1


def test_each_model_is_refined_by_itself(toy, experiment, tmp_path):
    early = plant(tmp_path / "early", ramp(6.6))
    config = request(toy, experiment, tmp_path / "run", model=(str(toy), str(early)))
    one, other = pt.refine(config, "planted.height").found
    assert (one.model, one.onset.bracket_low) == ("toy", 2000)
    assert (other.model, other.onset.bracket_low, other.onset.bracket_high) == ("early", 64, 128)


def test_a_step_that_cannot_be_measured_is_passed_over(experiment, tmp_path):
    suite = plant(tmp_path / "own", ramp(11.3))
    for step in (2000, 3000):
        (suite / f"step{step}" / "model.safetensors").write_bytes(b"damaged")
    config = request(suite, experiment, tmp_path / "run")
    refined = pt.refine(config, "planted.height")
    (found,) = refined.found
    assert {unit.step for unit, _ in refined.result.failed} == {2000, 3000}
    assert (found.onset.bracket_low, found.onset.bracket_high) == (1000, 4000)
    assert found.end.why == "found"


def test_where_nothing_can_be_measured_no_more_steps_fail_than_the_budget_has(
    toy, experiment, tmp_path
):
    broken = tmp_path / "planted.py"
    broken.write_text(experiment.read_text().replace("rows = Rows()", "raise OSError('broken')"))
    refined = pt.refine(request(toy, broken, tmp_path / "run"), "planted.height", budget=12)
    (found,) = refined.found
    assert (len(refined.result.failed), found.onset, found.end.why) == (12, None, "budget")


REFUSED = {
    "planted.hieght": "did you mean height",
    "planted.mean_only": "keeps no items of this metric",
    "plnted.height": "did you mean planted",
    "planted": "names no metric",
    "planted.": "names no metric",
}


@pytest.mark.parametrize("target", REFUSED)
def test_a_wrong_name_is_refused_before_a_second_step_is_measured(
    target, toy, experiment, tmp_path
):
    config = request(toy, experiment, tmp_path / "run")
    with pytest.raises(ConfigError, match=REFUSED[target]):
        pt.refine(config, target)
    assert sum(started(config.out).values()) <= 1


WHERE = {
    "layer": ({"layer": 5}, "no item has it"),
    "control": ({"control": "shuffled"}, "no item has it"),
    "unknown": ({"laier": 1}, "did you mean layer"),
    "word": ({"layer": "first"}, "whole number"),
    "text": (["head"], "NAME=VALUE"),
}


@pytest.mark.parametrize("name", WHERE)
def test_a_wrong_place_is_refused(name, refined, toy, experiment):
    where, message = WHERE[name]
    with pytest.raises(ConfigError, match=message):
        pt.refine(request(toy, experiment, refined.result.out), "planted.share", where=where)


def test_too_few_items_are_refused_after_one_step(toy, experiment, tmp_path):
    few = {"planted": {"use": str(experiment), "n": 5}}
    config = request(toy, experiment, tmp_path / "run", experiments=few)
    with pytest.raises(ConfigError, match=r"has 5 independent items.*needs 8"):
        pt.refine(config, "planted.height")
    assert sum(started(config.out).values()) == 1


def test_an_experiment_without_items_is_refused_before_anything(toy, tmp_path):
    file = tmp_path / "means.py"
    file.write_text(
        '''
from pythia_traj.data.repeated import BoundRepeatedTokens, RepeatedTokens
from pythia_traj.experiment import Activations, experiment
from pythia_traj.values import ItemValues, Key

@experiment(version=1, data=RepeatedTokens(n=8, length=4), reads=("loss",))
def means(acts: Activations[BoundRepeatedTokens]) -> ItemValues:
    """A loss without items."""
    values = ItemValues()
    values.add(Key("nll"), acts.output("loss").mean(-1))
    return values
'''
    )
    config = request(toy, file, tmp_path / "run", experiments={"means": {"use": str(file)}})
    with pytest.raises(ConfigError, match="items=True"):
        pt.refine(config, "means.nll")
    assert not (tmp_path / "run").exists()


def test_a_preview_says_the_first_round_and_writes_nothing(toy, experiment, tmp_path):
    config = request(toy, experiment, tmp_path / "run")
    plan, _, (one,) = preview(config, "planted.height")
    assert set(one.choice.steps) == FIRST == {unit.step for unit in plan.todo}
    assert (len(one.published), one.measured, one.most) == (154, 0, 30)
    assert not config.out.exists()


def full_onset(suite, experiment, out):
    """Of all 154 steps, measured by an ordinary sweep, as a user would ask for it."""
    pt.sweep(request(suite, experiment, out))
    rows, items = (pt.load(out, table=table, metric="height") for table in (None, "items"))
    return pt.onset(rows, items).iloc[0]


PLACES = {
    "among the first powers of two": 3.2,
    "at 64 to 128": 6.6,
    "about 2500": 11.3,
    "about 20000": 14.3,
    "about 100000": 16.6,
}


@pytest.mark.slow
@pytest.mark.parametrize("place", PLACES)
def test_a_planted_onset_has_the_bracket_of_the_full_grid(place, experiment, tmp_path):
    suite = plant(tmp_path / "toy", ramp(PLACES[place], 0.6))
    (found,) = pt.refine(request(suite, experiment, tmp_path / "run"), "planted.height").found
    full = full_onset(suite, experiment, tmp_path / "full")
    assert full.status == found.onset.status == "onset"
    bracket = (found.onset.bracket_low, found.onset.bracket_high)
    assert bracket == (full.bracket_low, full.bracket_high)
    assert np.diff([PUBLISHED.index(step) for step in bracket]) == 1
    assert len(found.steps) <= 30


KILLED = """
import os, signal, sys
import pythia_traj as pt
from pythia_traj.sweeps.record import Silent

class Killing(Silent):
    ended_units = 0
    def ended(self, unit, error):
        self.ended_units += 1
        if self.ended_units == int(sys.argv[4]):
            os.kill(os.getpid(), signal.SIGKILL)

suite, experiment, out = sys.argv[1:4]
config = pt.SweepConfig(
    model=suite, steps="all", experiments={"planted": {"use": experiment}}, out=out, device="cpu"
)
pt.refine(config, "planted.height", observer=Killing())
"""


@pytest.mark.slow
def test_killed_and_repeated_it_measures_no_step_twice_and_makes_the_same_choices(
    refined, toy, experiment, tmp_path
):
    out = tmp_path / "run"
    total = len(refined.found[0].steps)
    kills = 0
    # At the first step, among the first steps, and while the bracket is halved.
    for after in (1, 4, 7, 1):
        command = [sys.executable, "-c", KILLED, str(toy), str(experiment), str(out), str(after)]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
        kills += ended.returncode != 0
    assert kills == 4
    again = pt.refine(request(toy, experiment, out), "planted.height")
    (found,) = again.found
    assert asdict(found) | {"record": None} == asdict(refined.found[0]) | {"record": None}
    events = list(read_events(Run(out)))
    done = Counter(event["unit"] for event in events if event["event"] == "done")
    assert set(done.values()) == {1}
    assert len(done) == total
    chosen = [step for one in record_of(found)["rounds"] for step in one["steps"]]
    assert list(dict.fromkeys(chosen)) == [
        step for one in record_of(refined.found[0])["rounds"] for step in one["steps"]
    ]


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on(refined, toy, experiment, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-c", KILLED, str(toy), str(experiment), str(out), "0"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    folder = out / "metrics"
    while time.monotonic() < deadline and len(list(folder.rglob("step-*"))) < 13:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    (found,) = pt.refine(request(toy, experiment, out), "planted.height").found
    assert found.onset == refined.found[0].onset
    done = Counter(e["unit"] for e in read_events(Run(out)) if e["event"] == "done")
    # A unit that was written is not measured again, though the kill came before its event.
    assert set(done.values()) == {1}
    assert len(list(folder.rglob("*.parquet"))) == len(found.steps)


def test_the_model_is_built_once(toy, experiment, tmp_path, monkeypatch):
    from pythia_traj.stream import weights

    built = []

    class Counting(weights.SwappableModel):
        def __init__(self, *arguments, **options):
            built.append(1)
            super().__init__(*arguments, **options)

    monkeypatch.setattr(weights, "SwappableModel", Counting)
    pt.refine(request(toy, experiment, tmp_path / "run"), "planted.height")
    assert len(built) == 1


def test_the_requests_of_a_refinement_name_its_steps(refined):
    status = pt.status(refined.result.out)
    assert status.done >= len(refined.found[0].steps)
    assert status.left == 0
    assert Path(refined.found[0].record).parent.name == "refinements"


@pytest.mark.slow
def test_two_processes_on_one_run_measure_no_step_twice(refined, toy, experiment, tmp_path):
    out = tmp_path / "run"
    command = [sys.executable, "-c", KILLED, str(toy), str(experiment), str(out), "0"]
    both = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error
    (found,) = pt.refine(request(toy, experiment, out), "planted.height").found
    assert found.onset == refined.found[0].onset
    done = Counter(e["unit"] for e in read_events(Run(out)) if e["event"] == "done")
    assert set(done.values()) == {1}
    assert len(done) == len(found.steps)
