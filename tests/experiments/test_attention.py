"""`attention`: patterns are those of the model, entropies those of the patterns."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

import pythia_traj as pt
from pythia_traj.analysis.patterns import patterns_at
from pythia_traj.errors import DataError
from pythia_traj.store.layout import Run
from pythia_traj.store.unit import read_footer
from pythia_traj.sweeps import forward
from tests.support import byte_tokenizer

PROMPTS = ["def one", "xyz", "for model in models", "\n", "abab abab", "é", "model(step)"]
LAYERS, HEADS = 2, 4


def sweep(suite, out, steps="1,4", **settings):
    config = pt.SweepConfig(
        model=str(suite),
        steps=steps,
        experiments={"attention": {"prompts": PROMPTS, **settings}},
        out=out,
        device="cpu",
    )
    assert not pt.sweep(config).failed
    return out


@pytest.fixture(scope="module")
def run(suite, tmp_path_factory):
    return sweep(suite, tmp_path_factory.mktemp("attention") / "run")


@pytest.fixture(scope="module")
def table(run):
    return pt.load(run, table="patterns")


def of_model(suite, step):
    """The patterns that TransformerLens keeps, prompt by prompt: [layer, head, query, key]."""
    (ckpt,) = pt.checkpoints(suite, steps=str(step), device="cpu")
    for prompt in PROMPTS:
        tokens = torch.tensor([[0, *byte_tokenizer().encode(prompt).ids]])
        with torch.inference_mode():
            _, cache = ckpt.model.run_with_cache(tokens)
        yield torch.stack([cache["pattern", layer][0] for layer in range(LAYERS)]).numpy()


@pytest.mark.parametrize("step", [1, 4])
def test_the_patterns_are_those_that_the_model_keeps(suite, table, step):
    for number, expected in enumerate(of_model(suite, step)):
        for layer, head in np.ndindex(LAYERS, HEADS):
            found = patterns_at(table, step, layer, head)[number]
            assert found.prompt == PROMPTS[number]
            assert len(found.tokens) == len(expected[layer, head])
            causal = np.tril(np.ones_like(found.weights, dtype=bool))
            assert np.isnan(found.weights[~causal]).all()
            np.testing.assert_allclose(
                found.weights[causal], expected[layer, head][causal], atol=1e-6
            )
            np.testing.assert_allclose(np.nansum(found.weights, 1), 1, atol=1e-5)


def test_there_is_one_row_for_each_prompt_layer_and_head(table):
    keys = ["step", "prompt_number", "layer", "head"]
    assert len(table) == 2 * len(PROMPTS) * LAYERS * HEADS
    assert not table.duplicated(keys).any()
    assert table[keys].equals(table.sort_values(keys)[keys])
    assert all(
        len(row.pattern) == len(row.token_texts) * (len(row.token_texts) + 1) // 2
        for row in table.itertuples()
    )


def entropy(weights):
    """Mean over queries of -sum a ln a, by hand."""
    rows = [[float(a) for a in row if a > 0] for row in weights]
    return sum(-sum(a * math.log(a) for a in row) for row in rows) / len(rows)


def test_entropies_are_those_of_the_patterns(suite, run):
    rows = pt.load(run, step=4)
    patterns = list(of_model(suite, 4))
    for layer in range(LAYERS):
        of_heads = [
            np.mean([entropy(one[layer, head]) for one in patterns]) for head in range(HEADS)
        ]
        at = rows[(rows.layer == layer) & (rows.component == "head")].sort_values("head")
        np.testing.assert_allclose(at.value, of_heads, atol=1e-5)
        (mean,) = rows[(rows.layer == layer) & (rows.component == "attn")].value
        assert mean == pytest.approx(np.mean(of_heads), abs=1e-5)


def test_the_control_is_even_attention_over_the_same_positions(run, table):
    even = pt.load(run, control="uniform", step=1)
    lengths = table.drop_duplicates("prompt_number").token_texts.map(len)
    expected = np.mean([sum(math.log(q + 1) for q in range(n)) / n for n in lengths])
    assert even.value.tolist() == pytest.approx([expected])
    rows = pt.load(run)
    assert (rows.value < expected).all()
    assert (rows.value > 0).all()


def test_standard_errors_are_over_prompts_with_the_items_kept(run):
    rows = pt.load(run, controls=True)
    assert set(rows.n) == set(rows.clusters) == {len(PROMPTS)}
    items = pt.load(run, table="items", controls=True)
    by = ["step", "component", "layer", "head", "control"]
    means = items.groupby(by, observed=True, dropna=False).value.agg(["mean", "std"])
    kept = rows.set_index(by).sort_index()
    np.testing.assert_allclose(means["mean"].sort_index(), kept.value, atol=1e-6)
    np.testing.assert_allclose(
        means["std"].sort_index() / math.sqrt(len(PROMPTS)), kept.stderr, atol=1e-6
    )


def test_batches_change_neither_patterns_nor_values(suite, run, table, tmp_path, monkeypatch):
    monkeypatch.setattr(forward, "_BATCH_BYTES", {"cpu": 1})
    out = sweep(suite, tmp_path / "run", steps="4")
    values = pt.load(run, step=4, controls=True).value
    np.testing.assert_allclose(pt.load(out, controls=True).value, values, atol=1e-6)
    alone = pt.load(out, table="patterns")
    together = table[table.step == 4].reset_index(drop=True)
    columns = ["prompt_number", "layer", "head", "prompt"]
    pd.testing.assert_frame_equal(alone[columns], together[columns])
    for one, other in zip(alone.itertuples(), together.itertuples(), strict=True):
        assert list(one.token_texts) == list(other.token_texts)
        np.testing.assert_allclose(one.pattern, other.pattern, atol=1e-6)


def test_the_footer_says_which_prompts_were_cut_and_which_were_read(suite, tmp_path):
    out = sweep(suite, tmp_path / "run", steps="4", length=5)
    footer = read_footer(Run(out).unit_path(suite.name, "attention", 4))
    assert footer["made_of"]["parameters"]["prompts"] == PROMPTS
    table = pt.load(out, table="patterns")
    longest = table.groupby("prompt_number").token_texts.agg(lambda texts: len(texts.iloc[0]))
    assert longest.max() == 5
    whole = [len(byte_tokenizer().encode(prompt).ids) + 1 for prompt in PROMPTS]
    assert footer["data"]["cut"] == [i for i, n in enumerate(whole) if n > 5]


def test_half_precision_is_measured_too(suite, table, tmp_path):
    config = pt.SweepConfig(
        model=str(suite), steps="4", experiments={"attention": {"prompts": PROMPTS}},
        out=tmp_path / "run", device="cpu", dtype="bfloat16",
    )  # fmt: skip
    assert not pt.sweep(config).failed
    half = pt.load(tmp_path / "run", table="patterns")
    exact = table[table.step == 4]
    for one, other in zip(half.pattern, exact.pattern, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, atol=0.03)


def test_a_prompt_beyond_the_context_is_refused_before_anything_is_measured(suite, tmp_path):
    with pytest.raises(DataError, match="attention: prompt 0 needs a context of 200 tokens"):
        sweep(suite, tmp_path / "run", prompts=["x" * 300], length=200)


def test_prompts_of_the_command_line_are_parted_by_bars(suite, tmp_path, cli):
    words = ["--set", "attention.prompts=one|two, three", "--steps", "4", "--out", tmp_path / "run"]
    status, _, _ = cli("sweep", "--model", suite, "--experiment", "attention", *words)
    assert status == 0
    table = pt.load(tmp_path / "run", table="patterns")
    assert list(table.prompt.unique()) == ["one", "two, three"]
