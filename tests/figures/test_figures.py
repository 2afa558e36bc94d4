"""Figures: what their axes, legends and hovers promise, on rows typed as a run's are."""

import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from plotly.graph_objects import Figure
from pythia_traj.dashboard import figures, style

from pythia_traj.errors import ConfigError
from pythia_traj.figures.drawable import NothingToDraw

ATTENTION = "attention (share, 0 to 1)"
OVER_STEPS = [
    (figures.loss_over_steps, "loss (nats per token)"),
    (figures.accuracy_over_steps, "accuracy (share of tokens)"),
    (figures.icl_over_steps, "loss difference (nats per token)"),
    (figures.copies_over_steps, "loss (nats per token)"),
    (figures.induction_over_steps, ATTENTION),
    (figures.conventions_over_steps, ATTENTION),
    (figures.attention_over_steps, ATTENTION),
]
ALL = [draw for draw, _ in OVER_STEPS] + [figures.loss_by_position, figures.head_heatmaps]


def named(figure: Figure, name: str):
    """The one line of that name that has points."""
    (found,) = [
        trace for trace in figure.data if trace.name == name and trace.hovertext is not None
    ]
    return found


def legend(figure: Figure) -> list[str]:
    return [trace.name for trace in figure.data if trace.showlegend is not False]


def at_step(trace, step: int) -> int:
    return list(trace.x).index(math.log2(step + 1))


@pytest.mark.parametrize(("draw", "unit"), OVER_STEPS)
def test_axes_are_labelled_with_units_and_show_step_0(draw, unit, rows):
    figure = draw(rows)
    assert figure.layout.yaxis.title.text == unit
    assert figure.layout.xaxis.title.text == "training step (log scale)"
    assert figure.layout.xaxis.ticktext[0] == "0"
    assert figure.layout.xaxis.tickvals[0] == 0
    assert figure.layout.xaxis.ticktext[-1] == "143000"
    assert figure.layout.xaxis.tickvals[-1] == math.log2(143001)


@pytest.mark.parametrize("draw", ALL)
def test_every_figure_can_be_written_as_json(draw, rows):
    assert len(draw(rows).to_json()) > 1000


@pytest.mark.parametrize(("draw", "unit"), OVER_STEPS)
def test_hover_tells_step_tokens_value_standard_error_and_n(draw, unit, rows):
    hovers = [
        text for trace in draw(rows).data if trace.hovertext is not None for text in trace.hovertext
    ]
    assert hovers
    quantity = unit.partition(" (")[0]
    for text in hovers:
        assert [
            part in text for part in ("step ", "tokens ", f"{quantity} ", "standard error ", "n 64")
        ] == [True] * 5
    assert any("step 143,000<br>tokens 299,892,736,000<br>" in text for text in hovers)


def test_what_was_not_recorded_is_said_so(rows):
    unknown = rows.assign(tokens=pd.array([None] * len(rows), "Int64"), stderr=np.nan)
    text = named(figures.loss_over_steps(unknown), "text").hovertext[0]
    assert "tokens not recorded" in text
    assert "standard error not recorded" in text
    assert "customdata[1]" not in figures.head_heatmaps(unknown).data[0].hovertemplate


def test_loss_is_the_mean_and_its_control_is_dotted_in_the_same_colour(rows):
    figure = figures.loss_over_steps(rows)
    text, control = named(figure, "text"), named(figure, "text, shuffled")
    assert text.y[at_step(text, 0)] == pytest.approx(10.8, abs=0.01)
    assert text.y[at_step(text, 143000)] == pytest.approx(3.3, abs=0.01)
    assert (text.line.dash, control.line.dash) == ("solid", "dot")
    assert text.line.color == control.line.color
    assert legend(figure) == ["text", "shuffled"]


def test_bands_are_one_standard_error_and_stop_where_it_is_unknown(rows):
    mean = (
        rows["metric"].isin(["nll"])
        & rows["variant"].isna()
        & rows["position"].isna()
        & rows["control"].isna()
    )
    cut = rows.assign(stderr=rows["stderr"].mask(mean & (rows["step"] == 512)))
    bands = [trace for trace in figures.loss_over_steps(cut).data if trace.fill == "toself"]
    assert len(bands) == 3  # two stretches of the text's, one of the control's
    assert max(bands[0].y) - 10.8 == pytest.approx(0.112, abs=0.001)


def test_models_and_labels_are_told_apart_only_where_there_are_several(two_models, rows_of):
    assert legend(figures.loss_over_steps(two_models)) == [
        "pythia-70m · text",
        "pythia-160m · text",
        "shuffled",
    ]
    again = rows_of(labels=("loss", "induction"), steps=(0, 1))
    both = pd.concat([again, rows_of(steps=(0, 1))])
    assert legend(figures.loss_over_steps(both)) == [
        "loss · text",
        "loss-stdlib · text",
        "shuffled",
    ]
    named_both = pd.concat([both.astype({"model": str}), two_models.astype({"model": str})])
    assert "pythia-160m · loss-stdlib · text" in legend(figures.loss_over_steps(named_both))


def test_plain_string_and_float_columns_draw_the_same(rows):
    plain = rows.astype({"tokens": float, "head": float, "layer": float, "position": float})
    plain = plain.astype({"model": str, "label": str, "metric": str})
    plain = plain.astype({"variant": object, "part": "string", "component": object})
    for draw in ALL:
        assert draw(plain).to_json() == draw(rows).to_json()


def test_induction_names_the_largest_head_and_draws_the_top_ones(rows):
    figure = figures.induction_over_steps(rows, top=2)
    largest = named(figure, "largest head")
    assert "L1H1" in largest.hovertext[-1]
    assert largest.y[-1] == pytest.approx(0.9, abs=0.03)
    assert legend(figure) == ["L1H1", "L1H2", "largest head", "shuffled"]
    assert max(named(figure, "largest head, shuffled").y) < 0.05


def test_heads_of_several_models_are_named_by_hover_alone(two_models):
    figure = figures.induction_over_steps(two_models, top=1)
    assert legend(figure) == ["pythia-70m · largest head", "pythia-160m · largest head", "shuffled"]
    thin = named(figure, "pythia-160m · L1H1")
    assert thin.line.color == named(figure, "pythia-160m · largest head").line.color


def test_conventions_without_values_are_left_out(rows):
    shown = legend(figures.conventions_over_steps(rows))
    assert shown == ["two_halves", "detect_head_mul", "detect_head_abs", "shuffled"]


def test_copies_part_when_induction_is_learnt(rows):
    figure = figures.copies_over_steps(rows)
    assert named(figure, "first copy").y[-1] > 10
    assert named(figure, "second copy").y[-1] < 4
    assert named(figure, "second copy, shuffled").y[-1] > 10


def test_loss_by_position_draws_some_steps_from_light_to_dark(rows):
    figure = figures.loss_by_position(rows)
    assert figure.layout.xaxis.title.text == "position of the predicted token (log scale)"
    assert 3 <= len(figure.data) <= 8
    assert (figure.data[0].name, figure.data[-1].name) == ("step 0", "step 143000")
    assert len({trace.line.color for trace in figure.data}) == len(figure.data)
    assert "position 1<br>" in figure.data[0].hovertext[0]


def test_heat_maps_are_one_a_layer_on_one_scale(rows_of):
    figure = figures.head_heatmaps(rows_of(steps=(0, 512, 143000), layers=3, heads=5))
    assert [np.asarray(trace.z).shape for trace in figure.data] == [(5, 3)] * 3
    assert {trace.coloraxis for trace in figure.data} == {"coloraxis"}
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 1)
    assert [note.text for note in figure.layout.annotations] == [
        "layer 0",
        "layer 1",
        "layer 2",
        ATTENTION,
    ]
    assert {figure.layout[axis].title.text for axis in ("yaxis", "yaxis2", "yaxis3")} == {"head"}
    assert figure.layout.xaxis3.title.text == "training step (log scale)"
    top = figure.data[2]
    assert top.z[1][2] == pytest.approx(0.9, abs=0.03)
    assert list(top.customdata[1][2][[0, 1, 3]]) == [143000, 143000 * 2_097_152, 64]
    for part in ("L2H%{y}", "step %{", "tokens %{", "attention %{", "standard error %{", "n %{"):
        assert part in top.hovertemplate


def test_heat_maps_leave_open_what_was_not_measured(rows_of):
    rows = rows_of(steps=(0, 512))
    gap = (rows["head"] == 2).fillna(False) & (rows["step"] == 512)
    figure = figures.head_heatmaps(rows[~gap.astype(bool)])
    assert np.isnan(figure.data[0].z[2][1])
    assert not np.isnan(figure.data[0].z[2][0])


def test_heat_maps_take_other_metrics_and_controls(rows):
    shuffled = figures.head_heatmaps(rows, control="shuffled")
    assert np.nanmax([trace.z for trace in shuffled.data]) < 0.05
    assert np.nanmax([trace.z for trace in figures.head_heatmaps(rows, metric="bos").data]) > 0.4


def test_heat_maps_take_metrics_without_a_variant_whose_items_are_all_but_those_of_selection(rows):
    heads = rows[(rows["metric"] == "prefix_matching") & (rows["variant"] == "two_halves")]
    role = heads.assign(metric="induction", variant=None, experiment="head_roles")
    chosen = role.assign(part="fold_1", value=9.0)
    drawn = figures.head_heatmaps(pd.concat([role, chosen]), metric="induction", variant=None)
    assert 0.8 < np.nanmax([trace.z for trace in drawn.data]) < 1


def test_heat_maps_are_of_one_reference(rows):
    heads = rows[(rows["metric"] == "bos") & rows["control"].isna()].astype({"reference": object})
    both = pd.concat([heads.assign(reference=name) for name in ("init", "final")])
    with pytest.raises(ConfigError, match="draws one reference, these rows hold final, init"):
        figures.head_heatmaps(both, metric="bos")
    alone = figures.head_heatmaps(both[both["reference"] == "init"], metric="bos")
    assert [trace.z.tolist() for trace in alone.data] == [
        trace.z.tolist() for trace in figures.head_heatmaps(heads, metric="bos").data
    ]


@pytest.mark.parametrize("draw", [figures.loss_by_position, figures.head_heatmaps])
def test_figures_of_one_model_refuse_several(draw, two_models):
    with pytest.raises(
        ConfigError, match="draws one model, these rows hold pythia-160m, pythia-70m: select one"
    ):
        draw(two_models)


def test_undefined_values_are_not_drawn_but_their_reason_is_told(rows):
    with pytest.raises(
        NothingToDraw, match=r"no value, context too short: four copies .* \(34 rows\)"
    ) as caught:
        figures.head_heatmaps(rows, variant="olsson_query")
    assert list(caught.value.reasons.values()) == [34]


@pytest.mark.parametrize("draw", ALL)
def test_rows_without_the_metric_draw_nothing_and_give_no_reason(draw, rows):
    for empty in (rows[rows["metric"] == "no such metric"], pd.DataFrame()):
        with pytest.raises(NothingToDraw, match=": no rows$") as caught:
            draw(empty)
        assert caught.value.reasons == {}


@pytest.mark.parametrize("draw", ALL)
def test_rows_without_controls_draw_the_same_lines_undotted(draw, rows):
    measured = draw(rows[rows["control"].isna()])
    assert not [trace for trace in measured.data if trace.name and "shuffled" in trace.name]
    assert [trace.name for trace in measured.data if trace.hovertext is not None] == [
        trace.name
        for trace in draw(rows).data
        if trace.hovertext is not None and "shuffled" not in trace.name
    ]


FURTHER = {
    "of_a_task": {"experiment": "ablation"},
    "corrupted": {"experiment": "attribution", "control": "corrupted"},
    "of_an_ngram": {"experiment": "ngram", "size": 2},
    "of_the_text_of_ngrams": {"experiment": "ngram", "part": "text"},
    "of_a_circuit": {"experiment": "mine", "reference": "final"},
    "of_a_head": {"experiment": "mine", "component": "head"},
    "of_a_variant": {"experiment": "mine", "variant": "two_halves"},
}
"""Rows of other losses than that on text, by what they would be drawn for."""


@pytest.mark.parametrize("columns", FURTHER.values(), ids=list(FURTHER))
def test_only_what_is_measured_on_all_text_is_loss_on_text(columns, rows_of):
    rows = rows_of(steps=(0, 512)).astype(object)
    mean = rows["control"].isna() & rows["position"].isna() & rows["part"].isna()
    other = rows[mean & (rows["metric"] == "nll")].assign(label="other", value=1.0, **columns)
    figure = figures.loss_over_steps(pd.concat([rows, other]))
    assert figure.to_json() == figures.loss_over_steps(rows).to_json()


@pytest.mark.parametrize(
    ("further", "shown"),
    [
        ((), ["loss-stdlib · text", "mine · text", "shuffled"]),
        (("logit_diff",), ["text", "shuffled"]),
        (("prob_diff",), ["text", "shuffled"]),
    ],
)
def test_an_experiment_of_ones_own_is_drawn_unless_it_measures_answers(further, shown, rows_of):
    rows = rows_of(steps=(0, 512)).astype(object)
    of_loss = rows[rows["experiment"] == "loss"].assign(experiment="mine", label="mine")
    own = [of_loss, *(of_loss[:2].assign(metric=metric) for metric in further)]
    assert legend(figures.loss_over_steps(pd.concat([rows, *own]))) == shown


def test_a_control_of_two_words_is_named_in_two_words(rows):
    controls = rows.astype({"control": object}).replace({"control": {"shuffled": "control_task"}})
    assert legend(figures.loss_over_steps(controls)) == ["text", "control task"]
    assert named(figures.loss_over_steps(controls), "text, control task").line.dash == "dot"


@pytest.mark.parametrize("draw", ALL)
def test_a_single_step_can_be_drawn(draw, rows_of):
    assert draw(rows_of(steps=(512,))).data


@pytest.mark.parametrize(
    "text", ["<b>x</b>", "a<br>b", "<a href='javascript:x'>y</a>", "%{x}", "$x$", "&lt;b&gt;"]
)
def test_literal_leaves_nothing_that_plotly_would_read(text):
    shown = style.literal(text)
    assert not set("<>%$") & set(shown)
    assert "&lt;" not in style.literal("&lt;")


def test_hostile_names_are_literal_in_traces_and_hovers(rows_of):
    hostile = "<b>m</b>%{x}<a href='javascript:alert(1)'>"
    figure = figures.loss_over_steps(rows_of(models=(hostile, "plain"), steps=(0, 1)))
    names = [trace.name for trace in figure.data if trace.name]
    assert any(style.literal(hostile) in name for name in names)
    assert not any("<" in name or "%" in name for name in names)
    hovers = [
        text for trace in figure.data if trace.hovertext is not None for text in trace.hovertext
    ]
    assert not any("<a" in text or "<b>m" in text or "%" in text for text in hovers)


def test_drawing_needs_no_torch():
    check = "import sys, pythia_traj.reports.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
