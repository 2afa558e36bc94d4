"""What an experiment declares, and what a type checker and the decorator make of a slip in it."""

import inspect
import subprocess
import sys
from dataclasses import dataclass, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

import pandas as pd
import pytest

import pythia_traj as pt
from pythia_traj.data.prompts import TaskPrompts
from pythia_traj.data.repeated import RepeatedTokens
from pythia_traj.data.text import TextTokens
from pythia_traj.discovery import discover
from pythia_traj.errors import ConfigError
from pythia_traj.experiment import Data, experiment
from pythia_traj.values import Key, Rows

ROOT = Path(__file__).parents[2]


def made(data, *, reads=(), function=None, **declared):
    def own(acts):
        """Is somebody's own."""

    return experiment(version=1, data=data, reads=reads, **declared)(function or own)


@pytest.mark.parametrize("kind", [RepeatedTokens, TextTokens, TaskPrompts])
def test_a_class_in_the_place_of_data_is_answered_with_what_to_write(kind):
    with pytest.raises(TypeError, match=rf"is a class: write {kind.__name__}\(\)$"):
        made(kind)


class Plain:
    """Has what data has, and is no dataclass derived from Data."""


class Derived(Data):
    """Is derived from Data, and no dataclass."""

    def spec(self, *, seed):
        return {}

    def bind(self, vocabulary, *, seed):
        return SimpleNamespace(groups={})


@pytest.mark.parametrize("data", [Plain, Plain(), Derived(), "text", {"n": 1}])
def test_other_things_in_the_place_of_data_are_refused(data):
    with pytest.raises(TypeError, match=r"give an instance of a frozen dataclass derived from"):
        made(data)


def test_a_parameter_of_the_data_is_not_repeated():
    def own(acts, *, length: int = 5):
        """Repeats a parameter."""

    with pytest.raises(TypeError, match=r"write RepeatedTokens\(length=\.\.\.\), and read it as"):
        made(RepeatedTokens(), function=own)


def test_what_is_declared_has_a_known_name():
    with pytest.raises(TypeError, match=r"cannot declare 'reference': did you mean references"):
        made(RepeatedTokens(), reference=("init",))


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("def own(acts, *, scale: int): ...", "own: parameters without a default: scale"),
        ("def own(acts, *, scale=1): ...", "own: parameters without an annotation: scale"),
    ],
)
def test_a_parameter_has_an_annotation_and_a_default(signature, message):
    namespace: dict[str, Any] = {}
    exec(signature, namespace)
    namespace["own"].__doc__ = "Is somebody's own."
    with pytest.raises(TypeError, match=message):
        made(RepeatedTokens(), function=namespace["own"])


def test_the_fields_of_the_data_are_parameters_with_the_values_of_the_instance(suite, tmp_path):
    found = discover()["representation"]
    assert found.parameters["length"].default == 64
    assert found.data_with({"length": 9, "skip": 2}).length == 9
    assert found.own({"length": 9, "skip": 2}) == {"skip": 2}
    config = pt.SweepConfig(
        model=str(suite), steps="0", experiments={"ablation": {"n": 3}}, out=tmp_path
    )
    request = config.experiments["ablation"]
    assert request.data == TaskPrompts(n=3)
    with pytest.raises(ConfigError, match="greater than or equal to 1"):
        pt.SweepConfig(
            model=str(suite), steps="0", experiments={"ablation": {"n": 0}}, out=tmp_path
        )


@pytest.mark.parametrize("name", discover())
def test_no_experiment_repeats_what_its_data_has(name):
    found = discover()[name]
    own = {
        p.name
        for p in inspect.signature(found.function).parameters.values()
        if p.kind is inspect.Parameter.KEYWORD_ONLY
    }
    of_its_data = set() if found.data is None else {field.name for field in fields(found.data)}
    assert not own & of_its_data
    assert {*own, *of_its_data} == set(found.parameters)


def holds_any(annotation):
    return annotation is Any or any(holds_any(inner) for inner in get_args(annotation))


@pytest.mark.parametrize("name", discover())
def test_no_experiment_takes_or_returns_anything_at_all(name):
    function = discover()[name].function
    annotations = get_type_hints(function, localns={"pd": pd})
    for parameter, annotation in annotations.items():
        assert not holds_any(annotation), parameter
    assert inspect.signature(function).parameters.keys() < annotations.keys()


@dataclass(frozen=True)
class Numbers(Data[SimpleNamespace]):
    """Data of somebody's own.

    Attributes:
        n: how many, of which
            all are used.
    """

    n: int = 3

    def spec(self, *, seed):
        return {"seed": seed}

    def bind(self, vocabulary, *, seed):
        return SimpleNamespace(numbers=[seed + i for i in range(self.n)], parameters=self)


def test_data_of_ones_own_is_bound_once_and_documented():
    @experiment(version=1, data=Numbers(n=4))
    def own(model, data, *, scale: float = 1.0) -> Rows:
        """Is somebody's own.

        Args:
            scale: of them.
        """
        rows = Rows()
        rows.add(Key("sum"), scale * sum(data.numbers))
        return rows

    assert {name: p.meaning for name, p in own.parameters.items()} == {
        "n": "how many, of which all are used.",
        "scale": "of them.",
    }
    assert own.parameters["n"].default == 4


SWAPPED = {
    "loss.py": ("data=TextTokens(n=16)", "data=TaskPrompts()"),
    "behaviour.py": ("data=TaskPrompts()", "data=TextTokens()"),
    "induction.py": ("data=RepeatedTokens(n=50, length=50)", "data=TextTokens()"),
    "memorization.py": ("data=TrainingSequences()", "data=Passages()"),
}
IMPORTS = """
from pythia_traj.data.passages import Passages
from pythia_traj.data.prompts import TaskPrompts
from pythia_traj.data.text import TextTokens
"""


def checked_by_mypy(folder):
    settings = [
        "--config-file",
        str(ROOT / "pyproject.toml"),
        "--cache-dir",
        str(ROOT / ".mypy_cache"),
    ]
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", *settings, *map(str, sorted(folder.iterdir()))],
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout


@pytest.mark.slow
def test_a_type_checker_sees_that_data_was_swapped(tmp_path):
    for kind in ("right", "swapped"):
        (tmp_path / kind).mkdir()
    for name, (own, other) in SWAPPED.items():
        source = (ROOT / "experiments" / name).read_text()
        assert source.count(own) == 1
        named = source.replace("\nfrom ", IMPORTS + "from ", 1)
        (tmp_path / "right" / f"right_{name}").write_text(named)
        (tmp_path / "swapped" / f"swapped_{name}").write_text(named.replace(own, other))
    assert "Success: no issues found" in checked_by_mypy(tmp_path / "right")
    found = checked_by_mypy(tmp_path / "swapped")
    for name in SWAPPED:
        assert f"swapped_{name}" in found, name
    assert found.count("error: Argument 1 has incompatible type") >= len(SWAPPED)
