"""What an experiment is: a decorated function, found by its file, its signature its schema.

    @experiment(
        version=1, cites="Olsson et al. 2022", data=RepeatedTokens, reads=("pattern", "loss"),
        items=True,
    )
    def induction(acts: Activations, *, n: Count = 50, length: Count = 50) -> ItemValues: ...

    @experiment(version=1, data=RepeatedTokens, references=("init",))
    def drift(model, data, reference_models, *, n: Count = 50) -> Rows: ...

With `reads` it is called per batch with the activations it named, which come from one forward pass
shared by all experiments that read the same tokens, and returns per-item values; of its data it is
shown the first group alone, unless `groups` says otherwise, so that controls never get into a
measurement unasked. Without, it gets the model once a step, with `data` and, if its signature has
them, `reference_models` (name -> HookedTransformer) or `reference_rows` (name -> DataFrame), and
returns rows. Which other steps those are the decorator says, or for weights a parameter named
`references`.

Keyword-only parameters are the configuration: their annotations are checked and their values stored
with the results.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeVar, get_args

from annotated_types import Ge
from pydantic import BeforeValidator

from pythia_traj.errors import DataError, nearest
from pythia_traj.processing import FOLDED, Processing
from pythia_traj.schema import Column, check_columns, check_table_name
from pythia_traj.vocabulary import Vocabulary as Vocabulary

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor
    from transformer_lens import HookedTransformer

T = TypeVar("T")

Count = Annotated[int, Ge(1)]
"""A parameter that counts something: at least 1."""

COMMA_SEPARATED = BeforeValidator(
    lambda value: tuple(str(value).split(",")) if isinstance(value, str | int | float) else value
)
"""Beside the annotation of a tuple: `a,b` stands for its entries, as on the command line.

A number stands for itself.
"""

OUTPUT_READS = ("loss", "correct", "final")
"""What can be read of the output.

The NLL of each next token in nats, whether the model's first choice was right, and what both are
made from, the residual stream after the last layer.
"""

ACTIVATION_READS = (
    "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "q", "k", "v", "z", "pattern",
    "attn_scores", "pre", "post",
)  # fmt: skip
"""What can be read of every layer, by TransformerLens's short names.

One layer's is read by the name of its hook, `blocks.3.hook_resid_post`.
"""

Reads = tuple[str, ...] | Callable[..., tuple[str, ...]]
"""What an experiment reads; where its parameters decide, a function of them by name."""

Groups = tuple[str, ...] | Literal["first", "every"]
"""Which groups of its data an experiment that reads is called for, each in batches of its own."""


class Data(Protocol):
    """What experiments run on: built once per sweep, before any step.

    `__init__(vocabulary, *, seed, ...)`: keyword-only parameters that an experiment also has are
    passed on to it. What it knows of itself beyond its spec (how many items were dropped) can stand
    in a mapping `facts`, and is recorded with the results.
    """

    identified: "tuple[str, ...]"
    """Parameters whose meaning is in the spec, by content. May be left out.

    A file's path says nothing of what is in it.
    """

    groups: "Mapping[str, np.ndarray]"
    """Token ids int64 [item, pos] by the name of a group; a batch comes from one group.

    The first is what is to be measured, the others are its controls and other layouts: only
    experiments that ask for them by `groups` are called for them.
    """

    @classmethod
    def spec(cls, *, seed: int, **parameters: Any) -> dict[str, Any]:
        """What identifies the data beyond the experiment's parameters; part of the digest.

        It is found without model or network.
        """


@dataclass(frozen=True)
class Activations:
    """What one forward pass over a batch left behind for the experiments that asked.

    Attributes:
        model: for its weights, as they are at this step; the pass itself has been made.
        group: the group of the data the batch comes from.
        first: the number of the batch's first item in its group.
        tokens: [batch, pos].
        data: the whole data object.
    """

    model: "HookedTransformer"
    group: str
    first: int
    tokens: "Tensor"
    data: Any
    _kept: "Mapping[str, Tensor]" = field(repr=False)
    _made: dict[str, Any] = field(default_factory=dict, repr=False)

    @property
    def items(self) -> slice:
        """Where the batch's items stand in their group."""
        return slice(self.first, self.first + len(self.tokens))

    def output(self, name: str) -> "Tensor":
        """`loss` or `correct`: [batch, pos - 1], entry i belonging to the predicted token i + 1.

        `final`: [batch, pos, d_model].
        """
        return self._kept[name]

    def layers(self, name: str) -> "list[Tensor]":
        """An activation of every layer.

        Of `pattern`, say, each is [batch, head_index, query_pos, key_pos].
        """
        return [self._kept[hook] for hook in hooks_of(name, self.model.cfg.n_layers)]

    def hooked(self, hook: str) -> "Tensor":
        """An activation by the name of its hook, such as `blocks.3.hook_resid_post`."""
        return self._kept[hook]

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        """What an experiment makes at the first batch of a step and needs for the later ones too.

        A lens that it trains, say.
        """
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]


class ReferenceModels(Protocol):
    """The models of named references, loaded when they are asked for.

    This is what an experiment with `reference_models` is handed. There is one second model: what
    stands behind a name holds that reference's weights until another one is asked for.
    """

    def __contains__(self, name: object) -> bool:
        """Whether this step has such a reference: `previous` of the first step is nobody."""

    def __getitem__(self, name: str) -> "HookedTransformer":
        """The model with the weights of that reference in it."""

    def once(self, name: str, make: "Callable[[HookedTransformer], T]") -> "T":
        """What is made of a reference's model alone: made once in a sweep, and kept meanwhile.

        It is the same at every step. A reference of which nothing else is asked is then neither
        fetched nor run again.
        """


_HOOK = re.compile(r"blocks\.(\d+)\.\w.*")


def layer_of(read: str) -> int | None:
    """The layer of a read that is the name of one hook; None of other reads."""
    hook = _HOOK.fullmatch(read)
    return int(hook[1]) if hook else None


def hooks_of(read: str, n_layers: int) -> list[str]:
    """The hooks that a read of ACTIVATION_READS stands for, one a layer.

    The name of one hook stands for itself.
    """
    if layer_of(read) is not None:
        return [read]
    from transformer_lens.utilities import get_act_name

    return [get_act_name(read, layer) for layer in range(n_layers)]


@dataclass(frozen=True)
class Passes:
    """What an experiment costs at a step, in sequences of its data.

    Attributes:
        layers: passes of one sequence through all layers; one that begins in the middle counts for
            its share, one with gradients for 3.
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
    reads: Reads
    groups: Groups
    processing: Processing
    references: tuple[str, ...]
    row_references: tuple[str, ...]
    items: bool
    tables: Mapping[str, tuple[Column, ...]] = field(repr=False)
    requires: tuple[str, ...]
    passes: Callable[..., Passes] | None = field(repr=False)
    parameters: Mapping[str, Parameter]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function."""
        return self.function(*args, **kwargs)

    def own(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Those of a request's parameters that are the function's; its data's seed need not be."""
        return {name: value for name, value in parameters.items() if name in self.parameters}

    def groups_of(self, groups: "Mapping[str, np.ndarray]") -> "dict[str, np.ndarray]":
        """Those of its data's groups that it is called for.

        Raises:
            DataError: there is none of a name that it asks for.
        """
        if self.groups == "every":
            return dict(groups)
        names = tuple(groups)[:1] if self.groups == "first" else self.groups
        missing = [name for name in names if name not in groups]
        if missing:
            raise DataError(f"its data has no group {missing[0]!r}: {nearest(missing[0], groups)}")
        return {name: groups[name] for name in names}

    def reads_with(self, parameters: Mapping[str, Any]) -> tuple[str, ...]:
        """What it reads when it is called with a request's parameters."""
        return self.reads(**self.own(parameters)) if callable(self.reads) else self.reads

    @property
    def positional(self) -> tuple[str, ...]:
        """The names of the positional parameters: what the experiment wants to be handed."""
        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        return tuple(
            p.name for p in inspect.signature(self.function).parameters.values() if p.kind in kinds
        )

    @property
    def wants_reference_models(self) -> bool:
        """Whether it compares with the weights of other steps."""
        return "reference_models" in self.positional


def experiment(
    *,
    version: int,
    cites: str = "",
    data: type[Data] | None = None,
    reads: Reads = (),
    groups: Groups = "first",
    processing: Processing = FOLDED,
    references: tuple[str, ...] = (),
    row_references: tuple[str, ...] = (),
    items: bool = False,
    tables: Mapping[str, tuple[Column, ...]] | None = None,
    requires: tuple[str, ...] = (),
    passes: Callable[..., Passes] | None = None,
) -> Callable[[Callable[..., Any]], Experiment]:
    """Makes an experiment of a function.

    Its name is the function's, its listing the first line of the docstring.

    Args:
        version: raised when the same parameters would yield other numbers: units of older versions
            are redone.
        cites: where the measure comes from.
        data: the class of the data it runs on.
        reads: activations it reads (see ACTIVATION_READS, OUTPUT_READS); empty for an experiment
            that gets the model. A function of the parameters where they decide.
        groups: of its data that it is called for, for one that reads: the first alone, which is
            what its data is about; every one, to be told apart by `acts.group`, so that controls
            get rows of their own; or those of certain names.
        processing: how weights are processed before it runs.
        references: other steps whose weights it compares with: `init`, `final`, `previous`,
            `step:512`. A parameter of that name lets the request say which, and then this is not
            given.
        row_references: other steps whose rows it compares with, in the same words.
        items: per-item values are kept in `tables/items`.
        tables: the columns of each table that it may have beside its rows, by the table's name:
            every step's file then has the same types, whatever it holds.
        requires: distributions it needs beyond the project's own.
        passes: what it costs, for one that gets the model, or costs other than a pass of all it
            reads: called with a Shape, its data and its parameters by name; at most so much.
    """

    def decorate(function: Callable[..., Any]) -> Experiment:
        description = (inspect.getdoc(function) or "").partition("\n")[0].strip()
        if not description:
            raise TypeError(
                f"experiment {function.__name__} needs a docstring: its first line is its listing"
            )
        _check_reads(
            function.__name__, reads, alone=data is None or bool(references or row_references)
        )
        _check_groups(function.__name__, groups, reads)
        return Experiment(
            name=function.__name__,
            version=version,
            description=description,
            cites=cites,
            function=function,
            data=data,
            reads=reads,
            groups=groups,
            processing=processing,
            references=references,
            row_references=row_references,
            items=items,
            tables=_checked_tables(function.__name__, tables or {}),
            requires=requires,
            passes=passes,
            parameters=_parameters(function),
        )

    return decorate


def _check_reads(name: str, reads: Reads, *, alone: bool) -> None:
    known = (*ACTIVATION_READS, *OUTPUT_READS)
    unknown = (
        []
        if callable(reads)
        else [read for read in reads if read not in known and layer_of(read) is None]
    )
    if unknown:
        raise TypeError(
            f"experiment {name} reads unknown activations: {', '.join(sorted(unknown))}"
        )
    if reads and alone:
        raise TypeError(
            f"experiment {name} reads activations: it needs data, and cannot have references"
        )


def _checked_tables(
    name: str, tables: Mapping[str, tuple[Column, ...]]
) -> dict[str, tuple[Column, ...]]:
    for table, columns in tables.items():
        try:
            check_table_name(table)
            check_columns(table, columns)
        except ValueError as error:
            raise TypeError(f"experiment {name}: {error}") from None
    return {table: tuple(columns) for table, columns in tables.items()}


def _check_groups(name: str, groups: Groups, reads: Reads) -> None:
    if isinstance(groups, str) and groups not in get_args(get_args(Groups)[1]):
        raise TypeError(
            f'experiment {name}: groups={groups!r}: give "first", "every" or a tuple of names'
        )
    if groups != "first" and not reads:
        raise TypeError(f"experiment {name} has groups and reads nothing: it gets its data whole")


def _parameters(function: Callable[..., Any]) -> dict[str, Parameter]:
    signature = inspect.signature(function, eval_str=True)
    keyword_only = [
        p for p in signature.parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY
    ]
    missing = [p.name for p in keyword_only if p.default is inspect.Parameter.empty]
    if missing:
        raise TypeError(
            f"experiment {function.__name__}: parameters without a default: {', '.join(missing)}"
        )
    bare = [p.name for p in keyword_only if p.annotation is inspect.Parameter.empty]
    if bare:
        raise TypeError(
            f"experiment {function.__name__}: parameters without an annotation: {', '.join(bare)}"
        )
    return {p.name: Parameter(p.name, p.annotation, p.default) for p in keyword_only}
