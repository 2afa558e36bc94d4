"""`publish`, by the Hub's own client, to a hub on this machine; and what others then read of it."""

import io
import json
import shutil
import socket

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml

import pythia_traj as pt
from pythia_traj.errors import ConfigError, HubError, StoreError
from pythia_traj.sharing import publish as module
from pythia_traj.sharing.card import Told, card
from pythia_traj.sharing.unnamed import paths_in, request_unnamed
from pythia_traj.store.compacting import list_labels
from pythia_traj.store.layout import COMPACTED, Run
from pythia_traj.store.taking_out import take_out
from pythia_traj.store.unit import read_footer
from tests.hub.fixtures import online, serve  # noqa: F401
from tests.store.damage import flipped
from tests.store.killed import killed_at

# The Hub's client uploads by an argument that its own library deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

NAME = "lab/measured"
DATASET = f"datasets/{NAME}"
ADDRESS = f"hf://{DATASET}"


@pytest.fixture
def hub(serve, monkeypatch):  # noqa: F811
    """An empty hub, and a token that may write to it."""
    monkeypatch.setenv("HF_TOKEN", "right-token")
    return serve(token="right-token")


@pytest.fixture
def own(shared, tmp_path):
    """A copy of the run that a test may change."""
    return Run.open(shutil.copytree(shared.path, tmp_path / "run"))


def files_of(hub, branch="main"):
    """The files of the dataset, by name."""
    repository = hub.repositories[DATASET]
    return repository.commits[repository.branches[branch]]


def test_a_published_run_is_read_from_the_hub_as_from_the_disk(shared, hub):
    made = pt.publish(shared.path, NAME)
    assert (made.name, made.address, made.notes) == (NAME, ADDRESS, ())
    assert set(made.files) == set(files_of(hub))
    assert made.commit == hub.repositories[DATASET].branches["main"]
    for chosen in ({"controls": True}, {"table": "items"}, {"table": "samples"}, {"step": 4}):
        pd.testing.assert_frame_equal(pt.load(ADDRESS, **chosen), pt.load(shared.path, **chosen))
    assert pt.describe(ADDRESS).as_json() == pt.describe(shared.path).as_json()


def test_only_the_files_that_a_filter_needs_are_fetched_from_the_hub(shared, hub):
    pt.publish(shared.path, NAME)
    hub.reset_log()
    pt.load(ADDRESS, model="other", label="induction", step=1)
    fetched = [one.path for one in hub.requests if one.kind == "resolve" and one.method == "GET"]
    assert {path.rsplit("/", 1)[-1] for path in fetched} == {"run.json", "step-000001.parquet"}


def test_what_goes_up_is_the_run_and_nothing_of_the_machine(shared, hub):
    pt.publish(shared.path, NAME)
    names = set(files_of(hub))
    of_units = {
        path.relative_to(shared.path).as_posix()
        for folder in ("metrics", "tables")
        for path in (shared.path / folder).rglob("*.*")
    }
    assert names - of_units - {name for name in names if name.startswith("requests/")} == {
        "README.md",
        "run.json",
        "data/metrics.parquet",
        "data/items.parquet",
    }
    assert of_units <= names
    host = socket.gethostname().encode()
    for name, blob in files_of(hub).items():
        content = blob.file.read_bytes()
        if name.endswith(".parquet"):
            kept = pq.read_schema(io.BytesIO(content)).metadata or {}
            content = b"".join(kept.values())
        assert str(shared.path.parent).encode() not in content, name
        assert b'"host"' not in content, name
        assert b'"worker"' not in content, name
        assert f'"{host.decode()}"'.encode() not in content, name


def test_provenance_stays_but_for_those_names(shared, hub, tmp_path):
    pt.publish(shared.path, NAME)
    name = "metrics/model=tiny/label=induction/step-000001.parquet"
    shutil.copy(files_of(hub)[name].file, tmp_path / "step-000001.parquet")
    there, here = read_footer(tmp_path / "step-000001.parquet"), read_footer(shared.path / name)
    assert there["origin"] == "directory:tiny"
    left_out = {"host", "worker", "job", "origin"}
    assert {key: value for key, value in here.items() if key not in left_out} == {
        key: value for key, value in there.items() if key != "origin"
    }


def test_the_card_names_files_that_load_dataset_reads(shared, hub, tmp_path, monkeypatch):
    from datasets import config, load_dataset

    made = pt.publish(shared.path, NAME)
    monkeypatch.setattr(config, "HF_ENDPOINT", hub.endpoint)
    monkeypatch.setattr(config, "HF_HUB_OFFLINE", False)
    for name, table in (("metrics", None), ("items", "items")):
        read = load_dataset(NAME, name, split="train", cache_dir=str(tmp_path), token=False)
        expected = pt.load(shared.path, table=table, controls=True)
        assert read.column_names == list(expected.columns)
        assert read["model"][:] == list(expected["model"])
        assert read["value"][:] == pytest.approx(
            [None if pd.isna(one) else one for one in expected["value"]]
        )
    front = yaml.safe_load(made.card.split("---\n")[1])
    assert front["license"] == "unknown"
    assert {"pythia-traj", "random"} <= set(front["tags"])
    assert [one["config_name"] for one in front["configs"]] == ["metrics", "items"]


def test_the_card_says_what_was_measured_and_how_to_read_it(shared):
    text = pt.publish(shared.path, NAME, dry_run=True).card
    assert f'pt.load("{ADDRESS}")' in text
    assert "| tiny | random | tiny |" in text
    assert "4 steps, from 0 to 4" in text
    assert "### induction" in text
    assert "- parameters: bos = false, length = 20, n = 4" in text
    assert "Olsson" in text
    assert "torch " in text
    assert "```bibtex\n@" in text
    assert "trust_remote_code" not in text


def test_a_dry_run_asks_nothing_and_says_what_would_go_up(shared, hub, cli):
    made = pt.publish(shared.path, NAME, dry_run=True)
    assert hub.requests == []
    assert made.commit is None
    status, out, err = cli("publish", shared.path, NAME, "--dry-run")
    assert (status, err) == (0, "")
    assert hub.requests == []
    assert "metrics/model=tiny/label=induction/step-000001.parquet\n" in out
    assert out.endswith(f"\n{made.card}\n")
    pt.publish(shared.path, NAME)
    assert set(made.files) == set(files_of(hub))


def test_repeating_it_sends_no_file_twice(shared, hub):
    first = pt.publish(shared.path, NAME)
    hub.reset_log()
    assert pt.publish(shared.path, NAME).commit == first.commit
    assert [one for one in hub.requests if one.kind == "upload"] == []


def test_an_interrupted_upload_is_no_run_yet_and_the_next_call_goes_on(shared, hub, monkeypatch):
    monkeypatch.setattr(module, "_FILES", 5)
    staged, calls = module._staged, []

    def breaks(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return staged(*arguments)

    monkeypatch.setattr(module, "_staged", breaks)
    with pytest.raises(KeyboardInterrupt):
        pt.publish(shared.path, NAME)
    before = {blob.sha256 for blob in files_of(hub).values()}
    assert len(files_of(hub)) == 10
    with pytest.raises(StoreError, match="is not a run: it has no run.json"):
        pt.load(ADDRESS)
    hub.reset_log()
    monkeypatch.setattr(module, "_staged", staged)
    pt.publish(shared.path, NAME)
    sent = {one.path.rsplit("/", 1)[-1] for one in hub.requests if one.kind == "upload"}
    by_hash = {blob.sha256 for name, blob in files_of(hub).items() if name.endswith(".parquet")}
    assert sent == by_hash - before
    assert len(pt.load(ADDRESS)) == len(pt.load(shared.path))


def test_what_the_run_no_longer_has_is_deleted_there_and_other_files_stay(own, hub):
    pt.publish(own.path, NAME)
    repository = hub.repositories[DATASET]
    picture = own.path.parent / "picture.png"
    picture.write_bytes(b"mine")
    repository.add("main", "images/picture.png", picture)
    shutil.rmtree(own.path / "metrics" / "model=other" / "label=samples")
    pt.publish(own.path, NAME)
    names = set(files_of(hub))
    assert "images/picture.png" in names
    assert not [name for name in names if name.startswith("metrics/model=other/label=samples")]
    assert set(pt.load(ADDRESS, label="samples").model) == {"tiny"}


def test_a_branch_and_a_private_dataset(shared, hub):
    made = pt.publish(shared.path, NAME, private=True, revision="v1")
    assert hub.repositories[DATASET].private
    assert set(files_of(hub)) == set()
    assert len(files_of(hub, "v1")) == len(made.files)
    assert made.address == f"{ADDRESS}@v1"
    assert len(pt.load(made.address, label="samples")) == len(pt.load(shared.path, label="samples"))
    assert f'{made.address}"' in made.card
    assert 'revision="v1"' in made.card


def test_damaged_files_are_left_out_and_said(own, hub):
    flipped(0.1)(own.unit_path("other", "induction", 1, table="items"))
    made = pt.publish(own.path, NAME)
    name = "tables/items/model=other/label=induction/step-000001.parquet"
    assert any(note.startswith(f"left out {name}") for note in made.notes), made.notes
    assert name not in files_of(hub)
    assert name not in made.files


def test_a_run_that_is_being_written_is_said(own, hub):
    own.unit_path("tiny", "induction", 4).unlink()
    made = pt.publish(own.path, NAME)
    said = "the run is not complete: 15 of 16 requested units are there"
    assert said in made.notes
    assert said in made.card


def test_paths_in_parameters_are_said():
    made_of = {"parameters": {"corpus": "/home/ada/text.jsonl", "n": 3, "a": ["~/b", "c/d"]}}
    assert list(paths_in(made_of)) == ["/home/ada/text.jsonl", "~/b"]


def test_a_request_has_last_names_of_folders_alone(own):
    (path,) = (own.path / "requests").iterdir()
    request = json.loads(path.read_text())
    request["experiments"]["own"] = {"use": "/home/ada/mine.py:entropy"}
    path.write_text(json.dumps(request))
    name, text = request_unnamed(path)
    there = json.loads(text)
    assert there["model"] == ["tiny", "other=tiny"]
    assert there["experiments"]["own"] == {"use": "mine.py:entropy"}
    assert name != path.name
    assert there["explicit_steps"] == request["explicit_steps"]


def test_without_a_token_one_line_says_how_to_log_in(shared, serve, cli):  # noqa: F811
    serve(token="right-token")
    status, _, err = cli("publish", shared.path, NAME)
    assert status == 1
    assert err.startswith(f"error: {NAME} cannot be written without a token: log in with hf auth")


def test_a_wrong_token_is_refused_in_one_line(shared, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrongwrongwrong")
    with pytest.raises(
        HubError, match=rf"^{NAME}: the Hub does not let this token write there \(401"
    ):
        pt.publish(shared.path, NAME)
    assert hub.repositories == {}


def test_a_hub_that_does_not_answer_is_one_line(shared, hub, monkeypatch):
    from tests.hub.fixtures import point_to

    point_to(monkeypatch, "http://127.0.0.1:9")
    with pytest.raises(HubError, match=f"^{NAME}: ") as refused:
        pt.publish(shared.path, NAME)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["measured", "a/b/c", "../x", "lab/", "lab/a b", "-/x"])
def test_a_name_that_no_dataset_can_have_is_refused(shared, name):
    with pytest.raises(ConfigError, match="cannot be the name of a dataset: give it as org/name"):
        pt.publish(shared.path, name)


def test_a_run_without_units_is_refused(tmp_path):
    run = Run.create(tmp_path / "run")
    with pytest.raises(StoreError, match="holds no unit that can be read: measure something first"):
        pt.publish(run.path, NAME)


def test_hostile_words_cannot_write_into_the_card(shared):
    from dataclasses import replace

    from pythia_traj.reports.methods import methods_of
    from pythia_traj.store.read import read_run

    read = read_run(shared, controls=True)
    methods = methods_of(read.frame, read.footers, pd.DataFrame())
    hostile = "x | y\n## z <img src=a onerror=b> [a](javascript:b) `c`"
    experiments = [replace(methods.experiments[0], summary=hostile, parameters=(("p", hostile),))]
    models = [replace(methods.models[0], published_at=hostile)]
    told = Told(NAME, None, "run", ["metrics"], [], "1", [hostile])
    text = card(told, replace(methods, experiments=tuple(experiments), models=tuple(models)))
    assert "<img" not in text
    assert "\n## z" not in text
    assert "[a](" not in text.replace("\\[", "")
    assert "| x \\| y" in text


def test_tensors_go_up_with_their_provenance_and_the_same_values(suite, tmp_path, hub):
    from safetensors.numpy import load_file

    config = pt.SweepConfig(
        model=str(suite),
        steps="0",
        device="cpu",
        experiments={"activations": {"length": 16, "n": 4}},
        out=tmp_path / "run",
    )
    assert not pt.sweep(config).failed
    pt.publish(tmp_path / "run", NAME)
    (name,) = [name for name in files_of(hub) if name.endswith(".safetensors")]
    there, here = load_file(files_of(hub)[name].file), load_file(tmp_path / "run" / name)
    assert there.keys() == here.keys()
    assert all((there[key] == here[key]).all() for key in here)
    assert b'"host' not in files_of(hub)[name].file.read_bytes()[:20_000]


def test_compacting_changes_nothing_of_the_dataset_and_nothing_is_sent_again(own, hub):
    before = pt.publish(own.path, NAME)
    pt.compact(own.path)
    hub.reset_log()
    after = pt.publish(own.path, NAME)
    assert (after.files, after.notes, after.commit) == (before.files, (), before.commit)
    assert [one for one in hub.requests if one.kind == "upload"] == []


def test_a_compacted_run_is_read_from_the_hub_as_from_the_disk(own, hub):
    pt.compact(own.path)
    pt.publish(own.path, NAME)
    for chosen in ({"controls": True}, {"table": "items"}, {"table": "samples"}, {"step": 4}):
        pd.testing.assert_frame_equal(pt.load(ADDRESS, **chosen), pt.load(own.path, **chosen))
    hub.reset_log()
    pt.load(ADDRESS, model="other", label="induction", step=1)
    fetched = [one.path for one in hub.requests if one.kind == "resolve" and one.method == "GET"]
    assert {path.rsplit("/", 1)[-1] for path in fetched} == {"run.json", "step-000001.parquet"}
    metrics = pq.read_table(files_of(hub)["data/metrics.parquet"].file)
    assert len(metrics) == len(pt.load(own.path, controls=True))
    for name, blob in files_of(hub).items():
        if name.endswith(".parquet"):
            kept = pq.read_schema(blob.file).metadata or {}
            assert b'"host"' not in b"".join(kept.values()), name
            assert str(own.path.parent).encode() not in b"".join(kept.values()), name


def test_a_damaged_compacted_file_is_left_out_and_said_once(own, hub):
    pt.compact(own.path)
    path = own.label_folder("other", "induction", table="items") / COMPACTED
    flipped(0.5)(path)
    made = pt.publish(own.path, NAME)
    name = "tables/items/model=other/label=induction"
    assert [note for note in made.notes if note.startswith(f"left out {name}")] == [
        f"left out {name}/{COMPACTED} (its bytes have changed since they were written)"
    ]
    assert not [file for file in files_of(hub) if file.startswith(name)]
    assert not [file for file in made.files if file.startswith(name)]


def sent(files, folder):
    """What would go up, by name."""
    folder.mkdir()
    left_out = {}
    there = module._staged(files, folder, left_out)
    found = {name: path.read_bytes() for name, path in there.items()}
    shutil.rmtree(folder)
    assert left_out == {}
    return found


def test_what_goes_up_is_the_same_beside_a_change_of_finished_units(shared, tmp_path):
    folder = tmp_path / "staged"
    expected = sent([*module._files(shared)], folder)
    for operation in (9, 11, 13):
        own = Run(shutil.copytree(shared.path, tmp_path / "run"))
        listed = [*module._files(own)]
        with killed_at(operation):
            pt.compact(own.path)
        assert sent(listed, folder) == expected, operation
        assert sent([*module._files(own)], folder) == expected, operation
        shutil.rmtree(own.path)
    own = Run(shutil.copytree(shared.path, tmp_path / "run"))
    pt.compact(own.path)
    listed = [*module._files(own)]
    for label in list_labels(own):
        take_out(own, label.model, label.label, [1, 2])
    assert sent(listed, folder) == expected
