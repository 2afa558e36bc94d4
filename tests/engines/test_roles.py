"""Measures of roles against their definitions written out, and heads made by hand that have a role
or must not.
"""

import pytest
import torch

import pythia_traj as pt
from pythia_traj.engines import roles
from pythia_traj.engines.ablation import Means
from pythia_traj.engines.kept import Question, keep_pass
from tests.support import publish_suite

LAYERS, HEADS, D_HEAD = 3, 4, 8
BOTH = pytest.mark.parametrize("b_V", [False, True], ids=["without b_V", "with b_V"])


@pytest.fixture(scope="module", params=[True, False], ids=["parallel", "sequential"])
def model(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("roles") / "suite"
    publish_suite(root, (0,), num_hidden_layers=LAYERS, use_parallel_residual=request.param)
    (ckpt,) = pt.checkpoints(root, steps="0", device="cpu", fold_value_biases=False)
    return ckpt.model


@pytest.fixture(scope="module")
def tokens():
    return torch.randint(0, 300, (2, 5, 11), generator=torch.Generator().manual_seed(0))


def ov(model, layer, head, stream, b_V):
    """What a head writes of a stream it attends to alone."""
    v = model.blocks[layer].ln1(stream) @ model.W_V[layer, head] + (
        model.b_V[layer, head] if b_V else 0
    )
    return v @ model.W_O[layer, head]


@BOTH
@torch.inference_mode()
def test_copying_is_being_among_the_first_five(model, tokens, b_V):
    positions = torch.tensor([[1, 4, 7]] * 5)
    own, other = roles.copied_share(
        model, keep_pass(model, tokens[0]), positions, tokens[1].gather(1, positions), b_V=b_V
    )
    _, cache = model.run_with_cache(tokens[0])
    for layer in range(LAYERS):
        for head in range(HEADS):
            written = ov(model, layer, head, cache["resid_post", 0][:, [1, 4, 7]], b_V)
            first = model.unembed(model.ln_final(written)).topk(5).indices
            for found, asked in ((own, tokens[0]), (other, tokens[1])):
                expected = (first == asked[:, [1, 4, 7], None]).any(-1).float().mean(-1)
                torch.testing.assert_close(found[:, layer, head], expected)


@pytest.fixture
def copier(tmp_path):
    """A model of one head a layer whose layer 0 does nothing: layer 1's head copies, layer 2's
    writes the opposite.
    """
    publish_suite(
        tmp_path / "suite", (0,), num_hidden_layers=LAYERS, num_attention_heads=1, rotary_pct=0.25
    )
    (ckpt,) = pt.checkpoints(tmp_path / "suite", steps="0", device="cpu")
    model = ckpt.model
    with torch.no_grad():
        torch.manual_seed(0)
        embedding = torch.randn(300, 32)
        model.W_E.copy_(embedding)
        model.W_U.copy_(embedding.T)
        model.b_U.zero_()
        for parameter in model.blocks[0].parameters():
            parameter.zero_()
        for block, sign in zip(model.blocks[1:], (1, -1), strict=True):
            block.attn.W_V[0].copy_(torch.eye(32))
            block.attn.W_O[0].copy_(sign * torch.eye(32))
    return model


def test_a_head_that_writes_what_it_reads_copies_and_its_opposite_does_not(copier, tokens):
    positions = torch.arange(11).expand(5, 11)
    own, other = roles.copied_share(
        copier, keep_pass(copier, tokens[0]), positions, tokens[1], b_V=False
    )
    assert own[:, 1, 0].tolist() == [1] * 5
    assert own[:, 2, 0].tolist() == [0] * 5
    assert other[:, 1, 0].mean() < 0.1


@BOTH
@pytest.mark.parametrize("kind", list(roles.SUCCESSOR_KINDS))
@torch.inference_mode()
def test_successors_are_the_strictly_largest_of_their_task(model, kind, b_V):
    words, targets = torch.tensor([5, 9, 100, 40]), torch.tensor([9, 100, 40, 7])
    order = torch.tensor([2, 3, 1, 0])
    right, exchanged = roles.is_succeeded(
        model, words, targets, [torch.arange(4), order], kind, b_V=b_V
    )
    stream = model.W_E[words][:, None]
    made = model.blocks[0].mlp(stream if kind == "cot" else model.blocks[0].ln2(stream))
    made = made + stream if kind == "with_embed" else made
    for layer in range(LAYERS):
        for head in range(HEADS):
            if kind == "cot":
                v = made @ model.W_V[layer, head] + (model.b_V[layer, head] if b_V else 0)
                logits = (v @ model.W_O[layer, head] @ model.W_U)[:, 0, targets]
            else:
                logits = model.unembed(model.ln_final(ov(model, layer, head, made, b_V)))[
                    :, 0, targets
                ]
            best = logits.argmax(-1)
            assert right[:, layer, head].tolist() == (best == torch.arange(4)).float().tolist()
            assert exchanged[:, layer, head].tolist() == (best == order).float().tolist()


@pytest.mark.parametrize(("kind", "counts"), [("mlp", 0), ("with_embed", 0), ("cot", 1)])
def test_equal_logits_count_in_cot_alone(copier, kind, counts):
    with torch.no_grad():
        for block in copier.blocks:
            block.attn.W_O.zero_()
    words = torch.arange(3)
    (right,) = roles.is_succeeded(copier, words, words + 1, [words], kind, b_V=False)
    assert right.unique().tolist() == [counts]


@torch.inference_mode()
def test_direct_effects_are_what_a_head_writes_along_the_difference(model, tokens):
    candidates = torch.randint(0, 300, (5, 1, 2), generator=torch.Generator().manual_seed(1))
    question = Question(torch.tensor([10]), candidates, torch.tensor([True, False]).expand(5, 1, 2))
    effects = roles.answer_effects(model, keep_pass(model, tokens[0]), question)
    _, cache = model.run_with_cache(tokens[0])
    final = cache["resid_post", LAYERS - 1][:, -1]
    scale = (final.var(-1, correction=0) + model.cfg.eps).sqrt()
    for item, (right, wrong) in enumerate(candidates[:, 0].tolist()):
        direction = model.W_U[:, right] - model.W_U[:, wrong]
        for layer in range(LAYERS):
            for head in range(HEADS):
                z = cache["z", layer][item, -1, head] - model.b_V[layer, head]
                written = z @ model.W_O[layer, head]
                expected = ((written - written.mean()) / scale[item] * direction).sum()
                assert effects[item, layer, head].item() == pytest.approx(expected.item(), abs=1e-4)


@torch.inference_mode()
def test_inhibition_is_the_change_of_the_receivers_attention(model, tokens):
    base, twin = keep_pass(model, tokens[0]), keep_pass(model, tokens[1])
    question = Question(
        torch.tensor([10]), torch.zeros(5, 1, 1, dtype=torch.long), torch.ones(5, 1, 1).bool()
    )
    places = torch.tensor([[6, 5, 6, 7, 2], [2, 3, 1, 0, 9]])
    receivers = [(2, 1), (1, 0), (2, 3)]
    found = roles.inhibition(model, base, twin, question, receivers, places)
    model.set_use_split_qkv_input(True)
    try:
        _, before = model.run_with_cache(tokens[0])
        _, other = model.run_with_cache(tokens[1])

        def margin(pattern, head):
            rows = torch.arange(5)
            return pattern[rows, head, -1, places[0]] - pattern[rows, head, -1, places[1]]

        for layer in range(LAYERS):
            for head in range(HEADS):
                change = (other["z", layer] - before["z", layer])[:, -1, head] @ model.W_O[
                    layer, head
                ]
                rise = torch.zeros(5)
                for at, receiver in receivers:
                    if at <= layer:
                        continue
                    query = before["q_input", at].clone()
                    query[:, -1, receiver] += change
                    kept = {}
                    hooks = [
                        (f"blocks.{at}.hook_q_input", lambda q, hook, query=query: query),
                        (
                            f"blocks.{at}.attn.hook_pattern",
                            lambda p, hook, kept=kept: kept.update(pattern=p),
                        ),
                    ]
                    model.run_with_hooks(tokens[0], fwd_hooks=hooks)
                    rise += margin(kept["pattern"], receiver) - margin(
                        before["pattern", at], receiver
                    )
                torch.testing.assert_close(found[:, layer, head], rise / 3, atol=1e-5, rtol=1e-4)
    finally:
        model.set_use_split_qkv_input(False)
    assert found[:, :2].abs().max() > 1e-3
    assert found[:, 2].abs().max() == 0


@torch.inference_mode()
def test_suppression_is_about_the_favoured_token_of_the_context(model):
    tokens = torch.randint(0, 6, (5, 11), generator=torch.Generator().manual_seed(2))
    reads = torch.tensor([4, 9])
    run = keep_pass(model, tokens, patterns=True)
    found = roles.suppression(model, run, reads)
    logits, cache = model.run_with_cache(tokens)
    for item in range(5):
        for i, read in enumerate(reads.tolist()):
            earlier = set(tokens[item, :read].tolist())
            assert found.favoured[item, i].item() == max(
                earlier, key=lambda token: logits[item, read, token].item()
            )
        copies = [
            [p for p in range(read) if tokens[item, p] == found.favoured[item, i]]
            for i, read in enumerate(reads.tolist())
        ]
        expected = (
            sum(len(c) / (read + 1) for c, read in zip(copies, reads.tolist(), strict=True)) / 2
        )
        assert found.uniform[item].item() == pytest.approx(expected)
        for layer in range(LAYERS):
            pattern = cache["pattern", layer][item]
            for head in range(HEADS):
                attention = sum(
                    pattern[head, read, c].sum().item()
                    for c, read in zip(copies, reads.tolist(), strict=True)
                )
                assert found.attention[item, layer, head].item() == pytest.approx(
                    attention / 2, abs=1e-5
                )
    final = cache["resid_post", LAYERS - 1][:, reads]
    scale = (final.var(-1, correction=0) + model.cfg.eps).sqrt()
    z = cache["z", 1][:, reads, 2] - model.b_V[1, 2]
    written = z @ model.W_O[1, 2]
    logit = ((written - written.mean(-1, keepdim=True)) / scale[..., None]) @ model.W_U
    above_mean = logit.gather(-1, found.favoured[..., None])[..., 0] - logit.mean(-1)
    torch.testing.assert_close(found.direct[:, 1, 2], above_mean.mean(1), atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_the_rise_is_that_of_the_logit_where_the_head_is_its_mean(model, tokens):
    reads, favoured = torch.tensor([3, 10]), torch.randint(0, 300, (5, 2))
    run, means = keep_pass(model, tokens[0]), Means(by_position=False)
    means.add(run)
    means.add(keep_pass(model, tokens[1]))
    heads = [(2, 3), (0, 1), (1, 0)]
    rise = roles.ablation_rise(model, run, reads, favoured, heads, means)

    def logit(logits):
        logits = logits[:, reads]
        return (logits.gather(-1, favoured[..., None])[..., 0] - logits.mean(-1)).mean(-1)

    _, cache = model.run_with_cache(tokens.flatten(0, 1))
    for i, (layer, head) in enumerate(heads):
        mean = cache["z", layer][:, :, head].mean((0, 1))

        def ablate(z, hook, head=head, mean=mean):
            z[:, :, head] = mean
            return z

        ablated = model.run_with_hooks(
            tokens[0], fwd_hooks=[(f"blocks.{layer}.attn.hook_z", ablate)]
        )
        torch.testing.assert_close(
            rise[i], logit(ablated) - logit(model(tokens[0])), atol=1e-4, rtol=1e-4
        )


def test_attention_goes_to_the_keys_that_are_given():
    pattern = torch.rand(2, 3, 6, 6).tril()
    keys = torch.tensor([[0, 4, 2], [3, 1, 5]])
    found = roles.attention_to_keys(pattern, keys, 3)
    for item in range(2):
        expected = sum(pattern[item, :, 3 + i, keys[item, i]] for i in range(3)) / 3
        torch.testing.assert_close(found[item], expected)
    last = roles.attention_from_last([pattern, 2 * pattern], torch.tensor([4, 1]))
    torch.testing.assert_close(last[1, 1], 2 * pattern[1, :, 5, 1])
    assert last.shape == (2, 2, 3)
