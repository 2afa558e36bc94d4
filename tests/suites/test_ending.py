"""Whether a training has ended, by the states that a Trainer writes."""

import json
import os

import pytest

from pythia_traj.suites.ending import Ending

STOPPED = {"TrainerControl": {"args": {"should_training_stop": True}}}
GOES_ON = {"TrainerControl": {"args": {"should_training_stop": False}}}


def states(directory, found):
    """Writes states: of a checkpoint by its step, of the directory by None."""
    there = {}
    for step, state in found.items():
        folder = directory if step is None else directory / f"checkpoint-{step}"
        folder.mkdir(exist_ok=True)
        if state is not None:
            text = state if isinstance(state, str) else json.dumps(state)
            (folder / "trainer_state.json").write_text(text)
        if step is not None:
            there[step] = folder.name
    return there


def state(step, most=100, **more):
    return {"global_step": step, "max_steps": most, **more}


@pytest.mark.parametrize(
    ("found", "why"),
    [
        pytest.param({}, None, id="nothing is there"),
        pytest.param({10: None}, None, id="no state yet"),
        pytest.param({10: state(10), 20: state(20)}, None, id="steps are left"),
        pytest.param({90: state(90), 100: state(100)}, "step 100 was the last of 100", id="last"),
        pytest.param({100: state(100), 110: state(110, 200)}, None, id="resumed with more steps"),
        pytest.param({100: state(100), 110: None}, None, id="resumed, no state yet"),
        pytest.param({30: state(30, stateful_callbacks=STOPPED)}, "stopped at step 30", id="early"),
        pytest.param({30: state(30, stateful_callbacks=GOES_ON)}, None, id="not stopped"),
        pytest.param({30: state(30), None: state(35)}, "ended at step 35", id="saved at the end"),
        pytest.param({30: state(30), None: state(30)}, "ended at step 30", id="at the last step"),
        pytest.param({None: state(30)}, "ended at step 30", id="no checkpoint at all"),
        pytest.param({40: state(40), None: state(30)}, None, id="an older end"),
        pytest.param({10: state(10, most=0)}, None, id="no number of steps"),
        pytest.param({10: '{"global_step": 1'}, None, id="half a file"),
        pytest.param({10: "[1, 2]"}, None, id="a list"),
        pytest.param({10: "[" * 100_000}, None, id="too deep"),
        pytest.param({10: '{"global_step": "x"}'}, None, id="text for a step"),
        pytest.param({10: state(10, stateful_callbacks=[1])}, None, id="other callbacks"),
        pytest.param(
            {9: '{"global_step": 9, "max_steps": 9, "log_history": [{"loss": NaN}]}'},
            "step 9 was the last of 9",
            id="a loss that is not a number",
        ),
    ],
)
def test_the_newest_state_says_whether_the_training_has_ended(tmp_path, found, why):
    said = Ending(tmp_path).why(states(tmp_path, found))
    assert said is None if why is None else why in said


def test_a_state_is_read_again_when_it_has_changed_and_only_then(tmp_path):
    ending, there = Ending(tmp_path), states(tmp_path, {10: state(10)})
    path = tmp_path / "checkpoint-10" / "trainer_state.json"
    assert ending.why(there) is None
    before = path.stat()
    path.write_text(json.dumps(state(10, most=10)).ljust(before.st_size)[: before.st_size])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert ending.why(there) is None
    os.utime(path, ns=(1, 1))
    assert "the last of 10" in ending.why(there)
