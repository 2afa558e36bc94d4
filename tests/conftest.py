"""Fixtures: a tiny random suite, made once for all tests, and copies that a test may damage."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Nothing here may reach a model hub.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("HF_TOKEN", None)
# Nor touch what is kept for the user.
os.environ["PYTHIA_TRAJ_CACHE"] = tempfile.mkdtemp(prefix="pythia-traj-tests-")
# Two workers with a thread per core each: threads that wait for the others keep those from
# running, and a training of a minute takes ten. Beside another worker one thread is enough.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests import checked
from tests.support import publish_suite

CHECKED = ("pythia_traj.engines", "pythia_traj.models")
assert not [name for name in sys.modules if name.startswith(CHECKED)], "imported too early"
# Annotated shapes are checked at every call while tests run, in this process and in each worker;
# users' calls are not. It concerns what is imported from here on.
install_import_hook(list(CHECKED), f"{checked.__name__}.check")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The demo takes longest of the slow ones: begun last, one worker would wait for the other."""
    items.sort(key=lambda item: item.path.name != "test_demo.py")


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four random checkpoints; not to be changed."""
    return publish_suite(tmp_path_factory.mktemp("suites") / "tiny")


@pytest.fixture
def own_suite(suite: Path, tmp_path: Path) -> Path:
    """A copy that the test may change."""
    return Path(shutil.copytree(suite, tmp_path / "own"))


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mounts small file systems, `mount("size=1m,ro")`, until the test ends; where that is not
    allowed the test is skipped.
    """
    mounted: list[Path] = []

    def make(options: str) -> Path:
        path = tmp_path / f"disk{len(mounted)}"
        path.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
            pytest.skip("mounting a file system needs root")
        mounted.append(path)
        return path

    yield make
    for path in mounted:
        # Lazily: an exception that the test has caught keeps the failed writer's file open.
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Runs a command in this process: exit status, standard output, standard error."""
    from pythia_traj.cli import main

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert isinstance(end.value.code, int)
        return end.value.code, captured.out, captured.err

    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory in which `pythia-traj demo` was run: `toy/`, `run/`. One file asks for it, and
    has a worker to itself.
    """
    directory = tmp_path_factory.mktemp("demo")
    command = [str(Path(sys.executable).with_name("pythia-traj")), "demo", "--out", "run"]
    result = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stderr == "", "the demo complains"
    (directory / "printed.txt").write_text(result.stdout)
    return directory
