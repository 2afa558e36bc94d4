"""Which metric of what: the key of a value, and how far its axes go.

Experiments are third-party code, and arrays look alike: heads where items belong, queries where
heads belong. What an experiment yields is compared with the batch and the model. A message names
the axis that does not fit, what was expected and what was found.
"""

from collections.abc import Iterable
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

Axis = Literal["head", "position"]

WORD_COLUMNS = ("variant", "component", "control", "part", "target")
"""Columns that hold one word each; a reference is named as a request names it."""


@dataclass(frozen=True)
class Key:
    """Which metric of what: the key columns of a row, as pythia_traj.schema explains them.

    A control has the variant of the measurement that it is the control of.

    >>> Key("logit_diff", layer=3, control="random")  # doctest: +ELLIPSIS
    Key(metric='logit_diff', variant=None, component=None, layer=3, ..., control='random', ...)
    >>> Key("logit_diff", "null:random")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ValueError: logit_diff: variant 'null:random': one thing in one column, without a colon: ...

    Raises:
        ValueError: a word is empty, or holds a colon, which puts two things into one column; a
            size is not a whole number.
    """

    metric: str
    variant: str | None = None
    component: str | None = None
    layer: int | None = None
    head: int | None = None
    position: int | None = None
    _: KW_ONLY
    control: str | None = None
    part: str | None = None
    target: str | None = None
    size: int | None = None
    reference: str | None = None

    def __post_init__(self) -> None:
        for name in WORD_COLUMNS:
            word = getattr(self, name)
            if word is None:
                continue
            if not isinstance(word, str) or not word or ":" in word:
                raise ValueError(
                    f"{self.metric}: {name} {word!r}: one thing in one column, without a colon: a"
                    " control is named by control=, a step compared with by reference=, a part of"
                    " the items by part="
                )
        if self.size is not None and not _is_whole(self.size, 0, 2**31):
            raise ValueError(f"{self.metric}: size {self.size!r}: expected None or 0 to 2147483647")


@dataclass(frozen=True)
class Extent:
    """How far each axis goes: what layers, heads, positions and items are checked against.

    Attributes:
        n_layers, n_heads: of the model.
        n_positions: of the tokens that were read, or of the model's context.
        n_items: of the batch; None without one.
        from_end: whether positions may be counted from the end, from -1 on.

    >>> Extent(n_layers=6, n_heads=8, n_positions=64).check(Key("loss", layer=6))
    Traceback (most recent call last):
    ValueError: loss: axis layer: expected None or 0 to 5, found 6
    """

    n_layers: int
    n_heads: int
    n_positions: int
    n_items: int | None = None
    from_end: bool = False

    def check(self, key: Key) -> None:
        """Checks that the layer, the head and the position exist.

        Raises:
            ValueError: one of them does not.
        """
        for axis in ("layer", "head", "position"):
            given, size = getattr(key, axis), getattr(self, f"n_{axis}s")
            if given is None:
                continue
            first = -size if axis == "position" and self.from_end else 0
            if not _is_whole(given, first, size):
                raise ValueError(
                    f"{key.metric}: axis {axis}: expected None or {first} to {size - 1},"
                    f" found {given!r}"
                )


def _is_whole(value: object, first: int, end: int) -> bool:
    """Whether it is a whole number from `first` on and below `end`; a bool is not one."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        return False
    return first <= int(value) < end


def check_tensor(key: Key, values: "Tensor", axes: tuple[Axis, ...]) -> None:
    """Whether these can be values [item, *axes] under a key."""
    named = ", ".join(("item", *axes))
    if not hasattr(values, "detach"):
        raise TypeError(f"{key.metric}: expected a tensor [{named}], found {type(values).__name__}")
    if not set(axes) <= set(get_args(Axis)) or len(set(axes)) != len(axes):
        raise ValueError(
            f"{key.metric}: axes {', '.join(map(str, axes))}: each of {', '.join(get_args(Axis))}"
            " at most once"
        )
    taken = [axis for axis in axes if getattr(key, axis) is not None]
    if taken:
        raise ValueError(
            f"{key.metric}: axis {taken[0]} is in the key and among the axes: leave one of them out"
        )
    if values.ndim != 1 + len(axes) or values.is_complex():
        raise ValueError(
            f"{key.metric}: expected real values [{named}],"
            f" found {values.dtype} of shape {list(values.shape)}"
        )


def one_each(key: Key, values: "Iterable[float] | np.ndarray") -> np.ndarray:
    """Values of items as numbers [item].

    NumPy would make numbers of words, and a mean of any shape.
    """
    array = np.asarray(values if hasattr(values, "__len__") else list(values))
    if array.ndim != 1 or (array.size and array.dtype.kind not in "biuf"):
        raise ValueError(
            f"{key.metric}: expected numbers [item],"
            f" found {array.dtype} of shape {list(array.shape)}"
        )
    return array.astype(np.float64)


def say_key(key: "Key | tuple[Key, int]") -> str:
    """A key, or that of one item, for a message.

    >>> say_key((Key("loss", layer=3), 7))
    'metric=loss, layer=3, item=7'
    """
    named, item = (key, None) if isinstance(key, Key) else key
    parts = {name: value for name, value in vars(named).items() if value is not None} | (
        {} if item is None else {"item": item}
    )
    return ", ".join(f"{name}={value}" for name, value in parts.items())
