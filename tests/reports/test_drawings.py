"""Which figures a page has of which rows."""

import pandas as pd

from pythia_traj.discovery import discover
from pythia_traj.reports.drawings import ORDER, sections_of


def drawing(sections, experiment, heading):
    (section,) = [one for one in sections if one.experiment == experiment]
    return next(one for one in section.drawings if one.heading == heading)


def test_the_order_names_experiments_that_there_are_and_others_follow(rows):
    assert set(ORDER) <= set(discover())
    mine = rows[rows["metric"] == "nll"].astype(object)
    both = pd.concat([mine.assign(experiment=name) for name in ("a_new_one", "weights", "loss")])
    assert [one.experiment for one in sections_of(both)] == ["loss", "weights", "a_new_one"]


def test_lines_of_all_models_share_a_figure_and_maps_have_one_each(two_models):
    sections = sections_of(two_models)
    assert [section.experiment for section in sections] == ["loss", "induction"]
    loss = drawing(sections, "loss", "Loss on text")
    assert [panel.of for panel in loss.panels] == [""]
    maps = drawing(sections, "induction", "Prefix matching of every head")
    assert [panel.of for panel in maps.panels] == ["pythia-70m", "pythia-160m"]
    models = [panel.figure.data[1].meta["model"] for panel in maps.panels]
    assert models == ["pythia-70m", "pythia-160m"]


def test_labels_of_one_experiment_stand_in_one_section_which_names_them(rows_of):
    rows = pd.concat(
        [
            rows_of(labels=labels, steps=(0, 512)).astype(object)
            for labels in (("a", "b"), ("c", "d"))
        ]
    )
    sections = sections_of(rows)
    assert [section.labels for section in sections] == [("a", "c"), ("b", "d")]
    maps = drawing(sections, "induction", "Prefix matching of every head")
    assert [panel.of for panel in maps.panels] == ["b", "d"]


def test_what_has_no_value_says_why_and_what_has_no_rows_is_left_out(rows):
    sections = sections_of(rows.assign(value=float("nan"), reason="too short"))
    (panel,) = drawing(sections, "loss", "Loss on text").panels
    assert panel.figure is None
    assert panel.reason == "nll: no value, too short (68 rows)"
    only = sections_of(rows[rows["metric"] == "accuracy"])
    assert [one.heading for one in only[0].drawings] == ["Accuracy on text"]


def test_an_experiment_of_a_users_file_has_a_figure_for_each_metric(rows):
    mine = rows[rows["metric"].isin(["nll", "accuracy"]) & rows["position"].isna()].astype(object)
    sections = sections_of(pd.concat([rows.astype(object), mine.assign(experiment="mine")]))
    assert [section.experiment for section in sections] == ["loss", "induction", "mine"]
    assert {one.heading for one in sections[-1].drawings} == {"nll", "accuracy"}


def test_maps_beside_each_other_have_one_range_of_steps(rows_of):
    early, late = rows_of(models=("early",), steps=(0, 512)), rows_of(models=("late",))
    sections = sections_of(pd.concat([early.astype(object), late.astype(object)]))
    maps = drawing(sections, "induction", "Prefix matching of every head")
    ranges = {tuple(panel.figure.layout.xaxis.range) for panel in maps.panels}
    assert len(ranges) == 1
    assert ranges.pop()[1] > 17
