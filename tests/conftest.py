"""Fixtures: a tiny random suite, made once for all tests, and copies of it that a test may damage."""

import os
import shutil
from pathlib import Path

import pytest

# Nothing here may reach a model hub.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.pop("HF_TOKEN", None)

from tests.support import publish_suite


@pytest.fixture(scope="session")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four random checkpoints; not to be changed."""
    return publish_suite(tmp_path_factory.mktemp("suites") / "tiny")


@pytest.fixture
def own_suite(suite: Path, tmp_path: Path) -> Path:
    """A copy that the test may change."""
    return Path(shutil.copytree(suite, tmp_path / "own"))
