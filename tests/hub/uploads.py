"""What a client that writes asks of the hub: repositories, branches, files by LFS, commits.

As the real one, it takes a file's content either in a commit or, by its hash, at an address of the
content host, and says beforehand which way each file goes.
"""

import base64
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.hub.answers import MAIN, Answer, MemorySlice, Request, as_json, error
from tests.hub.repository import Repository

CREATE, VALIDATE = "create", "validate-yaml"

WRITING = ("preupload", "commit", "branch", "lfs")
"""Kinds of requests that write to a repository."""

LFS = (".parquet", ".safetensors", ".bin")
"""Files that go by their hash, whatever their size."""


class Uploads:
    """Answers for requests that write; content waits in `folder` until a commit names it."""

    def __init__(
        self, folder: Path, add: Callable[[Repository], None], address: Callable[[str], str]
    ) -> None:
        self.folder = folder
        self._add, self._address = add, address

    def create(self, request: Request, there: Callable[[str], Repository | None]) -> Answer:
        asked = json.loads(request.body)
        name = f"{asked['organization']}/{asked['name']}"
        found = there(f"datasets/{name}" if asked["type"] == "dataset" else name)
        if found is not None:
            said = {"error": "You already created this repo", "url": _url(request, found)}
            return as_json(CREATE, said, status=409)
        repository = Repository(
            name, private=asked.get("visibility") == "private", kind=asked["type"]
        )
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "none").mkdir(exist_ok=True)
        repository.publish(MAIN, self.folder / "none")
        self._add(repository)
        return as_json(CREATE, {"url": _url(request, repository)})

    def respond(self, kind: str, request: Request, repository: Repository, revision: str) -> Answer:
        asked = [json.loads(line) for line in request.body.splitlines()]
        if kind == "branch":
            return self._branch(repository, revision)
        if kind != "lfs" and revision not in repository.branches:
            return error(kind, 404, "Revision not found", "RevisionNotFound")
        if kind == "preupload":
            return as_json(
                kind, {"files": [self._way(repository, revision, one) for one in asked[0]["files"]]}
            )
        if kind == "lfs":
            return as_json(
                kind,
                {
                    "transfer": "basic",
                    "objects": [self._object(repository, one) for one in asked[0]["objects"]],
                },
            )
        return self._commit(request, repository, revision, asked)

    def receive(self, request: Request) -> Answer:
        """A file's content, at its address on the content host."""
        sha256 = request.names[-1]
        if hashlib.sha256(request.body).hexdigest() != sha256:
            return error("upload", 400, "The content has another hash")
        (self.folder / sha256).write_bytes(request.body)
        return Answer(200, "upload", body=MemorySlice(b""))

    def _branch(self, repository: Repository, branch: str) -> Answer:
        if branch in repository.branches:
            return error("branch", 409, "Reference already exists")
        repository.branches[branch] = repository.branches[MAIN]
        repository.history[branch] = [repository.branches[MAIN]]
        return as_json("branch", {})

    def _way(self, repository: Repository, revision: str, file: dict[str, Any]) -> dict[str, Any]:
        known = repository.commits[repository.branches[revision]].get(file["path"])
        by_hash = file["path"].endswith(LFS)
        oid = {} if known is None else {"oid": known.sha256 if by_hash else known.oid}
        mode = "lfs" if by_hash else "regular"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, **oid}

    def _object(self, repository: Repository, asked: dict[str, Any]) -> dict[str, Any]:
        there = asked["oid"] in repository.blobs or (self.folder / asked["oid"]).exists()
        upload = {"href": self._address(asked["oid"])}
        return {**asked, **({} if there else {"actions": {"upload": upload}})}

    def _commit(
        self, request: Request, repository: Repository, branch: str, lines: list[dict[str, Any]]
    ) -> Answer:
        added: dict[str, Path] = {}
        deleted: set[str] = set()
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                content = base64.b64decode(value["content"])
                added[value["path"]] = self.folder / hashlib.sha256(content).hexdigest()
                added[value["path"]].write_bytes(content)
            elif line["key"] == "lfsFile":
                added[value["path"]] = self.folder / value["oid"]
                if not added[value["path"]].exists():
                    return error("commit", 400, "A file was not uploaded")
            elif line["key"] == "deletedFile":
                deleted.add(value["path"])
        commit = repository.change(branch, added, deleted)
        address = f"{_url(request, repository)}/commit/{commit}"
        return as_json("commit", {"commitUrl": address, "commitOid": commit})


def _url(request: Request, repository: Repository) -> str:
    return f"http://{request.headers['host']}/{repository.key}"
