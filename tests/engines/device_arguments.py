"""Arguments for engines on any device, with the same shapes on all: a small model, runs of it,
questions, and plain tensors.
"""

import warnings
from dataclasses import dataclass, field
from functools import cache, cached_property

import numpy as np
import torch
from torch import Tensor
from transformer_lens import HookedTransformer, HookedTransformerConfig

from pythia_traj.engines.ablation import Components
from pythia_traj.engines.edges import Graph, Twins
from pythia_traj.engines.kept import KeptPass, Question, keep_pass

LAYERS, HEADS, WIDTH, D_HEAD, VOCABULARY = 3, 2, 16, 8, 50
ITEMS, LENGTH = 3, 6

HEAD, OTHER_HEAD, TWO_HEADS = (
    Components(frozenset(heads)) for heads in ({(0, 1)}, {(1, 0)}, {(0, 0), (1, 1)})
)
MLP, HEAD_AND_MLP = (
    Components(mlps=frozenset({1})),
    Components(frozenset({(1, 0)}), frozenset({1, 2})),
)


@cache
def built(parallel: bool, seed: int) -> HookedTransformer:
    """Parallel and with LayerNorms' gains as Pythia is, or neither; random, and on the CPU."""
    config = HookedTransformerConfig(
        n_layers=LAYERS, d_model=WIDTH, n_ctx=32, d_head=D_HEAD, n_heads=HEADS, d_mlp=32,
        d_vocab=VOCABULARY, act_fn="gelu",
        normalization_type="LN" if parallel else "LNPre", parallel_attn_mlp=parallel,
        positional_embedding_type="rotary", rotary_dim=4, seed=seed, device="cpu",
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return HookedTransformer(config, move_to_device=False).eval()


@dataclass
class Arguments:
    """What cases ask for."""

    device: torch.device
    parallel: bool
    _generator: torch.Generator = field(default_factory=lambda: torch.Generator().manual_seed(0))

    def floats(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self._generator).to(self.device)

    def ints(self, high: int, *shape: int) -> Tensor:
        return torch.randint(0, high, shape, generator=self._generator).to(self.device)

    def bools(self, *shape: int) -> Tensor:
        return self.ints(2, *shape).bool()

    def log_p(self, *shape: int) -> Tensor:
        return self.floats(*shape).log_softmax(-1)

    def array(self, *shape: int) -> np.ndarray:
        return np.random.default_rng(0).normal(size=shape)

    def on(self, values: list) -> Tensor:
        return torch.tensor(values).to(self.device)

    def _model(self, seed: int) -> HookedTransformer:
        model = built(self.parallel, seed)
        if self.device.type == "cpu":
            return model
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            away = HookedTransformer(
                {**model.cfg.to_dict(), "device": str(self.device)}, move_to_device=False
            )
        return torch.nn.Module.to(away, self.device).eval()

    @cached_property
    def model(self) -> HookedTransformer:
        return self._model(0)

    @cached_property
    def other_model(self) -> HookedTransformer:
        return self._model(1)

    @property
    def pattern(self) -> Tensor:
        return self.floats(ITEMS, HEADS, LENGTH, LENGTH).softmax(-1)

    @property
    def tokens(self) -> Tensor:
        return self.ints(VOCABULARY, ITEMS, LENGTH)

    @cached_property
    def base(self) -> KeptPass:
        return self.run()

    @cached_property
    def source(self) -> KeptPass:
        return self.run()

    def run(self) -> KeptPass:
        model = self.model
        with torch.inference_mode():
            return keep_pass(model, self.tokens, patterns=True)

    def question(self, *reads: int) -> Question:
        reads = reads or (3, 5)
        shape = (ITEMS, len(reads), 2)
        return Question(
            self.on(list(reads)),
            self.ints(VOCABULARY, *shape),
            self.on([True, False]).expand(shape),
        )

    @property
    def twins(self) -> list[Twins]:
        return [Twins(self.tokens, self.tokens, self.question())]

    @property
    def graph(self) -> Graph:
        return Graph.of(self.model)

    def edge_set(self) -> Tensor:
        """On the CPU, as circuits are wherever the model is."""
        exists = self.graph.exists()
        return exists & (torch.rand(exists.shape, generator=torch.Generator().manual_seed(0)) < 0.7)

    def factors(self, heads: int = HEADS) -> tuple[Tensor, Tensor]:
        return self.floats(heads, WIDTH, D_HEAD), self.floats(heads, D_HEAD, WIDTH)
