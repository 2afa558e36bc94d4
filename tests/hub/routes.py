"""The hub's own origin: what is asked by which path, who may ask it, and what is answered."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode

import yaml

from tests.hub import listing
from tests.hub.answers import MAIN, Answer, Request, as_json, error, file_answer
from tests.hub.repository import Blob, Repository
from tests.hub.uploads import CREATE, VALIDATE, WRITING, Uploads

PER_REPOSITORY = ("refs", "revision", "tree", "paths-info", "commits")


@dataclass(frozen=True)
class Asked:
    """What a path means: a kind of request, and the repository, revision and path inside it."""

    kind: str
    repository: str = ""
    revision: str = MAIN
    path: str = ""


def asked(names: list[str]) -> Asked:
    """The meaning of a path's segments."""
    match names:
        case ["api", "whoami-v2"]:
            return Asked("whoami")
        case ["api", "models"]:
            return Asked("models")
        case ["api", "repos", "create"]:
            return Asked(CREATE)
        case ["api", "validate-yaml"]:
            return Asked(VALIDATE)
        case ["api", "models" | "datasets" as of, organisation, name]:
            return Asked("revision", _key(of, organisation, name))
        case ["api", "models" | "datasets" as of, organisation, name, kind, *rest] if kind in (
            *PER_REPOSITORY,
            *WRITING,
        ):
            revision = rest[0] if rest else MAIN
            return Asked(kind, _key(of, organisation, name), revision, "/".join(rest[1:]))
        case ["datasets", organisation, name, "info", "lfs", "objects", "batch"]:
            return Asked("lfs", _key("datasets", organisation, name.removesuffix(".git")))
        case ["datasets", organisation, name, "resolve", revision, *path] if path:
            return Asked("resolve", _key("datasets", organisation, name), revision, "/".join(path))
        case [organisation, name, "resolve", revision, *path] if path:
            return Asked("resolve", f"{organisation}/{name}", revision, "/".join(path))
        case _:
            return Asked("unknown")


def _key(of: str, organisation: str, name: str) -> str:
    return f"{'datasets/' if of == 'datasets' else ''}{organisation}/{name}"


class HubRoutes:
    """Answers for the hub's origin.

    `token` is the only valid one; without it every token is wrong.
    """

    def __init__(
        self,
        repositories: Mapping[str, Repository],
        token: str | None,
        page_size: int,
        content_address: Callable[[Repository, Blob, str], str],
        uploads: Uploads,
    ) -> None:
        self.token = token
        self.page_size = page_size
        self._repositories = repositories
        self._content_address = content_address
        self._uploads = uploads

    def respond(self, request: Request) -> Answer:
        what = asked(request.names)
        known = self._knows(request)
        repository = self._repositories.get(what.repository)
        if repository is not None and repository.private and not known:
            repository = None
        if refusal := self._refuse_token(request, what, repository):
            return refusal
        if what.kind == "whoami":
            return self._whoami(known)
        if what.kind == "models":
            return self._models(request, known)
        if what.kind in (CREATE, VALIDATE, *WRITING) and not known:
            return error(what.kind, 401, "Invalid username or password.")
        if what.kind == VALIDATE:
            return _validated(request)
        if what.kind == CREATE:
            return self._uploads.create(request, self._repositories.get)
        if what.kind == "unknown" and not request.path.startswith("/api/models/"):
            return error("unknown", 404, "There is nothing here")
        if repository is None:
            # Whoever has no token is not told whether the repository exists.
            return error(what.kind, 404 if known else 401, "Repository not found", "RepoNotFound")
        return self._of_repository(request, what, repository, known)

    def _knows(self, request: Request) -> bool:
        return (
            self.token is not None
            and request.headers.get("authorization") == f"Bearer {self.token}"
        )

    def _refuse_token(
        self, request: Request, what: Asked, repository: Repository | None
    ) -> Answer | None:
        """The answer to a wrong token; None if there is none or it is right."""
        header = request.headers.get("authorization")
        if header is None or self._knows(request):
            return None
        empty = header.removeprefix("Bearer").strip() == ""
        if not empty and what.kind == "resolve" and repository is not None and repository.gated:
            return _gated()
        return error(what.kind, 401, "Invalid credentials in Authorization header")

    def _whoami(self, known: bool) -> Answer:
        if not known:
            return error("whoami", 401, "Invalid username or password.")
        return as_json(
            "whoami",
            {"type": "user", "id": "0", "name": "reader", "fullname": "A reader", "orgs": []},
        )

    def _models(self, request: Request, known: bool) -> Answer:
        author, search = request.parameter("author"), request.parameter("search").lower()
        found = [
            listing.summary(repository)
            for name, repository in sorted(self._repositories.items())
            if (known or not repository.private)
            and (not author or name.split("/")[0] == author)
            and search in name.lower()
        ]
        limit = request.parameter("limit")
        return as_json("models", found[: int(limit)] if limit.isdigit() else found)

    def _of_repository(
        self, request: Request, what: Asked, repository: Repository, known: bool
    ) -> Answer:
        if what.kind in WRITING:
            return self._uploads.respond(what.kind, request, repository, what.revision)
        if what.kind == "refs":
            return as_json("refs", listing.refs(repository))
        commit = repository.commit_of(what.revision)
        if commit is None:
            return error(what.kind, 404, "Revision not found", "RevisionNotFound")
        of_commit = {"X-Repo-Commit": commit}
        files = repository.commits[commit]
        match what.kind:
            case "revision":
                blobs = request.parameter("blobs").lower() in ("true", "1")
                return as_json(
                    "revision", listing.info(repository, commit, blobs=blobs), headers=of_commit
                )
            case "commits":
                return as_json(
                    "commits", listing.commits(repository, what.revision), headers=of_commit
                )
            case "paths-info":
                return as_json(
                    "paths-info", listing.at_paths(files, _paths(request)), headers=of_commit
                )
            case "tree":
                return self._tree(request, what, repository, commit)
            case "resolve":
                return self._resolve(request, what, repository, commit, known)
        return error("unknown", 404, "There is nothing here")

    def _tree(self, request: Request, what: Asked, repository: Repository, commit: str) -> Answer:
        recursive = request.parameter("recursive").lower() in ("true", "1")
        items = listing.tree(repository.commits[commit], what.path, recursive=recursive)
        if what.path and not items:
            return error(
                "tree", 404, "Entry not found", "EntryNotFound", **{"X-Repo-Commit": commit}
            )
        start = int(request.parameter("cursor", "0"))
        stop = start + self.page_size
        headers = {"X-Repo-Commit": commit}
        if stop < len(items):
            query = {**parse_qs(request.query), "cursor": [str(stop)]}
            address = (
                f"http://{request.headers['host']}{request.path}?{urlencode(query, doseq=True)}"
            )
            headers["Link"] = f'<{address}>; rel="next"'
        return as_json("tree", items[start:stop], headers=headers)

    def _resolve(
        self, request: Request, what: Asked, repository: Repository, commit: str, known: bool
    ) -> Answer:
        if repository.gated and not known:
            return _gated()
        of_commit = {"X-Repo-Commit": commit}
        blob = repository.commits[commit].get(what.path)
        if blob is None:
            return error("resolve", 404, "Entry not found", "EntryNotFound", **of_commit)
        if not blob.lfs:
            return file_answer(
                "resolve", request, blob.file, blob.size, {**of_commit, "ETag": f'"{blob.etag}"'}
            )
        linked = {
            "X-Linked-Etag": f'"{blob.etag}"',
            "X-Linked-Size": str(blob.size),
            "Location": self._content_address(repository, blob, what.path),
        }
        return Answer(302, "resolve", {**of_commit, **linked})


def _validated(request: Request) -> Answer:
    """Whether the front matter of a card is YAML, and names files for each configuration."""
    _, front, _ = json.loads(request.body)["content"].split("---\n", 2)
    try:
        configs = yaml.safe_load(front)["configs"]
        assert all({"config_name", "data_files"} <= config.keys() for config in configs)
    except (yaml.YAMLError, AssertionError, KeyError, TypeError):
        return as_json(VALIDATE, {"errors": [{"message": "not a card's YAML"}]}, status=400)
    return as_json(VALIDATE, {"errors": [], "warnings": []})


def _gated() -> Answer:
    return error(
        "resolve", 403, "Access to this repository is restricted: ask its authors", "GatedRepo"
    )


def _paths(request: Request) -> list[str]:
    """The paths a POST asks for: a form's, given once or several times, or a JSON object's."""
    if "json" in request.headers.get("content-type", ""):
        given: Any = json.loads(request.body)["paths"]
    else:
        given = parse_qs(request.body.decode()).get("paths", [])
    return [given] if isinstance(given, str) else [str(path) for path in given]
