"""`induction` against a plain run_with_cache; the olsson variants where the context allows them."""

import pytest
import torch

import pythia_traj as pt
from pythia_traj.suites.local import LocalModel
from pythia_traj.sweeps.datasets import Datasets


@pytest.fixture(scope="module")
def measured(suite, tmp_path_factory):
    out = tmp_path_factory.mktemp("induction") / "run"
    config = pt.SweepConfig(
        model=str(suite),
        steps="4",
        experiments={"induction": {"length": 30, "n": 9}},
        out=out,
        device="cpu",
    )
    pt.sweep(config)
    return (
        pt.load(out, controls=True),
        Datasets(config, LocalModel.open(suite).checkpoint(4)).get("induction"),
        out,
    )


def test_two_halves_is_the_mean_attention_to_what_followed(suite, measured):
    rows, data, _ = measured
    rows = rows[rows.control.isna()]
    (ckpt,) = pt.checkpoints(suite, steps="4", device="cpu")
    tokens = torch.from_numpy(data.groups["two_halves"])
    logits, cache = ckpt.model.run_with_cache(tokens)
    chosen = rows[(rows.metric == "prefix_matching") & (rows.variant == "two_halves")]
    assert len(chosen) == 8
    for row in chosen.itertuples():
        pattern = cache["pattern", row.layer][:, row.head]
        expected = torch.stack([pattern[:, p, p - 29] for p in range(30, 60)]).mean(0)
        assert row.value == pytest.approx(expected.mean().item(), abs=1e-6)
        assert row.stderr == pytest.approx((expected.std() / 3).item(), abs=1e-6)
        assert row.n == 9
    nll = -logits.log_softmax(-1)[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0]
    copies = rows[(rows.metric == "nll") & (rows.variant == "two_halves")].set_index("part").value
    assert copies["first_copy"] == pytest.approx(nll[:, :29].mean().item(), abs=1e-5)
    assert copies["second_copy"] == pytest.approx(nll[:, 29:].mean().item(), abs=1e-5)


def test_all_named_variants_are_there_with_their_controls(measured):
    rows, _, _ = measured
    named = {"two_halves", "olsson_entries", "olsson_query", "detect_head_mul", "detect_head_abs"}
    for of_kind in (rows[rows.control.isna()], rows[rows.control == "shuffled"]):
        assert set(of_kind[of_kind.metric == "prefix_matching"].variant) == named
    assert set(rows.control.dropna()) == {"shuffled"}
    assert rows.value.notna().all()
    entries, query = (
        rows[(rows.variant == name) & rows.control.isna()].value.to_numpy()
        for name in ("olsson_entries", "olsson_query")
    )
    # The same sums over 150 pairs or 75 queries.
    assert query == pytest.approx(2 * entries, rel=1e-5)


def test_items_are_sixteen_blocks_at_most(measured):
    _, _, out = measured
    items = pt.load(out, table="items", metric="prefix_matching", variant="two_halves")
    assert items.groupby(["layer", "head"]).size().unique().tolist() == [9]
    assert items.n.unique().tolist() == [1]
    losses = pt.load(out, table="items", metric="nll", variant="two_halves")
    assert losses.groupby("part", observed=True).size().tolist() == [9, 9]
