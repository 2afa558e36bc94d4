"""Which files of a step are its weights.

They are chosen from the listing, by content, before a byte of them is fetched.

A branch can hold a file that is another step's. On EleutherAI/pythia-2.8b 76 step branches hold a
copy of `main`'s `model.safetensors`, 36 of them beside the step's own shards, others beside its own
`pytorch_model.bin` (EleutherAI/pythia #205, #195). Every digest there is right, so that no check of
the bytes would notice.

A file is not a step's own if another step holds it, or if `main` holds it. The last step is an
exception: `main` is a copy of it. Steps 0 to 2 may be alike: their first updates have a learning
rate of 0 (EleutherAI/pythia #83). Each shard is checked like a file: a single foreign one makes the
step a chimera. Of the files that are left, shards come before a single file, safetensors before
`.bin`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from pythia_traj.errors import CheckpointError
from pythia_traj.hub.inventory import MAIN, Holders
from pythia_traj.hub.listed import RemoteFile
from pythia_traj.suites.files import WEIGHTS, is_adapter, is_index, what_it_holds

_ALIKE = 2
"""Steps up to this one may be the same model."""

Listing = Mapping[str, RemoteFile]
"""The files of a commit by name."""

Shards = Callable[[str], Iterable[str]]
"""The shards that an index, given by its name, names."""


@dataclass(frozen=True)
class Choice:
    """The weight files to read.

    Attributes:
        commit: the commit they are from: the step's own, or `main`'s instead of the last step's.
        weights: one file, or all shards, in order.
        index: the index that names the shards.
        why: what was chosen, and what was passed over, with the reason; a sentence for the record.
        defect: why they are not the step's; None where they are.
    """

    commit: str
    weights: tuple[RemoteFile, ...]
    index: RemoteFile | None
    why: str
    defect: str | None = None


def whose(step: int, blob: str, holders: Holders, *, last: int) -> str | None:
    """To whom a content belongs, in words, if it is not this step's own."""
    if blob in holders.main:
        return None if step == last else f"{MAIN}'s"
    others = {
        other
        for other in holders.steps.get(blob, ())
        if other != step and max(other, step) > _ALIKE
    }
    if not others:
        return None
    more = f" and {len(others) - 1} more's" if len(others) > 1 else ""
    return f"also step {min(others)}'s{more}"


def choose(
    step: int,
    commit: str,
    files: Listing,
    shards: Shards,
    holders: Holders,
    *,
    last: int,
    where: str,
) -> Choice:
    """The weight files that are a step's own.

    If it has none of its own, the files that would be preferred, with the defect.

    Args:
        where: the checkpoint in messages.

    Raises:
        CheckpointError: there are no weights, or none of them are complete.
    """
    _refuse_other_branches(files, where)
    passed_over: list[str] = []
    incomplete: CheckpointError | None = None
    fallback: Choice | None = None
    for name in (name for name in WEIGHTS if name in files):
        try:
            weights = _complete(name, files, shards, where)
        except CheckpointError as error:
            incomplete = incomplete or error
            passed_over.append(str(error))
            continue
        index = files[name] if is_index(name) else None
        foreign = {file.path: whose(step, file.blob, holders, last=last) for file in weights}
        foreign = {path: owner for path, owner in foreign.items() if owner is not None}
        if not foreign:
            passed = f"; passed over: {', '.join(passed_over)}" if passed_over else ""
            return Choice(commit, weights, index, f"{name} is this step's own{passed}")
        named = ", ".join(f"{path} is {owner}" for path, owner in foreign.items())
        passed_over.append(named)
        left = len(weights) - len(foreign)
        defect = (
            f"{where}: {named}{f', the other {left} shards are its own: a chimera' if left else ''}"
        )
        fallback = fallback or Choice(commit, weights, index, "", defect)
    if fallback is not None:
        return replace(fallback, why=f"none of its files are its own: {', '.join(passed_over)}")
    raise incomplete or CheckpointError(
        f"{where} holds no weights: expected one of {', '.join(WEIGHTS)}"
    )


def _refuse_other_branches(files: Listing, where: str) -> None:
    """Refuses a branch that is not a model, and says what it is.

    An adapter beside weights is refused too.
    """
    if is_adapter(files) or not any(name in files for name in WEIGHTS):
        found = what_it_holds(files)
        if found is not None:
            raise CheckpointError(f"{where} holds {found}")


def of_main(commit: str, files: Listing, shards: Shards, instead_of: Choice, where: str) -> Choice:
    """`main`'s weights instead of the last step's, if those are not its own.

    If `main` has none, the last step's choice stays.
    """
    for name in (name for name in WEIGHTS if name in files):
        try:
            weights = _complete(name, files, shards, where)
        except CheckpointError:
            continue
        index = files[name] if is_index(name) else None
        return Choice(commit, weights, index, f"{MAIN}'s {name}: {instead_of.why}")
    return instead_of


def _complete(name: str, files: Listing, shards: Shards, where: str) -> tuple[RemoteFile, ...]:
    """A weight file, or all shards of an index.

    Raises:
        CheckpointError: one of them is not listed, or is empty.
    """
    names = list(shards(name)) if is_index(name) else [name]
    for shard in names:
        if shard not in files:
            raise CheckpointError(f"shard {shard} named in {name} of {where} is missing")
        if files[shard].size == 0:
            raise CheckpointError(f"{shard} of {where} is empty: it was published so")
    return tuple(files[shard] for shard in names)
