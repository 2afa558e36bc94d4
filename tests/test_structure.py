"""The rooms: who imports whom, how light the import is, how long files and functions get."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests.structure import Rules, habits, violations

ROOT = Path(__file__).parents[1]

FLOORS = {
    "errors": 0,
    "extras": 1,
    "printable": 0,
    "folder": 0,
    "standins": 0,
    "schedulers": 1,
    "outside": 1,
    "notebook": 1,
    "steps": 1,
    "schema": 1,
    "keys": 1,
    "checkpoint": 1,
    "processing": 1,
    "bibliography": 1,
    "engines": 1,
    "architectures": 2,
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
    "entries": 3,
    "layers": 3,
    "store": 2,
    "hub": 3,
    "models": 3,
    "resources": 3,
    "config": 3,
    "editor": 4,
    "analysis": 3,
    "bench": 3,
    "rolebench": 3,
    "experiments": 4,
    "toy": 4,
    "stream": 4,
    "sweeps": 5,
    "cluster": 6,
    "figures": 4,
    "reports": 6,
    "live": 6,
    "dashboards": 6,
    "sharing": 6,
    "doctor": 6,
    "cli": 7,
}
"""Floors of docs/architecture.md: a room imports rooms of lower floors, or itself, or a sibling on
its own floor without a circle.
"""

MOST_LINES, MOST_OF_A_BODY = 460, 60
"""Of a file, and of a function without its signature and docstring."""

RULES = Rules(
    floors=FLOORS,
    only={
        "engines": (),
        "experiments": (
            "bench",
            "data",
            "engines",
            "errors",
            "experiment",
            "folder",
            "processing",
            "rolebench",
            "schema",
            "values",
        ),
    },
    never={"hub": ("models",), "models": ("hub",)},
    not_by_name=("experiments",),
    # Those on both sides of a checkpoint know its protocol, and it knows neither of them.
    walk=(
        ("checkpoint",),
        ("steps",),
        ("suites", "hub"),
        ("models",),
        ("rows", "values", "bench", "rolebench", "experiments"),
        ("store",),
    ),
    libraries={
        "analysis": ("pandas", "ruptures", "scipy"),
        "cli": ("typer",),
        "bench": ("jaxtyping", "torch"),
        "rolebench": ("torch",),
        "figures": ("pandas", "plotly"),
        "live": ("pandas", "pyarrow"),
        "dashboards": ("dash", "flask", "jinja2", "pandas", "plotly"),
        "reports": ("jinja2", "pandas", "plotly"),
        "data": ("tokenizers",),
        "engines": ("einops", "jaxtyping", "scipy", "torch", "transformer_lens"),
        "experiments": ("torch", "transformer_lens"),
        "hub": ("httpx2", "huggingface_hub"),
        "models": ("jaxtyping", "tokenizers", "torch", "transformer_lens", "transformers"),
        "sharing": ("pandas", "pyarrow", "yaml"),
        "store": ("pandas", "pyarrow", "safetensors"),
        "stream": ("torch", "transformer_lens"),
        "sweeps": ("torch", "transformer_lens"),
        "toy": ("safetensors", "tokenizers", "torch", "transformers"),
        "cluster": ("submitit", "yaml"),
        "yamlfile": ("yaml",),
    },
    late={
        "cluster": ("torch",),
        "dashboards": ("waitress",),
        "data": ("datasets", "pyarrow"),
        "doctor": ("huggingface_hub", "torch"),
        "reads": ("transformer_lens",),
        "reports": ("choreographer", "kaleido"),
        "sharing": ("huggingface_hub", "tensorboard", "wandb"),
        "store": ("fsspec",),
        "sweeps": ("pandas",),
    },
    anywhere=("annotated_types", "numpy", "psutil", "pydantic", "pydantic_core", "rich"),
    constructed={"HookedTransformer": "models"},
)
"""Whoever needs a library in a room that has none of it yet adds it here, and so says it."""


def sources():
    """All of the package and of the experiments: where a file is in the package, and its text."""
    packaged, own = ROOT / "pythia_traj", ROOT / "experiments"
    paths = {path: path.relative_to(packaged) for path in sorted(packaged.rglob("*.py"))}
    paths |= {path: path.relative_to(ROOT) for path in sorted(own.rglob("*.py"))}
    return [(relative, path.read_text()) for path, relative in paths.items()]


def test_no_import_breaks_a_rule_of_the_rooms():
    assert violations(RULES, sources()) == []


def test_every_name_in_the_rules_is_there():
    rooms = {relative.parts[0].removesuffix(".py") for relative, _ in sources()}
    assert RULES.rooms() == rooms - {"__init__"}
    assert [name for name in RULES.packages() if importlib.util.find_spec(name) is None] == []
    import transformer_lens

    assert [name for name in RULES.constructed if not hasattr(transformer_lens, name)] == []


HEAVY = ("torch", "transformer_lens", "transformers", "pandas", "pyarrow", "plotly", "dash")


def loaded_by(code):
    """The heavy libraries that a new Python has loaded when it has run this."""
    checked = f"{code}\nimport sys; print(); print(*[m for m in {HEAVY!r} if m in sys.modules])"
    output = subprocess.run(
        [sys.executable, "-c", checked], capture_output=True, text=True, check=True
    ).stdout
    return output.splitlines()[-1].split()


def test_importing_the_package_and_the_command_line_is_light():
    assert loaded_by("import pythia_traj, pythia_traj.cli") == []


def test_figures_need_no_torch():
    loaded = loaded_by("import pythia_traj.reports.report")
    assert "plotly" in loaded
    assert "torch" not in loaded


def test_serving_a_page_needs_no_torch(tmp_path):
    code = (
        "from urllib.request import urlopen; from pythia_traj.store.layout import Run;"
        " from pathlib import Path; from pythia_traj.dashboards.serving import dashboard\n"
        f"run = Run.create(Path({str(tmp_path / 'run')!r})).path\n"
        "with dashboard(run, port=0) as page: urlopen(page.url).read()"
    )
    loaded = loaded_by(code)
    assert "dash" in loaded
    assert "torch" not in loaded


@pytest.mark.parametrize(
    "command",
    [
        ["--help"],
        ["sweep", "--help"],
        ["worker", "{suite}", "--shard", "0/1"],
        ["steps", "{suite}"],
        ["status", "{suite}"],
    ],
)
def test_commands_that_need_no_model_load_no_torch(command, suite):
    filled = [word.format(suite=suite) for word in command]
    code = f"from pythia_traj.cli.main import app\ntry: app({filled!r})\nexcept BaseException: pass"
    assert not {"torch", "transformer_lens"} & set(loaded_by(code))


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


def test_files_and_functions_stay_short_and_none_prints():
    assert habits(sources(), most_lines=MOST_LINES, most_of_a_body=MOST_OF_A_BODY) == []
