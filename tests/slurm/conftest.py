"""Fixtures: a real Slurm, started once for all tests, and cleared between them."""

from collections.abc import Iterator

import pytest

from tests.slurm.lab import Lab, required


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    required()
    with Lab() as started:
        yield started


@pytest.fixture(scope="session")
def accounted() -> Iterator[Lab]:
    """With MariaDB and slurmdbd, so that sacct works."""
    required(accounting=True)
    with Lab(accounting=True) as started:
        yield started


@pytest.fixture
def slurm(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lab]:
    """The Slurm of commands that this process starts; cleared when the test has ended."""
    monkeypatch.setenv("SLURM_CONF", lab.environment["SLURM_CONF"])
    yield lab
    lab.clear()
