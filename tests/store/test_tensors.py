"""The writer of tensors, against the format's own reader and writer."""

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from pythia_traj.store.tensors import write_tensors

TYPES = ("bool", "uint8", "int8", "int16", "float16", "int32", "float32", "float64", "int64")


def test_every_type_is_read_as_it_was_written(tmp_path):
    written = {kind: np.arange(6).reshape(2, 3).astype(kind) for kind in TYPES}
    written["turned"] = np.arange(6, dtype=np.float32).reshape(2, 3).T
    written["single"] = np.float32(5).reshape(())
    write_tensors(tmp_path / "a", {name: [one] for name, one in written.items()}, {"key": "word"})
    found = load_file(tmp_path / "a")
    assert found.keys() == written.keys()
    for name, one in written.items():
        assert found[name].dtype == one.dtype
        np.testing.assert_array_equal(found[name], one)
    with safe_open(tmp_path / "a", "numpy") as file:
        assert file.metadata() == {"key": "word"}


def test_parts_are_one_tensor_and_the_file_is_the_formats_own(tmp_path):
    whole = np.arange(60, dtype=np.float32).reshape(10, 2, 3)
    write_tensors(tmp_path / "parts", {"x": [whole[:3], whole[3:4], whole[4:]]}, {"a": "b"})
    save_file({"x": whole}, tmp_path / "whole", metadata={"a": "b"})
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([np.zeros((2, 3)), np.zeros((2, 4))], "parts of different types or shapes"),
        ([np.zeros(2), np.zeros(2, np.float32)], "parts of different types or shapes"),
        ([np.zeros(2, complex)], "safetensors has no type complex128"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(tmp_path, parts, message):
    with pytest.raises(ValueError, match=message):
        write_tensors(tmp_path / "a", {"x": parts}, {})
