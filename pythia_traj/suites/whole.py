"""Whether the checkpoint in a folder is whole, while a training run may still be writing it.

No order of its files is assumed: whoever writes or copies it may begin with any of them. A file is
whole when it ends where its own beginning says: a header names the last byte of a safetensors file,
an archive's directory stands at the end of a `.bin`. Older `.bin` files do not say where they end.
"""

import os
import zipfile
from pathlib import Path

from pythia_traj.errors import CheckpointError
from pythia_traj.outside import open_file
from pythia_traj.suites.files import TOKENIZER
from pythia_traj.suites.files import read_json as read_object
from pythia_traj.suites.local import LocalCheckpoint
from pythia_traj.suites.reading import Stamp, stamp_of
from pythia_traj.suites.tensors import header_end, tensor_entries

Stamps = dict[str, Stamp]
"""What identifies the content of each file of a folder, without reading it."""

_ARCHIVE = b"PK\x03\x04"
"""How a zip archive begins."""


def why_incomplete(checkpoint: LocalCheckpoint) -> str | None:
    """What a checkpoint lacks of its config, its tokenizer and its weights; None if it is whole.

    Whether it should have a tokenizer is not known here.
    """
    try:
        checkpoint.config()
        tokenizer = checkpoint.tokenizer()
        if tokenizer is not None:
            read_object(tokenizer, what=TOKENIZER)
        for path in checkpoint.weight_paths():
            _check_end(path)
    except CheckpointError as error:
        return str(error)
    except FileNotFoundError as error:
        return f"{error.filename} was removed"
    except OSError as error:
        return f"{error.filename or checkpoint.directory} cannot be read: {error.strerror}"
    return None


def stamps_of(folder: Path) -> Stamps | None:
    """The files of a folder, by name; None where it does not exist, or cannot be read."""
    found: Stamps = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    found[entry.name] = stamp_of(entry.stat())
                except OSError:
                    # Removed since, or a link that leads nowhere yet: its name counts.
                    found[entry.name] = (0, 0, 0, 0)
    except OSError:
        return None
    return found


def _check_end(path: Path) -> None:
    """Checks that a weight file is not shorter, or longer, than it says.

    Raises:
        CheckpointError: it is.
    """
    with open_file(path, error=CheckpointError) as file:
        size = os.fstat(file.fileno()).st_size
        if path.suffix == ".safetensors":
            start = header_end(memoryview(file.read(8)), size, path.name)
            file.seek(0)
            tensor_entries(memoryview(file.read(start)), size, path.name)
            return
        beginning = file.read(len(_ARCHIVE))
        has_end = beginning != _ARCHIVE or zipfile.is_zipfile(file)
        if len(beginning) < len(_ARCHIVE) or not has_end:
            raise CheckpointError(f"{path.name} is truncated ({size} bytes): fetch it again")
