"""A file of a run is whole or not there, and what a killed process left is removed."""

import errno
import os
import socket
import subprocess
import sys

import pytest

from pythia_traj.errors import StoreError
from pythia_traj.store.layout import Run
from pythia_traj.store.writing import writing


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    run = Run.create(tmp_path / "run")
    target = run.path / "metrics" / "file"
    with pytest.raises(RuntimeError), run.replacing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert not target.exists()
    with run.replacing(target) as temporary:
        temporary.write_text("whole")
        assert not target.exists()
    assert target.read_text() == "whole"
    assert not list((run.path / ".tmp").iterdir())


@pytest.fixture
def dead():
    """The number of a process that has ended."""
    return subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid(), end='')"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def test_leftovers_of_dead_processes_are_removed_and_those_of_living_ones_kept(tmp_path, dead):
    run, host = Run.create(tmp_path / "run"), socket.gethostname()
    # Process 1 lives, and is another user's for everybody but root.
    stay = {
        f"{host}-{os.getpid()}-x",
        f"{host}-1-x",
        f"elsewhere-{dead}-x",
        f"{host}-2-{dead}-x",
        f"{host}-{'9' * 30}-x",
        f"{host}-\u00b2-x",
        f"{host}--1-x",
        f"{host}-",
    }
    for name in (*stay, f"{host}-{dead}-x", f"{host}-{dead}-y"):
        (run.path / ".tmp" / name).touch()
    run.remove_leftovers()
    assert {path.name for path in (run.path / ".tmp").iterdir()} == stay


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, "is full: free some space and repeat the command; what is finished is kept"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "is read-only: give another --out"),
        (errno.EACCES, "may not be written"),
        (errno.EIO, "cannot write"),
    ],
)
def test_the_systems_refusals_are_sentences(tmp_path, code, message):
    with pytest.raises(StoreError, match=message), writing(tmp_path):
        raise OSError(code, os.strerror(code))
