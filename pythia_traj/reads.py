"""What an experiment reads of a forward pass, how it receives it, and which models have it."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

if TYPE_CHECKING:
    from torch import Tensor
    from transformer_lens import HookedTransformer

OUTPUT_READS = ("loss", "correct", "final")
"""What can be read from the output.

The NLL of each next token in nats, whether the model's first choice was right, and the source of
both, the residual stream after the last layer.
"""

ACTIVATION_READS = (
    "resid_pre", "resid_mid", "resid_post", "attn_out", "mlp_out", "q", "k", "v", "z", "pattern",
    "attn_scores", "pre", "post",
)  # fmt: skip
"""What can be read from every layer, by TransformerLens's short names.

A single layer is read by the name of its hook, `blocks.3.hook_resid_post`.
"""

Reads = tuple[str, ...] | Callable[..., tuple[str, ...]]
"""What an experiment reads; a function of its parameters by name if they decide."""

_HOOK = re.compile(r"blocks\.(\d+)\.\w.*")

D = TypeVar("D")
T = TypeVar("T")


def layer_of(read: str) -> int | None:
    """The layer of a read that names one hook; None for other reads."""
    hook = _HOOK.fullmatch(read)
    return int(hook[1]) if hook else None


def hooks_of(read: str, n_layers: int) -> list[str]:
    """The hooks of a read of ACTIVATION_READS, one for each layer.

    The name of a single hook gives that hook.
    """
    if layer_of(read) is not None:
        return [read]
    from transformer_lens.utilities import get_act_name

    return [get_act_name(read, layer) for layer in range(n_layers)]


def unknown(reads: tuple[str, ...]) -> list[str]:
    """The reads that are unknown."""
    known = (*ACTIVATION_READS, *OUTPUT_READS)
    return sorted(read for read in reads if read not in known and layer_of(read) is None)


@dataclass(frozen=True)
class Activations(Generic[D]):
    """The results of one forward pass over a batch, for the experiments that asked for them.

    Attributes:
        model: for its weights at this step; the pass itself is done.
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
        """The places of the batch's items in their group."""
        return slice(self.first, self.first + len(self.tokens))

    def output(self, name: str) -> "Tensor":
        """`loss` or `correct`: [batch, pos - 1]; entry i belongs to the predicted token i + 1.

        `final`: [batch, pos, d_model].
        """
        return self._kept[name]

    def layers(self, name: str) -> "list[Tensor]":
        """An activation of every layer.

        Each `pattern`, for example, is [batch, head_index, query_pos, key_pos].
        """
        return [self._kept[hook] for hook in hooks_of(name, self.model.cfg.n_layers)]

    def hooked(self, hook: str) -> "Tensor":
        """An activation by the name of its hook, such as `blocks.3.hook_resid_post`."""
        return self._kept[hook]

    def once(self, name: str, make: Callable[[], T]) -> T:
        """A value that an experiment makes at a step's first batch and needs for later batches.

        For example a lens that it trains.
        """
        if name not in self._made:
            self._made[name] = make()
        return cast("T", self._made[name])


@dataclass(frozen=True)
class Shape:
    """What is known of a model before any of its weights.

    Attributes:
        element_size: bytes of one of its numbers.
        hooks: the names of its hooks, such as `blocks.3.hook_resid_post`.
    """

    n_layers: int
    n_heads: int
    d_model: int
    d_head: int
    d_mlp: int
    element_size: int
    hooks: frozenset[str] = field(repr=False)

    def bytes_per_item(self, length: int, reads: Iterable[str] = ()) -> int:
        """The memory that counts for the activations of one sequence of a shared pass.

        Attention patterns and two streams of all layers, read or not. Where what is read is more,
        that, and what a layer makes on its way.
        """
        usual = self.n_layers * length * (self.n_heads * length + 2 * self.d_model)
        names = (name for name in reads if name not in OUTPUT_READS)
        hooks = {hook for name in names for hook in hooks_of(name, self.n_layers)}
        kept = sum(self._entries(hook.rpartition(".hook_")[2], length) for hook in hooks)
        # Scores, the same masked, and the pattern; before and after the non-linearity; the stream
        # normalised, q, k, v, both rotated, z and what is added to the stream.
        widths = 3 * self.n_heads * length, 2 * self.d_mlp, 8 * self.d_model
        on_its_way = length * sum(widths)
        return 4 * (usual if kept <= usual else kept + on_its_way)

    def _entries(self, site: str, length: int) -> int:
        """How many numbers of one sequence an activation of one layer holds."""
        heads = self.n_heads * length
        widths = {
            **dict.fromkeys(("q", "k", "v", "z", "rot_q", "rot_k"), heads * self.d_head),
            **dict.fromkeys(("pattern", "attn_scores"), heads * length),
            **dict.fromkeys(("pre", "post"), self.d_mlp * length),
            **dict.fromkeys(("result", "q_input", "k_input", "v_input"), heads * self.d_model),
        }
        return widths.get(site, self.d_model * length)

    @classmethod
    def of(cls, model: "HookedTransformer") -> "Shape":
        """That of a model with its weights."""
        cfg, hooks = model.cfg, frozenset(model.hook_dict)
        sizes = cfg.n_layers, cfg.n_heads, cfg.d_model, cfg.d_head, int(cfg.d_mlp or 0)
        return cls(*sizes, element_size=model.W_E.element_size(), hooks=hooks)

    def has(self, site: str) -> bool:
        """Whether its layers have an activation, by TransformerLens's short name."""
        return hooks_of(site, 1)[0] in self.hooks
