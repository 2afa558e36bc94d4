"""A file lies over its base: settings by name, experiments label by label."""

import pytest

from pythia_traj.config import SweepConfig
from pythia_traj.errors import ConfigError
from pythia_traj.layers import read_yaml
from pythia_traj.resources import Cluster

BASE = """
model: pythia-14m
steps: log:12
seed: 1
experiments:
  loss: {n: 4, length: 64}
  short: {use: loss, length: 32}
  induction:
"""


def laid(tmp_path, text, base=BASE):
    (tmp_path / "base.yaml").write_text(base)
    (tmp_path / "own.yaml").write_text(f"base: base.yaml\n{text}")
    return read_yaml(tmp_path / "own.yaml")


@pytest.mark.parametrize(
    ("own", "experiments"),
    {
        "": {
            "loss": {"n": 4, "length": 64},
            "short": {"use": "loss", "length": 32},
            "induction": None,
        },
        "loss: {n: 8}": {
            "loss": {"n": 8, "length": 64},
            "short": {"use": "loss", "length": 32},
            "induction": None,
        },
        "loss: null\n  short: null": {"induction": None},
        "loss: {}": {
            "loss": {"n": 4, "length": 64},
            "short": {"use": "loss", "length": 32},
            "induction": None,
        },
        "short: {length: 16}\n  loss: null": {
            "short": {"use": "loss", "length": 16},
            "induction": None,
        },
        "short: {use: induction, n: 2}\n  loss:\n  induction:": {
            "short": {"use": "induction", "n": 2}
        },
        "induction: {n: 2}\n  loss:\n  short:": {"induction": {"n": 2}},
        "weights:\n  loss:\n  short:\n  induction:": {"weights": None},
    }.items(),
)
def test_experiments_are_merged_label_by_label(own, experiments, tmp_path):
    read = laid(tmp_path, f"experiments:\n  {own}\n")
    assert read["experiments"] == experiments
    assert (read["model"], read["steps"], read["seed"]) == ("pythia-14m", "log:12", 1)


@pytest.mark.parametrize("listed", ["loss, induction", "[loss, induction]"])
def test_experiments_that_a_base_lists_have_their_labels(listed, tmp_path):
    read = laid(tmp_path, "experiments: {loss: null, induction: {n: 4}}", f"experiments: {listed}")
    assert read["experiments"] == {"induction": {"use": "induction", "n": 4}}


def test_what_one_base_lost_does_not_come_back_from_the_next(tmp_path):
    (tmp_path / "0.yaml").write_text(
        "seed: 0\nprefetch: 0\nexperiments: {loss: {n: 4}, induction: }\n"
    )
    (tmp_path / "1.yaml").write_text("base: 0.yaml\nseed: 1\nexperiments: {loss: null}\n")
    (tmp_path / "2.yaml").write_text("base: 1.yaml\nexperiments: {loss: {length: 8}}\n")
    assert read_yaml(tmp_path / "1.yaml")["experiments"] == {"induction": None}
    assert read_yaml(tmp_path / "2.yaml") == {
        "seed": 1,
        "prefetch": 0,
        "experiments": {"induction": None, "loss": {"length": 8}},
    }


def test_a_base_is_a_file_beside_its_own_or_a_packaged_config(tmp_path, monkeypatch):
    (tmp_path / "inner").mkdir()
    (tmp_path / "base.yaml").write_text("seed: 1\n")
    (tmp_path / "inner" / "own.yaml").write_text("base: ../base.yaml\n")
    monkeypatch.chdir(tmp_path / "inner")
    assert read_yaml(tmp_path / "inner" / "own.yaml") == {"seed": 1}
    assert read_yaml("own.yaml") == {"seed": 1}
    (tmp_path / "packaged.yaml").write_text("base: induction\n")
    assert read_yaml(tmp_path / "packaged.yaml") == read_yaml("induction")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 1\nbase: nosuch.yaml\n", "line 2: base: unknown config nosuch.yaml: give a YAML"),
        ("seed: 1\nbase: [a]\n", "line 2: base: ['a'] is not the name of a file"),
        ("seed: 1\n\nbase: own.yaml\n", "line 3: its base: leads back to itself"),
    ],
)
def test_a_wrong_base_is_said_with_its_line(text, message, tmp_path):
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        read_yaml(tmp_path / "own.yaml")
    assert str(error.value).startswith(f"{tmp_path / 'own.yaml'} {message}")


def test_a_circle_of_bases_is_refused(tmp_path):
    for name, base in {"a": "b", "b": "c", "c": "b"}.items():
        (tmp_path / f"{name}.yaml").write_text(f"base: {base}.yaml\n")
    with pytest.raises(ConfigError, match=r"c.yaml line 1: its base: leads back to itself"):
        read_yaml(tmp_path / "a.yaml")


def test_the_line_is_of_the_file_that_has_the_last_word(tmp_path):
    laid(tmp_path, "\n\nexperiments:\n  loss:\n    n: 0\n")
    with pytest.raises(ConfigError, match=r"own.yaml line 6: loss.n: 0: "):
        SweepConfig.from_yaml(tmp_path / "own.yaml", out="run")
    laid(tmp_path, "experiments: {loss: {n: 4}}", BASE.replace("length: 64", "length: 0"))
    with pytest.raises(ConfigError, match=r"base.yaml line 6: loss.length: 0: "):
        SweepConfig.from_yaml(tmp_path / "own.yaml", out="run")


def test_a_parameter_of_another_experiment_is_not_inherited(tmp_path):
    laid(tmp_path, "experiments: {loss: {use: induction}}")
    request = SweepConfig.from_yaml(tmp_path / "own.yaml", out="run").experiments["loss"]
    assert (request.use, request.parameters["length"]) == ("induction", 50)


def test_what_is_asked_of_a_scheduler_is_merged_key_by_key(tmp_path):
    base = "steps: all\ncluster: {gpus: 2, time: 90, setup: [module load a]}\n"
    read = laid(tmp_path, "cluster: {time: 5, setup: [module load b], qos: high}", base)
    assert read["cluster"] == {"gpus": 2, "time": 5, "setup": ["module load b"], "qos": "high"}
    assert laid(tmp_path, "cluster:", base)["cluster"] is None
    assert laid(tmp_path, "seed: 1", base)["cluster"] == {
        **{"gpus": 2, "time": 90, "setup": ["module load a"]}
    }


def test_the_line_of_a_merged_key_is_of_the_file_that_gives_it(tmp_path):
    rest = {"model": "m", "out": "run", "experiments": "loss"}
    base = "steps: all\ncluster:\n  cpus: 0\n  gpus: 1\n"
    laid(tmp_path, "cluster:\n  gpus: 2\n", base)
    with pytest.raises(ConfigError, match=r"base.yaml line 3: cluster.cpus: 0: "):
        SweepConfig.from_yaml(tmp_path / "own.yaml", **rest)
    laid(tmp_path, "cluster:\n  gpus: -2\n  cpus: 2\n", base)
    with pytest.raises(ConfigError, match=r"own.yaml line 3: cluster.gpus: -2: "):
        SweepConfig.from_yaml(tmp_path / "own.yaml", **rest)
    laid(tmp_path, 'cluster:\n  setup: "a\\tb"\n', "steps: all\ncluster: {setup: [a, b]}\n")
    with pytest.raises(ConfigError, match=r"own.yaml line 3: cluster.setup.0: "):
        SweepConfig.from_yaml(tmp_path / "own.yaml", **rest)
    laid(tmp_path, "cluster: null\n", base)
    assert SweepConfig.from_yaml(tmp_path / "own.yaml", **rest).cluster == Cluster()
