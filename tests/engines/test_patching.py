"""Patching and transplanting from the middle of a kept pass equal hooks and exchanged parameters on
a whole one.
"""

import copy

import pytest
import torch

import pythia_traj as pt
from pythia_traj.engines.answers import answer_scores
from pythia_traj.engines.kept import METRICS, Question, keep_pass
from pythia_traj.engines.patching import patched_positions, transplanted
from tests.support import publish_suite

RAW = dict.fromkeys(
    ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases"), False
)


@pytest.fixture(scope="module", params=[True, False], ids=["parallel", "sequential"])
def models(request, tmp_path_factory):
    """A model and another step of it, as trained."""
    suite = publish_suite(
        tmp_path_factory.mktemp("patching") / "tiny",
        steps=(0, 4),
        use_parallel_residual=request.param,
    )
    own, donor = (
        next(iter(pt.checkpoints(suite, steps=step, device="cpu", **RAW))).model
        for step in ("4", "0")
    )
    assert own is not donor
    return own, donor


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(0)
    clean, corrupted = torch.randint(0, 300, (2, 5, 9), generator=generator)
    candidates = torch.stack([torch.randperm(300, generator=generator)[:2] for _ in range(5)])[
        :, None
    ]
    return (
        clean,
        corrupted,
        Question(torch.tensor([8]), candidates, torch.tensor([True, False]).expand(5, 1, 2)),
    )


def scores_of(logits, question):
    return answer_scores(logits[:, question.reads], question.candidates, question.is_right)


@torch.inference_mode()
def test_a_patched_position_equals_a_hook_on_a_whole_pass(models, batch):
    model, _ = models
    clean, corrupted, question = batch
    base, source = keep_pass(model, corrupted), keep_pass(model, clean)
    _, on_clean = model.run_with_cache(clean)
    for layer in range(2):
        found = patched_positions(model, base, source, question, layer, budget=1)
        for position in range(9):

            def put(stream, hook, position=position):
                stream = stream.clone()
                stream[:, position] = on_clean[hook.name][:, position]
                return stream

            logits = model.run_with_hooks(
                corrupted, fwd_hooks=[(f"blocks.{layer}.hook_resid_pre", put)]
            )
            for metric in METRICS:
                expected = getattr(scores_of(logits, question), metric)
                torch.testing.assert_close(found[metric][position], expected, atol=1e-4, rtol=0)


HEAD = ("W_Q", "W_K", "W_V", "W_O", "b_Q", "b_K", "b_V")


def exchange(model, donor, component, layer, head):
    """A copy of the model with the parameters of one component exchanged."""
    changed = copy.deepcopy(model)
    theirs = dict(donor.named_parameters())

    def take(prefix):
        for name, parameter in changed.named_parameters():
            if name.startswith(prefix):
                parameter.data.copy_(theirs[name].data)

    if component == "head":
        for name in HEAD:
            getattr(changed.blocks[layer].attn, name).data[head] = getattr(
                donor.blocks[layer].attn, name
            ).data[head]
    elif component == "layer":
        take(f"blocks.{layer}.")
    elif layer is not None:
        take(f"blocks.{layer}.{component}.")
    else:
        take(f"{component}.")
    return changed


@torch.inference_mode()
def test_a_transplanted_component_equals_exchanged_parameters(models, batch):
    model, donor = models
    clean, _, question = batch
    found = transplanted(model, donor, keep_pass(model, clean), question, budget=1)
    assert len(found) == 3 + 2 * (4 + 5)
    for (component, layer, head), scores in found.items():
        logits = exchange(model, donor, component, layer, head)(clean)
        expected = scores_of(logits, question)
        for metric in METRICS:
            torch.testing.assert_close(
                scores[metric],
                getattr(expected, metric),
                atol=1e-4,
                rtol=0,
                msg=f"{component} {layer} {head} {metric}",
            )
        assert (scores["nll"] - scores_of(model(clean), question).nll).abs().max() > 1e-3, component
