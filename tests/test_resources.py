"""What a job asks a scheduler for: kept in one form, of one line, and apart from the request."""

import re

import pytest

from pythia_traj.config import SweepConfig, override
from pythia_traj.errors import ConfigError
from pythia_traj.resources import Cluster
from pythia_traj.store.layout import Run
from pythia_traj.sweeps.requests import record


def made(**settings):
    return SweepConfig(
        **{"model": "runs/m", "steps": "all", "experiments": "loss", "out": "run", **settings}
    )


@pytest.mark.parametrize(
    ("given", "kept", "seconds"),
    [
        ("4:00:00", "04:00:00", 4 * 3600),
        ("00:00:30", "00:00:30", 30),
        ("1-12:00:00", "36:00:00", 36 * 3600),
        ("7-00:00:00", "168:00:00", 7 * 24 * 3600),
        ("100:00:00", "100:00:00", 100 * 3600),
        (90, "01:30:00", 5400),
        ("90", "01:30:00", 5400),
    ],
)
def test_a_time_is_kept_in_one_form(given, kept, seconds):
    cluster = Cluster(time=given)
    assert (cluster.time, cluster.seconds) == (kept, seconds)
    assert Cluster(time=cluster.time) == cluster


@pytest.mark.parametrize(
    "given", ["4:00", "1-12", "1-24:00:00", "0:60:00", "0", 0, -5, 1.5, True, "", "4h", "1:00:00\n"]
)
def test_a_time_of_another_form_is_refused(given):
    with pytest.raises(ConfigError, match=r"^cluster.time: .*: give HH:MM:SS, D-HH:MM:SS or min"):
        Cluster(time=given)


def test_a_number_names_a_partition_and_a_word_is_a_line():
    cluster = Cluster(partition=7, setup="module load cuda", memory="16GB")
    assert (cluster.partition, cluster.setup) == ("7", ("module load cuda",))
    assert cluster.memory == 16 * 10**9


WORDS = ("partition", "account", "qos", "image", "volume")


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize(
    "value",
    ["", "a b", "a\n#SBATCH -A b", "-exclusive", "$(id)", "a;b", "a'b", 'a"b', "a\x1b", "a#", True],
)
def test_a_name_that_a_script_would_read_otherwise_is_refused(name, value):
    with pytest.raises(ConfigError, match=rf"^cluster.{name}: .*: give one word of letters"):
        Cluster(**{name: value})


@pytest.mark.parametrize("name", ["directives", "setup"])
@pytest.mark.parametrize("value", ["a\nb", "a\rb", "a\x00b", "a\x1b[2Jb", "a\u2028b", "", " ", 3])
def test_a_line_is_one_line(name, value):
    with pytest.raises(ConfigError, match=rf"^cluster.{name}.1: ") as error:
        Cluster(**{name: ["true", value]})
    assert error.value.key == ("cluster", name, 1)
    assert error.value.args[0].isprintable()


def test_every_setting_takes_what_is_documented_and_refuses_a_mapping():
    for name in Cluster.model_fields:
        with pytest.raises(ConfigError, match=rf"^cluster\.{name}\b") as error:
            Cluster(**{name: {"a": 1}})
        assert error.value.key[:2] == ("cluster", name)


def test_it_is_not_part_of_what_is_requested(suite, tmp_path):
    """Measured on another partition, the numbers are the same: nothing is redone."""
    plain = made(model=str(suite), out=tmp_path / "run")
    asking = made(
        model=str(suite),
        out=tmp_path / "run",
        toy_seed=None,
        cluster={"partition": "gpu", "time": 90},
    )
    assert asking.requested() == plain.requested()
    assert not {"cluster", "toy_seed"} & set(plain.requested())
    name, _ = record(plain)
    assert record(asking)[0] == name
    assert len(list(Run.open(tmp_path / "run").path.glob("requests/*.json"))) == 1


def test_it_is_read_again_from_what_is_resolved():
    request = made(toy_seed=2, cluster={"memory": "16GB", "time": 90, "setup": ["a", "b"]})
    assert request.resolved()["cluster"]["time"] == "01:30:00"
    assert SweepConfig(**request.resolved()) == request


def test_set_gives_one_key_and_null_takes_it_away():
    settings = {"experiments": "loss", "cluster": {"gpus": 2, "at_once": 4}}
    changed = override(settings, ["cluster.time=8:00:00", "cluster.at_once=null"])
    assert made(**changed).cluster == Cluster(gpus=2, time=480)
    assert settings["cluster"] == {"gpus": 2, "at_once": 4}
    assert made(**override({"experiments": "loss"}, ["cluster.qos=high"])).cluster.qos == "high"
    assert made(**override(settings, ["cluster=null"])).cluster == Cluster()


def test_set_says_what_there_is():
    with pytest.raises(
        ConfigError, match=re.escape("--set 'clusterr.time': 'clusterr' is neither")
    ):
        override({"experiments": "loss"}, ["clusterr.time=8"])
