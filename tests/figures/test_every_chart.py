"""Every chart of every experiment, on a run of a tiny suite: what it draws is what was measured."""

import json
import re

import numpy as np
import pandas as pd
import plotly.io
import pytest

from pythia_traj import schema
from pythia_traj.discovery import discover
from pythia_traj.errors import ConfigError
from pythia_traj.figures import data_of
from pythia_traj.figures.charts import charts
from pythia_traj.figures.drawable import NothingToDraw

CHARTS = [chart for of_experiment in charts().values() for chart in of_experiment]
COUNTING = "Roles of heads"
"""The heading of the one chart that draws what it counts."""

WORDS = [
    *("model", "label", "experiment"),
    *(column.name for column in schema.KEY_COLUMNS if column.type == "dictionary"),
]
WHERE = [column.name for column in schema.KEY_COLUMNS if column.type != "dictionary"]
IDENTITY = [*WORDS, *WHERE, "step"]
NUMBERS = ["tokens", "stderr", "low", "high", "n"]


def name(chart):
    return f"{chart.experiment}-{chart.place}"


def keyed(table):
    """A table's numbers, by all that identifies a row."""
    table = table.reindex(columns=[*IDENTITY, "value", *NUMBERS])
    words = {one: table[one].astype(object).where(table[one].notna(), "") for one in WORDS}
    where = {one: table[one].astype(float).fillna(-99) for one in [*WHERE, "step"]}
    numbers = {one: table[one].astype(float) for one in ["value", *NUMBERS]}
    return table.assign(**words, **where, **numbers).set_index(IDENTITY)


def assert_drawn_as_measured(figure, rows):
    """Each value is that of one row, to the bit, and so is what is told beside it."""
    drawn, known = keyed(data_of(figure)), keyed(rows)
    assert len(drawn)
    assert drawn.index.is_unique
    assert drawn.index.isin(known.index).all(), "it draws what is not in the rows"
    assert not known.index.duplicated().any()
    measured = known.loc[drawn.index]
    assert drawn["value"].to_numpy().tobytes() == measured["value"].to_numpy().tobytes()
    for one in NUMBERS:
        told = drawn[one].notna()
        assert (drawn.loc[told, one] == measured.loc[told, one]).all(), one


def test_every_experiment_has_charts_with_unlike_places_and_headings():
    assert set(charts()) == set(discover())
    for of_experiment in charts().values():
        assert len({chart.place for chart in of_experiment}) == len(of_experiment)
        assert len({chart.heading for chart in of_experiment}) == len(of_experiment)


@pytest.mark.parametrize("chart", CHARTS, ids=name)
def test_what_a_chart_draws_is_what_was_measured(chart, every_value):
    if chart.heading == COUNTING:
        pytest.skip("it counts")
    rows = every_value[every_value["experiment"] == chart.experiment]
    assert_drawn_as_measured(chart.draw(rows), rows)


@pytest.mark.parametrize("chart", CHARTS, ids=name)
def test_what_a_chart_draws_is_the_same_after_json(chart, every_value):
    figure = chart.draw(every_value[every_value["experiment"] == chart.experiment])
    again = plotly.io.from_json(figure.to_json(), skip_invalid=False)
    pd.testing.assert_frame_equal(data_of(again), data_of(figure), check_exact=True)


@pytest.mark.parametrize("chart", CHARTS, ids=name)
def test_of_rows_as_they_were_measured_it_draws_these_or_says_why_not(chart, every_row):
    rows = every_row[every_row["experiment"] == chart.experiment]
    try:
        figure = chart.draw(rows)
    except NothingToDraw as nothing:
        assert nothing.reasons
    else:
        if chart.heading != COUNTING:
            assert_drawn_as_measured(figure, rows)


@pytest.mark.parametrize("chart", CHARTS, ids=name)
def test_without_rows_there_is_nothing_to_draw(chart, every_value):
    rows = every_value[every_value["experiment"] == chart.experiment]
    for empty in (rows[:0], rows[rows["metric"] == "none"], pd.DataFrame()):
        with pytest.raises(NothingToDraw) as caught:
            chart.draw(empty)
        assert caught.value.reasons == {}


@pytest.mark.parametrize("chart", CHARTS, ids=name)
def test_rows_without_any_value_say_why(chart, every_value):
    rows = every_value[every_value["experiment"] == chart.experiment]
    with pytest.raises(NothingToDraw, match="no value, because I say so"):
        chart.draw(rows.assign(value=float("nan"), reason="because I say so"))


@pytest.mark.parametrize("chart", CHARTS, ids=name)
def test_controls_are_not_needed(chart, every_value):
    rows = every_value[every_value["experiment"] == chart.experiment]
    measured = rows[rows["control"].isna()]
    shown = data_of(chart.draw(measured))
    assert len(shown)
    assert "control" not in shown


@pytest.mark.parametrize("chart", CHARTS, ids=name)
def test_one_step_without_tokens_can_be_drawn(chart, every_value):
    rows = every_value[every_value["experiment"] == chart.experiment]
    first = 1 if chart.experiment == "head_roles" else 4  # a role takes two steps
    last = rows[rows["step"] >= first].assign(tokens=pd.NA).astype({"tokens": "Int64"})
    figure = chart.draw(last)
    assert "tokens" not in data_of(figure)
    assert "xaxis2" not in figure.to_dict()["layout"], "an axis of tokens that nobody knows"


@pytest.mark.parametrize("chart", CHARTS, ids=name)
def test_infinite_values_are_left_out(chart, every_value):
    rows = every_value[every_value["experiment"] == chart.experiment]
    draws = chart.draw(rows)
    shown = data_of(draws)
    at = shown["step"] == shown["step"].max()
    infinite = rows["value"].mask(rows["step"] == shown["step"].max(), float("inf"))
    if at.all() or chart.experiment == "head_roles":
        pytest.skip("it draws one step, or what is significant")
    left = data_of(chart.draw(rows.assign(value=infinite)))
    assert np.isfinite(left["value"]).all()
    assert shown["step"].max() not in set(left["step"])


@pytest.mark.parametrize("chart", CHARTS, ids=name)
def test_figures_of_one_model_refuse_several_and_others_name_them(chart, every_value):
    rows = every_value[every_value["experiment"] == chart.experiment]
    two = pd.concat([rows.assign(model="one"), rows.assign(model="two")], ignore_index=True)
    if chart.each == "unit":
        with pytest.raises(ConfigError, match="draws one model, these rows hold one, two"):
            chart.draw(two)
    else:
        assert {"one", "two"} == set(data_of(chart.draw(two))["model"])


HOSTILE = "<b>m</b>%{x}<a href='javascript:alert(1)'>$x$"
ALLOWED = re.compile(r"</?b>|<br>|<extra></extra>|%\{(x|y|z|text|customdata(\[\d\])?)(:[^}]*)?\}")
"""What our own templates hold of what Plotly reads."""


@pytest.mark.parametrize("chart", CHARTS, ids=name)
def test_names_from_a_run_are_shown_character_by_character(chart, every_value):
    rows = every_value[every_value["experiment"] == chart.experiment]
    hostile = rows.assign(model=HOSTILE, label=HOSTILE)
    for word in ("part", "reference"):
        values = rows[word].astype(object)
        ours = (*schema.WORDS.get(word, ()), "init")
        hostile[word] = values.mask(values.notna() & ~values.isin(ours), HOSTILE)
    keys = [one for one in [*IDENTITY, "position"] if one in hostile]
    hostile = hostile.drop_duplicates(keys)
    several = pd.concat([hostile, hostile.assign(label="plain")])
    drawn = chart.draw(several if chart.each == "experiment" else hostile)
    for told in texts(json.loads(drawn.to_json())):
        rest = ALLOWED.sub("", told)
        assert not set("<>%$") & set(rest), told


def texts(of):
    """All that Plotly reads as text."""
    if isinstance(of, list):
        for one in of:
            yield from texts(one)
    elif isinstance(of, dict):
        for key, one in of.items():
            if key in ("name", "text", "hovertemplate", "hovertext") and isinstance(one, str):
                yield one
            elif key in ("ticktext", "y", "text") and isinstance(one, list):
                yield from (text for text in one if isinstance(text, str))
            elif key not in ("meta", "template"):
                yield from texts(one)
