"""Edge attribution: scores are the derivatives of patched edges, and add up as they must."""

import pytest
import torch

import pythia_traj as pt
from pythia_traj.engines.circuits import CircuitEvaluator
from pythia_traj.engines.edges import Graph, Twins, attribute, fractions
from pythia_traj.engines.kept import Question, keep_pass, score
from tests.support import publish_suite


@pytest.fixture(scope="module", params=[True, False], ids=["parallel", "sequential"])
def model(request, tmp_path_factory):
    """A model in double precision, its LayerNorms folded."""
    suite = publish_suite(
        tmp_path_factory.mktemp("edges") / "tiny",
        steps=(4,),
        num_hidden_layers=3,
        use_parallel_residual=request.param,
    )
    (ckpt,) = pt.checkpoints(suite, steps="4", device="cpu")
    return in_double(ckpt.model)


def in_double(model):
    model.double()
    # LayerNorms cast what they make to the configured precision.
    model.cfg.dtype = torch.float64
    return model


def make_twins(items=4, length=7, reads=(6,), seed=0, wrong=True):
    generator = torch.Generator().manual_seed(seed)
    clean, corrupted = torch.randint(300, (2, items, length), generator=generator)
    corrupted[:, 3:] = clean[:, 3:]
    candidates = torch.randint(300, (items, len(reads), 1 + wrong), generator=generator)
    is_right = torch.zeros_like(candidates, dtype=torch.bool)
    is_right[..., 0] = True
    return Twins(clean, corrupted, Question(torch.tensor(reads), candidates, is_right))


def measured(model, graph, embed, question, metric, part=None, change=None):
    """M with a change added to what one reader reads, by splitting the stream as TransformerLens
    does it.
    """
    hooks = []
    if part is not None:
        name, layer, head = part
        point = {
            "q": "q_input",
            "k": "k_input",
            "v": "v_input",
            "mlp": "mlp_in",
            "logits": "resid_post",
        }[name]
        layer = model.cfg.n_layers - 1 if name == "logits" else layer

        def add(activation, hook):
            changed = activation.clone()
            changed[(slice(None), slice(None), *(() if head is None else (head,)))] += change
            return changed

        hooks = [(f"blocks.{layer}.hook_{point}", add)]
    model.set_use_split_qkv_input(True)
    model.set_use_hook_mlp_in(True)
    try:
        with torch.no_grad():
            final = model.run_with_hooks(
                embed,
                start_at_layer=0,
                stop_at_layer=model.cfg.n_layers,
                fwd_hooks=hooks,
                return_type=None,
            )
            return score(model, final[:, question.reads], question)[metric].mean()
    finally:
        model.set_use_split_qkv_input(False)
        model.set_use_hook_mlp_in(False)


def differences_by_hand(model, graph, twins):
    """What each sender writes after the corrupted prompts minus the clean ones, from
    TransformerLens's own cache.
    """
    model.set_use_attn_result(True)
    with torch.no_grad():
        caches = [model.run_with_cache(tokens)[1] for tokens in (twins.clean, twins.corrupted)]
    model.set_use_attn_result(False)

    def output(cache, place):
        if place.name == "embed":
            return cache["hook_embed"]
        return (
            cache["mlp_out", place.layer]
            if place.name == "mlp"
            else cache["result", place.layer][:, :, place.head]
        )

    return [output(caches[1], place) - output(caches[0], place) for place in graph.senders()]


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["logit_diff", "nll"])
def test_an_edges_score_is_the_finite_difference_of_the_patched_edge(model, metric):
    graph, twins = Graph.of(model), make_twins(reads=(5, 6))
    found = attribute(model, [twins], metric).edges
    differences = differences_by_hand(model, graph, twins)
    embed = keep_pass(model, twins.clean).resid_pre[0]
    exists, eps, worst = graph.exists(), 1e-5, 0.0
    scale = found.abs().max()
    for s, difference in enumerate(differences):
        for r, place in enumerate(graph.readers()):
            if not exists[s, r]:
                assert found[s, r] == 0
                continue
            up, down = (
                measured(
                    model, graph, embed, twins.question, metric, place, sign * eps * difference
                )
                for sign in (1, -1)
            )
            truth = (up - down) / (2 * eps)
            worst = max(
                worst, float((found[s, r] - truth).abs() / truth.abs().clamp(min=1e-3 * scale))
            )
    assert worst < 0.01


def test_a_model_whose_layer_norms_have_weights_is_treated_alike(model, tmp_path):
    """The scores of a metric blind to a shift of all logits do not depend on folding."""
    suite = publish_suite(
        tmp_path / "raw",
        steps=(4,),
        num_hidden_layers=3,
        use_parallel_residual=bool(model.cfg.parallel_attn_mlp),
    )
    (ckpt,) = pt.checkpoints(suite, steps="4", device="cpu", fold_ln=False)
    raw, twins = in_double(ckpt.model), make_twins()
    assert hasattr(raw.blocks[0].ln1, "w")
    assert not hasattr(model.blocks[0].ln1, "w")
    one, other = (attribute(each, [twins], "logit_diff").edges for each in (model, raw))
    torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3 * float(one.abs().max()))


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["logit_diff", "prob_diff", "nll"])
def test_with_many_points_the_embeddings_edges_add_up_to_the_whole_effect(model, metric):
    twins = make_twins()
    found = attribute(model, [twins], metric, fractions("eap_ig", 200, "midpoint"))
    evaluator = CircuitEvaluator(model, [twins], metric)
    truth = (evaluator.corrupted() - evaluator.clean()).mean()
    torch.testing.assert_close(found.other - found.own, evaluator.corrupted() - evaluator.clean())
    assert float(found.edges[0].sum()) == pytest.approx(float(truth), rel=0.02)


@pytest.mark.parametrize("points", [1, 3])
@pytest.mark.parametrize("grid", ["midpoint", "endpoint"])
def test_a_nodes_score_is_the_sum_of_its_edges(model, points, grid):
    found = attribute(model, [make_twins()], "prob_diff", fractions("eap_ig", points, grid))
    torch.testing.assert_close(found.nodes.mean(0), found.edges.sum(1), rtol=1e-6, atol=1e-12)


def test_points_of_the_way():
    assert fractions("eap", 5, "midpoint") == fractions("eap_denoising", 5, "endpoint") == (0.0,)
    assert fractions("eap_ig", 2, "midpoint") == (0.25, 0.75)
    # As published, z' + (k / m) (z - z') for k = 1..m, seen from the clean prompt z.
    assert fractions("eap_ig", 4, "endpoint") == (0.0, 0.25, 0.5, 0.75)


def test_denoising_is_noising_of_the_exchanged_prompts(model):
    twins = make_twins()
    found = attribute(model, [twins.turned()], "logit_diff")
    evaluator = CircuitEvaluator(model, [twins], "logit_diff")
    torch.testing.assert_close(found.other, evaluator.clean())
    torch.testing.assert_close(found.own, evaluator.corrupted())


def test_scores_do_not_depend_on_how_many_items_fit_the_budget(model):
    pairs = [make_twins(5), make_twins(3, length=9, reads=(7, 8), seed=1)]
    whole, single = (attribute(model, pairs, "logit_diff", budget=budget) for budget in (None, 1))
    torch.testing.assert_close(whole.edges, single.edges)
    torch.testing.assert_close(whole.nodes, single.nodes)
    assert len(whole.nodes) == 8


def test_what_a_reader_reads_has_been_written_before():
    parallel, sequential = Graph(2, 3, parallel=True), Graph(2, 3, parallel=False)
    for graph, more in ((parallel, 0), (sequential, 3)):
        exists, senders, readers = graph.exists(), graph.senders(), graph.readers()
        assert (
            exists.shape
            == (graph.n_senders, graph.n_readers)
            == (len(senders), len(readers))
            == (9, 21)
        )
        assert int(exists.sum()) == 9 * (1 + 5) + (1 + more) + (5 + more) + 9
        for s, sender in enumerate(senders):
            for r, reader in enumerate(readers):
                own_layer = not graph.parallel and reader.name == "mlp" and sender.name == "head"
                earlier = (
                    sender.layer is None or reader.layer is None or sender.layer < reader.layer
                )
                assert exists[s, r] == (earlier or (own_layer and sender.layer == reader.layer))
        for reader, owner in zip(readers, graph.owners().tolist(), strict=True):
            if reader.name == "logits":
                assert owner == graph.n_senders
            else:
                assert senders[owner][1:] == reader[1:]


def test_parts_of_single_precision_come_near_the_double(model, tmp_path):
    suite = publish_suite(
        tmp_path / "single",
        steps=(4,),
        num_hidden_layers=3,
        use_parallel_residual=bool(model.cfg.parallel_attn_mlp),
    )
    (ckpt,) = pt.checkpoints(suite, steps="4", device="cpu")
    single = attribute(ckpt.model, [make_twins()], "logit_diff", fractions("eap_ig", 3, "midpoint"))
    double = attribute(model, [make_twins()], "logit_diff", fractions("eap_ig", 3, "midpoint"))
    assert single.edges.dtype == torch.float32
    assert not single.edges.requires_grad
    torch.testing.assert_close(
        single.edges.double(), double.edges, rtol=1e-3, atol=1e-4 * float(double.edges.abs().max())
    )
