"""A row for each public function of engines that takes a model or its run; see device_cases."""

from functools import partial
from typing import Any

import torch

from pythia_traj.engines import (
    ablation,
    circuits,
    decoding,
    edges,
    gathering,
    kept,
    last_block,
    lens,
    patching,
    paths,
    representations,
    roles,
    weights,
)
from tests.engines.device_arguments import (
    HEAD,
    HEAD_AND_MLP,
    ITEMS,
    LAYERS,
    LENGTH,
    MLP,
    OTHER_HEAD,
    TWO_HEADS,
    VOCABULARY,
    WIDTH,
    Arguments,
)
from tests.engines.device_cases import Case, each

FEW_BYTES = 1
"""A budget that one item at a time is above: so there are several batches."""


def _replaced(a: Arguments) -> Any:
    """Every kind, of components of one layer and of several."""
    targets = [HEAD, HEAD_AND_MLP, TWO_HEADS, MLP, OTHER_HEAD, HEAD]
    replacements, question = (ablation.zeros(a.base), ablation.outputs(a.source)), a.question()
    replaced = partial(ablation.replaced, a.model, a.base, question, targets)
    return lambda: [
        replaced(replacements[0], budget=FEW_BYTES),
        replaced(replacements[1], direct=True),
        replaced(replacements[1], frozen_patterns=True),
    ]


def _gather(a: Arguments) -> Any:
    """In pieces, of sequences of two lengths."""
    batches = [
        gathering.Batch(
            a.ints(VOCABULARY, ITEMS, length), a.ints(ITEMS, 2), a.ints(length, 2), numbers
        )
        for length, numbers in ((LENGTH, a.on([0, 3])), (LENGTH + 2, a.on([2, 1])))
    ]
    read = [[("resid_pre", 0), ("resid_post", 0)], [("mlp_out", 1)], [("attn_out", 2)]]
    pieces = [range(1), range(1, LAYERS)]
    return lambda: [found.clone() for _, found in gathering.gather(a.model, batches, pieces, read)]


def _means(a: Arguments, by_position: bool) -> ablation.Means:
    means = ablation.Means(by_position)
    means.add(a.base)
    return means


def _added(a: Arguments) -> Any:
    every = [_means(a, by_position) for by_position in (True, False)]
    return lambda: [means.add(a.source) for means in every]


RECEIVERS = (
    paths.Receivers(
        q=frozenset({(2, 1)}), k=frozenset({(1, 0), (2, 0)}), v=frozenset({(2, 1), (2, 0)})
    ),
    paths.Receivers(mlps=frozenset({0, 1, 2})),
    paths.Receivers(q=frozenset({(0, 0)})),
    paths.Receivers(logits=True),
)

FROZEN: tuple[paths.Frozen, ...] = (("attn",), ())


def _path_patch(a: Arguments) -> Any:
    patch = partial(
        paths.path_patch,
        a.model,
        a.base,
        a.source,
        a.question(),
        [HEAD, MLP, HEAD_AND_MLP, TWO_HEADS],
    )
    some = a.bools(ITEMS, LENGTH)
    return lambda: [
        *(patch(receivers, positions=some) for receivers in RECEIVERS),
        *(patch(RECEIVERS[1], frozen=frozen) for frozen in FROZEN),
    ]


def _receive(a: Arguments) -> Any:
    receive = partial(paths.receive, a.model, a.base, a.source, [HEAD, HEAD])
    return lambda: [receive(receivers, frozen=("attn",)) for receivers in RECEIVERS]


def _is_succeeded(a: Arguments) -> Any:
    words, targets, orders = (
        a.ints(VOCABULARY, 4),
        a.ints(VOCABULARY, 4),
        [a.on([0, 1, 2, 3]), a.on([1, 0, 3, 2])],
    )
    succeeded = partial(roles.is_succeeded, a.model, words, targets, orders)
    return lambda: [
        succeeded(kind, b_V=b_V) for kind in roles.SUCCESSOR_KINDS for b_V in (True, False)
    ]


def _copied_share(a: Arguments) -> Any:
    share = partial(
        roles.copied_share, a.model, a.base, a.ints(LENGTH, ITEMS, 2), a.ints(VOCABULARY, ITEMS, 2)
    )
    return lambda: [share(b_V=b_V) for b_V in (True, False)]


def _continued(a: Arguments) -> Any:
    continued = partial(decoding.continued, a.model, a.tokens, 3)
    draws = a.floats(ITEMS, 3).sigmoid()
    return lambda: [
        continued(),
        continued(lengths=[2, 6, 4], draws=draws, temperature=0.5, entries=40),
    ]


def _evaluator(a: Arguments, **options: Any) -> circuits.CircuitEvaluator:
    return circuits.CircuitEvaluator(a.model, a.twins, "prob_diff", **options)


def _circuit(a: Arguments) -> Any:
    """Of many edges, of few and of none; kept runs used again, and made again where there is no
    room for them.
    """
    exists = a.graph.exists()
    one = torch.zeros_like(exists)
    one[0, -1] = True
    some, evaluator, scarce = a.edge_set(), _evaluator(a), _evaluator(a, budget=FEW_BYTES)
    return lambda: [
        *(evaluator.circuit(edges) for edges in (some, one, torch.zeros_like(one))),
        scarce.circuit(one),
    ]


def _attribute(a: Arguments) -> Any:
    attribute = partial(edges.attribute, a.model, a.twins, "logit_diff")
    return lambda: [attribute(), attribute((0.25, 0.75))]


def _train(a: Arguments) -> Any:
    batches = [a.floats(LAYERS, 8, WIDTH) for _ in range(2)]
    return partial(lens.train, a.model, batches, 2)


def _leave_layer(a: Arguments) -> Any:
    leave = partial(kept.leave_layer, a.model, a.base, 1)
    change, mlp_out = a.floats(2, ITEMS, LENGTH, WIDTH), a.floats(2, ITEMS, LENGTH, WIDTH)
    return lambda: [leave(), leave(change), leave(mlp_out=mlp_out), leave(change, mlp_out)]


def _finish(a: Arguments) -> Any:
    stream, reads = a.floats(4, LENGTH, WIDTH), a.question().reads
    hooked = [("blocks.2.hook_mlp_out", lambda activation, hook: activation)]
    return lambda: [
        *(kept.finish(a.model, stream, layer, reads) for layer in range(LAYERS + 1)),
        kept.finish(a.model, stream, 1, reads, hooked),
    ]


def _over(a: Arguments) -> Any:
    batches, values = kept.Batches(a.model, a.tokens, a.question(), FEW_BYTES), a.floats(5)
    return partial(batches.over, 5, lambda part: {"it": values[part]})


def _keeping(a: Arguments) -> Any:
    def call() -> Any:
        with kept.keeping([block.hook_resid_post for block in a.model.blocks]) as found:
            a.model(tokens, return_type=None)
        return found

    tokens = a.tokens
    return call


def _graph_rows() -> dict[str, Case]:
    by_layer = (
        "heads",
        "mlp",
        "written_before",
        "written_before_mlp",
        "attn_readers",
        "mlp_reader",
    )
    return {
        "edges.Graph.of": lambda a: partial(edges.Graph.of, a.model),
        **{
            f"edges.Graph.{name}": lambda a, name=name: partial(getattr, a.graph, name)
            for name in ("n_senders", "n_readers")
        },
        **{
            f"edges.Graph.{name}": lambda a, name=name: partial(getattr(a.graph, name), 1)
            for name in by_layer
        },
        **{
            f"edges.Graph.{name}": lambda a, name=name: getattr(a.graph, name)
            for name in ("exists", "owners", "senders", "readers")
        },
    }


OF_MODELS: dict[str, Case] = {
    "ablation.Means.add": _added,
    "ablation.Means.replacement": lambda a: partial(_means(a, True).replacement, a.base),
    "ablation.zeros": lambda a: partial(ablation.zeros, a.base),
    "ablation.outputs": lambda a: partial(ablation.outputs, a.base),
    "ablation.replaced": _replaced,
    "circuits.CircuitEvaluator.clean": lambda a: _evaluator(a).clean,
    "circuits.CircuitEvaluator.corrupted": lambda a: _evaluator(a).corrupted,
    "circuits.CircuitEvaluator.circuit": _circuit,
    "circuits.run_circuit": lambda a: partial(
        circuits.run_circuit,
        a.model,
        circuits.pruned(a.edge_set(), a.graph),
        a.source.resid_pre[0],
        a.base,
    ),
    "decoding.continued": _continued,
    "decoding.rows_at_once": lambda a: partial(decoding.rows_at_once, a.model, LENGTH),
    **_graph_rows(),
    "edges.attribute": _attribute,
    "edges.items_at_once": lambda a: each(
        *(
            partial(edges.items_at_once, a.model, a.twins[0], None, with_gradients=which)
            for which in (True, False)
        )
    ),
    "edges.sender_differences": lambda a: partial(
        edges.sender_differences, a.model, a.graph, a.base, a.source
    ),
    "gathering.gather": _gather,
    "last_block.last_block": lambda a: partial(
        last_block.last_block, a.model.blocks[2], a.base.resid_pre[2], a.question().reads
    ),
    "lens.identity": lambda a: partial(lens.identity, a.model),
    "lens.residuals": lambda a: partial(
        lens.residuals, a.model, a.tokens, a.ints(LENGTH, ITEMS, 2)
    ),
    "lens.log_probabilities": lambda a: partial(
        lens.log_probabilities, a.model, a.floats(4, WIDTH), 40
    ),
    "lens.blocks": lambda a: partial(lens.blocks, a.model, 10),
    "lens.measure": lambda a: partial(
        lens.measure,
        a.model,
        a.floats(LAYERS, 5, WIDTH),
        a.ints(VOCABULARY, 5),
        lens.identity(a.model),
    ),
    "lens.train": _train,
    "patching.patched_positions": lambda a: each(
        *(
            partial(patching.patched_positions, a.model, a.base, a.source, a.question(), layer, 1)
            for layer in range(LAYERS)
        )
    ),
    "patching.transplanted": lambda a: partial(
        patching.transplanted, a.model, a.other_model, a.base, a.question(), FEW_BYTES
    ),
    "paths.Receivers.__post_init__": lambda a: partial(paths.Receivers, mlps=frozenset({1})),
    "paths.Receivers.layers": lambda a: lambda: [receivers.layers for receivers in RECEIVERS],
    "paths.Receivers.above": lambda a: (
        lambda: [receivers.above(1, a.parallel) for receivers in RECEIVERS]
    ),
    "paths.path_patch": _path_patch,
    "paths.receive": _receive,
    "representations.collect": lambda a: partial(
        representations.collect,
        a.model,
        a.tokens,
        ["blocks.1.hook_resid_post", "blocks.0.hook_mlp_out"],
    ),
    "roles.copied_share": _copied_share,
    "roles.is_succeeded": _is_succeeded,
    "roles.direct_effects": lambda a: partial(
        roles.direct_effects, a.model, a.base, a.question().reads, a.floats(ITEMS, 2, WIDTH)
    ),
    "roles.answer_effects": lambda a: partial(roles.answer_effects, a.model, a.base, a.question()),
    "roles.inhibition": lambda a: partial(
        roles.inhibition,
        a.model,
        a.base,
        a.source,
        a.question(5),
        [(2, 0), (1, 1)],
        a.ints(LENGTH, 2, ITEMS),
    ),
    "roles.suppression": lambda a: partial(roles.suppression, a.model, a.base, a.question().reads),
    "roles.ablation_rise": lambda a: partial(
        roles.ablation_rise,
        a.model,
        a.base,
        a.question().reads,
        a.ints(VOCABULARY, ITEMS, 2),
        [(1, 1), (0, 0)],
        _means(a, False),
    ),
    "kept.KeptPass.final": lambda a: partial(getattr, a.base, "final"),
    "kept.keep_pass": lambda a: each(
        *(partial(kept.keep_pass, a.model, a.tokens, patterns=which) for which in (True, False))
    ),
    "kept.leave_layer": _leave_layer,
    "kept.finish": _finish,
    "kept.score": lambda a: partial(
        kept.score, a.model, a.floats(2 * ITEMS, 2, WIDTH), a.question()
    ),
    "kept.Batches.__init__": lambda a: partial(kept.Batches, a.model, a.tokens, a.question()),
    "kept.Batches.over": _over,
    "kept.in_order": lambda a: partial(
        kept.in_order, [{"it": a.floats(2)}, {"it": a.floats(1)}], [0, 2, 1]
    ),
    "kept.bytes_per_row": lambda a: partial(kept.bytes_per_row, a.model, LENGTH, 2),
    "kept.keeping": _keeping,
    "weights.matrices": lambda a: lambda: list(weights.matrices(a.model)),
    "weights.circuits": lambda a: lambda: list(weights.circuits(a.model)),
    "weights.vocabulary_loop": lambda a: partial(weights.vocabulary_loop, a.model),
    "weights.folded_values": lambda a: (
        lambda: [weights.folded_values(block) for block in a.model.blocks]
    ),
}
