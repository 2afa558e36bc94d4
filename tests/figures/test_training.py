"""Learning rate, warm-up and second epoch beside what was measured."""

import numpy as np
import plotly.graph_objects as go
import pytest

from pythia_traj import figures
from pythia_traj.analysis.steps import step_position
from pythia_traj.figures.data import array
from pythia_traj.figures.training import _short
from pythia_traj.suites.catalog import look_up
from tests.figures.conftest import RowsOf

DEDUPED, PLAIN = "pythia-70m-deduped", "pythia-160m"


def schedules(*names):
    return {name: look_up(name).schedule() for name in names}


def added(drawn, figure):
    return list(drawn.data[len(figure.data) :])


def named(traces, name):
    return [trace for trace in traces if trace.name == name]


@pytest.fixture
def loss(rows):
    return figures.loss_over_steps(rows)


def test_the_rate_is_that_of_the_suite_on_an_axis_of_its_own(loss):
    drawn = figures.with_training(loss, schedules(DEDUPED))
    (rate,) = named(added(drawn, loss), "learning rate")
    record = look_up(DEDUPED)
    steps = rate.meta["steps"]
    assert rate.meta == {"steps": steps, "model": DEDUPED}
    assert (steps[0], steps[-1]) == (0, 143_000)
    assert list(array(rate.x)) == [step_position(step) for step in steps]
    expected = [record.learning_rate(step) for step in steps]
    assert np.allclose(array(rate.y), expected)
    assert (rate.yaxis, drawn.layout.yaxis2.overlaying, drawn.layout.yaxis2.side) == (
        "y2", "y", "right",
    )  # fmt: skip
    assert list(drawn.layout.yaxis2.ticktext) == ["0", "5e-4", "1e-3"]
    assert drawn.layout.yaxis == loss.layout.yaxis


def test_vertical_lines_are_traces_that_can_be_moved_and_hidden(loss):
    drawn = figures.with_training(loss, schedules(DEDUPED))
    top = drawn.layout.yaxis2.range[1]
    for name, step in (("end of warm-up", 1430), ("second epoch begins", 98_705)):
        (mark,) = named(added(drawn, loss), name)
        assert mark.meta == {"steps": [step, step], "model": DEDUPED}
        assert list(array(mark.x)) == [step_position(step)] * 2
        assert list(array(mark.y)) == [0, top]
        assert mark.showlegend
    assert not drawn.layout.shapes


def test_each_kind_is_in_the_legend_once_for_all_models(rows_of: RowsOf):
    figure = figures.loss_over_steps(rows_of(models=(DEDUPED, PLAIN), steps=(0, 512, 143_000)))
    traces = added(figures.with_training(figure, schedules(DEDUPED, PLAIN)), figure)
    assert [(trace.name, trace.meta["model"], trace.showlegend) for trace in traces] == [
        ("learning rate", DEDUPED, True),
        ("end of warm-up", DEDUPED, True),
        ("second epoch begins", DEDUPED, True),
        ("learning rate", PLAIN, False),
        ("end of warm-up", PLAIN, False),
    ]
    for trace in traces:
        assert len({one.legendgroup for one in named(traces, trace.name)}) == 1


def test_nothing_is_drawn_outside_the_measured_steps(rows_of: RowsOf):
    figure = figures.loss_over_steps(rows_of(models=(DEDUPED,), steps=(600, 1000, 1400)))
    (rate,) = added(figures.with_training(figure, schedules(DEDUPED)), figure)
    assert (rate.meta["steps"][0], rate.meta["steps"][-1]) == (600, 1400)
    assert array(rate.y)[0] == pytest.approx(look_up(DEDUPED).learning_rate(600))


def test_a_model_without_a_schedule_and_another_axis_stay_as_they_are(loss, rows):
    assert figures.with_training(loss, {}) is loss
    assert figures.with_training(loss, schedules(PLAIN)) is loss
    by_position = figures.loss_by_position(rows)
    assert figures.with_training(by_position, schedules(DEDUPED)) is by_position
    heads = figures.attention_of_heads(rows)
    assert figures.with_training(heads, schedules(DEDUPED)) is heads
    blank = go.Figure()
    assert figures.with_training(blank, schedules(DEDUPED)) is blank


def test_the_figures_own_data_stays_what_it_was(loss):
    drawn = figures.with_training(loss, schedules(DEDUPED))
    assert figures.data_of(drawn).equals(figures.data_of(loss))
    assert [one.name for one in drawn.data[: len(loss.data)]] == [one.name for one in loss.data]


@pytest.mark.parametrize(
    ("rate", "said"),
    [(1e-3, "1e-3"), (1.2e-4, "1.2e-4"), (2.5e-10, "2.5e-10"), (0.5, "5e-1"), (20, "2e1")],
)
def test_rates_are_short(rate, said):
    assert _short(rate) == said
