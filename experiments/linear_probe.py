"""What can a linear probe read from the residual stream, and where?

Probes are fitted at every layer and site, and compared with what they learn by heart.

A probe that finds labels either reads them from the activations or has learnt tokens by heart. So
the same probe is fitted to a control task, in which every token type has one random label.
Selectivity is the difference (Hewitt and Liang 2019).

Activations are gathered into a buffer of a stated size, as many layers at a time as it holds.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Annotated, Literal

import numpy as np
import torch
from annotated_types import Gt, Len
from torch import Tensor
from transformer_lens import HookedTransformer

from pythia_traj.data.labelled import BoundLabelledTokens, LabelledTokens
from pythia_traj.engines import probing
from pythia_traj.engines.gathering import Batch, Where, gather, layers_at_once
from pythia_traj.engines.means import why_no_error
from pythia_traj.engines.probe_scores import Documents
from pythia_traj.errors import DataError
from pythia_traj.experiment import COMMA_SEPARATED, Count, Passes, Shape, experiment
from pythia_traj.schema import Column
from pythia_traj.values import Item, Key, Rows

Site = Literal["resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out"]
Kind = Literal["logistic", "mean_difference", "k_sparse"]
Strength = Annotated[float, Gt(0)]

SITES: tuple[Site, ...] = ("resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out")
KINDS: tuple[Kind, ...] = ("logistic", "mean_difference", "k_sparse")

SCALES = tuple(2.0**power for power in range(-4, 9))
"""The scales that a mean-difference probe chooses from, times 1 / d_model."""

TOKENS_AT_ONCE = 4096
"""Tokens of a batch of the forward pass."""

INTERVAL = (0.025, 0.975)
"""Quantiles of the bootstrap that `low` and `high` are."""

CONTROL = "control_task"

PROBES = (
    Column("kind", "dictionary", False, "of probe: the variant of its rows"),
    Column("site", "dictionary", False, "where activations were read: the component of its rows"),
    Column("layer", "int16", False, "the layer they were read at"),
    Column("control", "dictionary", True, "null for the task, control_task for a control task"),
    Column("draw", "int32", True, "which control task, from 0; null for the task"),
    Column(
        "strength",
        "float64",
        False,
        "chosen on validation documents: of L2, or a mean difference's scale times d_model",
    ),
    Column("cross_entropy", "float32", False, "on the validation tokens with it, in nats"),
)
"""Columns of `tables/probes/`: a row for each probe that was fitted."""

FEATURES = (
    Column("site", "dictionary", False, "where activations were read: the component of its rows"),
    Column("layer", "int16", False, "the layer they were read at"),
    Column("rank", "int32", False, "place among the chosen dimensions, from 0"),
    Column("feature", "int32", False, "which dimension of the activation"),
    Column("share", "float32", False, "share of its variance that lies between classes, 0..1"),
)
"""Columns of `tables/features/`: the dimensions of each k-sparse probe of the task."""


def passes(_shape: Shape, data: BoundLabelledTokens, **_: object) -> Passes:
    """Each sequence goes through the layers once, in pieces, and is never unembedded."""
    return Passes(sum(len(tokens) for tokens in data.groups.values()), 0)


def check(
    shape: Shape,
    data: BoundLabelledTokens,
    *,
    sites: Sequence[Site],
    kinds: Sequence[Kind],
    k: int,
    buffer: int,
    **_: object,
) -> None:
    """Refuses sites that the model lacks, a `buffer` too small for a layer, a `k` too large."""
    if not any(_read(shape, sites)):
        raise DataError(
            f"sites {', '.join(sites)}: this model has none of them; a parallel model has no"
            " resid_mid"
        )
    if "k_sparse" in kinds and k > shape.d_model:
        raise DataError(f"k={k}: an activation has {shape.d_model} dimensions: set k lower")
    _layers_at_once(shape, data, _read(shape, sites), buffer)


@experiment(
    version=3,
    cites="Alain and Bengio 2016; Hewitt and Liang 2019",
    data=LabelledTokens(),
    items=True,
    tables={"probes": PROBES, "features": FEATURES},
    passes=passes,
    check=check,
)
def linear_probe(
    model: HookedTransformer,
    data: BoundLabelledTokens,
    *,
    sites: Annotated[tuple[Site, ...], COMMA_SEPARATED, Len(1)] = SITES,
    kinds: Annotated[tuple[Kind, ...], COMMA_SEPARATED, Len(1)] = KINDS,
    k: Count = 16,
    strengths: Annotated[tuple[Strength, ...], COMMA_SEPARATED, Len(1)] = (
        1.0,
        0.1,
        0.01,
        0.001,
        0.0001,
    ),
    resamples: Count = 1000,
    buffer: Count = 500_000_000,
) -> Rows:
    """What linear probes of labels find at every layer and site, beyond what they learn by heart.

    On the test documents, by kind of probe (`variant`): `accuracy`, `macro_f1` and `cross_entropy`;
    `excess` over the `majority`, the class most frequent in training; `selectivity`, accuracy minus
    that on the control tasks; `accuracy_unseen` on types that are not in the training documents.
    The control `control_task` is the same on the control tasks, the mean of them; their
    `selectivity` is what the first has over the others. `low` and `high` are the ends of the 95 %
    interval of a bootstrap over documents, the standard error is its too; `n` counts tokens,
    `clusters` documents.
    Items are documents, with their tokens as `n`. The table `probes` has the strengths that were
    chosen on validation documents, `features` the dimensions of the k-sparse probes.

    Args:
        sites: where activations are read; resid_mid is left out where a model has none.
        kinds: of probe: logistic, mean_difference (nearest mean of a class), k_sparse (logistic, on
            few dimensions).
        k: dimensions of a k-sparse probe, those whose class means differ most.
        strengths: of L2, to choose from: the penalty is strength / 2 x the sum of squared weights,
            beside the mean cross-entropy.
        resamples: of the bootstrap.
        buffer: the most bytes of activations at a time; it does not change any number.
    """
    scoring = _Scoring(data, resamples)
    fitting = _Fitting(data, model.W_E, kinds, strengths, k)
    stream = _Stream(model, data, sites, buffer)
    found: dict[Where, dict[Kind, _Found]] = {}
    for where, activations in stream.chunks():
        found |= fitting.fit(where, activations)
    rows = Rows()
    scoring.write(rows, Key("majority"), scoring.majority[0])
    scoring.write(rows, Key("majority", control=CONTROL), scoring.majority[1:])
    for site, layer in product(sites, range(model.cfg.n_layers)):
        for kind, one in found.get(stream.alias(site, layer), {}).items():
            scoring.write_probe(rows, kind, (site, layer), one)
    _write_tables(rows, found, strengths)
    return rows


@dataclass(frozen=True)
class _Found:
    """What one kind of probe found at one site of one layer.

    The first axis is the task and its control tasks.

    Attributes:
        predicted, nll: on the test tokens [problem, token].
        strength, validation: what was chosen, and its cross-entropy on validation tokens [problem].
        features, shares: of a k-sparse probe of the task: its dimensions, and how much of their
        variance lies between classes [k].
    """

    predicted: np.ndarray
    nll: np.ndarray
    strength: np.ndarray
    validation: np.ndarray
    features: np.ndarray | None = None
    shares: np.ndarray | None = None


def _alias(sites: Sequence[Site], site: Site, layer: int) -> Where:
    """The stream before a layer is the stream after the one below: it is read once."""
    is_twice = site == "resid_pre" and layer and "resid_post" in sites
    return ("resid_post", layer - 1) if is_twice else (site, layer)


def _read(shape: Shape, sites: Sequence[Site]) -> list[list[Where]]:
    """What is read of each layer."""
    return [
        [
            (site, layer)
            for site in sites
            if shape.has(site) and _alias(sites, site, layer) == (site, layer)
        ]
        for layer in range(shape.n_layers)
    ]


def _layers_at_once(
    shape: Shape, data: BoundLabelledTokens, read: Sequence[Sequence[Where]], buffer: int
) -> list[range]:
    """Consecutive layers whose activations fit the buffer, beside the streams kept for later.

    The next layers go on from those streams.

    Raises:
        DataError: it does not hold one layer.
    """
    one = 4 * shape.d_model * len(data.labels)
    counts = [len(where) for where in read]
    if sum(counts) * one <= buffer:
        return [range(shape.n_layers)]
    tokens = sum(tokens.size for tokens in data.groups.values())
    kept = tokens * shape.d_model * shape.element_size
    most = (buffer - kept) // one
    if max(counts) > most:
        raise DataError(
            f"buffer of {buffer} bytes: the activations of one layer take"
            f" {max(counts) * one + kept}; set buffer higher, n lower, or fewer sites"
        )
    return layers_at_once(counts, most)


class _Stream:
    """Activations of labelled tokens, as many layers at a time as the buffer holds."""

    def __init__(
        self,
        model: HookedTransformer,
        data: BoundLabelledTokens,
        sites: Sequence[Site],
        buffer: int,
    ) -> None:
        self._model, self._data, self._sites = model, data, sites
        shape = Shape.of(model)
        self._read = _read(shape, sites)
        self._chunks = _layers_at_once(shape, data, self._read, buffer)

    def alias(self, site: Site, layer: int) -> Where:
        """Where an activation is read."""
        return _alias(self._sites, site, layer)

    def chunks(self) -> Iterator[tuple[list[Where], Tensor]]:
        """Site and layer, and float32 activations [site and layer, token, d_model].

        The next chunk overwrites the activations.
        """
        return gather(self._model, list(self._batches()), self._chunks, self._read)

    def _batches(self) -> Iterator[Batch]:
        device = self._model.W_E.device
        for group, ids in self._data.groups.items():
            place = self._data.places.get(group)
            if place is None:
                continue
            size = max(1, TOKENS_AT_ONCE // ids.shape[1])
            for start in range(0, len(ids), size):
                here = (place.rows >= start) & (place.rows < start + size)
                arrays = (
                    ids[start : start + size],
                    place.rows[here] - start,
                    place.positions[here],
                    place.numbers[here],
                )
                yield Batch(*(torch.from_numpy(array).to(device) for array in arrays))


class _Fitting:
    """Fits all kinds of probes to what is in the buffer.

    On CUDA it fits to all of it at once, on the CPU to one after the other, which its caches
    prefer.
    """

    def __init__(
        self,
        data: BoundLabelledTokens,
        weight: Tensor,
        kinds: Sequence[Kind],
        strengths: Sequence[float],
        k: int,
    ) -> None:
        self._kinds, self._strengths, self._k = kinds, tuple(strengths), k
        self._classes, self._train = len(data.classes), data.sizes[0]
        self._test = data.split("test")
        problems = np.concatenate([data.labels[None], data.controls])
        self._labels = torch.from_numpy(problems).to(weight.device)[None]
        self._at_once = None if weight.device.type == "cuda" else 1
        self._dtype = weight.dtype

    @torch.inference_mode()
    def fit(self, where: list[Where], activations: Tensor) -> dict[Where, dict[Kind, _Found]]:
        """Probes of all sites and layers in the buffer.

        Their activations are standardised there.
        """
        found: dict[Where, dict[Kind, _Found]] = {one: {} for one in where}
        probing.standardise(activations, self._train, self._dtype)
        size = self._at_once or len(where)
        for start in range(0, len(where), size):
            part = activations[start : start + size]
            for kind in self._kinds:
                for i, one in enumerate(self._fit(kind, part)):
                    found[where[start + i]][kind] = one
        return found

    def _fit(self, kind: Kind, x: Tensor) -> Iterator[_Found]:
        chosen, extra = self._choose(kind, x[:, : self._test.start])
        logits = chosen.probes.logits(x[:, self._test])
        nll = probing.cross_entropy(logits, self._labels[..., self._test])
        tensors = (
            logits.argmax(2),
            nll,
            chosen.strength,
            chosen.cross_entropy,
            *(one[:, 0] for one in extra),
        )
        yield from (
            _Found(*arrays)
            for arrays in zip(*(tensor.cpu().numpy() for tensor in tensors), strict=True)
        )

    def _choose(self, kind: Kind, x: Tensor) -> tuple[probing.Chosen, tuple[Tensor, ...]]:
        labels = self._labels[..., : self._test.start]
        if kind == "logistic":
            return probing.logistic(x, labels, self._train, self._classes, self._strengths), ()
        if kind == "mean_difference":
            return probing.mean_difference(x, labels, self._train, self._classes, SCALES), ()
        chosen, *extra = probing.k_sparse(
            x, labels, self._train, self._classes, self._strengths, self._k
        )
        return chosen, tuple(extra)


class _Scoring:
    """Predictions of the test tokens -> metrics with intervals."""

    def __init__(self, data: BoundLabelledTokens, resamples: int) -> None:
        test = data.split("test")
        self._labels = np.concatenate([data.labels[None], data.controls])[:, test]
        self._classes = len(data.classes)
        self._documents = Documents(data.documents[test], resamples)
        seen = np.unique(data.types[data.split("train")])
        self._unseen = ~np.isin(data.types[test], seen)
        train = np.concatenate([data.labels[None], data.controls])[:, data.split("train")]
        most = [np.bincount(labels, minlength=self._classes).argmax() for labels in train]
        self.majority = np.stack(
            [
                self._documents.share(labels == top)
                for labels, top in zip(self._labels, most, strict=True)
            ]
        )

    def write(self, rows: Rows, key: Key, draws: np.ndarray) -> None:
        """A metric with its standard error and interval, from a value and its resamples.

        Of several problems it is their mean.
        """
        draws = draws if draws.ndim == 1 else draws.mean(0)
        defined = draws[1:][np.isfinite(draws[1:])]
        if not np.isfinite(draws[0]):
            rows.undefined(
                key,
                "no token of the test documents is of a type that is not in the training documents",
            )
            return
        documents = self._documents
        reason = why_no_error(documents.n)
        if reason is None and len(defined) < 2:
            reason = "no standard error: fewer than 2 resamples are defined"
        has_error = reason is None
        ends = [float(np.quantile(defined, q)) if has_error else None for q in INTERVAL]
        rows.add(
            key,
            float(draws[0]),
            stderr=float(defined.std(ddof=1)) if has_error else None,
            low=ends[0],
            high=ends[1],
            n=int(documents.tokens.sum()),
            clusters=documents.n,
            reason=reason,
        )

    def write_probe(self, rows: Rows, kind: Kind, where: Where, found: _Found) -> None:
        """All metrics of a probe, of the task and control tasks, and the items of two of them."""
        site, layer = where
        share = self._documents.share
        right = found.predicted == self._labels
        accuracy = self._each(share, right)
        controls = accuracy[1:]
        metrics = {
            "accuracy": accuracy,
            "macro_f1": self._each(
                partial(self._documents.macro_f1, classes=self._classes),
                *(found.predicted, self._labels),
            ),
            "cross_entropy": self._each(share, found.nll),
            "excess": accuracy - self.majority,
            "selectivity": np.stack(
                [accuracy[0] - controls.mean(0), controls[0] - controls[1:].mean(0)]
            ),
            "accuracy_unseen": self._each(partial(share, among=self._unseen), right),
        }
        for control, problems in ((None, slice(0, 1)), (CONTROL, slice(1, None))):
            for metric, draws in metrics.items():
                self.write(rows, Key(metric, kind, site, layer, control=control), draws[problems])
            for metric, values in (("accuracy", right), ("cross_entropy", found.nll)):
                key = Key(metric, kind, site, layer, control=control)
                means = self._documents.means(values[problems].mean(0))
                rows.items += [
                    Item(key, i, int(n), float(mean))
                    for i, (n, mean) in enumerate(zip(self._documents.tokens, means, strict=True))
                ]

    @staticmethod
    def _each(measure: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
        """A measure of each problem [problem, resample]."""
        return np.stack([measure(*of_problem) for of_problem in zip(*arrays, strict=True)])


def _write_tables(
    rows: Rows, found: dict[Where, dict[Kind, _Found]], strengths: Sequence[float]
) -> None:
    probes: dict[str, list[object]] = {column.name: [] for column in PROBES}
    features: dict[str, list[object]] = {column.name: [] for column in FEATURES}
    for (site, layer), kinds in found.items():
        for kind, one in kinds.items():
            given = SCALES if kind == "mean_difference" else strengths
            for i, (number, validation) in enumerate(
                zip(one.strength, one.validation, strict=True)
            ):
                problem = (CONTROL, i - 1) if i else (None, None)
                values = (kind, site, layer, *problem, float(given[number]), float(validation))
                for column, value in zip(probes.values(), values, strict=True):
                    column.append(value)
            for rank, (feature, share) in enumerate(
                zip(_list(one.features), _list(one.shares), strict=True)
            ):
                for column, value in zip(
                    features.values(), (site, layer, rank, feature, share), strict=True
                ):
                    column.append(value)
    rows.table("probes", probes)
    if features["site"]:
        rows.table("features", features)


def _list(array: np.ndarray | None) -> list[float]:
    return [] if array is None else array.tolist()
