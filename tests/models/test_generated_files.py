"""Damaged weight files by the hundred: what the official readers refuse is refused in one line, and
nothing else than they read is read.
"""

import io
import json
import warnings
import zipfile

import numpy as np
import torch
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, deserialize
from safetensors.torch import _TYPES

from pythia_traj.architectures.gpt_neox import ARCHITECTURE
from pythia_traj.checkpoint import WeightFile
from pythia_traj.errors import CheckpointError
from pythia_traj.models.tensors import read_tensors

STEADY = {
    "derandomize": True,
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
}

DTYPES = {
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F64": 8,
    "BOOL": 1,
    "I64": 8,
    "F4": 0.5,
    "F6_E2M3": 0.75,
    "F8_E4M3": 1,
}
FLOATS = {"F32", "F16", "BF16", "F64"}
# None of them is one that the project has a meaning for, so that whatever is read comes back under
# its own name.
NAMES = ("a", "b.c", "é", "-0", "d")


def ours(name, data):
    """What is read of a file, or None and the line that refuses it."""
    try:
        return read_tensors([WeightFile(name, memoryview(bytearray(data)))], ARCHITECTURE), None
    except CheckpointError as error:
        line = str(error)
        assert name in line
        assert "\n" not in line
        assert len(line) < 500
        return None, line


def same(left, right):
    """Equal to the bit, NaN included."""
    return (left.dtype, left.shape) == (right.dtype, right.shape) and torch.equal(
        left.contiguous().view(-1).view(torch.uint8), right.contiguous().view(-1).view(torch.uint8)
    )


@st.composite
def layouts(draw):
    """Tensors as a header names them, one after the other, and the bytes that they take."""
    entries, at = {}, 0
    for name in draw(st.lists(st.sampled_from(NAMES), unique=True, max_size=4)):
        dtype = draw(st.sampled_from(sorted(DTYPES)))
        shape = draw(st.lists(st.integers(0, 4), max_size=3))
        size = DTYPES[dtype] * int(np.prod(shape, dtype=np.int64))
        if size != int(size):
            shape, size = [8, *shape], size * 8
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + int(size)]}
        at += int(size)
    return entries, at


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from(
        [
            -1,
            -0.0,
            0,
            1,
            2**31,
            2**32,
            2**63,
            2**64,
            1.0,
            1e400,
            "F32",
            "f16",
            "",
            [],
            {},
            [0, 0],
            [1, -1],
        ]
    ),
)


def _paths(value, path=()):
    yield path
    for key, inner in (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    ):
        yield from _paths(inner, (*path, key))


@st.composite
def headers(draw):
    """A header, mostly with one thing wrong in it, and as many bytes as it asks for, mostly."""
    entries, size = draw(layouts())
    damage = draw(st.sampled_from(["none", "value", "shift", "metadata", "order", "minus", "body"]))
    if damage == "value":
        path = draw(st.sampled_from(sorted((p for p in _paths(entries) if p), key=str) or [("a",)]))
        inner = entries
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = draw(ODD)
    elif damage == "shift" and entries:
        offsets = entries[draw(st.sampled_from(sorted(entries)))]["data_offsets"]
        by = draw(st.integers(-9, 9))
        offsets[0] += by
        offsets[1] += draw(st.sampled_from([by, 0]))
    elif damage == "metadata":
        entries["__metadata__"] = draw(
            st.dictionaries(st.text(max_size=3), st.text(max_size=3) | ODD, max_size=2) | ODD
        )
    elif damage == "order":
        entries = dict(draw(st.permutations(list(entries.items()))))
    elif damage == "body":
        size = max(0, size + draw(st.integers(-9, 9)))
    text = json.dumps(entries, ensure_ascii=draw(st.booleans()))
    if damage == "minus":
        text = text.replace("[0", "[-0", 1)
    text += " " * draw(st.sampled_from([0, 0, 1, 7]))
    return text.encode(), draw(st.binary(min_size=min(size, 10**4), max_size=min(size, 10**4)))


def agree_on_safetensors(data):
    """Ours refuses whatever theirs does; what both read is the same, and theirs has no floating
    tensor more.
    """
    found, line = ours("model.safetensors", data)
    try:
        theirs = dict(deserialize(data))
    except SafetensorError:
        assert found is None
        event("both refuse")
        return
    if found is None:
        event(f"only ours refuses: {line[:60]}")
        return
    event("both read")
    assert found.keys() == {name for name, facts in theirs.items() if facts["dtype"] in FLOATS}
    for name, tensor in found.items():
        facts = theirs[name]
        assert (list(tensor.shape), _TYPES[facts["dtype"]]) == (facts["shape"], tensor.dtype)
        assert tensor.view(-1).view(torch.uint8).numpy().tobytes() == bytes(facts["data"])


@settings(max_examples=250, **STEADY)
@given(headers())
def test_a_safetensors_file_of_any_header(parts):
    header, body = parts
    agree_on_safetensors(len(header).to_bytes(8, "little") + header + body)


@settings(max_examples=150, **STEADY)
@given(layouts(), st.data())
def test_a_safetensors_file_with_bytes_changed_cut_or_put_in(layout, data):
    entries, size = layout
    header = json.dumps(entries).encode()
    whole = bytearray(
        len(header).to_bytes(8, "little") + header + bytes(range(256)) * (size // 256 + 1)
    )[: 8 + len(header) + size]
    agree_on_safetensors(damaged(whole, data))


def damaged(whole, data):
    """A file with one thing done to its bytes."""
    whole = bytearray(whole)
    place = data.draw(st.integers(0, len(whole) - 1))
    kind = data.draw(st.sampled_from(["change", "flip", "cut", "put in", "take out", "append"]))
    if kind == "change":
        whole[place] = data.draw(st.integers(0, 255))
    elif kind == "flip":
        whole[place] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "cut":
        del whole[place:]
    elif kind == "put in":
        whole[place:place] = data.draw(st.binary(min_size=1, max_size=4))
    elif kind == "take out":
        del whole[place : place + data.draw(st.integers(1, 9))]
    else:
        whole += data.draw(st.binary(min_size=1, max_size=30))
    return bytes(whole)


STATE = {
    "a.weight": torch.arange(6, dtype=torch.float32).view(2, 3),
    "b.bias": torch.tensor([-1.0, 0.5]).half(),
    "c.weight": torch.arange(12, dtype=torch.bfloat16).view(3, 4).t(),
    "mask": torch.ones(3, dtype=torch.bool),
}


def saved(**options):
    buffer = io.BytesIO()
    torch.save(STATE, buffer, **options)
    return buffer.getvalue()


def agree_on_bin(data):
    """Ours refuses whatever torch does, and what ours reads is what torch reads."""
    found, line = ours("pytorch_model.bin", data)
    if found is None:
        # Their reader is not asked: where a storage is shorter than it claims it reads what lies
        # behind it.
        event(f"refused: {line[:70]}")
        return
    with warnings.catch_warnings(action="ignore"):
        theirs = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    floating = {
        name: tensor
        for name, tensor in theirs.items()
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point()
    }
    event("read")
    assert found.keys() == floating.keys()
    assert all(same(found[name], floating[name]) for name in found)
    # No byte that torch does not look at makes a weight another one than its file says.
    assert sum(tensor.nbytes for tensor in found.values()) <= len(data)


ZIP, OLD = saved(), saved(_use_new_zipfile_serialization=False)


@settings(max_examples=120, **STEADY)
@given(st.data())
def test_a_bin_with_bytes_changed_cut_or_put_in(data):
    agree_on_bin(damaged(ZIP, data))


@settings(max_examples=120, **STEADY)
@given(st.data())
def test_a_bin_of_the_old_format_with_bytes_changed_cut_or_put_in(data):
    agree_on_bin(damaged(OLD, data))


@settings(max_examples=120, **STEADY)
@given(st.data())
def test_a_bin_with_one_of_its_records_damaged(data):
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(ZIP)) as old:
        records = [(record.filename, old.read(record)) for record in old.infolist()]
    which = data.draw(st.sampled_from(range(len(records))))
    # Mostly the pickle: all that torch believes stands in it.
    which = data.draw(st.sampled_from([0, 0, 0, which]))
    records[which] = records[which][0], damaged(records[which][1], data)
    with zipfile.ZipFile(
        out, "w", data.draw(st.sampled_from([zipfile.ZIP_STORED] * 4 + [zipfile.ZIP_DEFLATED]))
    ) as new:
        for name, content in records:
            new.writestr(name, content)
    agree_on_bin(out.getvalue())


def test_the_whole_files_are_read():
    for data in (ZIP, OLD):
        found, _ = ours("pytorch_model.bin", data)
        assert {name: tensor.tolist() for name, tensor in found.items()} == {
            name: tensor.tolist() for name, tensor in STATE.items() if name != "mask"
        }
