"""The figure of one metric, whichever it is, and the charts of an experiment without its own."""

import numpy as np
import pandas as pd
import pytest

from pythia_traj import figures
from pythia_traj.errors import ConfigError
from pythia_traj.figures.drawable import NothingToDraw
from pythia_traj.figures.metric import metric_figure
from pythia_traj.figures.own import CAPTIONS, own_charts
from pythia_traj.reports.drawings import sections_of
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


def test_an_experiment_without_charts_has_one_for_each_metric_the_whole_models_first():
    rows = rows_of(
        *heads(), *heads(variant="zero"), own("loss"), own("extra_sd", control="random"), own("b")
    )
    charts = own_charts(rows)
    assert [chart.heading for chart in charts] == ["loss", "b", "size"]
    assert [chart.each for chart in charts] == ["label", "label", "unit"]
    assert {chart.experiment for chart in charts} == {"mine"}
    assert names(charts[0].draw(rows)) == ["loss"]
    assert len(maps(charts[2].draw(rows))) == 2


def test_a_chart_of_several_kinds_shows_the_first_and_says_which():
    both = rows_of(*heads(variant="mean"), *heads(variant="zero"))
    (chart,) = own_charts(both)
    assert chart.caption.endswith("Of several: variant mean.")
    assert set(figures.data_of(chart.draw(both))["variant"]) == {"mean"}
    parts = rows_of(*heads(), own(component="mlp", layer=0))
    (chart,) = own_charts(parts)
    assert chart.caption.endswith("Of several: component head.")


def test_a_chart_of_heads_or_layers_by_position_shows_the_first():
    by_position = rows_of(*heads(position=1), *heads(position=2))
    (chart,) = own_charts(by_position)
    assert chart.caption.endswith("Of several: position 1.")
    assert set(figures.data_of(chart.draw(by_position))["position"]) == {1}
    layers_too = [own(component="mlp", layer=i, position=p) for i in (0, 1) for p in (1, 2)]
    (chart,) = own_charts(rows_of(*layers_too))
    assert chart.caption.endswith("Of several: layer 0.")
    assert set(figures.data_of(chart.draw(rows_of(*layers_too)))["layer"]) == {0}


def test_a_caption_says_what_dotted_lines_are():
    (chart,) = own_charts(rows_of(own(), own(control="control_task")))
    assert chart.caption.endswith("Dotted: the controls, control task.")


def test_there_are_at_most_12_charts_and_the_last_says_how_many_metrics_have_none():
    def captions(n):
        return [chart.caption for chart in own_charts(rows_of(*(own(f"m{i}") for i in range(n))))]

    told = " of this experiment, which pythia-traj plot draws."
    assert len(captions(15)) == 12
    assert captions(15)[-1].endswith(f"Not shown: 3 more metrics{told}")
    assert captions(13)[-1].endswith(f"Not shown: 1 more metric{told}")
    assert not any("Not shown" in caption for caption in [*captions(15)[:-1], *captions(12)])
    assert own_charts(pd.DataFrame()) == ()


def panels_of(rows):
    """The captions of a page, and the kinds of the figures below each."""
    (section,) = sections_of(rows)
    return {
        (one.heading, one.caption): [
            panel.reason or ("map" if maps(panel.figure) else "lines") for panel in one.panels
        ]
        for one in section.drawings
    }


def test_what_a_caption_says_holds_for_each_figure_below_it():
    """Also where the labels, or the models, hold values of several kinds."""
    lines_told, layers_told = CAPTIONS["lines"], CAPTIONS["layers"]
    labels = rows_of(*layers(8, label="many"), own(label="one"), own(label="two"))
    assert panels_of(labels) == {
        ("size: many", layers_told): ["map"],
        ("size: one and two", lines_told): ["lines", "lines"],
    }
    models = rows_of(*layers(8, model="large"), *layers(3, model="small"))
    assert panels_of(models) == {
        ("size: large", layers_told): ["map"],
        ("size: small", lines_told): ["lines"],
    }
    alike = rows_of(*layers(3, model="a"), *layers(3, model="b"), *layers(3, label="two"))
    assert panels_of(alike) == {("size", lines_told): ["lines", "lines"]}


def test_what_a_chart_shows_of_several_is_told_of_the_labels_that_have_them():
    rows = rows_of(
        *heads(label="plain"), *heads(label="two", variant="mean"), *heads(label="two", variant="b")
    )
    assert {told[-1]: panels for told, panels in panels_of(rows).items()} == {
        CAPTIONS["heads"]: ["map"],
        f"{CAPTIONS['heads']} Of several: variant b.": ["map"],
    }


def test_a_label_with_values_by_position_alone_is_not_lost_beside_one_of_the_whole():
    rows = rows_of(own(label="whole"), own(label="by", position=1), own(label="by", position=2))
    assert panels_of(rows) == {
        ("size: whole", CAPTIONS["lines"]): ["lines"],
        ("size: by", CAPTIONS["positions"]): ["lines"],
    }


OF_SEVERAL = {
    "heads by position and size": (
        [one for p in (1, 2) for n in (1, 2) for one in heads(1, position=p, size=n)],
        "Of several: size 1, position 1.",
    ),
    "layers by position": (
        [own(component="mlp", layer=i, position=p) for i in range(8) for p in (1, 2)],
        "Of several: layer 0.",
    ),
    "controls of variants": (
        [own(), own(control="shuffled", variant="a"), own(control="shuffled", variant="b")],
        "Of several: variant a of control shuffled.",
    ),
    "controls of the measurement's variant too": (
        [own(variant="b"), *(own(control="shuffled", variant=one) for one in "ab")],
        "Of several: variant b of control shuffled.",
    ),
    "a control by head": (
        [own(), *(own(control="shuffled", layer=0, head=i) for i in (0, 1))],
        "Of several: head 0 of control shuffled.",
    ),
    "a control of the whole": (
        [own(position=1), own(position=2), own(control="shuffled")],
        CAPTIONS["positions"],
    ),
}


@pytest.mark.parametrize("case", OF_SEVERAL)
def test_a_chart_can_draw_what_its_caption_says_of_several(case):
    measured, told = OF_SEVERAL[case]
    rows = rows_of(*measured)
    charts = own_charts(rows)
    for chart in charts:
        assert chart.caption.endswith(told)
        assert_drawn_as_measured(chart.draw(rows), rows)
    assert charts


def test_heads_of_controls_alone_are_those_of_the_first():
    rows = rows_of(
        *heads(label="a"), *heads(label="b", control="init"), *heads(label="b", control="shuffled")
    )
    assert sorted(panels for panels in panels_of(rows).values()) == [["map"], ["map"]]
    assert any(caption.endswith("Of several: control init.") for _, caption in panels_of(rows))


def test_the_chart_of_a_metric_without_a_value_says_why():
    rows = rows_of(own()).assign(value=np.nan, reason="too short")
    (chart,) = own_charts(rows)
    with pytest.raises(NothingToDraw, match="too short"):
        chart.draw(rows)


def test_every_experiment_of_ours_could_do_without_its_charts(every_value):
    for _, rows in every_value.groupby("experiment", observed=True):
        charts = own_charts(rows)
        assert charts
        for chart in charts:
            try:
                figure = chart.draw(rows)
            except NothingToDraw as nothing:
                assert nothing.reasons
            else:
                assert_drawn_as_measured(figure, rows)
