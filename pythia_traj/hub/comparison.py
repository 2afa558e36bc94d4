"""Which file belongs to which revision, among those that a request is about."""

import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

from pythia_traj.errors import CheckpointError
from pythia_traj.hub.choice import whose
from pythia_traj.hub.inventory import MAIN, Holders
from pythia_traj.hub.repository import Repository
from pythia_traj.suites.files import WEIGHTS


class Comparison:
    """Compares the weight files of a request's steps.

    They are compared with each other, with `main`'s and the last step's, and with all remembered
    ones.
    """

    def __init__(self, repository: Repository, steps: Mapping[str, int]) -> None:
        """Asks nothing yet.

        Args:
            steps: the step of each branch; of a known suite also steps that were not published.
        """
        self._repository, self._steps = repository, steps
        self._branches = {step: branch for branch, step in steps.items()}
        self._expected: tuple[int, ...] = ()
        self._holders: Holders | None = None
        self._lock = threading.Lock()

    def expect(self, steps: Sequence[int]) -> None:
        """The steps of the request."""
        with self._lock:
            self._expected, self._holders = tuple(dict.fromkeys(steps)), None

    def holders(self) -> Holders:
        """Who holds which weights. The first call lists the files of all steps that are expected.

        Raises:
            CheckpointError: the files of `main` or of the last step cannot be listed, so that the
                owner of a file is not known.
            HubError: the Hub cannot be asked.
        """
        with self._lock:
            if self._holders is None:
                last = self._branches[self.last]
                expected = [self._branches[step] for step in self._expected]
                holders = self._repository.inventory.holders(self._steps, [last, *expected])
                needed = [name for name in (last, MAIN) if name in holders.missing]
                if needed and not self._repository.client.offline:
                    raise CheckpointError(
                        f"it cannot be told whose the files of a step of {self._repository.name}"
                        f" are, because those of {needed[0]} cannot be listed:"
                        f" {holders.missing[needed[0]]}"
                    )
                self._holders = holders
            return self._holders

    @cached_property
    def last(self) -> int:
        """The last step that is published. A branch without weights does not count.

        Raises:
            HubError: the Hub cannot be asked.
        """
        branches = self._repository.inventory.branches()
        for step in sorted(self._branches, reverse=True):
            commit = branches.get(self._branches[step])
            if commit is None:
                continue
            try:
                if any(file.path in WEIGHTS for file in self._repository.inventory.files(commit)):
                    return step
            except CheckpointError:
                return step
        return max(self._branches)

    def knows_as_foreign(self, step: int, blobs: Iterable[str]) -> bool:
        """Whether one of these weights of a step is remembered as another step's; asks nothing."""
        known = self._remembered
        last = max((step, *(other for held in known.steps.values() for other in held)))
        return any(whose(step, blob, known, last=last) for blob in blobs)

    @cached_property
    def _remembered(self) -> Holders:
        return self._repository.inventory.remembered_holders(self._steps)
