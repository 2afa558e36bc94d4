"""Weight files that are damaged, or not what their name says: the weights as the official readers
give them, or one line.
"""

import io
import json
import os
import pickle
import struct
import warnings
import zipfile
import zlib
from collections import OrderedDict

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load as official_safetensors

from pythia_traj.architectures.gpt_neox import ARCHITECTURE
from pythia_traj.checkpoint import WeightFile
from pythia_traj.errors import CheckpointError
from pythia_traj.models.tensors import read_tensors
from pythia_traj.suites.reading import Reading, map_file

A, B = "gpt_neox.a.weight", "gpt_neox.b.bias"
TENSORS = {A: torch.arange(6, dtype=torch.float32).view(2, 3), B: torch.tensor([-1.0, 0.5])}


def header_of(*entries, pairs=None, text=None, metadata=None):
    """A safetensors header of (name, type, shape, first, last) entries, as text with duplicates if
    need be.
    """
    if text is not None:
        return text
    listed = [
        (name, {"dtype": dtype, "shape": shape, "data_offsets": list(at)})
        for name, dtype, shape, at in entries
    ]
    listed += list((pairs or {}).items())
    if metadata is not None:
        listed.insert(0, ("__metadata__", metadata))
    return "{" + ",".join(f"{json.dumps(name)}:{json.dumps(facts)}" for name, facts in listed) + "}"


def safe(header, body, pad=b""):
    raw = header.encode("utf-8", "surrogatepass") + pad
    return len(raw).to_bytes(8, "little") + raw + body


F = struct.pack("<6f", *range(6))
G = struct.pack("<2f", -1.0, 0.5)
GOOD = ((A, "F32", [2, 3], (0, 24)), (B, "F32", [2], (24, 32)))

SAFE = {
    # name: (bytes, what is said; None: it is read)
    "as it should be": (safe(header_of(*GOOD), F + G), None),
    "spaces after the header": (safe(header_of(*GOOD), F + G, b"   "), None),
    "metadata of strings": (safe(header_of(*GOOD, metadata={"format": "pt"}), F + G), None),
    "metadata null": (
        safe(header_of(*GOOD, text=header_of(*GOOD)[:-1] + ',"__metadata__":null}'), F + G),
        None,
    ),
    "tensors in another order": (safe(header_of(*reversed(GOOD)), F + G), None),
    "a tensor without elements": (
        safe(header_of(*GOOD, ("e", "F32", [0, 7], (24, 24))), F + G),
        None,
    ),
    "a header that is not padded to 8 bytes": (
        safe(header_of(*GOOD, metadata={"x": "y"}), F + G, b" "),
        None,
    ),
    "one more setting in an entry": (
        safe(header_of(*GOOD).replace('"dtype"', '"note":"x","dtype"', 1), F + G),
        None,
    ),
    "a tensor within another": (
        safe(header_of(GOOD[0], (B, "F32", [2], (16, 24))), F),
        "overlaps another tensor",
    ),
    "one tensor twice the same bytes": (
        safe(header_of(GOOD[0], ("c", "F32", [2, 3], (0, 24))), F),
        "overlaps",
    ),
    "a hole": (
        safe(header_of(GOOD[0], (B, "F32", [2], (28, 36))), F + bytes(4) + G),
        "follows 4 bytes of no tensor",
    ),
    "a hole in front": (
        safe(header_of((B, "F32", [2], (4, 12))), bytes(4) + G),
        "follows 4 bytes of no tensor",
    ),
    "bytes at the end": (
        safe(header_of(*GOOD), F + G + b"\0"),
        "has 1 bytes after its last tensor",
    ),
    "no tensor and bytes": (safe("{}", F), "has 24 bytes after its last tensor"),
    "a name twice": (
        safe(header_of(*GOOD, (A, "F32", [2, 3], (32, 56))), F + G + F),
        "twice in one object",
    ),
    "a name twice, the same": (safe(header_of(GOOD[0], GOOD[0]), F), "twice in one object"),
    "metadata twice": (safe('{"__metadata__":{},"__metadata__":{}}', b""), "twice in one object"),
    "a key twice in an entry": (
        safe('{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
        "twice in one object",
    ),
    "a header that begins with a space": (safe(" " + header_of(*GOOD), F + G), "not a JSON object"),
    "a header with a byte order mark": (
        safe("\ufeff" + header_of(*GOOD), F + G),
        "not a JSON object",
    ),
    "a header that is a list": (safe("[]", b""), "not a JSON object"),
    "a header padded with zeros": (safe(header_of(*GOOD), F + G, b"\0\0"), "is not JSON"),
    "a header of no UTF-8": (len(b'{"\xff":1}').to_bytes(8, "little") + b'{"\xff":1}', "not UTF-8"),
    "half of a surrogate pair": (safe('{"__metadata__":{"a":"\\ud800"}}', b""), "surrogate"),
    "NaN in the header": (
        safe('{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,4]}}', bytes(4)),
        "NaN",
    ),
    "metadata of numbers": (safe(header_of(*GOOD, metadata={"format": 1}), F + G), "metadata"),
    "metadata that is a list": (safe(header_of(*GOOD, metadata=["pt"]), F + G), "metadata"),
    "an unknown type": (safe(header_of((A, "F33", [6], (0, 24))), F), "has the type 'F33'"),
    "a type in lower case": (safe(header_of((A, "f32", [6], (0, 24))), F), "has the type 'f32'"),
    "a type that is a number": (safe(header_of((A, 32, [6], (0, 24))), F), "dtype is 32"),
    "a size that is true": (safe(header_of((A, "F32", [True, 6], (0, 24))), F), "is True"),
    "a size with a point": (safe(header_of((A, "F32", [6.0], (0, 24))), F), "is 6.0"),
    "a negative size": (safe(header_of((A, "F32", [-2, -3], (0, 24))), F), "is -2"),
    "a size of minus nought": (
        safe(header_of((A, "F32", ["x"], (0, 0))).replace('"x"', "-0"), b""),
        "holds -0",
    ),
    "a size beyond 64 bits": (
        safe(header_of((A, "F32", [0, 10**30], (0, 0))), b""),
        "a number|is 1000",
    ),
    "a shape beyond 64 bits": (
        safe(header_of((A, "F32", [2**40, 2**40], (0, 24))), F),
        "no memory could hold",
    ),
    "a shape that wraps around": (
        safe(header_of((A, "F32", [2**62, 4, 0], (0, 0))), b""),
        "no memory could hold",
    ),
    "too few bytes for a shape": (
        safe(header_of((A, "F32", [7], (0, 24))), F),
        "gives it 24 bytes",
    ),
    "half a byte": (safe(header_of(("c", "F4", [3], (0, 1))), b"\0"), "gives it 1 bytes"),
    "offsets turned around": (safe(header_of((A, "F32", [6], (24, 0))), F), "gives it -24 bytes"),
    "an offset beyond the file": (
        safe(header_of((A, "F32", [2**40], (0, 2**42))), F),
        "is truncated",
    ),
    "a header longer than the file": (
        (10**6).to_bytes(8, "little") + b"{}",
        "is truncated or not a safetensors",
    ),
    "a header beyond the limit": (
        (10**8 + 1).to_bytes(8, "little") + b"{}",
        "is truncated or not a safetensors",
    ),
    "a header of 2**64 bytes": (b"\xff" * 8 + b"{}", "is truncated or not a safetensors"),
    "a header nested deep": (safe('{"a":' * 300 + "1" + "}" * 300, b""), "nested"),
    "more tensors than any model": (
        safe('{"a":[0' + ",0" * 1_000_001 + "]}", b""),
        "no model has so many tensors",
    ),
    "seven bytes": (b"\0" * 7, "is truncated or not a safetensors"),
    "a Git LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "git lfs pull",
    ),
    "a web page": (b"<!DOCTYPE html>\n<html><head><title>404</title>", "is a web page"),
}


def read(name, data):
    return read_tensors([WeightFile(name, memoryview(bytearray(data)))], ARCHITECTURE)


def one_line(error):
    text = str(error.value)
    assert "\n" not in text
    assert text.isprintable()
    assert len(text) < 400
    return text


@pytest.mark.parametrize("name", SAFE)
def test_a_safetensors_file_is_read_as_the_official_reader_does_or_refused(name):
    data, said = SAFE[name]
    if said is None:
        theirs = official_safetensors(data)
        ours = read("model.safetensors", data)
        assert ours.keys() == theirs.keys() or ours.keys() == {A, B, "e"}
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)
        return
    with pytest.raises(CheckpointError, match=said) as error:
        read("model.safetensors", data)
    assert "model.safetensors" in one_line(error)
    if name.startswith(
        ("a name twice, the same", "metadata twice", "a header that begins with a space")
    ):
        return  # Their reader is more patient than the format's own text.
    if "more tensors than any" not in name:
        with pytest.raises((SafetensorError, ValueError)):
            official_safetensors(data)


def saved(state=TENSORS, **options):
    buffer = io.BytesIO()
    torch.save(state, buffer, **options)
    return buffer.getvalue()


def rezipped(
    change=lambda name, data: (name, data), method=zipfile.ZIP_STORED, more=(), source=None
):
    """The same archive written again, its records changed."""
    out = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(source or saved())) as old,
        zipfile.ZipFile(out, "w", method) as new,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        for record in old.infolist():
            name, data = change(record.filename, old.read(record))
            if data is not None:
                new.writestr(name, data)
        for name, data in more:
            new.writestr(name, data)
    return out.getvalue()


def shorter(name, data):
    return name, data[:-4] if name.endswith("data/0") else data


def without(ending):
    return lambda name, data: (name, None if name.endswith(ending) else data)


def big_endian():
    """As a machine of the other byte order writes it."""
    swapped = {key: tensor.numpy().byteswap() for key, tensor in TENSORS.items()}
    source = saved({key: torch.from_numpy(array.copy()) for key, array in swapped.items()})
    return rezipped(
        lambda name, data: (name, b"big" if name.endswith("byteorder") else data),
        source=source,
    )


class Code:
    def __reduce__(self):
        return (print, ("never",))


def pickled_then(tail):
    """The old format, whose last pickle claims what it likes."""
    return (
        b"".join(pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, {}))
        + tail
    )


def old_claim(count):
    key = b"X\x01\x00\x00\x000"
    claim = (
        b"\x80\x02(X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
        + key
        + b"X\x03\x00\x00\x00cpu\x8a\x08"
        + count.to_bytes(8, "little")
        + b"NtQ."
    )
    return pickled_then(claim + pickle.dumps(["0"], protocol=2))


def with_pickle(data):
    return rezipped(lambda name, old: (name, data if name.endswith("data.pkl") else old))


def beyond():
    """A tensor that begins at the fifth element of a storage of six."""
    pickled = zipfile.ZipFile(io.BytesIO(saved())).read("archive/data.pkl")
    assert pickled.count(b"QK\x00K\x02K\x03\x86") == 1
    return with_pickle(pickled.replace(b"QK\x00K\x02K\x03\x86", b"QK\x05K\x02K\x03\x86"))


NESTED = b"\x80\x02})" + b"\x85" * 200_000 + b"K\x01s."


BINS = {
    "as it should be": (saved(), None),
    "the old format": (saved(_use_new_zipfile_serialization=False), None),
    "an ordered dict of parameters": (
        saved(OrderedDict((k, torch.nn.Parameter(v)) for k, v in TENSORS.items())),
        None,
    ),
    "a transposed tensor": (saved({A: TENSORS[A].t().contiguous().t(), B: TENSORS[B]}), None),
    "slices of one storage": (
        saved(dict(zip((A, B), torch.arange(8.0).split([6, 2]), strict=True))),
        None,
    ),
    "one tensor under two names": (saved({A: TENSORS[A], "c": TENSORS[A], B: TENSORS[B]}), None),
    "written again, stored": (rezipped(), None),
    "another byte order": (big_endian(), None),
    "words and numbers beside tensors": (saved({**TENSORS, "step": 3, "note": "x"}), None),
    "compressed records": (
        rezipped(method=zipfile.ZIP_DEFLATED),
        "is compressed, which torch never does",
    ),
    "a bomb of 3 GiB": (None, "is compressed, which torch never does"),
    "a storage that is shorter than it claims": (
        rezipped(shorter),
        "storage 0 has 20 bytes where .* says 24",
    ),
    "a storage that is missing": (rezipped(without("data/1")), "storage 1 is not there"),
    "no data.pkl": (rezipped(without("data.pkl")), "it has no data.pkl"),
    "two records of one name": (rezipped(more=[("archive/data/0", F)]), "two records of one name"),
    "two records of one name but for case": (
        rezipped(more=[("archive/DATA.pkl", b"x")]),
        "two records of one name",
    ),
    "a data.pkl that is too long": (
        with_pickle(b"\x80\x02" + b"N0" * 2_000_000 + b"."),
        "at most 2000000 are read",
    ),
    "tuples 200,000 deep as a name": (with_pickle(NESTED), "nested deeper than 64"),
    "a TorchScript program": (rezipped(more=[("archive/constants.pkl", b"x")]), "TorchScript"),
    "bytes in front": (b"x" + saved(), "truncated or damaged"),
    "bytes behind": (saved() + b"x", "truncated or damaged"),
    "an archive's beginning alone": (saved()[:200], "truncated or damaged"),
    "an archive of something else": (
        rezipped(lambda name, data: (f"{name}.xml", data)),
        "it has no data.pkl",
    ),
    "four bytes of an archive": (b"PK\x03\x04", "truncated or damaged"),
    "the old format cut": (
        saved(_use_new_zipfile_serialization=False)[:-5],
        "truncated or damaged",
    ),
    "the old format longer": (
        saved(_use_new_zipfile_serialization=False) + b"1234",
        "truncated or damaged",
    ),
    "the old format claims 4 TB": (
        old_claim(10**12),
        "bytes of storages where its pickle says 4000000000008",
    ),
    "the old format claims less than none": (old_claim(2**64 - 4), "truncated or damaged"),
    "code": (saved({A: Code()}), "it holds code, which is never run"),
    "code in the old format": (
        saved({A: Code()}, _use_new_zipfile_serialization=False),
        "it holds code",
    ),
    "a whole module": (saved(torch.nn.Linear(2, 2)), "it holds code, which is never run"),
    "a nested state dict": (saved({"model": TENSORS}), "holds model where tensors were expected"),
    "a list of tensors": (saved(list(TENSORS.values())), "holds list where a state dict"),
    "one tensor": (saved(TENSORS[A]), "where a state dict"),
    "a sparse weight": (saved({A: TENSORS[A].to_sparse()}), "of type sparse_coo float32"),
    "a complex weight": (saved({A: TENSORS[A].to(torch.complex64)}), "of type complex64"),
    "a weight in whole numbers": (saved({A: TENSORS[A].to(torch.int8)}), "of type int8"),
    "a weight in 8 bits": (saved({A: TENSORS[A].to(torch.float8_e4m3fn)}), "of type float8_e4m3fn"),
    "a weight without values": (
        saved({A: torch.empty(2, 3, device="meta")}),
        "of type meta float32",
    ),
    "one value a trillion times": (
        saved({A: torch.ones(1).expand(10**6, 10**6)}),
        "repeat their values",
    ),
    "an offset beyond its storage": (beyond(), "truncated or damaged"),
    "protocol 4": (saved(pickle_protocol=4), "which no state dict does"),
    "a tar archive": (bytes(257) + b"ustar" + bytes(250), "tar archive"),
    "a Git LFS pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "git lfs pull",
    ),
    "a web page": (b"\n<html>\n<body>Sign in</body>", "is a web page"),
    "zeros": (bytes(5000), "truncated or damaged"),
    "text": (b"hello there, this is no model", "truncated or damaged"),
}


@pytest.fixture(scope="module")
def bomb():
    """A `.bin` of 3 MB whose data.pkl says that it has 3 GiB, and has."""
    whole, packer, piece = 3 << 30, zlib.compressobj(9, zlib.DEFLATED, -15), bytes(16 << 20)
    # After a full flush, what is packed stands alone: once is enough.
    again = packer.compress(piece) + packer.flush(zlib.Z_FULL_FLUSH)
    body, name = again * (whole // len(piece)) + packer.flush(), b"archive/data.pkl"
    sizes = struct.pack("<III", 0, len(body), whole)
    local = (
        b"PK\x03\x04"
        + struct.pack("<5H", 20, 0, 8, 0, 0)
        + sizes
        + struct.pack("<2H", len(name), 0)
        + name
    )
    entry = b"PK\x01\x02" + struct.pack("<6H", 20, 20, 0, 8, 0, 0) + sizes
    entry += struct.pack("<5H2I", len(name), 0, 0, 0, 0, 0, 0) + name
    end = b"PK\x05\x06" + struct.pack("<4H2IH", 0, 0, 1, 1, len(entry), len(local) + len(body), 0)
    return local + body + entry + end


@pytest.mark.parametrize("name", BINS)
def test_a_bin_is_read_as_torch_does_or_refused(name, request):
    data, said = BINS[name]
    if data is None:
        data = request.getfixturevalue("bomb")
        assert len(data) < 4 << 20
    if said is None:
        theirs = torch.load(io.BytesIO(data), weights_only=True)
        ours = read("pytorch_model.bin", data)
        assert all(torch.equal(ours[key], theirs[key]) for key in (A, B))
        if "slices" not in name:
            assert all(torch.equal(ours[key], TENSORS[key]) for key in (A, B))
        return
    with pytest.raises(CheckpointError, match=said) as error:
        read("pytorch_model.bin", data)
    assert "pytorch_model.bin" in one_line(error)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
@pytest.mark.parametrize("kind", ["a pipe", "a device", "a folder", "empty"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, name, kind):
    path = tmp_path / name
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    elif kind == "a folder":
        path.mkdir()
    else:
        path.touch()
    said = "is empty" if kind == "empty" else "not a regular file"
    with pytest.raises(CheckpointError, match=said), Reading().hold([path]):
        pass
    with pytest.raises(CheckpointError, match=said):
        map_file(path)
