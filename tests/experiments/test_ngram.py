"""`ngram` on a model that is a bigram, by constructed weights, and aligned as it says."""

import warnings

import numpy as np
import pytest
import torch
from transformer_lens import HookedTransformer, HookedTransformerConfig

from pythia_traj.data.ngrams import NGramText
from pythia_traj.discovery import discover
from pythia_traj.experiment import Vocabulary
from pythia_traj.sweeps.forward import Reader, measure_shared
from tests.data.test_ngrams import dense
from tests.support import byte_tokenizer

SIZE, D_VOCAB = 280, 304


@pytest.fixture(scope="module")
def text():
    vocabulary = Vocabulary(D_VOCAB, 64, byte_tokenizer())
    return NGramText(n=6, length=32, null_n=3, positions=12, sampled=24, train_tokens=200_000).bind(
        vocabulary, seed=0
    )


def knows(logits):
    """A model whose logits after token t are the row t, whatever was before: one-hot embeddings, no
    attention, no MLP.
    """
    config = HookedTransformerConfig(
        n_layers=1, d_model=D_VOCAB, n_ctx=64, d_head=4, n_heads=1, d_mlp=4, d_vocab=D_VOCAB,
        act_fn="gelu", seed=0, normalization_type="LNPre",
        positional_embedding_type="rotary", rotary_dim=4,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model = HookedTransformer(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.embed.W_E.copy_(torch.eye(D_VOCAB))
        normalised = model.ln_final(model.embed.W_E[None])[0]
        # Normalised one-hot vectors are, but for a factor, the centred identity.
        model.unembed.W_U.copy_(logits / (normalised[0, 0] - normalised[0, 1]))
        model.unembed.b_U.copy_(logits.mean(0))
    return model


@pytest.fixture(scope="module")
def bigram(text):
    """The text's own bigram, with nonsense in the rows that pad the vocabulary."""
    table = dense(text.counts, 2, np.arange(SIZE)[:, None])
    logits = torch.zeros(D_VOCAB, D_VOCAB)
    logits[:SIZE, :SIZE] = torch.from_numpy(np.log(table)).float()
    logits[:, SIZE:] = 5.0
    return knows(logits)


def values(model, text):
    reader = Reader("ngram", text, text.groups, ("final",), discover()["ngram"])
    measure_shared(model, [reader])
    rows = reader.values().rows(keep_items=True)
    assert {row.key.variant for row in rows.metrics} == {None}
    found = {
        (row.key.metric, row.key.part or row.key.size, row.key.control): row for row in rows.metrics
    }
    assert len(found) == len(rows.metrics)
    return found


def test_a_model_that_is_the_bigram_is_not_apart_from_it(text, bigram):
    found = values(bigram, text)
    for control, n in ((None, 6), ("shuffled", 3)):
        assert found["kl", 2, control].value == pytest.approx(0, abs=1e-3)
        assert found["js", 2, control].value == pytest.approx(0, abs=1e-3)
        assert found["kl", 2, control].n == n
    for order in (1, 3):
        assert found["kl", order, None].value > 0.1
        assert 0.01 < found["js", order, None].value < np.log(2)


def test_an_n_gram_that_is_off_by_one_is_further_away(text, bigram, monkeypatch):
    aligned = values(bigram, text)
    rows = text.counts.rows
    monkeypatch.setattr(
        text.counts, "rows", lambda order, contexts: rows(order, np.roll(contexts, 1, 1))
    )
    shifted = values(bigram, text)
    assert shifted["kl", 2, None].value > aligned["kl", 2, None].value + 0.5
    assert shifted["kl", 1, None].value == aligned["kl", 1, None].value


def test_the_loss_on_samples_is_that_of_the_bigram_after_each_token(text, bigram):
    found = values(bigram, text)
    for what, name in (("text", "text"), (1, "unigram"), (2, "bigram"), (3, "trigram")):
        ids = text.groups[name]
        table = dense(text.counts, 2, np.arange(SIZE)[:, None])
        at = text.positions[name]
        current, following = (np.take_along_axis(ids, at + i, 1) for i in (0, 1))
        expected = -np.log(table[current, following]).mean()
        assert found["nll", what, None].value == pytest.approx(expected, abs=1e-3)
    assert found["nll", 2, None].value < found["nll", 2, "shuffled"].value
    assert found["nll", 2, None].value < found["nll", 1, None].value


def test_a_trigrams_context_is_the_two_tokens_up_to_the_position(text, bigram):
    """The trigram's divergence by a plain loop over positions."""
    ids = text.groups["text"]
    table = dense(text.counts, 2, np.arange(SIZE)[:, None])
    expected = []
    for item, positions in zip(ids, text.positions["text"], strict=True):
        for i in positions:
            (trigram,) = dense(text.counts, 3, item[None, i - 1 : i + 1])
            expected.append((trigram * np.log(trigram / table[item[i]])).sum())
    assert values(bigram, text)["kl", 3, None].value == pytest.approx(np.mean(expected), abs=1e-3)
