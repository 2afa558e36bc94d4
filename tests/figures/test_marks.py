"""Onsets as marks: on the line, and in the row, that they belong to."""

import math

import pandas as pd
import pytest

from pythia_traj.analysis.onsets.onset import STATUSES
from pythia_traj.figures import attention_of_heads, copies_over_steps, loss_over_steps
from pythia_traj.figures.data import data_of
from pythia_traj.figures.marks import with_onsets


def marks_of(figure):
    return [trace for trace in figure.data if (trace.name or "").startswith("onset")]


def dated(rows: pd.DataFrame, step: float, **columns: object) -> dict[str, object]:
    """A row of onsets for the first row that has these columns."""
    at = rows
    for name, value in columns.items():
        at = at[at[name].isna()] if value is None else at[at[name] == value]
    keys = at.iloc[0].to_dict()
    date = {"status": "onset", "step": step, "low": 512, "high": 1000, "level": 7.0}
    return {**keys, **date, "words": "step 600 <b>"}


WHOLE = {"experiment": "loss", "metric": "nll", "control": None, "position": None}


def test_an_onset_is_a_point_at_its_level_with_its_interval(rows):
    figure = with_onsets(loss_over_steps(rows), pd.DataFrame([dated(rows, 600.0, **WHOLE)]))
    (mark,) = marks_of(figure)
    assert list(mark.x) == [math.log2(step + 1) for step in (512, 600, 1000)]
    assert set(mark.y) == {7.0}
    line = next(trace for trace in figure.data if trace.name == "text")
    assert mark.line.color == line.line.color
    assert mark.meta == {"steps": [512.0, 600.0, 1000.0], "model": "pythia-70m-deduped"}
    assert "step 600 &lt;b&gt;" in mark.hovertext[0]


def test_a_mark_stands_on_the_line_of_its_own_part_and_never_on_a_control(rows):
    second = dated(rows, 900.0, metric="nll", part="second_copy", control=None)
    figure = with_onsets(copies_over_steps(rows), pd.DataFrame([second]))
    (mark,) = marks_of(figure)
    lines = {trace.name: trace for trace in figure.data if trace.name}
    assert mark.line.color == lines["second copy"].line.color != lines["first copy"].line.color
    assert marks_of(with_onsets(loss_over_steps(rows), pd.DataFrame([second]))) == []


def test_an_onset_of_a_head_is_a_point_in_its_row(rows):
    where = {"metric": "prefix_matching", "variant": "two_halves", "control": None}
    of_head = dated(rows, 1000.0, layer=1, head=2, **where)
    (mark,) = marks_of(with_onsets(attention_of_heads(rows), pd.DataFrame([of_head])))
    assert (list(mark.y), list(mark.x)) == (["L1H2"], [math.log2(1001)])
    other = attention_of_heads(rows, "previous_token")
    assert marks_of(with_onsets(other, pd.DataFrame([of_head]))) == []


@pytest.mark.parametrize("status", sorted({*STATUSES} - {"onset"}))
def test_what_has_no_date_is_not_marked(rows, status):
    undated = dated(rows, 600.0, **WHOLE) | {"status": status}
    figure = loss_over_steps(rows)
    assert with_onsets(figure, pd.DataFrame([undated])) is figure


def test_marks_are_not_data(rows):
    figure = loss_over_steps(rows)
    marked = with_onsets(figure, pd.DataFrame([dated(rows, 600.0, **WHOLE)]))
    assert data_of(marked).equals(data_of(figure))


def test_one_entry_of_the_legend_says_what_a_mark_is(two_models):
    first = dated(two_models[two_models["model"] == "pythia-70m"], 600.0, **WHOLE)
    other = dated(two_models[two_models["model"] == "pythia-160m"], 700.0, **WHOLE)
    marks = marks_of(with_onsets(loss_over_steps(two_models), pd.DataFrame([first, other])))
    assert [mark.showlegend for mark in marks] == [True, False]
    assert len({mark.line.color for mark in marks}) == 2
