"""The documentation: what is generated is fresh, what is shown runs, what is linked exists."""

import importlib.util
import re
from pathlib import Path

import pytest

import pythia_traj as pt

ROOT = Path(__file__).parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "docs").glob("*.md")),
]


def generate():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.files()


def test_generated_files_are_fresh():
    for name, text in generate().items():
        assert (ROOT / name).read_text() == text, f"{name} is stale: make docs"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert target.startswith("https://") or (page.parent / target).exists(), target


def test_the_readmes_experiment_runs(suite, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "entropy.py").write_text(next(block for block in blocks if "def entropy" in block))
    monkeypatch.chdir(tmp_path)
    pt.sweep(
        pt.SweepConfig(
            model=str(suite),
            steps="0,last",
            experiments="./entropy.py,induction",
            out=tmp_path / "run",
        )
    )
    rows = pt.load(tmp_path / "run", metric="attention_entropy")
    assert len(rows) == 2 * 2 * 4  # steps, layers, heads
    assert rows.value.between(0, 5).all()


def test_every_room_is_on_the_map():
    from tests.test_structure import FLOORS

    table = (ROOT / "docs" / "architecture.md").read_text()
    shown = {
        name.strip("/"): int(floor)
        for floor, name in re.findall(r"^\| (\d) \| `([a-z]+/?)`", table, re.MULTILINE)
    }
    assert shown == FLOORS
