"""The charts of an experiment that has none of its own, and what their captions say."""

import numpy as np
import pandas as pd
import pytest

from pythia_traj import figures
from pythia_traj.figures.drawable import NothingToDraw
from pythia_traj.figures.own import CAPTIONS, own_charts
from pythia_traj.reports.drawings import sections_of
from tests.figures.test_every_chart import assert_drawn_as_measured
from tests.figures.test_metric import heads, layers, maps, names, own, rows_of


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


@pytest.mark.slow
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
