"""`representation` as rows: a step is like itself, and each number is of the activations that
TransformerLens gives.
"""

import numpy as np
import pytest
import torch

import pythia_traj as pt
from pythia_traj.data.passages import Passages
from pythia_traj.engines.representations import (
    anisotropy,
    cka,
    hsic,
    participation_ratio,
    standardised,
)
from pythia_traj.errors import DataError
from pythia_traj.experiment import Vocabulary
from pythia_traj.processing import RAW
from pythia_traj.stream.session import Session
from tests.support import byte_tokenizer

SETTINGS = {"n": 6, "length": 24}


def request(suite, out, steps="1,4", **settings):
    experiments = {"representation": {**SETTINGS, **settings}}
    return pt.SweepConfig(
        model=str(suite), steps=steps, experiments=experiments, out=out, device="cpu"
    )


@pytest.fixture(scope="module")
def run(suite, tmp_path_factory):
    out = tmp_path_factory.mktemp("representation") / "run"
    assert not pt.sweep(
        request(suite, out, references="init,step:4,previous", sites="resid_post,attn_out")
    ).failed
    return out


@pytest.fixture(scope="module")
def activations(suite):
    """The last layer's residual stream at steps 4 and 0 [passage, pos, d_model], without the first
    position.
    """
    tokens = torch.from_numpy(
        Passages(**SETTINGS).bind(Vocabulary(300, 128, byte_tokenizer()), seed=0).groups["text"]
    )
    found = {}
    for ckpt in pt.checkpoints(suite, steps="0,4", **RAW.as_dict(), device="cpu"):
        with torch.inference_mode():
            found[ckpt.step] = ckpt.model.run_with_cache(tokens)[1]["resid_post", 1][:, 1:].clone()
    return found


def test_a_step_has_cka_and_cosine_1_with_itself(run):
    for metric, variants in (("cka", (None, "biased")), ("mean_cosine", (None,))):
        for variant in variants:
            rows = pt.load(run, metric=metric, variant=variant, reference="step:4", step=4)
            assert len(rows) == 4
            assert rows.value.to_numpy() == pytest.approx(np.ones(4), abs=1e-6)


def test_references_are_run_once_in_a_sweep_and_a_step_alone_has_the_same_bits(
    suite, tmp_path, monkeypatch
):
    loaded = []
    original = Session.reference_model

    def counting(self, step, processing):
        loaded.append(step)
        return original(self, step, processing)

    monkeypatch.setattr(Session, "reference_model", counting)
    references = "init,final,step:1,previous"
    assert not pt.sweep(
        request(suite, tmp_path / "all", steps="0,1,2,4", references=references)
    ).failed
    # 0, 1 and 4 by name; 2 is the previous one of 4, and the others' are kept already.
    assert sorted(loaded) == [0, 1, 2, 4]
    for step in (2, 4):
        pt.sweep(request(suite, tmp_path / f"{step}", steps=str(step), references=references))
        alone = pt.load(tmp_path / f"{step}", controls=True)
        among = pt.load(tmp_path / "all", step=step, controls=True).reset_index(drop=True)
        assert alone.equals(among)


def test_values_are_those_of_the_activations(run, activations):
    here, there = activations[4], activations[0]
    where = {"step": 4, "component": "resid_post", "layer": 1}

    def value(metric, variant=None, reference=None, control=None):
        words = {"variant": variant, "reference": reference, "control": control}
        (found,) = pt.load(run, metric=metric, **words, **where).value
        return found

    x, y = (standardised(one.flatten(0, 1)) for one in (here, there))
    assert value("cka", reference="init") == pytest.approx(
        cka(hsic(x, y), hsic(x, x), hsic(y, y))[0].item(), abs=1e-4
    )
    expected = torch.nn.functional.cosine_similarity(here, there, dim=-1).mean().item()
    assert value("mean_cosine", reference="init") == pytest.approx(expected, abs=1e-5)
    assert value("participation_ratio", "centred") == pytest.approx(
        participation_ratio(here.flatten(0, 1)).item(), rel=1e-4
    )
    assert value("anisotropy") == pytest.approx(anisotropy(here).mean().item(), abs=1e-5)
    # Of six passages, each meets others that are 1, 2 and 3 further on: all pairs there are.
    drawn = [
        torch.nn.functional.cosine_similarity(here, there.roll(by, 0), dim=-1).mean().item()
        for by in (1, 2, 3)
    ]
    permuted = {"reference": "init", "control": "permuted"}
    assert value("mean_cosine", **permuted) == pytest.approx(np.mean(drawn), abs=1e-5)
    assert value("mean_cosine_sd", **permuted) == pytest.approx(np.std(drawn, ddof=1), abs=1e-5)
    drawn = [
        cka(hsic(x, z), hsic(x, x), hsic(z, z))[0].item()
        for z in (standardised(there.roll(by, 0).flatten(0, 1)) for by in (1, 2, 3))
    ]
    assert value("cka", **permuted) == pytest.approx(np.mean(drawn), abs=1e-4)
    assert value("cka_sd", **permuted) == pytest.approx(np.std(drawn, ddof=1), abs=1e-4)


def test_controls_have_the_variant_and_reference_of_their_measurements(run):
    for control, metrics in (
        ("permuted", {"cka", "mean_cosine", "cka_sd", "mean_cosine_sd"}),
        ("shuffled", {"participation_ratio", "anisotropy"}),
    ):
        rows = [
            pt.load(run, metric=sorted(metrics), control=one, step=4).set_index(
                ["metric", "variant", "reference", "component", "layer"]
            )
            for one in (None, control)
        ]
        assert set(rows[0].index) == {key for key in rows[1].index if not key[0].endswith("_sd")}
        assert set(rows[1].index.get_level_values("metric")) == metrics
        assert len(rows[1]) == len(set(rows[1].index)) > 0


def test_cosines_are_kept_passage_by_passage(run):
    items = pt.load(
        run,
        table="items",
        metric="mean_cosine",
        reference="init",
        step=4,
        layer=0,
        component="attn_out",
    )
    assert len(items) == 6


def test_the_step_before_the_first_is_nobody(suite, tmp_path):
    assert not pt.sweep(request(suite, tmp_path / "run", steps="0", references="previous")).failed
    assert set(pt.load(tmp_path / "run").metric) == {"participation_ratio", "anisotropy"}


def test_what_cannot_be_measured_ends_the_sweep_with_one_line(suite, tmp_path):
    with pytest.raises(
        DataError, match="6 passages of 24 tokens without the first 24 leave too few"
    ):
        pt.sweep(request(suite, tmp_path / "one", skip=24))
    with pytest.raises(DataError, match="this model has no resid_mid"):
        pt.sweep(request(suite, tmp_path / "two", sites="resid_mid"))
