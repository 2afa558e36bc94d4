"""A training run is measured while it is written: each checkpoint once, whole, as a sweep would."""

import json
import shutil
import threading
from collections import Counter

import pytest
from safetensors.torch import load_file

import pythia_traj as pt
from pythia_traj.errors import ConfigError, DataError, Interrupted, StoreError, SuiteError
from pythia_traj.store.events import read_events
from pythia_traj.store.layout import Run
from pythia_traj.suites import arrivals
from pythia_traj.suites.local import LocalCheckpoint
from pythia_traj.sweeps import following
from pythia_traj.sweeps.runner import ModelSweep
from tests.support import publish, publish_suite, random_model

LOSS = {"loss": {"length": 8, "n": 4}}
INDUCTION = {"induction": {"length": 10, "n": 4}}
SHORT = {"short": {"use": "induction", "length": 8, "n": 2}}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(arrivals, "STILL_SECONDS", 0.05)
    monkeypatch.setattr(arrivals, "PATIENCE_SECONDS", 0.25)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """What the training will have written."""
    return publish_suite(tmp_path_factory.mktemp("written") / "all", (0, 1, 2, 4))


@pytest.fixture
def live(tmp_path):
    """Where the training writes; not there yet."""
    return tmp_path / "live"


def request(live, out, experiments=INDUCTION, **settings):
    given = {"model": str(live), "steps": "all", "device": "cpu", "out": out, **settings}
    return pt.SweepConfig(experiments=experiments, **given)


def save(written, live, step, name=None):
    """A checkpoint that appears at once, as a folder that is renamed does."""
    hidden = live / f".being-copied-{step}"
    shutil.copytree(written / f"step{step}", hidden)
    return hidden.rename(live / (name or f"step{step}"))


def end(live, step=4):
    live.mkdir(exist_ok=True)
    state = {"global_step": step, "max_steps": step}
    (live / "trainer_state.json").write_text(json.dumps(state))


class Training:
    """An observer, and a training that goes on when something is measured or waited for."""

    def __init__(self, *acts):
        """`acts` are called one after the other, each when there is nothing to measure."""
        self.acts, self.sentences, self.ended_units = list(acts), [], []
        self.waited = 0

    def planned(self, plan):
        pass

    def working(self, what):
        if what.startswith("waiting for the next"):
            self.waited += 1
            # Five waits are longer than a folder must be still: what came before is measured.
            if self.waited % 6 == 1 and self.acts:
                self.acts.pop(0)()

    def ended(self, unit, error):
        self.ended_units.append((unit.step, error))

    def said(self, sentence):
        self.sentences.append(sentence)


def same_rows_as_a_sweep(config, tmp_path, tables=(None, "items", "models")):
    afterwards = config.model_copy(update={"out": tmp_path / "afterwards"})
    pt.sweep(afterwards)
    for table in tables:
        one, other = (pt.load(each.out, table=table) for each in (config, afterwards))
        assert one.equals(other)
    return True


def measured_once(out):
    events = read_events(Run(out))
    return max(Counter(e["unit"] for e in events if e["event"] == "started").values()) == 1


def test_each_checkpoint_is_measured_once_as_it_appears_with_the_rows_of_a_sweep(
    written, live, tmp_path
):
    def appear():
        live.mkdir()
        shutil.copy(written / "suite.json", live)
        save(written, live, 0)

    # Steps 4 and 2 arrive in the wrong order.
    training = Training(
        appear,
        *(lambda step=step: save(written, live, step) for step in (1, 4, 2)),
        lambda: end(live),
    )
    config = request(live, tmp_path / "run", {**INDUCTION, **SHORT})
    followed = pt.follow(config, observer=training)
    assert [step for step, _ in training.ended_units[::2]] == [0, 1, 4, 2]
    assert (followed.result.failed, followed.removed) == ([], {})
    assert followed.end == "trainer_state.json says that it ended at step 4"
    assert training.sentences == [
        f"waiting for checkpoints in {live}",
        "trainer_state.json says that it ended at step 4",
    ]
    assert measured_once(config.out)
    assert same_rows_as_a_sweep(config, tmp_path)


def test_afterwards_a_sweep_has_nothing_to_do_and_the_run_has_one_request(written, live, tmp_path):
    live.mkdir()
    training = Training(
        *(lambda step=step: save(written, live, step) for step in (0, 1, 2)), lambda: end(live, 2)
    )
    config = request(live, tmp_path / "run")
    pt.follow(config, observer=training)
    (asked,) = (config.out / "requests").iterdir()
    assert json.loads(asked.read_text())["explicit_steps"] == {"live": [0, 1, 2]}
    state = pt.status(config.out, check=True)
    assert (state.done, state.left, state.damaged, state.is_over) == (3, 0, 0, True)
    again = pt.sweep(config)
    assert (len(again.done), len(again.skipped)) == (0, 3)
    assert len(list((config.out / "requests").iterdir())) == 1


def test_the_model_is_built_once(written, live, tmp_path):
    live.mkdir()
    training = Training(
        *(lambda step=step: save(written, live, step) for step in (0, 1, 2)), lambda: end(live, 2)
    )
    config = request(live, tmp_path / "run")
    pt.follow(config, observer=training)
    done = [event for event in read_events(Run(config.out)) if event["event"] == "done"]
    assert [bool(event["seconds"].get("build")) for event in done] == [True, False, False]


def test_a_checkpoint_that_was_removed_before_it_was_whole_is_noted_and_has_not_failed(
    written, live, tmp_path
):
    live.mkdir()

    def half():
        shutil.copytree(written / "step1", live / "step1")
        (live / "step1" / "config.json").unlink()

    training = Training(
        lambda: save(written, live, 0),
        half,
        lambda: shutil.rmtree(live / "step1"),
        lambda: end(live),
    )
    config = request(live, tmp_path / "run")
    followed = pt.follow(config, observer=training)
    assert followed.removed == {1: "step 1 was removed before it was whole"}
    assert followed.removed[1] in training.sentences
    assert followed.result.failed == []
    notes = [e["message"] for e in read_events(Run(config.out)) if e["event"] == "note"]
    assert followed.removed[1] in notes
    assert (pt.status(config.out).done, pt.status(config.out).left) == (1, 0)


@pytest.mark.parametrize("rest", ["nothing", "its config"])
def test_a_checkpoint_that_is_removed_while_it_is_opened_is_noted_and_has_not_failed(
    written, live, tmp_path, monkeypatch, rest
):
    live.mkdir()
    opening = LocalCheckpoint.open

    def open_too_late(self, *arguments):
        if self.step == 1 and self.directory.exists():
            shutil.rmtree(self.directory)
            if rest == "its config":
                # A removal in pieces: the rest is gone soon.
                self.directory.mkdir()
                shutil.copy(written / "step1" / "config.json", self.directory)
        return opening(self, *arguments)

    monkeypatch.setattr(LocalCheckpoint, "open", open_too_late)
    gone = lambda: shutil.rmtree(live / "step1", ignore_errors=True)  # noqa: E731
    training = Training(
        *(lambda step=step: save(written, live, step) for step in (0, 1)),
        gone,
        lambda: save(written, live, 2),
        lambda: end(live, 2),
    )
    config = request(live, tmp_path / "run")
    followed = pt.follow(config, observer=training)
    assert followed.removed.keys() == {1}
    assert [unit.step for unit in followed.result.done] == [0, 2]
    assert followed.result.failed == []
    state = pt.status(config.out)
    assert (state.done, state.left, state.failed, state.running) == (2, 0, 0, 0)


def test_even_the_first_checkpoint_may_be_removed_before_the_model_is_built(
    written, live, tmp_path, monkeypatch
):
    live.mkdir()
    preparing = ModelSweep.prepare

    def prepare_and_remove(self):
        preparing(self)
        shutil.rmtree(live / "step0", ignore_errors=True)

    monkeypatch.setattr(ModelSweep, "prepare", prepare_and_remove)
    training = Training(
        *(lambda step=step: save(written, live, step) for step in (0, 1)), lambda: end(live, 1)
    )
    followed = pt.follow(request(live, tmp_path / "run"), observer=training)
    assert (followed.removed.keys(), followed.result.failed) == ({0}, [])
    assert [unit.step for unit in followed.result.done] == [1]


def test_checkpoints_may_be_removed_once_they_are_measured(written, live, tmp_path):
    live.mkdir()

    def rotate(step, old):
        save(written, live, step)
        shutil.rmtree(live / f"step{old}")

    training = Training(
        lambda: save(written, live, 0),
        lambda: rotate(1, 0),
        lambda: rotate(2, 1),
        lambda: rotate(4, 2),
        lambda: end(live),
    )
    config = request(live, tmp_path / "run")
    followed = pt.follow(config, observer=training)
    assert (followed.removed, followed.result.failed) == ({}, [])
    assert [unit.step for unit in followed.result.done] == [0, 1, 2, 4]
    assert pt.status(config.out).done == 4


def test_a_checkpoint_that_is_written_anew_while_it_is_read_is_measured_when_it_is_whole(
    written, live, tmp_path, monkeypatch
):
    live.mkdir()
    opening, opened, timers = LocalCheckpoint.open, [], []

    def write_anew(self, *arguments):
        if self.step == 1 and not opened:
            opened.append(1)
            weights = (written / "step2" / "model.safetensors").read_bytes()
            (self.directory / "model.safetensors").write_bytes(weights[:1000])
            rewrite = (self.directory / "model.safetensors").write_bytes
            timers.append(threading.Timer(0.3, rewrite, [weights]))
            timers[0].start()
        return opening(self, *arguments)

    monkeypatch.setattr(LocalCheckpoint, "open", write_anew)
    training = Training(
        *(lambda step=step: save(written, live, step) for step in (0, 1)),
        lambda: None,
        # However late the timer is on a busy machine, training ends when the file is whole.
        lambda: [timer.join() for timer in timers] and end(live, 1),
    )
    config = request(live, tmp_path / "run")
    followed = pt.follow(config, observer=training)
    assert (followed.removed, followed.result.failed) == ({}, [])
    assert same_rows_as_a_sweep(config, tmp_path)


def test_what_is_still_not_whole_at_the_end_fails_with_its_reason(written, live, tmp_path):
    live.mkdir()
    for step in (0, 1):
        save(written, live, step)
    weights = live / "step1" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    end(live, 1)
    followed = pt.follow(request(live, tmp_path / "run"))
    ((unit, why),) = followed.result.failed
    assert unit.step == 1
    assert "truncated" in why
    assert [unit.step for unit in followed.result.done] == [0]


def test_a_failing_experiment_fails_once(written, live, tmp_path):
    (tmp_path / "bad.py").write_text(
        "from pythia_traj.experiment import experiment\n"
        "from pythia_traj.processing import RAW\n"
        "@experiment(version=1, processing=RAW)\n"
        "def bad(model):\n    'Fails.'\n    raise ValueError('no')\n"
    )
    live.mkdir()
    training = Training(
        *(lambda step=step: save(written, live, step) for step in (0, 1)), lambda: end(live, 1)
    )
    config = request(
        live, tmp_path / "run", {"bad": {"use": str(tmp_path / "bad.py")}, **INDUCTION}
    )
    followed = pt.follow(config, observer=training)
    assert [unit.step for unit, _ in followed.result.failed] == [0, 1]
    assert len(followed.result.done) == 2


def test_an_experiments_own_error_is_a_failure_though_the_checkpoint_is_gone_by_then(
    written, live, tmp_path
):
    (tmp_path / "bad.py").write_text(
        "import shutil\n"
        "from pythia_traj.experiment import experiment\n"
        "from pythia_traj.processing import RAW\n"
        "@experiment(version=1, processing=RAW)\n"
        f"def bad(model):\n    'Fails.'\n    shutil.rmtree({str(live / 'step0')!r})\n"
        "    raise ValueError('no')\n"
    )
    live.mkdir()
    save(written, live, 0)
    config = request(live, tmp_path / "run", {"bad": {"use": str(tmp_path / "bad.py")}})
    followed = pt.follow(config, observer=Training(lambda: None, lambda: end(live, 0)))
    assert [why for _, why in followed.result.failed] == ["ValueError: no"]
    assert followed.removed == {}


def test_a_checkpoint_of_another_model_is_refused_alone(written, live, tmp_path):
    live.mkdir()
    publish(tmp_path / "other", random_model(hidden_size=16))
    training = Training(
        lambda: save(written, live, 0),
        lambda: shutil.copytree(tmp_path / "other", live / "step1"),
        lambda: save(written, live, 2),
        lambda: end(live, 2),
    )
    followed = pt.follow(request(live, tmp_path / "run"), observer=training)
    ((unit, why),) = followed.result.failed
    assert (unit.step, [unit.step for unit in followed.result.done]) == (1, [0, 2])
    assert "hidden_size 16 instead of 32" in why


def test_a_checkpoint_with_other_tokens_is_refused_though_the_first_was_removed(
    written, live, tmp_path
):
    live.mkdir()

    # The tokenizer that comes later merges nothing, and so has other tokens.
    def change():
        shutil.rmtree(live / "step0")
        folder = save(written, live, 1, ".other")
        parsed = json.loads((folder / "tokenizer.json").read_text())
        del parsed["model"]["vocab"][list(parsed["model"]["vocab"])[-1]]
        parsed["model"]["merges"] = parsed["model"]["merges"][:-1]
        (folder / "tokenizer.json").write_text(json.dumps(parsed))
        folder.rename(live / "step1")

    training = Training(lambda: save(written, live, 0), change, lambda: end(live, 1))
    followed = pt.follow(request(live, tmp_path / "run"), observer=training)
    ((unit, why),) = followed.result.failed
    assert unit.step == 1
    assert "knows other tokens" in why


def test_only_the_steps_that_were_asked_for_are_measured(written, live, tmp_path):
    live.mkdir()
    for step in (0, 1, 2, 4):
        save(written, live, step)
    end(live)
    config = request(live, tmp_path / "run", steps="0,2:8:2")
    followed = pt.follow(config)
    assert [unit.step for unit in followed.result.done] == [0, 2, 4]
    assert len(pt.sweep(config).skipped) == 3


def test_it_ends_with_a_step_that_is_named_and_then_reads_no_state(written, live, tmp_path):
    live.mkdir()
    end(live, 0)
    training = Training(*(lambda step=step: save(written, live, step) for step in (0, 1, 2)))
    followed = pt.follow(request(live, tmp_path / "run"), until=2, observer=training)
    assert [unit.step for unit in followed.result.done] == [0, 1, 2]
    assert followed.end == "step 2 is there"


def test_a_stop_between_two_checkpoints_loses_nothing_and_the_same_call_goes_on(
    written, live, tmp_path
):
    def stop():
        raise Interrupted(15)

    live.mkdir()
    config = request(live, tmp_path / "run")
    training = Training(lambda: save(written, live, 0), stop)
    with pytest.raises(Interrupted):
        pt.follow(config, observer=training)
    assert pt.status(config.out).workers[0].state == "stopped"
    save(written, live, 1)
    end(live, 1)
    followed = pt.follow(config)
    assert [unit.step for unit in followed.result.done] == [1]
    assert [unit.step for unit in followed.result.skipped] == [0]
    assert measured_once(config.out)
    assert same_rows_as_a_sweep(config, tmp_path)


def test_what_was_removed_while_nobody_followed_is_noted_and_nobody_waits_for_it(
    written, live, tmp_path
):
    live.mkdir()
    for step in (0, 1):
        save(written, live, step)
    config = request(live, tmp_path / "run")
    from pythia_traj.sweeps.requests import record

    record(config)
    assert pt.status(config.out).left == 2
    shutil.rmtree(live / "step0")
    end(live, 1)
    followed = pt.follow(config)
    assert followed.removed.keys() == {0}
    state = pt.status(config.out)
    assert (state.done, state.left, state.is_over) == (1, 0, True)


def test_two_that_follow_one_directory_share_the_work(written, live, tmp_path):
    live.mkdir()
    for step in (0, 1, 2):
        save(written, live, step)
    config, found = request(live, tmp_path / "run"), []
    other = threading.Thread(target=lambda: found.append(pt.follow(config, until=2)))
    other.start()
    mine = pt.follow(config, until=2)
    other.join()
    done = [unit.step for one in (mine, *found) for unit in one.result.done]
    assert sorted(set(done)) == [0, 1, 2]
    assert pt.status(config.out, check=True).damaged == 0
    assert same_rows_as_a_sweep(config, tmp_path)


COMPARING = '''
from pythia_traj.experiment import experiment
from pythia_traj.processing import RAW
from pythia_traj.values import Key, Rows

@experiment(version=1, processing=RAW, row_references=("init",))
def rows_since(model, reference_rows) -> Rows:
    """A weight, and its change since the first step, by that one's rows."""
    rows = Rows()
    own = float(model.W_E[0, 0].detach())
    rows.add(Key("weight"), own)
    before = reference_rows["init"] if "init" in reference_rows else None
    if before is not None:
        first = before[before.metric == "weight"].value.iloc[0]
        rows.add(Key("change"), own - float(first))
    return rows

@experiment(version=1, processing=RAW, references=("previous",))
def weights_between(model, reference_models) -> Rows:
    """How far a weight is from that of the step before."""
    rows = Rows()
    own = float(model.W_E[0, 0].detach())
    rows.add(Key("weight"), own)
    if "previous" in reference_models:
        rows.add(Key("change"), own - float(reference_models["previous"].W_E[0, 0].detach()))
    return rows

@experiment(version=1, processing=RAW, references=("init",))
def weights_since(model, reference_models) -> Rows:
    """How far a weight is from the first step's."""
    rows = Rows()
    own = float(model.W_E[0, 0].detach())
    rows.add(Key("change"), own - float(reference_models["init"].W_E[0, 0].detach()))
    return rows

@experiment(version=1, processing=RAW, references=("step:2",))
def weights_before(model, reference_models) -> Rows:
    """How far a weight is from that of step 2."""
    rows = Rows()
    own = float(model.W_E[0, 0].detach())
    rows.add(Key("change"), own - float(reference_models["step:2"].W_E[0, 0].detach()))
    return rows
'''


def comparing(tmp_path, name):
    """An experiment that compares with another step."""
    (tmp_path / "comparing.py").write_text(COMPARING)
    return {name: {"use": f"{tmp_path / 'comparing.py'}:{name}"}}


@pytest.mark.parametrize("name", ["rows_since", "weights_since"])
def test_a_first_step_that_was_removed_is_still_compared_with(written, live, tmp_path, name):
    live.mkdir()

    def rotate():
        save(written, live, 1)
        shutil.rmtree(live / "step0")

    training = Training(
        lambda: save(written, live, 0), rotate, lambda: save(written, live, 2), lambda: end(live, 2)
    )
    config = request(live, tmp_path / "run", comparing(tmp_path, name))
    followed = pt.follow(config, observer=training)
    assert (followed.result.failed, followed.removed) == ([], {})
    rows = pt.load(config.out, metric="change").set_index("step").value
    weight = {
        step: load_file(written / f"step{step}" / "model.safetensors")["gpt_neox.embed_in.weight"][
            0, 0
        ].item()
        for step in (0, 1, 2)
    }
    for step in (1, 2):
        assert rows[step] == pytest.approx(weight[step] - weight[0])


def test_weights_of_a_step_before_that_was_removed_cannot_be_compared_with(written, live, tmp_path):
    live.mkdir()

    def rotate():
        save(written, live, 1)
        shutil.rmtree(live / "step0")

    training = Training(lambda: save(written, live, 0), rotate, lambda: end(live, 1))
    config = request(
        live, tmp_path / "run", {**comparing(tmp_path, "weights_between"), **INDUCTION}
    )
    followed = pt.follow(config, observer=training)
    assert followed.removed == {1: "step 0, with which step 1 is compared, was removed"}
    assert followed.result.failed == []
    assert len(followed.result.done) == 3
    assert pt.status(config.out).left == 0


def test_a_step_that_others_are_compared_with_is_waited_for(written, live, tmp_path):
    live.mkdir()
    training = Training(
        *(lambda step=step: save(written, live, step) for step in (0, 2)), lambda: end(live, 2)
    )
    config = request(live, tmp_path / "run", comparing(tmp_path, "weights_before"))
    followed = pt.follow(config, observer=training)
    assert [unit.step for unit in followed.result.done] == [0, 2]
    assert measured_once(config.out)
    assert same_rows_as_a_sweep(config, tmp_path, (None, "models"))


@pytest.mark.parametrize("name", ["weights_since", "rows_since"])
def test_an_earlier_step_that_comes_late_becomes_the_first_of_all(written, live, tmp_path, name):
    live.mkdir()
    training = Training(
        *(lambda step=step: save(written, live, step) for step in (2, 4, 0)), lambda: end(live)
    )
    config = request(live, tmp_path / "run", comparing(tmp_path, name))
    followed = pt.follow(config, observer=training)
    assert followed.result.failed == []
    assert same_rows_as_a_sweep(config, tmp_path, (None, "models"))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        pytest.param({"steps": "last"}, "'last' depends on the steps", id="last"),
        pytest.param({"steps": "0,log:12"}, "'log:12' depends on the steps", id="log"),
        pytest.param({"model": "pythia-70m"}, "pythia-70m is a published model", id="hub"),
        pytest.param({"model": "EleutherAI/pythia-70m"}, "is a published model", id="hub with org"),
        pytest.param({"model": "a,b"}, "one directory is followed at a time, not 2", id="two"),
        pytest.param({"toy_seed": 1}, "toy_seed trains a suite before", id="toy"),
        pytest.param(
            {"experiments": {"weights": {"references": ["final"]}}},
            "weights: its reference final is not known before the training ends",
            id="final",
        ),
        pytest.param(
            {"experiments": {"weights": {"references": ["step:last"]}}},
            "weights: its reference step:last is not known",
            id="last as a reference",
        ),
    ],
)
def test_what_depends_on_what_is_still_to_come_is_refused(live, tmp_path, settings, sentence):
    given = {"model": str(live), "out": tmp_path / "run", "steps": "all", "experiments": LOSS}
    with pytest.raises(ConfigError, match=sentence):
        pt.follow(pt.SweepConfig(**(given | settings)))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("where", ["some-org/some-model", "file"])
def test_a_place_where_no_directory_can_appear_is_refused(tmp_path, monkeypatch, where):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(SuiteError, match="no such directory|is not a directory"):
        pt.follow(request(where, tmp_path / "run"))


def test_what_is_wrong_with_the_run_shows_before_anything_has_arrived(live, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("")
    with pytest.raises(StoreError, match="is not a run"):
        pt.follow(request(live, tmp_path / "run"))


def test_an_experiment_that_needs_a_missing_tokenizer_ends_it_with_a_sentence(
    written, live, tmp_path
):
    live.mkdir()
    save(written, live, 0)
    (live / "step0" / "tokenizer.json").unlink()
    with pytest.raises(DataError, match="loss: "):
        pt.follow(request(live, tmp_path / "run", LOSS))
    assert pt.status(tmp_path / "run").workers[0].state == "refused"
