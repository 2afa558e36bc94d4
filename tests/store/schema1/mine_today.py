"""The experiment of mine.py in the words of this version, without its tables."""

from transformer_lens import HookedTransformer

from pythia_traj.data.repeated import BoundRepeatedTokens, RepeatedTokens
from pythia_traj.experiment import experiment
from pythia_traj.values import Key, Rows


@experiment(version=3, data=RepeatedTokens(n=2, length=5), items=True)
def mine(model: HookedTransformer, data: BoundRepeatedTokens) -> Rows:
    """Each word in a column of its own."""
    rows = Rows()
    norm = float(model.W_E.norm())
    is_trained = norm > 10
    keys = (
        Key("norm"),
        Key("norm", variant="corrupted"),
        Key("norm", variant="step_512"),
        Key("norm", control="shuffled"),
        Key("norm", control="shuffled", variant="kind"),
        Key("norm", control="own", variant="a_b"),
        Key("norm", variant="null"),
    )
    for i, key in enumerate(keys):
        rows.add_items(key, [norm + i, norm - i])
    parts = ("a_b", "a_b_2", "a_b_2_2", "low", "7") if is_trained else ("a_b_2", "low", "7")
    for i, part in enumerate(parts):
        key = Key("norm", variant="dims", component="site_1", layer=1, part=part)
        rows.add_items(key, [norm * i])
    key = Key("norm", variant="dims", component="site_1", layer=0, part="a_b_2")
    rows.add(key, norm, n=3)
    rows.undefined(Key("ratio", part="7"), "0 is no denominator")
    return rows
