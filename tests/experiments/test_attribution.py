"""Attribution as an experiment: halves, nulls, sizes, other steps' circuits, the table of edges."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pythia_traj.experiments.attribution import attribution

import pythia_traj as pt
from pythia_traj.data.prompts import HalvedTaskPrompts
from pythia_traj.data.tasks.drawing import alternating
from pythia_traj.errors import DataError
from pythia_traj.vocabulary import Vocabulary
from tests.support import publish_suite

OWN = str(Path(__file__).with_name("own_task.jsonl"))
SIZES = (5, 20, 60, 120)
EDGES = {True: 13 * (1 + 6) + 11, False: 13 * (1 + 6) + 11 + 4 + 4}
"""How many there are in two layers of four heads, parallel or not."""


@pytest.fixture(scope="module", params=[True, False], ids=["parallel", "sequential"])
def run(request, tmp_path_factory):
    """A run over two steps, each compared with the other."""
    root = tmp_path_factory.mktemp("attribution")
    suite = publish_suite(root / "tiny", steps=(0, 4), use_parallel_residual=request.param)
    common = {"use": "attribution", "task": OWN, "sizes": SIZES, "circuit": 30, "points": 3}
    experiments = {
        "attribution": {**common, "references": ("init", "final"), "edges": 40},
        "plain": {**common, "method": "eap", "edges": 10_000},
        "plain_denoising": {**common, "method": "eap_denoising"},
        "denoising": {**common, "method": "eap_denoising", "metric": "nll"},
    }
    config = pt.SweepConfig(
        model=str(suite), steps="0,4", experiments=experiments, out=root / "run", device="cpu"
    )
    assert not pt.sweep(config).failed
    return root / "run"


@pytest.fixture
def n_edges(run, request):
    return EDGES[request.node.callspec.params["run"]]


def value(run, metric, **key):
    rows = pt.load(run, **{"label": "attribution", "step": 4, "metric": metric, **key})
    return rows.value.item()


WHOLE = {"variant": None, "size": None, "reference": None}
"""What the metric of the whole model lacks beside that of circuits."""


def whole_model(run):
    """The metric on the clean and on the corrupted prompts."""
    return (value(run, "logit_diff", **WHOLE, control=control) for control in (None, "corrupted"))


def test_nodes_heads_and_mlps_have_rows_and_kept_items(run):
    rows = pt.load(run, label="attribution", step=4, metric="attribution", variant="eap_ig")
    assert rows.component.value_counts().to_dict() == {"head": 8, "mlp": 2, "embed": 1}
    assert set(rows.n) == {6}
    assert rows.target.isna().all()
    kept = pt.load(
        run,
        table="items",
        label="attribution",
        step=4,
        metric="attribution",
        variant="eap_ig",
        component="embed",
    )
    assert kept.value.mean() == pytest.approx(
        rows[rows.component == "embed"].value.item(), rel=1e-4
    )


def test_the_controls_have_the_variant_of_what_they_stand_beside(run):
    rows = pt.load(run, label="attribution", step=4, controls=True)
    found = rows.groupby("metric", observed=True).control.apply(lambda of: set(of.dropna()))
    of_nodes = {"attribution", "embed_edges", "effect", "completeness_gap"}
    ranks = {"faithfulness_normalised_rank", "transfer_faithfulness_rank"}
    of_circuits = set(found.index) - of_nodes - ranks - {"logit_diff"}
    assert {"faithfulness_normalised", "circuit_size", "jaccard"} <= of_circuits
    assert found.to_dict() == {
        **{metric: {"shuffled"} for metric in of_nodes},
        **{metric: {"random"} for metric in of_circuits},
        **{metric: set() for metric in ranks},
        "logit_diff": {"random", "corrupted"},
    }
    whole = rows[rows.variant.isna()]
    assert set(whole.metric) == {"logit_diff"}
    assert whole.control.isin(["corrupted"]).sum() == whole.control.isna().sum() == 1
    assert set(rows.variant.dropna()) == {"eap_ig"}
    on_shuffled = value(run, "effect", control="shuffled", variant="eap_ig")
    assert on_shuffled != value(run, "effect", variant="eap_ig")


def test_the_gap_is_the_sum_of_the_embeddings_edges_minus_the_effect(run):
    for label, variant in (
        ("attribution", "eap_ig"),
        ("plain", "eap"),
        ("denoising", "eap_denoising"),
    ):
        total, effect, gap = (
            value(run, metric, label=label, variant=variant)
            for metric in ("embed_edges", "effect", "completeness_gap")
        )
        assert gap == pytest.approx(total - effect, abs=1e-9)
        embed = value(run, "attribution", label=label, variant=variant, component="embed")
        assert embed == pytest.approx(total, abs=1e-5)


def test_denoising_has_the_effect_of_the_other_direction(run):
    noising, denoising = (
        value(run, "effect", label=label, variant=variant)
        for label, variant in (("plain", "eap"), ("plain_denoising", "eap_denoising"))
    )
    assert denoising == pytest.approx(-noising, abs=1e-6)


def test_the_metric_and_the_grid_are_for_the_request_to_say(run, n_edges):
    for control in (None, "random"):
        nll = pt.load(run, label="denoising", step=4, metric="nll", control=control)
        sizes = nll[nll.variant == "eap_denoising"]["size"]
        assert sorted(sizes) == [5, 20, 30, 60, n_edges]
        assert len(nll) - len(sizes) == (control is None)


def test_the_largest_edges_are_in_the_table(run):
    table = pt.load(run, table="edges", label="attribution", step=4)
    assert list(table["rank"]) == list(range(1, 41))
    assert table.score.dtype == np.float32
    assert table.score.abs().is_monotonic_decreasing
    assert set(table.sender) <= {"embed", "head", "mlp"}
    assert set(table.reader) <= {"q", "k", "v", "mlp", "logits"}
    assert table[table.sender == "embed"].sender_layer.isna().all()
    assert table[table.reader == "logits"].layer.isna().all()
    assert (table.method == "eap_ig").all()


def test_a_nodes_row_is_the_sum_of_its_edges_in_the_table(run):
    table = pt.load(run, table="edges", label="plain", step=4)
    sums = table[table.sender == "head"].groupby(["sender_layer", "sender_head"]).score.sum()
    rows = pt.load(
        run, label="plain", step=4, metric="attribution", variant="eap", component="head"
    )
    nodes = rows.set_index(["layer", "head"]).value.sort_index()
    np.testing.assert_allclose(sums.sort_index().to_numpy(), nodes.to_numpy(), rtol=1e-3, atol=1e-6)


def test_the_circuit_of_all_edges_is_the_model(run, n_edges):
    full, corrupted = whole_model(run)
    assert abs(full - corrupted) > 1e-3
    for control in (None, "random"):
        of_all = {"control": control, "variant": "eap_ig", "size": n_edges}
        assert value(run, "logit_diff", **of_all) == pytest.approx(full, abs=1e-5)
        assert value(run, "edges_left", **of_all) == n_edges


def test_faithfulness_is_a_ratio_of_the_rows_or_says_why_not(run):
    full, corrupted = whole_model(run)
    for control in (None, "random"):
        for size in SIZES[:-1]:
            own = value(run, "logit_diff", control=control, variant="eap_ig", size=size)
            for metric, expected in (
                ("faithfulness_normalised", (own - corrupted) / (full - corrupted)),
                ("faithfulness_ratio", own / full),
            ):
                row = pt.load(
                    run, label="attribution", step=4, metric=metric, control=control, size=size
                )
                if row.reason.notna().item():
                    assert "standard errors" in row.reason.item() or "positive" in row.reason.item()
                else:
                    assert row.value.item() == pytest.approx(expected, rel=1e-5)
    nll = pt.load(run, label="denoising", metric="faithfulness_ratio")
    assert set(nll.reason) == {"a ratio of losses means nothing"}


def test_a_circuit_transferred_to_its_own_step_is_the_own_circuit(run):
    assert value(run, "jaccard", variant="eap_ig", reference="final") == 1
    assert value(run, "jaccard", variant="eap_ig", reference="init") < 1
    assert 0 < value(run, "jaccard", control="random", variant="eap_ig", reference="init") < 1
    own = value(run, "logit_diff", size=30)
    assert value(run, "logit_diff", reference="final") == pytest.approx(own, abs=1e-6)
    for control in (None, "random"):
        rows = pt.load(
            run, label="attribution", step=4, metric="transfer_faithfulness", control=control
        )
        assert sorted(rows.reference) == ["final", "init"]
        assert set(rows.variant) == {"eap_ig"}
        assert rows["size"].isna().all()


def test_random_circuits_are_several_draws_with_their_spread(suite, tmp_path):
    """The first of two draws is the one of one draw alone: mean and spread tell the second."""
    common = {"use": "attribution", "task": OWN, "sizes": (20, 50), "circuit": 30, "points": 1}
    config = pt.SweepConfig(
        model=str(suite),
        steps="4",
        experiments={f"draws{n}": {**common, "controls": n} for n in (1, 2)},
        out=tmp_path / "run",
        device="cpu",
    )
    assert not pt.sweep(config).failed
    for metric in ("logit_diff", "edges_left"):
        for size in (20, 30, 50):
            of = {"metric": metric, "control": "random", "size": size}
            one = pt.load(tmp_path / "run", label="draws1", **of)
            both = pt.load(tmp_path / "run", label="draws2", **of)
            assert (one.n.item(), both.n.item()) == (1, 2)
            other = 2 * both.value.item() - one.value.item()
            spread = pt.load(tmp_path / "run", label="draws2", **{**of, "metric": f"{metric}_sd"})
            assert spread.value.item() == pytest.approx(
                abs(one.value.item() - other) / 2**0.5, abs=1e-6
            )
            assert spread.value.item() > 0
    alone = pt.load(tmp_path / "run", label="draws1", controls=True)
    assert not alone.metric.str.endswith("_sd").any()
    items = pt.load(
        tmp_path / "run", table="items", label="draws2", metric="logit_diff", control="random"
    )
    (mean,) = pt.load(
        tmp_path / "run", label="draws2", metric="logit_diff", control="random", size=20
    ).value
    assert items[items["size"] == 20].value.mean() == pytest.approx(mean, abs=1e-6)


def test_both_halves_have_both_of_two_kinds_in_turn():
    item, half = np.arange(40), alternating(40)
    assert half.sum() == 20
    for kind in (item % 2, item // 2 % 5, item % 10):
        for which in set(kind.tolist()):
            assert half[kind == which].sum() * 2 == (kind == which).sum()


def test_a_circuit_grows_from_nothing_to_the_model(suite):
    """Items that are all alike have no standard error, so that every ratio is defined."""
    (ckpt,) = pt.checkpoints(suite, steps="4", device="cpu")
    data = HalvedTaskPrompts(task=OWN).bind(Vocabulary(300, 128), seed=0)
    alike = data.batches[0].part(np.zeros(6, dtype=np.int64))
    numbers = np.arange(6)
    data.batches = [replace(alike, item=numbers, cluster=numbers, half=alternating(6))]
    rows = attribution(ckpt.model, data, {}, sizes=(1, 50, 100, 102)).metrics
    for control in (None, "random"):
        of_it = [row for row in rows if row.key.control == control]
        curve = {
            row.key.size: row.value for row in of_it if row.key.metric == "faithfulness_normalised"
        }
        assert curve[1] == pytest.approx(0, abs=1e-4)
        assert curve[102] == pytest.approx(1, abs=1e-4)
        (size,) = (row.value for row in of_it if row.key.metric == "circuit_size")
        (left,) = (
            row.value for row in of_it if row.key.metric == "edges_left" and row.key.size is None
        )
        assert 1 < left <= size <= 102
    ranks = [row for row in rows if row.key.metric == "faithfulness_normalised_rank"]
    assert {row.n for row in ranks} == {6}
    assert all(1 <= row.value <= 6 for row in ranks)
    # At the size of the whole model, all are the same to the bit.
    assert [row.value for row in ranks if row.key.size == 102] == [6]


def test_one_item_cannot_be_halved(suite, tmp_path):
    one = tmp_path / "one.jsonl"
    one.write_text(Path(OWN).read_text().splitlines()[0] + "\n")
    config = pt.SweepConfig(
        model=str(suite),
        steps="4",
        experiments={"attribution": {"task": str(one)}},
        out=tmp_path / "run",
        device="cpu",
    )
    with pytest.raises(DataError, match="on one half of the items: 1 cannot be halved"):
        pt.sweep(config)
