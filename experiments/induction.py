"""Induction heads: does a head attend to what last followed the current token?

The literature uses one name for different numbers. Each convention is a separate variant here, and
no two are comparable (see docs/experiments.md). Every variant has its control: the same measure
where the tokens after the first copy are shuffled.
"""

from pythia_traj.data.repeated import (
    OLSSON_COPIES,
    OLSSON_LENGTH,
    BoundRepeatedTokens,
    RepeatedTokens,
)
from pythia_traj.engines import heads
from pythia_traj.experiment import Activations, experiment
from pythia_traj.values import ItemValues, Key

_OLSSON_CONTEXT = 1 + OLSSON_COPIES * OLSSON_LENGTH
_OLSSON_VARIANTS = ("olsson_entries", "olsson_query")


@experiment(
    version=2,
    cites="Olsson et al. 2022",
    data=RepeatedTokens(n=50, length=50),
    reads=("pattern", "loss"),
    groups="every",
    items=True,
)
def induction(acts: Activations[BoundRepeatedTokens]) -> ItemValues:
    """Attention paid to the token after the previous occurrence of the current one, per head.

    `prefix_matching` comes in the variants two_halves, olsson_entries, olsson_query,
    detect_head_mul and detect_head_abs; beside it, on the second of two halves, `previous_token`,
    `duplicate_token`, `bos`, `self` and `local` attention. `nll` is the loss on `first_copy` and on
    `second_copy` (`part`): a model that continues what it has seen has a small second one. The
    control `shuffled` has the tokens after the first copy in random order.
    """
    layout, _, shuffled = acts.group.partition("/")
    control = shuffled or None
    values = ItemValues()
    if layout == "two_halves":
        _two_halves(values, acts, control)
        if "olsson" not in acts.data.groups:
            for variant in _OLSSON_VARIANTS:
                key = Key("prefix_matching", variant, "head", control=control)
                values.undefined(
                    key,
                    f"context too short: four copies of {OLSSON_LENGTH} tokens"
                    f" need {_OLSSON_CONTEXT}",
                )
    else:
        _olsson(values, acts, control)
    return values


def _two_halves(
    values: ItemValues, acts: Activations[BoundRepeatedTokens], control: str | None
) -> None:
    length = acts.data.length
    second = acts.data.start + length
    targets = heads.induction_targets(acts.tokens)
    for layer, pattern in enumerate(acts.layers("pattern")):
        measured = {
            ("prefix_matching", "two_halves"): heads.attention_at_offset(
                pattern, length - 1, second
            ),
            ("prefix_matching", "detect_head_mul"): heads.detect_head_mul(pattern, targets),
            ("prefix_matching", "detect_head_abs"): heads.detect_head_abs(pattern, targets),
            ("previous_token", "two_halves"): heads.attention_at_offset(pattern, 1, second),
            ("duplicate_token", "two_halves"): heads.attention_at_offset(pattern, length, second),
            ("bos", "two_halves"): heads.attention_to_first(pattern, second),
            ("self", "two_halves"): heads.attention_at_offset(pattern, 0, second),
            ("local", "two_halves"): heads.attention_in_band(pattern, 2, min(5, second), second),
        }
        for (metric, variant), value in measured.items():
            key = Key(metric, variant, "head", layer, control=control)
            values.add(key, value, axes=("head",))
    # Entry i of the loss belongs to token i + 1; nothing predicts the first token.
    nll = acts.output("loss")
    for part, copy in (
        ("first_copy", nll[:, : second - 1]),
        ("second_copy", nll[:, second - 1 :]),
    ):
        values.add(Key("nll", "two_halves", control=control, part=part), copy.mean(-1))


def _olsson(
    values: ItemValues, acts: Activations[BoundRepeatedTokens], control: str | None
) -> None:
    for layer, pattern in enumerate(acts.layers("pattern")):
        measured = heads.attention_after_earlier_copies(
            pattern, OLSSON_LENGTH, OLSSON_COPIES, start=1
        )
        for variant, value in zip(_OLSSON_VARIANTS, measured, strict=True):
            key = Key("prefix_matching", variant, "head", layer, control=control)
            values.add(key, value, axes=("head",))
