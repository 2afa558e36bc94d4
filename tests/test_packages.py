"""What a wheel is made of: setuptools finds every room, and nothing lists them by hand."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BESIDE = ("experiments", "configs")
NEW = ("new_room/__init__.py", "new_room/inside/__init__.py", "models/new_folder/__init__.py")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The names of the files in a wheel of these sources with some folders more."""
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy2(ROOT / name, source / name)
    for name in ("pythia_traj", *BESIDE):
        shutil.copytree(
            ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", ".*")
        )
    for name in NEW:
        path = source / "pythia_traj" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    build = f"from setuptools import build_meta; build_meta.build_wheel({str(built)!r})"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (file,) = built.glob("*.whl")
    with zipfile.ZipFile(file) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_a_wheel_holds_every_source_and_nothing_else(wheel):
    sources = {
        f"pythia_traj/{path.relative_to(ROOT / 'pythia_traj')}"
        for path in (ROOT / "pythia_traj").rglob("*.py")
    }
    sources |= {f"pythia_traj/experiments/{path.name}" for path in ROOT.glob("experiments/*.py")}
    sources |= {f"pythia_traj/configs/{path.name}" for path in ROOT.glob("configs/*.*")}
    sources |= {
        f"pythia_traj/{path.relative_to(ROOT / 'pythia_traj')}"
        for path in (ROOT / "pythia_traj").rglob("templates/*.*")
    }
    assert wheel == sources | {"pythia_traj/py.typed"} | {f"pythia_traj/{name}" for name in NEW}


def test_the_folders_beside_the_package_have_none_below_them_that_a_wheel_would_miss():
    below = [path for name in BESIDE for path in (ROOT / name).glob("*/*") if path.suffix != ".pyc"]
    assert not below
