"""What is chosen of ablations, circuits, n-grams and probes."""

import pandas as pd
import pytest

from pythia_traj.analysis import learning, tasks
from tests.analysis.frames import frame, head


def effect(layer, number, value, step=0, variant="mean", **columns):
    return head(
        layer, number, value, step, metric="effect", target="nll", variant=variant, **columns
    )


def test_sets_are_named_with_the_kind_of_removal_in_alphabetical_order():
    of_set = {"metric": "effect", "component": "set", "target": "nll", "value": 1.0}
    rows = frame(
        of_set | {"part": "top2", "variant": "mean"},
        of_set | {"part": "L0H1", "variant": "resample"},
        of_set | {"part": "L0H1", "variant": "mean", "target": "logit_diff"},
    )
    assert tasks.effects_of_sets(rows).what.tolist() == ["L0H1, resample", "top2, mean"]


def test_the_costliest_heads_are_followed_over_all_steps_by_the_first_kind_of_removal():
    rows = frame(
        effect(0, 0, 0.1),
        effect(0, 1, 0.2),
        effect(1, 0, 0.0),
        effect(1, 0, 0.7, step=4),
        effect(0, 0, 0.15, step=4),
        effect(0, 0, 9.0, variant="resample"),
        effect(0, 0, 9.0, control="matched"),
    )
    chosen = tasks.effects_of_heads(rows)
    assert len(chosen) == 6
    kept = tasks.costliest_heads(chosen, 2)
    assert list(zip(kept.what, kept.step, kept.value, strict=True)) == [
        ("L0H1", 0, 0.2),
        ("L1H0", 0, 0.0),
        ("L1H0", 4, 0.7),
    ]


def test_costliest_heads_are_of_each_model():
    rows = frame(effect(0, 0, 0.1), effect(0, 1, 0.2), effect(0, 0, 5.0) | {"model": "m2"})
    kept = tasks.costliest_heads(tasks.effects_of_heads(rows), 1)
    assert list(zip(kept.model, kept.what, strict=True)) == [("m", "L0H1"), ("m2", "L0H0")]


def test_circuits_are_named_by_their_step_or_their_edges_of_about_three_sizes():
    own = {"metric": "faithfulness_normalised", "value": 0.5}
    rows = frame(
        *(own | {"size": size} for size in (10, 20, 40, 80, 160, 320)),
        {"metric": "transfer_faithfulness", "value": 0.8, "reference": "final", "size": 40},
    )
    names = ["10 edges", "40 edges", "160 edges", "circuit of final"]
    assert tasks.faithfulness(rows).what.tolist() == names


CIRCUIT = {"experiment": "attribution", "value": 1.0}
OF_CIRCUIT = CIRCUIT | {"metric": "transfer_faithfulness", "reference": "final"}


def test_a_circuit_stands_beside_the_whole_model_whose_control_is_the_corrupted_prompts():
    rows = frame(
        OF_CIRCUIT,
        CIRCUIT,
        CIRCUIT | {"control": "corrupted"},
        CIRCUIT | {"reference": "final"},
        CIRCUIT | {"reference": "final", "control": "random"},
        CIRCUIT | {"size": 10},
        CIRCUIT | {"metric": "logit_diff"},
        {"value": 5.0},
    )
    chosen = tasks.circuit_metric(rows)
    assert chosen[["what", "control"]].to_numpy().tolist() == [
        ["whole model", ""],
        ["whole model", "corrupted"],
        ["circuit of final", ""],
        ["circuit of final", "random"],
    ]


def test_rows_without_circuits_have_no_metric_of_them():
    assert tasks.circuit_metric(frame({"value": 5.0})).empty
    assert tasks.circuit_metric(pd.DataFrame()).empty


def test_sizes_of_circuits_are_one_line():
    assert tasks.circuit_sizes(frame({"metric": "circuit_size", "value": 7.0})).what.tolist() == [
        "circuit"
    ]


def test_ngrams_are_named_and_longer_ones_left_out():
    rows = frame(*({"metric": "kl", "value": 1.0, "size": size} for size in (3, 1, 5, None)))
    assert learning.divergence_from_ngrams(rows).what.tolist() == ["trigram", "unigram"]


@pytest.mark.parametrize(("metric", "value"), [("accuracy", 0.7), ("selectivity", 0.2)])
def test_logistic_probes_are_named_by_their_layer(metric, value):
    probe = {"component": "resid_post", "layer": 1}
    rows = frame(
        probe | {"metric": "accuracy", "value": 0.7, "variant": "logistic"},
        probe | {"metric": "selectivity", "value": 0.2, "variant": "logistic"},
        probe | {"metric": metric, "value": 0.9, "variant": "mean_difference"},
        {"metric": metric, "value": 0.9},
    )
    chosen = learning.logistic_probes(rows, metric)
    assert chosen[["what", "value"]].to_numpy().tolist() == [["after layer 1", value]]
