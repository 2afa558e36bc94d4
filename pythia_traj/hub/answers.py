"""What a server answers, received within limits and read through typed models.

Whoever answers for the Hub may be a mirror, a proxy, a portal of a hotel, or hostile. An answer has
a limit of bytes, counted as they come and as they are unpacked, of redirects and of pages; what it
says has a form. The token goes to the endpoint's own origin alone, so redirects are followed here,
with the headers of each address.
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
"""Headers of a refusal that are used. What a server says in others is not for a terminal."""

_UNDERSTOOD = {
    "Invalid credentials in Authorization header",
    "Access to this resource is disabled.",
}
"""Messages by which the Hub's client tells refusals apart."""

_PACKING = 4096
"""Bytes by which a packed answer may be longer than what is in it."""

_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS

HeadersFor = Callable[[str], Mapping[str, str]]
"""The headers to send to an address."""


class UnfitError(httpx2.HTTPError):
    """An answer that is none of a Hub, and will not be one when it is asked for again.

    Its text goes on after the server's name.
    """


class DamagedError(httpx2.RemoteProtocolError):
    """An answer that is none of a Hub.

    It was damaged on the way, perhaps, or is a page of whoever stands between.
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
    """A file of a commit, or a folder, which is of no use here."""

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
        seconds: what is left for those that follow.
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
        # Its other digest is that of the pointer which git has in its place.
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
    """The answer at an address, or at the one that it sends to; its body is not read yet.

    Args:
        headers_for: for each address that is asked.
        stays: whether an answer that sends to another origin is the one that is wanted.
        span: what is wanted of the content, as the header `Range` says it.

    Raises:
        HfHubHTTPError: it is a refusal.
        OfflineModeIsEnabled: nothing may be asked.
        UnfitError: it sends nowhere, or in a circle.
    """
    if constants.is_offline_mode():
        # Before there is a session: proxies and certificates are nothing to a machine without
        # network.
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
    raise UnfitError(f"it sends from one address to the next, {_REDIRECTS} times and more")


def pieces(response: httpx2.Response, most: int, deadline: Deadline) -> Iterator[bytes]:
    """The content of an answer as it comes, unpacked where it was packed unasked.

    Args:
        most: bytes, as they come and as they are unpacked.

    Raises:
        UnfitError: there are more, or it cannot be unpacked here.
        DamagedError: it is packed and damaged.
        TooSlowError: it comes too slowly.
    """
    packing = response.headers.get("content-encoding", "identity").strip().lower()
    if packing not in {"identity", "", "gzip", "deflate"}:
        raise UnfitError("it packs its answer in a way that nobody asked for")
    unpack = None if packing in {"identity", ""} else zlib.decompressobj(_GZIP_OR_ZLIB)
    came = unpacked = 0
    for chunk in response.iter_raw():
        deadline.received(len(chunk))
        came += len(chunk)
        # More than the rest and one byte is never unpacked.
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
        DamagedError: it is no JSON within limits.
        UnfitError: it is, and says something else.
    """
    if content.count(b"[") + content.count(b"{") > _ENTRIES:
        # Counted before they are made: each takes many times the bytes that it was sent in.
        raise UnfitError(f"it sends more than {_ENTRIES} entries where {what} should be")
    try:
        parsed = outside.parse_json(content, what, error=HubError)
    except HubError:
        kind = "no JSON that can be read" if content.strip() else "an empty answer"
        raise DamagedError(f"it sends {kind} where {what} should be") from None
    try:
        return model.model_validate(parsed)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = one_line(".".join(map(str, first["loc"])))[:_SHOWN] or "the whole"
        raise UnfitError(
            f"it sends something else than {what}: {where}: {one_line(first['msg'])}"
        ) from None


def next_page(response: httpx2.Response, endpoint: str, upstream: str) -> str | None:
    """The address of the next page of a listing; None where this is the last.

    Args:
        upstream: the Hub that a mirror's links may name: what it has is asked of the mirror.

    Raises:
        UnfitError: it is none, or another host's.
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
    """An address that an answer names, whole.

    Raises:
        UnfitError: it is none of a web server.
    """
    try:
        url = base.join(text)
    except (httpx2.InvalidURL, ValueError):
        raise UnfitError("it sends to an address that is none") from None
    if url.scheme not in {"http", "https"} or not url.host or (url.port or 0) > _LAST_PORT:
        raise UnfitError("it sends to an address that is none of a web server")
    return str(url.copy_with(fragment=None))


def is_same_origin(url: str, other: str) -> bool:
    """Whether two addresses are one server's: what may be sent to one may be sent to the other."""
    first, second = httpx2.URL(url), httpx2.URL(other)
    return (first.scheme, first.host, first.port) == (second.scheme, second.host, second.port)


def _check_status(response: httpx2.Response) -> None:
    """Raises the Hub's refusals by its client's names, without reading what else is said.

    Raises:
        HfHubHTTPError: it is one.
        UnfitError: it is neither that nor an answer.
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
