"""`head_roles` on a tiny model whose tokenizer has names: scores, their controls, thresholds, and
what happens where a part is missing.
"""

from itertools import product

import numpy as np
import pytest
import torch
from pythia_traj.experiments.head_roles import _receivers, _selection

import pythia_traj as pt
from pythia_traj.data.roles import ORDERED, RolePrompts
from pythia_traj.engines import roles
from pythia_traj.engines.kept import Question, keep_pass
from pythia_traj.engines.role_scores import (
    COPYING,
    ROLES,
    UNIFORM,
    score_name_mover,
    score_suppression,
)
from pythia_traj.errors import ConfigError
from pythia_traj.experiment import Vocabulary
from pythia_traj.models.tokenizer import read_tokenizer
from tests.data.test_roles import word_tokenizer
from tests.support import publish_suite

SETTINGS = {"n": 8, "length": 12}
LAYERS, HEADS = 3, 4


@pytest.fixture(scope="module")
def named_suite(tmp_path_factory):
    """Three checkpoints with a tokenizer of words."""
    root = tmp_path_factory.mktemp("named") / "words"
    tokenizer = word_tokenizer(ORDERED["days"][0])
    publish_suite(root, (0, 2, 4), num_hidden_layers=LAYERS, vocab_size=tokenizer.get_vocab_size())
    for folder in root.glob("step*"):
        tokenizer.save(str(folder / "tokenizer.json"))
    return root


def sweep(suite, out, steps="all", **settings):
    experiments = {"head_roles": {**SETTINGS, **settings}}
    return pt.sweep(
        pt.SweepConfig(
            model=str(suite), steps=steps, experiments=experiments, out=out, device="cpu"
        )
    )


@pytest.fixture(scope="module")
def swept(named_suite, tmp_path_factory):
    out = tmp_path_factory.mktemp("head_roles") / "run"
    assert not sweep(named_suite, out).failed
    return out


@pytest.fixture(scope="module")
def data(named_suite):
    tokenizer = read_tokenizer(named_suite / "step0" / "tokenizer.json").tokenizer
    return RolePrompts(**SETTINGS).bind(
        Vocabulary(tokenizer.get_vocab_size(), 128, tokenizer), seed=0
    )


def model_at(suite, step):
    (ckpt,) = pt.checkpoints(suite, steps=str(step), device="cpu", fold_value_biases=False)
    return ckpt.model


def only(rows, **words):
    """The rows that have these words, or none where it is None."""
    for name, word in words.items():
        rows = rows[rows[name].isna() if word is None else rows[name] == word]
    return rows


def per_head(rows, metric, control, step, part=None):
    """Values [layer, head]."""
    words = {"metric": metric, "step": step, "component": "head", "variant": None}
    chosen = only(rows, **words, control=control, part=part)
    return chosen.sort_values(["layer", "head"]).value.to_numpy().reshape(LAYERS, HEADS)


def test_every_role_has_a_score_for_every_head(swept):
    rows = pt.load(swept, controls=True)
    for role in ROLES:
        for control, part in product((None, "shuffled"), (None, "selection")):
            for step in (0, 2, 4):
                scores = per_head(rows, role, control, step, part)
                assert np.isfinite(scores).all(), (role, control, part)
    undefined = rows[rows.value.isna()]
    assert set(undefined.metric) <= {"suppression_rise"}


def test_scores_are_means_over_the_evaluation_half(swept, named_suite, data):
    rows, model = pt.load(swept, controls=True), model_at(named_suite, 4)
    half = ~_selection(8)
    assert half.tolist() == [False, True, True, False] * 2
    for control, name in ((None, "two_halves"), ("shuffled", "two_halves/shuffled")):
        _, cache = model.run_with_cache(torch.from_numpy(data.groups[name][half]))
        for role, offset in (("induction", 11), ("duplicate_token", 12), ("previous_token", 1)):
            if control and role == "previous_token":
                continue
            pattern = torch.stack([cache["pattern", layer] for layer in range(LAYERS)], 1)
            expected = torch.stack([pattern[..., p, p - offset] for p in range(12, 24)]).mean(
                (0, 1)
            )
            np.testing.assert_allclose(
                per_head(rows, role, control, 4), expected.detach().numpy(), atol=1e-6
            )
    random = torch.from_numpy(data.random_keys[half])
    _, cache = model.run_with_cache(torch.from_numpy(data.groups["two_halves"][half]))
    for layer in range(LAYERS):
        pattern = cache["pattern", layer]
        expected = [pattern[i, :, 12 + q, random[i, q]] for i in range(4) for q in range(12)]
        found = per_head(rows, "previous_token", "shuffled", 4)[layer]
        np.testing.assert_allclose(found, torch.stack(expected).mean(0).detach().numpy(), atol=1e-6)


def test_names_are_measured_item_by_item(swept, named_suite, data):
    rows, model = pt.load(swept), model_at(named_suite, 2)
    half = ~_selection(8)
    by_item = {}
    for batch in data.names:
        tokens = torch.from_numpy(batch.clean)
        _, cache = model.run_with_cache(tokens)
        for i, item in enumerate(batch.item):
            pattern = torch.stack([cache["pattern", layer][i, :, -1] for layer in range(LAYERS)])
            by_item[item] = torch.stack(
                [pattern[..., place[i]] for place in (batch.io, batch.s1, batch.s2)]
            )
    expected = torch.stack([by_item[item] for item in range(8)])[half].mean(0).detach().numpy()
    for i, name in enumerate(("io", "s1", "s2")):
        np.testing.assert_allclose(
            per_head(rows, f"attention_to_{name}", None, 2), expected[i], atol=1e-6
        )


def test_a_threshold_is_the_end_of_the_control_pooled_with_the_first_step(swept):
    rows = pt.load(swept, controls=True)
    for role, step in product(ROLES, (0, 2, 4)):
        of_role = only(rows, target=role, step=step)
        shuffled = per_head(rows, role, "shuffled", step, "selection").ravel()
        at_init = per_head(rows, role, None, 0, "selection").ravel()
        pools = {
            None: np.concatenate([shuffled, at_init]),
            "shuffled": shuffled,
            "init": at_init,
        }
        for control, pool in pools.items():
            row = only(of_role, metric="role_threshold", control=control)
            assert row.value.item() == pytest.approx(np.quantile(pool, 0.999))
            assert row.n.item() == len(pool)
        threshold = np.quantile(pools[None], 0.999)
        for control in (None, "shuffled"):
            expected = per_head(rows, role, control, step) > threshold
            above = per_head(of_role, "above_null", control, step)
            np.testing.assert_array_equal(above, expected)
            count = only(of_role, metric="heads_above_null", control=control)
            assert count.value.item() == expected.sum()


def test_what_chance_and_a_uniform_head_would_have_are_controls_of_no_head(swept):
    rows = pt.load(swept, control=["chance", "uniform"], step=4)
    assert dict(zip(rows.metric, rows.control, strict=True)) == {
        "successor": "chance",
        "suppression_attention": "uniform",
    }
    assert rows.component.isna().all()
    assert rows.value.between(0, 1, inclusive="neither").all()


def test_the_receivers_are_in_their_table(swept, named_suite, data):
    table = pt.load(swept, table="receivers", step=2)
    expected = _receivers({"final": model_at(named_suite, 4)}, "final", data)
    assert list(zip(table["layer"], table["head"], strict=True)) == expected


def test_receivers_are_chosen_once_at_the_named_step(swept, named_suite, data, tmp_path):
    final = _receivers({"final": model_at(named_suite, 4)}, "final", data)
    model = model_at(named_suite, 2)
    by_item = {}
    for batch in data.names:
        places = torch.from_numpy(np.stack([batch.s2, batch.io]))
        base, twin = (
            keep_pass(model, torch.from_numpy(tokens)) for tokens in (batch.clean, batch.corrupted)
        )
        question = Question.of(batch, torch.device("cpu"))
        rises = roles.inhibition(model, base, twin, question, final, places)
        by_item |= dict(zip(batch.item.tolist(), rises, strict=True))
    expected = torch.stack([by_item[item] for item in range(8)])[~_selection(8)].mean(0)
    np.testing.assert_allclose(
        per_head(pt.load(swept), "s_inhibition", None, 2), expected.numpy(), atol=1e-6
    )
    assert not sweep(named_suite, tmp_path / "run", steps="2", references=["init"]).failed
    other = per_head(pt.load(tmp_path / "run"), "s_inhibition", None, 2)
    assert not np.allclose(other, expected.numpy(), atol=1e-6)


def test_receivers_have_the_largest_direct_effect(named_suite, data):
    model = model_at(named_suite, 4)
    effects = np.zeros((8, LAYERS, HEADS))
    for batch in data.names:
        run = keep_pass(model, torch.from_numpy(batch.clean))
        effects[batch.item] = roles.answer_effects(
            model, run, Question.of(batch, torch.device("cpu"))
        ).numpy()
    mean = effects[_selection(8)].mean(0)
    chosen = _receivers({"final": model}, "final", data)
    assert len(chosen) == 4
    assert [mean[head] for head in chosen] == sorted(mean.ravel(), reverse=True)[:4]


def test_without_the_reference_s_inhibition_says_so(named_suite, tmp_path):
    assert not sweep(named_suite, tmp_path / "run", steps="0,2", references=["previous"]).failed
    rows = pt.load(tmp_path / "run", metric="s_inhibition")
    first = rows[rows.step == 0]
    assert set(first.reason) == {
        "its receivers are chosen at the reference previous, which there is none of at this step"
    }
    assert rows[rows.step == 2].value.notna().all()
    threshold = pt.load(
        tmp_path / "run", metric="role_threshold", target="s_inhibition", control="init", step=2
    )
    assert threshold.reason.item() == "the role is not defined at the first step"


@pytest.mark.parametrize("references", [[], ["init", "final"]])
def test_the_named_step_is_one(named_suite, tmp_path, references):
    with pytest.raises(ConfigError, match="references"):
        sweep(named_suite, tmp_path / "run", references=references)


def test_items_of_scores_are_kept_in_blocks(swept):
    items = pt.load(swept, table="items", step=4, controls=True)
    for role in ROLES:
        for control in (None, "shuffled"):
            chosen = only(items, metric=role, variant=None, control=control)
            assert chosen.part.isna().all()
            sizes = chosen.groupby(["layer", "head"]).size()
            assert len(sizes) == LAYERS * HEADS
            # Six weekdays have a successor.
            assert sizes.unique().tolist() == [3 if role == "successor" else 4]


# Attention of three heads to IO, S1, S2, two items each: a mover, one that prefers S2 in one item,
# one that hardly copies.
MOVERS = {
    "name_copying": [[1.0, 1.0, 0.05], [0.5, 1.0, 0.05]],
    "attention_to_io": [[0.6, 0.9, 0.9], [0.5, 0.2, 0.9]],
    "attention_to_s1": [[0.1, 0.1, 0.0], [0.1, 0.1, 0.0]],
    "attention_to_s2": [[0.2, 0.0, 0.0], [0.1, 0.3, 0.0]],
}


def test_a_name_mover_copies_and_attends_to_io_most():
    arrays = {name: np.array(values)[:, None] for name, values in MOVERS.items()}
    both = np.array([True, True])
    np.testing.assert_array_equal(score_name_mover(arrays, both)[:, 0], [[1, 1, 0], [0.5, 0, 0]])
    # In the second item alone the second head attends to S2 most.
    np.testing.assert_array_equal(
        score_name_mover(arrays, ~both | [False, True])[:, 0], [[0.5, 0, 0]]
    )
    # In the control it is what is copied of the real prompt that counts.
    arrays[COPYING] = np.zeros_like(arrays["name_copying"])
    assert (score_name_mover(arrays, both) == 0).all()


def test_copy_suppression_takes_attention_a_negative_effect_and_the_rise():
    arrays = {
        "suppression_attention": np.array([[[0.5, 0.1, 0.5, 0.5]]]),
        UNIFORM: np.array([[[0.1]]]),
        "suppression_direct": np.array([[[-1.0, -1.0, 1.0, -1.0]]]),
        "suppression_rise": np.array([[[2.0, np.nan, np.nan, -2.0]]]),
    }
    # The last one attends and writes against the token, and ablating it lowers the logit all the
    # same.
    np.testing.assert_array_equal(score_suppression(arrays, np.array([True])), [[[2, 0, 0, -2]]])
