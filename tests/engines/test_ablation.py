"""Ablation from the middle of a kept pass equals the plain loop of run_with_hooks, for every kind
and component.
"""

from functools import partial
from itertools import combinations
from typing import get_args

import pytest
import torch
from pythia_traj.experiments.ablation import Kind

import pythia_traj as pt
from pythia_traj.engines import kept
from pythia_traj.engines.ablation import (
    Components,
    Means,
    disjoint_sets,
    named_heads,
    outputs,
    replaced,
    zeros,
)
from pythia_traj.engines.answers import answer_scores
from pythia_traj.engines.kept import Batches, Question, bytes_per_row, keep_pass
from tests.support import publish_suite

LAYERS, HEADS, ITEMS, LENGTH = 3, 4, 5, 9


@pytest.fixture(scope="module", params=[True, False], ids=["parallel", "sequential"])
def model(request, tmp_path_factory):
    suite = publish_suite(
        tmp_path_factory.mktemp("ablation") / "tiny",
        steps=(4,),
        use_parallel_residual=request.param,
        num_hidden_layers=LAYERS,
    )
    (ckpt,) = pt.checkpoints(suite, steps="4", device="cpu")
    assert ckpt.model.cfg.parallel_attn_mlp == request.param
    return ckpt.model


@pytest.fixture(scope="module")
def batch():
    """Clean tokens, corrupted tokens, and a question at two positions."""
    generator = torch.Generator().manual_seed(0)
    clean, corrupted = torch.randint(0, 300, (2, ITEMS, LENGTH), generator=generator)
    candidates = torch.stack(
        [torch.randperm(300, generator=generator)[:6] for _ in range(ITEMS)]
    ).view(ITEMS, 2, 3)
    is_right = torch.tensor([True, True, False]).expand(ITEMS, 2, 3)
    return clean, corrupted, Question(torch.tensor([5, 8]), candidates, is_right)


SINGLE = {
    **{
        f"L{layer}H{head}": Components(frozenset({(layer, head)}))
        for layer in range(LAYERS)
        for head in range(HEADS)
    },
    **{
        f"attn{layer}": Components(frozenset((layer, head) for head in range(HEADS)))
        for layer in range(LAYERS)
    },
    **{f"mlp{layer}": Components(mlps=frozenset({layer})) for layer in range(LAYERS)},
}
JOINT = {
    "one layer": named_heads("L1H0+L1H3"),
    "two layers": named_heads("L0H1+L2H2"),
    "neighbours": named_heads("L0H1+L1H2+L1H3"),
    "with MLPs": Components(frozenset({(0, 1), (2, 2)}), frozenset({0, 1})),
}
TARGETS = {**SINGLE, **JOINT}


def plain_loop(model, clean, corrupted, question, target, kind):
    """The same by hooks on a whole pass, written as a user would."""
    _, on_clean = model.run_with_cache(clean)
    _, on_corrupted = model.run_with_cache(corrupted)
    hooks = []

    def replacement(name):
        activation = on_clean[name]
        axes = {"mean": (0, 1), "positional_mean": (0,)}
        if kind in axes:
            return activation.mean(axes[kind], keepdim=True).expand_as(activation)
        return (
            on_corrupted[name] if kind in ("resample", "direct") else torch.zeros_like(activation)
        )

    def put_heads(z, hook, heads):
        z = z.clone()
        z[:, :, heads] = replacement(hook.name)[:, :, heads]
        return z

    def put(activation, hook):
        return replacement(hook.name)

    for layer in target.head_layers:
        heads = [head for other, head in target.heads if other == layer]
        hooks.append((f"blocks.{layer}.attn.hook_z", partial(put_heads, heads=heads)))
    hooks += [(f"blocks.{layer}.hook_mlp_out", put) for layer in target.mlps]
    if kind == "pattern_preserving":
        for layer in range(min(target.layers) + 1, model.cfg.n_layers):
            hooks.append(
                (f"blocks.{layer}.attn.hook_pattern", lambda pattern, hook: on_clean[hook.name])
            )
    if kind == "direct":
        changed = on_clean[f"blocks.{LAYERS - 1}.hook_resid_post"].clone()
        for name, put_in in hooks:
            difference = put_in(on_clean[name], model.hook_dict[name]) - on_clean[name]
            layer = model.hook_dict[name].layer()
            changed += (
                torch.einsum("bphe,hed->bpd", difference, model.W_O[layer])
                if name.endswith("hook_z")
                else difference
            )
        logits = model.unembed(model.ln_final(changed))
    else:
        logits = model.run_with_hooks(clean, fwd_hooks=hooks)
    return answer_scores(logits[:, question.reads], question.candidates, question.is_right)


def replacement_of(model, kind, clean_run, corrupted):
    if kind in ("mean", "positional_mean"):
        means = Means(by_position=kind == "positional_mean")
        means.add(clean_run)
        return means.replacement(clean_run)
    return (
        outputs(keep_pass(model, corrupted)) if kind in ("resample", "direct") else zeros(clean_run)
    )


@pytest.mark.parametrize("kind", get_args(Kind))
@torch.inference_mode()
def test_every_kind_and_component_equals_the_plain_loop(model, batch, kind):
    clean, corrupted, question = batch
    run = keep_pass(model, clean, patterns=True)
    found = replaced(
        model,
        run,
        question,
        list(TARGETS.values()),
        replacement_of(model, kind, run, corrupted),
        direct=kind == "direct",
        frozen_patterns=kind == "pattern_preserving",
        budget=3 * ITEMS * bytes_per_row(model, LENGTH, 2),
    )
    moved = 0
    for i, (name, target) in enumerate(TARGETS.items()):
        expected = plain_loop(model, clean, corrupted, question, target, kind)
        for metric in kept.METRICS:
            torch.testing.assert_close(
                found[metric][i],
                getattr(expected, metric),
                atol=1e-4,
                rtol=0,
                msg=f"{kind} {name} {metric}",
            )
        moved += (found["logit_diff"][i] - found["logit_diff"][0]).abs().max() > 1e-3
    assert moved > len(TARGETS) / 2


def test_means_over_several_batches_are_those_of_all_items(model, batch):
    clean, _, _ = batch
    whole, parts = Means(by_position=True), Means(by_position=True)
    whole.add(keep_pass(model, clean))
    for tokens in (clean[:2], clean[2:]):
        parts.add(keep_pass(model, tokens))
    run = keep_pass(model, clean)
    for one, other in zip(whole.replacement(run).z, parts.replacement(run).z, strict=True):
        torch.testing.assert_close(one, other)


def test_out_of_memory_halves_the_batch_and_goes_on(model, batch, monkeypatch):
    clean, corrupted, question = batch
    run, other = keep_pass(model, clean), keep_pass(model, corrupted)
    targets = list(SINGLE.values())
    expected = replaced(model, run, question, targets, outputs(other))
    sizes, score = [], kept.score

    def small_memory(model, final, question):
        sizes.append(len(final) // ITEMS)
        if sizes[-1] > 1:
            raise torch.OutOfMemoryError("no room")
        return score(model, final, question)

    monkeypatch.setattr("pythia_traj.engines.ablation.score", small_memory)
    found = replaced(model, run, question, targets, outputs(other))
    assert sizes[:3] == [5, 2, 1]
    for metric in kept.METRICS:
        torch.testing.assert_close(found[metric], expected[metric], atol=1e-5, rtol=1e-5)


def test_what_fits_not_even_alone_says_so(model, batch):
    clean, _, question = batch
    batches = Batches(model, clean, question, budget=1)
    assert batches.size == 1

    def too_large(part):
        raise torch.OutOfMemoryError("no room")

    with pytest.raises(torch.OutOfMemoryError):
        batches.over(3, too_large)


def test_disjoint_sets_have_the_targets_shape_and_nothing_of_it():
    target = named_heads("L4H6+L5H1+L5H2")
    sets = disjoint_sets(target, 12, 20, seed=0)
    assert len({frozenset(one.heads) for one in sets}) == 20
    for one in sets:
        assert not one.heads & target.heads
        assert sorted(layer for layer, _ in one.heads) == [4, 5, 5]
    assert sets == disjoint_sets(target, 12, 20, seed=0)
    assert sets != disjoint_sets(target, 12, 20, seed=1)


def test_all_disjoint_sets_are_taken_where_there_are_few():
    sets = disjoint_sets(named_heads("L1H0+L1H1"), 5, 20, seed=0)
    assert {one.heads for one in sets} == {
        frozenset((1, head) for head in pair) for pair in combinations([2, 3, 4], 2)
    }
    assert disjoint_sets(named_heads("L1H0+L1H1"), 3, 20, seed=0) == []
    assert disjoint_sets(Components(mlps=frozenset({1})), 4, 20, seed=0) == []


@pytest.mark.parametrize("name", ["", "L4", "H1", "L4H6+", "4.6", "L4H6 L5H1"])
def test_other_names_of_heads_are_refused(name):
    with pytest.raises(ValueError, match="heads are written as L4H6"):
        named_heads(name)
