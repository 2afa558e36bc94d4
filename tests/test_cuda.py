"""The same promises on the first CUDA device; skipped where there is none.

Run them alone with `pytest -m cuda`.
"""

import pandas as pd
import pytest
import torch

import pythia_traj as pt
from pythia_traj import schema
from pythia_traj.errors import DeviceError
from pythia_traj.models.device import check_fits
from tests.support import TINY

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

EXPERIMENTS = {"induction": {"length": 20, "n": 6}, "loss": {"length": 64, "n": 6, "null_n": 4}}
OPTIONS = ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases")


@pytest.mark.parametrize("folded", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_parameters_are_those_of_the_cpu(suite, folded, dtype):
    options = dict.fromkeys(OPTIONS, folded)
    here = pt.checkpoints(suite, device="cpu", dtype=dtype, **options)
    there = pt.checkpoints(suite, device="cuda", dtype=dtype, **options)
    for cpu, cuda in zip(here, there, strict=True):
        theirs = dict(cuda.model.named_parameters())
        for name, parameter in cpu.model.named_parameters():
            assert theirs[name].device.type == "cuda"
            tolerance = 1e-5 if dtype == "float32" else 2e-2
            torch.testing.assert_close(
                theirs[name].cpu(), parameter, atol=tolerance, rtol=tolerance
            )


def test_a_sweep_gives_the_rows_of_the_cpu(suite, tmp_path):
    for device in ("cpu", "cuda"):
        config = pt.SweepConfig(
            model=str(suite),
            steps="all",
            experiments=EXPERIMENTS,
            out=tmp_path / device,
            device=device,
        )
        assert not pt.sweep(config).failed
    cpu, cuda = (pt.load(tmp_path / device) for device in ("cpu", "cuda"))
    pd.testing.assert_frame_equal(
        cpu.drop(columns=["value", "stderr"]), cuda.drop(columns=["value", "stderr"])
    )
    assert cuda.value.to_numpy() == pytest.approx(
        cpu.value.to_numpy(), rel=1e-4, abs=1e-5, nan_ok=True
    )


def test_interventions_give_the_values_of_the_cpu(suite, tmp_path):
    """On tiny batches, so that on CUDA one of them holds all interventions."""
    on_repeats = {
        name: {"task": "repeats", "n": 8}
        for name in ("ablation", "patching", "attribution", "transplant")
    }
    experiments = {**on_repeats, "head_roles": {"n": 8, "length": 12}}
    experiments["ablation"] |= {
        "kinds": "zero,mean,positional_mean,resample,pattern_preserving,direct"
    }
    for device in ("cpu", "cuda"):
        config = pt.SweepConfig(
            model=str(suite),
            steps="4",
            experiments=experiments,
            out=tmp_path / device,
            device=device,
        )
        assert not pt.sweep(config).failed
    keys = ["label", *(column.name for column in schema.KEY_COLUMNS)]
    cpu, cuda = (pt.load(tmp_path / device, controls=True) for device in ("cpu", "cuda"))
    for metric in (
        "effect",
        "patched",
        "attribution",
        "transplant",
        "induction",
        "suppression_direct",
    ):
        one, other = (
            rows[rows.metric == metric].set_index(keys).value.sort_index() for rows in (cpu, cuda)
        )
        assert other.to_numpy() == pytest.approx(one.to_numpy(), abs=1e-3, nan_ok=True), metric


def test_24_swaps_grow_no_memory(suite):
    weights = []
    for i in range(6):
        for ckpt in pt.checkpoints(suite, device="cuda"):
            ckpt.model(torch.zeros(1, 8, dtype=torch.long, device="cuda"))
        weights.append(torch.cuda.memory_allocated())
        assert i < 3 or weights[-1] <= 1.02 * weights[2]


def test_a_model_that_cannot_fit_is_refused():
    config = {
        **TINY,
        "hidden_size": 2**16,
        "vocab_size": 2**24,
        "architectures": ["GPTNeoXForCausalLM"],
    }
    with pytest.raises(DeviceError, match="cuda has .* GB free"):
        check_fits(config, model="big", dtype=torch.float32, device=torch.device("cuda"))
