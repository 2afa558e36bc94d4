"""Shards and their index: every tensor is the one of the shard that the index names, or the step is
refused.
"""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

import pythia_traj as pt
from pythia_traj.architectures.gpt_neox import ARCHITECTURE
from pythia_traj.checkpoint import WeightFile
from pythia_traj.errors import CheckpointError
from pythia_traj.models.tensors import read_tensors
from pythia_traj.suites.files import shards
from pythia_traj.suites.local import LocalModel
from tests.support import publish, random_model

INDEX, BIN_INDEX = "model.safetensors.index.json", "pytorch_model.bin.index.json"
NORM = "gpt_neox.final_layer_norm.weight"
TOKENS = torch.arange(2, 22)[None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of one sharded step, as safetensors and as `.bin`."""
    root = tmp_path_factory.mktemp("sharded")
    publish(root / "safe" / "step0", random_model(3), sharded=True)
    publish(root / "bin" / "step0", random_model(3), sharded=True, binary=True)
    return root


@pytest.fixture(params=["safe", "bin"])
def run(request, whole, tmp_path):
    return shutil.copytree(whole / request.param, tmp_path / request.param)


def index_of(run):
    return next(path for name in (INDEX, BIN_INDEX) if (path := run / "step0" / name).is_file())


def weight_map(run, change=None):
    """The index's map; changed and written if there is a change."""
    path = index_of(run)
    parsed = json.loads(path.read_text())
    if change is not None:
        change(parsed["weight_map"])
        path.write_text(json.dumps(parsed))
    return parsed["weight_map"]


def edit(run, shard, change):
    """Changes the tensors of a shard."""
    path = run / "step0" / shard
    if path.suffix == ".bin":
        tensors = torch.load(path, weights_only=True)
        change(tensors)
        torch.save(tensors, path)
    else:
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path, metadata={"format": "pt"})


def logits(run):
    ((found,),) = ([ckpt.model(TOKENS).detach() for ckpt in pt.checkpoints(run, device="cpu")],)
    return found


def others(run, name):
    own = weight_map(run)[name]
    return own, sorted(set(weight_map(run).values()) - {own})


def test_a_tensor_in_two_shards_is_the_one_that_the_index_names(run):
    expected = logits(run)
    _, rest = others(run, NORM)
    for shard in rest:
        edit(run, shard, lambda tensors: tensors.update({NORM: torch.full((32,), 9.0)}))
    assert torch.equal(logits(run), expected)


def test_the_named_one_is_taken_also_where_it_is_not_the_right_one(run):
    expected = logits(run)
    own, (shard, *_) = others(run, NORM)
    edit(run, shard, lambda tensors: tensors.update({NORM: torch.full((32,), 9.0)}))
    weight_map(run, lambda named: named.update({NORM: shard}))
    assert not torch.allclose(logits(run), expected)
    assert own != shard


def moved(run):
    _, (shard, *_) = others(run, NORM)
    weight_map(run, lambda named: named.update({NORM: shard}))


def missing(run):
    edit(run, weight_map(run)[NORM], lambda tensors: tensors.pop(NORM))


def not_named(run):
    weight_map(run, lambda named: named.pop(NORM))


def more_than_named(run):
    edit(
        run,
        weight_map(run)[NORM],
        lambda tensors: tensors.update({"lm_head.bias": torch.zeros(300)}),
    )


def shard_gone(run):
    (run / "step0" / weight_map(run)[NORM]).unlink()


def named(shard):
    return lambda run: weight_map(run, lambda found: found.update({NORM: shard}))


def written(value):
    return lambda run: index_of(run).write_text(value)


REFUSED = {
    "a tensor that is in another shard than named": (
        moved,
        f"tensor {NORM} is not in .*, where the index says it is",
    ),
    "a tensor that is in none": (
        missing,
        f"tensor {NORM} is not in .*, where the index says it is",
    ),
    "a tensor that the index does not name": (
        not_named,
        f"holds {NORM}, which the index does not name",
    ),
    "one more than the index names": (
        more_than_named,
        "holds lm_head.bias, which the index does not name",
    ),
    "a shard that is not there": (shard_gone, "is missing: fetch it again"),
    "a path for a shard": (named("../step0/x.safetensors"), "not a plain file name"),
    "an absolute path for a shard": (named("/etc/passwd"), "not a plain file name"),
    "a shard of another kind": (named("config.json"), "not a plain file name of weights"),
    "a name beyond any file system": (named("a" * 300 + ".safetensors"), "is missing|cannot read"),
    "a number for a shard": (named(1), "is 1: Input should be a valid string"),
    "null for a shard": (named(None), "is None: Input should be a valid string"),
    "a list of shards": (named(["a"]), r"is \['a'\]: Input should be a valid string"),
    "no map": (written("{}"), "has no weight_map"),
    "an empty map": (written('{"weight_map": {}}'), "has no weight_map"),
    "a map that is a list": (written('{"weight_map": ["a"]}'), "has no weight_map"),
    "an index that is a list": (written("[]"), "is an object"),
    "an index nested deep": (written('{"weight_map":' * 10_000 + "1" + "}" * 10_000), "nested"),
    "a tensor twice in the map": (
        written('{"weight_map": {"a": "a.bin", "a": "b.bin"}}'),
        "twice in one object",
    ),
    "a map of a million": (
        written('{"weight_map": {' + ",".join(f'"{i}":"a.bin"' for i in range(10**6)) + "}}"),
        "shard a.bin named in .* is missing",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_index_that_does_not_fit_is_refused_in_a_line(run, name):
    change, said = REFUSED[name]
    change(run)
    with pytest.raises(CheckpointError, match=said) as error:
        logits(run)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600


def test_masks_need_not_be_named(run):
    expected = logits(run)
    mask = "gpt_neox.layers.0.attention.bias"
    edit(
        run,
        weight_map(run)[NORM],
        lambda tensors: tensors.update({mask: torch.ones(1, 1, 8, 8, dtype=torch.bool)}),
    )
    weight_map(
        run, lambda named: named.update({"gpt_neox.layers.1.attention.masked_bias": named[NORM]})
    )
    assert torch.equal(logits(run), expected)


def test_the_files_say_which_tensors_are_theirs(run):
    found = weight_map(run)
    with LocalModel.open(run).checkpoint(0).open() as files:
        assert {file.name: file.tensors for file in files} == {
            shard: frozenset(name for name, own in found.items() if own == shard)
            for shard in set(found.values())
        }


def test_one_file_has_no_index(suite):
    with LocalModel.open(suite).checkpoint(0).open() as (file,):
        assert file.tensors is None


def test_shards_are_sorted_with_their_tensors():
    index = {"weight_map": {"b": "2.bin", "a": "1.bin", "c": "2.bin"}}
    assert shards(index, "it") == {"1.bin": {"a"}, "2.bin": {"b", "c"}}
    assert list(shards(index, "it")) == ["1.bin", "2.bin"]


def test_the_last_file_does_not_win(tmp_path):
    files = []
    for i, name in enumerate(("1.safetensors", "2.safetensors")):
        save_file({"x": torch.full((2,), float(i)), f"own{i}": torch.zeros(1)}, tmp_path / name)
        data = memoryview(bytearray((tmp_path / name).read_bytes()))
        files.append((name, data, frozenset({f"own{i}"} | ({"x"} if i == 0 else set()))))
    found = read_tensors(
        [WeightFile(name, data, tensors=tensors) for name, data, tensors in files], ARCHITECTURE
    )
    assert found["x"].tolist() == [0.0, 0.0]
