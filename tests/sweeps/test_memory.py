"""What is counted of a pass, and that a step of `activations` holds no more."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import pythia_traj as pt
from pythia_traj.discovery import discover
from pythia_traj.errors import DataError
from pythia_traj.reads import Shape
from pythia_traj.store.events import read_events
from pythia_traj.store.layout import Run
from pythia_traj.sweeps import datasets
from pythia_traj.sweeps.cost import estimate
from pythia_traj.sweeps.requests import plan_sweep

ROOT = Path(__file__).parents[2]

SHAPE = Shape(
    n_layers=6, n_heads=8, d_model=512, d_head=64, d_mlp=2048, element_size=4, hooks=frozenset()
)
USUAL = 4 * 6 * (8 * 100 * 100 + 2 * 100 * 512)
"""Of 100 tokens: patterns and two streams of each layer."""

MANY = "resid_pre,resid_post,attn_out,mlp_out,q,k,v,z,pre,post"
TEXT = {"n": 6, "length": 20, "null_n": 2}


@pytest.mark.parametrize("name", [name for name, found in discover().items() if found.reads])
def test_what_experiments_read_by_default_has_the_usual_batches(name):
    found = discover()[name]
    defaults = {parameter.name: parameter.default for parameter in found.parameters.values()}
    assert SHAPE.bytes_per_item(100, found.reads_with(defaults)) == USUAL


def test_what_is_more_than_usual_counts_with_what_a_layer_makes():
    sites = tuple(MANY.split(","))
    # Eight of the width of the stream, and twice that of the MLP.
    kept = 6 * 100 * (8 * 512 + 2 * 2048)
    made = 100 * (3 * 8 * 100 + 2 * 2048 + 8 * 512)
    assert SHAPE.bytes_per_item(100, sites) == 4 * (kept + made)
    assert SHAPE.bytes_per_item(100, ("pattern", "loss")) == USUAL
    assert SHAPE.bytes_per_item(100, ("blocks.3.mlp.hook_post", "final")) == USUAL


def sweep(suite, out, experiments):
    config = pt.SweepConfig(
        model=str(suite), steps="4", experiments=experiments, out=out, device="cpu"
    )
    assert not pt.sweep(config).failed
    done = [event for event in read_events(Run(out)) if event["event"] == "done"]
    return {event["file"].split("label=")[1].split("/")[0]: event["shared_with"] for event in done}


def test_many_sites_are_a_pass_of_their_own_and_one_site_shares(suite, tmp_path):
    few, many = TEXT, {**TEXT, "sites": MANY}
    together = {"loss": TEXT, "few": {"use": "activations", **few}}
    together["many"] = {"use": "activations", **many}
    assert sweep(suite, tmp_path / "all", together) == {
        "loss": ["few"],
        "few": ["loss"],
        "many": [],
    }
    sweep(suite, tmp_path / "alone", {"many": together["many"]})
    rows = [
        pt.load(tmp_path / name, label="many", controls=True).reset_index(drop=True)
        for name in ("all", "alone")
    ]
    assert rows[0].equals(rows[1])


def test_a_dry_run_counts_a_batch_and_the_file(suite, tmp_path):
    config = pt.SweepConfig(
        model=str(suite),
        steps="4",
        experiments={"activations": TEXT, "weights": {}},
        out=tmp_path / "run",
        device="cpu",
    )
    plan, (published,) = plan_sweep(config)
    costs = estimate(config, published, plan.todo)
    file = 6 * 20 * (2 * 32 * 4 + 4)
    batch = 6 * 4 * 2 * (4 * 20 * 20 + 2 * 20 * 32)
    assert costs["activations"].memory == file + batch
    assert "weights" not in costs


def test_a_file_that_does_not_fit_the_memory_is_refused_at_once(suite, tmp_path, monkeypatch):
    free = SimpleNamespace(virtual_memory=lambda: SimpleNamespace(available=20_000))
    monkeypatch.setattr(datasets, "psutil", free)
    with pytest.raises(DataError, match="activations: .* are held until .*: set budget or n lower"):
        sweep(suite, tmp_path / "run", {"activations": TEXT})
    assert sweep(suite, tmp_path / "less", {"activations": {**TEXT, "budget": 15_000}})


@pytest.mark.slow
def test_the_peak_is_at_most_a_fifth_above_what_is_counted():
    """Of 1, 5 and 10 sites."""
    program = str(ROOT / "benchmarks" / "activations.py")
    found = subprocess.run(
        [sys.executable, program, "--json"], check=True, capture_output=True, text=True
    )
    ratios = json.loads(found.stdout)["ratios"]
    assert len(ratios) == 3
    assert max(ratios.values()) <= 1.2
