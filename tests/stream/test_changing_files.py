"""Weight files that change while a sweep reads them: their step fails, or is read again; nothing
ends the process.
"""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import pythia_traj as pt
from pythia_traj.architectures.gpt_neox import ARCHITECTURE
from pythia_traj.checkpoint import Room
from pythia_traj.errors import CheckpointError
from pythia_traj.models.tensors import read_tensors
from pythia_traj.suites import reading
from pythia_traj.suites.local import LocalModel
from pythia_traj.suites.reading import Reading

SAFE = "model.safetensors"
TOKENS = torch.arange(2, 22)[None]


def cut(path):
    with path.open("r+b") as file:
        file.truncate(100)


def emptied(path):
    path.write_bytes(b"")


def grown(path):
    with path.open("ab") as file:
        file.write(bytes(8192))


def replaced(path):
    """By another whole file, as a training writes it."""
    tensors = {name: tensor * 2 for name, tensor in load_file(path).items()}
    save_file(tensors, path.with_name("new"), metadata={"format": "pt"})
    path.with_name("new").replace(path)


def overwritten(path):
    """In place, by as many bytes."""
    tensors = {name: tensor * 2 for name, tensor in load_file(path).items()}
    save_file(tensors, path.with_name("new"), metadata={"format": "pt"})
    whole = path.with_name("new").read_bytes()
    path.with_name("new").unlink()
    assert len(whole) == path.stat().st_size
    with path.open("r+b") as file:
        file.write(whole)
    os.utime(path)


CHANGES = {"cut": cut, "emptied": emptied, "grown": grown}

# The process may be killed, if it fails: it is another one.
IN_A_PROCESS = """
import shutil, sys, time
from pathlib import Path
import pythia_traj as pt
from pythia_traj.suites import reading
root, kind = Path(sys.argv[1]), sys.argv[2]
if kind == "mapped":
    reading._SHARE = 10**15
sys.path.insert(0, sys.argv[3])
from tests.stream.test_changing_files import CHANGES
for how, change in CHANGES.items():
    found = []
    own = shutil.copytree(root, root.with_name(how))
    for ckpt in pt.checkpoints(own, device="cpu", prefetch=2, on_error="skip"):
        found.append(ckpt.step)
        if ckpt.step == 0:
            time.sleep(0.5)  # The next steps are open by then.
            change(own / "step1" / "model.safetensors")
    print(how, found)
"""


@pytest.mark.parametrize("kind", ["buffered", "mapped"])
def test_a_file_that_changes_after_it_was_opened_costs_its_step_alone(own_suite, kind):
    command = [
        sys.executable,
        "-c",
        IN_A_PROCESS,
        str(own_suite),
        kind,
        str(Path(__file__).parents[2]),
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [f"{how} [0, 2, 4]" for how in CHANGES]
    assert result.stderr.count("step 1 is skipped") == len(CHANGES)
    assert "Traceback" not in result.stderr


@pytest.fixture(params=["buffered", "mapped"])
def kind(request, monkeypatch):
    if request.param == "mapped":
        monkeypatch.setattr(reading, "_SHARE", 10**15)
    return request.param


@pytest.mark.parametrize("change", [replaced, overwritten])
def test_a_file_that_was_written_anew_is_read_anew(own_suite, kind, change):
    """What is recorded of a unit's files is what is there when it begins: so are its weights."""
    found = {}
    for ckpt in pt.checkpoints(own_suite, device="cpu", prefetch=2):
        found[ckpt.step] = ckpt.model(TOKENS).detach()
        if ckpt.step == 0:
            time.sleep(0.3)
            change(own_suite / "step1" / SAFE)
    (alone,) = (
        ckpt.model(TOKENS).detach() for ckpt in pt.checkpoints(own_suite, steps="1", device="cpu")
    )
    assert torch.equal(found[1], alone)


def test_a_file_that_was_removed_after_it_was_read_is_measured(own_suite, kind):
    expected = {
        ckpt.step: ckpt.model(TOKENS).detach() for ckpt in pt.checkpoints(own_suite, device="cpu")
    }
    found = {}
    for ckpt in pt.checkpoints(own_suite, device="cpu", prefetch=2):
        found[ckpt.step] = ckpt.model(TOKENS).detach()
        if ckpt.step == 0:
            time.sleep(0.3)
            (own_suite / "step1" / SAFE).unlink()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[step], expected[step]) for step in found)


@pytest.mark.parametrize("change", [cut, grown, overwritten])
def test_a_file_that_changes_while_it_is_read_is_refused(own_suite, monkeypatch, change):
    path = own_suite / "step0" / SAFE
    monkeypatch.setattr(reading, "_PIECE", 4096)
    read, count = os.preadv, []

    def preadv(*arguments):
        count.append(1)
        if len(count) == 3:
            change(path)
        return read(*arguments)

    monkeypatch.setattr(os, "preadv", preadv)
    staging = Reading.within(Room(), path.stat().st_size)
    said = "became shorter while it was read" if change is cut else "was changed while it was read"
    with pytest.raises(CheckpointError, match=said), staging.hold([path]):
        pass


def test_a_sweep_goes_on_while_a_file_shrinks_and_grows(own_suite, tmp_path):
    path, stop = own_suite / "step2" / SAFE, threading.Event()
    whole = path.read_bytes()

    def disturb():
        while not stop.is_set():
            with path.open("r+b") as file:
                file.truncate(len(whole) // 3)
            path.write_bytes(whole)

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        experiments = {"loss": {"length": 32, "n": 2}}
        config = pt.SweepConfig(
            model=str(own_suite),
            steps="all",
            experiments=experiments,
            out=tmp_path / "run",
            device="cpu",
        )
        result = pt.sweep(config)
    finally:
        stop.set()
        thread.join()
    assert {0, 1, 4} <= {unit.step for unit in result.done}
    assert {unit.step for unit, _ in result.failed} <= {2}
    rows = pt.load(tmp_path / "run")
    assert {0, 1, 4} <= set(rows.step)


def test_buffers_are_used_again_and_hold_what_the_files_hold(suite):
    model = LocalModel.open(suite)
    staging = model.staging(Room(prefetch=2), model.steps)
    assert staging.ahead == 2
    places = set()
    for step in model.steps:
        checkpoint = model.checkpoint(step)
        with checkpoint.open(staging) as (file,), checkpoint.open() as (mapped,):
            assert file.path is None
            assert mapped.path is not None
            assert bytes(file.data) == bytes(mapped.data)
            ours, theirs = (
                read_tensors([file], ARCHITECTURE),
                load_file(suite / f"step{step}" / SAFE),
            )
            places.add(ours["gpt_neox.embed_in.weight"].data_ptr())
            renamed = {
                name.replace("lm_head.", "embed_out."): tensor for name, tensor in theirs.items()
            }
            assert all(
                torch.equal(tensor, renamed[name.replace("lm_head.", "embed_out.")])
                for name, tensor in ours.items()
            )
            del ours
    assert len(places) == 1


def test_what_is_too_large_for_the_memory_is_mapped():
    staging = Reading.within(Room(prefetch=2), 10**15)
    assert staging.ahead == 2
    assert not staging._has_room(1)
    assert Reading.within(Room(prefetch=10**6), 10**6).ahead < 10**6


def test_reading_is_stopped(own_suite):
    path = own_suite / "step0" / SAFE
    staging = Reading.within(Room(), 1)
    staging.stop()
    with pytest.raises(CheckpointError, match="stopped while reading"), staging.hold([path]):
        pass


def test_the_index_is_asked_again_too(own_suite):
    index = {"weight_map": dict.fromkeys(load_file(own_suite / "step0" / SAFE), SAFE)}
    (own_suite / "step0" / "model.safetensors.index.json").write_text(json.dumps(index))
    with LocalModel.open(own_suite).checkpoint(0).open() as (file,):
        assert file.tensors == frozenset(index["weight_map"])
