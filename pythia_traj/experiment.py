"""What an experiment is: a decorated function, found by its file and described by its signature.

    @experiment(
        version=1, cites="Olsson et al. 2022", data=RepeatedTokens(n=50, length=50),
        reads=("pattern", "loss"), items=True,
    )
    def induction(acts: Activations[BoundRepeatedTokens]) -> ItemValues: ...

    @experiment(version=1, data=RepeatedTokens(), references=("init",))
    def drift(
        model: HookedTransformer, data: BoundRepeatedTokens, reference_models: ReferenceModels,
        *, scale: float = 1.0,
    ) -> Rows: ...

With `reads` it is called for each batch with the activations it named, and returns per-item values.
The activations come from one forward pass, shared by all experiments that read the same tokens. It
sees only the first group of its data unless `groups` says otherwise, so controls never get into a
measurement by accident. Without `reads` it gets the model once a step, with its data and, if its
signature has them, `reference_models` (name -> HookedTransformer) or `reference_rows` (name ->
DataFrame), and returns rows. The decorator names these other steps, or, for weights, a parameter
named `references`.

A request's parameters are the fields of the data, whose defaults are the values in the decorator,
and the function's keyword-only parameters. Their annotations are checked, and their values are
stored with the results.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, is_dataclass, replace
from inspect import getdoc
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Concatenate,
    Generic,
    Literal,
    Protocol,
    TypedDict,
    TypeVar,
    Unpack,
    cast,
    get_args,
    overload,
)

from pythia_traj.errors import DataError, nearest
from pythia_traj.parameters import COMMA_SEPARATED as COMMA_SEPARATED
from pythia_traj.parameters import AtLeastTwo as AtLeastTwo
from pythia_traj.parameters import Count as Count
from pythia_traj.parameters import Parameter, of_data, of_function, positional
from pythia_traj.processing import FOLDED, Processing
from pythia_traj.reads import Activations as Activations
from pythia_traj.reads import Reads, unknown
from pythia_traj.reads import Shape as Shape
from pythia_traj.schema import Column, check_columns, check_table_name
from pythia_traj.vocabulary import Vocabulary as Vocabulary

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from transformer_lens import HookedTransformer

    from pythia_traj.rows import Rows
    from pythia_traj.values import ItemValues

T = TypeVar("T")

Groups = tuple[str, ...] | Literal["first", "every"]
"""Which groups of its data an experiment that reads is called for, each in separate batches."""

Softmax = bool | Callable[[Any], int]
"""Whether an experiment takes a softmax over the vocabulary's rows, padding included.

A function of its data says that it is over fewer, and over how many.
"""

D_co = TypeVar("D_co", covariant=True)


class Data(ABC, Generic[D_co]):
    """What an experiment runs on, as a request asks for it: a frozen dataclass.

    Its fields are parameters of the request. `bind` makes what the experiment receives, once per
    sweep, before any step. Its mapping `facts` can hold more than the spec (such as how many items
    were dropped), and is recorded with the results.
    """

    identified: ClassVar[tuple[str, ...]] = ()
    """Fields that the spec identifies by content: a path does not say what is in a file."""

    @abstractmethod
    def spec(self, *, seed: int) -> dict[str, Any]:
        """What identifies the data beyond its fields; part of the digest.

        Needs neither model nor network.
        """

    @abstractmethod
    def bind(self, vocabulary: Vocabulary, *, seed: int) -> D_co:
        """The data for a model's vocabulary.

        Raises:
            DataError: it cannot be made from this request.
        """


class Grouped(Protocol):
    """Data that can be read: token ids int64 [item, pos] by the name of a group.

    A batch comes from one group. The first one is the measurement, the others are its controls and
    other layouts: only experiments that ask for them by `groups` are called for them.
    """

    @property
    def groups(self) -> "Mapping[str, np.ndarray]":
        """The groups."""


D = TypeVar("D")
G = TypeVar("G", bound=Grouped)

ReferenceRows = Mapping[str, "pd.DataFrame"]
"""The metric rows of named references: what an experiment with `reference_rows` receives."""


class ReferenceModels(Protocol):
    """The models of named references, loaded on request.

    This is what an experiment with `reference_models` receives. There is only one second model: it
    holds a reference's weights until another reference is requested.
    """

    def __contains__(self, name: object) -> bool:
        """Whether this step has such a reference: the first step has no `previous`."""

    def __getitem__(self, name: str) -> "HookedTransformer":
        """The model with the weights of that reference."""

    def once(self, name: str, make: "Callable[[HookedTransformer], T]") -> "T":
        """A value computed only from a reference's model: made once in a sweep, and kept.

        It is the same at every step. A reference that is needed only for it is neither fetched nor
        run again.
        """


@dataclass(frozen=True)
class Passes:
    """What an experiment costs at a step, in sequences of its data.

    Attributes:
        layers: passes of one sequence through all layers; a pass that begins in the middle counts
            for its share, one with gradients for 3.
        reads: how often the positions of a sequence that are read are unembedded.
        held: bytes that it holds in memory until they are written.
    """

    layers: float
    reads: float
    held: int = 0

    def __add__(self, other: "Passes") -> "Passes":
        """Both."""
        return Passes(self.layers + other.layers, self.reads + other.reads, self.held + other.held)

    def __mul__(self, times: float) -> "Passes":
        """The cost of so many times as much."""
        return Passes(self.layers * times, self.reads * times, int(self.held * times))


@dataclass(frozen=True)
class Experiment:
    """A measurement that can be run on the model at one step; calling it calls the function."""

    name: str
    version: int
    description: str
    cites: str
    function: Callable[..., Any] = field(repr=False)
    data: Data[Any] | None
    reads: Reads
    groups: Groups
    processing: Processing
    references: tuple[str, ...]
    row_references: tuple[str, ...]
    items: bool
    softmax: Softmax = field(repr=False)
    tables: Mapping[str, tuple[Column, ...]] = field(repr=False)
    requires: tuple[str, ...]
    passes: Callable[..., Passes] | None = field(repr=False)
    check: Callable[..., None] | None = field(repr=False)
    parameters: Mapping[str, Parameter]
    """A request's parameters: the fields of its data, then the function's own."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function."""
        return self.function(*args, **kwargs)

    def own(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The request's parameters that belong to the function."""
        names = of_function(self.function)
        return {name: value for name, value in parameters.items() if name in names}

    def data_with(self, parameters: Mapping[str, Any]) -> Data[Any] | None:
        """Its data with a request's values; None for an experiment without data."""
        if self.data is None:
            return None
        names = of_data(self.data)
        given = {name: value for name, value in parameters.items() if name in names}
        # Data is a dataclass, which the abstract class cannot state.
        return cast("Data[Any]", replace(cast("Any", self.data), **given))

    def groups_of(self, groups: "Mapping[str, np.ndarray]") -> "dict[str, np.ndarray]":
        """The groups of its data that it is called for.

        Raises:
            DataError: a group that it asks for does not exist.
        """
        if self.groups == "every":
            return dict(groups)
        names = tuple(groups)[:1] if self.groups == "first" else self.groups
        missing = [name for name in names if name not in groups]
        if missing:
            raise DataError(f"its data has no group {missing[0]!r}: {nearest(missing[0], groups)}")
        return {name: groups[name] for name in names}

    def reads_with(self, parameters: Mapping[str, Any]) -> tuple[str, ...]:
        """What it reads with a request's parameters."""
        return self.reads(**self.own(parameters)) if callable(self.reads) else self.reads

    def softmax_rows(self, parameters: Mapping[str, Any], data: Any, d_vocab: int) -> int | None:
        """How many rows of the vocabulary its softmax is over; None where it takes none."""
        if callable(self.softmax):
            return self.softmax(data)
        is_over_all = self.softmax or {"loss", "correct"} & set(self.reads_with(parameters))
        return d_vocab if is_over_all else None

    @property
    def positional(self) -> tuple[str, ...]:
        """The names of the positional parameters: what the experiment receives."""
        return positional(self.function)

    @property
    def wants_reference_models(self) -> bool:
        """Whether it compares with the weights of other steps."""
        return "reference_models" in self.positional


class Declared(TypedDict, total=False):
    """Settings that any experiment may declare (see `experiment`)."""

    cites: str
    groups: Groups
    processing: Processing
    references: tuple[str, ...]
    row_references: tuple[str, ...]
    items: bool
    softmax: Softmax
    tables: Mapping[str, tuple[Column, ...]]
    requires: tuple[str, ...]


@overload
def experiment(
    *,
    version: int,
    data: Data[G],
    reads: Reads,
    passes: Callable[Concatenate[Shape, G, ...], Passes] | None = None,
    check: Callable[Concatenate[Shape, G, ...], None] | None = None,
    **declared: Unpack[Declared],
) -> "Callable[[Callable[Concatenate[Activations[G], ...], ItemValues]], Experiment]": ...


@overload
def experiment(
    *,
    version: int,
    data: Data[D],
    passes: Callable[Concatenate[Shape, D, ...], Passes] | None = None,
    check: Callable[Concatenate[Shape, D, ...], None] | None = None,
    **declared: Unpack[Declared],
) -> "Callable[[Callable[Concatenate[HookedTransformer, D, ...], Rows]], Experiment]": ...


@overload
def experiment(
    *, version: int, **declared: Unpack[Declared]
) -> "Callable[[Callable[Concatenate[HookedTransformer, ...], Rows]], Experiment]": ...


def experiment(
    *,
    version: int,
    data: Data[Any] | None = None,
    reads: Reads = (),
    passes: Callable[..., Passes] | None = None,
    check: Callable[..., None] | None = None,
    **declared: Unpack[Declared],
) -> Callable[[Callable[..., Any]], Experiment]:
    """Makes a function an experiment.

    Its name is the function's; listings show the first line of the docstring.

    Args:
        version: raise it when the same parameters give other numbers: units of older versions are
            redone.
        data: what it runs on, with the defaults of a request: `TextTokens(n=16)`.
        reads: activations it reads (see ACTIVATION_READS, OUTPUT_READS); empty for an experiment
            that gets the model. A function of the parameters if they decide.
        passes: its cost, for an experiment that gets the model, or whose cost is not one pass over
            all it reads. It is called with a Shape, its data and its own parameters by name, and
            returns an upper bound.
        check: refuses what it cannot measure, before any weights are fetched: called as `passes`,
            it raises DataError. What data and layers it reads is checked without it.
        **declared: further settings, all optional:
            `cites`: where the measure comes from.
            `groups`: the groups of its data that it is called for, if it reads: "first", the
            measurement alone; "every", which `acts.group` distinguishes, so that controls get their
            own rows; or a tuple of names.
            `processing`: how weights are processed before it runs; FOLDED if not given.
            `references`: other steps whose weights it compares with: `init`, `final`, `previous`,
            `step:512`. If the function has a parameter of that name, the request decides, and this
            is not given.
            `row_references`: other steps whose rows it compares with, with the same names.
            `items`: per-item values are kept in `tables/items`.
            `softmax`: whether it takes one over the vocabulary, for the record: True where it is
            over all rows, padding included; a function of its data that says over how many, where
            it cuts the others off. Reading `loss` or `correct` says True.
            `tables`: the columns of each table that it may have beside its rows, by the table's
            name, so that every step's file has the same types, whatever it holds.
            `requires`: distributions it needs in addition to the project's.

    Raises:
        TypeError: the declaration is wrong; the message names the experiment.
    """

    def decorate(function: Callable[..., Any]) -> Experiment:
        name = function.__name__
        description = (getdoc(function) or "").partition("\n")[0].strip()
        if not description:
            raise TypeError(f"experiment {name} needs a docstring: its first line is its listing")
        groups = declared.get("groups", "first")
        references = declared.get("references", ())
        row_references = declared.get("row_references", ())
        _check_data(name, data)
        _check_reads(name, reads, alone=data is None or bool(references or row_references))
        _check_groups(name, groups, reads)
        return Experiment(
            name=name,
            version=version,
            description=description,
            cites=declared.get("cites", ""),
            function=function,
            data=data,
            reads=reads,
            groups=groups,
            processing=declared.get("processing", FOLDED),
            references=references,
            row_references=row_references,
            items=declared.get("items", False),
            softmax=declared.get("softmax", False),
            tables=_checked_tables(name, declared.get("tables", {})),
            requires=declared.get("requires", ()),
            passes=passes,
            check=check,
            parameters=_parameters(name, function, data),
        )

    surplus = declared.keys() - Declared.__annotations__.keys()
    if surplus:
        first = min(surplus)
        raise TypeError(
            f"an experiment cannot declare {first!r}: {nearest(first, Declared.__annotations__)}"
        )
    return decorate


def _check_data(name: str, data: object) -> None:
    if isinstance(data, type) and issubclass(data, Data):
        raise TypeError(
            f"experiment {name}: data={data.__name__} is a class: write {data.__name__}()"
        )
    if data is not None and not (isinstance(data, Data) and is_dataclass(data)):
        raise TypeError(
            f"experiment {name}: data={data!r} is not data: give an instance of a frozen dataclass"
            " derived from pythia_traj.experiment.Data, such as RepeatedTokens()"
        )


def _check_reads(name: str, reads: Reads, *, alone: bool) -> None:
    strange = [] if callable(reads) else unknown(reads)
    if strange:
        raise TypeError(f"experiment {name} reads unknown activations: {', '.join(strange)}")
    if reads and alone:
        raise TypeError(
            f"experiment {name} reads activations: it needs data and takes no references"
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
        raise TypeError(f"experiment {name} has groups but no reads: it gets all of its data")


def _parameters(
    name: str, function: Callable[..., Any], data: Data[Any] | None
) -> dict[str, Parameter]:
    try:
        own = of_function(function)
    except TypeError as error:
        raise TypeError(f"experiment {name}: {error}") from None
    of_its_data = {} if data is None else of_data(data)
    twice = [one for one in own if one in of_its_data]
    if twice:
        raise TypeError(
            f"experiment {name}: {twice[0]} is a parameter of its data: write"
            f" {type(data).__name__}({twice[0]}=...), and read it as data.parameters.{twice[0]}"
        )
    return {**of_its_data, **own}
