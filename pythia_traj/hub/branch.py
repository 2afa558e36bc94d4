"""One branch of a repository as a checkpoint.

A step's weights are chosen from the listing by content (choice.py), and so are its config and
tokenizer (settings.py), before a byte of weights is fetched.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from pythia_traj.checkpoint import Integrity, WeightFile
from pythia_traj.errors import CheckpointError, DefectError
from pythia_traj.hub import weights
from pythia_traj.hub.choice import Choice, choose, of_main
from pythia_traj.hub.comparison import Comparison
from pythia_traj.hub.inventory import MAIN
from pythia_traj.hub.listed import RemoteFile
from pythia_traj.hub.repository import Repository
from pythia_traj.hub.settings import contradictions, have_same_vocabulary
from pythia_traj.hub.staging import HubStaging
from pythia_traj.suites.files import CONFIG, TOKENIZER, read_json, shards, slow_tokenizer


class HubCheckpoint:
    """One branch of a model's repository, at the commit it pointed to."""

    def __init__(
        self,
        repository: Repository,
        comparison: Comparison,
        *,
        suite: str,
        model: str,
        step: int,
        tokens: int | None,
        revision: str,
        opens_defects: bool,
    ) -> None:
        self._repository, self._comparison = repository, comparison
        self._opens_defects = opens_defects
        self.suite, self.model, self.step = suite, model, step
        self.tokens, self.revision = tokens, revision
        self._choice: Choice | None = None
        self._lock = threading.Lock()

    @property
    def commit(self) -> str:
        """The commit that the branch pointed to.

        Raises:
            CheckpointError: the step was announced and has no branch.
            HubError: the Hub cannot be asked.
        """
        return self._repository.inventory.commit(self.revision)

    @cached_property
    def _files(self) -> dict[str, RemoteFile]:
        return self._repository.listing(self.commit)

    def choice(self) -> Choice:
        """The weight files to read, chosen among what is listed.

        Raises:
            CheckpointError: there are none, or they cannot be listed.
        """
        with self._lock:
            if self._choice is None:
                self._choice = self._choose()
            return self._choice

    def _choose(self) -> Choice:
        last, holders = self._comparison.last, self._comparison.holders()
        own = partial(self._shards, self.commit)
        choice = choose(
            self.step, self.commit, self._files, own, holders, last=last, where=self._where()
        )
        if choice.defect is None or self.step != last or (main := self._repository.main) is None:
            return choice
        # Main is a copy of the last step: if that step's files were replaced, main's are right.
        commit, files = main
        return of_main(
            commit,
            files,
            partial(self._shards, commit),
            choice,
            f"{self._repository.name} at {MAIN}",
        )

    def _shards(self, commit: str, index: str) -> dict[str, frozenset[str]]:
        """The shards that an index of a commit names, each with the tensors to be taken from it."""
        where = f"{index} of {self._where()}"
        path = self._repository.fetch(commit, self._repository.listing(commit)[index])
        return shards(read_json(path, what="the index of the shards"), where)

    def weights(self) -> tuple[RemoteFile, ...]:
        """The weight files.

        Raises:
            CheckpointError: there are none.
            DefectError: they are not this step's, and the request does not expect that.
        """
        choice = self.choice()
        if choice.defect and not self._opens_defects:
            raise DefectError(choice.defect)
        return choice.weights

    def integrity(self) -> Integrity:
        """The verdict of the comparison; the bytes are checked when they are opened."""
        choice, holders = self.choice(), self._comparison.holders()
        chosen = tuple(file.path for file in choice.weights)
        if choice.defect:
            return Integrity("known-defect", choice.defect, chosen)
        if choice.commit in self._repository.inventory.unlisted:
            why = (
                f"{choice.why}; its files are copies,"
                " whose digests by the Hub are not known offline"
            )
            return Integrity("unchecked", why, chosen)
        if holders.missing:
            return Integrity(
                "unchecked",
                f"{choice.why}; not compared with {', '.join(sorted(holders.missing))}",
                chosen,
            )
        return Integrity("verified", choice.why, chosen)

    def config(self) -> dict[str, Any]:
        """The parsed `config.json`.

        It is `main`'s where this one differs from it in token ids and metadata alone.

        Raises:
            CheckpointError: it is missing, or contradicts `main`'s.
        """
        return read_json(self._repository.fetch(*self._config_file), what=CONFIG)

    def tokenizer(self) -> Path | None:
        """`tokenizer.json`: `main`'s if it has one; None where neither has.

        Raises:
            CheckpointError: it knows other tokens than `main`'s.
        """
        return (
            None if self._tokenizer_file is None else self._repository.fetch(*self._tokenizer_file)
        )

    def tokenizer_instead(self) -> str | None:
        """The tokenizer files that are listed instead of `tokenizer.json`."""
        return slow_tokenizer(self._files)

    @cached_property
    def _config_file(self) -> tuple[str, RemoteFile]:
        own, main = self._own_and_main(CONFIG)
        if own is None:
            raise CheckpointError(f"{self._where()} has no {CONFIG}: every checkpoint needs it")
        if main is None or main[1].blob == own[1].blob:
            return own
        found = contradictions(
            *(read_json(self._repository.fetch(*file), what=CONFIG) for file in (own, main))
        )
        if found:
            raise CheckpointError(
                f"{CONFIG} of {self._where()} is not that of the model: {', '.join(found)};"
                " it computes something else"
            )
        return main

    @cached_property
    def _tokenizer_file(self) -> tuple[str, RemoteFile] | None:
        own, main = self._own_and_main(TOKENIZER)
        if own is None or main is None or main[1].blob == own[1].blob:
            # A copy of the Hub's cache may hold this step alone.
            return own or main
        both = (read_json(self._repository.fetch(*file), what=TOKENIZER) for file in (own, main))
        if not have_same_vocabulary(*both):
            raise CheckpointError(
                f"{TOKENIZER} of {self._where()} knows other tokens than {MAIN}'s:"
                " its texts would be others"
            )
        return main

    def _own_and_main(
        self, name: str
    ) -> tuple[tuple[str, RemoteFile] | None, tuple[str, RemoteFile] | None]:
        """A small file of this step and of `main`, each with its commit."""
        own = (self.commit, self._files[name]) if name in self._files else None
        main = self._repository.main
        return own, None if main is None or name not in main[1] else (main[0], main[1][name])

    def listed(self) -> list[RemoteFile]:
        """The files a measurement rests on: config, tokenizer, index, weights."""
        choice, tokenizer = self.choice(), self._tokenizer_file
        small = [self._config_file[1], tokenizer and tokenizer[1], choice.index]
        return [file for file in (*small, *choice.weights) if file is not None]

    def source(self) -> dict[str, Any]:
        """The commit, and the digests of the files that a measurement rests on."""
        files, choice = [[file.path, file.size, file.blob] for file in self.listed()], self.choice()
        source = {
            "kind": "hub",
            "repo": self._repository.name,
            "commit": self.commit,
            "files": files,
        }
        if choice.commit != self.commit:
            source["weights_commit"] = choice.commit
        return source | ({"defect": choice.defect} if choice.defect else {})

    @contextmanager
    def open(self, staging: HubStaging) -> Iterator[Sequence[WeightFile]]:
        """The chosen weight files, whole and checked.

        They come from this machine if they are here, else they are fetched into the staging.
        """
        it, files, choice = self._repository, self.weights(), self.choice()
        tensors = self._shards(choice.commit, choice.index.path) if choice.index else {}
        with weights.hold(it.client, it.name, choice.commit, files, staging, it.masks) as held:
            yield [replace(file, tensors=tensors.get(file.name)) for file in held]

    def _where(self) -> str:
        return f"{self._repository.name} at {self.revision} ({self.commit[:12]})"
