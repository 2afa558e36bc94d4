"""Metrics by training step in other programs' formats, read back by these programs."""

import re
import struct
import sys
import time

import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from wandb.proto.wandb_internal_pb2 import Record

import pythia_traj as pt
from pythia_traj.errors import ConfigError, StoreError
from pythia_traj.sharing.series import logged, name_of
from pythia_traj.store.parts import Parts

CHOSEN = {"metric": ["prefix_matching", "nll"], "controls": True}


@pytest.fixture(scope="module")
def expected(shared):
    """The values by model, step and name, as `load` has them."""
    found = {}
    for row in pt.load(shared.path, **CHOSEN).to_dict("records"):
        key = {name: value for name, value in row.items() if not pd.isna(value)}
        if "value" in key:
            found[key["model"], key["step"], name_of(key)] = key["value"]
    return found


def test_each_trajectory_has_a_name_of_its_own(shared, expected):
    defined = pt.load(shared.path, **CHOSEN).dropna(subset=["value"])
    assert len(expected) == len(defined) > 100
    parts = Parts(shared, **CHOSEN)
    found = {
        (point.model, point.step, name): value
        for point in logged(parts)
        for name, value in point.values.items()
    }
    assert found == expected


NAMES = {
    "a head": (
        {"label": "induction", "metric": "bos", "variant": "v", "component": "head", "layer": 1,
         "head": 3, "control": "shuffled"},
        "induction/bos/v/L1H3/control=shuffled",
    ),
    "a layer": ({"label": "a", "metric": "m", "component": "mlp", "layer": 2}, "a/m/L2.mlp"),
    "no layer": ({"label": "a", "metric": "m", "component": "embed"}, "a/m/.embed"),
    "everything else": (
        {"label": "a", "metric": "m", "position": -1, "part": "top2", "target": "nll", "size": 60,
         "reference": "final"},
        "a/m/position=-1/part=top2/target=nll/size=60/reference=final",
    ),
    "zero": ({"label": "a", "metric": "m", "size": 0, "layer": 0, "head": 0}, "a/m/L0H0/size=0"),
    "a slash": ({"label": "a", "metric": "m", "part": "b/c"}, "a/m/part=b|c"),
}  # fmt: skip


@pytest.mark.parametrize("case", NAMES)
def test_a_name_says_which_trajectory_it_is(case):
    key, name = NAMES[case]
    assert name_of(key) == name


def read_events(folder):
    """The values of a folder's event files, by step and name, as TensorBoard reads them."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {
        (one.step, name): one.value
        for name in events.Tags()["scalars"]
        for one in events.Scalars(name)
    }


def test_tensorboard_reads_the_same_values_by_step(shared, expected, tmp_path):
    assert pt.export(shared.path, tmp_path / "logs", format="tensorboard", **CHOSEN) == ()
    found = {
        (model, *key): value
        for model in ("tiny", "other")
        for key, value in read_events(tmp_path / "logs" / model).items()
    }
    assert found == {key: single(value) for key, value in expected.items()}


def single(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def test_a_second_export_replaces_the_first(shared, tmp_path):
    for _ in range(2):
        pt.export(shared.path, tmp_path, format="tensorboard", label="induction", step=[0, 1])
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 2
    assert {step for step, _ in read_events(tmp_path / "other")} == {0, 1}


def test_where_one_model_cannot_be_written_none_is(shared, tmp_path):
    (tmp_path / "tiny").write_text("a file where the folder would be")
    with pytest.raises(StoreError, match="cannot write"):
        pt.export(shared.path, tmp_path, format="tensorboard")
    assert not list(tmp_path.rglob("events*"))


def records(path):
    """The records of wandb's file: LevelDB's format of a log, seven bytes in front of each."""
    data, at, held = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        held += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield Record.FromString(held)
            held = b""


def whole(path):
    """All records of a file: wandb's own process may still write it when the export has ended."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        found = list(records(path))
        if found and found[-1].WhichOneof("record_type") == "exit":
            return found
        time.sleep(0.1)
    raise TimeoutError(path)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """wandb writes into this folder, and sends nothing."""
    for name, value in {
        "WANDB_MODE": "offline",
        "WANDB_DIR": tmp_path,
        "WANDB_CACHE_DIR": tmp_path / "cache",
        "WANDB_CONFIG_DIR": tmp_path / "config",
        "WANDB_DATA_DIR": tmp_path / "data",
    }.items():
        monkeypatch.setenv(name, str(value))
    return tmp_path


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_wandb_has_the_same_values_by_step_a_run_for_each_model(shared, expected, offline):
    assert pt.export(shared.path, "training", format="wandb", **CHOSEN) == ()
    found, runs = {}, {}
    for path in offline.glob("wandb/offline-run-*/run-*.wandb"):
        of_file = whole(path)
        (run,) = [one.run for one in of_file if one.WhichOneof("record_type") == "run"]
        runs[run.display_name] = run
        for one in of_file:
            if one.WhichOneof("record_type") == "history":
                for item in one.history.item:
                    name = item.key or item.nested_key[0]
                    key = run.display_name, one.history.step.num, name
                    found[key] = float(item.value_json)
    assert {name: (run.project, run.run_group) for name, run in runs.items()} == {
        "tiny": ("training", "run"),
        "other": ("training", "run"),
    }
    tokens = {key: value for key, value in found.items() if key[2] == "tokens"}
    assert tokens["tiny", 4, "tokens"] == 4 * 2048
    values = {key: value for key, value in found.items() if not re.match("tokens|_", key[2])}
    assert values == pytest.approx(expected, rel=1e-15)


def test_what_wandb_may_not_take_is_refused_before_anything_is_logged(shared, offline):
    with pytest.raises(StoreError, match="these rows have no metric 'nlll'"):
        pt.export(shared.path, "training", format="wandb", metric="nlll")
    assert not list(offline.glob("wandb/*"))


@pytest.mark.parametrize("kind", ["tensorboard", "wandb"])
def test_a_package_that_is_not_installed_is_named(shared, tmp_path, kind, monkeypatch):
    module = {"wandb": "wandb", "tensorboard": "tensorboard.compat.proto.event_pb2"}[kind]
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=rf"pip install 'pythia-traj\[{kind}\]'$"):
        pt.export(shared.path, tmp_path / "logs", format=kind)
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_event_files(shared, tmp_path, cli):
    status, out, err = cli("export", shared.path, "--tensorboard", tmp_path, "--metric", "nll")
    assert (status, out, err) == (0, f"TensorBoard: {tmp_path}\n", "")
    assert read_events(tmp_path / "tiny")
