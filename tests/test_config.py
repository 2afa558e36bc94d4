"""A request is checked when it is read, and what is wrong is said in one sentence."""

import json
import sys

import pytest
import yaml

from pythia_traj.config import SweepConfig, override
from pythia_traj.discovery import describe, discover, find
from pythia_traj.errors import ConfigError
from pythia_traj.layers import read_yaml
from pythia_traj.settings import size_in_bytes


def made(**settings):
    return SweepConfig(
        **{"model": "m", "steps": "all", "experiments": ["loss"], "out": "run", **settings}
    )


def test_defaults_are_filled_in_and_values_checked():
    request = made(experiments={"short": {"use": "loss", "length": "64"}})
    assert request.experiments["short"].use == "loss"
    assert request.experiments["short"].parameters["length"] == 64
    assert request.experiments["short"].parameters["corpus"] == "stdlib"


def test_models_may_be_a_word_or_a_list():
    assert made(model="a,b").model == ("a", "b")
    assert made(model=["a", "b,c"]).model == ("a", "b", "c")


def test_what_is_resolved_can_be_read_again():
    request = made(experiments={"short": {"use": "loss", "length": 64, "seed": 3}})
    assert SweepConfig(**request.resolved()) == request


def test_a_request_cannot_be_changed():
    with pytest.raises(Exception, match="frozen"):
        made().seed = 3


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"experiments": ["indction"]},
            "unknown experiment 'indction': did you mean induction?",
        ),
        (
            {"experiments": {"loss": {"lenght": 3}}},
            "loss: loss has no parameter 'lenght': did you mean length? (it has n=16, ",
        ),
        (
            {"experiments": {"loss": {"length": "long"}}},
            "loss.length: 'long': input should be a valid integer",
        ),
        (
            {"experiments": {"loss": {"n": 0}}},
            "loss.n: 0: input should be greater than or equal to 1",
        ),
        ({"experiments": {"loss": {"n": True}}}, "loss.n: True is not a number"),
        (
            {"experiments": {"loss": {"source": "stdlib"}}},
            "loss: loss has no parameter 'source': did you mean corpus? (it has n=16, ",
        ),
        (
            {"experiments": {"weights": {"source": "stdlib"}}},
            "weights: weights has no parameter 'source': (it has references=(), ",
        ),
        ({"experiments": {"loss": 3}}, "loss: expected its parameters as name: value, got 3"),
        ({"experiments": {"2x": {"use": "loss"}}}, "label '2x': a label is a letter followed by"),
        ({"experiments": {"steps": {"use": "loss"}}}, "label 'steps' is the name of a setting"),
        ({"experiments": {}}, "give at least one experiment"),
        ({"modle": "x"}, "unknown setting 'modle': did you mean model?"),
        (
            {"dtype": "float64"},
            "dtype: 'float64': input should be 'float32', 'float16' or 'bfloat16'",
        ),
        ({"model": []}, "give at least one model"),
        ({"seed": "x"}, "seed: 'x': input should be a valid integer"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(settings, message):
    with pytest.raises(ConfigError) as error:
        made(**settings)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_what_is_missing_is_named():
    with pytest.raises(
        ConfigError, match="steps is missing: give it in the config or on the command line"
    ):
        SweepConfig(model="m", experiments=["loss"], out="x")


def test_a_file_is_laid_over_its_base(tmp_path):
    (tmp_path / "base.yaml").write_text(
        "model: pythia-14m\nsteps: all\nexperiments: {loss: {length: 64}}\n"
    )
    (tmp_path / "child.yaml").write_text("base: base.yaml\nmodel: pythia-31m\nout: x\n")
    request = SweepConfig.from_yaml(tmp_path / "child.yaml", seed=5)
    assert (request.model, request.steps, request.seed) == (("pythia-31m",), "all", 5)
    assert request.experiments["loss"].parameters["length"] == 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "line 2 is not YAML"),
        ("- a\n", "expected settings as name: value"),
        ("base: it.yaml", "leads back to itself"),
        (
            "!!python/object/apply:os.getcwd []",
            "the tag '!!python/object/apply:os.getcwd' is not read",
        ),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, text, message):
    (tmp_path / "it.yaml").write_text(text + "\n")
    with pytest.raises(ConfigError, match="it.yaml") as error:
        read_yaml(tmp_path / "it.yaml")
    assert message in str(error.value)


def test_the_packages_own_configs_are_known_by_name():
    assert read_yaml("demo")["steps"] == "all"
    with pytest.raises(
        ConfigError,
        match=r"unknown config nosuch: .*\(demo, demo-cluster, induction, learning, poly",
    ):
        read_yaml("nosuch")


def test_set_reaches_parameters_settings_and_dotted_labels():
    settings = {
        "model": "m",
        "steps": "all",
        "out": "x",
        "experiments": {"a.b": {"use": "loss"}, "induction": None},
    }
    changed = override(settings, ["a.b.length=64", "induction.length=25", "steps=0,1", "seed=4"])
    assert changed["experiments"] == {
        "a.b": {"use": "loss", "length": 64},
        "induction": {"length": 25},
    }
    assert (changed["steps"], changed["seed"]) == ("0,1", 4)
    assert settings["experiments"]["induction"] is None


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("length", "write LABEL.PARAM=VALUE"),
        ("los.length=3", "'los' is neither a label nor a setting: did you mean loss?"),
        ("loss.length=[", "is not YAML: expected"),
    ],
)
def test_a_wrong_assignment_says_what_is_allowed(assignment, message):
    with pytest.raises(ConfigError) as error:
        override({"experiments": {"loss": {}}}, [assignment])
    assert message in str(error.value)


def test_experiments_are_found_in_files(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(
        "from pythia_traj.experiment import Count, experiment\n"
        "@experiment(version=3)\n"
        "def mine(model, *, k: Count = 2):\n"
        '    """Mine."""\n'
        "@experiment(version=1)\n"
        "def other(model):\n"
        '    """Other."""\n'
    )
    assert find(f"{file}:mine").version == 3
    with pytest.raises(ConfigError, match="defines several experiments: choose one"):
        find(str(file))
    with pytest.raises(ConfigError, match="defines no experiment 'min': did you mean mine"):
        find(f"{file}:min")
    with pytest.raises(ConfigError, match="no such experiment file"):
        find(str(tmp_path / "no.py"))
    (tmp_path / "bad.py").write_text("def (")
    with pytest.raises(ConfigError, match=r"bad.py cannot be imported: SyntaxError"):
        find(str(tmp_path / "bad.py"))
    assert made(experiments=f"{file}:mine").experiments["mine"].parameters == {"k": 2}


def test_an_experiment_whose_requirement_is_missing_is_listed_and_refused(tmp_path):
    file = tmp_path / "needy.py"
    file.write_text(
        "from pythia_traj.experiment import experiment\n"
        "@experiment(version=1, requires=('no-such-distribution',))\n"
        "def needy(model):\n"
        '    """Needs something."""\n'
    )
    with pytest.raises(
        ConfigError,
        match="experiment needy needs no-such-distribution: pip install no-such-distribution",
    ):
        find(str(file))


def test_entry_points_add_experiments(tmp_path, monkeypatch):
    (tmp_path / "plugged.py").write_text(
        "from pythia_traj.experiment import experiment\n"
        "@experiment(version=1, cites='us')\n"
        "def plugged(model):\n"
        '    """Plugged in."""\n'
    )
    (tmp_path / "plugin-1.dist-info").mkdir()
    (tmp_path / "plugin-1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: plugin\nVersion: 1\n"
    )
    (tmp_path / "plugin-1.dist-info" / "entry_points.txt").write_text(
        "[pythia_traj.experiments]\nplugged = plugged\nabsent = no_such_module_at_all\n"
        "broken = breaking\nleaving = leaving\n"
    )
    (tmp_path / "breaking.py").write_text("1 / 0\n")
    (tmp_path / "leaving.py").write_text("raise SystemExit(0)\n")
    monkeypatch.syspath_prepend(tmp_path)
    discover.cache_clear()
    try:
        found = discover()
        assert describe(found["plugged"])["description"] == "Plugged in."
        assert describe(found["absent"])["requires"] == ["no_such_module_at_all"]
        with pytest.raises(ConfigError, match="experiment absent needs no_such_module_at_all"):
            find("absent")
        assert "breaking: ZeroDivisionError" in describe(found["broken"])["description"]
        with pytest.raises(
            ConfigError, match="experiment broken cannot be imported: breaking: ZeroDivisionError"
        ):
            find("broken")
        with pytest.raises(
            ConfigError, match="experiment leaving cannot be imported: leaving: SystemExit"
        ):
            find("leaving")
    finally:
        discover.cache_clear()
        # Another test may define a module of that name.
        sys.modules.pop("plugged", None)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("@experiment(version=1)\ndef f(model):\n    pass\n", "needs a docstring"),
        (
            "@experiment(version=1)\ndef f(model, *, k):\n    'Doc.'\n",
            "parameters without a default: k",
        ),
        (
            "@experiment(version=1, reads=('nothing',))\ndef f(acts):\n    'Doc.'\n",
            "reads unknown activations: nothing",
        ),
        ("@experiment(version=1, reads=('loss',))\ndef f(acts):\n    'Doc.'\n", "it needs data"),
    ],
)
def test_a_malformed_experiment_is_refused_at_its_definition(tmp_path, source, message):
    file = tmp_path / "mine.py"
    file.write_text("from pythia_traj.experiment import experiment\n" + source)
    with pytest.raises(ConfigError, match=message):
        find(str(file))


def test_a_range_of_steps_is_no_number_of_base_60(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("model: pythia-14m\nsteps: 1:4\nexperiments: induction\nout: run\n")
    assert SweepConfig.from_yaml(file).steps == "1:4"
    assert override({"experiments": "induction"}, ["steps=2:8"])["steps"] == "2:8"
    assert (
        override({"experiments": "induction"}, ["induction.n=8"])["experiments"]["induction"]["n"]
        == 8
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1: 2", "expected settings as name: value"),
        (
            "model: m\nsteps: all\nout: run\nexperiments: 5",
            "experiments: give at least one experiment",
        ),
        (
            "model: m\nsteps: all\nout: run\nexperiments: {induction: {parameters: 5}}",
            "induction.parameters: expected",
        ),
        (
            "model: m\nsteps: all\nout: run\nexperiments: loss\nseed: -1",
            "seed: -1: input should be greater than",
        ),
        (
            "model: m\nsteps: all\nout: run\nexperiments: {loss: {seed: -1}}",
            "loss.seed: -1: input should be greater",
        ),
        (
            "model: m\nsteps: all\nout: run\nexperiments: loss\ndisk_budget: lots",
            "disk_budget: 'lots': give a number of bytes",
        ),
        (
            "model: m\nsteps: all\nout: run\nexperiments: loss\nprefetch: -1",
            "prefetch: -1: input should be greater",
        ),
    ],
)
def test_odd_yaml_gets_a_sentence(tmp_path, text, message):
    file = tmp_path / "a.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message):
        SweepConfig.from_yaml(file)


def test_two_files_with_one_name_need_labels(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(
            "from pythia_traj.experiment import experiment\n"
            '@experiment(version=1)\ndef mine(model):\n    """Mine."""\n'
        )
    uses = [str(tmp_path / folder / "mine.py") for folder in ("a", "b")]
    with pytest.raises(ConfigError, match="are both named mine: give them labels"):
        SweepConfig(model="m", steps="all", experiments=uses, out="run")


SIZES = {
    "20GB": 20 * 10**9,
    "20 GiB": 20 * 2**30,
    "500mb": 500 * 10**6,
    "1.5 MiB": 3 * 2**19,
    "0.1GB": 10**8,
    "3kb": 3000,
    "2TB": 2 * 10**12,
    "500": 500,
    "0": 0,
    "9007199254740993": 2**53 + 1,
}


@pytest.mark.parametrize(("text", "count"), SIZES.items())
def test_bytes_are_read_with_their_unit(tmp_path, text, count):
    settings = {"model": "pythia-14m", "steps": "all", "experiments": ["loss"], "out": "run"}
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump({**settings, "disk_budget": text}))
    read = [
        SweepConfig(**settings, disk_budget=text).disk_budget,
        SweepConfig.from_yaml(file).disk_budget,
        SweepConfig(**override(settings, [f"disk_budget={text}"])).disk_budget,
        size_in_bytes("disk_budget", text),
        size_in_bytes("disk_budget", count),
    ]
    assert read == [count] * 5


def test_a_request_stores_bytes_as_a_whole_number():
    config = made(disk_budget="20 GiB")
    assert json.dumps(config.resolved()["disk_budget"]) == "21474836480"
    assert "disk_budget" not in config.requested()


def test_no_budget_is_none():
    assert size_in_bytes("disk_budget", None) is None
