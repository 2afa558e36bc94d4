"""Maps: layers, parts and heads over steps, and the map of heads at one step."""

import gzip
import math
import time

import numpy as np
import pandas as pd
import pytest

from pythia_traj import figures
from pythia_traj.analysis.selection import choose, choose_parts
from pythia_traj.errors import ConfigError
from pythia_traj.figures.drawable import NothingToDraw
from pythia_traj.figures.style import Quantity
from tests.analysis.frames import frame

AMOUNT = Quantity("size", "units")
LAYERS, HEADS, N_STEPS = 24, 16, 154


def shown(figure):
    """The map over steps, and the one of a step where there is one."""
    over, at = [trace for trace in figure.data if trace.type == "heatmap"][::-1], None
    if len(over) == 2:
        over, at = over
        return over, at
    return over[0], at


def test_every_head_has_a_row_over_steps_and_a_cell_at_the_last_one(rows_of):
    figure = figures.attention_of_heads(rows_of(steps=(0, 512, 143000), layers=3, heads=5))
    over, at = shown(figure)
    assert np.asarray(over.z).shape == (15, 3)
    assert np.asarray(at.z).shape == (5, 3)
    assert list(over.y[:6]) == ["L0H0", "L0H1", "L0H2", "L0H3", "L0H4", "L1H0"]
    assert list(over.x) == [0, math.log2(513), math.log2(143001)]
    assert over.z[2 * 5 + 1][2] == pytest.approx(0.9, abs=0.03)
    assert at.z[1][2] == over.z[2 * 5 + 1][2]
    assert [note.text for note in figure.layout.annotations if note.name] == ["at step 143,000"]
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 1)
    assert {over.coloraxis, at.coloraxis} == {"coloraxis"}


def test_the_upper_map_is_of_the_step_that_is_asked_for(rows_of):
    rows = rows_of(steps=(0, 512, 143000))
    figure = figures.attention_of_heads(rows, step=512)
    over, at = shown(figure)
    assert at.z[1][1] == over.z[5][1]
    assert figure.layout.meta["step"] == 512
    with pytest.raises(ConfigError, match="step=7 was not measured: give one from 0 to 143000"):
        figures.attention_of_heads(rows, step=7)


def test_a_page_can_move_the_step_by_what_the_figure_knows(rows_of):
    """What the page's slider does, in Python."""
    figure = figures.attention_of_heads(rows_of(steps=(0, 512, 143000), layers=3, heads=5))
    assert figure.layout.meta["over"] == "steps"
    assert figure.layout.meta["scales"] == {"coloraxis": "sequential"}
    at, over = (figure.data[i] for i in figure.layout.meta["at"])
    column = over.meta["steps"].index(143000)
    cells = np.full(np.shape(at.z), np.nan)
    for row, values in zip(over.meta["rows"], over.z, strict=True):
        cells[row["head"], row["layer"]] = values[column]
    np.testing.assert_array_equal(cells, at.z)


def test_what_was_not_measured_is_left_open(rows_of):
    rows = rows_of(steps=(0, 512))
    gap = (rows["head"] == 2).fillna(False) & (rows["step"] == 512)
    over, at = shown(figures.attention_of_heads(rows[~gap.astype(bool)]))
    assert np.isnan(over.z[2][1])
    assert not np.isnan(over.z[2][0])
    assert np.isnan(at.z[2][0])


def test_other_metrics_and_controls_can_be_drawn(rows):
    shuffled, _ = shown(figures.attention_of_heads(rows, control="shuffled"))
    assert np.nanmax(shuffled.z) < 0.05
    assert np.nanmax(shown(figures.attention_of_heads(rows, metric="bos"))[0].z) > 0.4


def test_a_metric_without_a_variant_is_that_of_all_items(rows):
    heads = rows[(rows["metric"] == "prefix_matching") & (rows["variant"] == "two_halves")]
    role = heads.assign(metric="induction", variant=None, experiment="head_roles")
    chosen = role.assign(part="fold_1", value=9.0)
    both = pd.concat([role, chosen])
    over, _ = shown(figures.attention_of_heads(both, metric="induction", variant=None))
    assert 0.8 < np.nanmax(over.z) < 1


def test_a_map_of_heads_is_of_one_reference(rows):
    heads = rows[(rows["metric"] == "bos") & rows["control"].isna()].astype({"reference": object})
    both = pd.concat([heads.assign(reference=name) for name in ("init", "final")])
    with pytest.raises(ConfigError, match="draws one reference, these rows hold final, init"):
        figures.attention_of_heads(both, metric="bos")
    alone, _ = shown(figures.attention_of_heads(both[both["reference"] == "init"], metric="bos"))
    np.testing.assert_array_equal(
        alone.z, shown(figures.attention_of_heads(heads, metric="bos"))[0].z
    )


def test_undefined_values_are_not_drawn_but_their_reason_is_told(rows):
    with pytest.raises(
        NothingToDraw, match=r"no value, context too short: four copies .* \(34 rows\)"
    ) as caught:
        figures.attention_of_heads(rows, variant="olsson_query")
    assert list(caught.value.reasons.values()) == [34]


def layer(number, value, step=0, component="resid_post", **columns):
    where = {"metric": "cka", "component": component, "layer": number, "tokens": step * 10}
    return where | {"value": value, "step": step} | columns


def test_layers_stand_from_the_first_at_the_bottom():
    rows = frame(*(layer(i, i + step / 10, step) for step in (0, 1, 4) for i in (2, 0, 1)))
    figure = figures.layers_over_steps(choose(rows, ["cka"], "resid_post"), AMOUNT)
    (over,) = [trace for trace in figure.data if trace.type == "heatmap"]
    assert list(over.y) == [0, 1, 2]
    assert figure.layout.yaxis.autorange is None
    assert over.z.tolist() == [[0, 0.1, 0.4], [1, 1.1, 1.4], [2, 2.1, 2.4]]
    assert over.meta["tokens"] == [0, 10, 40]
    assert list(figure.layout.xaxis2.ticktext) == ["0", "10", "40"]


def test_parts_stand_by_component_in_the_order_of_our_words():
    rows = frame(
        layer(0, 1.0, component="mlp"),
        layer(1, 2.0, component="mlp"),
        layer(1, 3.0, component="attn"),
        layer(None, 4.0, component="embed"),
        layer(None, 5.0, component="<b>own</b>"),
    )
    figure = figures.parts_over_steps(choose_parts(rows, "cka"), AMOUNT)
    (over,) = [trace for trace in figure.data if trace.type == "heatmap"]
    names = ["attn L1", "mlp L0", "mlp L1", "embed", "&lt;b&gt;own&lt;/b&gt;"]
    assert list(over.y) == names
    assert list(figure.layout.yaxis.ticktext) == names
    assert over.z.T.tolist() == [[3, 1, 2, 4, 5]]
    assert over.meta["rows"][0] == {"component": "attn", "layer": 1}
    assert over.meta["rows"][3] == {"component": "embed"}


def test_where_names_do_not_fit_each_group_is_named_once():
    rows = frame(*(layer(i, 1.0, component=part) for part in ("attn", "mlp") for i in range(60)))
    axis = figures.parts_over_steps(choose_parts(rows, "cka"), AMOUNT).layout.yaxis
    assert dict(zip(axis.ticktext, axis.tickvals, strict=True)) == {"attn": 0, "mlp": 60}


def test_signed_values_have_colours_as_far_on_both_sides_of_0():
    rows = frame(layer(0, -3.0), layer(1, 1.0))
    signed = Quantity("effect", "nats", scale="signed")
    figure = figures.layers_over_steps(choose(rows, ["cka"], "resid_post"), signed)
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (-3, 3)
    assert figure.layout.meta["scales"] == {"coloraxis": "diverging"}


@pytest.mark.parametrize("values", [(0.0, 0.0), (0.0, float("nan"))])
def test_nothing_but_zeros_can_be_drawn(values):
    rows = frame(*(layer(i, value) for i, value in enumerate(values)))
    figure = figures.layers_over_steps(choose(rows, ["cka"], "resid_post"), AMOUNT)
    assert (figure.layout.coloraxis.cmin, figure.layout.coloraxis.cmax) == (0, 1)


def test_several_values_of_one_cell_are_refused():
    rows = frame(layer(0, 1.0), layer(0, 2.0, experiment="other"))
    with pytest.raises(ConfigError, match="several values at one step"):
        figures.layers_over_steps(choose(rows, ["cka"], "resid_post"), AMOUNT)
    rows = frame(layer(0, 1.0), layer(0, 2.0, size=7))
    with pytest.raises(ConfigError, match="draws one size, these rows hold 7, none: select one"):
        figures.layers_over_steps(choose(rows, ["cka"], "resid_post"), AMOUNT)


def test_positions_are_a_map_of_one_step():
    patched = {"metric": "patching", "component": "resid_pre", "variant": "denoising"}
    rows = frame(
        *(
            patched | {"step": step, "layer": i, "position": p, "value": float(10 * step + i - p)}
            for step in (0, 1)
            for i in (0, 1)
            for p in (-2, -1)
        ),
        *(patched | {"step": 4, "layer": i, "position": -1, "value": None} for i in (0, 1)),
    )
    figure = figures.patching_of_positions(rows)
    (trace,) = figure.data
    assert (list(trace.x), list(trace.y)) == ([-2, -1], [0, 1])
    assert trace.z.tolist() == [[12, 11], [13, 12]]
    assert "at step 1" in [note.text for note in figure.layout.annotations]
    assert "over" not in figure.layout.meta
    assert figures.data_of(figure)["position"].tolist() == [-2, -1, -2, -1]
    assert figures.patching_of_positions(rows, step=0).data[0].z[0][0] == 2
    with pytest.raises(ConfigError, match="step=3 was not measured"):
        figures.patching_of_positions(rows, step=3)


@pytest.fixture(scope="module")
def large():
    """Rows of all heads of a model of Pythia-410m's size at all of its steps."""
    steps = [0, *(2**i for i in range(10)), *range(1000, 143001, 1000)]
    assert len(steps) == N_STEPS
    index = pd.MultiIndex.from_product(
        [steps, range(LAYERS), range(HEADS)], names=["step", "layer", "head"]
    )
    table = index.to_frame(index=False)
    table["value"] = np.random.default_rng(0).random(len(table))
    words = {"metric": "prefix_matching", "variant": "two_halves", "component": "head"}
    one = frame(words)
    rows = one.iloc[[0] * len(table)].reset_index(drop=True)
    for name in table:
        rows[name] = table[name].astype(rows[name].dtype)
    return rows


def test_a_large_map_is_about_its_numbers_alone(large):
    figure = figures.attention_of_heads(large)
    text = figure.to_json()
    numbers = LAYERS * HEADS * N_STEPS * 8
    # Base64 takes 4 characters for 3 bytes, and one of them, which is frequent in numbers from 0
    # to 1, is written with 6; steps in the hover take half as much, and compress.
    assert len(text) < 1.5 * numbers * 4 / 3 * 1.25
    assert len(gzip.compress(text.encode())) < 1.15 * numbers


def test_a_large_map_takes_a_second(large):
    begun = time.process_time()
    figures.attention_of_heads(large)
    assert time.process_time() - begun < 2
