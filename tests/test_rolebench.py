"""What roles are measured to be, item by item: the control, and the draws of the null."""

import numpy as np
import pytest
import torch

import pythia_traj as pt
from pythia_traj.data.roles import ORDERED, RolePrompts
from pythia_traj.engines import roles
from pythia_traj.engines.kept import keep_pass
from pythia_traj.engines.role_scores import COPYING
from pythia_traj.experiment import Vocabulary
from pythia_traj.rolebench import measure_roles
from tests.data.test_roles import word_tokenizer
from tests.support import publish_suite

N, FOLD, DRAWS, LAYERS = 8, 4, 20, 3
TOKENIZER = word_tokenizer([*ORDERED["days"][0], *ORDERED["months"][0]])


@pytest.fixture(scope="module")
def data():
    vocabulary = Vocabulary(TOKENIZER.get_vocab_size(), 128, TOKENIZER)
    return RolePrompts(n=N, length=12).bind(vocabulary, seed=0)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    root = tmp_path_factory.mktemp("rolebench") / "words"
    publish_suite(root, (0,), num_hidden_layers=LAYERS, vocab_size=TOKENIZER.get_vocab_size())
    (ckpt,) = pt.checkpoints(root, steps="0", device="cpu", fold_value_biases=False)
    return ckpt.model


@pytest.fixture(scope="module")
def measured(model, data):
    return measure_roles(model, data, [(2, 0), (1, 1)], b_V=False, is_first=True)


@pytest.fixture(scope="module")
def later(model, data):
    return measure_roles(model, data, [(2, 0), (1, 1)], b_V=False, is_first=False)


def test_every_part_has_its_items_and_only_the_first_step_those_of_selection(measured, later):
    for role, found in measured.items():
        # Six and eleven words have a successor: five in each third.
        fold = 5 if role == "successor" else FOLD
        assert {len(array) for array in found.clean.values()} == {2 * fold}
        assert {len(array) for array in found.shuffled.values()} == {2 * fold}
        assert {len(array) for array in found.null.values()} == {DRAWS * fold}
        init = {len(array) for array in found.init.values()}
        assert init == {fold if role == "successor" else DRAWS * fold}
        assert later[role].init == {}
        for name, array in found.null.items():
            np.testing.assert_array_equal(later[role].null[name], array)


@torch.inference_mode()
def test_the_null_of_name_movers_is_attention_in_shuffled_prompts(measured, model, data):
    found = measured["name_mover"]
    for batch in data.names:
        for name, tokens, first in (
            ("null", batch.shuffled, N),
            ("init", batch.clean, N),
            ("clean", batch.clean, 0),
        ):
            arrays = getattr(found, name)
            pattern = torch.stack(keep_pass(model, torch.from_numpy(tokens), patterns=True).pattern)
            for i, item in enumerate(batch.item):
                if 0 <= item - first < len(arrays["attention_to_io"]):
                    expected = pattern[:, i, :, -1, batch.io[i]]
                    np.testing.assert_allclose(
                        arrays["attention_to_io"][item - first], expected, atol=1e-6
                    )


def test_all_shuffled_sets_have_the_copying_of_the_first_set_of_selection(measured):
    found = measured["name_mover"]
    copying = found.null[COPYING].reshape(DRAWS, FOLD, *found.null[COPYING].shape[1:])
    first = found.init["name_copying"][:FOLD]
    assert all((one == first).all() for one in copying)
    np.testing.assert_array_equal(found.shuffled[COPYING], found.clean["name_copying"])


def test_the_null_of_successors_exchanges_their_targets(measured, model, data):
    found = measured["successor"]
    answers = []
    for task in data.ordered:
        words, targets, *orders = (
            torch.from_numpy(array)
            for array in (task.words, task.targets, np.arange(len(task.words)), *task.shuffled)
        )
        answers.append(roles.is_succeeded(model, words, targets, orders, "mlp", b_V=False))
    right, control, *null = (
        np.concatenate([answer[i].numpy() for answer in answers]) for i in range(2 + DRAWS)
    )
    folds, selection = data.words[:2].ravel(), data.words[2]
    np.testing.assert_array_equal(found.clean["successor"], right[folds])
    np.testing.assert_array_equal(found.shuffled["successor"], control[folds])
    np.testing.assert_array_equal(found.init["successor"], right[selection])
    drawn = found.null["successor"].reshape(DRAWS, len(selection), *right.shape[1:])
    np.testing.assert_array_equal(drawn, np.stack([one[selection] for one in null]))


def test_heads_are_ablated_with_means_of_as_many_items_everywhere(model, data, monkeypatch):
    sizes, rise = [], roles.ablation_rise

    def passing(arrays, items):
        return np.ones(arrays["suppression_direct"].shape[1:], dtype=bool)

    def counted(model, base, *arguments, **keywords):
        sizes.append(len(base.tokens))
        return rise(model, base, *arguments, **keywords)

    monkeypatch.setattr("pythia_traj.rolebench.suppresses", passing)
    monkeypatch.setattr(roles, "ablation_rise", counted)
    found = measure_roles(model, data, [], b_V=False, is_first=False)["copy_suppression"]
    assert sizes == [N] * (2 + DRAWS * FOLD // N)
    assert np.isfinite(found.null["suppression_rise"]).all()
