"""What an experiment is: a decorated function, found by its file, its signature its schema.

    @experiment(version=1, cites="Olsson et al. 2022", data=RepeatedTokens, reads=("pattern", "loss"), items=True)
    def induction(acts: Activations, *, n: Count = 50, length: Count = 50) -> ItemValues: ...

    @experiment(version=1, data=RepeatedTokens, references=("init",))
    def drift(model, data, reference_models, *, n: Count = 50) -> Rows: ...

With `reads` it is called per batch with the activations it named, which come from one forward pass shared by all experiments that read
the same data, and returns per-item values. Without, it gets the model once a step, with `data` and, if its signature has them,
`reference_models` (name -> HookedTransformer) or `reference_rows` (name -> DataFrame), and returns rows. Which other steps those are the
decorator says, or for weights a parameter named `references`.

Keyword-only parameters are the configuration: their annotations are checked and their values stored with the results.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from annotated_types import Ge
from pydantic import BeforeValidator

from pythia_traj.processing import FOLDED, Processing

if TYPE_CHECKING:
    import numpy as np
    from tokenizers import Tokenizer
    from torch import Tensor

Count = Annotated[int, Ge(1)]
"""A parameter that counts something: at least 1."""

COMMA_SEPARATED = BeforeValidator(lambda value: tuple(value.split(",")) if isinstance(value, str) else value)
"""Beside the annotation of a tuple: `a,b` stands for its entries, as on the command line."""

OUTPUT_READS = ("loss", "correct")
"""What can be read of the output: the NLL of each next token in nats, and whether the model's first choice was right."""

ACTIVATION_READS = (
    "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "q", "k", "v", "z", "pattern", "attn_scores", "pre", "post",
)  # fmt: skip
"""What can be read of every layer, by TransformerLens's short names."""


@dataclass(frozen=True)
class Vocabulary:
    """What data needs to know of the model it is made for.

    Attributes:
        d_vocab: rows of the embedding, padding included.
        n_ctx: the longest context.
        tokenizer: None where the checkpoint has none.
        bos_token_id: what is prepended where BOS is asked for.
    """

    d_vocab: int
    n_ctx: int
    tokenizer: "Tokenizer | None" = None
    bos_token_id: int = 0


class Data(Protocol):
    """What experiments run on: built once per sweep, before any step.

    `__init__(vocabulary, *, seed, ...)`: keyword-only parameters that an experiment also has are passed on to it. What it knows of
    itself beyond its spec (how many items were dropped) can stand in a mapping `facts`, and is recorded with the results.
    """

    identified: "tuple[str, ...]"
    """Parameters whose meaning is in the spec, by content: a file's path says nothing of what is in it. May be left out."""

    groups: "Mapping[str, np.ndarray]"
    """Token ids [item, pos] by the name of a group; a batch comes from one group."""

    @classmethod
    def spec(cls, *, seed: int, **parameters: Any) -> dict[str, Any]:
        """What identifies the data beyond the experiment's parameters, found without model or network; part of the digest."""


@dataclass(frozen=True)
class Activations:
    """What one forward pass over a batch left behind for the experiments that asked.

    Attributes:
        group: the group of the data the batch comes from.
        tokens: [batch, pos].
        data: the whole data object.
    """

    group: str
    tokens: "Tensor"
    data: Any
    _output: "Mapping[str, Tensor]" = field(repr=False)
    _layers: "Mapping[str, list[Tensor]]" = field(repr=False)

    def output(self, name: str) -> "Tensor":
        """`loss` or `correct`: [batch, pos - 1], entry i belonging to the predicted token i + 1."""
        return self._output[name]

    def layers(self, name: str) -> "list[Tensor]":
        """An activation of every layer, such as `pattern`: [batch, head_index, query_pos, key_pos] each."""
        return self._layers[name]


@dataclass(frozen=True)
class Passes:
    """What an experiment that gets the model costs at a step, in sequences of its data.

    Attributes:
        layers: passes of one sequence through all layers; one that begins in the middle counts for its share, one with gradients for 3.
        reads: how often the positions of a sequence that are read are unembedded.
    """

    layers: float
    reads: float

    def __add__(self, other: "Passes") -> "Passes":
        """Both."""
        return Passes(self.layers + other.layers, self.reads + other.reads)

    def __mul__(self, times: float) -> "Passes":
        """So many times as much."""
        return Passes(self.layers * times, self.reads * times)


@dataclass(frozen=True)
class Shape:
    """What of a model an experiment's cost depends on."""

    n_layers: int
    n_heads: int


@dataclass(frozen=True)
class Parameter:
    """One parameter of an experiment: its annotation and default."""

    name: str
    annotation: Any
    default: Any


@dataclass(frozen=True)
class Experiment:
    """A measurement that can be run on the model at one step; calling it calls the function."""

    name: str
    version: int
    description: str
    cites: str
    function: Callable[..., Any] = field(repr=False)
    data: type[Data] | None
    reads: tuple[str, ...]
    processing: Processing
    references: tuple[str, ...]
    row_references: tuple[str, ...]
    items: bool
    requires: tuple[str, ...]
    passes: Callable[..., Passes] | None = field(repr=False)
    parameters: Mapping[str, Parameter]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function."""
        return self.function(*args, **kwargs)

    @property
    def positional(self) -> tuple[str, ...]:
        """The names of the positional parameters: what the experiment wants to be handed."""
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return tuple(p.name for p in inspect.signature(self.function).parameters.values() if p.kind in kinds)

    @property
    def wants_reference_models(self) -> bool:
        """Whether it compares with the weights of other steps."""
        return "reference_models" in self.positional


def experiment(
    *,
    version: int,
    cites: str = "",
    data: type[Data] | None = None,
    reads: tuple[str, ...] = (),
    processing: Processing = FOLDED,
    references: tuple[str, ...] = (),
    row_references: tuple[str, ...] = (),
    items: bool = False,
    requires: tuple[str, ...] = (),
    passes: Callable[..., Passes] | None = None,
) -> Callable[[Callable[..., Any]], Experiment]:
    """Makes an experiment of a function; its name is the function's, its listing the first line of the docstring.

    Args:
        version: raised when the same parameters would yield other numbers: units of older versions are redone.
        cites: where the measure comes from.
        data: the class of the data it runs on.
        reads: activations it reads (see ACTIVATION_READS, OUTPUT_READS); empty for an experiment that gets the model.
        processing: how weights are processed before it runs.
        references: other steps whose weights it compares with: `init`, `final`, `previous`, `step:512`. A parameter of that name lets
            the request say which, and then this is not given.
        row_references: other steps whose rows it compares with, in the same words.
        items: per-item values are kept in `tables/items`.
        requires: distributions it needs beyond the project's own.
        passes: what it costs, for one that gets the model: called with a Shape, its data and its parameters by name; at most so much.
    """

    def decorate(function: Callable[..., Any]) -> Experiment:
        description = (inspect.getdoc(function) or "").partition("\n")[0].strip()
        if not description:
            raise TypeError(f"experiment {function.__name__} needs a docstring: its first line is its listing")
        unknown = set(reads) - set(ACTIVATION_READS) - set(OUTPUT_READS)
        if unknown:
            raise TypeError(f"experiment {function.__name__} reads unknown activations: {', '.join(sorted(unknown))}")
        if reads and (data is None or references or row_references):
            raise TypeError(
                f"experiment {function.__name__} reads activations: it needs data, and cannot have references"
            )
        return Experiment(
            name=function.__name__,
            version=version,
            description=description,
            cites=cites,
            function=function,
            data=data,
            reads=reads,
            processing=processing,
            references=references,
            row_references=row_references,
            items=items,
            requires=requires,
            passes=passes,
            parameters=_parameters(function),
        )

    return decorate


def _parameters(function: Callable[..., Any]) -> dict[str, Parameter]:
    signature = inspect.signature(function, eval_str=True)
    keyword_only = [p for p in signature.parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY]
    missing = [p.name for p in keyword_only if p.default is inspect.Parameter.empty]
    if missing:
        raise TypeError(f"experiment {function.__name__}: parameters without a default: {', '.join(missing)}")
    bare = [p.name for p in keyword_only if p.annotation is inspect.Parameter.empty]
    if bare:
        raise TypeError(f"experiment {function.__name__}: parameters without an annotation: {', '.join(bare)}")
    return {p.name: Parameter(p.name, p.annotation, p.default) for p in keyword_only}
