"""The loopback hub: two origins and their repositories.

It has the means to slow them down, to spoil answers and to see what was asked.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self

from tests.hub.answers import MAIN
from tests.hub.connection import Origin, Traffic
from tests.hub.content import ContentHost
from tests.hub.faults import Faults
from tests.hub.log import Record
from tests.hub.repository import Blob, Repository
from tests.hub.routes import HubRoutes
from tests.hub.throttle import Throttle
from tests.hub.uploads import Uploads


class Hub:
    """A hub on 127.0.0.1, from `with` to its end.

    with Hub(repository) as hub:
        hf_hub_download("org/name", "config.json", endpoint=hub.endpoint, cache_dir=...)

    `token` is the one valid token. A tree is listed in pages of `page_size` entries. Addresses on
    the content host can be used for `address_seconds`.
    """

    def __init__(
        self,
        *repositories: Repository,
        token: str | None = None,
        page_size: int = 1000,
        bytes_per_second: float | None = None,
        latency: float = 0.0,
        address_seconds: float = 3600.0,
        port: int = 0,
    ) -> None:
        self.repositories = {repository.key: repository for repository in repositories}
        self._traffic = Traffic(latency=latency)
        self._throttle = Throttle(bytes_per_second, self._traffic.closing)
        self._folder = TemporaryDirectory(prefix="hub-")
        uploads = Uploads(
            Path(self._folder.name), self.add, lambda oid: f"{self.content_endpoint}/upload/{oid}"
        )
        self._content = ContentHost(self.repositories, address_seconds, uploads)
        self._routes = HubRoutes(
            self.repositories, token, page_size, self._content_address, uploads
        )
        self._port = port
        self._origins: list[Origin] = []

    def __enter__(self) -> Self:
        content = Origin("content", self._content.respond, self._traffic, throttle=self._throttle)
        self._origins.append(content)
        try:
            self._origins.append(
                Origin("hub", self._routes.respond, self._traffic, port=self._port)
            )
        except OSError:
            content.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for origin in self._origins:
            origin.close()
        self._folder.cleanup()

    @property
    def endpoint(self) -> str:
        """What the client wants as its endpoint."""
        return self._origins[1].endpoint

    @property
    def content_endpoint(self) -> str:
        """The content host's origin."""
        return self._origins[0].endpoint

    def add(self, repository: Repository) -> None:
        """Serves one more repository."""
        self.repositories[repository.key] = repository

    def address(self, name: str, path: str, revision: str = MAIN) -> str:
        """An address on the content host for a repository's file, without a request."""
        repository = self.repositories[name]
        commit = repository.commit_of(revision)
        if commit is None:
            raise KeyError(f"{name} has no revision {revision!r}")
        return self._content_address(repository, repository.commits[commit][path], path)

    @property
    def faults(self) -> Faults:
        """The planned faults: `add`, `clear`."""
        return self._traffic.faults

    @property
    def requests(self) -> list[Record]:
        """What was asked, in order. An answer that a client has in full is recorded."""
        return self._traffic.log.records()

    def reset_log(self) -> None:
        """Forgets what was asked."""
        self._traffic.log.reset()

    @property
    def content_connections(self) -> int:
        """How many connections to the content host there have been."""
        return self._origins[0].accepted

    def end_connections(self) -> None:
        """Closes the connections that are open now, as servers do when they have been idle."""
        for origin in self._origins:
            origin.end_connections()

    @property
    def bytes_per_second(self) -> float | None:
        """What all connections to the content host share; None is no limit.

        May be set at any time.
        """
        return self._throttle.bytes_per_second

    @bytes_per_second.setter
    def bytes_per_second(self, rate: float | None) -> None:
        self._throttle.bytes_per_second = rate

    @property
    def latency(self) -> float:
        """Seconds before every answer. May be set at any time."""
        return self._traffic.latency

    @latency.setter
    def latency(self, seconds: float) -> None:
        self._traffic.latency = seconds

    @property
    def address_seconds(self) -> float:
        """How long an address on the content host can be used.

        May be set at any time, for addresses given from then on.
        """
        return self._content.address_seconds

    @address_seconds.setter
    def address_seconds(self, seconds: float) -> None:
        self._content.address_seconds = seconds

    def _content_address(self, repository: Repository, blob: Blob, path: str) -> str:
        return self.content_endpoint + self._content.address(repository, blob, path)
