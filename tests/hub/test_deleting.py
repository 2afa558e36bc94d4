"""What is deleted is ours: regular files by our names, in a directory that bears our mark, never
through a link, never anything else.
"""

import hashlib
import json
import os
import random
from contextlib import contextmanager
from pathlib import Path

import pytest
from huggingface_hub import constants

from pythia_traj.errors import CheckpointError, ConfigError, StoreError
from pythia_traj.hub import cache
from pythia_traj.hub.cache import cache_directory
from pythia_traj.hub.disk import OnDisk
from pythia_traj.hub.fetch import kept, remove
from pythia_traj.hub.listed import RemoteFile
from pythia_traj.hub.listings import Listings

REPO = "me/tiny"
FOLDER = "me--tiny"
SIZE = 1000
SHA1, SHA256 = "a" * 40, "b" * 64
COMMIT = "c" * 40
ENDPOINT = "https://hub.example"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The directory of the cache, which is not there yet; Hugging Face's is beside it."""
    monkeypatch.setenv("PYTHIA_TRAJ_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    return tmp_path / "cache"


def content(number):
    return random.Random(number).randbytes(SIZE)


def listed(number):
    return RemoteFile("model.safetensors", SIZE, hashlib.sha256(content(number)).hexdigest())


def store(number, **settings):
    """Puts a weight file into the cache as a transfer does."""
    with holding(number, **settings):
        pass


@contextmanager
def holding(number, **settings):
    def fill(file, buffer):
        buffer[:] = content(number)

    with OnDisk(**settings).hold(REPO, [listed(number)], fill) as files:
        yield files


def write(path, data=b"of the user"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def everything(folder):
    """All that is in a folder, links not followed."""
    found = {}
    for where, below, files in os.walk(folder):
        for name in (*below, *files):
            path = Path(where, name)
            found[str(path)] = (
                path.readlink() if path.is_symlink() else path.is_file() and path.read_bytes()
            )
    return found


# Directories that are no cache of ours


def hf_cache(tmp_path):
    blob = write(tmp_path / "hf" / "hub" / "models--me--tiny" / "blobs" / SHA256)
    write(tmp_path / "hf" / "token", b"hf_secret")
    return blob


THEIRS = {
    "HF_HOME itself": lambda tmp_path: tmp_path / "hf",
    "HF_HUB_CACHE itself": lambda tmp_path: tmp_path / "hf" / "hub",
    "what holds HF_HOME": lambda tmp_path: tmp_path,
    "the root of all": lambda tmp_path: Path("/"),
    "a link to HF_HOME": lambda tmp_path: (tmp_path / "link").symlink_to("hf") or tmp_path / "link",
    "HF_HOME with a slash and dots": lambda tmp_path: f"{tmp_path}/hf/../hf/",
}


@pytest.mark.parametrize("where", THEIRS)
def test_a_cache_that_is_or_holds_hugging_faces_is_refused(
    place, cli, tmp_path, monkeypatch, where
):
    hf_cache(tmp_path)
    # Weights and listings as those of older versions, which took any directory.
    write(tmp_path / "hf" / "weights" / FOLDER / SHA256)
    monkeypatch.setenv("PYTHIA_TRAJ_CACHE", str(THEIRS[where](tmp_path)))
    before = everything(tmp_path)
    for arguments in (["--remove", "all"], ["--remove", REPO], []):
        code, out, err = cli("cache", *arguments)
        assert (code, out) == (1, "")
        assert err.count("\n") == 1
        assert (
            "cannot be the cache of pythia-traj, for it is or holds that of Hugging Face (HF_H"
            in err
        )
        assert "set PYTHIA_TRAJ_CACHE to a directory of its own" in err
    for use in (OnDisk, lambda: Listings(ENDPOINT, REPO), lambda: remove(None)):
        with pytest.raises(ConfigError, match="cannot be the cache"):
            use()
    assert everything(tmp_path) == before


OF_A_USER = {
    "a home": ["notes.txt", ".bashrc", ".cache/other/file"],
    "weights of the user": [f"weights/{FOLDER}/{SHA256}", "weights/my-model.bin"],
    "a folder of the user's below weights": [
        f"weights/{FOLDER}/{SHA256}",
        f"weights/{FOLDER}/sub/{SHA1}",
    ],
    "listings of the user": [f"hub/e/r/files/{COMMIT}.json", "hub/e/r/files/notes.json"],
    "a name that is nearly ours": [f"weights/{FOLDER}/{SHA256}0"],
    "a part that is nearly ours": [f"weights/{FOLDER}/film.part"],
    "upper case": [f"weights/{FOLDER}/{'A' * 40}"],
    "branches that are in another place": ["branches.json"],
    "hidden": [f"weights/{FOLDER}/{SHA256}", ".git/config"],
}


@pytest.mark.parametrize("what", OF_A_USER)
def test_a_directory_with_a_users_files_is_not_taken_for_a_cache(place, cli, what):
    for name in OF_A_USER[what]:
        write(place / name)
    before = everything(place)
    code, _, err = cli("cache", "--remove", "all")
    assert code == 1
    assert err.startswith(f"error: {place} is not a cache of pythia-traj: it holds ")
    assert err.count("\n") == 1
    assert kept() == []
    with pytest.raises(
        StoreError,
        match=r"is not a cache of pythia-traj: it holds .*; set PYTHIA_TRAJ_CACHE to a dir",
    ):
        store(1, budget=SIZE)
    Listings(ENDPOINT, REPO).keep_branches({"main": COMMIT})
    assert Listings(ENDPOINT, REPO).branches() is None
    assert everything(place) == before


@pytest.mark.parametrize("kind", ["link to a folder", "link to a file", "pipe"])
def test_nor_is_one_with_links_or_pipes_of_our_names(place, tmp_path, kind):
    target = write(tmp_path / "user" / SHA256)
    (place / "weights" / FOLDER).mkdir(parents=True)
    odd = place / "weights" / FOLDER / SHA256
    if kind == "pipe":
        os.mkfifo(odd)
    elif kind == "link to a file":
        odd.symlink_to(target)
    else:
        (place / "weights" / "me--other").symlink_to(target.parent)
    with pytest.raises(StoreError, match="is not a cache of pythia-traj: it holds weights/me--"):
        remove(None)
    assert kept() == []
    assert target.read_bytes() == b"of the user"


# Directories that are


def test_a_cache_of_an_older_version_is_adopted_and_emptied(place, cli):
    for name in (
        ".lock",
        f"{FOLDER}/{SHA256}",
        f"{FOLDER}/{SHA1}",
        f"{FOLDER}/{SHA1}.keep",
        f"me--b/{SHA1}.part",
    ):
        write(place / "weights" / name, b"" if "." in name.removeprefix(FOLDER) else b"x" * SIZE)
    hub = place / "hub" / "https-hub.example" / FOLDER
    for name in ("branches.json", f"files/{COMMIT}.json", f"files/.{'0' * 32}", f".{'1' * 32}"):
        write(hub / name)
    assert [(entry.repo, entry.files) for entry in kept()] == [("me/b", 1), (REPO, 2)]
    code, out, _ = cli("cache", "--remove", "all")
    assert code == 0
    assert out == f"removed 3 weight files, 2.0 kB, and 4 listings of the Hub, from {place}\n"
    assert [path.name for path in place.rglob("*") if path.is_file()] == [
        "pythia-traj-cache",
        ".lock",
    ]


def test_what_was_removed_is_said_in_json_too(place, cli):
    store(1)
    store(2)
    Listings(ENDPOINT, REPO).keep_branches({"main": COMMIT})
    with holding(1):
        said = json.loads(cli("cache", "--remove", "all", "--json")[1])
    assert said == {"removed_bytes": SIZE, "removed_files": 1, "removed_listings": 1, "in_use": 1}
    store(2)
    said = json.loads(cli("cache", "--remove", REPO, "--json")[1])
    assert said == {
        "removed_bytes": 2 * SIZE,
        "removed_files": 2,
        "removed_listings": 0,
        "in_use": 0,
    }


@pytest.mark.parametrize("what", ["cache", "empty directory", "nothing"])
def test_a_new_cache_is_marked_and_one_with_nothing_in_it_needs_no_removing(place, cli, what):
    if what == "cache":
        store(1)
        assert (place / "pythia-traj-cache").is_file()
        assert [entry.files for entry in kept()] == [1]
    elif what == "empty directory":
        place.mkdir()
    code, out, _ = cli("cache", "--remove", "all")
    assert code == 0
    count = "1 weight file, 1.0 kB" if what == "cache" else "0 weight files, 0 bytes"
    assert out == f"removed {count}, from {place}\n"
    assert place.exists() == (what != "nothing")


# What others put into a cache of ours


STRANGERS = {
    "a file beside the weights": "weights/film.mkv",
    "a half-written film": f"weights/{FOLDER}/film.mkv.part",
    "a part in another tool's form": f"weights/{FOLDER}/{SHA256}.incomplete",
    "a note": f"weights/{FOLDER}/README.md",
    "a longer digest": f"weights/{FOLDER}/{SHA256}00",
    "a digest with an ending": f"weights/{FOLDER}/{SHA256}.bak",
    "a digest deeper down": f"weights/{FOLDER}/deep/{SHA256}",
    "a digest beside the folders": f"weights/{SHA256}",
    "a digest in a hidden folder": f"weights/.hidden/{SHA256}",
    "a mark without a file": f"weights/{FOLDER}/film.keep",
    "a listing that is none": "hub/https-hub.example/me--tiny/files/notes.json",
    "branches elsewhere": "hub/branches.json",
    "another folder": "other/file",
}


@pytest.mark.parametrize("name", STRANGERS.values(), ids=STRANGERS)
def test_what_is_not_ours_stays_whoever_makes_room_or_removes(place, cli, name):
    store(1)
    Listings(ENDPOINT, REPO).keep_files(COMMIT, [listed(1)])
    stranger = write(place / name, b"x" * 50 * SIZE)
    os.utime(stranger, (0, 0))  # The oldest of all.
    store(2, budget=2 * SIZE)
    store(3, budget=2 * SIZE)
    sizes = [stored.size for stored in OnDisk().files()]
    assert sizes == [SIZE, SIZE], "it counted against the budget"
    store(4, keep=True, budget=SIZE)
    assert sum(entry.size for entry in kept()) == 3 * SIZE
    code, out, _ = cli("cache", "--remove", "all")
    assert (code, out) == (
        0,
        f"removed 3 weight files, 3.0 kB, and 1 listing of the Hub, from {place}\n",
    )
    assert stranger.read_bytes() == b"x" * 50 * SIZE
    assert sorted(path for path in place.rglob("*") if path.is_file()) == sorted(
        [place / "pythia-traj-cache", place / "weights" / ".lock", stranger]
    )


LINKED = {
    "the weights": ("weights", f"{FOLDER}/{SHA256}"),
    "a repository's folder": (f"weights/{FOLDER}", SHA256),
    "the listings": ("hub", f"https-hub.example/{FOLDER}/files/{COMMIT}.json"),
    "an endpoint's folder": ("hub/https-hub.example", f"{FOLDER}/branches.json"),
    "a repository's listings": (f"hub/https-hub.example/{FOLDER}", "branches.json"),
    "the files' listings": (f"hub/https-hub.example/{FOLDER}/files", f"{COMMIT}.json"),
}


@pytest.mark.parametrize(("link", "name"), LINKED.values(), ids=LINKED)
def test_a_folder_that_is_a_link_is_not_followed(place, cli, tmp_path, link, name):
    cache.claim(place)
    target = write(tmp_path / "user" / name)
    unmarked = target.stat().st_ctime_ns
    (place / link).parent.mkdir(parents=True, exist_ok=True)
    (place / link).symlink_to(tmp_path / "user")
    before = everything(tmp_path / "user")
    assert kept() == []
    assert cli("cache", "--remove", "all")[1].startswith("removed 0 weight files, 0 bytes, from")
    if link.startswith("weights"):
        with pytest.raises(
            StoreError,
            match="is a link, and pythia-traj follows none inside its cache: set PYTHIA_",
        ):
            store(1, budget=SIZE)
    else:
        Listings(ENDPOINT, REPO).keep_branches({"main": "d" * 40})
        Listings(ENDPOINT, REPO).keep_files(COMMIT, [listed(1)])
    with OnDisk().hold_if_there(REPO, RemoteFile("model.safetensors", 11, SHA256)) as held:
        assert held is None
    assert everything(tmp_path / "user") == before
    assert target.stat().st_ctime_ns == unmarked, "it was marked as used"


@pytest.mark.parametrize("ending", ["", ".part"])
@pytest.mark.parametrize("kind", ["link", "hanging link", "pipe", "folder"])
def test_what_is_in_the_way_of_a_file_is_named_and_stays(place, tmp_path, kind, ending):
    cache.claim(place)
    target = write(tmp_path / "user.bin")
    way = place / "weights" / FOLDER / (listed(1).blob + ending)
    way.parent.mkdir(parents=True)
    if kind == "pipe":
        os.mkfifo(way)
    elif kind == "folder":
        write(way / "file")
    else:
        way.symlink_to(target if kind == "link" else tmp_path / "nowhere")
    before = everything(place / "weights" / FOLDER) if kind != "pipe" else None
    for settings in ({}, {"budget": SIZE}, {"keep": True}):
        with pytest.raises(
            StoreError,
            match="is in the way, and pythia-traj did not put it there: move it elsewhere",
        ):
            store(1, **settings)
    assert remove(None).files == 0
    assert os.path.lexists(way)
    assert before is None or everything(place / "weights" / FOLDER) == before
    assert target.read_bytes() == b"of the user"


def test_a_mark_that_is_a_link_marks_nothing_and_leads_nowhere(place, tmp_path):
    cache.claim(place)
    target = write(tmp_path / "user.txt")
    unmarked = target.stat().st_ctime_ns
    keep = place / "weights" / FOLDER / f"{listed(1).blob}.keep"
    keep.parent.mkdir(parents=True)
    keep.symlink_to(target)
    store(1, keep=True)
    assert [stored.stays for stored in OnDisk().files()] == [False]
    assert (keep.is_symlink(), target.stat().st_ctime_ns) == (True, unmarked)
    (place / "pythia-traj-cache").unlink()
    (place / "pythia-traj-cache").symlink_to(target)
    with pytest.raises(
        StoreError, match="is not a cache of pythia-traj: it holds pythia-traj-cache"
    ):
        remove(None)
    assert target.read_bytes() == b"of the user"


def test_a_lock_that_is_a_link_is_not_written(place, tmp_path):
    cache.claim(place)
    (place / "weights").mkdir()
    (place / "weights" / ".lock").symlink_to(tmp_path / "new")
    with pytest.raises(StoreError, match="cannot be written"):
        store(1)
    assert not (tmp_path / "new").exists()


def test_a_cache_may_be_reached_through_a_link_of_the_users_own(place, tmp_path, monkeypatch):
    (tmp_path / "large disk").mkdir()
    place.symlink_to(tmp_path / "large disk")
    store(1)
    store(2, budget=SIZE)
    assert remove(None).files == 1
    assert place.is_symlink()


def test_a_part_that_somebody_removes_while_it_is_written_fails_its_step_alone(place):
    def fill(file, buffer):
        buffer[:] = content(1)
        for part in place.rglob("*.part"):
            part.unlink()

    with (
        pytest.raises(CheckpointError, match="cannot be renamed"),
        OnDisk().hold(REPO, [listed(1)], fill),
    ):
        pass
    store(1)
    assert cache_directory() == place
