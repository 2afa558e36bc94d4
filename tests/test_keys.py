"""A key says one thing in one column."""

import numpy as np
import pytest

from pythia_traj.store.tables import UnitId, metrics_table
from pythia_traj.values import Key, Rows


@pytest.mark.parametrize("column", ["variant", "component", "control", "part", "target"])
@pytest.mark.parametrize("word", ["", "null:shuffled", 3])
def test_a_column_holds_one_word(column, word):
    with pytest.raises(ValueError, match=f"nll: {column} .*one thing in one column"):
        Key("nll", **{column: word})


@pytest.mark.parametrize("size", [1.5, "5", True, -1, 2**31])
def test_a_size_is_a_whole_number(size):
    with pytest.raises(ValueError, match="nll: size .*: expected None or 0 to 2147483647"):
        Key("nll", size=size)


def test_what_a_key_may_hold():
    assert Key("nll", part="top2", reference="step:512", size=np.int64(60)).size == 60


@pytest.mark.parametrize("n", [2.7, "2", 2**63])
def test_a_number_of_items_is_never_cut(n):
    rows = Rows()
    rows.add(Key("nll"), 1.0, n=n)
    unit = UnitId("tiny", "loss", "loss", "random", "step0", None, 0, None)
    with pytest.raises(ValueError, match="column 'n': "):
        metrics_table(unit, rows.metrics)
