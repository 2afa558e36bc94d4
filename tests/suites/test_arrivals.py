"""When the checkpoint of a training run is whole, whatever the order in which its files arrive."""

import logging
import os
import shutil
from pathlib import Path

import pytest

from pythia_traj.errors import SuiteError
from pythia_traj.suites.arrivals import PATIENCE_SECONDS, STILL_SECONDS, Arrivals
from tests.support import publish, random_model

LONG = 10 * PATIENCE_SECONDS


@pytest.fixture(scope="module", params=["single", "shards", "binary", "binary-shards"])
def whole(request, tmp_path_factory):
    """The files of a checkpoint, and those that come with it."""
    folder = tmp_path_factory.mktemp(request.param) / "checkpoint-10"
    publish(
        folder,
        random_model(),
        sharded="shards" in request.param,
        binary="binary" in request.param,
    )
    (folder / "trainer_state.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    folder = tmp_path_factory.mktemp("one") / "checkpoint-10"
    publish(folder, random_model())
    return folder


class Watched:
    """A directory that is looked at, at times that a test chooses."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.now = directory, 0.0
        self.arrivals = Arrivals(directory)

    def look(self, after: float = 0.0):
        self.now += after
        return self.arrivals.look(self.now)

    def settle(self):
        """What is there when nothing has changed for long."""
        self.look()
        return self.look(LONG)


@pytest.fixture
def watched(tmp_path):
    live = tmp_path / "live"
    live.mkdir()
    return Watched(live)


def test_it_arrives_when_its_folder_was_still_for_a_moment(single, watched):
    shutil.copytree(single, watched.directory / "checkpoint-10")
    assert watched.look().pending == {10: "it is being written"}
    assert watched.look(STILL_SECONDS / 2).arrived == {}
    assert watched.look(STILL_SECONDS).arrived == {10: "checkpoint-10"}
    assert watched.look(LONG).arrived == {}


ORDERS = {
    "as the names": lambda names: sorted(names),
    "against the names": lambda names: sorted(names, reverse=True),
    "config last": lambda names: sorted(names, key=lambda name: (name == "config.json", name)),
    "index first": lambda names: sorted(names, key=lambda name: ("index" not in name, name)),
    "index last": lambda names: sorted(names, key=lambda name: ("index" in name, name)),
    "weights last": lambda names: sorted(names, key=lambda name: ("model" in name, name)),
}


@pytest.mark.parametrize("order", ORDERS)
def test_in_whatever_order_its_files_come_none_is_taken_before_the_last_it_needs(
    whole, watched, order
):
    folder = watched.directory / "checkpoint-10"
    folder.mkdir()
    not_needed = {"trainer_state.json", "tokenizer.json", "generation_config.json"}
    names = ORDERS[order]([path.name for path in whole.iterdir()])
    needed = [name for name in names if name not in not_needed]
    for name in names[: names.index(needed[-1])]:
        shutil.copy(whole / name, folder)
        assert watched.settle().arrived == {}, name
    for name in names[names.index(needed[-1]) :]:
        shutil.copy(whole / name, folder)
    assert watched.settle().arrived == {10: "checkpoint-10"}


@pytest.mark.parametrize("part", [0.0, 0.001, 0.5, 0.999])
def test_a_file_that_is_written_slowly_is_not_taken_before_its_end(whole, watched, part):
    folder = watched.directory / "checkpoint-10"
    shutil.copytree(whole, folder)
    weights = max(folder.iterdir(), key=lambda path: path.stat().st_size)
    data = weights.read_bytes()
    weights.write_bytes(data[: int(len(data) * part)])
    assert watched.settle().pending.keys() == {10}
    weights.write_bytes(data)
    assert watched.settle().arrived.keys() == {10}


def test_a_file_that_has_its_size_before_its_content_is_not_taken_while_it_is_written(
    single, watched
):
    folder = watched.directory / "checkpoint-10"
    shutil.copytree(single, folder)
    for i in range(5):
        os.utime(folder / "model.safetensors", (i, i))
        assert watched.look(STILL_SECONDS).arrived == {}
    assert watched.look(STILL_SECONDS).arrived.keys() == {10}


def test_a_tokenizer_that_may_come_is_waited_for_a_little_longer(single, watched):
    for step in (10, 20):
        shutil.copytree(single, watched.directory / f"checkpoint-{step}")
    late = watched.directory / "checkpoint-20" / "tokenizer.json"
    text = late.read_text()
    late.unlink()
    watched.look()
    look = watched.look(STILL_SECONDS)
    assert look.arrived.keys() == {10}
    assert look.pending == {20: "it has no tokenizer.json yet"}
    late.write_text(text[: len(text) // 2])
    assert watched.settle().arrived == {}
    late.write_text(text)
    assert watched.settle().arrived.keys() == {20}


def test_a_training_without_a_tokenizer_makes_only_its_first_checkpoint_wait(single, watched):
    for step in (10, 20):
        shutil.copytree(single, watched.directory / f"checkpoint-{step}")
        (watched.directory / f"checkpoint-{step}" / "tokenizer.json").unlink()
    watched.look()
    assert watched.look(STILL_SECONDS).arrived == {}
    assert watched.look(PATIENCE_SECONDS).arrived.keys() == {10, 20}


def test_a_config_beside_the_steps_may_come_after_them(single, watched):
    folder = watched.directory / "checkpoint-10"
    shutil.copytree(single, folder)
    config = (folder / "config.json").rename(watched.directory / "config.json.part")
    assert "config.json is missing" in watched.settle().pending[10]
    config.rename(watched.directory / "config.json")
    assert watched.look(1).arrived.keys() == {10}


def test_steps_arrive_in_any_order_and_one_that_is_removed_before_is_named(single, watched):
    shutil.copytree(single, watched.directory / "checkpoint-30")
    (watched.directory / "checkpoint-20").mkdir()
    look = watched.settle()
    assert (look.arrived.keys(), look.pending.keys()) == ({30}, {20})
    (watched.directory / "checkpoint-20").rmdir()
    shutil.rmtree(watched.directory / "checkpoint-30")
    shutil.copytree(single, watched.directory / "checkpoint-10")
    look = watched.settle()
    assert (look.arrived.keys(), look.removed) == ({10}, ())
    assert watched.arrivals.became(30) == "removed"


def test_a_removed_step_is_named_once(watched):
    (watched.directory / "checkpoint-20").mkdir()
    watched.look()
    (watched.directory / "checkpoint-20").rmdir()
    assert watched.look().removed == (20,)
    assert watched.look().removed == ()


def test_a_checkpoint_that_was_rewritten_arrives_again(single, watched):
    folder = watched.directory / "checkpoint-10"
    shutil.copytree(single, folder)
    watched.settle()
    assert watched.arrivals.became(10) is None
    os.utime(folder / "config.json", (1, 1))
    assert watched.arrivals.became(10) == "rewritten"
    watched.arrivals.again([10])
    assert watched.settle().arrived.keys() == {10}
    watched.arrivals.again([10])
    shutil.rmtree(folder)
    assert watched.look().removed == (10,)


def test_folders_that_are_still_being_made_elsewhere_are_no_steps_and_no_warnings(
    single, watched, caplog
):
    shutil.copytree(single, watched.directory / "tmp-checkpoint-10")
    with caplog.at_level(logging.WARNING):
        look = watched.settle()
    assert (look.arrived, look.pending, caplog.records) == ({}, {}, [])
    (watched.directory / "tmp-checkpoint-10").rename(watched.directory / "checkpoint-10")
    assert watched.settle().arrived.keys() == {10}


@pytest.mark.parametrize("name", ["file", "broken-link"])
def test_what_has_a_steps_name_and_is_no_folder_is_waited_for(watched, name):
    path = watched.directory / "checkpoint-10"
    path.write_text("") if name == "file" else path.symlink_to("nowhere")
    look = watched.settle()
    assert (look.arrived, look.pending.keys()) == ({}, {10})


def test_a_directory_that_does_not_exist_yet_has_no_steps(single, tmp_path):
    watched = Watched(tmp_path / "later")
    look = watched.settle()
    assert (look.arrived, look.pending, look.is_still) == ({}, {}, True)
    shutil.copytree(single, tmp_path / "later" / "checkpoint-10")
    assert not watched.look().is_still
    assert watched.look(LONG).arrived.keys() == {10}


def test_a_step_with_two_folders_is_refused_as_in_a_sweep(watched):
    for name in ("step10", "checkpoint-10"):
        (watched.directory / name).mkdir()
    with pytest.raises(SuiteError, match="has step 10 twice"):
        watched.look()
