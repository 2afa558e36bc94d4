"""What is asked of the Hub: its answers as data, its refusals as sentences.

Everything goes through the session of `huggingface_hub`, so endpoint, proxies, tokens and the offline switch are those of every other
tool. Its functions for listings and downloads are not used: they try again by themselves, so that retries would multiply, and a listing
of files waits for ever.
"""

import errno
import re
import threading
import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import (
    CachedRevisionInfo,
    HfFileMetadata,
    constants,
    get_hf_file_metadata,
    get_session,
    get_token,
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
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import (  # type: ignore[attr-defined]
    build_hf_headers,
    hf_raise_for_status,
    validate_repo_id,
)

from pythia_traj.errors import CheckpointError, HubError, StoreError
from pythia_traj.hub import small
from pythia_traj.hub.connections import Connections
from pythia_traj.hub.patience import Attempts, GivenUpError, Patience, StatusError, describe
from pythia_traj.hub.questions import Questions

_COMMIT = re.compile(r"[0-9a-f]{40}")
_NETWORK_ADVICE = (
    "check the network, proxies and HF_ENDPOINT; with HF_HUB_OFFLINE=1 only what is on this machine is used"
)
_OF_THE_DISK = {errno.EACCES, errno.EPERM, errno.ENOSPC, errno.EDQUOT, errno.EROFS}


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


def _remote_file(entry: Mapping[str, Any]) -> RemoteFile:
    """A file as the Hub lists it; a large one by its sha256."""
    large = entry.get("lfs")
    return RemoteFile(entry["path"], entry["size"], large["oid"] if large else entry["oid"])


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _is_blob(text: object) -> bool:
    return isinstance(text, str) and small.DIGEST.fullmatch(text) is not None


class Client:
    """The Hub at the configured endpoint (`HF_ENDPOINT`), with the configured token (`HF_TOKEN`), if any."""

    def __init__(self, patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        self.stopped = threading.Event()
        """Set when nobody waits for answers any more."""
        self.endpoint = constants.ENDPOINT.rstrip("/")
        self.connections = Connections()
        """To whoever holds the files, kept open between requests for as long as this client lives."""
        weakref.finalize(self, self.connections.close)
        self._questions = Questions(self.patience, self.stopped.is_set)

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
            validate_repo_id(repo)
            refs = next(self._listed(f"branches of {repo}", f"api/models/{repo}/refs"))
        try:
            branches = {str(branch["name"]): str(branch["targetCommit"]) for branch in refs["branches"]}
        except (KeyError, TypeError):
            raise HubError(f"{self.endpoint} lists no branches of {repo}: check HF_ENDPOINT") from None
        if not all(_COMMIT.fullmatch(commit) for commit in branches.values()):
            # It becomes a file's name here.
            raise HubError(f"{self.endpoint} names commits of {repo} that are none: check HF_ENDPOINT")
        return branches

    def files(self, repo: str, commit: str) -> tuple[RemoteFile, ...]:
        """The files of a commit.

        Raises:
            HubError: they cannot be listed.
        """
        with self.asking(repo):
            validate_repo_id(repo)
            pages = self._listed(
                f"files of {repo} at {commit[:12]}", f"api/models/{repo}/tree/{commit}?recursive=true&expand=false"
            )
            listed = [entry for page in pages for entry in page]
        try:
            return tuple(_remote_file(entry) for entry in listed if entry["type"] == "file")
        except (ValueError, KeyError, TypeError) as error:
            raise HubError(
                f"{self.endpoint} lists files of {repo} that cannot be: {error}; check HF_ENDPOINT"
            ) from None

    def _listed(self, what: str, path: str) -> Iterator[Any]:
        """The pages of a listing, each a question of its own."""
        url: str | None = f"{self.endpoint}/{path}"

        def ask(timeouts: httpx2.Timeout, _: Attempts) -> tuple[Any, str | None]:
            response = get_session().get(str(url), headers=self._headers_for(str(url)), timeout=timeouts)
            hf_raise_for_status(response)
            return response.json(), response.links.get("next", {}).get("url")

        while url is not None:
            answer, url = self._questions.ask(what, ask)
            yield answer

    def download(self, repo: str, commit: str, name: str, *, anew: bool = False) -> Path:
        """Fetches a small file of a commit into the Hub's cache on this machine.

        Args:
            anew: also where it is there already.

        Raises:
            CheckpointError: it cannot be had.
            StoreError: the cache cannot be written.
        """
        if not anew and (there := self.cached(repo, commit, name)) is not None:
            return there
        try:
            with self.asking(repo):
                metadata = self._metadata(repo, commit, name)
                headers, arrived = self._headers_for(metadata.location), small.Arrived()
                content = self._questions.ask(
                    f"{repo}/{name} at {commit[:12]}",
                    lambda timeouts, attempts: small.receive(metadata.location, headers, arrived, timeouts, attempts),
                )
                return small.keep(repo, commit, name, metadata.etag, content)
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
        location = self._metadata(repo, commit, name).location
        return location, self._headers_for(location)

    def _metadata(self, repo: str, commit: str, name: str) -> HfFileMetadata:
        url = hf_hub_url(repo, name, revision=commit, endpoint=self.endpoint)

        def ask(timeouts: httpx2.Timeout, _: Attempts) -> HfFileMetadata:
            # Declared to take seconds; it hands on to httpx2 whatever it is given.
            limits: Any = timeouts
            return get_hf_file_metadata(url, token=self._token(), timeout=limits, endpoint=self.endpoint)

        return self._questions.ask(f"address of {repo}/{name} at {commit[:12]}", ask)

    def _headers_for(self, location: str) -> dict[str, str]:
        """A token is for the Hub alone: the content host of a signed address refuses it."""
        return self._headers() if _origin(httpx2.URL(location)) == _origin(httpx2.URL(self.endpoint)) else {}

    def _headers(self) -> dict[str, str]:
        return dict(build_hf_headers(token=self._token()))

    def _token(self) -> str | bool:
        """The user's token, or False: an empty one would be sent as a malformed header."""
        return get_token() or False

    @contextmanager
    def asking(self, repo: str) -> Iterator[None]:
        """Turns the Hub's refusals, and its silence, into HubErrors that are sentences."""
        try:
            yield
        except GivenUpError as error:
            raise self._given_up(error, repo) from None
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

    def _given_up(self, error: GivenUpError, repo: str) -> HubError:
        if error.is_silence:
            return HubError(f"{error.host or self.endpoint} does not answer ({error.effort}): {_NETWORK_ADVICE}")
        try:
            with self.asking(repo):
                raise error.last
        except HubError as refusal:
            return HubError(f"{refusal}; given up after {error.effort}")

    def _unreachable(self, error: Exception) -> HubError:
        return HubError(f"{self.endpoint} cannot be reached ({describe(error)}): {_NETWORK_ADVICE}")

    def _token_advice(self) -> str:
        if self.has_token:
            return "use a token that has access: the one in use (HF_TOKEN, or of `hf auth login`) has none"
        return "set HF_TOKEN to a token that has access"
