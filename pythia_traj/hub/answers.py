"""What a server answers, received within limits and read through typed models.

The server that answers may be a mirror, a proxy, the portal of a hotel, or hostile. So bytes (as
they come and as they are unpacked), redirects and pages are limited, and the form of an answer is
checked. The token goes to the endpoint's own origin alone, so redirects are followed here, with the
headers of each address.
"""

import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Generic, TypeVar

import httpx2
from huggingface_hub import constants, get_session
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import hf_raise_for_status  # type: ignore[attr-defined]
from pydantic import BaseModel, ConfigDict, FailFast, Field, RootModel, ValidationError

from pythia_traj import outside
from pythia_traj.errors import HubError
from pythia_traj.hub.deadline import Deadline
from pythia_traj.hub.listed import COMMIT, DIGEST, LARGEST, RemoteFile
from pythia_traj.printable import one_line
from pythia_traj.suites.files import is_weights

LISTING = 16_000_000
"""Bytes of a listing, all of its pages together: a hundred thousand branches."""

_LARGE = 10 * 2**20
"""Bytes above which the Hub takes a file as a large one only."""

_ENTRIES = 300_000
"""Objects and lists in an answer."""

PAGES = 200
"""Pages of a listing."""

_REDIRECTS, _LAST_PORT = 10, 65535

_SHOWN = 100
"""Characters of a name that a message quotes."""

_REFUSAL = (
    "x-error-code",
    "date",
    "retry-after",
    "ratelimit",
    "ratelimit-policy",
    "ratelimit-remaining",
    "ratelimit-reset",
)
"""Headers of a refusal that are used. The text of others is never shown on a terminal."""

_UNDERSTOOD = {
    "Invalid credentials in Authorization header",
    "Access to this resource is disabled.",
}
"""Messages by which the Hub's client tells refusals apart."""

_PACKING = 4096
"""Bytes by which a packed answer may be longer than its content."""

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS

HeadersFor = Callable[[str], Mapping[str, str]]
"""The headers to send to an address."""


class UnfitError(httpx2.HTTPError):
    """An answer that a Hub does not give; asking again would bring the same.

    Its text continues a sentence that begins with the server's name.
    """


class DamagedError(httpx2.RemoteProtocolError):
    """An answer that a Hub does not give; asking again may bring a better one.

    It may have been damaged on the way, or come from a proxy in between.
    """


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)


class Branch(_Said):
    """A branch, and where it points."""

    name: str
    commit: Annotated[
        str, Field(alias="targetCommit", pattern=f"^({COMMIT.pattern})$", max_length=40)
    ]


class Refs(_Said):
    """The branches of a repository."""

    branches: Annotated[list[Branch], FailFast()]


class _Large(_Said):
    oid: Annotated[str, Field(pattern="^[0-9a-f]{64}$", max_length=64)]


class Entry(_Said):
    """A file of a commit, or a folder, which is not used here."""

    type: str
    path: str
    size: Annotated[int, Field(ge=0, le=LARGEST)]
    oid: Annotated[str, Field(pattern=f"^({DIGEST.pattern})$", max_length=64)] | None = None
    lfs: _Large | None = None


class Page(RootModel[Annotated[list[Entry], FailFast()]]):
    """One page of the files of a commit."""

    model_config = ConfigDict(frozen=True, strict=True)


class Owner(_Said):
    """Whose a token is."""

    name: Annotated[str, Field(max_length=200)]


Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class OfListing(Generic[Model]):
    """A page of a listing.

    Attributes:
        value: what it says.
        next: the address of the next one.
        size: its bytes.
        seconds: what is left for the pages that follow.
    """

    value: Model
    next: str | None
    size: int
    seconds: float


def remote_file(entry: Entry) -> RemoteFile:
    """A file as it is listed.

    Raises:
        UnfitError: it is listed without a digest of its content.
    """
    digest = entry.lfs.oid if entry.lfs else entry.oid
    if entry.lfs is None and entry.size > _LARGE and is_weights(entry.path):
        # Its other digest is of the pointer that git stores instead of the file.
        raise UnfitError(
            f"it lists {one_line(entry.path)[:_SHOWN]} without the sha256"
            " by which large files are known"
        )
    if digest is None:
        raise UnfitError(f"it lists {one_line(entry.path)[:_SHOWN]} without a digest")
    return RemoteFile(entry.path, entry.size, digest)


@contextmanager
def answer_to(
    method: str,
    url: str,
    headers_for: HeadersFor,
    timeouts: httpx2.Timeout,
    *,
    stays: bool = False,
    span: str | None = None,
) -> Iterator[httpx2.Response]:
    """The answer at an address, redirects followed; its body is not read yet.

    Args:
        headers_for: the headers for each address that is asked.
        stays: whether a redirect to another origin is itself the answer.
        span: the part of the content that is wanted, as the header `Range` says it.

    Raises:
        HfHubHTTPError: it is a refusal.
        OfflineModeIsEnabled: nothing may be asked.
        UnfitError: a redirect leads nowhere, or there are too many.
    """
    if constants.is_offline_mode():
        # Before a session is made: a machine without network needs no valid proxies or
        # certificates.
        raise OfflineModeIsEnabled("nothing is asked")
    for _ in range(_REDIRECTS):
        headers = {
            **headers_for(url),
            "accept-encoding": "identity",
            **({"range": span} if span else {}),
        }
        with get_session().stream(
            method, url, headers=headers, timeout=timeouts, follow_redirects=False
        ) as response:
            _check_status(response)
            target = (
                address(response.headers["location"], response.url)
                if response.has_redirect_location
                else None
            )
            if target is None or (stays and not is_same_origin(target, url)):
                yield response
                return
        url = target
    raise UnfitError(f"it redirects {_REDIRECTS} times or more")


def pieces(response: httpx2.Response, most: int, deadline: Deadline) -> Iterator[bytes]:
    """The content of an answer as it comes; unpacked, if the server packed it without being asked.

    Args:
        most: the limit of bytes, as they come and as they are unpacked.

    Raises:
        UnfitError: there are more, or it cannot be unpacked here.
        DamagedError: it is packed and damaged.
        TooSlowError: it comes too slowly.
    """
    packing = response.headers.get("content-encoding", "identity").strip().lower()
    if packing not in {"identity", "", "gzip", "deflate"}:
        raise UnfitError("it packs its answer in a way that was not asked for")
    unpack = None if packing in {"identity", ""} else zlib.decompressobj(_GZIP_OR_ZLIB)
    came = unpacked = 0
    for chunk in response.iter_raw():
        deadline.received(len(chunk))
        came += len(chunk)
        # At most the rest and one byte are unpacked.
        piece = chunk if unpack is None else _unpacked(unpack, chunk, most + 1 - unpacked)
        unpacked += len(piece)
        if unpacked > most or came > most + _PACKING:
            raise UnfitError(f"it sends more than the {most} bytes that were expected")
        if piece:
            yield piece
    if unpack is not None and not unpack.eof:
        raise DamagedError("its answer is packed, and ends early")


def read(model: type[Model], content: bytes, what: str) -> Model:
    """An answer as a typed model.

    Args:
        what: it should be, for messages.

    Raises:
        DamagedError: it is not JSON within limits.
        UnfitError: it is JSON of another form.
    """
    if content.count(b"[") + content.count(b"{") > _ENTRIES:
        # Counted before they are parsed: in memory each takes many times its bytes in the answer.
        raise UnfitError(f"it sends more than {_ENTRIES} entries where {what} should be")
    try:
        parsed = outside.parse_json(content, what, error=HubError)
    except HubError:
        kind = "no readable JSON" if content.strip() else "an empty answer"
        raise DamagedError(f"it sends {kind} where {what} should be") from None
    try:
        return model.model_validate(parsed)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = one_line(".".join(map(str, first["loc"])))[:_SHOWN] or "the whole"
        raise UnfitError(f"it does not send {what}: {where}: {one_line(first['msg'])}") from None


def next_page(response: httpx2.Response, endpoint: str, upstream: str) -> str | None:
    """The address of the next page of a listing; None where this is the last.

    Args:
        upstream: the Hub that a mirror's links may name; the mirror is asked instead of it.

    Raises:
        UnfitError: it is not an address, or another host's.
    """
    link = response.links.get("next", {}).get("url")
    if link is None:
        return None
    url = address(link, response.url)
    if is_same_origin(url, upstream) and not is_same_origin(url, endpoint):
        url = endpoint + url.removeprefix(upstream)
    if not is_same_origin(url, endpoint):
        host = one_line(httpx2.URL(url).host)[:_SHOWN]
        raise UnfitError(f"its listing goes on at another host, {host}: that one is not asked")
    return url


def address(text: str, base: httpx2.URL) -> str:
    """An address that an answer gives, made absolute.

    Raises:
        UnfitError: it is not the address of a web server.
    """
    try:
        url = base.join(text)
    except (httpx2.InvalidURL, ValueError):
        raise UnfitError("it gives an invalid address") from None
    if url.scheme not in {"http", "https"} or not url.host or (url.port or 0) > _LAST_PORT:
        raise UnfitError("it gives an address that is not a web server's")
    return str(url.copy_with(fragment=None))


def is_same_origin(url: str, other: str) -> bool:
    """Whether two addresses are one server's: what may be sent to one may be sent to the other."""
    first, second = httpx2.URL(url), httpx2.URL(other)
    return (first.scheme, first.host, first.port) == (second.scheme, second.host, second.port)


def _check_status(response: httpx2.Response) -> None:
    """Raises the Hub's refusals as its client's errors, without reading the body.

    Raises:
        HfHubHTTPError: the answer is a refusal.
        UnfitError: it is neither a refusal nor a success.
    """
    if response.is_success or response.has_redirect_location:
        return
    headers = {name: response.headers[name] for name in _REFUSAL if name in response.headers}
    if (message := response.headers.get("x-error-message")) in _UNDERSTOOD:
        headers["x-error-message"] = message
    hf_raise_for_status(
        httpx2.Response(response.status_code, headers=headers, request=response.request)
    )
    raise UnfitError(f"it answers {response.status_code} where an answer should be")


def _unpacked(unpack: "zlib._Decompress", chunk: bytes, most: int) -> bytes:
    try:
        return unpack.decompress(chunk, most)
    except zlib.error:
        raise DamagedError("its answer is packed, and damaged") from None
