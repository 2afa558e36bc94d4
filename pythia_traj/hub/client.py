"""What is asked of the Hub: its answers as data.

Everything goes through the session of `huggingface_hub`, so endpoint, proxies, tokens and the
offline switch are those of every other tool. Its functions for listings and downloads are not used:
they retry by themselves, so that retries would multiply, and a listing of files has no time limit.
"""

import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

import httpx2
from huggingface_hub import constants, get_token, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.utils import build_hf_headers, validate_repo_id  # type: ignore[attr-defined]

from pythia_traj.errors import CheckpointError, HubError
from pythia_traj.hub import answers, environment, network, shared, small
from pythia_traj.hub.connections import Connections
from pythia_traj.hub.deadline import Deadline, TooSlowError, within
from pythia_traj.hub.listed import RemoteFile, is_file, is_inside
from pythia_traj.hub.questions import Questions
from pythia_traj.hub.refusals import Refusals, cannot_write
from pythia_traj.hub.retry import Attempts, GivenUpError, RetryPolicy, describe
from pythia_traj.printable import one_line

_Result = TypeVar("_Result")


class Client:
    """The Hub at the configured endpoint (`HF_ENDPOINT`), with the token (`HF_TOKEN`), if any.

    Attributes:
        endpoint: the address that is asked, without the user and password that `HF_ENDPOINT` holds.

    Raises:
        HubError: the endpoint is not an address, the token cannot be sent, or a proxy or
            certificates cannot be used.
    """

    def __init__(self, retry: RetryPolicy | None = None) -> None:
        self.retry = retry or RetryPolicy()
        self.stopped = threading.Event()
        """Set when answers are not wanted any more."""
        given = environment.endpoint(constants.ENDPOINT)
        self.endpoint, self._authorization = given.address, given.authorization
        if not self.offline:
            environment.check_tokens()
            network.check()
        self.connections = Connections()
        """To the hosts of files, kept open between requests while this client lives."""
        weakref.finalize(self, self.connections.close)
        self._questions = Questions(self.retry, self.stopped.is_set)

    @property
    def has_token(self) -> bool:
        """Whether the user has a token here."""
        return bool(self._token())

    @property
    def offline(self) -> bool:
        """Whether `HF_HUB_OFFLINE` forbids all requests."""
        return constants.is_offline_mode()

    def branches(self, repo: str) -> dict[str, str]:
        """The commit of every branch, from one listing. Names that no branch can have are left out.

        Raises:
            HubError: they cannot be listed.
        """
        with self.asking(repo):
            validate_repo_id(repo)
            what = f"branches of {repo}"
            pages = self._listed(answers.Refs, what, f"api/models/{repo}/refs")
            try:
                listed = [
                    branch for page in pages for branch in page.branches if is_inside(branch.name)
                ]
            except HfHubHTTPError as error:
                # A Hub that lacks the repository answers otherwise (RepositoryNotFoundError).
                if type(error) is HfHubHTTPError and error.response.status_code in {404, 405, 501}:
                    raise HubError(
                        f"{self.endpoint} lists no branches of {repo} ({describe(error)}), by which"
                        " its steps are found: name a Hub or a mirror that does with HF_ENDPOINT"
                    ) from None
                raise
            branches = {branch.name: branch.commit for branch in listed}
            if len(branches) != len(listed):
                raise answers.UnfitError(f"it lists one branch of {repo} twice")
        return branches

    def files(self, repo: str, commit: str) -> tuple[RemoteFile, ...]:
        """The files of a commit. Names that no file of a repository can have are left out.

        Raises:
            HubError: they cannot be listed.
        """
        with self.asking(repo):
            validate_repo_id(repo)
            what = f"files of {repo} at {commit[:12]}"
            pages = self._listed(
                answers.Page, what, f"api/models/{repo}/tree/{commit}?recursive=true&expand=false"
            )
            listed = [
                entry
                for page in pages
                for entry in page.root
                if entry.type == "file" and is_inside(entry.path)
            ]
            files = {entry.path: answers.remote_file(entry) for entry in listed}
            if len(files) != len(listed):
                raise answers.UnfitError(f"it lists one file of {repo} at {commit[:12]} twice")
        return tuple(files.values())

    def _listed(self, model: type[answers.Model], what: str, path: str) -> Iterator[answers.Model]:
        """The pages of a listing, each a question of its own.

        One limit of bytes and one of time are for all of them.
        """
        url: str | None = f"{self.endpoint}/{path}"
        asked: set[str] = set()
        most, seconds = answers.LISTING, self.retry.total
        while url is not None:
            if url in asked or len(asked) == answers.PAGES:
                raise answers.UnfitError(f"its listing of the {what} does not end")
            asked.add(url)
            page = self._questions.ask(what, self._page(url, model, what, most, seconds))
            most, seconds, url = most - page.size, page.seconds, page.next
            yield page.value

    def _page(
        self, url: str, model: type[answers.Model], what: str, most: int, seconds: float
    ) -> "Callable[[httpx2.Timeout, Attempts], answers.OfListing[answers.Model]]":
        """One page of a listing, as a question."""

        def ask(timeouts: httpx2.Timeout, attempts: Attempts) -> "answers.OfListing[answers.Model]":
            deadline = Deadline(min(seconds, attempts.total))

            def work() -> "answers.OfListing[answers.Model]":
                with answers.answer_to("GET", url, self._headers_for, timeouts) as response:
                    content = b"".join(answers.pieces(response, most, deadline))
                    value = answers.read(model, content, f"the {what}")
                    following = answers.next_page(response, self.endpoint, environment.DEFAULT)
                return answers.OfListing(value, following, len(content), deadline.left)

            return self._in_time(deadline, work)

        return ask

    def _in_time(self, deadline: Deadline, work: Callable[[], _Result]) -> _Result:
        """The answer to a question, given up if it takes too long in all.

        It is not asked again, because that would take as long.
        """
        try:
            return within(deadline, work)
        except TooSlowError as error:
            raise GivenUpError(error, 1, time.monotonic() - deadline.began, None) from None

    def download(self, repo: str, commit: str, file: RemoteFile) -> Path:
        """Fetches a small file of a commit into the Hub's cache on this machine.

        If its content is not what the Hub lists, it is fetched once more.

        Raises:
            CheckpointError: it cannot be fetched, or its content is wrong the second time too.
            StoreError: the cache cannot be written.
        """
        try:
            with self.asking(repo):
                for _ in range(2):
                    content = self._content(repo, commit, file)
                    if is_file(memoryview(content), file):
                        return self._kept(repo, commit, file, content)
        except HubError as error:
            raise CheckpointError(f"{file.path} at commit {commit[:12]}: {error}") from None
        raise CheckpointError(
            f"{file.path} of {repo} at {commit[:12]} is corrupt: fetched twice, its content is not"
            " what the Hub lists"
        )

    def _kept(self, repo: str, commit: str, file: RemoteFile, content: bytes) -> Path:
        try:
            return small.keep(repo, commit, file, content)
        except OSError as error:
            raise cannot_write(error) from None

    def _content(self, repo: str, commit: str, file: RemoteFile) -> bytes:
        location, _ = self.address(repo, commit, file.path)
        arrived = small.Arrived(file.size, self.retry.total)

        def ask(timeouts: httpx2.Timeout, attempts: Attempts) -> bytes:
            deadline = Deadline(min(arrived.seconds, attempts.total))
            try:
                return self._in_time(
                    deadline,
                    lambda: small.receive(
                        location, self._headers_for, arrived, deadline, timeouts, attempts
                    ),
                )
            finally:
                arrived.seconds = deadline.left

        return self._questions.ask(f"{repo}/{file.path} at {commit[:12]}", ask)

    def cached(self, repo: str, commit: str, name: str) -> Path | None:
        """A file of a commit that is in the Hub's cache already."""
        found = try_to_load_from_cache(repo, name, revision=commit)
        return Path(found) if isinstance(found, str) else None

    def cached_blob(self, repo: str, blob: str) -> Path | None:
        """A file in the Hub's cache by its content, whichever commit it was fetched for."""
        return shared.blob(repo, blob)

    def status(self, *, seconds: float = 5.0) -> int:
        """The status of the answer to a small question.

        Raises:
            HubError: nothing answers.
        """
        return self._small_question("api/models?limit=1", seconds)[0]

    def owner(self, *, seconds: float = 5.0) -> tuple[int, str | None]:
        """Whose the token is, with the status of the answer; None where it does not say.

        Raises:
            HubError: nothing answers, or the answer is not a Hub's.
        """
        status, content = self._small_question("api/whoami-v2", seconds)
        if status != 200:
            return status, None
        with self.asking("this token"):
            return status, one_line(answers.read(answers.Owner, content, "the token's owner").name)

    def _small_question(self, path: str, seconds: float) -> tuple[int, bytes]:
        deadline, timeouts = Deadline(seconds), httpx2.Timeout(seconds)

        def work() -> tuple[int, bytes]:
            try:
                with answers.answer_to(
                    "GET", f"{self.endpoint}/{path}", self._headers_for, timeouts
                ) as response:
                    return response.status_code, b"".join(
                        answers.pieces(response, answers.LISTING, deadline)
                    )
            except HfHubHTTPError as error:
                return error.response.status_code, b""

        with self.asking("this request"):
            return within(deadline, work)

    def address(self, repo: str, commit: str, name: str) -> tuple[str, dict[str, str]]:
        """Where the bytes of a file are, and the headers to send there.

        For a large file it is a signed address that expires.

        Raises:
            httpx2.HTTPError: the Hub does not say.
        """
        url = f"{self.endpoint}/{repo}/resolve/{quote(commit, safe='')}/{quote(name)}"

        def ask(timeouts: httpx2.Timeout, attempts: Attempts) -> str:
            def work() -> str:
                with answers.answer_to(
                    "HEAD", url, self._headers_for, timeouts, stays=True
                ) as response:
                    if response.has_redirect_location:
                        return answers.address(response.headers["location"], response.url)
                    # It has no body; reading it lets the connection be used again.
                    response.read()
                    return str(response.url)

            return self._in_time(Deadline(attempts.total), work)

        location = self._questions.ask(f"address of {repo}/{name} at {commit[:12]}", ask)
        return location, self._headers_for(location)

    def _headers_for(self, location: str) -> dict[str, str]:
        """A token is for the endpoint's own origin alone.

        A link, a redirect and a signed address may lead to any server.
        """
        return self._headers() if answers.is_same_origin(location, self.endpoint) else {}

    def _headers(self) -> dict[str, str]:
        headers = dict(build_hf_headers(token=self._token()))
        if self._authorization is not None:
            headers["authorization"] = self._authorization
        return headers

    def _token(self) -> str | bool:
        """The user's token, or False: an empty one would be sent as a malformed header."""
        try:
            token = get_token()
        except (OSError, ValueError):
            raise HubError("the token of `hf auth login` cannot be read: log in again") from None
        environment.check_token("the token of `hf auth login`", token or "")
        return token or False

    def asking(self, repo: str) -> AbstractContextManager[None]:
        """Turns the Hub's refusals, and its silence, into HubErrors that are sentences."""
        return Refusals(self.endpoint, lambda: self.has_token).said(repo)
