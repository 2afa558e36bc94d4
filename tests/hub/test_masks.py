"""Masks cross the network once: they are learnt from a file that is right, and never stand in for
what is not the same.
"""

import hashlib
import itertools
import json
import re
import threading
from dataclasses import dataclass, field

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from pythia_traj.errors import CheckpointError
from pythia_traj.hub import masks, transfer
from pythia_traj.hub.client import Client
from pythia_traj.hub.masks import Masks, _between, _joined, fetch_file
from pythia_traj.hub.retry import RetryPolicy
from pythia_traj.hub.transfer import Source
from pythia_traj.suites.buffers import anonymous
from pythia_traj.suites.tensors import tensor_entries
from tests.hub.faults import Fault
from tests.hub.fixtures import online as online
from tests.hub.fixtures import serve as serve
from tests.hub.publish import random_pythia
from tests.hub.repository import Repository
from tests.hub.server import Hub

REPO = "me/masked"
QUICK = RetryPolicy(attempts=4, first=0.01, longest=0.05, timeout=2, connect=1)
ALWAYS = 10**9
WEIGHTS = "model.safetensors"


@dataclass
class Fetcher:
    """Fetches files of one model, one after another, as a sweep does."""

    hub: Hub
    masks: Masks = field(default_factory=Masks)
    client: Client = field(default_factory=lambda: Client(QUICK))

    def fetch(self, branch, name=WEIGHTS):
        """Fetches one file, checks every byte of it, and returns how many were sent for it."""
        repository = self.hub.repositories[REPO]
        commit = repository.branches[branch]
        file = next(file for file in self.client.files(REPO, commit) if file.path == name)
        before = len(self.hub.requests)
        buffer = anonymous(file.size)
        fetch_file(Source(self.client, REPO, commit, file), buffer, self.masks)
        assert hashlib.sha256(buffer).hexdigest() == file.blob
        assert buffer == repository.commits[commit][name].file.read_bytes()
        self.last = [record for record in self.hub.requests[before:] if record.kind == "content"]
        return sum(record.sent for record in self.last)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "steps"


@pytest.fixture
def serve_steps(serve, folder):
    """Serves what the test has put into the folder, a branch for each of its folders."""

    def start(**options):
        repository = Repository(REPO)
        for step in sorted(folder.iterdir()):
            repository.publish(step.name, step)
        return Fetcher(serve(repository, **options))

    return start


@pytest.fixture
def small(monkeypatch):
    """Sizes at which tiny files are fetched as large ones are."""
    for module in (transfer, masks):
        monkeypatch.setattr(module, "SEGMENT", 20_000)
    monkeypatch.setattr(masks, "_HEADER", 6_000)
    monkeypatch.setattr(masks, "_GAP", 10_000)


def size_of(folder):
    return (folder / WEIGHTS).stat().st_size


def entries_of(folder):
    data = memoryview((folder / WEIGHTS).read_bytes())
    return tensor_entries(data, len(data), WEIGHTS)


def masks_of(folder):
    """Bytes of the large masks."""
    return sum(
        entry.end - entry.start
        for entry in entries_of(folder)
        if entry.name.endswith(".attention.bias")
    )


def changed(source, target, change):
    """Another step, with tensors changed."""
    tensors = load_file(source / WEIGHTS)
    target.mkdir(parents=True)
    save_file(change(tensors), target / WEIGHTS)


def other_masks(tensors):
    return {
        name: ~value if name.endswith(".attention.bias") else value
        for name, value in tensors.items()
    }


# Files of the published kind, and the sizes that are used


def test_the_first_file_is_fetched_whole_and_later_ones_without_their_masks(serve_steps, folder):
    for step in range(3):
        random_pythia(folder / f"step{step}", "14m", step)
    masks = masks_of(folder / "step0")
    assert masks == 6 * 2048 * 2048
    fetcher = serve_steps()
    assert fetcher.fetch("step0") == size_of(folder / "step0")
    for step in ("step1", "step2", "step0"):
        assert fetcher.fetch(step) == size_of(folder / step) - masks
    kept = sum(
        len(content) for alike in fetcher.masks._contents.values() for content in alike.values()
    )
    assert kept < 2 * masks / 6, "every layer's mask is kept, though they are alike"


def test_masks_of_a_few_bytes_are_not_worth_another_request(serve_steps, folder, monkeypatch):
    for module in (transfer, masks):
        monkeypatch.setattr(module, "SEGMENT", 20_000)
    monkeypatch.setattr(masks, "_HEADER", 6_000)
    for step in range(2):
        random_pythia(folder / f"step{step}", "tiny", step)
    fetcher = serve_steps()
    assert 0 < masks_of(folder / "step0") < masks._GAP
    for step in ("step0", "step1"):
        assert fetcher.fetch(step) == size_of(folder / step)


def test_a_file_of_one_segment_or_less_is_fetched_by_one_request(serve_steps, folder):
    random_pythia(folder / "step0", "tiny", 0)
    fetcher = serve_steps()
    for _ in range(2):
        assert fetcher.fetch("step0") == size_of(folder / "step0")
        assert len(fetcher.last) == 1


def test_a_binary_file_is_always_fetched_whole(serve_steps, folder, small):
    for step in range(2):
        random_pythia(folder / f"step{step}", "tiny", step, binary=True)
    fetcher = serve_steps()
    for step in ("step0", "step1"):
        assert (
            fetcher.fetch(step, "pytorch_model.bin")
            == (folder / step / "pytorch_model.bin").stat().st_size
        )


# Files that differ from what was learnt


@pytest.fixture
def two_steps(folder, small):
    for step in range(2):
        random_pythia(folder / f"step{step}", "tiny", step)
    return masks_of(folder / "step0")


def test_a_file_with_masks_of_its_own_costs_a_second_request_for_them(
    serve_steps, folder, two_steps, caplog
):
    changed(folder / "step1", folder / "step2", other_masks)
    changed(folder / "step0", folder / "step3", other_masks)
    fetcher = serve_steps()
    fetcher.fetch("step0")
    assert fetcher.fetch("step1") == size_of(folder / "step1") - two_steps
    assert "with the usual masks" not in caplog.text
    assert fetcher.fetch("step2") == size_of(folder / "step2")
    assert (
        caplog.text.count(
            "with the usual masks its content is not what the Hub lists; fetching its own"
        )
        == 1
    )
    # They are the usual ones from then on.
    assert fetcher.fetch("step3") == size_of(folder / "step3") - two_steps


def test_a_constant_that_came_with_the_header_is_the_files_own(serve_steps, folder, two_steps):
    def with_constant_first(value):
        # Wide types come first in a file.
        return lambda tensors: {
            **tensors,
            "gpt_neox.layers.9.attention.masked_bias": torch.full((500,), value),
        }

    for step, value in (("step2", 1.0), ("step3", 2.0)):
        changed(folder / "step0", folder / step, with_constant_first(value))
        first = min(entries_of(folder / step), key=lambda entry: entry.start)
        assert first.name.endswith("masked_bias")
        assert first.start < masks._HEADER
    fetcher = serve_steps()
    fetcher.fetch("step2")
    assert fetcher.fetch("step3") == size_of(folder / "step3") - two_steps


@pytest.mark.parametrize(
    "change",
    [
        lambda mask: torch.ones(1, 1, 192, 192, dtype=torch.bool).tril(),
        lambda mask: mask.half(),
        lambda mask: mask[0],
    ],
    ids=["another size", "another type", "another shape"],
)
def test_a_file_of_another_layout_is_fetched_whole_and_learnt_beside(
    serve_steps, folder, two_steps, change
):
    def change_all(tensors):
        return {
            name: change(value).contiguous() if name.endswith(".attention.bias") else value
            for name, value in tensors.items()
        }

    for step in (0, 1):
        changed(folder / f"step{step}", folder / f"step{step}-other", change_all)
    fetcher = serve_steps()
    fetcher.fetch("step0")
    assert fetcher.fetch("step0-other") == size_of(folder / "step0-other")
    assert fetcher.fetch("step1") == size_of(folder / "step1") - two_steps
    assert fetcher.fetch("step1-other") == size_of(folder / "step1-other") - masks_of(
        folder / "step1-other"
    )


def test_a_file_without_masks_among_those_with(serve_steps, folder, two_steps):
    random_pythia(folder / "step2", "tiny", 2, masks=False)
    fetcher = serve_steps()
    fetcher.fetch("step0")
    assert fetcher.fetch("step2") == size_of(folder / "step2")


def test_tensors_in_another_order_are_found_where_they_are(serve_steps, folder, two_steps):
    """As no writer of safetensors would: masks before the weights, and the layers' far apart."""
    tensors = load_file(folder / "step1" / WEIGHTS)
    names = sorted(
        tensors,
        key=lambda name: (not name.endswith("0.attention.bias"), name.endswith("1.attention.bias")),
    )
    header, bodies, offset = {}, [], 0
    types = {torch.float16: "F16", torch.bool: "BOOL"}
    for name in names:
        value = tensors[name].contiguous()
        body = value.reshape(-1).view(torch.uint8).numpy().tobytes()
        header[name] = {
            "dtype": types[value.dtype],
            "shape": list(value.shape),
            "data_offsets": [offset, offset + len(body)],
        }
        bodies.append(body)
        offset += len(body)
    text = json.dumps(header).encode().ljust(8 * 1000)
    (folder / "step2").mkdir()
    (folder / "step2" / WEIGHTS).write_bytes(
        len(text).to_bytes(8, "little") + text + b"".join(bodies)
    )
    fetcher = serve_steps()
    fetcher.fetch("step0")
    assert fetcher.fetch("step2") == size_of(folder / "step2") - two_steps


# Networks that do not bring what was sent


def test_a_header_longer_than_usual_costs_one_more_request(
    serve_steps, folder, two_steps, monkeypatch
):
    monkeypatch.setattr(masks, "_HEADER", 100)
    fetcher = serve_steps()
    fetcher.fetch("step0")
    assert [record.range for record in fetcher.last[:1]] == ["bytes=0-99"]
    assert fetcher.fetch("step1") == size_of(folder / "step1") - two_steps


@pytest.mark.parametrize("after", [0, 5, 30, 2000])
def test_a_header_damaged_on_the_way_costs_the_file_once_more(
    serve_steps, folder, two_steps, after, caplog
):
    fetcher = serve_steps()
    fetcher.fetch("step0")
    fetcher.hub.faults.add(Fault("corrupt", where="content", after=after))
    assert fetcher.fetch("step1") <= 2 * size_of(folder / "step1")
    assert "its content is not what the Hub lists; fetching it once more" in caplog.text


@pytest.mark.parametrize("skip", [1, 2])
def test_weights_damaged_on_the_way_are_fetched_once_more(serve_steps, folder, two_steps, skip):
    fetcher = serve_steps()
    fetcher.fetch("step0")
    fetcher.hub.faults.add(Fault("corrupt", where="content", skip=skip))
    assert size_of(folder / "step1") < fetcher.fetch("step1") <= 2 * size_of(folder / "step1")
    assert fetcher.fetch("step1") == size_of(folder / "step1") - two_steps


def test_nothing_is_learnt_from_a_file_that_is_wrong(serve_steps, folder, two_steps):
    fetcher = serve_steps()
    fetcher.hub.faults.add(Fault("corrupt", where="content", times=ALWAYS))
    with pytest.raises(CheckpointError, match="is corrupt: fetched twice"):
        fetcher.fetch("step0")
    assert not fetcher.masks._contents
    fetcher.hub.faults.clear()
    assert fetcher.fetch("step1") == size_of(folder / "step1")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"\xff" * 8 + data[8:],
        lambda data: data[:8] + b"\x00" * 50 + data[58:],
        lambda data: data.replace(b'"data_offsets"', b'"data_offsats"', 1),
        lambda data: data[:100] + data[100:].replace(b'"dtype":"F16"', b'"dtype":"F64"', 1),
        lambda data: b"<html>" + data[6:],
    ],
)
def test_a_file_published_with_a_damaged_header_arrives_as_it_is(
    serve_steps, folder, two_steps, damage
):
    """It is the file that the Hub lists; whoever reads its tensors says what is wrong with it."""
    (folder / "step2").mkdir()
    (folder / "step2" / WEIGHTS).write_bytes(damage((folder / "step0" / WEIGHTS).read_bytes()))
    fetcher = serve_steps()
    fetcher.fetch("step0")
    fetcher.fetch("step2")
    with pytest.raises(CheckpointError):
        entries_of(folder / "step2")
    assert fetcher.fetch("step1") == size_of(folder / "step1") - two_steps


def test_a_server_that_ignores_ranges_sends_the_file_once_and_teaches_too(
    serve_steps, folder, two_steps
):
    fetcher = serve_steps()
    fetcher.hub.faults.add(Fault("ignore-range", where="content", times=ALWAYS))
    for step in ("step0", "step1"):
        fetcher.fetch(step)
        assert [record.range for record in fetcher.last].count(None) == 1
    fetcher.hub.faults.clear()
    assert fetcher.fetch("step1") == size_of(folder / "step1") - two_steps


def test_what_breaks_off_on_the_way_is_resumed_around_the_masks_too(serve_steps, folder, two_steps):
    fetcher = serve_steps()
    fetcher.fetch("step0")
    fetcher.hub.faults.add(Fault("reset-in-body", where="content", after=1500, skip=1, times=6))
    assert fetcher.fetch("step1") == size_of(folder / "step1") - two_steps
    assert len([record for record in fetcher.last if record.fault]) == 6


def test_several_threads_may_learn_and_ask(serve_steps, folder, two_steps):
    fetcher = serve_steps()
    others = [Fetcher(fetcher.hub, fetcher.masks, fetcher.client) for _ in range(4)]
    errors = []

    def fetch(own):
        try:
            for step in ("step0", "step1") * 3:
                own.fetch(step)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=fetch, args=(own,)) for own in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


# Spans


@st.composite
def spans_and_size(draw):
    """Ascending, disjoint spans, some of them adjacent, in a file."""
    lengths = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=8))
    spans, position = [], 0
    for gap, length in lengths:
        spans.append((position + gap, position + gap + length))
        position += gap + length
    return spans, position + draw(st.integers(0, 3))


def covered(spans):
    return [byte for start, end in spans for byte in range(start, end)]


@given(spans_and_size())
def test_spans_and_what_lies_between_them_are_the_file(case):
    spans, size = case
    between = _between(spans, size)
    assert sorted(covered(spans) + covered(between)) == list(range(size))
    assert all(start < end for start, end in between)
    assert between == sorted(between)


@given(spans_and_size())
def test_joined_spans_are_the_same_bytes_with_gaps_between_them(case):
    spans, size = case
    joined = _joined(spans)
    assert covered(joined) == covered(spans)
    assert all(before[1] < after[0] for before, after in itertools.pairwise(joined))
    assert _between(joined, size) == _between(spans, size)


def test_only_buffers_are_taken_for_constants_never_parameters(folder):
    random_pythia(folder / "step0", "tiny", 0)
    data = memoryview((folder / "step0" / WEIGHTS).read_bytes())
    known = Masks()
    known.learn(tensor_entries(data, len(data), WEIGHTS), data)
    assert {re.sub(r"\d+", "N", name) for name, _, _ in known._digests} == {
        "gpt_neox.layers.N.attention.bias",
        "gpt_neox.layers.N.attention.masked_bias",
        "gpt_neox.layers.N.attention.rotary_emb.inv_freq",
    }
