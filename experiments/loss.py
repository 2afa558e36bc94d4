"""Loss on text: the first curve of every study of training.

Beside the mean stands the loss at each position, from which in-context learning is read (Olsson et al. 2022), and the same on shuffled
tokens: what is left when order says nothing.
"""

from pythia_traj.data.text import TextTokens
from pythia_traj.engines import measures
from pythia_traj.experiment import Activations, Count, experiment
from pythia_traj.values import ItemValues, Key

ICL_TOKENS = (50, 500)
"""The early and the late predicted token of Olsson's in-context learning score."""

ICL_WINDOWS = ((40, 59), (450, 549))
"""The windows of `icl_window`, which averages over neighbours because single tokens are noisy."""


@experiment(version=1, cites="Olsson et al. 2022", data=TextTokens, reads=("loss", "correct"), items=True)
def loss(
    acts: Activations,
    *,
    n: Count = 64,
    length: Count = 550,
    null_n: Count = 16,
    source: str = "stdlib",
    column: str = "text",
    bos: bool = False,
) -> ItemValues:
    """Loss in nats and accuracy on text, per position, with in-context learning scores.

    `nll` and `accuracy` are means over a sequence, then over sequences; with a `position`, over sequences at that predicted token.
    `icl_score` is L[500] - L[50], `icl_window` the mean over 450..549 minus that over 40..59; negative is learning from the context. Both
    are null where sequences are too short: 550 is the shortest length at which both exist. Their standard error is near 4 / sqrt(n).

    Args:
        n: sequences of text.
        length: tokens of a sequence, BOS included.
        null_n: sequences whose tokens are shuffled.
        source: what text: stdlib, a .txt, .jsonl or .parquet file, hf:org/name@commit, hf:DIR.
        column: the column of a table that holds it.
        bos: whether BOS is prepended.
    """
    variant = None if acts.group == "text" else f"null:{acts.group}"
    values = ItemValues()
    nll = acts.output("loss")
    for metric, per_position in (("nll", nll), ("accuracy", acts.output("correct").float())):
        key = Key(metric, variant=variant)
        values.add(key, per_position.mean(-1))
        values.add(key, per_position, axes=("position",), first_position=1)
    early, late = ICL_TOKENS
    for metric, windows in (("icl_score", ((early, early), (late, late))), ("icl_window", ICL_WINDOWS)):
        key = Key(metric, variant=variant)
        needed = windows[1][1] + 1
        if nll.shape[1] + 1 >= needed:
            values.add(key, measures.window_difference(nll, *windows))
        else:
            values.undefined(key, f"context too short: {nll.shape[1] + 1} tokens, {needed} are needed")
    return values
