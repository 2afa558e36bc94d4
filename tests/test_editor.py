"""The schema by which editors check config files: what it refuses, a sweep refuses too."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from pythia_traj.config import SweepConfig
from pythia_traj.discovery import discover
from pythia_traj.editor import schema
from pythia_traj.errors import ConfigError

CONFIGS = Path(__file__).parents[1] / "configs"
FILES = sorted(CONFIGS.glob("*.yaml"))


@pytest.fixture(scope="module")
def validator():
    made = schema()
    jsonschema.Draft7Validator.check_schema(made)
    return jsonschema.Draft7Validator(made)


def test_the_command_prints_what_lies_beside_the_configs(cli):
    status, printed, error = cli("schema")
    assert (status, error) == (0, "")
    assert printed == (CONFIGS / "schema.json").read_text()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_takes_the_examples_which_name_it(file, validator):
    text = file.read_text()
    assert text.startswith("# yaml-language-server: $schema=schema.json\n")
    validator.validate(yaml.safe_load(text))


def test_it_takes_every_default_and_knows_every_parameter(validator):
    for name, experiment in discover().items():
        own = {p.name: p.default for p in experiment.parameters.values()}
        plain = json.loads(json.dumps(own))
        for label, settings in ((name, plain), ("mine", {"use": name, **plain})):
            validator.validate({"experiments": {label: settings}})
            with pytest.raises(jsonschema.ValidationError):
                validator.validate({"experiments": {label: {**settings, "nosuch": 1}}})
        if experiment.data is not None:
            validator.validate({"experiments": {name: {"seed": 3}}})


TAKEN = [
    {"model": ["pythia-70m", "runs/toy"], "steps": [0, 512], "out": "run"},
    {"model": "pythia-70m", "steps": 512, "out": "run"},
    {"disk_budget": "20GB", "keep": True, "prefetch": 1, "seed": 3, "base": "demo.yaml"},
    {"disk_budget": 10**9, "experiments": ["loss", "./mine.py"]},
    {"experiments": "loss,induction"},
    {"experiments": {"short": {"use": "loss", "length": None}, "gone": None, "loss": None}},
    {"experiments": {"mine": {"use": "./mine.py:mine", "k": 3}}},
    {"experiments": {"loss": {"use": "induction", "n": 3}}},
    {"experiments": {"linear_probe": {"sites": "resid_post", "strengths": 0.1}}},
    {"experiments": {"samples": {"prompts": "a|b"}}},
    {"cluster": None, "toy_seed": 3, "model": "runs/toy"},
    {"cluster": {"partition": 3, "memory": "16GB", "time": "4:00:00", "at_once": None}},
    {"cluster": {"memory": 10**9, "time": 90, "setup": "module load cuda", "directives": ["-C x"]}},
]

REFUSED = [
    {"steeps": "all"},
    {"steps": 1.5},
    {"dtype": "float64"},
    {"device": "gpu"},
    {"seed": -1},
    {"prefetch": 1001},
    {"on_defect": "ignore"},
    {"disk_budget": -1},
    {"keep": "perhaps"},
    {"experiments": 5},
    {"experiments": {"loss": {"lenght": 3}}},
    {"experiments": {"loss": {"n": 0}}},
    {"experiments": {"loss": {"n": "many"}}},
    {"experiments": {"short": {"length": 3}}},
    {"experiments": {"short": {"use": "los"}}},
    {"experiments": {"short": {"use": "loss", "lenght": 3}}},
    {"experiments": {"2x": {"use": "loss"}}},
    {"experiments": {"head_roles": {"n": 5}}},
    {"experiments": {"linear_probe": {"sites": []}}},
    {"experiments": {"linear_probe": {"sites": ["resid_pots"]}}},
    {"toy_seed": -1, "model": "runs/toy"},
    {"cluster": "gpu"},
    {"cluster": {"partiton": "gpu"}},
    {"cluster": {"partition": "gpu --exclusive"}},
    {"cluster": {"memory": 16}},
    {"cluster": {"time": "4:00"}},
    {"cluster": {"time": "1-24:00:00"}},
    {"cluster": {"at_once": 0}},
    {"cluster": {"gpus": "many"}},
    {"cluster": {"setup": ["a\nb"]}},
    {"cluster": {"directives": [""]}},
]


@pytest.mark.parametrize("settings", TAKEN, ids=str)
def test_it_takes_what_a_file_may_say(settings, validator):
    validator.validate(settings)


@pytest.mark.parametrize("settings", REFUSED, ids=str)
def test_it_refuses_what_a_sweep_refuses(settings, validator):
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(settings)
    with pytest.raises(ConfigError):
        SweepConfig(**{"model": "m", "steps": "all", "experiments": "loss", "out": "x"} | settings)


def test_it_says_what_each_setting_and_parameter_means(validator):
    made = validator.schema
    assert made["properties"]["prefetch"]["description"].startswith("how many checkpoints")
    probe = made["definitions"]["experiment-linear_probe"]
    assert probe["properties"]["k"]["default"] == 16
    for name, experiment in discover().items():
        parameters = made["definitions"][f"experiment-{name}"]["properties"]
        lacking = [
            one for one in parameters if one != "use" and not parameters[one].get("description")
        ]
        assert lacking == [
            one for one in experiment.parameters if not experiment.parameters[one].meaning
        ]
