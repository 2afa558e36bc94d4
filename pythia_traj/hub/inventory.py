"""What a repository holds: branch -> commit -> files -> digest, size.

This is the one place that knows; it reads no byte of weights. Branches come from one listing, files
of a commit from one listing each; both are remembered on this machine, so a repeated sweep asks for
nothing. `holders` turns the listings that a request needs into the answer to one question: which
steps hold a content?
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pythia_traj.errors import CheckpointError, HubError
from pythia_traj.hub import shared
from pythia_traj.hub.client import Client
from pythia_traj.hub.listed import RemoteFile
from pythia_traj.hub.listings import Listings
from pythia_traj.suites.files import is_weights

MAIN = "main"

_LISTINGS_AT_ONCE = 4


@dataclass
class Holders:
    """Who holds a content, among the revisions that were compared.

    Attributes:
        main: the digests of `main`'s weight files.
        steps: for each digest of a weight file, the steps that hold it.
        compared: the revisions whose files are counted here.
        missing: revisions that should have been compared and whose files cannot be listed, each
            with the reason.
    """

    main: set[str] = field(default_factory=set)
    steps: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    compared: set[str] = field(default_factory=set)
    missing: dict[str, str] = field(default_factory=dict)

    def add(self, revision: str, step: int | None, files: Iterable[RemoteFile]) -> None:
        """Counts the weight files of a revision; `main` has no step."""
        self.compared.add(revision)
        for file in files:
            if not is_weights(file.path):
                continue
            if step is None:
                self.main.add(file.blob)
            else:
                self.steps[file.blob].add(step)


class Inventory:
    """The branches of a repository and the files of their commits."""

    def __init__(self, client: Client, repo: str, *, refresh: bool) -> None:
        self._client, self._repo, self._refresh = client, repo, refresh
        self._listings = Listings(client.endpoint, repo)
        self._branches: dict[str, str] | None = None
        self._is_partial = False
        self._files: dict[str, tuple[RemoteFile, ...]] = {}
        self.unlisted: set[str] = set()
        """Commits whose files are known from this machine alone; the Hub has not confirmed them."""

    def branches(self) -> dict[str, str]:
        """The commit of every branch: remembered, or from one listing.

        Raises:
            HubError: they cannot be listed.
        """
        if self._branches is None:
            known = (
                None if self._refresh and not self._client.offline else self._listings.branches()
            )
            if known is None and self._client.offline:
                known = shared.branches(self._repo) or None
                self._is_partial = known is not None
            if known is None:
                known = self._client.branches(self._repo)
                self._listings.keep_branches(known)
            self._branches = known
        return self._branches

    def commit(self, revision: str) -> str:
        """The commit that a branch pointed to.

        Raises:
            CheckpointError: the branch does not exist.
            HubError: the Hub cannot be asked.
        """
        commit = self.branches().get(revision)
        if commit is None:
            raise CheckpointError(
                f"{self._repo} has no branch {revision}: if it was published lately, repeat with"
                " --refresh"
            )
        return commit

    def files(self, commit: str) -> tuple[RemoteFile, ...]:
        """The files of a commit: remembered, or from one listing.

        Raises:
            CheckpointError: they cannot be listed.
        """
        known = self.remembered(commit)
        if known is None and self._client.offline:
            known = self._cached_files(commit)
        if known is None:
            try:
                known = self._client.files(self._repo, commit)
            except HubError as error:
                # The branches could be listed: only this commit is gone, or not kept for use
                # offline.
                raise CheckpointError(f"files of commit {commit[:12]}: {error}") from None
            self._listings.keep_files(commit, known)
        self._files[commit] = known
        return known

    def remembered(self, commit: str) -> tuple[RemoteFile, ...] | None:
        """The files of a commit, if they are known without asking."""
        if commit not in self._files:
            known = self._listings.files(commit)
            if known is None:
                return None
            self._files[commit] = known
        return self._files[commit]

    def holders(self, steps: Mapping[str, int], wanted: Iterable[str]) -> Holders:
        """Who holds which weights.

        It counts `main`, the wanted branches, and all others whose files are remembered, and lists
        nothing else. A branch that cannot be listed is left out: it fails when its own turn comes.

        Args:
            steps: the step of each branch that is one.
            wanted: branches to list, beside `main`; those that do not exist are skipped.

        Raises:
            HubError: the branches cannot be listed.
        """
        branches = self.branches()
        asked = [name for name in dict.fromkeys((MAIN, *wanted)) if name in branches]
        holders = Holders()
        for name, files in zip(
            asked, self._all_files([branches[name] for name in asked]), strict=True
        ):
            if isinstance(files, CheckpointError):
                holders.missing[name] = str(files)
            else:
                holders.add(name, steps.get(name), files)
        if self._is_partial and MAIN not in branches:
            holders.missing[MAIN] = "it is not known offline"
        self._add_remembered(holders, branches, steps)
        return holders

    def remembered_holders(self, steps: Mapping[str, int]) -> Holders:
        """The same from remembered listings only; asks nothing."""
        branches = self._branches or self._listings.branches() or {}
        holders = Holders()
        self._add_remembered(holders, branches, {**steps, MAIN: None})
        return holders

    def _add_remembered(
        self, holders: Holders, branches: Mapping[str, str], steps: Mapping[str, int | None]
    ) -> None:
        for name, step in steps.items():
            if name in branches and name not in holders.compared:
                files = self.remembered(branches[name])
                if files is not None:
                    holders.add(name, step, files)

    def _all_files(self, commits: list[str]) -> list[tuple[RemoteFile, ...] | CheckpointError]:
        """The files of commits, several asked for at once.

        For a commit that cannot be listed, the reason.
        """

        def ask(commit: str) -> tuple[RemoteFile, ...] | CheckpointError:
            try:
                return self.files(commit)
            except CheckpointError as error:
                return error

        with ThreadPoolExecutor(_LISTINGS_AT_ONCE, thread_name_prefix="pythia-traj-list") as pool:
            asked = [pool.submit(ask, commit) for commit in commits]
            try:
                return [answer.result() for answer in asked]
            except BaseException:
                # The caller does not wait any more: running requests end their attempts.
                self._client.stopped.set()
                for answer in asked:
                    answer.cancel()
                raise

    def _cached_files(self, commit: str) -> tuple[RemoteFile, ...] | None:
        """The files of a commit that another tool left in the Hub's cache."""
        left = shared.left_of(self._repo, commit)
        if left is None:
            return None
        if not left.is_listed:
            self.unlisted.add(commit)
        return left.files
