"""What is asked of the Hub: its answers as data, its refusals as sentences.

Everything goes through `huggingface_hub`, so endpoint, proxies, tokens and the offline switch are those of every other tool.
"""

import errno
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import httpx2
from huggingface_hub import (
    CachedRevisionInfo,
    HfApi,
    HfFileMetadata,
    constants,
    get_hf_file_metadata,
    get_session,
    get_token,
    hf_hub_download,
    hf_hub_url,
    scan_cache_dir,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    CacheNotFound,
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile, RepoFolder
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from pythia_traj.errors import CheckpointError, HubError, StoreError
from pythia_traj.hub.patience import Patience, StatusError, describe, patiently

_Answer = TypeVar("_Answer")


_COMMIT = re.compile(r"[0-9a-f]{40}")
_OF_THE_DISK = {errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EROFS}
_BLOB = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True)
class RemoteFile:
    """A file of a commit, as the Hub lists it.

    Attributes:
        path: its name, as whoever uploaded it chose it.
        size: in bytes.
        blob: what its content is known by: the sha256 of a large file, the git blob id (sha1) of a small one.
    """

    path: str
    size: int
    blob: str

    def __post_init__(self) -> None:
        # The blob becomes a file's name on this machine, and comes from whoever answers for the Hub.
        if not (isinstance(self.path, str) and isinstance(self.size, int) and self.size >= 0 and _is_blob(self.blob)):
            raise ValueError(f"{self.path!r} is listed with size {self.size!r} and digest {self.blob!r}")

    @property
    def sha256(self) -> str | None:
        """The sha256 of the content, if that is what the Hub knows it by."""
        return self.blob if len(self.blob) == 64 else None


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _is_blob(text: object) -> bool:
    return isinstance(text, str) and _BLOB.fullmatch(text) is not None


class Client:
    """The Hub at the configured endpoint (`HF_ENDPOINT`), with the configured token (`HF_TOKEN`), if any."""

    def __init__(self, patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        self.stopped = threading.Event()
        """Set when nobody waits for answers any more."""
        self.endpoint = constants.ENDPOINT.rstrip("/")
        self._api = HfApi(endpoint=self.endpoint)

    @property
    def has_token(self) -> bool:
        """Whether the user has a token here."""
        return bool(self._token())

    @property
    def offline(self) -> bool:
        """Whether `HF_HUB_OFFLINE` forbids to ask anything."""
        return constants.is_offline_mode()

    def branches(self, repo: str) -> dict[str, str]:
        """The commit of every branch, from one listing.

        Raises:
            HubError: it cannot be had.
        """
        with self.asking(repo):
            refs = self._patiently(f"branches of {repo}", lambda: self._api.list_repo_refs(repo, token=self._token()))
        branches = {branch.name: branch.target_commit for branch in refs.branches}
        if not all(_COMMIT.fullmatch(commit) for commit in branches.values()):
            # It becomes a file's name here.
            raise HubError(f"{self.endpoint} names commits of {repo} that are none: check HF_ENDPOINT")
        return branches

    def files(self, repo: str, commit: str) -> tuple[RemoteFile, ...]:
        """The files of a commit.

        Raises:
            HubError: they cannot be listed.
        """

        def ask() -> list[RepoFile | RepoFolder]:
            return list(self._api.list_repo_tree(repo, recursive=True, revision=commit, token=self._token()))

        with self.asking(repo):
            listed = self._patiently(f"files of {repo} at {commit[:12]}", ask)
        try:
            return tuple(
                RemoteFile(entry.path, entry.size, entry.lfs.sha256 if entry.lfs else entry.blob_id)
                for entry in listed
                if isinstance(entry, RepoFile)
            )
        except ValueError as error:
            raise HubError(
                f"{self.endpoint} lists files of {repo} that cannot be: {error}; check HF_ENDPOINT"
            ) from None

    def download(self, repo: str, commit: str, name: str, *, anew: bool = False) -> Path:
        """Fetches a file of a commit into the Hub's cache on this machine.

        Args:
            anew: also where it is there already.

        Raises:
            CheckpointError: it cannot be had.
        """

        def ask() -> str:
            try:
                return hf_hub_download(
                    repo, name, revision=commit, endpoint=self.endpoint, token=self._token(), force_download=anew
                )
            except LocalEntryNotFoundError as error:
                # The client says so of whatever went wrong when nothing is cached; what it was stands behind it.
                raise error.__cause__ or OfflineModeIsEnabled(str(error)) from None

        try:
            with self.asking(repo):
                # The client has tried several times itself by the time it gives up.
                patience = replace(self.patience, attempts=min(2, self.patience.attempts))
                return Path(patiently(patience, f"{repo}/{name} at {commit[:12]}", ask, self.stopped.is_set))
        except HubError as error:
            raise CheckpointError(f"{name} at commit {commit[:12]}: {error}") from None

    def cached(self, repo: str, commit: str, name: str) -> Path | None:
        """A file of a commit that is in the Hub's cache already."""
        found = try_to_load_from_cache(repo, name, revision=commit)
        return Path(found) if isinstance(found, str) else None

    def cached_blob(self, repo: str, blob: str) -> Path | None:
        """A file in the Hub's cache by its content, whichever commit it was fetched for."""
        # As the Hub's documentation lays the cache out; a file that is not whole yet has an ending.
        path = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}" / "blobs" / blob
        return path if path.is_file() else None

    def cached_commits(self, repo: str) -> dict[str, CachedRevisionInfo]:
        """What any tool has left of a repository in the Hub's cache, by commit; asks nothing of the Hub."""
        try:
            repositories = scan_cache_dir(constants.HF_HUB_CACHE).repos
        except CacheNotFound:
            return {}
        ours = [found for found in repositories if found.repo_type == "model" and found.repo_id == repo]
        return {revision.commit_hash: revision for found in ours for revision in found.revisions}

    def answer_of(self, path: str, *, seconds: float = 5.0) -> httpx2.Response:
        """The answer to a GET of a path of the endpoint, whatever its status.

        Raises:
            HubError: there is none.
        """
        with self.asking("this request"):
            return get_session().get(f"{self.endpoint}/{path}", headers=self._headers(), timeout=seconds)

    def address(self, repo: str, commit: str, name: str) -> tuple[str, dict[str, str]]:
        """Where the bytes of a file are, and the headers to send there; for a large file a signed address that expires.

        Raises:
            httpx2.HTTPError: the Hub does not say.
        """
        url, headers = hf_hub_url(repo, name, revision=commit, endpoint=self.endpoint), self._headers()

        def ask() -> HfFileMetadata:
            return get_hf_file_metadata(url, token=self._token(), timeout=self.patience.timeout, endpoint=self.endpoint)

        location = self._patiently(f"address of {repo}/{name} at {commit[:12]}", ask).location
        theirs, ours = httpx2.URL(location), httpx2.URL(self.endpoint)
        # A token is for the Hub alone: the content host of a signed address refuses it.
        return location, headers if _origin(theirs) == _origin(ours) else {}

    def _headers(self) -> dict[str, str]:
        return dict(build_hf_headers(token=self._token()))

    def _token(self) -> str | bool:
        """The user's token, or False: an empty one would be sent as a malformed header."""
        return get_token() or False

    @contextmanager
    def asking(self, repo: str) -> Iterator[None]:
        """Limits the wait for the Hub's answers, and turns its refusals into HubErrors that are sentences."""
        session = get_session()
        if session.timeout == httpx2.Timeout(None):
            # The client itself would wait for ever.
            session.timeout = self.patience.timeouts
        try:
            yield
        except GatedRepoError:
            raise HubError(f"{repo} is gated: accept its terms on its page, then {self._token_advice()}") from None
        except RepositoryNotFoundError:
            raise HubError(
                f"there is no repository {repo} at {self.endpoint}; if it is private, {self._token_advice()}"
            ) from None
        except RevisionNotFoundError:
            raise HubError(f"{repo} has no such revision any more: repeat with --refresh") from None
        except EntryNotFoundError:
            raise HubError(f"{repo} has no such file") from None
        except HFValidationError as error:
            raise HubError(f"{repo!r} is no name of a repository: {error}") from None
        except OfflineModeIsEnabled:
            raise HubError(f"HF_HUB_OFFLINE is set and this part of {repo} is not on this machine") from None
        except HfHubHTTPError as error:
            status = describe(error)
            advice = self._token_advice() if error.response.status_code in {401, 403} else "try again later"
            raise HubError(f"{self.endpoint} answers {status} for {repo}: {advice}") from None
        except StatusError as error:
            raise HubError(f"{self.endpoint} answers {describe(error)} for {repo}: try again later") from None
        except OSError as error:
            if isinstance(error, ConnectionError) or error.errno not in _OF_THE_DISK:
                raise self._unreachable(error) from None
            raise StoreError(
                f"cannot write to the Hub's cache in {constants.HF_HUB_CACHE}: {error.strerror}; set HF_HOME"
            ) from None
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> HubError:
        return HubError(
            f"{self.endpoint} cannot be reached ({describe(error)}): check the network, proxies and HF_ENDPOINT; "
            "with HF_HUB_OFFLINE=1 only what is on this machine is used"
        )

    def _patiently(self, what: str, ask: Callable[[], _Answer]) -> _Answer:
        return patiently(self.patience, what, ask, self.stopped.is_set)

    def _token_advice(self) -> str:
        if self.has_token:
            return "use a token that has access: the one in use (HF_TOKEN, or of `hf auth login`) has none"
        return "set HF_TOKEN to a token that has access"
