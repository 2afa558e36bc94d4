"""Which rows of layers, sites, matrices and samples are chosen, and what their lines are called."""

import pandas as pd
import pytest

from pythia_traj.analysis import layers, tasks, weights
from pythia_traj.analysis.samples import sample_texts
from pythia_traj.analysis.selection import one_of
from pythia_traj.analysis.trajectories import of_some_layers
from tests.analysis.frames import frame, head


def layer(number, value=1.0, component="resid_post", **columns):
    return {"metric": "cka", "layer": number, "component": component, "value": value} | columns


def test_values_of_layers_are_those_of_the_stream_after_them_where_it_was_measured():
    rows = frame(
        layer(1),
        layer(0, component="mlp_out"),
        layer(0, control="permuted"),
        layer(0, variant="biased"),
        layer(0, head=2),
        layer(0, position=3),
    )
    chosen = layers.values_of_layers(rows, "cka")
    assert chosen[["what", "control"]].to_numpy().tolist() == [
        ["layer 1", ""],
        ["layer 0", "permuted"],
    ]
    assert layers.values_of_layers(rows, "cka", "biased").what.tolist() == ["layer 0"]
    elsewhere = layers.values_of_layers(rows, "cka", component="mlp_out")
    assert elsewhere.component.tolist() == ["mlp_out"]
    without = rows[rows["component"] != "resid_post"]
    assert layers.values_of_layers(without, "cka").component.tolist() == ["mlp_out"]


def test_a_site_without_any_value_is_not_chosen():
    rows = frame(layer(0, None), layer(0, component="mlp_out"))
    assert layers.values_of_layers(rows, "cka").component.tolist() == ["mlp_out"]


@pytest.mark.parametrize(
    ("wanted", "preferred", "found"),
    [
        (None, (), "final"),
        (None, ("init", "final"), "init"),
        (None, ("step:512", "init"), "init"),
        ("step:9", (), "step:9"),
        ("absent", (), None),
    ],
)
def test_one_of_several_references_is_chosen(wanted, preferred, found):
    rows = frame(*(layer(0, reference=name) for name in ("init", "step:9", "final")))
    chosen = one_of(layers.values_of_layers(rows, "cka"), "reference", wanted, preferred)
    assert chosen.reference.tolist() == ([found] if found else [])


def test_lines_are_named_by_the_other_step_too():
    rows = frame(layer(3, reference="init"))
    chosen = layers.named_by_reference(layers.values_of_layers(rows, "cka"))
    assert chosen.what.tolist() == ["layer 3, with init"]


def test_parts_are_all_components_but_heads_and_sets_and_without_controls():
    rows = frame(
        layer(0, component="mlp"),
        layer(None, component="embed"),
        layer(0, component="mlp", control="shuffled"),
        layer(None, component="set", part="top3"),
        head(0, 1, 0.5, metric="cka", variant=None),
        {"metric": "cka", "value": 1.0},
    )
    assert layers.values_of_parts(rows, "cka").what.tolist() == ["mlp L0", "embed"]


@pytest.mark.parametrize(
    ("n", "most", "kept"),
    [(2, 5, [0, 1]), (1, 5, [0]), (24, 5, [0, 6, 12, 17, 23]), (24, 1, [0]), (6, 3, [0, 2, 5])],
)
def test_a_few_layers_are_shown_the_first_and_the_last_among_them(n, most, kept):
    rows = frame(*(layer(i) for i in range(n)))
    few = of_some_layers(layers.values_of_layers(rows, "cka"), most)
    assert few.layer.tolist() == kept


def test_embedding_and_unembedding_are_named():
    of = {"metric": "effective_rank", "value": 3.0}
    rows = frame(
        of | {"component": "W_U"},
        of | {"component": "W_E", "control": "gaussian"},
        of | {"component": "W_Q", "layer": 0},
    )
    assert weights.of_embeddings(rows, "effective_rank").what.tolist() == [
        "unembedding W_U",
        "embedding W_E",
    ]


def effect(layer, number, value, step=0, **columns):
    return head(layer, number, value, step, metric="patching", variant="denoising", **columns)


def test_the_strongest_heads_are_furthest_from_0_and_keep_steps_without_a_value():
    rows = frame(
        effect(0, 0, 0.3),
        effect(0, 1, -0.9, step=4),
        effect(0, 1, None),
        effect(1, 0, 0.5, step=4),
        effect(1, 1, 5.0, model="m2"),
        effect(1, 2, None),
    )
    chosen = tasks.choose(rows, ["patching"], component="head")
    kept = tasks.strongest(chosen, 2)
    assert kept[["model", "what", "step"]].to_numpy().tolist() == [
        ["m", "L0H1", 0],
        ["m", "L0H1", 4],
        ["m", "L1H0", 4],
        ["m2", "L1H1", 0],
    ]


def sample(step, prompt_number=0, number=0, **columns):
    at = {"model": "m", "label": "samples", "step": step, "prompt_number": prompt_number}
    texts = {"prompt": f"p{prompt_number}", "continuation": f"at {step}", "log_prob": -1.0}
    return at | {"sample": number, "token_ids": [1]} | texts | columns


def test_texts_stand_by_prompt_at_some_of_the_steps():
    steps = (0, 1, 2, 4, 8, 16, 512, 1000, 2000)
    table = pd.DataFrame([sample(step, prompt) for step in steps for prompt in (1, 0)])
    found = sample_texts(table, most=3)
    assert found.columns.tolist() == [
        *("model", "label", "prompt_number", "prompt", "step"),
        *("sample", "continuation", "log_prob"),
    ]
    assert found.prompt_number.tolist() == sorted(found.prompt_number)
    shown = found[found.prompt_number == 0].step.tolist()
    assert 2 <= len(shown) <= 4
    assert (shown[0], shown[-1]) == (0, 2000)
    assert found.continuation.tolist()[-1] == "at 2000"


def test_of_several_continuations_the_first_are_shown_and_models_have_their_own_steps():
    rows = [sample(0, number=i) for i in (1, 0)] + [sample(7, model="n")]
    assert sample_texts(pd.DataFrame(rows)).step.tolist() == [0, 7]
    assert sample_texts(pd.DataFrame(rows), of_each=2)["sample"].tolist() == [0, 1, 0]
    assert sample_texts(pd.DataFrame()).empty
