"""Which models are seeds of one another, by the table of models."""

from pathlib import Path

import pandas as pd
import pytest

import pythia_traj as pt
from pythia_traj.analysis.comparison.sides import Side, are_seeds


def of(*names):
    table = pt.published_models().astype(object)
    facts = {row["model"]: row for row in table.to_dict("records")}
    return [
        Side(Path("run"), name, name, pd.DataFrame(), {}, facts.get(name, {})) for name in names
    ]


@pytest.mark.parametrize(
    ("names", "are"),
    [
        (("pythia-14m-seed1", "pythia-14m-seed2", "pythia-14m-seed3"), True),
        (("pythia-14m", "pythia-14m-seed1", "pythia-14m-seed2"), True),
        (("pythia-160m-data-seed1", "pythia-160m-weight-seed1", "pythia-160m-seed1"), True),
        (("pythia-14m-seed1", "pythia-14m-seed2", "pythia-31m-seed1"), False),
        (("pythia-160m", "pythia-160m-deduped"), False),
        (("pythia-14m-seed1",), False),
        (("a directory", "another"), False),
    ],
)
def test_models_are_seeds_where_they_differ_in_nothing_else(names, are):
    assert are_seeds(of(*names)) is are
