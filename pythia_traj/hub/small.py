"""A small file of a repository -> the Hub's cache, laid out as the Hub's client lays it out.

The cache is that of this machine. The client's own download retries by itself, a dozen requests of
up to a minute each, and no argument stops it. So this module retries in our way, and puts the file
where the client, and every tool that uses it, will find it:

    <cache>/models--<org>--<name>/blobs/<digest>
    <cache>/models--<org>--<name>/snapshots/<commit>/<file> -> ../../blobs/<digest>
"""

import os
import shutil
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
from huggingface_hub import constants

from pythia_traj.errors import CheckpointError
from pythia_traj.hub.answers import DamagedError, HeadersFor, answer_to, pieces
from pythia_traj.hub.deadline import Deadline
from pythia_traj.hub.listed import COMMIT, RemoteFile
from pythia_traj.hub.retry import Attempts
from pythia_traj.suites.files import most_bytes

_GAIN = 10
"""Each time this part of the file, a tenth, has arrived, attempts are counted from zero again.

So a server that sends one byte an attempt is given up.
"""


@dataclass
class Arrived:
    """What an interrupted attempt leaves to the next.

    Attributes:
        size: bytes of the whole file, as it is listed.
        seconds: the time left for the missing bytes.
        content: the bytes so far, from the first one on.
        most: how many bytes had arrived at the last progress.
    """

    size: int
    seconds: float
    content: bytearray = field(default_factory=bytearray)
    most: int = 0


def check_size(file: RemoteFile, repo: str, commit: str) -> None:
    """Refuses a file that is listed as too large for its name, before it is asked for.

    Raises:
        CheckpointError: it is too large.
    """
    most = most_bytes(file.path)
    if file.size > most:
        raise CheckpointError(
            f"{file.path} of {repo} at {commit[:12]} is listed with {file.size} bytes, at most"
            f" {most} are read: it is not what its name says"
        )


def receive(
    url: str,
    headers_for: HeadersFor,
    arrived: Arrived,
    deadline: Deadline,
    timeouts: httpx2.Timeout,
    attempts: Attempts,
) -> bytes:
    """The content at an address, never more than is listed.

    Args:
        headers_for: the headers for each address that is asked.
        arrived: what earlier attempts brought; this one adds to it.
        attempts: count the progress.

    Raises:
        httpx2.HTTPError: it breaks off, is refused, or is longer than listed.
    """
    content = arrived.content
    wanted = f"bytes={len(content)}-" if content else None
    with answer_to("GET", url, headers_for, timeouts, span=wanted) as response:
        if not response.headers.get("content-range", "").startswith(f"bytes {len(content)}-"):
            content.clear()
        elif response.headers.get("content-encoding", "identity") != "identity":
            # A range of packed bytes cannot continue unpacked ones.
            content.clear()
            raise DamagedError("it sends a packed part of a file")
        for chunk in pieces(response, arrived.size - len(content), deadline):
            content += chunk
            if len(content) >= min(arrived.most + arrived.size // _GAIN + 1, arrived.size):
                arrived.most = len(content)
                attempts.progressed()
            else:
                attempts.heard()
    return bytes(content)


def keep(repo: str, commit: str, file: RemoteFile, content: bytes) -> Path:
    """Puts a file of a commit into the Hub's cache, under the digest by which it is listed.

    Args:
        content: the file's bytes, already checked.

    Raises:
        OSError: the cache cannot be written.
    """
    if COMMIT.fullmatch(commit) is None:
        # It becomes the name of a folder here.
        raise ValueError("not a commit")
    folder = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"
    stored, pointer = folder / "blobs" / file.blob, folder / "snapshots" / commit / file.path
    stored.parent.mkdir(parents=True, exist_ok=True)
    pointer.parent.mkdir(parents=True, exist_ok=True)
    mark = f".{uuid.uuid4().hex}.incomplete"
    temporary, link = stored.with_name(stored.name + mark), pointer.with_name(pointer.name + mark)
    try:
        temporary.write_bytes(content)
        temporary.replace(stored)
        _link(link, stored)
        link.replace(pointer)
    finally:
        temporary.unlink(missing_ok=True)
        link.unlink(missing_ok=True)
    return pointer


def _link(link: Path, stored: Path) -> None:
    """Makes a link, or a copy if the disk or the user refuses links."""
    try:
        if constants.HF_HUB_DISABLE_SYMLINKS:
            raise OSError("the user wants no links")
        link.symlink_to(os.path.relpath(stored, link.parent))
    except OSError:
        shutil.copyfile(stored, link)
