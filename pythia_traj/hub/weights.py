"""The weight files of a checkpoint, whole and checked, from the nearest place that has them.

Looked for in this order: what pythia-traj keeps on disk, the Hub's own cache, the network. Nothing
is trusted: a file on disk is hashed like one that arrives, once in a process. Files in the Hub's
cache are never removed, not even damaged ones.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from pythia_traj.checkpoint import WeightFile
from pythia_traj.errors import CheckpointError, HubError, StoreError
from pythia_traj.hub.client import Client
from pythia_traj.hub.disk import OnDisk
from pythia_traj.hub.listed import RemoteFile
from pythia_traj.hub.masks import Masks, fetch_file
from pythia_traj.hub.retry import log
from pythia_traj.hub.staging import HubStaging
from pythia_traj.hub.transfer import Source
from pythia_traj.hub.verified import map_verified


@contextmanager
def hold(
    client: Client,
    repo: str,
    commit: str,
    files: Sequence[RemoteFile],
    staging: HubStaging,
    masks: Masks,
) -> Iterator[list[WeightFile]]:
    """The files of a checkpoint, until the block ends.

    Args:
        files: the weight files, in order.
        staging: where files that have to be fetched are put.
        masks: those learnt from earlier checkpoints of the model; learns from this one.

    Raises:
        CheckpointError: one of them is corrupt, or cannot be fetched.
        StoreError: the disk is full.
    """

    def fill(file: RemoteFile, buffer: memoryview) -> None:
        try:
            with client.asking(repo):
                fetch_file(Source(client, repo, commit, file, staging.stopped), buffer, masks)
        except HubError as error:
            raise CheckpointError(f"{file.path} at commit {commit[:12]}: {error}") from None

    for file in files:
        if file.size == 0:
            raise CheckpointError(
                f"{file.path} of {repo} at commit {commit[:12]} is empty: it was published so"
            )
    with ExitStack() as stack:
        held = {
            file.path: found
            for file in files
            if (found := _here(client, repo, commit, file, staging, stack))
        }
        missing = [file for file in files if file.path not in held]
        if missing:
            held |= {
                found.name: found
                for found in stack.enter_context(staging.hold(repo, missing, fill))
            }
        ordered = [held[file.path] for file in files]
        held.clear()
        yield ordered
        # The bytes are valid in the block only: nothing here may outlive it.
        ordered.clear()


def _here(
    client: Client, repo: str, commit: str, file: RemoteFile, staging: HubStaging, stack: ExitStack
) -> WeightFile | None:
    """A file that is on this machine and is what was listed, held by the stack.

    None if the staging has to hold or fetch it.
    """
    kept = OnDisk()
    with ExitStack() as own:
        ours = own.enter_context(kept.hold_if_there(repo, file))
        path = ours or client.cached(repo, commit, file.path) or client.cached_blob(repo, file.blob)
        if path is None:
            return None
        data = map_verified(path, file)
        if data is not None:
            if ours and staging.holds_kept:
                # The staging holds it together with the missing files: a thread that waits for
                # room while it holds some could wait for ever.
                return None
            stack.push(own.pop_all())
            return WeightFile(file.path, data, path)
    log.warning(
        "%s is damaged: its content is not what the Hub lists for %s of %s", path, file.path, repo
    )
    if ours:
        with suppress(StoreError):  # A read-only cache stays as it is.
            kept.remove(ours)
    return None
