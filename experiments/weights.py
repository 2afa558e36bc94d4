"""Statistics of the weights themselves: no data, no forward pass.

Parameters are as they were trained. Every value belongs to one matrix, or to one head's product of
two. A comparison with another step names it; sketches allow comparisons with any step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor
from transformer_lens import HookedTransformer

from pythia_traj.engines import weights as engine
from pythia_traj.engines.sketches import project, project_product
from pythia_traj.engines.streams import stream
from pythia_traj.experiment import COMMA_SEPARATED, Count, ReferenceModels, experiment
from pythia_traj.processing import RAW
from pythia_traj.schema import Column
from pythia_traj.values import Key, Rows

_NORMS = 3
"""How many of the engine's statistics are norms, which share one metric."""

_OF_PLACE = (
    Column("component", "dictionary", False, "the matrix, or W_QK or W_OV of a head: as in rows"),
    Column("layer", "int16", True, "its layer; null for W_E and W_U"),
    Column("head", "int16", True, "whose product it is; null for a matrix"),
)
"""Columns that say which matrix or product, as in the rows."""

SPECTRA = (
    *_OF_PLACE,
    Column("singular_values", "list<float32>", False, "all of them, the largest first"),
)
"""Columns of `tables/spectra/`: a row for each matrix and head's product."""

SKETCHES = (
    *_OF_PLACE,
    Column("norm", "float32", False, "exact Frobenius norm"),
    Column("sketch", "list<float32>", False, "random projection of all entries, drawn by the seed"),
)
"""Columns of `tables/sketches/`, which engines.sketches compares with one another."""


@dataclass(frozen=True)
class Place:
    """The matrix or product that a value belongs to."""

    component: str
    layer: int | None = None
    head: int | None = None


@experiment(
    version=2,
    cites="Elhage et al. 2021; Roy and Vetterli 2007",
    processing=RAW,
    tables={"spectra": SPECTRA, "sketches": SKETCHES},
)
def weights(
    model: HookedTransformer,
    reference_models: ReferenceModels,
    *,
    references: Annotated[tuple[str, ...], COMMA_SEPARATED] = (),
    heads: bool = True,
    sketch: Annotated[int, Ge(0)] = 1024,
    controls: Count = 5,
    seed: Annotated[int, Ge(0)] = 0,
) -> Rows:
    """Norms, spectra, ranks and sketches of every matrix and head, and distances from named steps.

    `component` is a matrix of a layer (`W_Q`, ..., all heads side by side), `W_E`, `W_U`, or a
    head's `W_QK` or `W_OV`. `norm` is `frobenius`, `spectral` or `nuclear`; `singular_mean`,
    `singular_variance`, `stable_rank`, `effective_rank`, `effective_rank_sq`, `participation_ratio`
    and `gini` are of the singular values, of a head's product those d_head that can differ from 0.
    Their control `gaussian` is a Gaussian matrix (or product of two) of that shape and Frobenius
    norm. `cosine` and `relative_distance` (Frobenius, by the reference's norm) are with the
    `reference`, and in the control `rolled` with the reference's entries moved.
    `copying_eigenvalue` is Re(sum lambda) / sum |lambda| of W_V W_O (`ov`) or W_E W_V W_O W_U
    (`full`) with LayerNorms folded in; its control has Gaussian W_V and W_O. A control is the mean
    over `n` draws, its spread is under the metric's name and `_sd`. The table `spectra` has all
    singular values, `sketches` random projections (engines.sketches).

    Args:
        references: steps to compare with: init, final, previous, step:512.
        heads: whether each head's products are measured too.
        sketch: numbers of a sketch; a distance has a relative standard error of 1 / sqrt(2 sketch).
            0 for none.
        controls: draws of each control.
        seed: of the sketches and the controls.
    """
    rows, draws = Rows(), _Draws(seed, controls)
    with torch.inference_mode():
        _spectra(rows, model, draws, heads=heads)
        if heads:
            _copying(rows, model, draws)
        for reference in references:
            # The first step has no `previous`.
            if reference in reference_models:
                _compare(rows, model, reference_models[reference], reference, draws, heads=heads)
        if sketch:
            _sketches(rows, model, sketch, heads=heads, seed=seed)
    return rows


@dataclass(frozen=True)
class _Draws:
    """The draws of the controls: the same ones at every step."""

    seed: int
    n: int

    def spectra(self, matrix: Tensor) -> Tensor:
        """Of Gaussian matrices of this shape, with norm 1 [draw, rank]."""
        rows, columns = matrix.shape
        return torch.stack(
            [engine.gaussian_spectrum(rows, columns, self.seed, i) for i in range(self.n)]
        )

    def product_spectra(self, left: Tensor, right: Tensor) -> Tensor:
        """Of products of two Gaussian matrices of these shapes, with norm 1 [draw, d_head]."""
        (d_in, d_head), d_out = left.shape[-2:], right.shape[-1]
        return torch.stack(
            [
                engine.gaussian_product_spectrum(d_in, d_head, d_out, self.seed, i)
                for i in range(self.n)
            ]
        )

    def values(self, layer: int, like: Tensor) -> Iterator[engine.Factors]:
        """Gaussian W_V and W_O of a layer, draw by draw."""
        rng = stream(self.seed, "copying", layer)
        for _ in range(self.n):
            left, right = engine.gaussian_values(rng, like.shape)
            yield left.to(like.device), right.to(like.device)

    def places(self, component: str, layer: int | None, entries: int) -> list[int]:
        """By how many places the reference's entries are moved on [draw]."""
        rng = stream(self.seed, f"rolled {component}", layer or 0)
        found: list[int] = rng.integers(1, entries, self.n).tolist()
        return found


def _spectra(rows: Rows, model: HookedTransformer, draws: _Draws, *, heads: bool) -> None:
    places: list[Place] = []
    spectra: list[Tensor] = []
    drawn: list[Tensor] = []
    for component, layer, matrix in engine.matrices(model):
        places.append(Place(component, layer))
        spectra.append(engine.singular_values(matrix))
        drawn.append(draws.spectra(matrix))
    for component, layer, (left, right) in engine.circuits(model) if heads else ():
        places += [Place(component, layer, head) for head in range(len(left))]
        spectra += engine.product_singular_values((left, right))
        drawn += [draws.product_spectra(left, right)] * len(left)
    found = [values.cpu() for values in spectra]
    for place, values, gaussian in zip(places, found, drawn, strict=True):
        own = engine.spectral_statistics(values).tolist()
        of_draws = engine.spectral_statistics(gaussian * torch.linalg.vector_norm(values)).T
        for i, name in enumerate(engine.STATISTICS):
            metric, variant = ("norm", name) if i < _NORMS else (name, None)
            key = Key(metric, variant, *astuple(place))
            _add(rows, key, own[i], ("gaussian", of_draws[i].tolist()), "the matrix is 0")
    rows.table(
        "spectra", _columns(places) | {"singular_values": [values.numpy() for values in found]}
    )


def _copying(rows: Rows, model: HookedTransformer, draws: _Draws) -> None:
    loop = engine.vocabulary_loop(model)
    for layer, block in enumerate(model.blocks):
        w_v, w_o = engine.folded_values(block), block.attn.W_O.float()
        variants = {"ov": None, "full": loop}
        own = {name: engine.copying_eigenvalue(w_v, w_o, by) for name, by in variants.items()}
        drawn: dict[str, list[Tensor]] = {name: [] for name in variants}
        for pair in draws.values(layer, w_v):
            for name, by in variants.items():
                drawn[name].append(engine.copying_eigenvalue(*pair, by))
        for name, values in own.items():
            of_heads = torch.stack(drawn[name], 1).tolist()
            for head, (value, others) in enumerate(zip(values.tolist(), of_heads, strict=True)):
                key = Key("copying_eigenvalue", name, "head", layer, head)
                _add(rows, key, value, ("gaussian", others), "all eigenvalues are 0")


def _compare(
    rows: Rows,
    model: HookedTransformer,
    other: HookedTransformer,
    reference: str,
    draws: _Draws,
    *,
    heads: bool,
) -> None:
    places: list[Place] = []
    found: list[Tensor] = []
    for place, distances in _distances(model, other, draws, heads=heads):
        places.append(place)
        found.append(engine.relative(distances))
    # [place, distance and cosine, the reference and the draws]
    for place, values in zip(places, torch.stack(found).mT.tolist(), strict=True):
        for metric, (own, *others) in zip(("relative_distance", "cosine"), values, strict=True):
            key = Key(metric, None, *astuple(place), reference=reference)
            _add(rows, key, own, ("rolled", others), "one of the two is 0")


def _distances(
    model: HookedTransformer, other: HookedTransformer, draws: _Draws, *, heads: bool
) -> Iterator[tuple[Place, Tensor]]:
    """Distances from the other step's weights, and from the same moved: [1 + draw, 3] a place."""
    for (component, layer, matrix), (_, _, theirs) in zip(
        engine.matrices(model), engine.matrices(other), strict=True
    ):
        distances = [engine.distance(matrix, theirs)]
        for places in draws.places(component, layer, theirs.numel()):
            distances.append(engine.distance(matrix, engine.rolled(theirs, places)))
        yield Place(component, layer), torch.stack(distances)
    if not heads:
        return
    for (component, layer, own), (_, _, factors) in zip(
        engine.circuits(model), engine.circuits(other), strict=True
    ):
        distances = [engine.product_distance(own, factors)]
        for places in draws.places(component, layer, factors[0][0].numel()):
            distances.append(engine.product_distance(own, engine.rolled_factors(factors, places)))
        of_heads = torch.stack(distances, 1)
        yield from ((Place(component, layer, head), one) for head, one in enumerate(of_heads))


def _sketches(rows: Rows, model: HookedTransformer, size: int, *, heads: bool, seed: int) -> None:
    places: list[Place] = []
    norms: list[Tensor] = []
    found: list[Tensor] = []
    for component, layer, matrix in engine.matrices(model):
        places.append(Place(component, layer))
        norms.append(torch.linalg.vector_norm(matrix))
        found.append(project(matrix.flatten(), size, seed))
    for component, layer, factors in engine.circuits(model) if heads else ():
        places += [Place(component, layer, head) for head in range(len(factors[0]))]
        norms += engine.product_norm(factors)
        found += project_product(factors, size, seed)
    table = {"norm": torch.stack(norms).tolist(), "sketch": list(torch.stack(found).cpu().numpy())}
    rows.table("sketches", _columns(places) | table)


def _columns(places: list[Place]) -> dict[str, list[object]]:
    return {
        name: [getattr(place, name) for place in places] for name in ("component", "layer", "head")
    }


def _add(
    rows: Rows, key: Key, value: float, control: tuple[str, Sequence[float]], reason: str
) -> None:
    """A value and the draws of its control; a NaN comes from a matrix of zeros: its row says so."""
    if value == value:
        rows.add(key, value)
    else:
        rows.undefined(key, reason)
    name, drawn = control
    key = replace(key, control=name)
    if all(one == one for one in drawn):
        rows.add_draws(key, drawn)
    else:
        rows.undefined(key, reason)
