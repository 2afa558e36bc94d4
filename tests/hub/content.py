"""The content host: files by their hash, at signed addresses that expire."""

import hmac
import secrets
import time
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from tests.hub.answers import Answer, Request, error, file_answer
from tests.hub.repository import Blob, Repository
from tests.hub.uploads import Uploads

KIND = "content"


class ContentHost:
    """Answers for the content origin.

    An address is the permission, so it needs no token; one that comes with a token all the same is
    refused, as by the real one. `address_seconds` is how long an address can be used.
    """

    def __init__(
        self, repositories: Mapping[str, Repository], address_seconds: float, uploads: Uploads
    ) -> None:
        self.address_seconds = address_seconds
        self._repositories = repositories
        self._uploads = uploads
        self._secret = secrets.token_bytes()

    def address(self, repository: Repository, blob: Blob, path: str) -> str:
        """Path and query under which a blob can be fetched from now on for `address_seconds`."""
        name = path.rsplit("/", 1)[-1]
        place = f"/{repository.key}/{blob.sha256}/{quote(name, safe='')}"
        expires = f"{time.time() + self.address_seconds:.3f}"
        query = urlencode({"Expires": expires, "Signature": self._signature(place, expires)})
        return f"{place}?{query}"

    def respond(self, request: Request) -> Answer:
        if "authorization" in request.headers:
            return error(
                KIND, 403, "A signed address and an Authorization header exclude each other"
            )
        if request.method == "PUT":
            return self._uploads.receive(request)
        expires = request.parameter("Expires")
        if request.parameter("Signature") != self._signature(request.path, expires):
            return error(KIND, 403, "The signature does not belong to this address")
        if float(expires) < time.time():
            return error(KIND, 403, "Request has expired")
        if request.method not in ("GET", "HEAD"):
            return error(KIND, 405, "This address can only be read")
        *name, sha256, _ = request.names
        blob = self._repositories["/".join(name)].blobs[sha256]
        return file_answer(KIND, request, blob.file, blob.size, {"ETag": f'"{blob.sha256}"'})

    def _signature(self, path: str, expires: str) -> str:
        return hmac.digest(self._secret, f"{path}\n{expires}".encode(), "sha256").hex()
