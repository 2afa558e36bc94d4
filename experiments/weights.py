"""Statistics of the weights themselves: no data, no forward pass.

Parameters are as they were trained. Every value belongs to one matrix, or to one head's product of
two. A comparison with another step names it; sketches allow comparisons with any step.
"""

from collections.abc import Iterator
from dataclasses import astuple, dataclass
from typing import Annotated

import torch
from annotated_types import Ge
from torch import Tensor
from transformer_lens import HookedTransformer

from pythia_traj.engines import weights as engine
from pythia_traj.engines.sketches import project, project_product
from pythia_traj.engines.streams import stream
from pythia_traj.experiment import COMMA_SEPARATED, ReferenceModels, experiment
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
    (`full`) with LayerNorms folded in; its control has Gaussian W_V and W_O. The table `spectra`
    has all singular values, `sketches` random projections (engines.sketches).

    Args:
        references: steps to compare with: init, final, previous, step:512.
        heads: whether each head's products are measured too.
        sketch: numbers of a sketch; a distance has a relative standard error of 1 / sqrt(2 sketch).
            0 for none.
        seed: of the sketches and the controls.
    """
    rows = Rows()
    with torch.inference_mode():
        _spectra(rows, model, heads=heads, seed=seed)
        if heads:
            _copying(rows, model, seed)
        for reference in references:
            # The first step has no `previous`.
            if reference in reference_models:
                _compare(
                    rows, model, reference_models[reference], reference, heads=heads, seed=seed
                )
        if sketch:
            _sketches(rows, model, sketch, heads=heads, seed=seed)
    return rows


def _spectra(rows: Rows, model: HookedTransformer, *, heads: bool, seed: int) -> None:
    places: list[Place] = []
    spectra: list[Tensor] = []
    drawn: list[Tensor] = []
    for component, layer, matrix in engine.matrices(model):
        places.append(Place(component, layer))
        spectra.append(engine.singular_values(matrix))
        drawn.append(engine.gaussian_spectrum(*matrix.shape, seed, 0))
    for component, layer, (left, right) in engine.circuits(model) if heads else ():
        places += [Place(component, layer, head) for head in range(len(left))]
        spectra += engine.product_singular_values((left, right))
        shape = (*left.shape[1:], right.shape[-1])
        drawn += [engine.gaussian_product_spectrum(*shape, seed, 0)] * len(left)
    found = [values.cpu() for values in spectra]
    for place, values, gaussian in zip(places, found, drawn, strict=True):
        for control, spectrum in (
            (None, values),
            ("gaussian", gaussian * torch.linalg.vector_norm(values)),
        ):
            statistics = engine.spectral_statistics(spectrum).tolist()
            for i, (name, value) in enumerate(zip(engine.STATISTICS, statistics, strict=True)):
                metric, variant = ("norm", name) if i < _NORMS else (name, None)
                key = Key(metric, variant, *astuple(place), control=control)
                _add(rows, key, value, "the matrix is 0")
    rows.table(
        "spectra", _columns(places) | {"singular_values": [values.numpy() for values in found]}
    )


def _copying(rows: Rows, model: HookedTransformer, seed: int) -> None:
    loop = engine.vocabulary_loop(model)
    for layer, block in enumerate(model.blocks):
        w_v, w_o = engine.folded_values(block), block.attn.W_O.float()
        drawn = engine.gaussian_values(stream(seed, "copying", layer), w_v.shape)
        drawn_v, drawn_o = (factor.to(w_v.device) for factor in drawn)
        for name, by in (("ov", None), ("full", loop)):
            gaussian = engine.copying_eigenvalue(drawn_v, drawn_o, by)
            for control, values in (
                (None, engine.copying_eigenvalue(w_v, w_o, by)),
                ("gaussian", gaussian),
            ):
                for head, value in enumerate(values.tolist()):
                    key = Key("copying_eigenvalue", name, "head", layer, head, control=control)
                    _add(rows, key, value, "all eigenvalues are 0")


def _compare(
    rows: Rows,
    model: HookedTransformer,
    other: HookedTransformer,
    reference: str,
    *,
    heads: bool,
    seed: int,
) -> None:
    places: list[Place] = []
    found: list[Tensor] = []
    for place, distances in _distances(model, other, heads=heads, seed=seed):
        places.append(place)
        found.append(engine.relative(distances))
    for place, values in zip(places, torch.stack(found).tolist(), strict=True):
        for control, pair in zip((None, "rolled"), values, strict=True):
            for metric, value in zip(("relative_distance", "cosine"), pair, strict=True):
                key = Key(metric, None, *astuple(place), control=control, reference=reference)
                _add(rows, key, value, "one of the two is 0")


def _distances(
    model: HookedTransformer, other: HookedTransformer, *, heads: bool, seed: int
) -> Iterator[tuple[Place, Tensor]]:
    """Distances from the other step's weights and from the same moved: [2, 3] a place."""
    for (component, layer, matrix), (_, _, theirs) in zip(
        engine.matrices(model), engine.matrices(other), strict=True
    ):
        moved = engine.rolled(theirs, _places(seed, component, layer, theirs.numel()))
        pair = [engine.distance(matrix, theirs), engine.distance(matrix, moved)]
        yield Place(component, layer), torch.stack(pair)
    if not heads:
        return
    for (component, layer, own), (_, _, factors) in zip(
        engine.circuits(model), engine.circuits(other), strict=True
    ):
        places = _places(seed, component, layer, factors[0][0].numel())
        rolled = engine.rolled_factors(factors, places)
        both = torch.stack(
            [engine.product_distance(own, factors), engine.product_distance(own, rolled)], 1
        )
        yield from ((Place(component, layer, head), pair) for head, pair in enumerate(both))


def _places(seed: int, component: str, layer: int | None, entries: int) -> int:
    """By how many places the reference's entries are moved for the control."""
    return int(stream(seed, f"rolled {component}", layer or 0).integers(1, entries))


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


def _add(rows: Rows, key: Key, value: float, reason: str) -> None:
    """A NaN comes from a matrix of zeros, and its row says so."""
    if value == value:
        rows.add(key, value)
    else:
        rows.undefined(key, reason)
