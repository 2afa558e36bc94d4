"""What is installed from a wheel, in an environment of its own, is whole: no file of the repository
is missed.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.network, pytest.mark.slow]


def run(*command, **options):
    result = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, **options
    )
    assert result.returncode == 0, (
        f"{' '.join(map(str, command))}\n{result.stdout}\n{result.stderr}"
    )
    return result.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The bin directory of a fresh environment into which the wheel was installed."""
    root = tmp_path_factory.mktemp("wheel")
    probe = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--retries",
        "1",
        "-d",
        str(root),
        "setuptools",
    ]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("no package registry can be reached: a wheel cannot be installed")
    # Building writes into the source folder: into a copy, then, and without what happens to lie in
    # this one.
    source = root / "source"
    files = ("setup.py", "pyproject.toml", "README.md", "LICENSE")
    for name in (*files, "pythia_traj", "experiments", "configs"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        source.mkdir(exist_ok=True)
        copy(ROOT / name, source / name)
    run(sys.executable, "-m", "build", "--wheel", "--outdir", root, source)
    (wheel,) = root.glob("pythia_traj-*.whl")
    run(sys.executable, "-m", "venv", root / "environment")
    python, constraints = root / "environment" / "bin" / "python", ROOT / "constraints.txt"
    run(python, "-m", "pip", "install", "-q", "-c", constraints, "torch")
    run(python, "-m", "pip", "install", "-q", "-c", constraints, wheel)
    return python.parent


def test_it_lists_experiments_and_runs_the_packaged_config_from_another_directory(
    installed, suite, tmp_path
):
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
    }
    where = {"cwd": tmp_path, "env": environment}
    package = Path(
        run(
            installed / "python", "-c", "import pythia_traj; print(pythia_traj.__file__)", **where
        ).strip()
    )
    assert installed.parent in package.parents
    listed = json.loads(run(installed / "pythia-traj", "experiments", "--json", **where))
    assert [experiment["name"] for experiment in listed] == [
        "ablation",
        "activations",
        "attention",
        "attribution",
        "behaviour",
        "head_roles",
        "induction",
        "linear_probe",
        "logit_attribution",
        "logit_lens",
        "loss",
        "memorization",
        "ngram",
        "patching",
        "representation",
        "samples",
        "transplant",
        "weights",
    ]
    swept = run(
        installed / "pythia-traj",
        "sweep",
        "demo",
        "--model",
        suite,
        "--out",
        "run",
        "--json",
        **where,
    )
    outcome = json.loads(swept)
    assert len(outcome["done"]) == 6 * 4
    assert not outcome["failed"]
    run(installed / "pythia-traj", "report", "run", "-o", "page.html", **where)
    assert (tmp_path / "page.html").stat().st_size > 1_000_000
