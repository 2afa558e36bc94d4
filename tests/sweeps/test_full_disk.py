"""A sweep onto a disk that fills up, and onto one that is read-only: real file systems, so root and `mount` are needed."""

import os
import subprocess

import pytest

import pythia_traj as pt
from pythia_traj.errors import StoreError


def mount(*arguments):
    return subprocess.run(["mount", *map(str, arguments)], capture_output=True, check=False).returncode == 0


@pytest.fixture
def disk(tmp_path):
    """A file system of 300 kB."""
    point = tmp_path / "disk"
    point.mkdir()
    if os.geteuid() != 0 or not mount("-t", "tmpfs", "-o", "size=300k", "tmpfs", point):
        pytest.skip("a file system can only be mounted by root, where the system allows it")
    yield point
    subprocess.run(["umount", str(point)], check=True)


def request(suite, out):
    experiments = {"loss": {"length": 64, "n": 4, "null_n": 2}, "induction": {"length": 20, "n": 4}}
    return pt.SweepConfig(model=str(suite), steps="all", experiments=experiments, out=out)


def rows_of(run):
    return pt.load(run).astype({name: object for name in ("model", "experiment")})


def test_a_full_disk_ends_the_sweep_with_a_sentence_and_a_repeat_goes_on(suite, disk, tmp_path):
    undisturbed = tmp_path / "undisturbed"
    pt.sweep(request(suite, undisturbed))
    # So little is left that it fills up in the middle of the sweep, whatever the size of a unit.
    size = sum(path.stat().st_size for path in undisturbed.rglob("*") if path.is_file())
    assert mount("-o", f"remount,size={size // 2 // 4096 * 4}k", disk)

    run = disk / "run"
    with pytest.raises(StoreError, match=r"the disk of .* is full: free some space and repeat the command"):
        pt.sweep(request(suite, run))
    kept = rows_of(run)
    assert 0 < len(kept) < len(rows_of(undisturbed))
    assert not list((run / ".tmp").iterdir())

    assert mount("-o", "remount,size=20m", disk)
    result = pt.sweep(request(suite, run))
    assert result.skipped
    assert not result.failed
    assert rows_of(run).equals(rows_of(undisturbed))


def test_a_read_only_disk_is_said_before_any_work(suite, disk):
    assert mount("-o", "remount,ro", disk)
    with pytest.raises(StoreError, match=r"is read-only: give another --out"):
        pt.sweep(request(suite, disk / "run"))
