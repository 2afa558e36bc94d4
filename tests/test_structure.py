"""The rooms: who imports whom, how light the import is, how long files and functions get."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FLOORS = {
    "errors": 0,
    "printable": 0,
    "outside": 1,
    "steps": 1,
    "schema": 1,
    "keys": 1,
    "checkpoint": 1,
    "processing": 1,
    "engines": 1,
    "suites": 2,
    "data": 2,
    "vocabulary": 2,
    "parameters": 1,
    "reads": 2,
    "experiment": 2,
    "discovery": 2,
    "rows": 2,
    "values": 2,
    "yamlfile": 2,
    "settings": 3,
    "store": 2,
    "hub": 3,
    "models": 3,
    "config": 3,
    "bench": 3,
    "experiments": 4,
    "sweeps": 4,
    "dashboard": 4,
    "toy": 5,
    "doctor": 5,
    "cli": 6,
}
"""Floors of docs/architecture.md: a room imports rooms of lower floors, or itself, or a sibling on
its own floor without a circle.
"""

MOST_LINES, MOST_OF_A_BODY = 490, 60
"""Of a file, and of a function without its signature and docstring."""

EXPERIMENTS_MAY_IMPORT = {
    "bench",
    "errors",
    "engines",
    "data",
    "experiment",
    "schema",
    "values",
    "processing",
}

FORBIDDEN = {
    "hub": {"models", "torch"},
    "models": {"hub"},
    "engines": {"pythia_traj"},
}


def sources():
    packaged = [
        (path, path.relative_to(ROOT / "pythia_traj"))
        for path in sorted((ROOT / "pythia_traj").rglob("*.py"))
    ]
    return packaged + [
        (path, Path("experiments") / path.name)
        for path in sorted((ROOT / "experiments").glob("*.py"))
    ]


def room_of(relative):
    return relative.parts[0].removesuffix(".py")


def imports(path):
    """Modules imported anywhere in a file, but for those only a type checker sees."""
    tree = ast.parse(path.read_text())
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (
                f"{node.module}.{alias.name}" if node.module == "pythia_traj" else node.module
                for alias in node.names
            )


@pytest.mark.parametrize(
    ("path", "relative"), sources(), ids=lambda value: "" if value.is_absolute() else str(value)
)
def test_a_room_imports_lower_floors_only(path, relative):
    room = room_of(relative)
    if room == "__init__":
        return
    for module in imports(path):
        if module.startswith("pythia_traj."):
            other = module.split(".")[1]
            if other == room or other not in FLOORS:
                continue
            assert FLOORS[other] <= FLOORS[room], (
                f"{relative} (floor {FLOORS[room]}) imports {module} (floor {FLOORS[other]})"
            )
            if room == "experiments":
                assert other in EXPERIMENTS_MAY_IMPORT, f"{relative} imports {module}"
            assert other not in FORBIDDEN.get(room, set()), f"{relative} imports {module}"


def test_every_room_has_a_floor():
    assert {room_of(relative) for _, relative in sources()} <= FLOORS.keys() | {"__init__"}


def test_rooms_on_one_floor_import_each_other_in_one_direction():
    edges = set()
    for path, relative in sources():
        room = room_of(relative)
        for module in imports(path):
            other = module.split(".")[1] if module.startswith("pythia_traj.") else None
            if other in FLOORS and room in FLOORS and other != room:
                edges.add((room, other))
    order: list[str] = []

    def visit(room, above=()):
        assert room not in above, f"a circle: {' -> '.join((*above, room))}"
        if room not in order:
            for _, other in sorted(edge for edge in edges if edge[0] == room):
                visit(other, (*above, room))
            order.append(room)

    for room in FLOORS:
        visit(room)


HEAVY = ("torch", "transformer_lens", "transformers", "pandas", "pyarrow", "plotly", "dash")


def loaded_by(code):
    checked = f"{code}; import sys; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    return subprocess.run(
        [sys.executable, "-c", checked], capture_output=True, text=True, check=True
    ).stdout.split()


def test_importing_the_package_and_the_command_line_is_light():
    assert loaded_by("import pythia_traj, pythia_traj.cli") == []


@pytest.mark.parametrize(
    "command", [["--help"], ["sweep", "--help"], ["steps", "{suite}"], ["status", "{suite}"]]
)
def test_commands_that_need_no_model_load_no_torch(command, suite):
    filled = [word.format(suite=suite) for word in command]
    code = (
        f"from pythia_traj.cli.main import app\ntry: app({filled!r})\n"
        "except BaseException as e: pass\nfinally: print('')\n"
    )
    output = subprocess.run(
        [
            sys.executable,
            "-c",
            code
            + "import sys; print(*[m for m in ('torch', 'transformer_lens') if m in sys.modules],"
            " sep='')",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert output.splitlines()[-1] == ""


def test_reading_a_run_needs_no_torch(suite, tmp_path):
    import pythia_traj as pt

    pt.sweep(
        pt.SweepConfig(
            model=str(suite),
            steps="0",
            experiments={"induction": {"length": 20, "n": 2}},
            out=tmp_path / "run",
        )
    )
    code = (
        f"import pythia_traj as pt; pt.load({str(tmp_path / 'run')!r});"
        f" pt.status({str(tmp_path / 'run')!r})"
    )
    assert "torch" not in loaded_by(code)


def test_files_and_functions_stay_short():
    for path, relative in sources():
        text = path.read_text()
        assert text.count("\n") <= MOST_LINES, f"{relative} is long"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[bool(ast.get_docstring(node)) and len(node.body) > 1 :]
                length = (node.end_lineno or 0) - body[0].lineno + 1
                assert length < MOST_OF_A_BODY, f"{relative}: {node.name} is long"


def test_no_prints_and_no_utils():
    for path, relative in sources():
        assert path.stem != "utils"
        calls = [
            node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
        ]
        assert not [
            call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"
        ], relative
