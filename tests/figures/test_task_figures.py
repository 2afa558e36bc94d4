"""Figures of ablations, circuits, roles, n-grams and probes, drawn from a run of a tiny suite."""

import pytest
from pythia_traj.dashboard import circuits, learning

import pythia_traj as pt
from pythia_traj.figures.charts import charts
from pythia_traj.figures.drawable import NothingToDraw
from pythia_traj.reports.report import report

EXPERIMENTS = {
    "ablation": {"task": "repeats", "n": 8, "sets": "L0H1+L1H2", "top": 2},
    "attribution": {
        "task": "repeats",
        "n": 8,
        "sizes": [10, 40, 102],
        "circuit": 40,
        "references": ["final"],
    },
    "head_roles": {"n": 8, "length": 12},
    "ngram": {"n": 4, "length": 32, "null_n": 2},
    "linear_probe": {
        "n": 600,
        "length": 64,
        "kinds": "logistic",
        "sites": "resid_post",
        "resamples": 50,
    },
}


@pytest.fixture(scope="module")
def rows(suite, tmp_path_factory):
    out = tmp_path_factory.mktemp("figures") / "run"
    config = pt.SweepConfig(
        model=str(suite), steps="0,4", experiments=EXPERIMENTS, out=out, device="cpu"
    )
    assert not pt.sweep(config).failed
    return pt.load(out, controls=True)


def lines(figure):
    return {trace.name for trace in figure.data if trace.mode and trace.name}


def test_sets_have_a_line_for_each_kind_and_their_control(rows):
    drawn = lines(circuits.sets_over_steps(rows))
    for kind in ("mean", "resample"):
        assert {f"L0H1+L1H2, {kind}", f"L0H1+L1H2, {kind}, matched", f"top2, {kind}"} <= drawn


def test_the_heads_whose_removal_costs_most_are_drawn(rows):
    effects = rows[
        (rows.metric == "effect")
        & (rows.variant == "mean")
        & rows.control.isna()
        & (rows.target == "nll")
        & (rows.component == "head")
    ]
    most = effects.loc[effects.value.idxmax()]
    drawn = lines(circuits.removed_heads_over_steps(rows, top=3))
    assert len(drawn) == 3
    assert f"L{most['layer']}H{most['head']}" in drawn


def test_a_circuit_is_drawn_beside_the_whole_model_and_the_corrupted_prompts(rows):
    assert lines(circuits.circuit_metric_over_steps(rows)) == {
        "whole model",
        "corrupted prompts",
        "circuit of final",
        "circuit of final, random",
        "random",
    }
    measured = rows[rows.control.isna()]
    assert lines(circuits.circuit_metric_over_steps(measured)) == {
        "whole model",
        "circuit of final",
    }


def test_circuits_of_the_step_itself_are_drawn_by_their_size(rows):
    faithful = rows[rows.metric.isin(["faithfulness_normalised", "transfer_faithfulness"])]
    known = faithful.assign(value=faithful.value.fillna(0.5))
    drawn = {f"{size} edges" for size in (10, 40, 102)} | {"circuit of final"}
    controls = {f"{name}, random" for name in drawn} | {"random"}
    assert lines(circuits.faithfulness_over_steps(known)) == drawn | controls


def test_roles_and_ngrams_have_a_line_each(rows):
    assert {"induction", "previous token", "copy suppression"} <= lines(
        circuits.roles_over_steps(rows)
    )
    assert {"unigram", "bigram", "trigram"} <= lines(learning.ngrams_over_steps(rows))


@pytest.mark.parametrize(
    "draw", [learning.probe_accuracy_over_steps, learning.probe_selectivity_over_steps]
)
def test_probes_have_a_line_a_layer_and_the_control_of_each(rows, draw):
    assert {"after layer 0", "after layer 1", "after layer 0, control task"} <= lines(draw(rows))


@pytest.mark.parametrize(
    "draw",
    [
        circuits.sets_over_steps,
        circuits.removed_heads_over_steps,
        circuits.circuit_metric_over_steps,
        circuits.faithfulness_over_steps,
        circuits.circuit_size_over_steps,
        circuits.roles_over_steps,
        learning.ngrams_over_steps,
        learning.probe_accuracy_over_steps,
    ],
)
def test_rows_without_them_say_that_there_is_nothing_to_draw(rows, draw):
    with pytest.raises(NothingToDraw):
        draw(rows[rows.label == "none"])


def test_a_figure_of_rows_that_are_undefined_says_why(rows):
    faithful = rows[rows.metric == "faithfulness_normalised"]
    if faithful.value.isna().all():
        with pytest.raises(NothingToDraw, match="standard errors"):
            circuits.faithfulness_over_steps(faithful)
    else:
        assert lines(circuits.faithfulness_over_steps(faithful))


def test_the_report_draws_what_there_is(rows):
    page = report(rows, title="A run", facts={})
    drawn = [
        chart for chart in charts() if chart.draw.__module__.endswith(("circuits", "learning"))
    ]
    assert len(drawn) == 9
    assert all(f">{chart.heading}" in page for chart in drawn)
