"""The form of an architecture's tables: its config's keys, its tensors, what folds into what.

Parameters, modules and settings have HookedTransformer's names; tensors and keys have those of
transformers' files. Shapes are written in axis words. Words in parentheses share an axis; `part`
counts the parameters that are stored in one tensor.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from re import Pattern
from typing import Any


@dataclass(frozen=True)
class Key:
    """A key of a config.

    Attributes:
        name: the key.
        default: transformers' value for a missing key; None: the key must not be missing.
    """

    name: str
    default: Any = None


@dataclass(frozen=True)
class RotaryKeys:
    """The keys of older configs that say how positions are rotated.

    Attributes:
        partial_rotary_factor: which share of a head is rotated.
        rope_theta: the base of the frequencies.
    """

    partial_rotary_factor: Key
    rope_theta: Key


@dataclass(frozen=True)
class Refusal:
    """A key of which only some values are accepted.

    Attributes:
        accepts: whether a value changes nothing; receives the value and the whole config.
        because: why a value is refused and what to do; follows "config.json: key is value: ".
    """

    accepts: Callable[[Any, Mapping[str, Any]], bool]
    because: str


@dataclass(frozen=True)
class Norm:
    """A LayerNorm.

    Attributes:
        module: its name in a block, or in the model.
        stored: the name of its `.weight` and `.bias`.
    """

    module: str
    stored: str


@dataclass(frozen=True)
class Reading:
    """A matrix that reads the residual stream: a LayerNorm can be folded into it.

    Attributes:
        stored: the name of its `.weight` and `.bias`.
        axes: the weight's axes as stored.
        norm: the module of the LayerNorm before it.
        weights: the parameters it becomes, in the order of the axis `part`.
        biases: their biases, in the same order.
        bias_if: the setting that says whether a bias is stored; None: it always is.
    """

    stored: str
    axes: str
    norm: str
    weights: tuple[str, ...]
    biases: tuple[str, ...]
    bias_if: str | None = None


@dataclass(frozen=True)
class Writing:
    """A matrix that writes to the residual stream: it can be centred.

    Attributes:
        stored: the name of its `.weight` and `.bias`.
        axes: the weight's axes as stored.
        weight: the parameter it becomes.
        bias: its bias.
        bias_if: the setting that says whether a bias is stored; None: it always is.
        values: the bias of its input, if that can be folded into its own bias.
    """

    stored: str
    axes: str
    weight: str
    bias: str
    bias_if: str | None = None
    values: str | None = None


@dataclass(frozen=True)
class Architecture:
    """One architecture.

    Attributes:
        model_type: what a config calls it.
        classes: transformers' classes: the language model, then the same without its unembedding.
        settings: HookedTransformer's name of a setting -> its key. Besides those of a
            HookedTransformerConfig there are `attention_bias` and `tied`.
        fixed: further settings, which are the same for all configs.
        rotary: None if positions are not rotated.
        applied: key -> where it goes.
        refused: key -> which of its values are accepted, and why the others are not.
        harmless: key -> why its value does not matter.
        embed: the tensor of the embedding.
        unembed: the names that the tensor of the unembedding has had; the first is written.
        layer: how the names of a layer's tensors begin, with `{layer}` for its number.
        block: what a layer consists of, in the order in which a swap takes it.
        last_norm: the LayerNorm before the unembedding.
        positions: the tensor of the embedding of positions, if it has one.
        base: how names begin that belong to the model without its unembedding.
        constant: finds the names of tensors that the config determines.
        foreign: finds names that other programs give to the same tensors, with what to do.
        prepends_bos: whether TransformerLens puts BOS in front unless told.
    """

    model_type: str
    classes: tuple[str, str]
    settings: Mapping[str, Key]
    fixed: Mapping[str, Any]
    rotary: RotaryKeys | None
    applied: Mapping[str, str]
    refused: Mapping[str, Refusal]
    harmless: Mapping[str, str]
    embed: str
    unembed: tuple[str, ...]
    layer: str
    block: tuple[Norm | Reading | Writing, ...]
    last_norm: Norm
    base: str
    constant: Pattern[str]
    foreign: tuple[tuple[Pattern[str], str], ...] = field(default=())
    positions: str | None = None
    prepends_bos: bool = False

    @property
    def name(self) -> str:
        """The language model's class."""
        return self.classes[0]

    @property
    def norms(self) -> tuple[str, ...]:
        """The modules of a block's LayerNorms."""
        return tuple(entry.module for entry in self.block if isinstance(entry, Norm))
