"""Items that are not independent: onsets take the clusters that a run stores, and say where none
are stored.
"""

import numpy as np
import pandas as pd
import pytest

import pythia_traj as pt
from pythia_traj.analysis.onsets.tables import trajectories_of

STEPS = (0, *(2**i for i in range(12)))
CLUSTERS, EACH = 20, 5
OF_ITEM = np.repeat(np.arange(CLUSTERS), EACH)

ESTIMATES = ["status", "step", "low", "high", "bracket_low", "bracket_high", "level", "p", "flags"]


def values(number=0, n=CLUSTERS, noise=1.0):
    """A rise from 0 to 1 at step 64, seen through independent items [n, step]."""
    rise = 1 / (1 + np.exp(-2 * (np.log2(np.array(STEPS) + 1) - 6)))
    return rise + noise * np.random.default_rng(number).normal(size=(n, len(STEPS)))


def rows_of(*trajectories, clusters=None):
    """Rows of metrics; `clusters` is how many of the items they say are independent."""
    return pd.DataFrame(
        {
            "metric": "m",
            "layer": number,
            "step": step,
            "value": value,
            "n": len(one),
            "clusters": len(one) if clusters is None else clusters,
        }
        for number, one in enumerate(trajectories)
        for step, value in zip(STEPS, one.mean(0), strict=True)
    ).astype({"layer": "Int64", "step": "Int64", "n": "Int64", "clusters": "Int64"})


def items_of(*trajectories, cluster=None, n=1):
    """Their items, as a run stores them: one column of Int64, null where there are no clusters."""
    return pd.DataFrame(
        {
            "metric": "m",
            "layer": number,
            "step": step,
            "item": item,
            "n": n,
            "value": one[item, t],
            "cluster": pd.NA if cluster is None else int(cluster[item]),
        }
        for number, one in enumerate(trajectories)
        for t, step in enumerate(STEPS)
        for item in range(len(one))
    ).astype({"layer": "Int64", "step": "Int64", "item": "Int64", "n": "Int64", "cluster": "Int64"})


def curves_of(rows, items, **options):
    (group,) = trajectories_of(rows, items, **options).groups
    return group.curves


ONE = values()
EQUAL = ONE[OF_ITEM]
"""Each item of ONE five times: 100 items that are worth 20."""


def test_equal_items_of_a_cluster_count_once():
    """The standard error is that of the clusters, and not sqrt(99 / 19) times too small."""
    clustered = curves_of(rows_of(EQUAL), items_of(EQUAL, cluster=OF_ITEM))
    alone = curves_of(rows_of(ONE), items_of(ONE))
    naive = curves_of(rows_of(EQUAL), items_of(EQUAL))
    assert (clustered.n, clustered.clusters, naive.clusters) == (100, 20, 100)
    errors = {
        name: curves.standard_error(curves.sums)
        for name, curves in (("clustered", clustered), ("alone", alone), ("naive", naive))
    }
    assert errors["clustered"] == pytest.approx(errors["alone"], rel=1e-12)
    assert errors["alone"] == pytest.approx(np.std(ONE, 0, ddof=1)[None] / 20**0.5, rel=1e-12)
    assert errors["naive"] == pytest.approx(errors["alone"] * (19 / 99) ** 0.5, rel=1e-12)


def test_the_onset_of_equal_items_is_that_of_the_clusters():
    found = pt.onset(rows_of(EQUAL), items_of(EQUAL, cluster=OF_ITEM)).iloc[0]
    alone = pt.onset(rows_of(ONE), items_of(ONE)).iloc[0]
    naive = pt.onset(rows_of(EQUAL), items_of(EQUAL)).iloc[0]
    assert (found.n, found.clusters, alone.n, alone.clusters) == (100, 20, 20, 20)
    assert found.status == "onset"
    for name in ESTIMATES:
        same = found[name] == alone[name] or found[name] == pytest.approx(alone[name], rel=1e-9)
        assert same, name
    assert "100 items in 20 clusters" in found.words
    assert (naive.low, naive.high) != (found.low, found.high)
    assert found.low <= naive.low < naive.high <= found.high


def share_that_hold(found, onset):
    low, high = found.low.astype(float).fillna(-1), found.high.astype(float).fillna(np.inf)
    return ((low <= onset) & (onset <= high)).mean()


@pytest.mark.slow
def test_intervals_of_clusters_hold_the_onset_and_those_of_items_do_not():
    """Of 200 curves with 20 clusters of 5 equal items; the rise is half done at x = 6."""
    curves = [values(number, noise=2.0)[OF_ITEM] for number in range(200)]
    rows = rows_of(*curves)
    clustered = pt.onset(rows, items_of(*curves, cluster=OF_ITEM), threshold=0.5)
    naive = pt.onset(rows, items_of(*curves), threshold=0.5)
    assert share_that_hold(clustered, 63) >= 0.93
    assert share_that_hold(naive, 63) <= 0.85


def test_the_stored_clusters_are_those_given_by_hand():
    rows, stored = rows_of(EQUAL), items_of(EQUAL, cluster=OF_ITEM)
    bare = stored.drop(columns="cluster").assign(noun=[f"noun {i}" for i in stored.cluster])
    found = pt.onset(rows, stored)
    pd.testing.assert_frame_equal(found, pt.onset(rows, stored, cluster="cluster"))
    of_item = {i: int(c) for i, c in enumerate(OF_ITEM)}
    pd.testing.assert_frame_equal(found, pt.onset(rows, bare, cluster=of_item))
    named = pt.onset(rows, bare, cluster="noun").iloc[0]
    assert (named.n, named.clusters) == (100, 20)
    by_hand = pt.onset(rows, stored, cluster={i: i % 10 for i in range(100)}).iloc[0]
    assert by_hand.clusters == 10


def test_items_without_clusters_are_each_one_with_or_without_the_column():
    rows, stored = rows_of(ONE), items_of(ONE)
    found = pt.onset(rows, stored)
    assert (found.clusters.item(), found.unknown_clusters.item()) == (20, 0)
    pd.testing.assert_frame_equal(found, pt.onset(rows, stored.drop(columns="cluster")))


def test_an_item_without_a_cluster_is_none_of_those_with_its_number():
    """The first ten items have no cluster, the others are in clusters 0 to 9."""
    some = values(n=30)
    items = items_of(some, cluster=[0] * 10 + [i // 2 for i in range(20)])
    items.loc[items["item"] < 10, "cluster"] = pd.NA
    curves = curves_of(rows_of(some, clusters=20), items)
    assert sorted(curves.counts) == [1] * 10 + [2] * 10


def test_trajectories_with_and_without_clusters_are_kept_apart():
    both = pd.concat([items_of(EQUAL, cluster=OF_ITEM), items_of(EQUAL).assign(layer=1)])
    other = np.tile(np.arange(CLUSTERS), EACH)
    both = pd.concat([both, items_of(EQUAL, cluster=other).assign(layer=2)])
    found = trajectories_of(rows_of(EQUAL, EQUAL, EQUAL), both.astype({"layer": "Int64"}))
    assert [(group.numbers.tolist(), group.curves.clusters) for group in found.groups] == [
        ([0], 20), ([1], 100), ([2], 20),
    ]  # fmt: skip
    clusters = [group.cluster for group in found.groups]
    assert clusters == [tuple(OF_ITEM), tuple(range(100)), tuple(other)]


@pytest.mark.parametrize("older", [STEPS[:5], STEPS[5:]], ids=["first", "last"])
def test_steps_that_an_older_version_measured_have_the_clusters_of_the_others(older):
    rows, items = rows_of(EQUAL, clusters=20), items_of(EQUAL, cluster=OF_ITEM)
    whole = pt.onset(rows, items)
    items.loc[items.step.isin(older), "cluster"] = pd.NA
    pd.testing.assert_frame_equal(pt.onset(rows, items), whole)
    assert whole.unknown_clusters.item() == 0


def has_flag(found):
    return "clusters_unknown" in found["flags"].split(", ")


GIVE = "name them by cluster= of pythia_traj.onset"
NOT_STORED = "its items are in 20 clusters that are not stored: "


@pytest.mark.parametrize("column", [True, False], ids=["all null", "no column"])
def test_clusters_that_are_counted_and_not_stored_are_a_flag(column):
    rows, items = rows_of(EQUAL, clusters=20), items_of(EQUAL)
    items = items if column else items.drop(columns="cluster")
    found = pt.onset(rows, items).iloc[0]
    assert (has_flag(found), found.unknown_clusters) == (True, 20)
    assert found.words.endswith(f"; {NOT_STORED}the interval is too narrow, {GIVE}")
    given = pt.onset(rows, items, cluster={i: int(c) for i, c in enumerate(OF_ITEM)}).iloc[0]
    assert (has_flag(given), given.unknown_clusters, given.clusters) == (False, 0, 20)
    stored = pt.onset(rows, items_of(EQUAL, cluster=OF_ITEM)).iloc[0]
    assert (has_flag(stored), stored.unknown_clusters) == (False, 0)


def test_the_flag_speaks_of_an_interval_only_where_there_is_one():
    flat = EQUAL * 0 + np.random.default_rng(0).normal(size=EQUAL.shape)
    found = pt.onset(rows_of(flat, clusters=20), items_of(flat)).iloc[0]
    assert found.status == "none"
    assert found.words.endswith(f"; {NOT_STORED}p is too small, {GIVE}")
    few = EQUAL[:7]
    refused = pt.onset(rows_of(few, clusters=2), items_of(few)).iloc[0]
    assert refused.status == "refused"
    assert f"{NOT_STORED.replace('20', '2')}{GIVE}" in refused.words


def test_blocks_are_right_as_they_are():
    """No block divides a cluster, so that rows may count fewer clusters than items."""
    blocks = values(n=16)
    rows, items = rows_of(blocks, clusters=20), items_of(blocks, n=6)
    rows["n"] = 96
    found = pt.onset(rows, items).iloc[0]
    assert (has_flag(found), found.unknown_clusters) == (False, 0)
    assert (found.n, found.clusters) == (96, 16)


def test_a_metric_without_items_or_counts_has_no_such_flag():
    rows = rows_of(EQUAL, clusters=20)
    assert pt.onset(rows)["flags"].item() == "no_items"
    null = rows.assign(clusters=pd.array([pd.NA] * len(rows), "Int64"))
    for counts in (rows.drop(columns=["n", "clusters"]), null):
        assert not has_flag(pt.onset(counts, items_of(EQUAL)).iloc[0])
