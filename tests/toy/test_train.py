"""The toy suite's training run, on a recipe of seconds."""

import json
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from safetensors.numpy import load_file

from pythia_traj.errors import SuiteError
from pythia_traj.suites.local import LocalModel
from pythia_traj.toy.batches import batches, read_corpus, repeated_segments
from pythia_traj.toy.recipe import Recipe
from pythia_traj.toy.train import train

SHORT = Recipe(steps=6, batch=4, repeats=2, d_model=16, n_layers=1, n_heads=2, d_mlp=32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    directory = tmp_path_factory.mktemp("toy") / "short"
    train(directory, SHORT)
    return directory


def test_it_is_a_suite_in_hugging_face_layout(trained):
    model = LocalModel.open(trained)
    assert model.steps == (0, 1, 2, 4, 6) == SHORT.saved_steps
    assert (model.suite, model.model, model.tokens_per_step) == ("toy", "short", 4 * 64)
    for step in model.steps:
        names = {path.name for path in (trained / f"step{step}").iterdir()}
        assert names >= {
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
        }
    weights = load_file(trained / "step6" / "model.safetensors")
    assert weights["embed_out.weight"].shape == (SHORT.vocab_size, 16)
    assert model.checkpoint(6).config()["rope_parameters"]["partial_rotary_factor"] == 1.0


def test_transformers_reads_what_was_saved(trained):
    from transformers import AutoTokenizer, GPTNeoXForCausalLM

    model, report = GPTNeoXForCausalLM.from_pretrained(trained / "step6", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.config.num_hidden_layers == 1
    tokenizer = AutoTokenizer.from_pretrained(trained / "step6")
    text = "def swap(model):\n    return model\n"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_training_moves_the_weights_and_the_same_recipe_gives_the_same(trained, tmp_path):
    train(tmp_path / "again", SHORT)
    train(tmp_path / "other", replace(SHORT, seed=1))
    first = load_file(trained / "step6" / "model.safetensors")
    again = load_file(tmp_path / "again" / "step6" / "model.safetensors")
    other = load_file(tmp_path / "other" / "step6" / "model.safetensors")
    start = load_file(trained / "step0" / "model.safetensors")
    name = "gpt_neox.layers.0.mlp.dense_h_to_4h.weight"
    assert all(np.array_equal(first[key], again[key]) for key in first)
    assert not np.array_equal(first[name], start[name])
    assert not np.array_equal(first[name], other[name])


def test_a_suite_that_is_there_is_kept(trained):
    before = (trained / "step6" / "model.safetensors").stat().st_mtime_ns
    train(trained, SHORT, on_step=lambda *_: pytest.fail("it trained again"))
    assert (trained / "step6" / "model.safetensors").stat().st_mtime_ns == before


def test_a_directory_of_something_else_is_refused(trained, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(
        SuiteError, match="mine exists and is not a toy suite: remove it or give another directory"
    ):
        train(tmp_path / "mine", SHORT)
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"
    with pytest.raises(SuiteError, match="exists and is a toy suite of another recipe"):
        train(trained, replace(SHORT, seed=5))


def test_an_interrupted_training_leaves_nothing(tmp_path):
    def stop(step, total, loss):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "stopped", SHORT, on_step=stop)
    assert list(tmp_path.iterdir()) == []


def test_of_two_trainings_at_once_the_first_that_is_whole_stays(tmp_path, monkeypatch):
    monkeypatch.setattr("pythia_traj.toy.train.read_corpus", cache(read_corpus))

    def overtaken(step, total, loss):
        if step == total:
            train(tmp_path / "toy", SHORT)
            seen.append((tmp_path / "toy" / "suite.json").stat().st_mtime_ns)

    seen = []
    train(tmp_path / "toy", SHORT, on_step=overtaken)
    assert (tmp_path / "toy" / "suite.json").stat().st_mtime_ns == seen[0]
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]
    (tmp_path / "other").mkdir()
    with pytest.raises(SuiteError, match="toy exists and is a toy suite of another recipe"):
        train(
            tmp_path / "other" / "toy",
            SHORT,
            on_step=lambda step, *_: train(tmp_path / "other" / "toy", replace(SHORT, seed=1)),
        )
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["toy"]


def test_the_recipe_is_stored_with_the_suite(trained):
    facts = json.loads((trained / "suite.json").read_text())
    assert facts["recipe"] == SHORT.as_dict()
    assert len(facts["corpus_sha256"]) == 64


@pytest.mark.parametrize(
    ("steps", "save_every"), [(1, 50), (512, 50), (513, 50), (600, 100), (1600, 50)]
)
def test_saved_steps_are_the_early_powers_of_two_and_then_even_and_always_the_last(
    steps, save_every
):
    saved = Recipe(steps=steps, save_every=save_every).saved_steps
    assert saved == tuple(sorted(set(saved)))
    assert saved[0] == 0
    assert saved[-1] == steps
    assert {step for step in saved if step <= 512} - {steps} <= {0, *(2**i for i in range(10))}
    late = [step for step in saved if step > 512 and step != steps]
    assert all(step % save_every == 0 for step in late)


def test_the_learning_rate_rises_stays_and_falls_to_nothing():
    recipe = Recipe()
    assert recipe.lr(0) == pytest.approx(recipe.peak_lr / recipe.warmup)
    assert recipe.lr(recipe.warmup) == recipe.lr(recipe.steps // 2) == recipe.peak_lr
    assert 0 < recipe.lr(recipe.steps - 1) < recipe.peak_lr / 100


def test_a_batch_is_repeated_segments_and_text_of_the_training_documents():
    corpus = read_corpus(SHORT.vocab_size)
    batch = next(batches(SHORT, corpus))
    assert batch.shape == (SHORT.batch, SHORT.context)
    repeated = repeated_segments(SHORT, np.random.default_rng(0))
    for row in repeated:
        periods = [
            p
            for p in range(SHORT.segment[0], SHORT.segment[1] + 1)
            if np.array_equal(row[p:], row[:-p])
        ]
        assert periods, "no segment repeats"
    windows = np.lib.stride_tricks.sliding_window_view(corpus.tokens, SHORT.context)
    for row in batch[SHORT.repeats :]:
        assert (windows[windows[:, 0] == row[0]] == row).all(1).any(), (
            "a text row is no piece of the corpus"
        )
