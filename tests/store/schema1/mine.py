"""An experiment of a user's, as version 0.1.0 of pythia-traj ran it."""

from transformer_lens import HookedTransformer

from pythia_traj.data.repeated import RepeatedTokens
from pythia_traj.experiment import experiment
from pythia_traj.values import Key, Rows


@experiment(version=3, data=RepeatedTokens, items=True)
def mine(model: HookedTransformer, data: RepeatedTokens, *, length: int = 5, n: int = 2) -> Rows:
    """Words as users wrote them: several things in one column."""
    rows = Rows()
    norm = float(model.W_E.norm())
    is_trained = norm > 10
    for i, variant in enumerate(
        (
            None,
            "corrupted",
            "step:512",
            "null:shuffled",
            "null:shuffled:kind",
            "null:own:a:b",
            "null",
        )
    ):
        rows.add_items(Key("norm", variant=variant), [norm + i, norm - i])
    # Some of these are there at some steps only.
    dims = ("a_b", "a:b", "a:b_2", "low", "7") if is_trained else ("a:b", "low", "7")
    for i, dim in enumerate(dims):
        rows.add_items(
            Key("norm", variant="dims", component="site:1", layer=1, dim=dim), [norm * i]
        )
    rows.add(Key("norm", variant="dims", component="site:1", layer=0, dim="a:b"), norm, n=3)
    rows.undefined(Key("ratio", dim="7"), "0 is no denominator")
    rows.table(
        "found",
        {
            "experiment": ["first", "second"],
            "label": [1, 2],
            "label_": [0.5, 0.25],
            "word": ["x", "y"] if is_trained else [None, None],
            "numbers": [[1, 2], []] if is_trained else [[], []],
            "nothing": [None, None],
        },
    )
    rows.table("empty", {"word": ["x"] if is_trained else []})
    return rows
