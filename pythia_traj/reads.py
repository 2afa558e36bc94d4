"""What an experiment reads of a forward pass, and how it receives it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

if TYPE_CHECKING:
    from torch import Tensor
    from transformer_lens import HookedTransformer

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

_HOOK = re.compile(r"blocks\.(\d+)\.\w.*")

D = TypeVar("D")
T = TypeVar("T")


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


def unknown(reads: tuple[str, ...]) -> list[str]:
    """Those of some reads that nothing can be read by."""
    known = (*ACTIVATION_READS, *OUTPUT_READS)
    return sorted(read for read in reads if read not in known and layer_of(read) is None)


@dataclass(frozen=True)
class Activations(Generic[D]):
    """What one forward pass over a batch left behind for the experiments that asked.

    Attributes:
        model: for its weights, as they are at this step; the pass itself has been made.
        group: the group of the data the batch comes from.
        first: the number of the batch's first item in its group.
        tokens: [batch, pos].
        data: the experiment's data, bound to the model's vocabulary.
    """

    model: "HookedTransformer"
    group: str
    first: int
    tokens: "Tensor"
    data: D
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

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What an experiment makes at the first batch of a step and needs for the later ones too.

        A lens that it trains, say.
        """
        if name not in self._made:
            self._made[name] = make()
        return cast("T", self._made[name])
