"""`describe`: what of a run there is to ask for, as tables or as a document; and that the examples
of it and of `load` work as they are shown.
"""

import json
import re
from pathlib import Path

import pytest

import pythia_traj as pt
from pythia_traj.cli.describe import describe


@pytest.fixture(scope="module")
def run(suite, tmp_path_factory):
    out = tmp_path_factory.mktemp("describe") / "run"
    experiments = {
        "induction": {"n": 2, "length": 10},
        "short": {"use": "loss", "length": 16, "n": 2},
    }
    pt.sweep(
        pt.SweepConfig(
            model=str(suite), steps="0,4", device="cpu", experiments=experiments, out=out
        )
    )
    return out


def test_it_prints_what_can_stand_in_a_filter(cli, run):
    code, out, err = cli("describe", run)
    assert (code, err) == (0, "")
    titles = [line for line in out.splitlines() if "model tiny; 2 steps from 0 to 4" in line]
    assert [title.partition(" (")[0] for title in titles] == ["induction", "short"]
    assert "short (experiment loss, version " in titles[1]
    for word in ("prefix_matching", "two_halves", "control: None, shuffled", "items", "models"):
        assert word in out


def test_its_document_is_the_librarys(cli, run):
    code, out, err = cli("describe", run, "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert document == pt.describe(run).as_json()
    metric = next(one for one in document["metrics"] if one["metric"] == "prefix_matching")
    assert metric["control"] == [None, "shuffled"]
    assert (metric["steps"], metric["layers"], metric["heads"]) == (2, [0, 1], [0, 3])
    one = next(one for one in document["combinations"] if one["metric"] == "prefix_matching")
    assert one["part"] is None
    assert ("models", "n_layers") in {(one["table"], one["column"]) for one in document["tables"]}


def test_a_damaged_file_is_a_warning_and_a_run_that_is_none_an_error(cli, run, tmp_path):
    code, out, err = cli("describe", tmp_path)
    assert (code, out) == (1, "")
    assert err == f"error: {tmp_path} is not a run directory: it has no run.json\n"
    path = next((run / "metrics").rglob("step-000000.parquet"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    try:
        code, _, err = cli("describe", run)
    finally:
        path.write_bytes(whole)
    assert code == 0
    assert err.startswith("warning: left out 1 damaged file: metrics/model=tiny/")
    assert err.count("\n") == 1


CALL = re.compile(r"\b(?:load|describe)\((?:RUN|\"runs/induction\")[^()]*\)")
"""A reading of a run whose path stands for the one that is read here."""


def examples():
    """What docstrings, the help and the README show."""
    readme = Path(__file__).parents[2] / "README.md"
    texts = (pt.__doc__, pt.load.__doc__, pt.describe.__doc__, describe.__doc__, readme.read_text())
    return sorted({call for text in texts for call in CALL.findall(text)})


@pytest.mark.parametrize("call", examples())
def test_an_example_works_as_it_is_shown(run, call):
    call = call.replace('"runs/induction"', "RUN")
    found = eval(call, {"RUN": run, "load": pt.load, "describe": pt.describe})
    assert len(found if call.startswith("load") else found.metrics)


def test_the_examples_are_found():
    calls = examples()
    assert len(calls) >= 6
    for word in ("describe(", "control=", "variant=", 'table="items"', 'table="models"'):
        assert any(word in call for call in calls), word
