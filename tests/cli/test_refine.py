"""`sweep --refine` as a user meets it: what it prints, what it refuses."""

import json

import pytest

from tests.sweeps.planted import plant, ramp, write_experiment


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    return plant(folder / "toy", ramp(11.3)), write_experiment(folder)


def arguments(planted, out, *more):
    suite, experiment = planted
    given = ("--model", suite, "--experiment", experiment, "--out", out, "--device", "cpu")
    return ("sweep", *given, *more)


def test_it_says_the_onset_why_it_ended_and_what_it_can_have_missed(cli, planted, tmp_path):
    out = tmp_path / "run"
    code, said, _ = cli(*arguments(planted, out, "--refine", "planted.share"))
    assert code == 0
    assert "toy: planted.share (two_halves, layer 1, head 1)" in said
    assert "the greatest sure rise of 3" in said
    assert "onset: step 2" in said
    assert "95 % interval 2000..3000" in said
    assert "bracket 2000..3000" in said
    assert "of 154 steps measured; it ended because the bracket is one published interval" in said
    assert "it can have missed a second crossing, or a dip, between measured steps" in said
    assert "choices: " in said
    assert "0 failed; Parquet: " in said
    repeated = cli(*arguments(planted, out, "--refine", "planted.share"))[1]
    assert repeated.splitlines()[:-1] == said.splitlines()[:-1]
    assert repeated.splitlines()[-1].startswith("0 done, ")


def test_json_has_all_of_it(cli, planted, tmp_path):
    more = ("--refine", "planted.height", "--budget", 13, "--json")
    code, said, _ = cli(*arguments(planted, tmp_path / "run", *more))
    assert code == 0
    document = json.loads(said)
    (found,) = document["refined"]
    assert (found["label"], found["metric"], found["published"]) == ("planted", "height", 154)
    assert len(found["steps"]) == len(document["done"]) == 13
    assert found["onset"]["bracket_low"] == 2000
    assert found["end"] == "budget"
    assert found["gaps"][0]["unmeasured"] >= 1


def test_a_dry_run_says_the_first_round_and_the_most_it_can_cost(cli, planted, tmp_path):
    more = ("--refine", "planted.height", "--budget", 20, "--dry-run")
    code, said, _ = cli(*arguments(planted, tmp_path / "run", *more))
    assert code == 0
    assert "toy: 154 steps to choose from, 0 of them measured already" in said
    assert "first: 0, 2, 8, " in said
    assert "at most 20 more steps, " in said
    document = json.loads(cli(*arguments(planted, tmp_path / "run", *more, "--json"))[1])
    assert document["refine"][0]["most"] == 20
    assert not (tmp_path / "run").exists()


def test_a_dry_run_counts_passes_of_experiments_that_state_their_cost(cli, planted, tmp_path):
    suite, _ = planted
    command = ("sweep", "--model", suite, "--experiment", "induction", "--out", tmp_path / "run")
    small = ("--set", "induction.length=20", "--set", "induction.n=8", "--device", "cpu")
    code, said, _ = cli(*command, *small, "--refine", "induction.nll", "--dry-run")
    assert code == 0
    # 8 sequences and their shuffled twins, two_halves and olsson, at 30 steps.
    assert "induction: at most 960 forward passes" in said


def test_of_the_steps_given_some_are_chosen(cli, planted, tmp_path):
    more = ("--refine", "planted.height", "--steps", "early", "--dry-run", "--json")
    document = json.loads(cli(*arguments(planted, tmp_path / "run", *more))[1])
    assert document["refine"][0]["published"][-1] == 512


REFUSED = {
    "budget alone": (("--steps", "0", "--budget", 20), "--budget belongs to a search"),
    "where alone": (("--steps", "0", "--refine-where", "head=1"), "--refine-where belongs to"),
    "small budget": (("--refine", "planted.height", "--budget", 11), "at least 12"),
    "recorded": (("--refine", "planted.height", "--record-only"), "leave one of them out"),
    "unknown label": (("--refine", "plonted.height"), "did you mean planted?"),
    "unknown metric": (("--refine", "planted.heigt"), "did you mean height?"),
    "unknown column": (
        ("--refine", "planted.share", "--refine-where", "heads=1"),
        "did you mean head?",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_meant_is_refused_in_one_line(name, cli, planted, tmp_path):
    options, message = REFUSED[name]
    code, _, error = cli(*arguments(planted, tmp_path / "run", *options))
    assert code == 1
    assert message in error
    assert error.count("\n") == 1


def test_submit_has_no_such_option(cli, planted, tmp_path):
    command = arguments(planted, tmp_path / "run", "--steps", "all", "--refine", "planted.height")
    code, _, error = cli("submit", *command[1:])
    assert code == 2
    assert "No such option" in error
