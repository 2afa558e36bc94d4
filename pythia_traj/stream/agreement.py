"""The one model that the steps of a request belong to, and the steps that do not belong to it.

A model has one shape and one vocabulary. A step whose config is another model's fails alone, and
does not change what the others are, even if it is the first step. The model is the one that most
steps belong to; of two with equally many steps, the one with the later steps.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch

from pythia_traj.architectures.finding import architecture_of
from pythia_traj.architectures.settings import differences, settings_of
from pythia_traj.checkpoint import Checkpoint, PublishedModel
from pythia_traj.errors import CheckpointError, DeviceError
from pythia_traj.hub.settings import have_same_vocabulary
from pythia_traj.models.device import DTYPES, check_fits
from pythia_traj.models.tokenizer import (
    CheckpointTokenizer,
    bos_token_id,
    eos_token_ids,
    read_tokenizer,
)
from pythia_traj.outside import LARGE, parse_json, read_file
from pythia_traj.suites.files import CONFIG, TOKENIZER

Fits = Callable[[Mapping[str, Any]], None]
"""Receives a config; raises DeviceError if its model is too large for the device."""

_TIE = "; as many steps are of either kind, and then the later ones count"

_NAMED = 3
"""Steps that a message names."""


@dataclass(frozen=True)
class Agreement:
    """The model that the steps of a request belong to.

    Attributes:
        pattern: the checkpoint whose config and tokenizer are the model's; None if no step has
            both.
        refused: the steps that do not belong to that model, each with the reason.
    """

    pattern: Checkpoint | None
    refused: Mapping[int, str] = field(default_factory=dict)

    def check(self, step: int) -> None:
        """Refuses a step that does not belong to the model.

        Raises:
            CheckpointError: with the reason.
        """
        if step in self.refused:
            raise CheckpointError(self.refused[step])


def agree(
    published: PublishedModel,
    steps: Iterable[int],
    *,
    dtype: str,
    device: torch.device,
    copies: int = 1,
) -> Agreement:
    """Finds the model that most of the steps belong to; reads only configs and tokenizers.

    If a repository's steps are compared with its `main`, no vote is needed: a step that differs
    fails by itself when it is opened.

    If a model does not fit the device, the next one that does is taken.

    Args:
        dtype: of the parameters.
        copies: how many sets of weights are held.

    Raises:
        DeviceError: no model of any step fits.
        HubError: the Hub cannot be asked.
    """
    wanted = sorted(set(steps))
    fits = partial(
        check_fits, model=published.model, dtype=DTYPES[dtype], device=device, copies=copies
    )
    if published.compares_with_main:
        return _first_readable(published, wanted, fits)
    refused: dict[int, str] = {}
    groups, configs = _by_shape(published, wanted, refused)
    chosen = _first_that_fits(groups, configs, fits, refused)
    if chosen is None:
        return Agreement(None, refused)
    for other in groups:
        for step in other:
            if step not in chosen and step not in refused:
                refused[step] = _why_other_shape(
                    step, configs, chosen, is_tie=len(other) == len(chosen)
                )
    pattern = _of_one_vocabulary(published, chosen, configs, refused)
    return Agreement(None if pattern is None else published.checkpoint(pattern), refused)


class Known:
    """What a model is known by, for the steps that are published after it was found.

    It is kept here because the checkpoint that it is from may be removed. The steps that were there
    first have decided: no later majority changes the model.

    Attributes:
        config: the model's.
    """

    def __init__(self, pattern: Checkpoint) -> None:
        """Reads the config and the tokenizer of a checkpoint.

        Raises:
            CheckpointError: it cannot be read any more.
        """
        self.config, self._step = pattern.config(), pattern.step
        self._vocabularies, path = _Vocabularies(), pattern.tokenizer()
        self._vocabulary = None if path is None else self._vocabularies.of(path)

    def why_not(self, later: Checkpoint) -> str | None:
        """Why a checkpoint is not of the model; None where it is."""
        try:
            config, path = later.config(), later.tokenizer()
            if differences(config, self.config):
                configs = {later.step: config, self._step: self.config}
                return _why_other_shape(later.step, configs, [self._step], is_tie=False)
            own = None if path is None else self._vocabularies.of(path)
        except CheckpointError as error:
            return str(error)
        if own is None or self._vocabulary is None or own is self._vocabulary:
            return None
        return _why_other_tokens(later.step, [self._step])


def _first_readable(published: PublishedModel, steps: Sequence[int], fits: Fits) -> Agreement:
    reasons: dict[int, str] = {}
    for step in steps:
        checkpoint = published.checkpoint(step)
        try:
            config, path = checkpoint.config(), checkpoint.tokenizer()
            settings_of(config)
            bos_token_id(config, None if path is None else read_tokenizer(path))
        except CheckpointError as error:
            reasons[step] = str(error)
            continue
        fits(config)
        return Agreement(checkpoint)
    return Agreement(None, reasons)


def _by_shape(
    published: PublishedModel, steps: Sequence[int], refused: dict[int, str]
) -> tuple[list[list[int]], dict[int, Mapping[str, Any]]]:
    """The steps grouped by their configs, the largest group first, and each step's config."""
    groups: dict[str, list[int]] = {}
    configs: dict[int, Mapping[str, Any]] = {}
    for step in steps:
        try:
            configs[step] = published.checkpoint(step).config()
            name, settings = architecture_of(configs[step]).name, settings_of(configs[step])
            said = json.dumps([name, settings], sort_keys=True)
        except CheckpointError as error:
            refused[step] = str(error)
            continue
        groups.setdefault(said, []).append(step)
    return _largest_first(groups.values()), configs


def _largest_first(groups: Iterable[list[int]]) -> list[list[int]]:
    return sorted(groups, key=lambda members: (len(members), members[-1]), reverse=True)


def _first_that_fits(
    groups: Sequence[list[int]],
    configs: Mapping[int, Mapping[str, Any]],
    fits: Fits,
    refused: dict[int, str],
) -> list[int] | None:
    first: DeviceError | None = None
    too_large: dict[int, str] = {}
    for members in groups:
        try:
            fits(configs[members[0]])
        except DeviceError as error:
            first = first or error
            too_large |= dict.fromkeys(members, str(error))
            continue
        refused |= too_large
        return members
    if first is not None:
        raise first
    return None


def _why_other_shape(
    step: int, configs: Mapping[int, Mapping[str, Any]], chosen: Sequence[int], *, is_tie: bool
) -> str:
    differing = ", ".join(
        f"{key} {own!r} instead of {theirs!r}"
        for key, own, theirs in differences(configs[step], configs[chosen[0]])
    )
    tie = _TIE if is_tie else ""
    return f"{CONFIG} of step {step} is not that of {_named(chosen)}: {differing}{tie}"


def _why_other_tokens(step: int, chosen: Sequence[int]) -> str:
    return f"{TOKENIZER} of step {step} knows other tokens than that of {_named(chosen)}"


def _named(steps: Sequence[int]) -> str:
    """Steps in a message: the first few of them."""
    named = ", ".join(map(str, steps[:_NAMED]))
    more = f" and {len(steps) - _NAMED} more" if len(steps) > _NAMED else ""
    return f"step{'s' if len(steps) > 1 else ''} {named}{more}"


def _of_one_vocabulary(
    published: PublishedModel,
    steps: Sequence[int],
    configs: Mapping[int, Mapping[str, Any]],
    refused: dict[int, str],
) -> int | None:
    """The first step of the majority that knows the same tokens; the others are refused.

    A step without a tokenizer agrees with all.

    A step is not refused for the tokens that begin and end a sequence: the majority decides them.
    """
    vocabularies = _Vocabularies()
    silent: list[int] = []
    by_ids: dict[tuple[int, tuple[int, ...]], list[int]] = {}
    for step in steps:
        try:
            path = published.checkpoint(step).tokenizer()
            found = None if path is None else vocabularies.of(path)
            tokenizer = None if found is None else found.tokenizer
            ids = bos_token_id(configs[step], tokenizer), eos_token_ids(configs[step], tokenizer)
        except CheckpointError as error:
            refused[step] = str(error)
            continue
        by_ids.setdefault(ids, []).append(step)
        (silent if found is None else found.steps).append(step)
    ranked = _largest_first(known.steps for known in vocabularies.known if known.steps)
    for other in ranked[1:]:
        tie = _TIE if len(other) == len(ranked[0]) else ""
        for step in other:
            refused[step] = f"{_why_other_tokens(step, ranked[0])}{tie}"
    right = set(ranked[0] if ranked else silent)
    agreeing = _largest_first(
        members for own in by_ids.values() if (members := [step for step in own if step in right])
    )
    return agreeing[0][0] if agreeing else None


@dataclass
class _Vocabulary:
    """A tokenizer, and the steps that know the same tokens."""

    parsed: Mapping[str, Any]
    tokenizer: CheckpointTokenizer
    steps: list[int] = field(default_factory=list)


class _Vocabularies:
    """The different tokenizers. Most steps have the same file, which is then read once."""

    def __init__(self) -> None:
        self.known: list[_Vocabulary] = []
        self._by_digest: dict[str, _Vocabulary | CheckpointError] = {}

    def of(self, path: Path) -> _Vocabulary:
        """The one that knows the same tokens as the tokenizer in a file.

        Raises:
            CheckpointError: it cannot be used.
        """
        try:
            data = read_file(path, error=CheckpointError, most=LARGE)
        except FileNotFoundError:
            raise CheckpointError(f"{path} does not exist any more") from None
        digest = sha256(data).hexdigest()
        if digest not in self._by_digest:
            try:
                self._by_digest[digest] = self._read(path, data)
            except CheckpointError as error:
                self._by_digest[digest] = error
        found = self._by_digest[digest]
        if isinstance(found, CheckpointError):
            raise found
        return found

    def _read(self, path: Path, data: bytes) -> _Vocabulary:
        tokenizer, parsed = read_tokenizer(path), parse_json(data, path, error=CheckpointError)
        same = next(
            (known for known in self.known if have_same_vocabulary(parsed, known.parsed)), None
        )
        if same is None:
            same = _Vocabulary(parsed, tokenizer)
            self.known.append(same)
        return same
