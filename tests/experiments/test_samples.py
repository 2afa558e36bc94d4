"""`samples` as a table to be read."""

import pytest
import torch

import pythia_traj as pt
from pythia_traj.errors import ConfigError
from tests.support import byte_tokenizer


def sweep(suite, out, steps="1,4", **settings):
    config = pt.SweepConfig(
        model=str(suite), steps=steps, experiments={"samples": settings}, out=out, device="cpu"
    )
    assert not pt.sweep(config).failed
    return pt.load(out, table="samples")


def test_greedy_continuations_are_what_the_model_writes(suite, tmp_path):
    table = sweep(suite, tmp_path / "run", prompts="def one|xyz|abc, d", tokens=6)
    assert table["prompt"].tolist() == ["def one", "xyz", "abc, d"] * 2
    (ckpt,) = pt.checkpoints(suite, steps="4", device="cpu")
    tokenizer = byte_tokenizer()
    for row in table[table.step == 4].itertuples():
        tokens = torch.tensor([tokenizer.encode(row.prompt).ids])
        log_probs = []
        for _ in range(6):
            with torch.inference_mode():
                found = ckpt.model(tokens)[0, -1, : tokenizer.get_vocab_size()].log_softmax(-1)
            log_probs.append(found.max().item())
            tokens = torch.cat([tokens, found.argmax().view(1, 1)], 1)
        written = tokens[0, -6:].tolist()
        assert list(row.token_ids) == written
        assert row.log_prob == pytest.approx(sum(log_probs) / 6, abs=1e-4)
        until = written.index(0) if 0 in written else 6
        assert row.continuation == tokenizer.decode(written[:until], skip_special_tokens=False)


def test_rows_are_means_over_prompts_with_the_items_kept(suite, tmp_path):
    table = sweep(suite, tmp_path / "run", prompts="def one|xyz", tokens=5, steps="4")
    (value,) = pt.load(tmp_path / "run", metric="log_prob").value
    assert value == pytest.approx(table.log_prob.mean())
    items = pt.load(tmp_path / "run", table="items", metric="distinct")
    assert items.value.tolist() == pytest.approx([len(set(row)) / 5 for row in table.token_ids])


def test_sampling_depends_on_the_seed_alone_and_not_on_other_prompts(suite, tmp_path):
    settings = {"temperature": 1.5, "samples": 3, "tokens": 6, "steps": "4"}
    both = sweep(suite, tmp_path / "both", prompts="one|two", **settings)
    assert both["sample"].tolist() == [0, 1, 2] * 2
    assert len({tuple(row) for row in both.token_ids}) == 6
    alone = sweep(suite, tmp_path / "alone", prompts="one", **settings)
    assert [list(row) for row in alone.token_ids] == [list(row) for row in both.token_ids[:3]]
    other = sweep(suite, tmp_path / "other", prompts="one", seed=1, **settings)
    assert [list(row) for row in other.token_ids] != [list(row) for row in alone.token_ids]


def test_greedy_decoding_has_one_sample(suite, tmp_path):
    assert (
        len(sweep(suite, tmp_path / "run", prompts="one|two", tokens=3, samples=4, steps="4")) == 2
    )


def test_the_default_prompts_are_continued(suite, tmp_path):
    assert len(sweep(suite, tmp_path / "run", steps="4")) == 5


def test_a_negative_temperature_is_refused(suite, tmp_path):
    with pytest.raises(ConfigError, match="greater than or equal to 0"):
        pt.SweepConfig(
            model=str(suite),
            steps="4",
            experiments={"samples": {"temperature": -1}},
            out=tmp_path,
            device="cpu",
        )
