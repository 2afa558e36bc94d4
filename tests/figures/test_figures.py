"""Figures: what their axes, legends and hovers promise, on rows typed as a run's are."""

import math
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from plotly.graph_objects import Figure, Scatter

from pythia_traj import figures
from pythia_traj.analysis.layers import layer_names
from pythia_traj.analysis.selection import plain_columns
from pythia_traj.errors import ConfigError
from pythia_traj.figures import style
from pythia_traj.figures.drawable import NothingToDraw
from tests.analysis.frames import frame

ATTENTION = "attention (share, 0 to 1)"
OVER_STEPS = [
    (figures.loss_over_steps, "loss (nats per token)"),
    (figures.accuracy_over_steps, "accuracy (share of tokens)"),
    (figures.icl_over_steps, "loss difference (nats per token)"),
    (figures.copies_over_steps, "loss (nats per token)"),
    (figures.induction_over_steps, ATTENTION),
    (figures.conventions_over_steps, "prefix matching (1 or less, by convention)"),
    (figures.attention_over_steps, ATTENTION),
]
ALL = [draw for draw, _ in OVER_STEPS] + [figures.loss_by_position, figures.attention_of_heads]


def named(figure: Figure, name: str):
    """The one line of that name that has points."""
    (found,) = [trace for trace in lines(figure) if trace.name == name]
    return found


def lines(figure: Figure) -> list[Scatter]:
    """The lines that have points."""
    return [trace for trace in figure.data if trace.type == "scatter" and trace.hovertemplate]


def legend(figure: Figure) -> list[str]:
    return [trace.name for trace in figure.data if trace.showlegend is not False]


def at_step(trace, step: int) -> int:
    return list(trace.x).index(math.log2(step + 1))


def test_of_many_points_some_have_markers_unless_one_is_seen_by_its_marker_alone(rows):
    few = lines(figures.loss_over_steps(rows))[0]
    assert few.marker.maxdisplayed is None
    of_step = rows[rows["step"] == 512]
    many = pd.concat([of_step.assign(step=step) for step in range(0, 60)], ignore_index=True)
    drawn = lines(figures.loss_over_steps(many))[0]
    assert drawn.mode == "lines+markers"
    assert 0 < drawn.marker.maxdisplayed < len(drawn.x) == 60
    alone = many.assign(value=many["value"].mask(many["step"].isin([29, 31])))
    assert lines(figures.loss_over_steps(alone))[0].marker.maxdisplayed is None


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
def test_hover_tells_step_tokens_value_interval_standard_error_and_n(draw, unit, rows):
    drawn = lines(draw(rows))
    assert drawn
    told = [
        *("step %{customdata[0]:,.0f}", "tokens %{customdata[1]:,.0f}", "%{y:.4f}"),
        *("standard error %{customdata[2]:.2g}", "n %{customdata[5]:,.0f}"),
    ]
    for trace in drawn:
        assert [part for part in told if part not in trace.hovertemplate] == []
        assert unit.partition(" (")[0] in trace.hovertemplate
        assert "interval" not in trace.hovertemplate
        steps, tokens, stderr, low, high, n = np.asarray(trace.customdata).T
        assert (tokens == steps * 2_097_152).all()
        assert (n == 64).all()
    stored = rows.assign(low=rows["value"] - 1, high=rows["value"] + 2)
    for trace in lines(draw(stored)):
        assert "interval %{customdata[3]:.4f} to %{customdata[4]:.4f}" in trace.hovertemplate


def test_what_was_not_recorded_is_said_so(rows):
    unknown = rows.assign(tokens=pd.array([None] * len(rows), "Int64"), stderr=np.nan)
    text = named(figures.loss_over_steps(unknown), "text").hovertemplate
    assert "tokens not recorded" in text
    assert "standard error not recorded" in text


def test_loss_is_the_mean_and_its_control_is_dotted_in_the_same_colour(rows):
    figure = figures.loss_over_steps(rows)
    text, control = named(figure, "text"), named(figure, "text, shuffled")
    assert text.y[at_step(text, 0)] == pytest.approx(10.8, abs=0.01)
    assert text.y[at_step(text, 143000)] == pytest.approx(3.3, abs=0.01)
    assert (text.line.dash, control.line.dash) == ("solid", "dot")
    assert text.line.color == control.line.color
    assert legend(figure) == ["text", "shuffled"]


def test_bands_are_95_percent_intervals_and_stop_where_these_are_unknown(rows):
    mean = (
        rows["metric"].isin(["nll"])
        & rows["variant"].isna()
        & rows["position"].isna()
        & rows["control"].isna()
    )
    cut = rows.assign(stderr=rows["stderr"].mask(mean & (rows["step"] == 512)))
    bands = [trace for trace in figures.loss_over_steps(cut).data if trace.fill == "toself"]
    assert len(bands) == 3  # two stretches of the text's, one of the control's
    assert max(bands[0].y) - 10.8 == pytest.approx(1.998 * 0.112, abs=0.002)  # t of 63
    stored = figures.loss_over_steps(rows.assign(low=rows["value"] - 1, high=rows["value"] + 2))
    band = next(trace for trace in stored.data if trace.fill == "toself")
    assert (max(band.y), min(band.y)) == pytest.approx((10.8 + 2, 3.3 - 1), abs=0.02)


def test_bands_of_many_lines_have_their_colours(rows):
    """More lines than colours get these again, with other symbols."""
    loss = rows[(rows["metric"] == "nll") & (rows["experiment"] == "loss")]
    many = pd.concat([loss.assign(label=f"seed {i}") for i in range(9)])
    drawn = figures.loss_over_steps(many)
    bands = {trace.fillcolor for trace in drawn.data if trace.fill == "toself"}
    assert bands == {style.faint(colour) for colour in style.PALETTE}
    measured = [trace for trace in lines(drawn) if "shuffled" not in trace.name]
    looks = [(trace.line.color, trace.marker.symbol) for trace in measured]
    assert looks[0] == ("#0072B2", "circle")
    assert looks[7] == ("#0072B2", "diamond")
    assert len({*looks}) == 9
    assert {trace.line.dash for trace in measured} == {"solid"}


def test_what_heads_of_two_models_attend_to_is_told_apart_by_colours_of_the_palette(two_models):
    every = lines(figures.attention_over_steps(two_models))
    drawn = [trace for trace in every if "shuffled" not in trace.name]
    assert len(drawn) > len(style.PALETTE)
    assert {trace.line.color for trace in drawn} == {*style.PALETTE}
    assert all(a.line.color != b.line.color for a, b in pairwise(drawn))


def of_layers(n, **columns):
    where = {"metric": "own", "component": "resid_post"} | columns
    measured = [where | {"layer": i, "step": s, "value": i + s} for i in range(n) for s in (0, 1)]
    return plain_columns(frame(*measured)).assign(what=lambda rows: layer_names(rows))


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        (of_layers(9), style.shades(9)),
        (of_layers(7), [*style.PALETTE]),
        (of_layers(9)[::-1], [style.colour(i) for i in range(9)]),
        (pd.concat([of_layers(5, model="a"), of_layers(5, model="b")]), [*style.PALETTE] * 2),
    ],
    ids=["many layers", "few", "in another order", "two models"],
)
def test_many_layers_in_order_have_shades_and_nothing_else_has(chosen, expected):
    drawn = lines(figures.over_steps(chosen, style.Quantity("own", "")))
    assert [trace.line.color for trace in drawn] == expected[: len(drawn)]


@pytest.mark.parametrize("known", [(512,), (0, 512, 143000)])
def test_the_interval_of_a_step_alone_is_a_short_vertical_line(rows, known):
    """Of the only step, or of one whose neighbours have none."""
    some = rows if len(known) > 1 else rows[rows["step"].isin(known)]
    alone = some.assign(stderr=some["stderr"].where(some["step"].isin(known)))
    text = named(figures.loss_over_steps(alone), "text")
    drawn = figures.loss_over_steps(alone).data
    marks = [one for one in drawn if one.legendgroup == text.legendgroup and not one.name]
    upright = next(one for one in marks if one.meta["steps"] == [512, 512])
    assert {*upright.x} == {math.log2(513)}
    at = at_step(text, 512)
    up = 1.9983 * np.asarray(text.customdata)[at, 2]  # t of 63
    ends = (text.y[at] + up, text.y[at] - up)
    assert (max(upright.y), min(upright.y)) == pytest.approx(ends, rel=1e-4)
    assert (upright.fill, upright.line.color, upright.showlegend) == (None, "#0072B2", False)
    assert upright.line.width > 1
    assert "key" not in upright.meta
    assert all(one.fill is None for one in marks if len({*one.meta["steps"]}) == 1)


def test_the_title_of_prefix_matching_by_convention_allows_what_is_below_0(rows):
    below = rows.assign(value=rows["value"].mask(rows["metric"] == "prefix_matching", -0.5))
    figure = figures.conventions_over_steps(below)
    assert "0 to 1" not in figure.layout.yaxis.title.text
    assert figure.layout.yaxis.rangemode == "normal"


def test_a_figure_of_many_lines_has_room_for_their_names(rows):
    assert figures.loss_over_steps(rows).layout.height == style.HEIGHT
    loss = rows[(rows["metric"] == "nll") & (rows["experiment"] == "loss")]
    many = pd.concat([loss.assign(label=f"seed {i}") for i in range(19)])
    assert figures.loss_over_steps(many).layout.height == 365 + 20 * 12


def test_controls_of_several_kinds_have_lines_of_their_own(rows):
    loss = rows[rows["metric"] == "nll"].astype({"control": object})
    other = loss[loss["control"] == "shuffled"].assign(control="permuted")
    figure = figures.loss_over_steps(pd.concat([loss, other]))
    dashes = {name: named(figure, f"text{name}").line.dash for name in ("", ", shuffled")}
    assert dashes == {"": "solid", ", shuffled": "dashdot"}
    assert named(figure, "text, permuted").line.dash == "dot"
    entries = {trace.name: trace.line.dash for trace in figure.data if trace.mode == "lines"}
    assert {"permuted": "dot", "shuffled": "dashdot"}.items() <= entries.items()


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
    assert largest.text[-1] == "L1H1"
    assert "%{text}" in largest.hovertemplate
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
    assert "position %{x:,.0f}<br>" in figure.data[0].hovertemplate
    assert list(figure.data[0].x[:3]) == [1, 2, 3]


@pytest.mark.parametrize("draw", [figures.loss_by_position, figures.attention_of_heads])
def test_figures_of_one_model_refuse_several(draw, two_models):
    with pytest.raises(
        ConfigError, match="draws one model, these rows hold pythia-160m, pythia-70m: select one"
    ):
        draw(two_models)


def test_undefined_values_are_not_drawn_but_their_reason_is_told(rows):
    with pytest.raises(
        NothingToDraw, match=r"no value, context too short: four copies .* \(34 rows\)"
    ) as caught:
        figures.attention_of_heads(rows, variant="olsson_query")
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
    assert [trace.name for trace in lines(measured)] == [
        trace.name for trace in lines(draw(rows)) if "shuffled" not in trace.name
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
    hovers = [trace.hovertemplate for trace in lines(figure)]
    assert any(style.literal(hostile) in text for text in hovers)
    assert not any("<a" in text or "<b>m" in text or "%{x}" in text for text in hovers)


def test_remarks_on_values_are_literal():
    hostile = "<a href='javascript:alert(1)'>%{x}$y$"
    noted = of_layers(1).assign(note=hostile)
    (drawn,) = lines(figures.over_steps(noted, style.Quantity("own", "")))
    assert {*drawn.text} == {style.literal(hostile)}
    assert "<br>%{text}<br>" in drawn.hovertemplate


def test_drawing_needs_no_torch():
    check = "import sys, pythia_traj.reports.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
