"""Path patching equals three passes with hooks, written out, for every kind of receiver and
whatever is frozen.
"""

from functools import partial

import pytest
import torch

import pythia_traj as pt
from pythia_traj.engines.ablation import Components
from pythia_traj.engines.kept import Question, keep_pass
from pythia_traj.engines.paths import Receivers, path_patch, receive
from tests.support import publish_suite

LAYERS, HEADS, LENGTH = 4, 4, 9

READS = torch.tensor([5, 8])

SENDERS = {
    "heads": [
        Components(frozenset({(0, 1)})),
        Components(frozenset({(1, 2)})),
        Components(frozenset({(0, 3)})),
    ],
    "mlp": [Components(mlps=frozenset({1}))],
    "together": [
        Components(frozenset({(0, 1), (2, 0)}), frozenset({1})),
        Components(frozenset({(1, 0)}), frozenset({1})),
    ],
}

RECEIVERS = {
    "q": Receivers(q=frozenset({(2, 1), (3, 0)})),
    "k": Receivers(k=frozenset({(1, 1), (3, 2)})),
    "v": Receivers(v=frozenset({(2, 0), (2, 3)})),
    "mlps": Receivers(mlps=frozenset({0, 1, 3})),
    "several": Receivers(q=frozenset({(3, 1)}), v=frozenset({(2, 1)}), mlps=frozenset({2})),
    "logits": Receivers(logits=True),
    "none above": Receivers(q=frozenset({(0, 0)})),
}


@pytest.fixture(scope="module", params=[True, False], ids=["parallel", "sequential"])
def model(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("paths") / "suite"
    publish_suite(root, (0,), num_hidden_layers=LAYERS, use_parallel_residual=request.param)
    (ckpt,) = pt.checkpoints(root, steps="0", device="cpu", fold_value_biases=False)
    return ckpt.model


@pytest.fixture(scope="module")
def runs(model):
    tokens = torch.randint(0, 300, (2, 3, LENGTH), generator=torch.Generator().manual_seed(0))
    candidates = torch.randint(0, 300, (3, 2, 2), generator=torch.Generator().manual_seed(1))
    is_right = torch.tensor([True, False]).expand(3, 2, 2)
    return (
        keep_pass(model, tokens[0]),
        keep_pass(model, tokens[1]),
        Question(READS, candidates, is_right),
    )


def logit_diff(logits, question):
    chosen = logits[:, question.reads].gather(-1, question.candidates)
    return (chosen[..., 0] - chosen[..., 1]).mean(-1)


def three_passes(model, base_tokens, source_tokens, question, sender, receivers, frozen, positions):
    """The definition: every hook at its own place, nothing reused between senders."""
    model.set_use_split_qkv_input(True)
    model.set_use_hook_mlp_in(True)
    try:
        _, base = model.run_with_cache(base_tokens)
        _, source = model.run_with_cache(source_tokens)
        inputs = {
            f"blocks.{layer}.hook_{name}_input": (name, layer)
            for layer in range(LAYERS)
            for name in "qkv"
        }
        inputs |= {f"blocks.{layer}.hook_mlp_in": ("mlp", layer) for layer in range(LAYERS)}
        final = f"blocks.{LAYERS - 1}.hook_resid_post"
        seen = {}

        def send(z, hook, layer):
            z = (base[hook.name] if "attn" in frozen else z).clone()
            for at, head in sender.heads:
                if at == layer:
                    z[:, :, head] = torch.where(
                        positions[..., None], source[hook.name][:, :, head], z[:, :, head]
                    )
            return z

        def send_mlp(out, hook, layer):
            out = base[hook.name] if "mlp" in frozen else out
            return (
                torch.where(positions[..., None], source[hook.name], out)
                if layer in sender.mlps
                else out
            )

        def remember(activation, hook):
            seen[hook.name] = activation.clone()

        hooks = [
            (f"blocks.{layer}.attn.hook_z", partial(send, layer=layer)) for layer in range(LAYERS)
        ]
        hooks += [
            (f"blocks.{layer}.hook_mlp_out", partial(send_mlp, layer=layer))
            for layer in range(LAYERS)
        ]
        hooks += [(name, remember) for name in (*inputs, final)]
        model.run_with_hooks(base_tokens, fwd_hooks=hooks)

        def listen(activation, hook):
            kind, layer = inputs[hook.name]
            if kind == "mlp":
                return seen[hook.name] if layer in receivers.mlps else activation
            activation = activation.clone()
            for at, head in getattr(receivers, kind):
                if at == layer:
                    activation[:, :, head] = seen[hook.name][:, :, head]
            return activation

        hooks = [(name, listen) for name in inputs]
        hooks += [(final, lambda activation, hook: seen[final])] if receivers.logits else []
        return logit_diff(model.run_with_hooks(base_tokens, fwd_hooks=hooks), question)
    finally:
        model.set_use_split_qkv_input(False)
        model.set_use_hook_mlp_in(False)


@pytest.mark.parametrize(
    "frozen",
    [("attn", "mlp"), ("attn",), ("mlp",), ()],
    ids=lambda names: "+".join(names) or "none",
)
@pytest.mark.parametrize("receivers", RECEIVERS)
@pytest.mark.parametrize("senders", SENDERS)
@pytest.mark.parametrize("somewhere", [False, True], ids=["everywhere", "at positions"])
def test_it_equals_three_passes(model, runs, senders, receivers, frozen, somewhere):
    base, source, question = runs
    positions = torch.zeros(3, LENGTH, dtype=torch.bool)
    positions[torch.arange(3), torch.tensor([2, 5, 8])] = True
    positions |= not somewhere
    scores = path_patch(
        model,
        base,
        source,
        question,
        SENDERS[senders],
        RECEIVERS[receivers],
        frozen=frozen,
        positions=positions if somewhere else None,
    )
    for sender, found in zip(SENDERS[senders], scores["logit_diff"], strict=True):
        with torch.inference_mode():
            expected = three_passes(
                model,
                base.tokens,
                source.tokens,
                question,
                sender,
                RECEIVERS[receivers],
                frozen,
                positions,
            )
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)


def test_the_paths_to_everything_are_the_whole_effect(model, runs):
    base, source, question = runs
    sender = Components(frozenset({(0, 1)}))
    patched = path_patch(model, base, source, question, [sender], Receivers(logits=True), frozen=())
    direct = path_patch(model, base, source, question, [sender], Receivers(logits=True))
    hook = lambda z, hook: torch.cat([z[:, :, :1], source.z[0][:, :, 1:2], z[:, :, 2:]], 2)  # noqa: E731
    with torch.inference_mode():
        whole = logit_diff(
            model.run_with_hooks(base.tokens, fwd_hooks=[("blocks.0.attn.hook_z", hook)]), question
        )
    torch.testing.assert_close(patched["logit_diff"][0], whole, atol=1e-4, rtol=1e-4)
    assert (direct["logit_diff"][0] - whole).abs().max() > 1e-3


def test_batches_of_one_sender_give_the_same(model, runs):
    base, source, question = runs
    senders = [
        Components(frozenset({(layer, head)})) for head in range(HEADS) for layer in range(LAYERS)
    ]
    readers = RECEIVERS["several"]
    at_once, one_by_one = (
        path_patch(model, base, source, question, senders, readers, frozen=(), budget=budget)
        for budget in (None, 1)
    )
    for name, scores in at_once.items():
        assert scores.shape == (len(senders), 3)
        torch.testing.assert_close(scores, one_by_one[name], atol=1e-5, rtol=1e-4)


def test_a_source_that_is_the_base_changes_nothing(model, runs):
    base, _, question = runs
    scores = path_patch(
        model, base, base, question, SENDERS["heads"], RECEIVERS["several"], frozen=()
    )
    unpatched = logit_diff(model(base.tokens), question)
    torch.testing.assert_close(scores["logit_diff"], unpatched.expand(3, 3), atol=1e-5, rtol=1e-4)


def test_the_logits_are_a_receiver_alone():
    with pytest.raises(ValueError, match="the logits must be the only receiver"):
        Receivers(mlps=frozenset({1}), logits=True)


def test_senders_of_different_layers_do_not_share_a_pass(model, runs):
    base, source, _ = runs
    with pytest.raises(ValueError, match="call once for each shape"):
        receive(model, base, source, SENDERS["heads"], RECEIVERS["q"])
