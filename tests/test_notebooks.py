"""The notebooks as they lie in git: no outputs, plain English, and a first cell that installs in
Colab alone. tests/test_demo.py runs them.
"""

import importlib.util
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

from tests.plain_english import in_text

FOLDER = Path(__file__).parents[1] / "notebooks"
NAMES = sorted(path.name for path in FOLDER.glob("*.ipynb"))


def cells(name, kind):
    return [
        cell for cell in nbformat.read(FOLDER / name, as_version=4).cells if cell.cell_type == kind
    ]


def test_there_are_four():
    assert NAMES == [
        "ablation_and_onset.ipynb",
        "comparing.ipynb",
        "hooks.ipynb",
        "trajectory.ipynb",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_whole_and_has_no_outputs(name):
    nbformat.validate(nbformat.read(FOLDER / name, as_version=4))
    for cell in cells(name, "code"):
        assert cell.outputs == [], "commit notebooks without outputs"
        assert cell.execution_count is None


@pytest.mark.parametrize("name", NAMES)
def test_its_text_is_plain_english_under_a_title(name):
    texts = [cell.source for cell in cells(name, "markdown")]
    assert texts[0].startswith("# ")
    assert [found for text in texts for found in in_text(text)] == []


class Shell:
    """What a cell's magic commands are given to."""

    def __init__(self):
        self.commands = []

    def run_line_magic(self, *words):
        self.commands.append(words)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("there", [(), ("google",), ("google", "google.colab")], ids="/".join)
def test_its_first_cell_installs_where_colab_is_and_only_there(name, there, monkeypatch):
    code = TransformerManager().transform_cell(cells(name, "code")[0].source)
    shell = Shell()
    monkeypatch.setattr(importlib.util, "find_spec", lambda asked: asked in there or None)
    exec(code, {"get_ipython": lambda: shell})
    installed = [("pip", "install --quiet pythia-traj")] if "google.colab" in there else []
    assert shell.commands == installed
