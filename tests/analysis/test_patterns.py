"""Stored triangles as squares."""

import numpy as np
import pandas as pd
import pytest

from pythia_traj.analysis.patterns import entropy_of_layers, patterns_at
from pythia_traj.errors import ConfigError, StoreError

THREE = [1.0, 0.25, 0.75, 0.5, 0.125, 0.375]


def row(number=0, step=0, layer=0, head=0, **other):
    given = {"prompt": f"prompt {number}", "token_texts": ["a", " b", "c"], "pattern": THREE}
    where = {"prompt_number": number, "step": step, "layer": layer, "head": head}
    return {**where, **given, **other}


def frame(*rows):
    """With the types that `load` gives."""
    numbers = dict.fromkeys(("prompt_number", "step", "layer", "head"), "Int64")
    return pd.DataFrame(rows).astype(numbers).astype({"prompt": "category"})


def test_a_triangle_is_a_square_with_nothing_above_its_diagonal():
    (found,) = patterns_at(frame(row()), 0, 0, 0)
    nan = np.nan
    expected = [[1, nan, nan], [0.25, 0.75, nan], [0.5, 0.125, 0.375]]
    np.testing.assert_array_equal(found.weights, expected)
    assert (found.prompt, found.tokens) == ("prompt 0", ("a", " b", "c"))


def test_only_the_rows_of_the_head_and_step_are_taken_in_the_order_of_prompts():
    places = [(s, i, h) for s in (0, 5) for i in (0, 1) for h in (0, 1)]
    table = frame(
        *(
            row(number, *place, pattern=[*THREE[:5], 100 * number + index])
            for number in (2, 0, 1)
            for index, place in enumerate(places)
        )
    )
    for index, place in enumerate(places):
        found = patterns_at(table, *place)
        assert [one.prompt for one in found] == ["prompt 0", "prompt 1", "prompt 2"]
        assert [one.weights[2, 2] for one in found] == [100 * n + index for n in range(3)]


@pytest.mark.parametrize("place", [(1, 0, 0), (0, 1, 0), (0, 0, 1)], ids=["step", "layer", "head"])
def test_what_was_not_measured_has_no_patterns(place):
    assert patterns_at(frame(row()), *place) == []
    assert patterns_at(pd.DataFrame(), *place) == []


def test_a_single_token_is_a_square_too():
    (found,) = patterns_at(frame(row(token_texts=["a"], pattern=[1.0])), 0, 0, 0)
    assert found.weights.tolist() == [[1]]


def test_several_models_or_labels_are_refused():
    with pytest.raises(ConfigError, match="of several models or labels: select one first"):
        patterns_at(frame(row(), row()), 0, 0, 0)


@pytest.mark.parametrize("pattern", [[], THREE[:5], [*THREE, 0.0]], ids=["none", "less", "more"])
def test_a_pattern_that_does_not_fit_its_tokens_is_refused(pattern):
    with pytest.raises(
        StoreError, match=f"{len(pattern)} weights does not fit 3 tokens, .* 6: rem"
    ):
        patterns_at(frame(row(pattern=pattern)), 0, 0, 0)


def test_layers_have_one_control_for_all():
    metric = {"metric": "attention_entropy", "component": "attn", "step": 0, "value": 1.0}
    key = dict.fromkeys(
        (
            *("model", "label", "experiment", "variant", "part", "target", "reference", "reason"),
            *("tokens", "head", "position", "size", "stderr", "low", "high", "n", "clusters"),
        )
    )
    rows = pd.DataFrame(
        [
            *({**key, **metric, "layer": layer, "control": None} for layer in (0, 1)),
            {**key, **metric, "layer": None, "control": "uniform"},
            {**key, **metric, "layer": 0, "head": 0, "component": "head", "control": None},
        ]
    )
    chosen = entropy_of_layers(rows)
    assert chosen[["what", "control"]].to_numpy().tolist() == [
        ["layer 0", ""], ["layer 1", ""], ["any head", "uniform"],
    ]  # fmt: skip
