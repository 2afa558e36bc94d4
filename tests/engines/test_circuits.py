"""Circuits: the full one is the model, the empty one its corrupted run, and ratios know when they
mean nothing.
"""

import pytest
import torch

import pythia_traj as pt
from pythia_traj.engines.answers import answer_scores
from pythia_traj.engines.circuits import (
    CircuitEvaluator,
    Size,
    at_random,
    expected_jaccard,
    first,
    grid_of,
    jaccard,
    normalised,
    pruned,
    ranked,
    ratio,
    smallest_size,
)
from pythia_traj.engines.edges import Graph, Place, attribute
from tests.engines.test_edges import in_double, make_twins
from tests.support import publish_suite


@pytest.fixture(scope="module", params=[True, False], ids=["parallel", "sequential"])
def model(request, tmp_path_factory):
    suite = publish_suite(
        tmp_path_factory.mktemp("circuits") / "tiny",
        steps=(4,),
        num_hidden_layers=3,
        use_parallel_residual=request.param,
    )
    (ckpt,) = pt.checkpoints(suite, steps="4", device="cpu")
    return in_double(ckpt.model)


@pytest.fixture(scope="module")
def evaluator(model):
    return CircuitEvaluator(
        model, [make_twins(5), make_twins(3, length=9, reads=(7, 8), seed=1)], "prob_diff"
    )


def circuit_of(graph, *edges):
    chosen = torch.zeros(graph.n_senders, graph.n_readers, dtype=torch.bool)
    for sender, reader in edges:
        chosen[graph.senders().index(sender), graph.readers().index(reader)] = True
    return chosen


def by_split_streams(model, graph, twins, edges):
    """M of a circuit, all readers' streams split by TransformerLens and set by hooks: slow, and
    nothing pruned.
    """
    model.set_use_split_qkv_input(True)
    model.set_use_attn_result(True)
    model.set_use_hook_mlp_in(True)
    with torch.no_grad():
        _, corrupted = model.run_with_cache(twins.corrupted)
        clean_embed = model(twins.clean, stop_at_layer=0)
    readers, written = graph.readers(), {0: clean_embed - corrupted["hook_embed"]}
    changes = lambda r: sum(  # noqa: E731
        (written[int(s)] for s in edges[:, r].nonzero()), torch.zeros_like(clean_embed)
    )

    def to_heads(activation, hook):
        name, layer = hook.name.split("_")[-2], hook.layer()
        stream = corrupted["resid_pre", layer]
        rows = [
            stream + changes(readers.index(Place(name, layer, head)))
            for head in range(graph.n_heads)
        ]
        return torch.stack(rows, 2)

    def from_heads(result, hook):
        for head in range(graph.n_heads):
            change = result[:, :, head] - corrupted["result", hook.layer()][:, :, head]
            written[graph.heads(hook.layer()).start + head] = change
        return result

    def to_mlp(activation, hook):
        stream = corrupted["resid_pre" if graph.parallel else "resid_mid", hook.layer()]
        return stream + changes(graph.mlp_reader(hook.layer()))

    def from_mlp(mlp_out, hook):
        written[graph.mlp(hook.layer())] = mlp_out - corrupted["mlp_out", hook.layer()]
        return mlp_out

    def to_logits(activation, hook):
        return corrupted["resid_post", graph.n_layers - 1] + changes(graph.n_readers - 1)

    hooks = [(lambda name: name.endswith(("q_input", "k_input", "v_input")), to_heads)]
    hooks += [
        (lambda name: name.endswith("hook_result"), from_heads),
        (lambda name: name.endswith("mlp_in"), to_mlp),
    ]
    hooks += [(lambda name: name.endswith("hook_mlp_out"), from_mlp)]
    hooks += [(f"blocks.{graph.n_layers - 1}.hook_resid_post", to_logits)]
    try:
        with torch.no_grad():
            logits = model.run_with_hooks(twins.corrupted, fwd_hooks=hooks)
            asked = twins.question
            return answer_scores(logits[:, asked.reads], asked.candidates, asked.is_right).prob_diff
    finally:
        model.set_use_split_qkv_input(False)
        model.set_use_attn_result(False)
        model.set_use_hook_mlp_in(False)


def test_the_full_circuit_is_the_model_and_the_empty_one_its_corrupted_run(model, evaluator):
    exists = Graph.of(model).exists()
    full, corrupted = evaluator.clean(), evaluator.corrupted()
    everything, nothing = evaluator.circuit(exists), evaluator.circuit(torch.zeros_like(exists))
    torch.testing.assert_close(everything, full)
    torch.testing.assert_close(nothing, corrupted)
    # Random items have effects of either sign: of one sign, they are a denominator.
    sign = (full - corrupted).sign()
    assert normalised(sign * everything, sign * full, sign * corrupted).value == pytest.approx(
        1, abs=1e-9
    )
    assert normalised(sign * nothing, sign * full, sign * corrupted).value == pytest.approx(
        0, abs=1e-9
    )


@pytest.mark.parametrize("size", [1, 12, 60, 110])
def test_a_circuit_is_what_split_streams_say(model, size):
    graph, twins = Graph.of(model), make_twins(5)
    edges = first(at_random(graph.exists(), seed=size), size, graph)
    one = CircuitEvaluator(model, [twins], "prob_diff").circuit(edges)
    torch.testing.assert_close(one, by_split_streams(model, graph, twins, edges))
    assert not model.cfg.use_split_qkv_input


def test_the_direct_edge_alone_is_a_circuit(model):
    """embed -> logits: what follows from the clean embedding reaches the last LayerNorm and nothing
    else.
    """
    graph, twins = Graph.of(model), make_twins(5)
    edges = circuit_of(graph, (Place("embed"), Place("logits")))
    torch.testing.assert_close(
        CircuitEvaluator(model, [twins], "prob_diff").circuit(edges),
        by_split_streams(model, graph, twins, edges),
    )


def test_values_do_not_depend_on_the_budget(model, evaluator):
    edges = first(at_random(Graph.of(model).exists(), seed=1), 80, Graph.of(model))
    tight = CircuitEvaluator(model, evaluator.twins, "prob_diff", budget=1)
    torch.testing.assert_close(tight.circuit(edges), evaluator.circuit(edges))
    assert not tight._kept
    assert evaluator._kept


def test_dead_nodes_are_pruned():
    graph = Graph(2, 2, parallel=True)
    path = [(Place("embed"), Place("q", 0, 1)), (Place("head", 0, 1), Place("logits"))]
    unreached, leads_nowhere = (
        (Place("head", 0, 0), Place("logits")),
        (Place("embed"), Place("v", 1, 0)),
    )
    assert pruned(circuit_of(graph, *path, unreached, leads_nowhere), graph).equal(
        circuit_of(graph, *path)
    )
    assert pruned(graph.exists(), graph).equal(graph.exists())


def test_ranking_is_by_absolute_score_and_knows_existing_edges_only():
    graph = Graph(1, 1, parallel=True)
    exists = graph.exists()
    scores = torch.arange(exists.numel()).view(exists.shape) * torch.where(exists, 1.0, 100.0)
    scores[0, 1] = -1000
    ranking = ranked(scores, exists)
    assert len(ranking) == int(exists.sum())
    assert first(ranking, 1, graph).equal(circuit_of(graph, (Place("embed"), Place("k", 0, 0))))
    assert first(ranking, len(ranking), graph).equal(exists)
    assert sorted(at_random(exists, 0).tolist()) == sorted(ranking.tolist())
    assert at_random(exists, 0).equal(at_random(exists, 0))


def test_ratios_are_of_means_and_have_a_standard_error():
    full = torch.tensor([4.0, 5.0, 6.0, 5.0, 4.0, 6.0])
    corrupted = torch.tensor([0.0, 1.0, 0.0, 1.0, 1.0, 0.0])
    circuit = corrupted + 0.5 * (full - corrupted)
    assert normalised(circuit, full, corrupted).value == pytest.approx(0.5)
    assert normalised(circuit, full, corrupted).stderr == pytest.approx(0, abs=1e-12)
    found = ratio(circuit, full, "logit_diff")
    assert found.value == pytest.approx(float(circuit.mean() / full.mean()))
    residual = circuit - found.value * full
    assert found.stderr == pytest.approx(float(residual.std() / 6**0.5 / full.mean()))


@pytest.mark.parametrize(
    ("full", "metric", "reason"),
    [
        ([3.0, -1.0, 2.0, -1.5], "logit_diff", "M(full) is 0.625, not above 3 standard errors"),
        ([-3.0, -3.1, -3.0, -3.1], "logit_diff", "M(full) is -3.05, not above 3 standard errors"),
        ([3.0, 3.1, 3.0, 3.1], "nll", "a ratio of losses means nothing"),
        ([3.0], "logit_diff", "one item has no standard error"),
    ],
)
def test_a_ratio_without_a_meaning_is_null(full, metric, reason):
    found = ratio(torch.tensor(full), torch.tensor(full), metric)
    assert found.value is None
    assert found.reason.startswith(reason)


@pytest.mark.parametrize(("spread", "is_defined"), [(0.9, True), (1.1, False)])
def test_faithfulness_is_null_within_three_paired_standard_errors(spread, is_defined):
    """Ten items of effect 1 +- spread.

    What is paired counts, not how the items differ from each other.
    """
    base, effect = torch.linspace(-50, 50, 10), 1 + spread * torch.tensor([1.0, -1.0] * 5)
    found = normalised(base, base + effect, base)
    assert (found.value is not None) == is_defined == (3 * float(effect.std()) / 10**0.5 < 1)
    if not is_defined:
        assert found.reason == "M(full) - M(corrupted) is 1, within 3 standard errors (0.37) of 0"


def test_the_first_faithful_size_is_found_inside_its_bracket():
    def faithfulness(size):
        return 0.9 if 137 <= size < 400 or size >= 900 else 0.1

    found = smallest_size(faithfulness, [10, 100, 200, 500, 1000], 0.8)
    assert 137 <= found.edges <= 137 * 1.03
    assert found.falls == 1
    assert smallest_size(lambda size: float(size >= 3), [10, 20], 0.8) == Size(3, 0)


def test_a_size_beyond_the_grid_is_censored():
    found = smallest_size(lambda size: 0.0, [10, 20], 0.8)
    assert found.edges is None
    assert found.reason == "censored: no size up to 20 edges reaches 0.8"


def test_the_grid_ends_with_all_edges_where_there_are_fewer():
    assert grid_of((50, 10, 100), 70) == [10, 50, 70]
    assert grid_of((10, 50), 70) == [10, 50]


def test_overlap_of_edge_sets():
    one, other = (
        torch.tensor([[True, True, False, False]]),
        torch.tensor([[True, False, True, False]]),
    )
    assert jaccard(one, other) == pytest.approx(1 / 3)
    assert jaccard(one, one) == expected_jaccard(4, 4) == 1
    # Two of four edges share one in the mean.
    assert expected_jaccard(2, 4) == pytest.approx(1 / 3)


def test_half_precision_is_itself_up_to_rounding(model, tmp_path):
    suite = publish_suite(
        tmp_path / "half",
        steps=(4,),
        num_hidden_layers=3,
        use_parallel_residual=bool(model.cfg.parallel_attn_mlp),
    )
    (ckpt,) = pt.checkpoints(suite, steps="4", device="cpu", dtype="bfloat16")
    half, twins = CircuitEvaluator(ckpt.model, [make_twins(5)], "logit_diff"), make_twins(5)
    exists = Graph.of(model).exists()
    torch.testing.assert_close(half.circuit(exists), half.clean(), rtol=0.05, atol=0.05)
    torch.testing.assert_close(half.circuit(exists & False), half.corrupted(), rtol=0, atol=0)
    found = attribute(ckpt.model, [twins], "logit_diff")
    assert found.edges.dtype == torch.float32
    largest = float(found.nodes.abs().max())
    torch.testing.assert_close(
        found.nodes.mean(0), found.edges.sum(1), rtol=0.05, atol=0.02 * largest
    )
