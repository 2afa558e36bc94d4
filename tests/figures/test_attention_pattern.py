"""The figure of one attention pattern."""

import json

import numpy as np
import plotly.io
import pytest

from pythia_traj import figures
from pythia_traj.analysis.patterns import Pattern
from tests.figures.test_every_chart import ALLOWED, HOSTILE, texts


def pattern(*tokens):
    n = len(tokens)
    weights = np.tril(np.random.default_rng(0).random((n, n))).astype(np.float32)
    weights /= weights.sum(1, keepdims=True)
    weights[np.triu_indices(n, 1)] = np.nan
    return Pattern("".join(tokens), tokens, weights)


WORDS = pattern("<|endoftext|>", "Mary", " gave", " Mary", " a", ".\n")


def test_queries_go_downwards_and_keys_to_the_right():
    figure = figures.attention_pattern(WORDS)
    (trace,) = figure.data
    np.testing.assert_array_equal(np.array(trace.z, np.float32), WORDS.weights)
    assert list(trace.x) == list(trace.y) == [*range(6)]
    assert figure.layout.yaxis.autorange == "reversed"
    assert (figure.layout.xaxis.title.text, figure.layout.yaxis.title.text) == ("key", "query")


def test_cells_are_squares_and_the_figure_grows_with_the_tokens():
    figure = figures.attention_pattern(WORDS)
    assert figure.layout.yaxis.scaleanchor == "x"
    assert figure.layout.xaxis.constrain == figure.layout.yaxis.constrain == "domain"
    heights = [
        figures.attention_pattern(pattern(*"x" * n)).layout.height for n in (1, 10, 30, 48, 200)
    ]
    assert heights == sorted(heights)
    assert heights[0] < heights[1] < heights[2] < 1000


def test_tokens_are_labels_with_white_space_shown():
    figure = figures.attention_pattern(WORDS)
    for axis in (figure.layout.xaxis, figure.layout.yaxis):
        assert list(axis.tickvals) == [*range(6)]
        assert list(axis.ticktext) == [
            "&lt;|endoftext|&gt;", "Mary", "·gave", "·Mary", "·a", ".↵",
        ]  # fmt: skip


def test_the_hover_tells_equal_tokens_apart():
    (trace,) = figures.attention_pattern(WORDS).data
    assert trace.text[3][1] == "<b>·Mary (3)</b> to <b>Mary (1)</b>"
    assert trace.hovertemplate == "%{text}<br>attention %{z:.4f}<extra></extra>"


def test_colours_are_those_of_a_share_and_nothing_is_above_the_diagonal():
    layout = figures.attention_pattern(WORDS).layout
    assert (layout.coloraxis.cmin, layout.coloraxis.cmax) == (0, 1)
    assert layout.meta == {"scales": {"coloraxis": "sequential"}}
    assert layout.plot_bgcolor is None, "a page would show it as what was not measured"


def test_of_many_tokens_some_are_labelled():
    axis = figures.attention_pattern(pattern(*"x" * 120)).layout.xaxis
    assert list(axis.tickvals) == [*range(0, 120, 3)]
    assert len(axis.ticktext) == 40


STRANGE = {
    "tags and templates": HOSTILE,
    "a long one": "x" * 500,
    "a control character": "\x1b[31m\x00",
    "text that turns round": "\u202eabc",
    "TeX": "$x$",
    "nothing": "",
}


@pytest.mark.parametrize("token", STRANGE.values(), ids=STRANGE)
def test_tokens_are_shown_character_by_character(token):
    figure = figures.attention_pattern(pattern(token, " b", token))
    shown = [*texts(json.loads(figure.to_json()))]
    shown += [one for of_query in figure.data[0].text for one in of_query]
    for told in shown:
        rest = ALLOWED.sub("", told)
        assert not set("<>%$\x1b\x00\u202e") & set(rest), told
    assert max(map(len, figure.layout.xaxis.ticktext)) < 100


def test_it_is_the_same_after_json_and_is_not_taken_for_rows():
    figure = figures.attention_pattern(WORDS)
    again = plotly.io.from_json(figure.to_json(), skip_invalid=False)
    assert again.to_dict()["layout"] == figure.to_dict()["layout"]
    assert figures.data_of(figure).empty
