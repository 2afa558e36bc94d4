"""`patching` and `transplant` as rows: normalised, guarded, positions from the end, steps named."""

from pathlib import Path

import numpy as np
import pytest

import pythia_traj as pt

OWN = str(Path(__file__).with_name("own_task.jsonl"))


@pytest.fixture(scope="module")
def run(suite, tmp_path_factory):
    out = tmp_path_factory.mktemp("patching") / "run"
    experiments = {
        "patching": {"task": OWN, "n": 12},
        "behaviour": {"task": OWN},
        "transplant": {"task": OWN, "references": "final,step:1"},
    }
    config = pt.SweepConfig(
        model=str(suite), steps="0,4", experiments=experiments, out=out, device="cpu"
    )
    assert not pt.sweep(config).failed
    return out


def test_whole_runs_have_rows_and_positions_count_from_the_end(run):
    rows = pt.load(run, experiment="patching", metric="patched", step=4)
    behaviour = pt.load(run, experiment="behaviour", metric="logit_diff", step=4, dim=None)
    clean = behaviour[behaviour.variant.isna()].value.item()
    corrupted = behaviour[behaviour.variant == "corrupted"].value.item()
    assert clean != pytest.approx(corrupted, abs=1e-3)
    whole = pt.load(run, experiment="patching", metric="logit_diff", step=4)
    assert whole[whole.variant.isna()].value.item() == pytest.approx(clean, abs=1e-5)
    assert whole[whole.variant == "corrupted"].value.item() == pytest.approx(corrupted, abs=1e-5)
    assert set(rows.component) == {"resid_pre", "head", "attn", "mlp"}
    assert rows[rows.component == "resid_pre"].position.max() == -1


def test_a_share_is_of_means_and_undefined_where_twins_differ_too_little(run):
    rows = pt.load(run, experiment="patching", step=4)
    whole = rows[rows.metric == "logit_diff"]
    clean, corrupted = (
        whole[whole.variant.isna()].value.item(),
        whole[whole.variant == "corrupted"].value.item(),
    )
    shares = rows[(rows.metric == "patching") & rows.component.isin(["head", "mlp"])]
    assert len(shares) == 4 * (8 + 2)
    keys = ["variant", "component", "layer", "head"]
    patched = rows[rows.metric == "patched"].drop_duplicates(keys).set_index(keys).value
    for share in shares.itertuples():
        if share.value == share.value:
            before = corrupted if share.variant.endswith("denoising") else clean
            raw = patched[share.variant, share.component, share.layer, share.head]
            assert share.value == pytest.approx((raw - before) / (clean - corrupted), abs=1e-5)
        else:
            assert "within 3 standard errors" in share.reason


def test_a_steps_own_components_change_nothing_and_another_steps_do(run):
    rows = pt.load(run, experiment="transplant", metric="transplant")
    own = rows[(rows.step == 4) & (rows.variant == "final")]
    assert np.abs(own.value).max() < 1e-4
    other = rows[(rows.step == 4) & (rows.variant == "step:1")]
    assert set(other.component.dropna()) == {
        "embed", "head", "attn", "mlp", "ln1", "ln2", "layer", "ln_final", "unembed",
    }  # fmt: skip
    assert np.abs(other.value).max() > 1e-2
    at_zero = rows[
        (rows.step == 0) & (rows.variant == "final") & rows.component.isna()
    ].value.item()
    levels = (
        pt.load(run, experiment="transplant", metric="logit_diff", variant=None)
        .set_index("step")
        .value
    )
    assert at_zero == pytest.approx(levels[4] - levels[0], abs=1e-5)
