"""Lines and rows of the figures of tasks, roles, n-grams, probes and weights, of a tiny run."""

import numpy as np
import pandas as pd
import pytest

import pythia_traj as pt
from pythia_traj import figures
from pythia_traj.figures import style
from pythia_traj.figures.drawable import NothingToDraw
from tests.analysis.test_roles import rows_of as roles_of

HIGH = (0.9, 0.9, 0.9, 0.9)
"""Scores of a head with a role."""


@pytest.fixture
def of(every_value):
    """The rows of an experiment, with a number where a value is missing."""
    return lambda name: every_value[every_value["experiment"] == name]


def lines(figure):
    return {trace.name for trace in figure.data if trace.mode and trace.name}


def test_sets_have_a_line_for_each_kind_and_their_control(of):
    drawn = lines(figures.sets_over_steps(of("ablation")))
    for kind in ("mean", "resample"):
        assert {f"L0H1+L1H2, {kind}", f"L0H1+L1H2, {kind}, matched", f"top2, {kind}"} <= drawn


def test_the_heads_whose_removal_costs_most_are_drawn(of):
    rows = of("ablation")
    effects = rows[
        (rows.metric == "effect")
        & (rows.variant == "mean")
        & rows.control.isna()
        & (rows.target == "nll")
        & (rows.component == "head")
    ]
    most = effects.loc[effects.value.idxmax()]
    drawn = lines(figures.removed_heads_over_steps(rows, top=3))
    assert len(drawn) == 3
    assert f"L{most['layer']}H{most['head']}" in drawn


def test_the_map_of_removed_heads_is_of_one_kind_of_removal(of):
    first = figures.data_of(figures.effect_of_heads(of("ablation")))
    assert set(first["variant"]) == {"mean"}
    other = figures.data_of(figures.effect_of_heads(of("ablation"), variant="resample"))
    assert set(other["variant"]) == {"resample"}
    assert {*first["target"], *other["target"]} == {"nll"}


def test_a_circuit_is_drawn_beside_the_whole_model(of):
    figure = figures.circuit_metric_over_steps(of("attribution"))
    assert lines(figure) == {
        "whole model",
        "whole model, corrupted",
        "circuit of init",
        "circuit of init, random",
        "circuit of final",
        "circuit of final, random",
        "corrupted",
        "random",
    }
    dashes = {trace.name: trace.line.dash for trace in figure.data if trace.name}
    assert dashes["whole model, corrupted"] == dashes["corrupted"] == "dot"
    assert dashes["circuit of final, random"] == dashes["random"] == "dashdot"


def test_circuits_of_the_step_itself_are_drawn_by_their_size(of):
    drawn = {f"{size} edges" for size in (5, 20, 60)} | {"circuit of init", "circuit of final"}
    controls = {f"{name}, random" for name in drawn} | {"random"}
    assert lines(figures.faithfulness_over_steps(of("attribution"))) == drawn | controls


def test_ngrams_have_a_line_each(of):
    assert {"unigram", "bigram", "trigram"} <= lines(figures.ngrams_over_steps(of("ngram")))


@pytest.mark.parametrize(
    "draw", [figures.probe_accuracy_over_steps, figures.probe_selectivity_over_steps]
)
def test_probes_have_a_line_a_layer_and_the_control_of_each(of, draw):
    rows = of("linear_probe")
    drawn = lines(draw(rows))
    assert drawn == {
        *("after layer 0", "after layer 1", "control task"),
        *("after layer 0, control task", "after layer 1, control task"),
    }
    elsewhere = lines(draw(rows[rows["component"] != "resid_post"]))
    assert "mlp_out, layer 0" in elsewhere


def test_tasks_are_right_by_two_standards_each_with_its_controls(of):
    assert lines(figures.right_over_steps(of("behaviour"))) == {
        f"{name}{control}"
        for name in ("likelier than the wrong one", "first choice")
        for control in ("", ", corrupted", ", shuffled")
    } | {"corrupted", "shuffled"}


def test_templates_have_a_line_each(of):
    assert lines(figures.templates_over_steps(of("behaviour"))) == {"a", "b"}


def test_transplants_of_no_layer_are_named_by_component_and_step(of):
    drawn = lines(figures.transplants_over_steps(of("transplant")))
    measured = {name for name in drawn if "," not in name and name != "shuffled"}
    assert measured == {
        f"{component} of {step}"
        for component in ("whole model", "embed", "unembed", "ln_final")
        for step in ("init", "final")
    }


@pytest.mark.parametrize(
    ("draw", "experiment", "preferred", "other"),
    [
        (figures.similarity_of_layers, "representation", "final", "init"),
        (figures.distance_of_matrices, "weights", "init", "final"),
        (figures.transplants_of_heads, "transplant", "final", "init"),
    ],
)
def test_comparisons_are_with_one_step_that_the_figure_names(
    of, draw, experiment, preferred, other
):
    figure = draw(of(experiment))
    assert set(figures.data_of(figure)["reference"]) == {preferred}
    assert preferred in figure.layout.annotations[-1].text
    chosen = figures.data_of(draw(of(experiment), other))
    assert set(chosen["reference"]) == {other}
    alone = of(experiment)[of(experiment)["reference"] == other]
    assert set(figures.data_of(draw(alone))["reference"]) == {other}


def test_loss_along_layers_has_a_line_a_step(of):
    figure = figures.lens_by_layer(of("logit_lens"))
    assert [trace.name for trace in figure.data] == ["step 0", "step 1", "step 4"]
    assert list(figure.data[0].x) == [0, 1]


def test_the_heads_that_write_most_are_drawn_for_or_against(of):
    rows = of("logit_attribution")
    heads = rows[(rows["component"] == "head") & rows["control"].isna()]
    furthest = heads.loc[heads["value"].abs().idxmax()]
    figure = figures.writers_over_steps(rows, top=2)
    first = next(trace for trace in figure.data if trace.name)
    assert first.name == f"L{furthest['layer']}H{furthest['head']}"
    assert len(lines(figure)) == 2


def test_a_line_has_a_gap_where_a_value_is_missing(of):
    rows = of("patching")
    gap = rows.assign(value=rows["value"].mask(rows["step"] == 1))
    figure = figures.patched_heads_over_steps(gap, top=1)
    (line,) = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert np.isnan(line.y).tolist() == [False, True, False]


def test_heads_are_counted_as_their_timelines_say(of):
    timeline = pt.role_timeline(of("head_roles"))
    counts = timeline.groupby(["role", "step"])["has_role"].sum()
    drawn = figures.data_of(figures.roles_over_steps(of("head_roles")))
    measured = drawn[drawn["control"].isna()]
    assert len(measured)
    for row in measured.itertuples():
        assert row.value == counts[row.target, row.step]
    assert set(drawn["metric"]) == {"heads_with_role"}
    assert not {"layer", "head", "stderr", "n"} & set(drawn)


def test_a_row_is_a_role_and_a_head_that_ever_has_it(of):
    figure = figures.roles_of_heads(of("head_roles"))
    over = figure.data[1]
    timeline = pt.role_timeline(of("head_roles"))
    having = timeline[timeline["has_role"]]
    assert {(row["role"], row["layer"], row["head"]) for row in over.meta["rows"]} == {
        *having[["role", "layer", "head"]].itertuples(index=False, name=None)
    }
    roles = [row["role"] for row in over.meta["rows"]]
    assert roles == sorted(roles, key=list(dict.fromkeys(roles)).index), "roles stand together"
    legend = [trace.name for trace in figure.data if trace.type == "scatter" and trace.name]
    assert legend == [role.replace("_", " ") for role in dict.fromkeys(roles)]


def test_rows_of_a_head_with_several_roles_are_told_apart():
    rows = pd.concat(
        [
            roles_of({(0, 0): HIGH, (1, 1): HIGH}, role="induction"),
            roles_of({(0, 0): HIGH, (0, 2): HIGH}, role="previous_token"),
        ]
    )
    figure = figures.roles_of_heads(rows)
    over = figure.data[1]
    roles = [row["role"] for row in over.meta["rows"]]
    twice = {role: f"{role.replace('_', ' ')} L0H0" for role in roles}
    alone = {"induction": "L1H1", "previous_token": "L0H2"}
    shown = dict(zip(over.y, figure.layout.yaxis.ticktext, strict=True))
    assert shown == {
        **{name: name for name in twice.values()},
        **{f"{role.replace('_', ' ')} {head}": head for role, head in alone.items()},
    }
    assert figure.layout.yaxis.showticklabels
    assert over.hovertemplate.startswith("<b>%{y}</b>"), "which names the role"


def test_cells_are_coloured_where_the_head_has_the_role_and_tell_its_score(of):
    figure = figures.roles_of_heads(of("head_roles"))
    timeline = pt.role_timeline(of("head_roles"))
    having = timeline[timeline["has_role"]].set_index(["role", "layer", "head", "step"])
    drawn = figures.data_of(figure)
    keys = [*zip(drawn["metric"], drawn["layer"], drawn["head"], drawn["step"], strict=True)]
    assert sorted(keys) == sorted(having.index)
    assert drawn["value"].tolist() == having.loc[keys, "score"].tolist()
    over, scale = figure.data[1], figure.layout.coloraxis
    measured = figures.data_of(figures.roles_over_steps(of("head_roles")))
    roles = list(dict.fromkeys(measured["target"]))
    assert len(roles) > 2
    for row, numbers in zip(over.meta["rows"], over.z, strict=True):
        assert {*numbers[~np.isnan(numbers)]} == {roles.index(row["role"])}
    assert (scale.cmin, scale.cmax) == (-0.5, len(roles) - 0.5)
    colours = [colour for _, colour in scale.colorscale]
    assert colours == [style.colour(i) for i in range(len(roles)) for _ in (0, 1)]


def test_a_role_has_one_colour_in_both_figures(of):
    rows = of("head_roles")
    first = (rows["metric"] == "significant") & (rows["target"] == "previous_token")
    rows = rows.assign(value=rows["value"].mask(first, 0.0))  # measured, but no head has it
    as_lines = {
        trace.name: trace.line.color
        for trace in figures.roles_over_steps(rows).data
        if trace.mode == "lines+markers" and "shuffled" not in trace.name
    }
    as_cells = {
        trace.name: trace.marker.color
        for trace in figures.roles_of_heads(rows).data
        if trace.type == "scatter" and trace.name
    }
    assert "previous token" in as_lines
    assert "previous token" not in as_cells
    assert len(as_cells) > 1
    assert as_cells.items() <= as_lines.items()


def test_a_head_of_several_roles_has_the_colour_of_the_first_at_a_step(of):
    figure = figures.roles_of_heads(of("head_roles"))
    at, over = (figure.data[i] for i in figure.layout.meta["at"])
    column = over.meta["steps"].index(figure.layout.meta["step"])
    for (head, layer), number in np.ndenumerate(at.z):
        own = [
            values[column]
            for row, values in zip(over.meta["rows"], over.z, strict=True)
            if (row["layer"], row["head"]) == (layer, head)
        ]
        known = [one for one in own if not np.isnan(one)]
        assert (known[0] if known else None) == (None if np.isnan(number) else number)
    assert "scales" not in figure.layout.meta, "a theme would take the roles' colours"
    assert figure.layout.plot_bgcolor is None, "a head without a role was measured"


def test_where_no_head_has_a_role_the_reason_says_so(every_row):
    rows = every_row[every_row["experiment"] == "head_roles"]
    none = rows.assign(value=rows["value"].mask(rows["metric"] == "significant", 0.0))
    with pytest.raises(NothingToDraw, match="no head has a role at any step"):
        figures.roles_of_heads(none)
