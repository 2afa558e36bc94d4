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


def load(run, **where):
    """The rows of measurements and controls, with "" for the control of the former."""
    rows = pt.load(run, controls=True, **where)
    rows["control"] = rows.control.astype(object).where(rows.control.notna(), "")
    return rows


def test_whole_runs_have_rows_and_positions_count_from_the_end(run):
    rows = pt.load(run, experiment="patching", metric="patched", step=4)
    levels = {}
    for control in (None, "corrupted", "shuffled"):
        behaviour, whole = (
            pt.load(
                run,
                experiment=experiment,
                metric="logit_diff",
                step=4,
                part=None,
                component=None,
                control=control,
            )
            for experiment in ("behaviour", "patching")
        )
        levels[control] = behaviour.value.item()
        assert whole.value.item() == pytest.approx(levels[control], abs=1e-5)
    assert levels[None] != pytest.approx(levels["corrupted"], abs=1e-3)
    assert set(rows.target) == {"logit_diff"}
    assert set(rows.component) == {"resid_pre", "head", "attn", "mlp"}
    assert rows[rows.component == "resid_pre"].position.max() == -1


def test_a_share_is_of_means_and_undefined_where_twins_differ_too_little(run):
    rows = load(run, experiment="patching", step=4)
    levels = rows[rows.metric == "logit_diff"].set_index("control").value
    clean, corrupted = levels[""], levels["corrupted"]
    rows = rows[rows.component.isin(["head", "mlp"])]
    shares = rows[rows.metric == "patching"]
    assert shares.groupby("control").variant.value_counts().to_dict() == {
        (control, direction): 8 + 2
        for control in ("", "shuffled")
        for direction in ("denoising", "noising")
    }
    keys = ["control", "variant", "component", "layer", "head"]
    patched = rows[rows.metric == "patched"].set_index(keys).value
    assert patched.index.is_unique
    for share in shares.itertuples():
        if share.value == share.value:
            before = corrupted if share.variant == "denoising" else clean
            raw = patched[share.control, share.variant, share.component, share.layer, share.head]
            assert share.value == pytest.approx((raw - before) / (clean - corrupted), abs=1e-5)
        else:
            assert "within 3 standard errors" in share.reason


def test_a_steps_own_components_change_nothing_and_another_steps_do(run):
    rows = pt.load(run, experiment="transplant", metric="transplant")
    assert rows.variant.isna().all()
    assert set(rows.target) == {"logit_diff"}
    own = rows[(rows.step == 4) & (rows.reference == "final")]
    assert np.abs(own.value).max() < 1e-4
    other = rows[(rows.step == 4) & (rows.reference == "step:1")]
    assert set(other.component.dropna()) == {
        "embed", "head", "attn", "mlp", "ln1", "ln2", "layer", "ln_final", "unembed",
    }  # fmt: skip
    assert np.abs(other.value).max() > 1e-2
    at_zero = rows[
        (rows.step == 0) & (rows.reference == "final") & rows.component.isna()
    ].value.item()
    levels = load(run, experiment="transplant", metric="logit_diff")
    levels = levels.set_index(["step", "control"]).value
    assert at_zero == pytest.approx(levels[4, ""] - levels[0, ""], abs=1e-5)
    control = pt.load(
        run,
        experiment="transplant",
        metric="transplant",
        step=0,
        component=None,
        reference="final",
        control="shuffled",
    )
    difference = levels[4, "shuffled"] - levels[0, "shuffled"]
    assert control.value.item() == pytest.approx(difference, abs=1e-5)
