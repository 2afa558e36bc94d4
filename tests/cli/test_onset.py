"""`onset`: the table, its sentences, its document, and what it refuses."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

import pythia_traj as pt
from pythia_traj.analysis.onsets.run import surely_rising
from tests.sweeps.planted import plant, ramp, write_experiment

STEPS = "log:18"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    root = tmp_path_factory.mktemp("onset")
    (root / "suite").mkdir()
    suite, experiment = plant(root / "suite", ramp(8.0)), write_experiment(root)
    pt.sweep(
        pt.SweepConfig(
            model=str(suite),
            steps=STEPS,
            device="cpu",
            experiments={"planted": {"use": str(experiment)}},
            out=root / "run",
        )
    )
    return root / "run"


def document(cli, *arguments):
    code, out, err = cli("onset", *arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_its_table_names_each_trajectory_with_its_interval(cli, run, monkeypatch):
    code, out, err = cli("onset", run)
    assert (code, err) == (0, "")
    (height,) = (line.split() for line in out.splitlines() if line.startswith("height "))
    assert height == ["height", "onset", "250.2", "128..512"]
    assert "flat: no rise was found among 24 items" in out
    assert "not that of seeds" in out.replace("\n", " ")
    monkeypatch.setenv("COLUMNS", "150")
    _, wide, _ = cli("onset", run)
    assert wide.split()[:6] == ["trajectory", "status", "step", "interval", "bracket", "base"]


def test_its_document_is_the_librarys(cli, run):
    (found,) = document(cli, run, "planted.height")
    rows = pt.load(run, metric="height")
    items = pt.load(run, table="items", metric="height")
    (expected,) = pt.onset(rows, items).to_dict("records")
    for name in ("status", "low", "high", "bracket_low", "bracket_high", "step", "words", "p"):
        assert found[name] == expected[name], name
    assert found["low"] <= 2**8 - 1 <= found["high"]
    assert found["name"] == "height"
    assert found["q"] is None
    assert found["crossings"] == [list(pair) for pair in expected["crossings"]]


def test_heads_that_do_not_surely_rise_are_listed_on_demand(cli, run):
    assert [row["head"] for row in document(cli, run, "share")] == [1, 2]
    assert [row["head"] for row in document(cli, run, "share", "--all-heads")] == [0, 1, 2]
    assert "1 head without a rise or fall that is sure" in cli("onset", run, "share")[1]


def test_heads_are_the_same_whatever_the_method_and_none_without_a_test(cli, run):
    for method in ("threshold:0.3", "ramp", "half"):
        options = ("--method", method, "--draws", "100")
        assert [row["head"] for row in document(cli, run, "share", *options)] == [1, 2]
    table = pd.DataFrame({"head": [0, 1, None], "q": [np.nan, 0.01, np.nan]})
    assert list(surely_rising(table)["q"].isna()) == [False, True]


def test_metrics_whose_items_are_not_at_all_steps_are_listed_by_name_alone(cli, run, tmp_path):
    some = tmp_path / "run"
    shutil.copytree(run, some)
    next((some / "tables" / "items").rglob("step-000512.parquet")).unlink()
    code, out, err = cli("onset", some)
    assert (code, err) == (0, "")
    assert out == "no metric keeps items at all of its steps: name a metric, for its bracket\n"
    (found,) = document(cli, some, "height")
    assert (found["flags"], found["status"]) == ("no_items", "unsure")


def test_a_threshold_and_other_methods_are_taken_at_their_word(cli, run):
    (found,) = document(cli, run, "height", "--method", "threshold:0.9")
    assert found["level"] == 0.9
    assert found["step_at_0.75"] < found["step"]
    assert found["p"] is None
    (other,) = document(cli, run, "height", "--method", "half_max", "--draws", "100")
    assert other["level"] is None
    (down,) = document(cli, run, "height", "--direction", "down")
    assert (down["status"], down["direction"]) == ("none", "down")
    (floored,) = document(cli, run, "height", "--floor", "-1")
    assert floored["base"] == -1


def test_it_says_which_came_first(cli, run):
    code, out, err = cli("onset", run, "share", "--order")
    assert (code, err) == (0, "")
    assert "L1H1" in out
    (row,) = document(cli, run, "share", "--order")
    assert {row["a"], row["b"]} == {"L1H1", "L1H2"}
    assert row["before"] + row["tied"] + row["after"] + row["undetermined"] == pytest.approx(1)
    assert len(document(cli, run, "share", "--order", "--all-heads")) == 3


def test_a_metric_without_items_has_a_bracket_and_is_said_to_have_no_interval(cli, run):
    (found,) = document(cli, run, "mean_only")
    assert (found["status"], found["flags"], found["low"]) == ("unsure", "no_items", None)
    assert "a bracket alone" in found["words"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("heigth",), "has no metric 'heigth': did you mean height?"),
        (("planted",), "'planted' is a label or an experiment: give a metric, planted."),
        (("lost.height",), "has no 'lost.height': did you mean planted.height?"),
        (("height", "--method", "hlaf"), "unknown method 'hlaf': did you mean half"),
        (("height", "--direction", "sideways"), "unknown direction 'sideways'"),
        (("height", "--draws", "5"), "at least 100"),
        (("height", "--order"), "1 trajectories: an order is of 2 to 50"),
        (("height", "--order", "--method", "ramp"), "the order of onsets is by half or threshold"),
        (("height", "--model", "other"), "other"),
        (("mean_only", "--order"), "keeps no items"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(cli, run, arguments, said):
    code, out, err = cli("onset", run, *arguments)
    assert (code, out) == (1, "")
    assert said in err
    assert err.count("\n") == 1


def test_what_is_not_a_run_is_refused(cli, tmp_path):
    code, _, err = cli("onset", tmp_path)
    assert code == 1
    assert "not a run directory" in err
