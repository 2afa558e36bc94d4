"""Names and shapes of the tensors that a config promises."""

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from pythia_traj.architectures.finding import architecture_of
from pythia_traj.architectures.settings import settings_of
from pythia_traj.architectures.tables import Architecture, Norm, Reading, Writing

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Promised:
    """The tensors of a config, worked out once for all checkpoints that share it.

    Attributes:
        architecture: the tables.
        settings: the config's, by HookedTransformer's names.
        axes: the sizes of the axis words.
        before: the embedding of positions, if the model has one.
        inner: the tensors of the layers and of the last LayerNorm.
    """

    architecture: Architecture
    settings: Mapping[str, Any]
    axes: Mapping[str, int]
    before: tuple[tuple[str, Shape], ...]
    inner: tuple[tuple[str, Shape], ...]

    @classmethod
    def by(cls, config: Mapping[str, Any]) -> "Promised":
        """The tensors that a parsed `config.json` promises.

        Raises:
            CheckpointError: as `settings_of`.
        """
        architecture, settings = architecture_of(config), settings_of(config)
        axes = {
            "d_vocab": settings["d_vocab"],
            "d_model": settings["d_model"],
            "d_mlp": settings["d_mlp"],
            "n_ctx": settings["n_ctx"],
            "head_index": settings["n_heads"],
            "d_head": settings["d_model"] // settings["n_heads"],
        }
        positions = architecture.positions
        return cls(
            architecture,
            settings,
            axes,
            () if positions is None else ((positions, (axes["n_ctx"], axes["d_model"])),),
            _inner(architecture, settings, axes),
        )

    def has_bias(self, matrix: Reading | Writing) -> bool:
        """Whether a matrix has a bias."""
        return _has_bias(matrix, self.settings)

    def ends(self, names: Container[str]) -> tuple[str, str]:
        """The names of embedding and unembedding, as a checkpoint with these tensors has them.

        Tied weights may have either name. A checkpoint with both is not tied, even if the config
        says so.
        """
        embed, known = self.architecture.embed, self.architecture.unembed
        unembed = next((name for name in known if name in names), known[0])
        if self.settings.get("tied") and unembed not in names:
            return embed, embed
        if self.settings.get("tied") and embed not in names:
            return unembed, unembed
        return embed, unembed

    def tensors(self, embed: str, unembed: str) -> list[tuple[str, Shape]]:
        """All tensors that the model needs, with their shapes.

        Args:
            embed: the embedding's name, from `ends`.
            unembed: the unembedding's.
        """
        matrix = self.axes["d_vocab"], self.axes["d_model"]
        return [(embed, matrix), *self.before, *self.inner, (unembed, matrix)]


def parameter_count(config: Mapping[str, Any]) -> int:
    """The parameter count of a model as published, embedding and unembedding included.

    It is that of a model with all biases, and with an unembedding of its own.

    Raises:
        CheckpointError: as `settings_of`.
    """
    promised = Promised.by(config)
    all_biases = {**promised.settings, "attention_bias": True}
    inner = _inner(promised.architecture, all_biases, promised.axes)
    ends = 2 * promised.axes["d_vocab"] * promised.axes["d_model"]
    return ends + sum(prod(shape) for _, shape in (*promised.before, *inner))


def of_a_layer(architecture: Architecture) -> re.Pattern[str]:
    """Finds the names of weights and biases of any layer."""
    before, after = map(re.escape, architecture.layer.split("{layer}"))
    return re.compile(rf"{before}\d+{after}\S+\.(?:weight|bias)")


def base_names(architecture: Architecture) -> tuple[str, ...]:
    """The beginnings of names in a model saved without its unembedding, where `base` is missing."""
    names = (
        architecture.embed,
        architecture.layer,
        architecture.last_norm.stored + ".",
        *([] if architecture.positions is None else [architecture.positions]),
    )
    return tuple(
        f"{name.removeprefix(architecture.base).partition('.')[0]}."
        for name in names
        if name.startswith(architecture.base)
    )


def _inner(
    architecture: Architecture, settings: Mapping[str, Any], axes: Mapping[str, int]
) -> tuple[tuple[str, Shape], ...]:
    """LayerNorms first, then the matrices, then the biases that not every model has."""
    norms = [entry for entry in architecture.block if isinstance(entry, Norm)]
    matrices = [entry for entry in architecture.block if not isinstance(entry, Norm)]
    layer = [tensor for norm in norms for tensor in _of_norm(norm, axes)]
    for matrix in matrices:
        layer.append((f"{matrix.stored}.weight", _shape(matrix.axes, matrix, axes)))
        if matrix.bias_if is None:
            layer.append(_bias(matrix, axes))
    layer += [
        _bias(matrix, axes)
        for matrix in matrices
        if matrix.bias_if is not None and _has_bias(matrix, settings)
    ]
    return (
        *(
            (architecture.layer.format(layer=number) + name, shape)
            for number in range(settings["n_layers"])
            for name, shape in layer
        ),
        *_of_norm(architecture.last_norm, axes),
    )


def _has_bias(matrix: Reading | Writing, settings: Mapping[str, Any]) -> bool:
    return matrix.bias_if is None or bool(settings[matrix.bias_if])


def _of_norm(norm: Norm, axes: Mapping[str, int]) -> list[tuple[str, Shape]]:
    return [(f"{norm.stored}.{part}", (axes["d_model"],)) for part in ("weight", "bias")]


def _bias(matrix: Reading | Writing, axes: Mapping[str, int]) -> tuple[str, Shape]:
    return f"{matrix.stored}.bias", _shape(bias_axes(matrix), matrix, axes)


def bias_axes(matrix: Reading | Writing) -> str:
    """The axes of a matrix's bias as stored: those of its output."""
    if isinstance(matrix, Writing):
        return "d_model"
    return " ".join(word for word in matrix.axes.split() if word != "d_model")


def _shape(words: str, matrix: Reading | Writing, axes: Mapping[str, int]) -> Shape:
    """The sizes of axes, those in parentheses multiplied."""
    sizes = {**axes, "part": len(matrix.weights) if isinstance(matrix, Reading) else 1}
    return tuple(
        prod(sizes[word] for word in group.strip("()").split())
        for group in re.findall(r"\([^)]*\)|\S+", words)
    )
