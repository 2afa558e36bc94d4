"""A small run with items, controls and a table of an experiment's own."""

import pytest

import pythia_traj as pt
from pythia_traj.store.layout import Run


@pytest.fixture(scope="session")
def shared(suite, tmp_path_factory) -> Run:
    """Two models at four steps; not to be changed."""
    out = tmp_path_factory.mktemp("sharing") / "run"
    result = pt.sweep(
        pt.SweepConfig(
            model=[str(suite), f"other={suite}"],
            steps="all",
            device="cpu",
            experiments={
                "induction": {"length": 20, "n": 4},
                "samples": {"tokens": 4, "prompts": ["A", "=1+1"]},
            },
            out=out,
        )
    )
    assert not result.failed
    return Run.open(out)
