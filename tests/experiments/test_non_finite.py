"""Weights that are no numbers: named when they are read, and no experiment makes numbers of them or
fails in words of its own.
"""

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

pytestmark = pytest.mark.slow

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
        config = pt.SweepConfig(
            model=str(root), steps=steps, experiments=experiments, out=out, device="cpu"
        )
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
        assert error.startswith(
            ("the weights of step 1 are not finite: ", "the weights of step 2 are not finite: ")
        )


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


def test_rows_of_a_step_that_is_not_finite_are_no_reference_also_when_it_was_measured_before(
    suite, tmp_path
):
    """The rows of the first step are undefined: an experiment that leaves undefined rows out would
    compare with fewer.
    """
    root = Path(shutil.copytree(suite, tmp_path / "tiny"))
    spoil(root / "step0" / "model.safetensors", BIAS, float("nan"))
    request = {
        "model": str(root),
        "experiments": {"head_roles": SMALL.get("head_roles", {})},
        "device": "cpu",
    }
    for steps in ("0", "0,4"):
        config = pt.SweepConfig(**request, steps=steps, out=tmp_path / "run")
        result = pt.sweep(config)
    assert [unit.step for unit in result.done] == [4]
    rows = pt.load(tmp_path / "run").query("step == 4")
    assert len(rows) > 10
    assert rows.value.isna().all()
    assert set(rows.reason) == {f"the weights of step 0 are not finite: {BIAS} (1 NaN)"}


GAIN = "gpt_neox.layers.1.input_layernorm.weight"
MATRIX = "gpt_neox.layers.1.attention.query_key_value.weight"
LARGE = {
    # name: (values put into tensors of step 1, dtype of the model, what of it became infinite)
    "too large for float16": (
        {MATRIX: 1e6},
        "float16",
        "blocks.1.attn.W_Q in float16 (1 infinite)",
    ),
    "too large for float16 once folded": (
        {MATRIX: 3e4, GAIN: 3e4},
        "float16",
        "blocks.1.attn.W_Q in float16",
    ),
    "a bias too large for float16": (
        {"embed_out.weight": 6e4, NORM: 6e4},
        "float16",
        "unembed.W_U in float16",
    ),
    "too large for float32 once folded": (
        {MATRIX: 3e30, GAIN: 3e30},
        "float32",
        "blocks.1.attn.W_Q in float32",
    ),
    "too large for bfloat16 once folded": (
        {MATRIX: 3e30, GAIN: 3e30},
        "bfloat16",
        "blocks.1.attn.W_Q in bfloat16",
    ),
    "a row of the embedding that no text has": (
        {"gpt_neox.embed_in.weight": float("nan")},
        "float32",
        "gpt_neox.embed_in.weight (1 NaN)",
    ),
}


FINITE_AS_THEY_ARE = {"too large for float32 once folded", "too large for bfloat16 once folded"}
"""Unfolded, softmax is merely certain."""


def enlarged(suite, folder, values):
    root = Path(shutil.copytree(suite, folder / "tiny"))
    file = root / "step1" / "model.safetensors"
    tensors = {name: tensor.float() for name, tensor in load_file(file).items()}
    for name, value in values.items():
        name = name if name in tensors else name.replace("embed_out", "lm_head")
        tensors[name].view(-1)[-1 if "embed_in" in name else 0] = value
    save_file(tensors, file, metadata={"format": "pt"})
    return root


@pytest.mark.parametrize("name", LARGE)
def test_finite_weights_that_become_infinite_on_the_way_give_no_values(
    suite, tmp_path, name, caplog
):
    values, dtype, said = LARGE[name]
    root = enlarged(suite, tmp_path, values)
    config = pt.SweepConfig(
        model=str(root),
        steps="0,1,4",
        experiments={"loss": {"length": 32, "n": 64}, "induction": {"n": 2}},
        out=tmp_path / "run",
        device="cpu",
        dtype=dtype,
    )
    pt.sweep(config)
    rows = pt.load(tmp_path / "run")
    spoilt = rows[rows.step == 1]
    assert len(spoilt) > 10
    raw_is_finite = name in FINITE_AS_THEY_ARE
    assert spoilt[spoilt.experiment == "induction"].value.isna().all()
    assert spoilt[spoilt.experiment == "loss"].value.notna().any() == raw_is_finite
    # Loss is measured on the weights as they are, which are finite where folding is to blame: then
    # its activations may not be.
    folded = spoilt if "folded" not in name else spoilt[spoilt.experiment == "induction"]
    assert len(folded)
    assert folded.reason.str.contains(said, regex=False).all()
    assert rows[rows.step != 1].value.notna().mean() > 0.8
    # In a loop of one's own they are said too.
    with caplog.at_level("WARNING", logger="pythia_traj"):
        found = {
            ckpt.step: ckpt.non_finite for ckpt in pt.checkpoints(root, device="cpu", dtype=dtype)
        }
    assert [step for step, flaws in found.items() if flaws] == [1]
    assert said.partition(" (")[0] in found[1]
    (warning,) = [
        record.getMessage() for record in caplog.records if "not finite" in record.getMessage()
    ]
    assert warning.startswith("the weights of step 1 are not finite: ")


def test_what_is_infinite_only_when_folded_is_finite_as_it_is(suite, tmp_path):
    root = enlarged(suite, tmp_path, LARGE["too large for float32 once folded"][0])
    plain = dict.fromkeys(
        ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases"), False
    )
    for options, steps in (({}, [1]), (plain, [])):
        found = {
            ckpt.step: ckpt.non_finite for ckpt in pt.checkpoints(root, device="cpu", **options)
        }
        assert [step for step, flaws in found.items() if flaws] == steps


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_each_kind_is_counted(dtype):
    values = torch.tensor(
        [[1.0, float("nan"), -2.0], [float("inf"), float("-inf"), float("nan")]], dtype=dtype
    )
    tensors = {
        "bad": values,
        "good": torch.ones(3, dtype=dtype),
        "empty": torch.ones(0, dtype=dtype),
    }
    assert non_finite(tensors.items()) == {"bad": "2 NaN, 2 infinite"}
    assert non_finite([("largest", torch.full((4,), torch.finfo(dtype).max, dtype=dtype))]) == {}
