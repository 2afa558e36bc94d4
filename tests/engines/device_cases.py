"""A row for each public function of engines that takes tensors, arrays or plain values: from
arguments on a device to its call.

A row's arguments are made when its function is called, and what that returns is called while it is
watched.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from pythia_traj.engines import (
    ablation,
    answers,
    circuits,
    decoding,
    direct,
    edges,
    gathering,
    heads,
    kept,
    lens,
    means,
    measures,
    ngrams,
    probe_scores,
    probing,
    ratios,
    representations,
    role_scores,
    roles,
    significance,
    sketches,
    weights,
)
from pythia_traj.engines.streams import derived_seed, stream
from tests.engines.device_arguments import (
    D_HEAD,
    HEAD_AND_MLP,
    HEADS,
    ITEMS,
    LENGTH,
    TWO_HEADS,
    VOCABULARY,
    WIDTH,
    Arguments,
)

Case = Callable[[Arguments], Callable[[], Any]]


def each(*calls: Callable[[], Any]) -> Callable[[], Any]:
    """All of some calls."""
    return lambda: [call() for call in calls]


PLAIN: dict[str, Case] = {
    "ablation.Components.head_layers": lambda a: lambda: HEAD_AND_MLP.head_layers,
    "ablation.Components.layers": lambda a: lambda: HEAD_AND_MLP.layers,
    "ablation.Components.shape": lambda a: lambda: HEAD_AND_MLP.shape,
    "ablation.one_by_one": lambda a: partial(ablation.one_by_one, 2, 2, ("head", "attn", "mlp")),
    "ablation.named_heads": lambda a: partial(ablation.named_heads, "L1H0+L2H1"),
    "ablation.checked_name": lambda a: partial(ablation.checked_name, "L1H0"),
    "ablation.disjoint_sets": lambda a: (
        lambda: [ablation.disjoint_sets(TWO_HEADS, 4, n, 0) for n in (2, 100)]
    ),
    "representations.shifts": lambda a: partial(representations.shifts, 9, 3),
    "circuits.expected_jaccard": lambda a: partial(circuits.expected_jaccard, 3, 10),
    "circuits.grid_of": lambda a: partial(circuits.grid_of, (1, 5, 50), 20),
    "circuits.smallest_size": lambda a: partial(
        circuits.smallest_size, lambda size: size / 20, (1, 5, 20), 0.5
    ),
    "edges.fractions": lambda a: (
        lambda: [edges.fractions(m, 3, "midpoint") for m in ("eap", "eap_ig")]
    ),
    "gathering.layers_at_once": lambda a: partial(gathering.layers_at_once, [2, 1, 3, 1], 3),
    "means.Design.of": lambda a: partial(_design),
    "means.Design.independent": lambda a: partial(means.Design.independent, 4),
    "means.Design.part": lambda a: lambda: _design().part(slice(3)).n_clusters,
    "means.Design.joined": lambda a: lambda: means.Design.joined([_design(), _design()]).cluster,
    "means.mean": lambda a: (
        lambda: [means.mean(a.array(9), design) for design in (None, _design())]
    ),
    "means.with_error": lambda a: partial(means.with_error, 1.0, 0.5, 9, 9),
    "means.why_no_error": lambda a: partial(means.why_no_error, 3),
    "means.standard_error": lambda a: partial(means.standard_error, a.array(9), _design()),
    "streams.stream": lambda a: lambda: stream(0, "name", 1).random(3),
    "streams.derived_seed": lambda a: partial(derived_seed, 0, "name"),
    "probe_scores.Documents.__init__": lambda a: partial(_documents),
    "probe_scores.Documents.means": lambda a: partial(_documents().means, a.array(9)),
    "probe_scores.Documents.share": lambda a: partial(
        _documents().share, a.array(9), a.array(9) > 0
    ),
    "probe_scores.Documents.macro_f1": lambda a: partial(
        _documents().macro_f1, np.arange(9) % 3, np.arange(9) // 3, 3
    ),
    "ratios.guarded_ratio": lambda a: partial(
        ratios.guarded_ratio, a.array(9), 1 + a.array(9) / 9, "it"
    ),
    "role_scores.suppresses": lambda a: partial(role_scores.suppresses, _measured(a), _half()),
    "role_scores.score_itself": lambda a: (
        lambda: role_scores.score_itself("name_copying")(_measured(a), _half())
    ),
    "role_scores.score_name_mover": lambda a: partial(
        role_scores.score_name_mover, _measured(a), _half()
    ),
    "role_scores.score_suppression": lambda a: partial(
        role_scores.score_suppression, _measured(a), _half()
    ),
    "role_scores.sets_of": lambda a: partial(role_scores.sets_of, _measured(a), 2),
    "role_scores.scores_of_sets": lambda a: partial(
        role_scores.scores_of_sets, "name_mover", _measured(a), 2
    ),
    "significance.p_values": lambda a: partial(significance.p_values, a.array(2, 3), a.array(9)),
    "significance.discoveries": lambda a: partial(significance.discoveries, a.array(2, 3), 0.05),
    "sketches.compare_sketches": lambda a: partial(
        sketches.compare_sketches, a.array(8), a.array(8), norm=1.0, reference_norm=2.0
    ),
}
"""Without a tensor."""


def _design() -> means.Design:
    """Clusters that are in several strata, and strata of one cluster."""
    return means.Design.of(np.arange(9) // 2, list("ababaabcd"))


def _documents() -> probe_scores.Documents:
    """Four documents, and five resamples of them."""
    return probe_scores.Documents(np.array([0, 0, 1, 1, 1, 4, 4, 5, 5]), 5)


def _measured(a: Arguments) -> role_scores.Arrays:
    names = (
        "suppression_attention",
        role_scores.UNIFORM,
        "suppression_direct",
        "suppression_rise",
        "name_copying",
    )
    return {
        name: a.array(4, 2, 2)
        for name in (*names, "attention_to_io", "attention_to_s1", "attention_to_s2")
    }


def _half() -> np.ndarray:
    return np.arange(4) < 2


OF_TENSORS: dict[str, Case] = {
    "answers.answer_scores": lambda a: partial(
        answers.answer_scores,
        a.floats(ITEMS, 2, VOCABULARY),
        a.question().candidates,
        a.question().is_right,
    ),
    "answers.at_least_single": lambda a: partial(answers.at_least_single, a.floats(3).half()),
    "circuits.ranked": lambda a: partial(
        circuits.ranked, a.floats(*a.edge_set().shape), a.graph.exists()
    ),
    "circuits.at_random": lambda a: partial(circuits.at_random, a.graph.exists(), 0),
    "circuits.first": lambda a: partial(circuits.first, torch.tensor([3, 1, 2]), 2, a.graph),
    "circuits.pruned": lambda a: partial(circuits.pruned, a.edge_set(), a.graph),
    "circuits.jaccard": lambda a: partial(circuits.jaccard, a.edge_set(), a.graph.exists()),
    "circuits.normalised": lambda a: partial(
        circuits.normalised, a.floats(9), 5 + a.floats(9), a.floats(9)
    ),
    "circuits.ratio": lambda a: partial(circuits.ratio, a.floats(9), 5 + a.floats(9), "logit_diff"),
    "decoding.uniform_draws": lambda a: partial(decoding.uniform_draws, 0, 1, 3, 4),
    "decoding.matches": lambda a: partial(decoding.matches, a.tokens, a.tokens),
    "direct.answer_weights": lambda a: partial(
        direct.answer_weights, a.on([[True, False], [True, True]])
    ),
    "direct.answer_direction": lambda a: partial(
        direct.answer_direction,
        a.floats(WIDTH, VOCABULARY),
        a.ints(VOCABULARY, 3, 2),
        a.on([[True, False]] * 3),
    ),
    "direct.layer_norm_scale": lambda a: partial(direct.layer_norm_scale, a.floats(3, WIDTH), 1e-5),
    "direct.term": lambda a: partial(
        direct.term, a.floats(3, WIDTH), a.floats(3, 1), a.floats(3, WIDTH)
    ),
    "direct.head_terms": lambda a: partial(
        direct.head_terms,
        a.floats(3, HEADS, D_HEAD),
        a.floats(HEADS, D_HEAD, WIDTH),
        a.floats(3, 1),
        a.floats(3, WIDTH),
    ),
    "edges.Twins.part": lambda a: each(
        partial(a.twins[0].part, slice(1, 3)), partial(a.twins[0].part, a.on([2, 0]))
    ),
    "edges.Twins.turned": lambda a: a.twins[0].turned,
    "edges.memory_budget": lambda a: (
        lambda: [edges.memory_budget(a.device, given) for given in (None, 5)]
    ),
    "heads.attention_at_offset": lambda a: partial(heads.attention_at_offset, a.pattern, 2, 3),
    "heads.attention_to_first": lambda a: partial(heads.attention_to_first, a.pattern, 2),
    "heads.attention_in_band": lambda a: partial(heads.attention_in_band, a.pattern, 1, 2, 3),
    "heads.attention_entropy": lambda a: partial(
        heads.attention_entropy, a.pattern, a.ints(LENGTH, ITEMS) + 1
    ),
    "heads.even_entropy": lambda a: partial(heads.even_entropy, a.ints(LENGTH, ITEMS) + 1),
    "heads.attention_after_earlier_copies": lambda a: partial(
        heads.attention_after_earlier_copies, a.pattern, LENGTH // 3, 3, 0
    ),
    "heads.induction_targets": lambda a: partial(heads.induction_targets, a.tokens),
    "heads.detect_head_mul": lambda a: partial(
        heads.detect_head_mul, a.pattern, a.bools(ITEMS, LENGTH, LENGTH)
    ),
    "heads.detect_head_abs": lambda a: partial(
        heads.detect_head_abs, a.pattern, a.bools(ITEMS, LENGTH, LENGTH)
    ),
    "lens.Translators.__call__": lambda a: each(
        *(partial(_translators(a), n, a.floats(4, WIDTH)) for n in range(3))
    ),
    "lens.at_positions": lambda a: partial(
        lens.at_positions, [a.floats(ITEMS, LENGTH, WIDTH)] * 2, a.ints(LENGTH, ITEMS, 2)
    ),
    "measures.next_token_nll": lambda a: partial(
        measures.next_token_nll, a.floats(ITEMS, LENGTH, VOCABULARY), a.tokens
    ),
    "measures.is_top1": lambda a: partial(
        measures.is_top1, a.floats(ITEMS, LENGTH, VOCABULARY), a.tokens
    ),
    "measures.window_difference": lambda a: partial(
        measures.window_difference, a.floats(3, 9), (2, 3), (6, 8)
    ),
    "measures.entropy": lambda a: partial(measures.entropy, a.log_p(3, 9)),
    "measures.kl_divergence": lambda a: partial(
        measures.kl_divergence, a.log_p(3, 9), a.log_p(3, 9)
    ),
    "measures.jensen_shannon": lambda a: partial(
        measures.jensen_shannon, a.log_p(3, 9), a.log_p(3, 9)
    ),
    "ngrams.interpolated": lambda a: partial(
        ngrams.interpolated,
        a.log_p(1, 9).exp(),
        a.floats(4),
        a.on([0, 0, 3]),
        a.on([1, 2, 8]),
        a.floats(3),
    ),
    "ngrams.divergences": lambda a: partial(ngrams.divergences, a.log_p(4, 9), a.log_p(1, 9).exp()),
    "probing.Probes.logits": lambda a: partial(
        probing.Probes(a.floats(2, 2, 3, 5), a.floats(2, 2, 3)).logits, a.floats(2, 7, 5)
    ),
    "probing.standardise": lambda a: partial(probing.standardise, a.floats(2, 12, 5), 8),
    "probing.cross_entropy": lambda a: partial(
        probing.cross_entropy, a.floats(2, 2, 3, 7), a.ints(3, 1, 2, 7)
    ),
    "probing.logistic": lambda a: partial(probing.logistic, *_labelled(a), 8, 3, (0.1, 1.0)),
    "probing.mean_difference": lambda a: partial(
        probing.mean_difference, *_labelled(a), 8, 3, (1.0, 2.0)
    ),
    "probing.most_telling": lambda a: partial(probing.most_telling, *_labelled(a), 3, 2),
    "probing.k_sparse": lambda a: partial(probing.k_sparse, *_labelled(a), 8, 3, (0.1, 1.0), 2),
    "representations.standardised": lambda a: partial(representations.standardised, a.floats(9, 4)),
    "representations.hsic": lambda a: partial(representations.hsic, a.floats(9, 4), a.floats(9, 3)),
    "representations.cka": lambda a: partial(
        representations.cka, a.floats(2), a.floats(2), a.floats(2)
    ),
    "representations.cosine": lambda a: partial(
        representations.cosine, a.floats(9, 4), a.floats(9, 4)
    ),
    "representations.participation_ratio": lambda a: each(
        partial(representations.participation_ratio, a.floats(9, 4)),
        partial(representations.participation_ratio, a.floats(4, 9), centred=False),
    ),
    "representations.anisotropy": lambda a: partial(representations.anisotropy, a.floats(3, 9, 4)),
    "roles.attention_to_keys": lambda a: partial(
        roles.attention_to_keys, a.pattern, a.ints(LENGTH, ITEMS, 4), 2
    ),
    "roles.attention_from_last": lambda a: partial(
        roles.attention_from_last, [a.pattern] * 2, a.ints(LENGTH, ITEMS)
    ),
    "kept.Question.of": lambda a: partial(kept.Question.of, _Batch(), a.device),
    "kept.score_logits": lambda a: partial(
        kept.score_logits, a.floats(2 * ITEMS, 2, VOCABULARY), a.question()
    ),
    "sketches.project": lambda a: partial(sketches.project, a.floats(2, 2000), 16, 0),
    "sketches.project_product": lambda a: partial(sketches.project_product, a.factors(), 16, 0),
    "weights.singular_values": lambda a: each(
        *(
            partial(weights.singular_values, one)
            for one in (a.floats(2, 9, 4), a.floats(3, 9), a.floats(64, 4))
        )
    ),
    "weights.product_singular_values": lambda a: partial(
        weights.product_singular_values, a.factors()
    ),
    "weights.spectral_statistics": lambda a: partial(
        weights.spectral_statistics, a.floats(2, 5).abs()
    ),
    "weights.gaussian_spectrum": lambda a: partial(weights.gaussian_spectrum, 9, 4, 0, 1),
    "weights.gaussian_product_spectrum": lambda a: partial(
        weights.gaussian_product_spectrum, 9, 4, 9, 0, 1
    ),
    "weights.distance": lambda a: partial(weights.distance, a.floats(3, 4), a.floats(3, 4)),
    "weights.product_distance": lambda a: partial(
        weights.product_distance, a.factors(), a.factors()
    ),
    "weights.product_norm": lambda a: partial(weights.product_norm, a.factors()),
    "weights.relative": lambda a: partial(weights.relative, a.floats(5, 3)),
    "weights.rolled": lambda a: partial(weights.rolled, a.floats(3, 4), 5),
    "weights.rolled_factors": lambda a: partial(weights.rolled_factors, a.factors(), 5),
    "weights.copying_eigenvalue": lambda a: each(
        *(
            partial(weights.copying_eigenvalue, *a.factors(), loop)
            for loop in (None, a.floats(WIDTH, WIDTH))
        )
    ),
    "weights.gaussian_values": lambda a: partial(
        weights.gaussian_values, stream(0, "copying"), (HEADS, WIDTH, D_HEAD)
    ),
}


class _Batch:
    """What a task's batch has."""

    reads, candidates, is_right = (
        np.arange(2),
        np.ones((ITEMS, 2, 2), np.int64),
        np.ones((ITEMS, 2, 2), bool),
    )


def _translators(a: Arguments) -> lens.Translators:
    return lens.Translators(a.floats(2, WIDTH, WIDTH), a.floats(2, WIDTH))


def _labelled(a: Arguments) -> tuple[torch.Tensor, torch.Tensor]:
    return a.floats(2, 12, 5), a.ints(3, 1, 2, 12)
