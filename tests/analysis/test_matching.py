"""Heads of two models matched by what they do over training."""

import numpy as np
import pytest

import pythia_traj as pt
from pythia_traj.errors import AnalysisError
from tests.analysis.trajectories import STEPS, both, heads_of, line, shuffled


def curves(seed, layers=2, heads=5):
    """Each head rises at its own step to its own height [layer, head, step]."""
    rng = np.random.default_rng(seed)
    x = np.log2(np.array(STEPS) + 1)
    middle, height = rng.uniform(2, 11, (2, layers, heads, 1))
    return height / 11 / (1 + np.exp(-2 * (x - middle)))


def noisy(values, seed, size=0.01):
    return values + size * np.random.default_rng(seed).normal(size=values.shape)


def test_a_model_is_matched_with_itself_in_another_order_at_distance_0():
    rows = heads_of("m", curves(0))
    found = pt.match_heads(rows, shuffled(rows.assign(model="n"), 1))
    assert found.pairs["distance"].max() == 0
    own = found.distances.set_index("what").loc["first with its own, shuffled"]
    # By index, it is as far from itself as any two heads are.
    assert own["distance"] > 0.5
    assert own["low"] > 0


def test_the_heads_that_do_the_same_are_found():
    values = curves(0)
    order = np.array([3, 0, 4, 1, 2])
    second = heads_of("n", noisy(values[:, order], 1))
    found = pt.match_heads(heads_of("m", noisy(values, 2)), second)
    pairs = found.pairs
    assert (pairs["layer_first"] == pairs["layer_second"]).all()
    assert (order[pairs["head_second"].to_numpy(int)] == pairs["head_first"]).all()
    distance = found.distances.set_index("what")["distance"]
    assert distance["matched"] < 0.1 * distance["at random"]


@pytest.mark.parametrize("within", ["model", "layer"])
@pytest.mark.parametrize("seed", range(3))
def test_permuting_the_heads_of_one_model_changes_nothing(within, seed):
    first, second = heads_of("m", curves(1, 2, 16)), heads_of("n", curves(2, 2, 16))
    plain = pt.match_heads(first, second, within=within)
    for other in (
        pt.match_heads(shuffled(first, seed), second, within=within),
        pt.match_heads(first, shuffled(second, seed), within=within),
    ):
        assert plain.distances.equals(other.distances)
        assert sorted(plain.pairs["distance"]) == sorted(other.pairs["distance"])


def test_it_is_the_least_sum_of_distances():
    first, second = heads_of("m", curves(1, 1, 4)), heads_of("n", curves(2, 1, 4))
    found = pt.match_heads(first, second)
    at_random = found.distances.set_index("what").loc["at random"]
    assert found.pairs["distance"].mean() <= at_random["low"]
    assert at_random["low"] <= at_random["distance"] <= at_random["high"]


def test_within_a_layer_no_head_leaves_it():
    values = curves(0)
    # The layers exchanged: within the model all match, within the layer none does.
    first, second = heads_of("m", values), heads_of("n", values[::-1])
    free, bound = (pt.match_heads(first, second, within=name) for name in ("model", "layer"))
    assert free.pairs["distance"].max() == 0
    assert (free.pairs["layer_first"] != free.pairs["layer_second"]).all()
    assert (bound.pairs["layer_first"] == bound.pairs["layer_second"]).all()
    assert bound.pairs["distance"].min() > 0


def test_the_larger_model_has_heads_without_a_partner():
    found = pt.match_heads(heads_of("m", curves(0, 2, 5)), heads_of("n", curves(1, 3, 4)))
    assert len(found.pairs) == 10
    found = pt.match_heads(heads_of("m", curves(0, 2, 5)), heads_of("n", curves(1, 3, 4)), "layer")
    assert len(found.pairs) == 8


def test_metrics_weigh_the_same_whatever_their_unit():
    first = both(heads_of("m", curves(0)), heads_of("m", curves(3), metric="other"))
    second = both(heads_of("n", curves(1)), heads_of("n", curves(4), metric="other"))
    plain = pt.match_heads(first, second)
    large = [
        rows.assign(value=rows["value"].mask(rows["metric"] == "other", rows["value"] * 1024))
        for rows in (first, second)
    ]
    assert plain.distances["distance"].tolist() == pytest.approx(
        pt.match_heads(*large).distances["distance"].tolist()
    )
    assert plain.n_values == 2 * len(STEPS)


def test_steps_weigh_by_the_octaves_that_they_stand_for():
    steps = (0, 1, *range(900, 1000, 2))
    early = np.zeros((1, 2, len(steps)))
    early[0, 0, :2] = 1  # differs from the other head at two early steps of 52
    late = np.zeros((1, 2, len(steps)))
    late[0, 0, 2:] = 1  # at fifty late ones, that are a fraction of an octave
    found = {
        name: pt.match_heads(heads_of("m", v, steps), heads_of("n", v, steps)).distances.set_index(
            "what"
        )
        for name, v in (("early", early), ("late", late))
    }
    assert len(steps) == 52
    for one in found.values():
        assert one.loc["matched", "distance"] == 0
    values = {"early": early, "late": late}
    # In units of the spread: sqrt of the share of octaves, about a half for each, over the spread.
    raw = {
        name: one.loc["at random", "distance"] * 2 * values[name].std()
        for name, one in found.items()
    }
    assert raw["early"] == pytest.approx(raw["late"], rel=0.15)


def test_what_cannot_be_matched_is_refused():
    rows = heads_of("m", curves(0))
    with pytest.raises(AnalysisError, match="the first rows hold heads of 2 models"):
        pt.match_heads(both(rows, rows.assign(model="n")), rows)
    with pytest.raises(AnalysisError, match=r"the second rows hold heads of 0 models \(none\)"):
        pt.match_heads(rows, line([1.0], steps=(0,)))
    with pytest.raises(AnalysisError, match="no metric and step in common"):
        pt.match_heads(rows, rows.assign(metric="other"))
    with pytest.raises(AnalysisError, match="two values of a head at a step"):
        pt.match_heads(both(rows, rows), rows)
    with pytest.raises(AnalysisError, match="seed=-1: give a whole number from 0"):
        pt.match_heads(rows, rows, seed=-1)
    higher = rows.assign(layer=rows["layer"] + 2)
    with pytest.raises(AnalysisError, match="heads of layer 0, 1, the second of 2, 3, and none in"):
        pt.match_heads(rows, higher, within="layer")
    with pytest.raises(
        AnalysisError, match="match within the model or the layer; did you mean lay"
    ):
        pt.match_heads(rows, rows, within="layers")
