"""Weights that are no numbers: named when they are read, and no experiment makes numbers of them or fails in words of its own."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

import pythia_traj as pt
from pythia_traj.discovery import discover
from pythia_traj.models.finite import non_finite
from pythia_traj.store.done import list_units
from pythia_traj.store.layout import Run
from pythia_traj.store.unit import read_footer
from tests.experiments.test_all import SMALL
from tests.support import publish, random_model

BIAS = "gpt_neox.layers.0.attention.dense.bias"
NORM = "gpt_neox.final_layer_norm.weight"
OF_INIT = {"transplant": "init", "representation": "init", "attribution": "init", "weights": "init"}


def spoil(file: Path, name: str, *values: float) -> None:
    tensors = load_file(file)
    tensors[name].view(-1)[: len(values)] = torch.tensor(values)
    save_file(tensors, file, metadata={"format": "pt"})


@pytest.fixture(scope="module")
def spoilt(suite, tmp_path_factory):
    """The tiny suite with a NaN in a bias of step 1, and infinities in the last shard of step 2."""
    root = Path(shutil.copytree(suite, tmp_path_factory.mktemp("spoilt") / "tiny"))
    spoil(root / "step1" / "model.safetensors", BIAS, float("nan"))
    shutil.rmtree(root / "step2")
    publish(root / "step2", random_model(2), sharded=True)
    index = json.loads((root / "step2" / "model.safetensors.index.json").read_text())["weight_map"]
    last = max(index.values())
    name = next(name for name, shard in sorted(index.items()) if shard == last)
    spoil(root / "step2" / last, name, float("inf"), float("-inf"), float("nan"))
    return root, name


@pytest.fixture(scope="module")
def runs(suite, spoilt, tmp_path_factory):
    """All experiments on the suite as it was and on the spoilt one."""
    experiments = {
        name: {**SMALL.get(name, {}), **({"references": OF_INIT[name]} if name in OF_INIT else {})}
        for name in discover()
    }
    found = []
    for root, steps in ((suite, "0"), (spoilt[0], "0,1,2")):
        out = tmp_path_factory.mktemp("run") / "run"
        config = pt.SweepConfig(model=str(root), steps=steps, experiments=experiments, out=out, device="cpu")
        found.append((out, pt.sweep(config)))
    return found


def test_no_value_is_made_of_them(runs):
    rows = pt.load(runs[1][0])
    spoilt = rows[rows.step.isin([1, 2])]
    assert len(spoilt) > 100
    assert spoilt.value.isna().all()
    assert spoilt.reason.str.startswith("the weights of step ").all()
    for table in ("items", "edges", "spectra", "samples"):
        assert not set(pt.load(runs[1][0], table=table).step) & {1, 2}


def test_every_file_of_the_step_says_which_tensors(runs, spoilt):
    wanted = {1: {BIAS: "1 NaN"}, 2: {spoilt[1]: "1 NaN, 2 infinite"}}
    run = Run(runs[1][0])
    for unit in list_units(run):
        integrity = read_footer(unit.path)["integrity"]
        assert integrity.get("non_finite", {}) == wanted.get(unit.step, {})
        assert integrity["verdict"] == ("known-defect" if unit.step in wanted else "unchecked")


def test_what_fails_on_them_fails_because_of_them(runs):
    failed = {unit.name: error for unit, error in runs[1][1].failed}
    assert {name.rpartition("step")[2] for name in failed} <= {"1", "2"}
    for error in failed.values():
        assert error.startswith(("the weights of step 1 are not finite: ", "the weights of step 2 are not finite: "))


def test_other_steps_are_as_they_were(runs):
    clean, spoilt = (pt.load(run).query("step == 0").reset_index(drop=True) for run, _ in runs)
    words = list(clean.select_dtypes("category"))
    clean, spoilt = (rows.astype(dict.fromkeys(words, object)) for rows in (clean, spoilt))
    pd.testing.assert_frame_equal(spoilt, clean, check_exact=True)


def test_a_reference_that_is_not_finite_is_the_reason_too(spoilt, tmp_path):
    experiments = {"weights": {"references": "step:1", "sketch": 0, "heads": False}}
    config = pt.SweepConfig(
        model=str(spoilt[0]), steps="4", experiments=experiments, out=tmp_path / "run", device="cpu"
    )
    pt.sweep(config)
    rows = pt.load(tmp_path / "run")
    assert rows.value.isna().all()
    assert set(rows.reason) == {f"the weights of step 1 are not finite: {BIAS} (1 NaN)"}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_each_kind_is_counted(dtype):
    values = torch.tensor([[1.0, float("nan"), -2.0], [float("inf"), float("-inf"), float("nan")]], dtype=dtype)
    tensors = {"bad": values, "good": torch.ones(3, dtype=dtype), "empty": torch.ones(0, dtype=dtype)}
    assert non_finite(tensors.items()) == {"bad": "2 NaN, 2 infinite"}
    assert non_finite([("largest", torch.full((4,), torch.finfo(dtype).max, dtype=dtype))]) == {}
