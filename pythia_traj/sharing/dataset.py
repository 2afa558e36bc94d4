"""A dataset of the Hub that is written to, by the Hub's own client."""

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pythia_traj.errors import HubError
from pythia_traj.outside import in_one_line

_OURS = ("data/", "metrics/", "requests/", "tables/")
"""Folders of a dataset that are the run's alone."""

OnFile = Callable[[int, int], None]
"""Receives how many files are there, and how many there will be."""


class Dataset:
    """A dataset, and a branch of it."""

    def __init__(self, name: str, revision: str | None) -> None:
        """Looks for a token.

        Raises:
            HubError: there is none.
        """
        import huggingface_hub as hub

        if hub.get_token() is None:
            raise HubError(
                f"{name} cannot be written without a token: log in with hf auth login, or set"
                " HF_TOKEN to one that may write, and repeat"
            )
        self._hub, self._api = hub, hub.HfApi()
        self._name, self._revision = name, revision

    def create(self, *, private: bool) -> None:
        """Makes the dataset and the branch, where they do not exist.

        Raises:
            HubError: the Hub refuses.
        """
        with _refusals(self._name):
            self._api.create_repo(
                self._name, repo_type="dataset", private=private or None, exist_ok=True
            )
            if self._revision is not None:
                self._api.create_branch(
                    self._name, repo_type="dataset", branch=self._revision, exist_ok=True
                )

    def commit(
        self, files: Mapping[str, Path], message: str, *, only: Collection[str] | None = None
    ) -> str:
        """Adds files in one commit, and returns it.

        Args:
            files: by their names in the dataset; what is there already is not sent.
            message: the commit's.
            only: what the run has; other files in its folders are deleted. None deletes none.

        Raises:
            HubError: the Hub refuses.
        """
        operations: list[Any] = [
            self._hub.CommitOperationAdd(path_in_repo=name, path_or_fileobj=str(path))
            for name, path in files.items()
        ]
        with _refusals(self._name), _no_bars():
            if only is not None:
                operations += self._deleting(only)
            made = self._api.create_commit(
                self._name,
                operations,
                repo_type="dataset",
                revision=self._revision,
                commit_message=message,
            )
        return str(made.oid)

    def _deleting(self, only: Collection[str]) -> list[Any]:
        there = self._api.list_repo_files(self._name, repo_type="dataset", revision=self._revision)
        return [
            self._hub.CommitOperationDelete(path_in_repo=name)
            for name in there
            if name.startswith(_OURS) and name not in only
        ]


@contextmanager
def _refusals(name: str) -> Iterator[None]:
    """Turns what the client raises into one sentence."""
    from huggingface_hub.errors import HfHubHTTPError

    with in_one_line(name, error=HubError):
        try:
            yield
        except HfHubHTTPError as error:
            status = error.response.status_code
            if status not in (401, 403):
                raise
            raise HubError(
                f"{name}: the Hub does not let this token write there ({status}): log in with"
                " hf auth login as somebody who may, or set HF_TOKEN to a token that may write"
            ) from None


@contextmanager
def _no_bars() -> Iterator[None]:
    """Without the client's progress bars: a command has one of its own."""
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    were_off = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not were_off:
            enable_progress_bars()
