"""Merging runs that were followed, and those whose steps a search for an onset chose."""

import shutil

import pytest

import pythia_traj as pt
from pythia_traj.suites import arrivals
from pythia_traj.sweeps import following
from tests.support import publish_suite
from tests.sweeps.planted import plant, ramp, write_experiment
from tests.sweeps.test_following import SHORT, Training, end, request, save


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(arrivals, "STILL_SECONDS", 0.05)
    monkeypatch.setattr(arrivals, "PATIENCE_SECONDS", 0.25)


def counts(run):
    found = pt.status(run, check=True)
    return found.done, found.left, found.failed, found.damaged, found.is_over


def requests(run):
    return sorted(path.name for path in (run / "requests").iterdir())


def test_a_followed_run_whose_checkpoint_was_removed_is_merged_with_nothing_left(tmp_path):
    written = publish_suite(tmp_path / "written" / "all", (0, 1, 2))
    live, out = tmp_path / "live", tmp_path / "out"
    live.mkdir()
    followed = request(live, tmp_path / "followed")
    half = live / "step1"

    def stop():
        raise KeyboardInterrupt

    def begins():
        half.mkdir()
        weights = (written / "step1" / "model.safetensors").read_bytes()
        (half / "model.safetensors").write_bytes(weights[:1000])

    # A checkpoint that begins to appear and is removed; then the call is interrupted.
    first = Training(lambda: save(written, live, 0), begins, lambda: shutil.rmtree(half), stop)
    with pytest.raises(KeyboardInterrupt):
        pt.follow(followed, observer=first)
    other = request(live, tmp_path / "other", SHORT, steps="0")
    pt.sweep(other)
    pt.compact(followed.out)
    assert pt.merge([followed.out, other.out], out).units == 2
    assert counts(out) == (2, 0, 0, 0, True)
    # It goes on: its request is replaced by one of more steps.
    before = requests(followed.out)
    pt.follow(followed, observer=Training(lambda: save(written, live, 2), lambda: end(live, 2)))
    assert requests(followed.out) != before
    assert pt.merge([followed.out, other.out], out).units == 3
    assert counts(out) == (3, 0, 0, 0, True)
    assert counts(followed.out)[:2] == (2, 0)
    assert pt.sweep(followed.model_copy(update={"out": out})).done == []


def test_a_step_that_was_removed_before_it_was_measured_is_not_left_after_a_merge(tmp_path):
    from pythia_traj.sweeps.requests import record

    live = publish_suite(tmp_path / "live", (0, 1))
    followed, other = (request(live, tmp_path / name) for name in ("followed", "other"))
    other = other.model_copy(update={"steps": "1"})
    record(followed)
    pt.sweep(other)
    shutil.rmtree(live / "step0")
    end(live, 1)
    assert pt.follow(followed).removed.keys() == {0}
    pt.merge([followed.out, other.out], tmp_path / "out")
    assert counts(tmp_path / "out") == counts(followed.out) == (1, 0, 0, 0, True)


def test_a_search_for_an_onset_is_merged_with_all_its_rounds_and_goes_on(tmp_path):
    searched, other = (
        pt.SweepConfig(
            model=str(plant(tmp_path / name, ramp(onset))),
            steps=steps,
            device="cpu",
            experiments=str(write_experiment(tmp_path)),
            out=tmp_path / f"run-{name}",
        )
        for name, onset, steps in (("one", 11.3, "all"), ("two", 9.0, "0"))
    )
    out, runs = tmp_path / "out", (searched.out, other.out)
    pt.refine(searched, "planted.share", budget=12)
    pt.sweep(other)
    pt.merge(runs, out)
    assert counts(out) == (13, 0, 0, 0, True)
    longer = pt.refine(searched, "planted.share", budget=14).found[0]
    pt.merge(runs, out)
    (merged,), (own,) = ((run / "refinements").iterdir() for run in (out, searched.out))
    assert (merged.name, merged.read_text()) == (own.name, own.read_text())
    assert counts(out) == (counts(searched.out)[0] + 1, 0, 0, 0, True)
    again = pt.refine(searched.model_copy(update={"out": out}), "planted.share", budget=14)
    assert again.result.done == []
    assert (again.found[0].onset, again.found[0].trajectory) == (longer.onset, longer.trajectory)
