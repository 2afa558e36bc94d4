"""How a model is named when it is asked for, and by what two of one name are told apart."""

import json
import os
import shutil
from pathlib import Path

import pytest

import pythia_traj as pt
from pythia_traj.cli.main import main
from pythia_traj.config import SweepConfig
from pythia_traj.errors import SuiteError
from pythia_traj.store.layout import Run
from pythia_traj.stream.published import open_model
from pythia_traj.sweeps.plan import NEW, make_plan

EXPERIMENTS = {"loss": {"length": 32, "n": 2, "null_n": 1}}


@pytest.fixture
def runs(suite, tmp_path, monkeypatch):
    """Two runs whose folders have one name, in the directory at hand."""
    monkeypatch.chdir(tmp_path)
    for seed in (0, 1):
        shutil.copytree(suite / "step0", Path("runs") / f"seed{seed}" / "output" / "step0")
    return Path("runs")


def config(*models, **settings):
    return SweepConfig(
        **{
            "model": list(models),
            "steps": "all",
            "experiments": EXPERIMENTS,
            "out": "out",
            "device": "cpu",
            **settings,
        }
    )


GIVEN = {
    "a name and a path": ("seed0=runs/seed0/output", "hub", "seed0"),
    "a name and a path below the source": ("seed0=seed0/output", "runs", "seed0"),
    "a path alone": ("runs/seed0/output", "hub", "output"),
    "a path below the source alone": ("seed0/output", "runs", "output"),
    "a name with all that one may have": ("A_1.b-c=runs/seed0/output", "hub", "A_1.b-c"),
}


@pytest.mark.parametrize(("asked", "source", "name"), GIVEN.values(), ids=GIVEN)
def test_a_model_is_named_as_it_is_asked_for(runs, asked, source, name):
    for model in (config(asked, source=source).model, config(model=asked, source=source).model):
        assert model == (asked,)
    found = open_model(asked, source)
    assert found.model == name
    assert found.origin == f"directory:{(runs / 'seed0' / 'output').resolve()}"


REFUSED = {
    "a number": ("12=runs/seed0/output", "'12' cannot name a model"),
    "a learning rate": ("1e-3=runs/seed0/output", "'1e-3' cannot name a model"),
    "a truth value": ("true=runs/seed0/output", "'true' cannot name a model"),
    "nothing": ("=runs/seed0/output", "'' cannot name a model"),
    "a space": ("my run=runs/seed0/output", "'my run' cannot name a model"),
    "a dot in front": (".x=runs/seed0/output", "'.x' cannot name a model"),
    "two steps up": ("..=runs/seed0/output", "'..' cannot name a model"),
    "a slash": ("a/b=runs/seed0/output", "'a/b' cannot name a model"),
    "201 letters": ("x" * 201 + "=runs/seed0/output", "cannot name a model"),
    "an escape": ("\x1b[31m=runs/seed0/output", r"'\x1b[31m' cannot name a model"),
    "a directory that is not there": (
        "seed0=runs/seed9",
        "no such directory: 'runs/seed9', to be named 'seed0'",
    ),
    "no directory": ("seed0=", "no such directory: '', to be named 'seed0'"),
    "a published model": (
        "mine=pythia-70m",
        "no such directory: 'pythia-70m', to be named 'mine'",
    ),
    "a NUL": ("seed0=run\0s", "no such directory: 'run\\x00s'"),
    "a path too long": ("seed0=" + "x" * 5000, "no such directory: 'xxx"),
    "a path too long alone": ("x" * 5000, "unknown model 'xxx"),
}


@pytest.mark.parametrize(("asked", "said"), REFUSED.values(), ids=REFUSED)
def test_a_name_that_cannot_be_one_is_refused(runs, asked, said):
    with pytest.raises(SuiteError) as refusal:
        open_model(asked)
    assert said in str(refusal.value)


def test_both_runs_are_measured_into_one_directory_under_their_names(runs):
    pt.sweep(config("seed0=runs/seed0/output", "seed1=runs/seed1/output"))
    assert set(pt.load("out").model) == {"seed0", "seed1"}
    (found,) = pt.checkpoints("seed0=runs/seed0/output", device="cpu")
    assert found.step == 0


def test_on_the_command_line_and_in_a_file(runs, capsys):
    Path("request.yaml").write_text(
        "model: seed0=runs/seed0/output\nsteps: all\nexperiments: {weights: {}}\n"
    )
    with pytest.raises(SystemExit) as end:
        main(["sweep", "request.yaml", "--out", "out", "--device", "cpu", "--json"])
    assert end.value.code == 0
    assert json.loads(capsys.readouterr().out)["done"] == ["seed0/weights/step0"]
    with pytest.raises(SystemExit):
        main(["steps", "seed0=runs/seed0/output"])
    assert "step0" in capsys.readouterr().out


class Named:
    """A published model of which the name alone is asked."""

    suite, tokens_per_step, steps = "s", None, (0,)

    def __init__(self, model, origin):
        self.model, self.origin = model, origin


TWICE = {
    "one folder name": (
        ("output", "directory:/runs/0/output"),
        ("output", "directory:/runs/1/output"),
    ),
    "two repositories": (("neox", "hub:org-a/neox"), ("neox", "hub:org-b/neox")),
    "other capitals": (("Neox", "hub:org-a/Neox"), ("neox", "hub:org-b/neox")),
    "a repository and a directory": (("neox", "hub:org-a/neox"), ("neox", "directory:/runs/neox")),
}


@pytest.mark.parametrize("both", TWICE.values(), ids=TWICE)
def test_two_models_of_one_name_are_refused_with_both(runs, both):
    with pytest.raises(SuiteError) as refusal:
        make_plan(config("a", "b"), [Named(*one) for one in both], lambda unit: NEW)
    message = str(refusal.value)
    assert all(name in message and origin in message for name, origin in both)
    assert "NAME=DIRECTORY" in message


def test_two_names_that_become_one_are_refused(suite, tmp_path, capsys):
    for name in ("a b", "a+b"):
        shutil.copytree(suite / "step0", tmp_path / name / "step0")
    words = [word for name in ("a b", "a+b") for word in ("--model", str(tmp_path / name))]
    with pytest.raises(SystemExit) as end:
        main(
            [
                "sweep",
                *words,
                "--steps",
                "all",
                "--experiment",
                "weights",
                "--out",
                str(tmp_path / "out"),
            ]
        )
    assert end.value.code == 1
    assert "two models are named a-b" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


ODD = {
    "commas and equals signs": "lr=0.001,wd=0.1",
    "an equals sign alone": "lr=0.001",
    "a comma at the end": "last,",
    "spaces": " my run ",
    "no UTF-8": os.fsdecode(b"run-\xff"),
    "a newline and an escape": "a\n\x1b[31mb",
    "quotes": "'it\"s'",
    "a tilde": "~",
}


@pytest.mark.parametrize("name", ODD.values(), ids=ODD)
def test_a_directory_of_any_name_is_measured(suite, tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(suite / "step0", tmp_path / name / "step0")
    with pytest.raises(SystemExit) as end:
        main(
            [
                "sweep",
                "--model",
                name,
                "--steps",
                "all",
                "--experiment",
                "weights",
                "--out",
                "out",
                "--device",
                "cpu",
            ]
        )
    told = capsys.readouterr()
    assert end.value.code == 0, told.err
    assert len(pt.load("out")) > 0
    assert open_model(name).model in set(pt.load("out").model)
    for path in (*Run.open(Path("out")).path.rglob("*.json"), *Path("out").rglob("*.jsonl")):
        path.read_bytes().decode()
    with pytest.raises(SystemExit) as end:
        main(
            [
                "sweep",
                "--model",
                name,
                "--steps",
                "all",
                "--experiment",
                "weights",
                "--out",
                "out",
                "--json",
            ]
        )
    assert json.loads(capsys.readouterr().out)["skipped"]
    with pytest.raises(SystemExit) as end:
        main(["status", "out"])
    assert end.value.code == 0


def test_several_are_told_apart_where_one_has_a_comma(suite, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a,b", "c"):
        (tmp_path / name).mkdir()
    assert config("a,b", "c,pythia-70m").model == ("a,b", "c", "pythia-70m")
    assert config("a,c").model == ("a", "c")
    assert config(Path("a,b")).model == ("a,b",)
