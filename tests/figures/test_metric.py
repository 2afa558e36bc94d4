"""The figure of one metric, whichever it is."""

import numpy as np
import pandas as pd
import pytest

from pythia_traj import figures
from pythia_traj.errors import ConfigError
from pythia_traj.figures.drawable import NothingToDraw
from pythia_traj.figures.metric import metric_figure
from tests.analysis.frames import frame
from tests.figures.test_every_chart import assert_drawn_as_measured

STEPS = (0, 1, 4)


def own(metric="size", value=0.5, **columns):
    """A row of one's own experiment at each step, a little larger each time."""
    where = {"metric": metric, "experiment": "mine", "label": "mine"}
    return [where | columns | {"step": step, "value": value + step / 100} for step in STEPS]


def rows_of(*measured):
    return frame(*(row for rows in measured for row in rows))


def lines(figure):
    return [t for t in figure.data if t.type == "scatter" and t.hovertemplate]


def names(figure):
    return [trace.name for trace in lines(figure)]


def maps(figure):
    return [trace for trace in figure.data if trace.type == "heatmap"]


def test_one_value_a_step_is_a_line_named_after_the_metric_with_its_control_dotted():
    figure = metric_figure(rows_of(own(), own(control="shuffled", value=0.1)))
    assert names(figure) == ["size", "size, shuffled"]
    assert [trace.line.dash for trace in lines(figure)] == ["solid", "dot"]
    assert figure.layout.yaxis.title.text == "size"


VARYING = {
    "variant": (own(variant="mean"), own(variant="zero"), ["mean", "zero"]),
    "part": (own(part="a"), own(part="b"), ["a", "b"]),
    "some with a part": (own(), own(part="b"), ["all", "b"]),
    "target": (own(target="nll"), own(target="logit_diff"), ["nll", "logit_diff"]),
    "reference": (own(reference="init"), own(reference="final"), ["with init", "with final"]),
    "size": (own(size=10), own(size=40), ["size 10", "size 40"]),
    "layer": (own(component="mlp", layer=0), own(component="mlp", layer=3), ["layer 0", "layer 3"]),
    "component": (
        own(component="mlp", layer=0),
        own(component="embed"),
        ["mlp, layer 0", "embed"],
    ),
    "model": (own(model="one"), own(model="two"), ["one · size", "two · size"]),
    "several": (
        own(part="a", size=1),
        own(part="b", size=2),
        ["a, size 1", "b, size 2"],
    ),
}


@pytest.mark.parametrize("case", VARYING)
def test_lines_are_named_by_what_varies(case):
    one, other, expected = VARYING[case]
    assert names(metric_figure(rows_of(one, other))) == expected


def test_a_control_has_the_name_of_its_measurement_also_where_only_some_have_one():
    figure = metric_figure(
        rows_of(own(variant="mean"), own(variant="zero"), own(variant="zero", control="matched"))
    )
    assert names(figure) == ["mean", "zero", "zero, matched"]


def test_controls_alone_are_drawn():
    assert names(metric_figure(rows_of(own(control="shuffled")))) == ["size, shuffled"]


def test_of_more_than_20_lines_the_highest_at_the_last_step_are_drawn_and_the_legend_says_so():
    many = [own(part=f"p{i:02}", value=float(i)) for i in range(25)]
    controls = [own(part=f"p{i:02}", value=float(i), control="random") for i in range(25)]
    figure = metric_figure(rows_of(*many, *controls))
    measured = [name for name in names(figure) if "," not in name]
    assert measured == [f"p{i:02}" for i in range(5, 25)]
    assert len(names(figure)) == 40
    assert figure.layout.legend.title.text == "the 20 highest of 25 at the last step"
    few = metric_figure(rows_of(*many[:20]))
    assert few.layout.legend.title.text is None


def test_the_highest_lines_are_so_by_their_measurements_not_by_their_controls():
    many = [own(part=f"p{i:02}", value=float(i)) for i in range(25)]
    controls = [own(part=f"p{i:02}", value=100.0 - i, control="random") for i in range(25)]
    for rows in (rows_of(*many, *controls), rows_of(*controls, *many)):
        shown = figures.data_of(metric_figure(rows))
        assert {*shown["part"]} == {f"p{i:02}" for i in range(5, 25)}


def layers(n, **columns):
    return [own(component="resid_post", layer=i, value=i / 100, **columns) for i in range(n)]


def test_few_layers_are_lines_and_many_a_map():
    assert len(names(metric_figure(rows_of(*layers(7))))) == 7
    (over,) = maps(metric_figure(rows_of(*layers(8))))
    assert np.shape(over.z) == (8, 3)


def test_a_map_leaves_controls_out():
    (over,) = maps(metric_figure(rows_of(*layers(8), *layers(8, control="shuffled"))))
    assert np.shape(over.z) == (8, 3)
    assert "control" not in over.meta["key"]


def test_many_parts_are_a_map_of_parts():
    parts = [own(component=part, layer=i) for part in ("attn", "mlp") for i in range(5)]
    (over,) = maps(metric_figure(rows_of(*parts)))
    assert list(over.y[:2]) == ["attn L0", "attn L1"]
    assert len(over.y) == 10


def heads(n_layers=2, n_heads=2, **columns):
    return [
        own(component="head", layer=i, head=j, **columns)
        for i in range(n_layers)
        for j in range(n_heads)
    ]


def test_heads_are_a_map_of_all_heads_and_one_of_a_step():
    at, over = maps(metric_figure(rows_of(*heads())))
    assert (np.shape(at.z), np.shape(over.z)) == ((2, 2), (4, 3))


def test_values_by_position_are_a_line_a_step():
    by_position = [own(position=i, value=float(i)) for i in (1, 2, 3)]
    figure = metric_figure(rows_of(*by_position))
    assert names(figure) == ["step 0", "step 1", "step 4"]
    assert list(lines(figure)[0].x) == [1, 2, 3]
    assert names(metric_figure(rows_of(own(), *by_position))) == ["size"], "the whole comes first"


REFUSED = {
    "several metrics": ((own("one"), own("two")), "one metric, these rows hold one, two: select"),
    "heads of variants": (
        (*heads(variant="mean"), *heads(variant="zero")),
        "one variant, these rows hold mean, zero: select one first",
    ),
    "heads and others": (
        (*heads(), own(component="mlp", layer=0), own()),
        "one component, these rows hold head, mlp, none: select one first",
    ),
    "heads of models": (
        (*heads(model="a"), *heads(model="b")),
        "one model, these rows hold a, b: select one first",
    ),
    "many layers of references": (
        (*layers(8, reference="init"), *layers(8, reference="final")),
        "one reference, these rows hold final, init: select one first",
    ),
    "positions of layers": (
        tuple(own(component="mlp", layer=i, position=1) for i in (0, 1)),
        "one layer, these rows hold 0, 1: select one first",
    ),
    "heads by position": (
        (*heads(position=1), *heads(position=2)),
        "metric_figure draws one position, these rows hold 1, 2: select one first",
    ),
    "heads of two experiments": (
        (*heads(), *heads(experiment="other")),
        "metric_figure draws one value of each at a step, these rows differ by experiment: select",
    ),
    "the same rows twice": (
        (own(), own()),
        "metric_figure draws one value of each at a step, these rows hold some twice$",
    ),
    "one line of two experiments": (
        (own(), own(experiment="other")),
        "draws one value of each at a step, these rows differ by experiment: select one first$",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_one_figure_cannot_show_is_refused_with_the_column_to_choose_by(case):
    measured, message = REFUSED[case]
    with pytest.raises(ConfigError, match=message):
        metric_figure(rows_of(*measured))


@pytest.mark.parametrize(
    ("low", "high", "ends"),
    [(0.0, 0.9, (0, 1)), (0.0, 0.02, (0, 0.02)), (1.0, 5.0, (0, 5)), (-2.0, 1.0, (-2, 2))],
)
def test_the_scale_is_one_that_the_values_allow(low, high, ends):
    values = rows_of(*heads())
    values["value"] = np.linspace(low, high, len(values))
    figure = metric_figure(values)
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == ends


def test_missing_and_infinite_values_are_not_drawn():
    rows = rows_of(own(), own(part="a", value=float("inf")))
    assert names(metric_figure(rows)) == ["size"]
    with pytest.raises(NothingToDraw, match="size: no value, infinite"):
        metric_figure(rows[rows["part"].notna()])
    with pytest.raises(NothingToDraw, match="size: no value, too short"):
        metric_figure(rows.assign(value=np.nan, reason="too short"))
    for empty in (rows[:0], pd.DataFrame()):
        with pytest.raises(NothingToDraw, match="no rows"):
            metric_figure(empty)


def test_hostile_words_are_literal():
    hostile = "<b>%{x}$y$"
    literal = "&lt;b&gt;&#37;{x}&#36;y&#36;"
    figure = metric_figure(rows_of(own(hostile, part=hostile), own(hostile)))
    assert names(figure) == [literal, "all"]
    assert figure.layout.yaxis.title.text == literal
    assert all(f"<br>{literal} %{{y:.4f}}" in line.hovertemplate for line in lines(figure))


@pytest.mark.parametrize(
    "metric", ["nll", "accuracy", "kl", "rms", "match", "effective_rank", "cosine", "entropy"]
)
def test_every_metric_that_is_ours_is_drawn_or_refused(metric, every_row):
    for experiment in every_row.loc[every_row["metric"] == metric, "experiment"].unique():
        rows = every_row[(every_row["metric"] == metric) & (every_row["experiment"] == experiment)]
        try:
            figure = metric_figure(rows)
        except ConfigError as refused:
            assert "select one" in str(refused)
        else:
            assert_drawn_as_measured(figure, rows)
