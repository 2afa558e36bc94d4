"""Engines keep to the device that their tensors are on: they ask it for no value, and make no
tensor on the host.

No device is needed: every function is called with `meta` tensors, which have shapes and no values,
and `watching` sees what it does with them. Each public function has a row in device_cases or
device_cases_of_models. Where it does not keep to the rules, by itself or by what it calls,
EXCEPTIONS says why, or the test fails; it also fails where an exception is not needed any more.

Not seen: what depends on `device.type == "cuda"`, what needs values (errors, memory that runs out),
and how long anything takes.
"""

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import pytest
import torch

import pythia_traj.engines
from tests.engines.device_arguments import Arguments
from tests.engines.device_cases import OF_TENSORS, PLAIN
from tests.engines.device_cases_of_models import OF_MODELS
from tests.engines.watching import CPU, META, Finding, Kind, Watch

pytestmark = pytest.mark.slow

ENGINES = Path(pythia_traj.engines.__path__[0])

CASES = {**PLAIN, **OF_TENSORS, **OF_MODELS}

NOT_RUN = {"kept.free_cuda_memory": "it asks the CUDA driver, and no other device has one"}

HOST_EDGES = (
    "which edges a circuit has is kept on the host, to know what has to be run without asking the"
    " device"
)
DRAWN = "numbers are drawn on the host, so that one seed gives the same on every device"
SPECTRUM = (
    "torch has no singular values, and no eigenvalues to make them of, that return before the"
    " device is done"
)
PLAIN_RATIO = (
    "a ratio is a plain number in a row, and is made of the items' values once, after all passes"
)

EXCEPTIONS: dict[tuple[str, Kind], str] = {
    ("circuits.at_random", Kind.HOST): HOST_EDGES,
    ("circuits.first", Kind.HOST): HOST_EDGES,
    ("circuits.normalised", Kind.COPY): PLAIN_RATIO,
    ("circuits.pruned", Kind.HOST): HOST_EDGES,
    (
        "circuits.ranked",
        Kind.COPY,
    ): "scores are read once, after all passes, to be ranked on the host",
    ("circuits.ratio", Kind.COPY): PLAIN_RATIO,
    ("circuits.run_circuit", Kind.HOST): HOST_EDGES,
    ("decoding.uniform_draws", Kind.HOST): DRAWN,
    ("edges.Graph.exists", Kind.HOST): HOST_EDGES,
    ("edges.Graph.owners", Kind.HOST): HOST_EDGES,
    (
        "probing._Problem.fit",
        Kind.READ,
    ): "every fourth iteration looks whether all fits have converged, to end there",
    (
        "probing.logistic",
        Kind.COPY,
    ): "which strengths were chosen is read once: only those are fitted to the end",
    (
        "probing.logistic",
        Kind.READ,
    ): "each strength looks whether validation still improves, to end where it does not",
    ("weights._gaussian", Kind.HOST): DRAWN,
    (
        "weights.copying_eigenvalue",
        Kind.COPY,
    ): "a GPU would find the eigenvalues of small matrices one after another",
    ("weights.product_singular_values", Kind.WAIT): SPECTRUM,
    ("weights.singular_values", Kind.WAIT): SPECTRUM,
}
"""Why a function may, by the innermost function of engines that does it."""


def engines() -> list[ModuleType]:
    return [
        importlib.import_module(f"pythia_traj.engines.{found.name}")
        for found in pkgutil.iter_modules([str(ENGINES)])
    ]


def public_functions() -> dict[str, CodeType]:
    """Functions and methods written in engines, by module and name; those that dataclasses make are
    not written there.
    """
    found: dict[str, CodeType] = {}
    for module in engines():
        room = module.__name__.rpartition(".")[-1]
        for name, value in vars(module).items():
            if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
                continue
            members = (
                {f"{name}.{member}": inner for member, inner in vars(value).items()}
                if isinstance(value, type)
                else {}
            )
            for inner_name, inner in (members or {name: value}).items():
                code = code_of(inner)
                is_private = "._" in inner_name and not inner_name.endswith("__")
                if code is not None and code.co_filename == module.__file__ and not is_private:
                    found[f"{room}.{inner_name}"] = code
    return found


def code_of(value: Any) -> CodeType | None:
    value = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
    return getattr(inspect.unwrap(value), "__code__", None) if callable(value) else None


def written_functions() -> set[tuple[str, str]]:
    """Every function in the files, private and inner ones too, as (file, name)."""
    found = set()

    def visit(node: ast.AST, path: Path, names: tuple[str, ...]) -> None:
        for inner in ast.iter_child_nodes(node):
            if isinstance(inner, ast.FunctionDef):
                found.add((path.name, ".".join((*names, inner.name))))
                visit(inner, path, (*names, inner.name, "<locals>"))
            else:
                visit(
                    inner, path, (*names, inner.name) if isinstance(inner, ast.ClassDef) else names
                )

    for path in ENGINES.glob("*.py"):
        visit(ast.parse(path.read_text()), path, ())
    return found


def forget() -> None:
    """What functions remember of a call before would not be done again."""
    for module in engines():
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


@cache
def run(name: str, device: torch.device, parallel: bool) -> tuple[Watch, list[tuple[Any, ...]]]:
    """What a case did, and the shapes and types of the tensors that it returned."""
    forget()
    arguments, watch = Arguments(device, parallel), Watch(ENGINES)
    if name in OF_MODELS:
        # Built now, so that the watch does not see it.
        _ = arguments.model
    call = CASES[name](arguments)
    try:
        with watch:
            returned = call()
    except Exception as error:
        error.add_note("\n".join(map(str, watch.findings)))
        raise
    return watch, [(tuple(one.shape), one.dtype) for one in tensors(returned)]


def tensors(value: Any) -> Iterator[torch.Tensor]:
    """The tensors in what a function returns."""
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        yield from tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for one in value:
            yield from tensors(one)
    elif is_dataclass(value):
        yield from tensors([getattr(value, one.name) for one in fields(value)])


def models_of(name: str) -> tuple[bool, ...]:
    """Both kinds of models, attention and MLP parallel or not; one where no model is asked for."""
    return (True, False) if name in OF_MODELS else (True,)


def findings_of(name: str) -> list[Finding]:
    return [
        finding for parallel in models_of(name) for finding in run(name, META, parallel)[0].findings
    ]


@pytest.mark.parametrize("name", CASES)
def test_a_function_keeps_to_the_device(name):
    unexpected = [one for one in findings_of(name) if (one.where, one.kind) not in EXCEPTIONS]
    assert not unexpected, "\n".join(dict.fromkeys(map(str, unexpected)))


@pytest.mark.parametrize("name", CASES)
def test_a_call_is_valid_on_the_cpu_and_returns_the_same_shapes(name):
    for parallel in models_of(name):
        assert run(name, CPU, parallel)[1] == run(name, META, parallel)[1]


def test_every_public_function_has_a_case_that_runs_it_or_a_reason():
    functions = public_functions()
    assert functions.keys() == CASES.keys() | NOT_RUN.keys()
    assert not CASES.keys() & NOT_RUN.keys()
    for name in CASES:
        assert functions[name] in run(name, META, True)[0].executed, (
            f"the case {name} does not call it"
        )


def test_every_private_function_is_run_by_a_case():
    executed = {
        (Path(code.co_filename).name, code.co_qualname)
        for name in CASES
        for parallel in models_of(name)
        for code in run(name, META, parallel)[0].executed
        if Path(code.co_filename).parent == ENGINES
    }
    allowed = {
        (f"{room}.py", function) for room, _, function in (name.partition(".") for name in NOT_RUN)
    }
    assert written_functions() - executed == allowed


def test_every_exception_is_needed():
    found = {(finding.where, finding.kind) for name in CASES for finding in findings_of(name)}
    assert not EXCEPTIONS.keys() - found, "nothing needs these any more"
