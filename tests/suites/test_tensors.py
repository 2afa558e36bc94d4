"""Where tensors lie, from a header alone: as safetensors itself finds them, and never outside the
file.
"""

import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save, save_file

from pythia_traj.errors import CheckpointError
from pythia_traj.suites.tensors import header_end, tensor_entries

NAME = "model.safetensors"


def file_of(header, body=b""):
    """A file with any header at all."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def entries(data, size=None):
    return tensor_entries(memoryview(data), len(data) if size is None else size, NAME)


def entry(dtype="F16", shape=(2, 3), offsets=(0, 12)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def test_entries_are_where_safetensors_finds_them(tmp_path):
    tensors = {
        "a.weight": torch.randn(3, 5).half(),
        "b.bias": torch.randn(7).bfloat16(),
        "mask": torch.ones(1, 1, 9, 9, dtype=torch.bool).tril(),
        "scalar": torch.tensor(-1e9),
        "none": torch.empty(0, 4),
        "count": torch.arange(6, dtype=torch.int64),
        "byte": torch.arange(6, dtype=torch.uint8),
    }
    save_file(tensors, tmp_path / NAME, metadata={"format": "pt"})
    data = (tmp_path / NAME).read_bytes()
    found = {item.name: item for item in entries(data)}
    assert found.keys() == tensors.keys()
    with safe_open(tmp_path / NAME, "pt") as theirs:
        for name, item in found.items():
            view = theirs.get_slice(name)
            assert (item.dtype, list(item.shape)) == (view.get_dtype(), view.get_shape())
            content = theirs.get_tensor(name).reshape(-1).view(torch.uint8).numpy().tobytes()
            assert data[item.start : item.end] == content


def test_the_header_is_enough():
    data = save({"a": torch.zeros(1000), "b": torch.ones(10).half()})
    end = header_end(memoryview(data)[:8], len(data), NAME)
    assert entries(data[:end], len(data)) == entries(data)
    assert max(item.end for item in entries(data)) == len(data)


def test_types_of_less_than_a_byte_and_metadata_are_read():
    header = {
        "__metadata__": {"format": "pt"},
        "new": entry("F4", (2, 3), (12, 15)),
        "old": entry(),
    }
    found = {item.name: item.end - item.start for item in entries(file_of(header, bytes(15)))}
    assert found == {"new": 3, "old": 12}


@pytest.mark.parametrize("size", [0, 1, 7, 8, 20])
def test_a_file_that_ends_in_its_header_is_truncated(size):
    data = file_of({"a": entry()}, bytes(12))
    with pytest.raises(
        CheckpointError,
        match=rf"{NAME} is truncated or not a safetensors file \({size} bytes\): fetch",
    ):
        entries(data[:size])


@pytest.mark.parametrize("length", [2**64 - 1, 100_000_001, 21])
def test_a_header_longer_than_the_file_or_than_any_is_none(length):
    with pytest.raises(CheckpointError, match="is truncated or not a safetensors file"):
        header_end(memoryview(length.to_bytes(8, "little") + bytes(20)), 28, NAME)


def test_a_header_as_long_as_the_file_is_one():
    data = file_of({})
    assert header_end(memoryview(data), len(data), NAME) == len(data)
    assert entries(data) == []


def test_a_file_that_ends_before_its_tensors_is_truncated():
    data = file_of({"a": entry()}, bytes(12))
    assert len(entries(data)) == 1
    with pytest.raises(
        CheckpointError, match=r"is truncated: a ends at byte \d+, the file at \d+: fetch it again"
    ):
        entries(data[:-1])


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (
            b"\xff\xfe",
            "its header is not a JSON object, so it is not a safetensors file: fetch it again",
        ),
        (b"{", "its header is not JSON"),
        (b"{\xff}", "its header is not UTF-8"),
        (b"<html>", "its header is not a JSON object"),
        (b"1" * 5000, "its header is not a JSON object"),
        ([], "its header is not a JSON object"),
        (None, "its header is not a JSON object"),
        ({"a": None}, "its header: tensors.a is None"),
        ({"a": {}}, "its header: tensors.a.dtype is missing"),
        ({"a": entry(dtype=["F16"])}, r"its header: tensors.a.dtype is \['F16'\]"),
        ({"a": entry(offsets=(0,))}, r"its header: tensors.a.data_offsets is \[0\]"),
        ({"a": entry(offsets=(0, 12, 24))}, "its header: tensors.a.data_offsets is"),
        ({"a": entry(offsets=("0", "12"))}, "its header: tensors.a.data_offsets.0 is '0'"),
        (
            {"a": entry(offsets=(0, 11))},
            r"the header's entry of 'a' gives it 11 bytes for shape \[2, 3\] of F16",
        ),
        ({"a": entry(offsets=(-12, 0))}, "its header: tensors.a.data_offsets.0 is -12"),
        ({"a": entry(offsets=(12, 0))}, "the header's entry of 'a' gives it -12 bytes"),
    ],
)
def test_a_malformed_header_is_a_sentence(header, said):
    with pytest.raises(CheckpointError, match=f"{NAME}: {said}"):
        entries(file_of(header, bytes(100)))


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 50_000,
        {"a": entry(offsets=(0.0, 12.0))},
        {"a": entry(shape=(2.0, 3.0))},
        {"a": entry(shape=(-2, -3))},
        {"a": entry(shape=("2", 3), offsets=(0, 12))},
        {"a": entry(shape=("2",), offsets=(0, 4))},
        {"a": {**entry(), "shape": "23"}},
        {"a": entry(shape=(True, 6))},
    ],
)
def test_what_is_no_number_in_a_header_is_a_sentence(header):
    with pytest.raises(CheckpointError, match=f"{NAME}: "):
        entries(file_of(header, bytes(100)))


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 40)
    | st.floats(-3, 40)
    | st.sampled_from(["F16", "F32", "U8", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["dtype", "shape", "a"]), inner)
    ),
    max_leaves=6,
)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F16", "F32", "U8", "I64", "F8"]) | JSON,
        "shape": st.lists(st.integers(-2, 5), max_size=3) | JSON,
        "data_offsets": st.tuples(st.integers(-4, 40), st.integers(-4, 40)) | JSON,
    },
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text(max_size=3), ENTRY | JSON, max_size=3) | JSON, st.integers(0, 40))
def test_whatever_a_header_says_tensors_lie_in_the_file_or_it_is_refused(header, room):
    data = file_of(header, bytes(room))
    try:
        found = entries(data)
    except CheckpointError:
        return
    for item in found:
        assert header_end(memoryview(data), len(data), NAME) <= item.start <= item.end <= len(data)
        assert memoryview(data)[item.start : item.end].nbytes == item.end - item.start
        assert all(isinstance(size, int) and size >= 0 for size in item.shape)


@given(st.binary(max_size=200))
def test_whatever_bytes_come_they_are_tensors_or_refused(data):
    try:
        entries(data)
    except CheckpointError as error:
        assert NAME in str(error)
