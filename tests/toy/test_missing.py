"""A request that wants a toy suite trained: once, and only where it does not exist."""

import subprocess
import sys
from functools import cache, partial

import pytest

from pythia_traj.config import SweepConfig
from pythia_traj.errors import ConfigError, SuiteError
from pythia_traj.sweeps.requests import plan_sweep
from pythia_traj.toy.batches import read_corpus
from pythia_traj.toy.missing import is_missing, train_if_missing
from pythia_traj.toy.recipe import Recipe

SMALL = partial(
    Recipe, steps=2, batch=4, repeats=2, d_model=16, n_layers=1, n_heads=2, d_mlp=32, vocab_size=300
)


corpus = cache(read_corpus)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr("pythia_traj.toy.missing.Recipe", SMALL)
    monkeypatch.setattr("pythia_traj.toy.train.read_corpus", corpus)


def request(folder, seed=3):
    return SweepConfig(
        model=str(folder / "toy"),
        toy_seed=seed,
        steps="all",
        experiments={"loss": {"n": 2, "length": 16, "null_n": 2}},
        out=folder / "run",
    )


def test_it_is_trained_before_the_steps_are_looked_up_and_then_kept(tmp_path):
    plan, _ = plan_sweep(request(tmp_path))
    assert plan.steps == {"toy": (0, 1, 2)}
    assert '"seed": 3' in (tmp_path / "toy" / "suite.json").read_text()
    train_if_missing(request(tmp_path), lambda *_: pytest.fail("it trained again"))
    assert [path.name for path in tmp_path.iterdir()] == ["toy"]


def test_what_trains_is_told_its_steps(tmp_path):
    steps = []
    train_if_missing(request(tmp_path), lambda step, total, loss: steps.append((step, total)))
    assert steps == [(1, 2), (2, 2)]


def test_a_suite_of_another_seed_is_not_taken_for_it(tmp_path):
    train_if_missing(request(tmp_path))
    with pytest.raises(SuiteError, match="toy exists and is a toy suite of another recipe: remove"):
        plan_sweep(request(tmp_path, seed=4))
    with pytest.raises(SuiteError, match="another recipe"):
        plan_sweep(request(tmp_path, seed=4), train=False)


def test_without_a_seed_nothing_is_trained_or_looked_at(tmp_path):
    request_of_others = request(tmp_path, seed=None)
    assert not is_missing(request_of_others)
    train_if_missing(request_of_others)
    assert not list(tmp_path.iterdir())


def test_a_file_may_name_a_directory_that_is_trained_later(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("model: ./later\nsteps: all\nexperiments: loss\nout: run\n")
    with pytest.raises(ConfigError, match=r"a.yaml line 1: model: no such directory: './later'"):
        SweepConfig.from_yaml(file)
    assert is_missing(SweepConfig.from_yaml(file, toy_seed=0))


def test_a_dry_run_trains_nothing_and_says_how_to(tmp_path, cli):
    file = tmp_path / "a.yaml"
    file.write_text("toy_seed: 3\nsteps: all\nexperiments: loss\n")
    toy = tmp_path / "toy"
    words = ("sweep", file, "--model", toy, "--out", tmp_path / "run")
    assert cli(*words, "--dry-run") == (
        1,
        "",
        f"error: the toy suite {toy} does not exist yet, and a dry run trains nothing: first"
        f" pythia-traj toy {toy} --seed 3\n",
    )
    assert list(tmp_path.iterdir()) == [file]
    status, printed, _ = cli(*words, "--record-only")
    assert (status, printed.split(":")[1]) == (0, " 3 to do, 0 already there\n")
    assert cli(*words, "--dry-run")[0] == 0


def test_looking_loads_no_torch():
    code = "import sys, pythia_traj.toy.missing; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_home_directory_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    asked = SweepConfig(model="~/toy", toy_seed=0, steps="0", experiments="loss", out="run")
    train_if_missing(asked)
    assert (tmp_path / "toy" / "suite.json").exists()
    assert not is_missing(asked)
