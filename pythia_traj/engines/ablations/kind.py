"""What a kind of ablation is: what replaces the outputs of the components that are removed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from pythia_traj.engines.ablation import Means, Replacement
from pythia_traj.engines.kept import KeptPass


@runtime_checkable
class Sources(Protocol):
    """What a replacement can be made of, for some items of a task; made when it is asked for."""

    @property
    def clean(self) -> KeptPass:
        """The pass over the clean prompts, from which the components are removed."""

    def corrupted(self) -> KeptPass:
        """The pass over the corrupted prompts of the same items."""

    def means(self, *, by_position: bool) -> Means:
        """Means of outputs on the clean prompts.

        They are over all items and positions, or by position over the items of this length.
        """


@dataclass(frozen=True)
class AblationKind:
    """A kind of ablation.

    Attributes:
        name: in requests; the `variant` of its rows.
        replacement: of the outputs of any component, from what there is of some items.
        passes: whole passes over each item that it takes, the clean one among them.
        direct: whether only the path to the logits sees the replacement.
        frozen_patterns: whether attention patterns of later layers stay those of the clean prompt.
    """

    name: str
    replacement: Callable[[Sources], Replacement]
    passes: int = 1
    direct: bool = False
    frozen_patterns: bool = False
