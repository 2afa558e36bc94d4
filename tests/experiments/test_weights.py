"""`weights` as rows: what the definitions give on the model's own weights, references, sketches."""

import numpy as np
import pytest
import torch

import pythia_traj as pt
from pythia_traj.engines.sketches import compare_sketches
from pythia_traj.errors import ConfigError


def request(suite, out, steps="1,4", **settings):
    return pt.SweepConfig(
        model=str(suite), steps=steps, experiments={"weights": settings}, out=out, device="cpu"
    )


@pytest.fixture(scope="module")
def run(suite, tmp_path_factory):
    out = tmp_path_factory.mktemp("weights") / "run"
    assert not pt.sweep(request(suite, out, references="init,step:4")).failed
    return out


def published(suite, step):
    """The parameters as they are in the files."""
    from transformers import GPTNeoXForCausalLM

    return GPTNeoXForCausalLM.from_pretrained(suite / f"step{step}").float().state_dict()


def value(run, metric, **where):
    (found,) = pt.load(run, metric=metric, **where).value
    return found


def test_statistics_are_of_the_parameters_as_they_are_in_the_files(run, suite):
    matrix = published(suite, 4)["gpt_neox.layers.1.mlp.dense_h_to_4h.weight"]
    s = torch.linalg.svdvals(matrix)
    where = {"step": 4, "component": "W_in", "layer": 1}
    assert value(run, "norm", variant="frobenius", **where) == pytest.approx(
        matrix.norm().item(), rel=1e-5
    )
    assert value(run, "norm", variant="spectral", **where) == pytest.approx(s[0].item(), rel=1e-5)
    assert value(run, "singular_variance", **where) == pytest.approx(
        s.var(correction=0).item(), rel=1e-4
    )
    spectra = pt.load(run, table="spectra", step=4, component="W_in", layer=1)
    np.testing.assert_allclose(spectra["singular_values"].item(), s, rtol=1e-3, atol=1e-5)


def test_every_matrix_and_every_head_is_there(run):
    rows = pt.load(run, metric="effective_rank", step=4)
    layers = dict.fromkeys(("W_Q", "W_K", "W_V", "W_O", "W_in", "W_out"), 2)
    assert rows.component.astype(str).value_counts().to_dict() == {
        **layers,
        "W_E": 1,
        "W_U": 1,
        "W_QK": 8,
        "W_OV": 8,
    }
    controls = pt.load(run, metric="effective_rank", step=4, control="gaussian")
    assert len(controls) == len(rows)
    # Random weights are near their control: what is tested here is that it is of their shape.
    joined = rows.merge(controls, on=["component", "layer", "head"])
    assert len(joined) == len(rows)
    assert (joined.value_x / joined.value_y).between(0.6, 1.4).all()


def test_copying_is_what_transformer_lens_gives_for_folded_weights(run, suite):
    (ckpt,) = pt.checkpoints(suite, steps="4", device="cpu")
    model = ckpt.model
    for variant in ("ov", "full"):
        for layer in range(2):
            circuit = model.blocks[layer].attn.W_V @ model.blocks[layer].attn.W_O
            if variant == "full":
                circuit = model.W_E @ circuit @ model.W_U
            values = torch.linalg.eigvals(circuit.detach().double())
            expected = (values.real.sum(-1) / values.abs().sum(-1)).tolist()
            rows = pt.load(run, metric="copying_eigenvalue", variant=variant, step=4, layer=layer)
            assert rows.sort_values("head").value.tolist() == pytest.approx(expected, abs=1e-3)


def test_a_step_is_at_distance_0_and_cosine_1_from_itself(run):
    for metric, expected in (("relative_distance", 0), ("cosine", 1)):
        rows = pt.load(run, metric=metric, reference="step:4", step=4)
        assert len(rows) == 14 + 16
        assert (rows.value == expected).all()
    rolled = pt.load(run, metric="cosine", control="rolled", reference="step:4", step=4)
    assert len(rolled) == 14 + 16
    assert rolled.value.abs().max() < 0.5


def test_distances_are_those_of_the_files(run, suite):
    one, other = (
        published(suite, step)["gpt_neox.layers.0.mlp.dense_4h_to_h.weight"] for step in (4, 0)
    )
    where = {"reference": "init", "step": 4, "component": "W_out", "layer": 0}
    share = ((one - other).norm() / other.norm()).item()
    cosine = torch.nn.functional.cosine_similarity(one.flatten(), other.flatten(), dim=0).item()
    assert value(run, "relative_distance", **where) == pytest.approx(share, rel=1e-4)
    assert value(run, "cosine", **where) == pytest.approx(cosine, abs=1e-5)


def test_the_distance_of_any_two_steps_is_had_from_their_sketches(run):
    at = {step: pt.load(run, table="sketches", step=step) for step in (1, 4)}
    found = compare_sketches(
        np.stack(at[1]["sketch"]),
        np.stack(at[4]["sketch"]),
        norm=at[1]["norm"],
        reference_norm=at[4]["norm"],
    )
    keys = ["component", "layer", "head"]
    exact = pt.load(run, metric="relative_distance", reference="step:4", step=1)
    pairs = at[1][keys].assign(
        sketched=found.relative_distance, error=found.relative_distance_stderr
    )
    pairs = pairs.merge(
        exact[[*keys, "value"]].astype({"component": object, "layer": float, "head": float}),
        on=keys,
    )
    assert len(pairs) == 14 + 16
    assert ((pairs.sketched - pairs.value).abs() < 4 * pairs.error).all()


def test_rows_do_not_depend_on_which_other_steps_were_asked_for(run, suite, tmp_path):
    assert not pt.sweep(
        request(suite, tmp_path / "alone", steps="4", references="init,step:4")
    ).failed
    both = pt.load(run, step=4, controls=True).reset_index(drop=True)
    alone = pt.load(tmp_path / "alone", controls=True).reset_index(drop=True)
    assert both.equals(alone)
    sketches = [
        pt.load(out, table="sketches", step=4)["sketch"] for out in (run, tmp_path / "alone")
    ]
    assert (np.stack(sketches[0]) == np.stack(sketches[1])).all()


def test_heads_and_sketches_can_be_left_out(suite, tmp_path):
    assert not pt.sweep(request(suite, tmp_path / "run", steps="4", heads=False, sketch=0)).failed
    assert set(pt.load(tmp_path / "run").component) == {
        "W_Q",
        "W_K",
        "W_V",
        "W_O",
        "W_in",
        "W_out",
        "W_E",
        "W_U",
    }
    assert not (tmp_path / "run" / "tables" / "sketches").exists()
    with pytest.raises(ConfigError, match="greater than or equal to 0"):
        request(suite, tmp_path, sketch=-1)


def test_controls_are_several_draws_with_their_spread(run, suite, tmp_path):
    """The first of two draws is the one of one draw alone: mean and spread tell the second."""
    for n in (1, 2):
        out = tmp_path / f"{n}"
        assert not pt.sweep(
            request(suite, out, steps="4", references="init", controls=n, sketch=0)
        ).failed
    keys = ["component", "layer", "head", "variant", "reference"]
    for metric, control in (
        ("effective_rank", "gaussian"),
        ("copying_eigenvalue", "gaussian"),
        ("cosine", "rolled"),
    ):
        one, both, spread = (
            pt.load(tmp_path / f"{n}", metric=name, control=control).set_index(keys)
            for n, name in ((1, metric), (2, metric), (2, f"{metric}_sd"))
        )
        assert set(one.n) == {1}
        assert set(both.n) == set(spread.n) == {2}
        assert len(one) == len(both) == len(spread) > 0
        second = 2 * both.value - one.value
        expected = ((one.value - second).abs() / 2**0.5).reindex(spread.index)
        np.testing.assert_allclose(spread.value, expected, rtol=1e-2, atol=1e-5)
        assert spread.value.mean() > 0
    assert set(pt.load(run, metric="gini", control="gaussian").n) == {5}
