"""The pass that is shared: each token once, the same bits as alone, one experiment's failure nobody
else's.
"""

import gc
import weakref
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors import safe_open

import pythia_traj as pt
from pythia_traj.errors import DataError
from pythia_traj.store.events import read_events
from pythia_traj.store.layout import Run
from pythia_traj.sweeps import forward

TEXT = {"n": 6, "length": 32, "null_n": 2}
SHARING = {
    "loss": TEXT,
    "logit_lens": {**TEXT, "positions": 8, "updates": 2, "batch": 3},
    "ngram": {**TEXT, "positions": 8, "sampled": 16, "train_tokens": 50_000},
    "activations": {**TEXT, "layers": "1"},
}


@pytest.fixture(autouse=True)
def batches_of_two(monkeypatch):
    """Several batches of each group, so that what is made of them has to be put together."""
    monkeypatch.setattr(forward, "batch_size", lambda *_: 2)


def sweep(suite, out, experiments):
    config = pt.SweepConfig(
        model=str(suite), steps="1,4", experiments=experiments, out=out, device="cpu"
    )
    return pt.sweep(config)


def sequences_through(monkeypatch, layer=0):
    """Counts the sequences that pass a layer."""
    counted = []
    original = forward._pass

    def counting(model, tokens, names):
        handle = model.blocks[layer].register_forward_pre_hook(
            lambda *_: counted.append(len(tokens))
        )
        try:
            return original(model, tokens, names)
        finally:
            handle.remove()

    monkeypatch.setattr(forward, "_pass", counting)
    return counted


def test_what_several_read_goes_through_the_model_once(suite, tmp_path, monkeypatch):
    counted = sequences_through(monkeypatch)
    assert not sweep(suite, tmp_path / "run", SHARING).failed
    samples = 3 * (6 + 2)
    assert sum(counted) == 2 * (6 + 2 + samples)
    done = [event for event in read_events(Run(tmp_path / "run")) if event["event"] == "done"]
    assert {frozenset(event["shared_with"]) | {event["unit"].split("/")[1]} for event in done} == {
        frozenset(SHARING)
    }


def test_a_unit_that_is_done_alone_has_the_same_bits(suite, tmp_path):
    sweep(suite, tmp_path / "together", SHARING)
    for label, parameters in SHARING.items():
        alone = tmp_path / label
        sweep(suite, alone, {label: parameters})
        for table in ({}, {"table": "items"}):
            one, other = (
                pt.load(alone, **table, controls=True),
                pt.load(tmp_path / "together", **table, controls=True, label=label),
            )
            assert len(one)
            assert one.equals(other.reset_index(drop=True))
    files = [
        path.relative_to(tmp_path / "activations")
        for path in (tmp_path / "activations").rglob("*.safetensors")
    ]
    assert len(files) == 2
    for file in files:
        with (
            safe_open(tmp_path / "activations" / file, "pt") as one,
            safe_open(tmp_path / "together" / file, "pt") as two,
        ):
            assert set(one.keys()) == set(two.keys()) == {"tokens", "blocks.1.hook_resid_post"}
            assert all(one.get_tensor(name).equal(two.get_tensor(name)) for name in one.keys())  # noqa: SIM118


def test_batches_are_put_together_as_one_would_have_been(suite, tmp_path, monkeypatch):
    each = 32 * (32 * 4 + 4)
    experiments = {
        **SHARING,
        "loss": {**TEXT, "per_token": True},
        "activations": {**TEXT, "layers": 1, "budget": 5 * each},
    }
    sweep(suite, tmp_path / "two", experiments)
    monkeypatch.setattr(forward, "batch_size", lambda *_: 100)
    sweep(suite, tmp_path / "whole", experiments)
    for table in ({}, {"table": "items"}, {"table": "tokens"}):
        two, whole = (pt.load(tmp_path / name, **table, controls=True) for name in ("two", "whole"))
        assert len(two) == len(whole)
        pd.testing.assert_frame_equal(two, whole, rtol=1e-4, atol=1e-5)
    for path in (tmp_path / "whole").rglob("*.safetensors"):
        other = tmp_path / "two" / path.relative_to(tmp_path / "whole")
        with safe_open(path, "pt") as one, safe_open(other, "pt") as two:
            for name in one.keys():  # noqa: SIM118
                assert one.get_slice(name).get_shape()[0] == 5
                torch.testing.assert_close(
                    one.get_tensor(name), two.get_tensor(name), rtol=1e-4, atol=1e-5
                )


OWN = '''
from dataclasses import dataclass
from pythia_traj.data.text import TextTokens
from pythia_traj.experiment import Data, experiment
from pythia_traj.processing import RAW
from pythia_traj.values import ItemValues, Key

TEXT = TextTokens(n=6, length=32, null_n=2)

@experiment(version=1, processing=RAW, data=TEXT, reads=("loss",))
def breaks(acts, *, at: int = 2) -> ItemValues:
    """Raises at some item."""
    if acts.first >= at:
        raise ZeroDivisionError("on purpose")
    return ItemValues()

@experiment(version=1, processing=RAW, data=TEXT, reads=("loss",))
def uneven(acts) -> ItemValues:
    """Values of different shapes, which can only be seen at the end."""
    values = ItemValues()
    values.add(Key("uneven"), acts.output("loss")[:, : 1 + acts.first], axes=("position",))
    return values

@experiment(version=1, processing=RAW, data=TEXT, reads=("blocks.0.attn.hook_result",))
def silent(acts) -> ItemValues:
    """Reads a hook that never fires."""
    return ItemValues()

def broken(**_):
    raise RuntimeError("reads raised")

@experiment(version=1, processing=RAW, data=TEXT, reads=broken)
def chooses(acts) -> ItemValues:
    """Cannot say what it reads."""
    return ItemValues()

@experiment(version=1, processing=RAW, data=TEXT, reads=("loss",))
def forgets(acts) -> ItemValues:
    """Returns nothing."""

@dataclass(frozen=True)
class NoGroups(Data):
    def spec(self, *, seed): return {}
    def bind(self, vocabulary, *, seed): return object()

@experiment(version=1, processing=RAW, data=NoGroups(), reads=("loss",))
def groupless(acts) -> ItemValues:
    """Has data without groups."""
    return ItemValues()

@experiment(version=1, processing=RAW, data=TEXT, reads=("resid_mid",))
def lacking(acts) -> ItemValues:
    """Reads what parallel models do not have."""
    return ItemValues()
'''


TYPO = '''
@experiment(version=1, processing=RAW, data=TEXT, reads=lambda **_: ("{read}",))
def typo(acts) -> ItemValues:
    """Reads what there is not."""
    return ItemValues()
'''

SHARED_DATA = '''
@experiment(version=1, data=NoGroups())
def whole(model, data):
    """Gets the model, and needs no groups."""
'''


@pytest.fixture
def own(tmp_path) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    return path


def test_an_experiment_that_raises_leaves_the_others_their_pass(suite, tmp_path, own):
    failing = ("breaks", "uneven", "silent", "chooses", "forgets")
    experiments = {"loss": TEXT, **{name: {"use": f"{own}:{name}"} for name in failing}}
    result = sweep(suite, tmp_path / "run", experiments)
    assert {unit.label for unit in result.done} == {"loss"}
    shared_with, _ = [
        event["shared_with"]
        for event in read_events(Run(tmp_path / "run"))
        if event["event"] == "done"
    ]
    assert set(shared_with) == set(failing)
    errors = {unit.label: error for unit, error in result.failed}
    assert errors["breaks"] == "ZeroDivisionError: on purpose"
    assert errors["uneven"].startswith("ValueError")
    assert errors["silent"] == "KeyError: 'blocks.0.attn.hook_result'"
    assert errors["chooses"] == "RuntimeError: reads raised"
    assert errors["forgets"] == "TypeError: experiment forgets returned NoneType, not ItemValues"
    traces = [
        event["traceback"]
        for event in read_events(Run(tmp_path / "run"))
        if event["event"] == "failed"
    ]
    assert len(traces) == 2 * len(failing)
    assert sum("own.py" in trace for trace in traces) == 2 * 2


def test_what_a_failed_experiment_held_is_let_go(suite, tmp_path, own, monkeypatch):
    alive = []
    original = forward._pass

    def watched(model, tokens, names):
        gc.collect()
        alive.append(sum(reference() is not None for reference in kept))
        found = original(model, tokens, names)
        kept.extend(weakref.ref(tensor) for tensor in found.values())
        return found

    kept = []
    monkeypatch.setattr(forward, "_pass", watched)
    sweep(suite, tmp_path / "run", {"loss": TEXT, "breaks": {"use": f"{own}:breaks", "at": 0}})
    assert len(alive) == 2 * 4
    with_failure = list(alive)
    alive.clear()
    kept.clear()
    sweep(suite, tmp_path / "alone", {"loss": TEXT})
    assert with_failure == alive == [0] * 8


def test_data_that_cannot_be_read_is_refused(suite, tmp_path, own):
    with pytest.raises(DataError, match="groupless: its data has no groups of int64 token ids"):
        sweep(suite, tmp_path / "run", {"groupless": {"use": f"{own}:groupless"}})


def test_what_a_model_lacks_is_named(suite, tmp_path, own):
    with pytest.raises(
        DataError, match="lacking: this model has no resid_mid: in a parallel model"
    ):
        sweep(suite, tmp_path / "run", {"lacking": {"use": f"{own}:lacking"}})


@pytest.mark.parametrize(
    ("read", "message"),
    [
        ("resid_pots", "typo: this model has no resid_pots: give one of resid_pre, "),
        ("blocks.x.hook_z", "typo: this model has no z: give one of resid_pre, "),
        ("blocks.2.attn.hook_z", "typo: layer 2: the model has 2 layers: give 0 to 1"),
    ],
)
def test_a_read_that_is_misspelt_is_named(suite, tmp_path, read, message):
    path = tmp_path / "own.py"
    path.write_text(OWN + TYPO.format(read=read))
    with pytest.raises(DataError, match=message):
        sweep(suite, tmp_path / "run", {"loss": TEXT, "typo": {"use": f"{path}:typo"}})


def test_data_that_another_experiment_has_built_is_checked_too(suite, tmp_path, own):
    own.write_text(OWN + SHARED_DATA)
    experiments = {"whole": {"use": f"{own}:whole"}, "groupless": {"use": f"{own}:groupless"}}
    with pytest.raises(DataError, match="groupless: its data has no groups"):
        sweep(suite, tmp_path / "run", experiments)


def test_layers_above_the_last_that_is_read_are_not_run(suite, tmp_path, monkeypatch):
    counted = sequences_through(monkeypatch, layer=1)
    sweep(suite, tmp_path / "run", {"activations": {**TEXT, "layers": "0"}})
    assert counted == []
    sweep(suite, tmp_path / "run", {"activations": {**TEXT, "layers": "1"}})
    assert sum(counted) == 2 * (6 + 2)


def test_other_tokens_are_another_pass(suite, tmp_path):
    sweep(suite, tmp_path / "run", {"loss": TEXT, "activations": {**TEXT, "seed": 7}})
    done = [event for event in read_events(Run(tmp_path / "run")) if event["event"] == "done"]
    assert [event["shared_with"] for event in done] == [[]] * 4
