"""A small file of a repository -> the Hub's cache on this machine, laid out as the Hub's client lays it out.

The client's own download tries again by itself, a dozen requests of up to a minute each, and no argument stops it. So
this asks with retries of ours, and puts the file where the client, and every tool that uses it, will find it:

    <cache>/models--<org>--<name>/blobs/<digest>
    <cache>/models--<org>--<name>/snapshots/<commit>/<file> -> ../../blobs/<digest>
"""

import os
import re
import shutil
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha1
from pathlib import Path

import httpx2
from huggingface_hub import constants, get_session

from pythia_traj.hub.patience import Attempts, StatusError

DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
"""What the Hub knows a content by: a git blob id, or the sha256 of a large file."""


@dataclass
class Arrived:
    """What an attempt that broke off leaves to the next.

    Attributes:
        content: from the first byte on.
        most: the most that has ever arrived: one that begins again and again gets nowhere.
    """

    content: bytearray = field(default_factory=bytearray)
    most: int = 0


def receive(
    url: str, headers: Mapping[str, str], arrived: Arrived, timeouts: httpx2.Timeout, attempts: Attempts
) -> bytes:
    """The content at an address.

    Args:
        arrived: what earlier attempts brought; gains what this one brings.
        attempts: are told when something arrives.

    Raises:
        httpx2.HTTPError: it breaks off, or is refused.
    """
    content = arrived.content
    asked = {**headers, "accept-encoding": "identity"}
    if content:
        asked["range"] = f"bytes={len(content)}-"
    with get_session().stream("GET", url, headers=asked, timeout=timeouts, follow_redirects=True) as response:
        if response.status_code >= 400:
            raise StatusError(response.status_code, response.headers)
        if not response.headers.get("content-range", "").startswith(f"bytes {len(content)}-"):
            content.clear()
        for chunk in response.iter_bytes():
            content += chunk
            if len(content) > arrived.most:
                arrived.most = len(content)
                attempts.progressed()
            else:
                attempts.heard()
    return bytes(content)


def keep(repo: str, commit: str, name: str, blob: str | None, content: bytes) -> Path:
    """Puts a file of a commit into the Hub's cache.

    Args:
        blob: what the Hub says it knows the content by.

    Raises:
        OSError: the cache cannot be written.
    """
    if blob is None or DIGEST.fullmatch(blob) is None:
        # It becomes a file's name here.
        blob = sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    folder = Path(constants.HF_HUB_CACHE) / f"models--{repo.replace('/', '--')}"
    stored, pointer = folder / "blobs" / blob, folder / "snapshots" / commit / name
    stored.parent.mkdir(parents=True, exist_ok=True)
    pointer.parent.mkdir(parents=True, exist_ok=True)
    mark = f".{uuid.uuid4().hex}.incomplete"
    temporary = stored.with_name(stored.name + mark)
    temporary.write_bytes(content)
    temporary.replace(stored)
    link = pointer.with_name(pointer.name + mark)
    try:
        if constants.HF_HUB_DISABLE_SYMLINKS:
            raise OSError("the user wants no links")
        link.symlink_to(os.path.relpath(stored, pointer.parent))
    except OSError:
        shutil.copyfile(stored, link)
    link.replace(pointer)
    return pointer
