"""Fixtures: a real SLURM, started once for all tests, and cleared between them."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.slurm.lab import Lab, missing

INSTALL = "`sh tests/system_packages.sh` installs SLURM on Debian as root"


def _started(*, accounting: bool) -> Iterator[Lab]:
    if reason := missing(accounting=accounting):
        debian = Path("/etc/debian_version").exists() and shutil.which("apt-get")
        if debian and os.geteuid() == 0:
            pytest.fail(f"{reason}: {INSTALL}")
        pytest.skip(f"{reason}: {INSTALL}")
    with Lab(accounting=accounting) as lab:
        yield lab


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    yield from _started(accounting=False)


@pytest.fixture(scope="module")
def accounted() -> Iterator[Lab]:
    """With MariaDB and slurmdbd, so that sacct works."""
    yield from _started(accounting=True)


@pytest.fixture
def slurm(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """The SLURM of commands that this process starts; cleared when the test has ended."""
    monkeypatch.setenv("SLURM_CONF", lab.environment["SLURM_CONF"])
    yield lab
    lab.clear()
