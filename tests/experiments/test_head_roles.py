"""`head_roles` on a tiny model whose tokenizer has names: scores, their controls, p-values, and
what happens where a part is missing.
"""

from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch

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
from pythia_traj.engines.significance import discoveries, p_values
from pythia_traj.errors import ConfigError, DataError
from pythia_traj.experiment import Vocabulary
from pythia_traj.models.tokenizer import read_tokenizer
from pythia_traj.rolebench import strongest_heads
from tests.data.test_roles import word_tokenizer
from tests.support import publish_suite

SETTINGS = {"n": 8, "length": 12}
N, DRAWS, FOLD = 8, 20, 4
LAYERS, HEADS = 3, 4
PARTS = ("fold_1", "fold_2")


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
    for role, step in product(ROLES, (0, 2, 4)):
        for control, part in ((None, None), ("shuffled", None), *((None, part) for part in PARTS)):
            assert np.isfinite(per_head(rows, role, control, step, part)).all(), (role, control)
    undefined = rows[rows.value.isna()]
    assert set(undefined.metric) <= {"suppression_rise"}


def test_scores_are_means_over_the_items_of_both_folds_and_of_each(swept, named_suite, data):
    rows, model = pt.load(swept, controls=True), model_at(named_suite, 4)
    items = {None: slice(0, N), "fold_1": slice(0, FOLD), "fold_2": slice(FOLD, N)}
    for control, name in ((None, "two_halves"), ("shuffled", "two_halves/shuffled")):
        _, cache = model.run_with_cache(torch.from_numpy(data.groups[name][:N]))
        pattern = torch.stack([cache["pattern", layer] for layer in range(LAYERS)], 1)
        for role, offset in (("induction", 11), ("duplicate_token", 12), ("previous_token", 1)):
            if control and role == "previous_token":
                continue
            by_item = torch.stack([pattern[..., p, p - offset] for p in range(12, 24)]).mean(0)
            for part, some in items.items() if control is None else [(None, items[None])]:
                np.testing.assert_allclose(
                    per_head(rows, role, control, 4, part),
                    by_item[some].mean(0).detach().numpy(),
                    atol=1e-6,
                )
    # The control of a previous-token head is on shuffled tokens too.
    random = data.random_keys[:N]
    expected = [
        pattern[i, :, :, 12 + q, random[i, q]].detach() for i in range(N) for q in range(12)
    ]
    found = per_head(rows, "previous_token", "shuffled", 4)
    np.testing.assert_allclose(found, torch.stack(expected).mean(0).numpy(), atol=1e-6)


def test_names_are_measured_item_by_item(swept, named_suite, data):
    rows, model = pt.load(swept), model_at(named_suite, 2)
    by_item = {}
    for batch in data.names:
        tokens = torch.from_numpy(batch.clean)
        _, cache = model.run_with_cache(tokens)
        for i, item in enumerate(batch.item):
            pattern = torch.stack([cache["pattern", layer][i, :, -1] for layer in range(LAYERS)])
            by_item[item] = torch.stack(
                [pattern[..., place[i]] for place in (batch.io, batch.s1, batch.s2)]
            )
    expected = torch.stack([by_item[item] for item in range(N)]).mean(0).detach().numpy()
    for i, name in enumerate(("io", "s1", "s2")):
        np.testing.assert_allclose(
            per_head(rows, f"attention_to_{name}", None, 2), expected[i], atol=1e-6
        )


def null_of(rows, role, step, suite, data):
    """The draws of induction's null, measured with TransformerLens."""
    draws = []
    for at, name in ((step, "two_halves/shuffled"), (0, "two_halves")):
        _, cache = model_at(suite, at).run_with_cache(torch.from_numpy(data.groups[name][N:]))
        pattern = torch.stack([cache["pattern", layer] for layer in range(LAYERS)], 1)
        offset = {"induction": 11, "duplicate_token": 12}[role]
        by_item = torch.stack([pattern[..., p, p - offset] for p in range(12, 24)]).mean(0)
        draws.append(by_item.unflatten(0, (DRAWS, FOLD)).mean(1).detach().double().numpy())
    return np.concatenate(draws)


@pytest.mark.parametrize("step", [0, 4])
@pytest.mark.parametrize("role", ["induction", "duplicate_token"])
def test_the_null_is_of_other_items_shuffled_and_as_they_are_at_the_first_step(
    swept, named_suite, data, role, step
):
    rows = pt.load(swept, controls=True)
    null = null_of(rows, role, step, named_suite, data)
    assert null.shape == (2 * DRAWS, LAYERS, HEADS)
    for part in PARTS:
        p = only(rows, metric="p_value", target=role, step=step, part=part, control=None)
        assert p.n.unique().tolist() == [null.size]
        found = per_head(only(rows, target=role), "p_value", None, step, part)
        expected = p_values(per_head(rows, role, None, step, part), null)
        # A score can be within rounding of one that it is compared with.
        assert np.abs(found - expected).max() <= 1 / (1 + null.size) + 1e-12


def test_the_heads_that_are_significant_are_those_of_benjamini_and_hochberg(swept):
    rows = pt.load(swept, controls=True)
    for role, step, part in product(ROLES, (0, 2, 4), PARTS):
        of_role = only(rows, target=role)
        p = per_head(of_role, "p_value", None, step, part)
        significant = per_head(of_role, "significant", None, step, part)
        np.testing.assert_array_equal(significant, discoveries(p, 0.05))
        for control in (None, "shuffled"):
            words = {"metric": "heads_significant", "control": control, "part": part}
            counted = only(of_role, **words, step=step)
            assert counted.n.item() == LAYERS * HEADS
            found = per_head(of_role, "significant", control, step, part)
            assert counted.value.item() == found.sum()


def test_only_the_first_step_has_the_scores_of_selection(swept):
    drawn = pt.load(swept, control="init")
    assert drawn.part.unique().tolist() == [f"selection_{i}" for i in range(1, DRAWS + 1)]
    assert drawn.step.unique().tolist() == [0]
    parts = drawn.groupby("metric", observed=True).part.nunique().to_dict()
    # Of words there are only so many.
    assert parts == {**dict.fromkeys(ROLES, DRAWS), "successor": 1}
    assert pt.load(swept, metric="p_value", target="successor").n.unique().tolist() == [
        (DRAWS + 1) * LAYERS * HEADS
    ]


def test_a_step_has_the_same_rows_whichever_others_were_asked_for(swept, named_suite, tmp_path):
    assert not sweep(named_suite, tmp_path / "run", steps="2").failed
    alone, among = (pt.load(run, step=2, controls=True) for run in (tmp_path / "run", swept))
    pd.testing.assert_frame_equal(alone, among)


def test_some_roles_are_the_rows_of_all(swept, named_suite, tmp_path):
    asked = ["induction", "s_inhibition"]
    assert not sweep(named_suite, tmp_path / "run", roles=asked).failed
    some, every = (pt.load(run, controls=True) for run in (tmp_path / "run", swept))
    named = every[every.metric.isin(asked) | every.target.isin(asked)]
    columns = ["step", "metric", "control", "part", "target", "layer", "head", "value", "n"]
    some, named = (rows[columns].reset_index(drop=True) for rows in (some, named))
    assert len(some)
    pd.testing.assert_frame_equal(some, named, check_categorical=False)


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
    expected = strongest_heads(model_at(named_suite, 4), data, 4)
    assert list(zip(table["layer"], table["head"], strict=True)) == expected


def test_receivers_are_chosen_once_at_the_named_step(swept, named_suite, data, tmp_path):
    final = strongest_heads(model_at(named_suite, 4), data, 4)
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
    expected = torch.stack([by_item[item] for item in range(N)]).mean(0)
    np.testing.assert_allclose(
        per_head(pt.load(swept), "s_inhibition", None, 2), expected.numpy(), atol=1e-6
    )
    assert not sweep(named_suite, tmp_path / "run", steps="2", references=["init"]).failed
    other = per_head(pt.load(tmp_path / "run"), "s_inhibition", None, 2)
    assert not np.allclose(other, expected.numpy(), atol=1e-6)


def test_receivers_have_the_largest_direct_effect(named_suite, data):
    model = model_at(named_suite, 4)
    effects = np.zeros((N + DRAWS * FOLD, LAYERS, HEADS))
    for batch in data.names:
        run = keep_pass(model, torch.from_numpy(batch.clean))
        effects[batch.item] = roles.answer_effects(
            model, run, Question.of(batch, torch.device("cpu"))
        ).numpy()
    mean = effects[N : N + FOLD].mean(0)
    chosen = strongest_heads(model, data, 4)
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
    p = pt.load(tmp_path / "run", metric="p_value", target="s_inhibition", step=2)
    assert set(p.reason) == {"the null needs the role's scores at the first step, which has none"}


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
            # Six weekdays have a successor, and a third of them is of selection.
            assert sizes.unique().tolist() == [4 if role == "successor" else N]


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


def test_a_role_without_items_that_is_asked_for_fails_before_any_step(suite, tmp_path):
    with pytest.raises(DataError, match="role name_mover cannot be measured: task ioi_abc has"):
        sweep(suite, tmp_path / "run", roles=["induction", "name_mover"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"draws": 19}, "draws"),
        ({"n": 5}, "n"),
        ({"roles": []}, "roles"),
        ({"roles": ["mover"]}, "roles"),
    ],
)
def test_parameters_out_of_range_are_refused(suite, tmp_path, settings, message):
    with pytest.raises(ConfigError, match=message):
        sweep(suite, tmp_path / "run", **settings)


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
