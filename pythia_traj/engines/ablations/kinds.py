"""The kinds of ablation.

- `zero`: replaced by zeros. What folding moved out of a head stays: b_V (`fold_value_biases`), and
  W_V times the bias of the LayerNorm that it reads through (`fold_ln`).
- `mean`: by its mean over items and positions.
- `positional_mean`: by its mean over items at the same position.
- `resample`: by what it is in the corrupted prompt of the same item.
- `pattern_preserving`: by zeros, all attention patterns of later layers frozen to those of the
  clean prompt (Olsson et al. 2022); the same stays.
- `direct`: as `resample`, but only along the path to the logits: nothing in between sees it.
"""

from pythia_traj.engines.ablation import Replacement, outputs, zeros
from pythia_traj.engines.ablations.kind import AblationKind, Sources


def _zeros(sources: Sources) -> Replacement:
    return zeros(sources.clean)


def _mean(sources: Sources) -> Replacement:
    return sources.means(by_position=False).replacement(sources.clean)


def _positional_mean(sources: Sources) -> Replacement:
    return sources.means(by_position=True).replacement(sources.clean)


def _corrupted(sources: Sources) -> Replacement:
    return outputs(sources.corrupted())


KIND = (
    AblationKind("zero", _zeros),
    AblationKind("mean", _mean, passes=2),
    AblationKind("positional_mean", _positional_mean, passes=2),
    AblationKind("resample", _corrupted, passes=2),
    AblationKind("pattern_preserving", _zeros, frozen_patterns=True),
    AblationKind("direct", _corrupted, passes=2, direct=True),
)
