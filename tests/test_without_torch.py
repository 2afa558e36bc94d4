"""Without torch a machine plans and records the same requests, and measures nothing."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

import pythia_traj as pt
from pythia_traj.discovery import discover
from pythia_traj.sweeps.requests import plan_sweep

BLOCKED = """
import sys
from importlib.machinery import PathFinder


class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "transformer_lens", "transformers"):
            return None
        return super().find_spec(name, path, target)


sys.meta_path[sys.meta_path.index(PathFinder)] = Without
"""
"""For Python's `sitecustomize`: nothing finds the libraries, not even a worker that is started."""

REFUSED = (
    "error: torch, transformer_lens, transformers are not installed here: measuring needs them:"
    " pip install torch transformer_lens transformers"
)

MINE = '''
from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Generic, Literal, Optional, TypeVar

import torch
import torch.nn.functional as F
from annotated_types import Ge
from jaxtyping import Float
from pydantic import BaseModel
from torch import Tensor, nn
from transformer_lens import HookedTransformer
from transformer_lens.utilities import get_act_name

from pythia_traj.engines.measures import next_token_nll
from pythia_traj.experiment import Data, experiment
from pythia_traj.rows import Rows

Scores = Float[Tensor, "batch pos"]
Place = Optional[torch.device]
DTYPES = {"float32": torch.float32, torch.float16: "float16"}
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SMALL = 2 * torch.finfo(torch.float32).eps
TABLE = -torch.arange(6.0).reshape(2, 3)[:, 1:] @ torch.eye(2)
T = TypeVar("T")


class Probe(nn.Module, ABC):
    size: int = 4

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    @abstractmethod
    def score(self, x: Tensor) -> Tensor: ...


class Pairs(torch.utils.data.Dataset[int], Generic[T]):
    pass


class Checked(BaseModel):
    model_config = {"arbitrary_types_allowed": True}
    scores: Tensor | None = None


@dataclass(frozen=True)
class Kept:
    scores: Scores
    weight: Tensor
    dtype: torch.dtype = torch.float32


@cache
@torch.no_grad()
def size() -> int:
    return 7


@torch.autocast("cpu", dtype=torch.bfloat16)
def loss(logits: Float[Tensor, "batch pos d_vocab"], tokens: Tensor) -> Tensor:
    return next_token_nll(logits, tokens)


with torch.no_grad():
    UNIT = torch.ones(3)


@dataclass(frozen=True)
class Mine(Data):
    """Tokens.

    Attributes:
        n: how many.
    """

    n: Annotated[int, Ge(1)] = 5

    def spec(self, *, seed: int) -> dict[str, Any]:
        default = Kept.__dataclass_fields__["dtype"].default
        known = [isinstance(self.n, Tensor), default is torch.float32, Probe.size]
        return {"size": size(), "known": known, "seed": seed}

    def bind(self, vocabulary, *, seed: int) -> Tensor:
        return torch.zeros(self.n)


@experiment(version=3, data=Mine(n=2))
@torch.inference_mode()
def mine(
    model: HookedTransformer, data: Tensor, *, kind: Literal["a", "b"] = "b", k: int = 4
) -> Rows:
    """Is a user's, with all that a user's file imports."""
    rows = Rows()
    match data:
        case Tensor():
            F.relu(data)
    return rows
'''


@pytest.fixture
def without(tmp_path):
    """Runs Python where none of the libraries can be imported: status, output, errors."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(BLOCKED)
    variables = os.environ | {"PYTHONPATH": str(tmp_path / "site"), "COLUMNS": "200"}

    def run(*words):
        ended = subprocess.run(
            [sys.executable, "-P", *map(str, words)],
            env=variables,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        return ended.returncode, ended.stdout, ended.stderr

    return run


@pytest.fixture
def command(without):
    """Runs a command of pythia-traj there."""
    return lambda *words: without("-m", "pythia_traj.cli", *words)


@pytest.fixture
def everything(suite, tmp_path):
    """A config of all packaged experiments, and of a file that imports torch."""
    (tmp_path / "mine.py").write_text(MINE)
    names = sorted(discover())
    assert len(names) >= 18
    config = tmp_path / "all.yaml"
    experiments = {name: {} for name in names} | {"mine": {"use": str(tmp_path / "mine.py")}}
    config.write_text(
        json.dumps({"model": str(suite), "steps": "0,1,4", "experiments": experiments})
    )
    return config


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_request_of_all_experiments_is_the_same_file(everything, command, cli, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    status, said, _ = command("sweep", everything, "--out", there, "--record-only", "--json")
    assert status == 0
    assert cli("sweep", everything, "--out", here, "--record-only", "--json")[0] == 0
    assert files(there / "requests") == files(here / "requests")
    assert [f"{json.loads(said)['request']}.json"] == list(files(here / "requests"))
    assert command("status", there, "--json") == cli("status", there, "--json")


UNITS = """
import json, sys
from dataclasses import asdict
import pythia_traj as pt
from pythia_traj.sweeps.requests import plan_sweep
plan, _ = plan_sweep(pt.SweepConfig.from_yaml(sys.argv[1], out=sys.argv[2]))
units = [[one.name, one.digest, one.made_of, asdict(one.definition)] for one in plan.todo]
print(json.dumps(units))
"""


def test_its_units_have_the_same_digests_and_definitions(everything, without, tmp_path):
    plan, _ = plan_sweep(pt.SweepConfig.from_yaml(everything, out=tmp_path / "run"))
    status, said, errors = without("-c", UNITS, everything, tmp_path / "run")
    assert (status, errors) == (0, "")
    assert json.loads(said) == [
        [unit.name, unit.digest, unit.made_of, asdict(unit.definition)] for unit in plan.todo
    ]
    assert len(plan.todo) == 57


def test_experiments_are_listed_alike(everything, command, cli, tmp_path):
    assert command("experiments", "--json") == cli("experiments", "--json")
    mine = ("experiments", tmp_path / "mine.py", "--json")
    assert command(*mine) == cli(*mine)


def test_a_job_script_and_its_estimate_are_the_same(everything, command, cli, tmp_path):
    given = ("submit", everything, "--out", tmp_path / "run", "--executor", "script:pbs")
    there = command(*given, "--jobs", 3, "--dry-run", "--json")
    assert there == cli(*given, "--jobs", 3, "--dry-run", "--json")
    assert there[0] == 0
    assert not (tmp_path / "run").exists()
    submitted = command(*given, "--jobs", 3, "--json")
    assert (submitted[0], json.loads(submitted[1])["todo"]) == (0, 57)
    script = Path(json.loads(submitted[1])["script"])
    text = script.read_text()
    script.unlink()
    assert cli(*given, "--jobs", 3, "--json") == submitted
    assert script.read_text() == text


def test_an_estimate_knows_no_card(without):
    code = "from pythia_traj.cluster.estimate import gpu_name; print(gpu_name())"
    assert without("-c", code) == (0, "None\n", "")


def test_a_dry_run_of_a_sweep_says_why_it_knows_no_cost(everything, command, tmp_path):
    dry_run = ("sweep", everything, "--out", tmp_path / "run", "--dry-run", "--json")
    status, said, errors = command(*dry_run)
    assert status == 0
    assert len(json.loads(said)["todo"]) == 57
    assert errors.splitlines() == [f"the cost is not known: {REFUSED.removeprefix('error: ')}"]


def test_a_sweep_is_refused_before_it_writes(suite, command, tmp_path):
    request = ("--model", suite, "--steps", 0, "--experiment", "induction", "--out")
    assert command("sweep", *request, tmp_path / "run") == (1, "", f"{REFUSED}\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "executor",
    [("inline",), ("local",), ("local", "--device", "cuda"), ("local", "--device", "cpu")],
)
def test_executors_that_measure_here_are_refused(suite, command, tmp_path, executor):
    request = ("--model", suite, "--steps", 0, "--experiment", "induction", "--out")
    ended = command("submit", *request, tmp_path / "run", "--executor", *executor)
    assert ended == (1, "", f"{REFUSED}\n")


def test_a_worker_is_refused(suite, command, cli, tmp_path):
    request = ("--model", suite, "--steps", 0, "--experiment", "induction", "--out")
    cli("sweep", *request, tmp_path / "run", "--record-only")
    status, said, errors = command("worker", tmp_path / "run", "--shard", "0/1")
    assert (status, said, errors.splitlines()[1:]) == (1, "", [REFUSED])
    assert not (tmp_path / "run" / "log").exists()


def test_a_sweep_without_anything_to_do_needs_no_torch(suite, command, cli, tmp_path):
    request = ("--model", suite, "--steps", 0, "--experiment", "induction", "--out")
    small = ("--set", "induction.n=2", "--set", "induction.length=9")
    assert cli("sweep", *request, tmp_path / "run", *small)[0] == 0
    status, said, _ = command("sweep", *request, tmp_path / "run", *small, "--json")
    assert (status, json.loads(said)["skipped"]) == (0, [f"{suite.name}/induction/step0"])


def test_a_toy_suite_that_is_missing_has_to_be_trained_elsewhere(command, tmp_path):
    config = tmp_path / "toy.yaml"
    config.write_text("{model: runs/toy, toy_seed: 3, steps: 0, experiments: induction, out: run}")
    for more in ((), ("--executor", "script:pbs", "--jobs", 2)):
        assert command("submit" if more else "sweep", config, *more) == (
            1,
            "",
            "error: the toy suite runs/toy does not exist yet, and torch, which trains it, is not"
            " installed here: where it is, run pythia-traj toy runs/toy --seed 3\n",
        )


def test_the_doctor_says_what_is_missing(command):
    found = {check["what"]: check for check in json.loads(command("doctor", "--json")[1])}
    assert not found["cuda"]["ok"]
    assert found["cuda"]["found"] == "not known without torch"


def test_an_installed_package_plans_too(without, tmp_path):
    installed = tmp_path / "site" / "site-packages" / "pythia_traj"
    shutil.copytree(Path(pt.__file__).parent, installed, ignore=shutil.ignore_patterns("__pyc*"))
    shutil.copytree(Path(__file__).parents[1] / "experiments", installed / "experiments")
    code = """
import sys
sys.path.insert(0, sys.argv[1])
import pythia_traj.discovery
pythia_traj.discovery.find("ablation")
print(pythia_traj.__file__)
"""
    there = without("-c", code, installed.parent)
    assert there == (0, f"{installed / '__init__.py'}\n", "")


def test_nothing_is_left_of_the_stand_ins(without):
    code = """
import builtins, importlib.util, sys
real = builtins.__import__
from pythia_traj.discovery import discover
discover()
from pythia_traj.engines import heads
assert builtins.__import__ is real
assert not [n for n in sys.modules if n.split(".")[0] in ("torch", "transformer_lens")]
assert importlib.util.find_spec("torch") is None
try:
    import torch
except ModuleNotFoundError as error:
    print(error)
try:
    heads.torch.zeros(3)
except Exception as error:
    print(type(error).__name__, error)
"""
    assert without("-c", code) == (
        0,
        "No module named 'torch'\n"
        "DeviceError torch.zeros is used, and torch was not installed when Python began:"
        " pip install torch, and start Python again\n",
        "",
    )
