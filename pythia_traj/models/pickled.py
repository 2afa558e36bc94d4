"""What a `.bin` says of itself, checked before torch reads it: its storages and their bytes.

torch trusts a file: it reads beyond a storage that is shorter than its pickle says, takes
compressed bytes for weights when it maps a file, allocates what an old file's pickle claims. So the
pickle is read here first, by a machine that makes no objects and runs nothing, and its claims are
compared with the file. There are two formats: a zip archive without compression (torch 1.6 and
later), and before that five pickles followed by the storages.
"""

import io
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

from pythia_traj.errors import CheckpointError

_PICKLE_LIMIT = 2_000_000
"""Bytes of a pickle: fifteen thousand tensors.

It holds names and shapes; the largest models need a hundred thousand.
"""

_DIRECTORY_LIMIT = 8_000_000
"""Bytes of an archive's directory, for as many records."""

_DEPTH = 64
"""How deep values may be nested. A state dict needs four."""

_ITEM_BYTES = {
    **dict.fromkeys(("ComplexDoubleStorage",), 16),
    **dict.fromkeys(("DoubleStorage", "LongStorage", "ComplexFloatStorage"), 8),
    **dict.fromkeys(("FloatStorage", "IntStorage", "QInt32Storage"), 4),
    **dict.fromkeys(("HalfStorage", "BFloat16Storage", "ShortStorage"), 2),
    **dict.fromkeys(
        ("ByteStorage", "CharStorage", "BoolStorage", "QInt8Storage", "QUInt8Storage"), 1
    ),
    # Storages that torch counts in bytes: for types newer than its classes of storages.
    "UntypedStorage": 1,
}

_ATOMS = {"BININT", "BININT1", "BININT2", "BINFLOAT", "LONG1", "BINUNICODE", "SHORT_BINSTRING"}
_ATOMS |= {"NONE", "NEWTRUE", "NEWFALSE"}
_EMPTY = {"EMPTY_DICT", "EMPTY_LIST", "EMPTY_SET", "EMPTY_TUPLE"}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_POPPED = {"APPEND": 1, "BUILD": 1, "SETITEM": 2}


class Bytes(io.RawIOBase):
    """Bytes in memory as a file for reading, without a copy of them."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Goes to a byte."""
        self._at = (
            offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._data)}[whence]
        )
        return self._at

    def tell(self) -> int:
        """The byte that comes next."""
        return self._at

    def read(self, size: int = -1) -> bytes:
        """At most so many bytes.

        It takes only as much memory as bytes exist, even if a pickle announces more.
        """
        found = bytes(
            self._data[self._at : self._at + size] if size >= 0 else self._data[self._at :]
        )
        self._at += len(found)
        return found

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer, as far as bytes are left."""
        found = self._data[self._at : self._at + len(buffer)]
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


def check_claims(data: memoryview, name: str) -> None:
    """Refuses a `.bin` whose pickle claims other storages than it holds.

    Args:
        name: of the file, for messages.

    Raises:
        CheckpointError: it is not a file that torch writes, or is not whole.
    """
    try:
        if bytes(data[:4]) == b"PK\x03\x04":
            _check_zip(data, name)
        else:
            _check_old(data, name)
    except LookupError:
        reason = "its pickle uses a value that it never stored"
        raise CheckpointError(
            f"{name} is truncated or damaged ({reason}): fetch it again"
        ) from None
    except (ValueError, EOFError, TypeError, AttributeError, OverflowError, struct.error) as error:
        reason = str(error).partition("\n")[0] or "it ends too early"
        raise CheckpointError(
            f"{name} is truncated or damaged ({reason}): fetch it again"
        ) from None
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise CheckpointError(f"{name} is truncated or damaged ({error}): fetch it again") from None


def _check_zip(data: memoryview, name: str) -> None:
    records = _records(data, name)
    folder = next(iter(records), "").partition("/")[0]
    if f"{folder}/constants.pkl" in records:
        raise CheckpointError(
            f"{name} is a TorchScript program, not weights: save the model's state dict alone"
        )
    pickle = records.get(f"{folder}/data.pkl")
    if pickle is None:
        raise CheckpointError(
            f"{name} is a zip archive that torch did not write: it has no data.pkl"
        )
    if pickle.file_size > _PICKLE_LIMIT:
        raise CheckpointError(
            f"{name}: its data.pkl has {pickle.file_size} bytes, at most {_PICKLE_LIMIT} are read:"
            " it is more than names and shapes"
        )
    walk = _Walk(io.BytesIO(_content(data, pickle)))
    for key, claimed in walk.storages.items():
        record = records.get(f"{folder}/data/{key}")
        if record is None or record.file_size != claimed:
            there = "is not there" if record is None else f"has {record.file_size} bytes"
            raise ValueError(f"storage {key} {there} where its pickle says {claimed} bytes")


def _content(data: memoryview, record: zipfile.ZipInfo) -> bytes:
    """A stored record's bytes. A checksum of 0 means that torch was told to write none."""
    at = record.header_offset
    lengths: tuple[int, int] = struct.unpack("<HH", data[at + 26 : at + 30])
    start = at + 30 + sum(lengths)
    found = bytes(data[start : start + record.file_size])
    if record.CRC not in {0, zlib.crc32(found)}:
        raise ValueError(f"the checksum of its {record.filename.rpartition('/')[2]} differs")
    return found


def _records(data: memoryview, name: str) -> dict[str, zipfile.ZipInfo]:
    """An archive's records by name, all of them without compression."""
    _check_directory(data)
    with zipfile.ZipFile(Bytes(data)) as archive:
        found = archive.infolist()
    for record in found:
        if record.compress_type != zipfile.ZIP_STORED or record.compress_size != record.file_size:
            raise CheckpointError(
                f"{name} is compressed, which torch never does: save it anew with torch.save"
            )
        if record.flag_bits & 1:
            raise ValueError("it is encrypted")
    # torch looks names up without regard to case.
    if len({record.filename.casefold() for record in found}) != len(found):
        raise ValueError("it holds two records of one name")
    if sum(record.file_size for record in found) > len(data):
        raise ValueError("its records overlap")
    if min((record.header_offset for record in found), default=0):
        raise ValueError("its first record is not at its beginning")
    return {record.filename: record for record in found}


def _check_directory(data: memoryview) -> None:
    """Checks that the directory is where all readers look: torch and Python differ otherwise."""
    end = len(data) - 22
    if end < 0 or bytes(data[end : end + 4]) != b"PK\x05\x06" or bytes(data[end + 20 :]) != b"\0\0":
        raise ValueError("an archive's directory is not at its end")
    size, start = struct.unpack("<II", data[end + 12 : end + 20])
    if bytes(data[max(end - 20, 0) : max(end - 16, 0)]) == b"PK\x06\x07":
        end -= 20 + 56
        size, start = struct.unpack("<QQ", data[max(end, 0) + 40 : max(end, 0) + 56])
    if start + size != end:
        raise ValueError("its directory is not where it says")
    if size > _DIRECTORY_LIMIT:
        raise ValueError(f"its directory has {size} bytes")


def _check_old(data: memoryview, name: str) -> None:
    """The format before torch 1.6: magic number, version, system, the object, the storages' keys.

    The storages follow, each after its size.
    """
    if bytes(data[257:262]) == b"ustar":
        raise CheckpointError(
            f"{name} is from torch before 0.2 (a tar archive): load and save it with a later torch"
        )
    file = Bytes(data)
    for _ in range(3):
        _Walk(file)
    claimed = _Walk(file).storages
    keys = _Walk(file).texts
    if sorted(keys) != sorted(claimed):
        raise ValueError("the storages are not those that its pickle names")
    left = len(data) - file.tell()
    if sum(claimed.values()) + 8 * len(keys) != left:
        raise ValueError(
            f"{left} bytes of storages where its pickle says"
            f" {sum(claimed.values()) + 8 * len(keys)}"
        )


class _Nested:
    """Any value that holds others; only the depth of its nesting is known."""

    def __init__(self, *values: Any) -> None:
        self.depth: int = 1 + max(
            (value.depth for value in values if isinstance(value, _Nested)), default=0
        )
        if self.depth > _DEPTH:
            raise ValueError(f"it is nested deeper than {_DEPTH}")


class _Walk:
    """One pickle, of the operations that state dicts are written with.

    Attributes:
        storages: the bytes that each storage claims, by its key.
        texts: all strings, in order.
    """

    def __init__(self, file: io.IOBase) -> None:
        self.storages: dict[str, int] = {}
        self.texts: list[str] = []
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        for name, argument in _operations(file):
            self._take(name, argument)

    def _take(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _ATOMS:
            if isinstance(argument, str):
                self.texts.append(argument)
            stack.append(argument)
        elif name == "GLOBAL":
            stack.append(argument)
        elif name in _EMPTY:
            stack.append(_Nested())
        elif name == "MARK":
            self._marks.append(len(stack))
        elif name in _TUPLES:
            stack.append(_tuple(self._pop(_TUPLES[name])))
        elif name == "TUPLE":
            stack.append(_tuple(self._pop_to_mark()))
        elif name in {"BINPUT", "LONG_BINPUT"}:
            self._memo[argument] = stack[-1]
        elif name in {"BINGET", "LONG_BINGET"}:
            stack.append(self._memo[argument])
        elif name in {"REDUCE", "NEWOBJ"}:
            stack.append(_Nested(*self._pop(2)))
        elif name in _POPPED:
            self._pop(_POPPED[name])
        elif name in {"APPENDS", "SETITEMS"}:
            self._pop_to_mark()
        elif name == "BINPERSID":
            self._storage(*self._pop(1))
            stack.append(_Nested())
        elif name not in {"PROTO", "STOP"}:
            raise ValueError(f"its pickle holds {name}, which no state dict does")

    def _pop(self, count: int) -> list[Any]:
        if len(self._stack) < count:
            raise ValueError("its pickle takes more values than it has")
        taken = self._stack[-count:]
        del self._stack[-count:]
        return taken

    def _pop_to_mark(self) -> list[Any]:
        mark = self._marks.pop()
        taken = self._stack[mark:]
        del self._stack[mark:]
        return taken

    def _storage(self, claim: Any) -> None:
        """A storage's claim: `("storage", class, key, device, number of elements)`.

        In old files a view of it follows.
        """
        what, kind, key, _, count, *view = claim
        size = _ITEM_BYTES[str(kind).rpartition(" ")[2]] * count
        if (
            what != "storage"
            or not isinstance(key, str)
            or type(count) is not int
            or count < 0
            or any(view)
        ):
            raise ValueError("its pickle names a storage as torch does not")
        if self.storages.setdefault(key, size) != size:
            raise ValueError(f"its pickle gives storage {key} two sizes")


def _tuple(values: list[Any]) -> Any:
    """A tuple; if it holds more than plain values, only its existence is known."""
    is_plain = not any(isinstance(value, (tuple, _Nested)) for value in values)
    return (
        tuple(values)
        if is_plain
        else _Nested(*values, *(_Nested() for value in values if isinstance(value, tuple)))
    )


def _operations(file: io.IOBase) -> Iterator[tuple[str, Any]]:
    """A pickle's operations up to its end, each with its argument."""
    start = file.tell()
    for operation, argument, position in pickletools.genops(file):  # type: ignore[arg-type]
        if (position or 0) - start > _PICKLE_LIMIT:
            raise ValueError(f"its pickle is longer than {_PICKLE_LIMIT} bytes")
        yield operation.name, argument
