"""`activations` as files: what TransformerLens gives, the same tokens at every step, within the
budget.
"""

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

import pythia_traj as pt
from pythia_traj.errors import DataError
from pythia_traj.processing import RAW


def sweep(suite, out, steps="1,4", **settings):
    experiments = {"activations": {"n": 6, "length": 20, "null_n": 2, **settings}}
    config = pt.SweepConfig(
        model=str(suite), steps=steps, experiments=experiments, out=out, device="cpu"
    )
    assert not pt.sweep(config).failed
    return out


def read(out, suite, step):
    folder = out / "tables" / "activations" / f"model={suite.name}" / "label=activations"
    with safe_open(folder / f"step-{step:06d}.safetensors", "numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def test_the_file_holds_the_activations_and_the_same_tokens_at_every_step(suite, tmp_path):
    out = sweep(suite, tmp_path / "run", sites="resid_post,z")
    (one, _), (four, metadata) = read(out, suite, 1), read(out, suite, 4)
    assert (one["tokens"] == four["tokens"]).all()
    assert four["tokens"].shape == (6, 20)
    (ckpt,) = pt.checkpoints(suite, steps="4", **RAW.as_dict(), device="cpu")
    with torch.inference_mode():
        cache = ckpt.model.run_with_cache(torch.from_numpy(four["tokens"]).long())[1]
    assert set(four) == {
        "tokens",
        *(
            f"blocks.{layer}.{hook}"
            for layer in range(2)
            for hook in ("hook_resid_post", "attn.hook_z")
        ),
    }
    for name in set(four) - {"tokens"}:
        assert four[name].dtype == np.float32
        np.testing.assert_allclose(four[name], cache[name].numpy(), atol=1e-5)
    assert json.loads(metadata["pythia_traj"])["made_of"]["experiment"] == "activations"
    rows = pt.load(out, metric="rms", component="resid_post", layer=1, step=4, controls=True)
    assert rows.variant.isna().all()
    assert sorted(rows.control.dropna()) == ["shuffled"]
    (shuffled,), rows = rows[rows.control == "shuffled"].n, rows[rows.control.isna()]
    assert shuffled == 2
    expected = np.sqrt((four["blocks.1.hook_resid_post"] ** 2).mean((1, 2))).mean()
    assert rows.value.item() == pytest.approx(expected, rel=1e-5)
    assert rows.n.item() == 6


def test_a_budget_leaves_out_whole_sequences_from_the_end(suite, tmp_path):
    whole, _ = read(sweep(suite, tmp_path / "whole", steps="4"), suite, 4)
    each = 20 * (2 * 32 * 4 + 4)
    some, _ = read(
        sweep(suite, tmp_path / "some", steps="4", budget=3 * each + each // 2), suite, 4
    )
    assert (some["tokens"] == whole["tokens"][:3]).all()
    assert some["blocks.0.hook_resid_post"].shape == (3, 20, 32)
    assert sum(array.nbytes for array in some.values()) == 3 * each
    assert pt.load(tmp_path / "some").n.unique().tolist() == [3]
    with pytest.raises(DataError, match=f"one sequence takes {each} bytes, the budget is 100"):
        sweep(suite, tmp_path / "none", budget=100)


def test_layers_and_half_precision_can_be_chosen(suite, tmp_path):
    found, _ = read(
        sweep(
            suite,
            tmp_path / "run",
            steps="4",
            layers=[1, 1],
            sites="resid_post,resid_post",
            file_type="float16",
        ),
        suite,
        4,
    )
    assert set(found) == {"tokens", "blocks.1.hook_resid_post"}
    assert found["blocks.1.hook_resid_post"].dtype == np.float16
    assert found["blocks.1.hook_resid_post"].shape == (6, 20, 32)
    assert set(read(sweep(suite, tmp_path / "one", steps="4", layers=1), suite, 4)[0]) == set(found)
    with pytest.raises(DataError, match="layer 5: the model has 2 layers"):
        sweep(suite, tmp_path / "five", layers=[0, 5])
    with pytest.raises(DataError, match="this model has no resid_mid"):
        sweep(suite, tmp_path / "mid", sites="resid_mid")


def test_two_runs_write_the_same_bytes(suite, tmp_path):
    one, two = (
        read(sweep(suite, tmp_path / name, steps="4"), suite, 4)[0] for name in ("one", "two")
    )
    assert all(one[name].tobytes() == two[name].tobytes() for name in one)
