"""Seeds as one model: the mean of their values with its interval, in the columns of a run."""

import pandas as pd
import pytest

from pythia_traj.analysis.comparison.banded import banded
from pythia_traj.errors import AnalysisError
from tests.analysis.frames import frame, head


def seeds(*values, **columns):
    return [{"model": f"s{i}", "value": value, **columns} for i, value in enumerate(values)]


def test_the_mean_and_its_interval_are_those_of_the_seeds():
    found = banded(frame(*seeds(1.0, 2.0, 6.0), *seeds(0.0, 0.0, 0.0, step=1, tokens=8)))
    first, second = found.to_dict("records")
    assert (first["model"], first["value"], first["n"]) == ("mean of 3 seeds", 3.0, 3)
    # sd = sqrt(7), t with 2 degrees of freedom is 4.3027.
    assert first["high"] - 3.0 == pytest.approx(4.3027 * 7**0.5 / 3**0.5, rel=1e-4)
    assert (second["value"], second["low"], second["high"], second["tokens"]) == (0, 0, 0, 8)


def test_columns_and_their_types_stay_and_a_standard_error_of_items_goes():
    rows = frame(*seeds(1.0, 2.0))
    found = banded(rows)
    assert found.dtypes.map(str).to_dict() == rows.dtypes.map(str).to_dict()
    assert found["stderr"].isna().all()
    assert found["low"].isna().all(), "two seeds have no interval"


def test_tokens_that_differ_at_a_step_are_not_those_of_the_mean():
    rows = frame(*seeds(1.0, tokens=8), {"model": "s9", "value": 2.0, "tokens": 9})
    assert pd.isna(banded(rows)["tokens"]).all()


def test_heads_are_left_out_and_controls_stay_apart():
    of_heads = [head(0, 1, 0.5) | {"model": f"s{i}"} for i in range(2)]
    rows = frame(*seeds(1.0, 3.0), *seeds(5.0, 7.0, control="shuffled"), *of_heads)
    found = banded(rows)
    assert found["value"].to_list() == [2.0, 6.0]
    assert banded(frame(*of_heads)).empty


def test_one_model_is_refused_in_words():
    with pytest.raises(AnalysisError, match="the rows are of 1 model: give those of two or more"):
        banded(frame(*seeds(1.0)))
