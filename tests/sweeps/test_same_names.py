"""Rows of a name are one model's: another directory or repository of the same name is refused,
naming both.
"""

import os
import re
import shutil

import pandas as pd
import pytest

import pythia_traj as pt
from pythia_traj.errors import StoreError, SuiteError
from pythia_traj.store.done import list_units
from pythia_traj.store.layout import Run
from pythia_traj.store.unit import read_footer
from pythia_traj.sweeps.existing import record_model, refuse_other_origin
from tests.support import publish_suite

SMALL = {"induction": {"length": 10, "n": 2}}


def request(model, out, **settings):
    given = {
        "model": model,
        "steps": "all",
        "experiments": SMALL,
        "out": out,
        "device": "cpu",
        **settings,
    }
    return pt.SweepConfig(**given)


@pytest.fixture
def seeds(tmp_path):
    """Two training runs whose folders have one name, and what the first measured."""
    for seed in ("seed0", "seed1"):
        publish_suite(tmp_path / seed / "output", steps=(1, 2) if seed == "seed0" else (2, 4))
    pt.sweep(request(str(tmp_path / "seed0" / "output"), tmp_path / "run"))
    return tmp_path


def rows_of(run):
    return pt.load(run, controls=True)


def test_the_second_directory_of_a_name_is_refused_before_anything_is_read(seeds):
    before = rows_of(seeds / "run")
    second = seeds / "seed1" / "output"
    message = (
        f"holds rows of output from {seeds / 'seed0' / 'output'}, and {second} has the same name: "
        f"give it another name with --model NAME={second}, or use another --out"
    )
    for steps in ("all", "2", "4"):
        with pytest.raises(StoreError, match=re.escape(message)):
            pt.sweep(request(str(second), seeds / "run", steps=steps))
    pd.testing.assert_frame_equal(rows_of(seeds / "run"), before, check_exact=True)
    assert len(list((seeds / "run" / "requests").iterdir())) == 1


def test_the_advice_works(seeds):
    pt.sweep(request(f"second={seeds / 'seed1' / 'output'}", seeds / "run"))
    rows = rows_of(seeds / "run")
    assert set(zip(rows.model, rows.step, strict=True)) == {
        ("output", 1),
        ("output", 2),
        ("second", 2),
        ("second", 4),
    }


def test_a_name_that_was_given_is_one_models_too(seeds):
    pt.sweep(request(f"second={seeds / 'seed1' / 'output'}", seeds / "run"))
    with pytest.raises(StoreError, match="holds rows of second from"):
        pt.sweep(request(f"second={seeds / 'seed0' / 'output'}", seeds / "run"))


def test_two_of_one_name_in_one_request_are_refused(seeds):
    with pytest.raises(SuiteError, match="two models are named output"):
        pt.sweep(
            request([str(seeds / seed / "output") for seed in ("seed0", "seed1")], seeds / "other")
        )


@pytest.mark.parametrize(
    "way",
    ["by a link", "by another spelling", "moved", "moved, with a step more", "moved, a step gone"],
)
def test_the_same_directory_by_another_path_is_the_same(seeds, monkeypatch, way):
    first, elsewhere = seeds / "seed0" / "output", seeds / "disk2" / "output"
    elsewhere.parent.mkdir()
    given = elsewhere
    if way == "by a link":
        elsewhere.symlink_to(first)
    elif way == "by another spelling":
        monkeypatch.chdir(first.parent)
        given = "output"
    else:
        first.rename(elsewhere)
        if way == "moved, with a step more":
            shutil.copytree(seeds / "seed1" / "output" / "step4", elsewhere / "step4")
        elif way == "moved, a step gone":
            shutil.rmtree(elsewhere / "step1")
    result = pt.sweep(request(str(given), seeds / "run"))
    assert [unit.step for unit in result.done] == ([4] if way == "moved, with a step more" else [])
    assert not pt.sweep(request(str(given), seeds / "run")).done


def test_a_directory_that_was_copied_without_its_times_is_another(seeds):
    copy = seeds / "disk2" / "output"
    shutil.copytree(seeds / "seed0" / "output", copy, copy_function=shutil.copyfile)
    with pytest.raises(StoreError, match="has the same name"):
        pt.sweep(request(str(copy), seeds / "run"))


def test_a_shared_first_step_does_not_let_another_run_in(seeds):
    shutil.copytree(seeds / "seed0" / "output" / "step1", seeds / "seed1" / "output" / "step1")
    with pytest.raises(StoreError, match="has the same name"):
        pt.sweep(request(str(seeds / "seed1" / "output"), seeds / "run"))


def test_a_directory_that_was_trained_again_is_measured_again(seeds):
    os.utime(seeds / "seed0" / "output" / "step2" / "model.safetensors")
    result = pt.sweep(request(str(seeds / "seed0" / "output"), seeds / "run"))
    assert [unit.step for unit in result.done] == [2]


class Published:
    """A model of the Hub that nobody asks for anything."""

    suite, tokens_per_step, steps = "org", None, (0, 1)

    def __init__(self, origin, model="neox"):
        self.origin, self.model = origin, model

    def what_changed(self, step, recorded):
        return "changed since"


FACTS = {
    "suite": "s",
    "n_layers": 1,
    "n_heads": 1,
    "d_model": 1,
    "d_vocab": 1,
    "n_parameters": 1,
    "n_steps": 1,
}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("hub:org-a/neox", "hub:org-b/neox"),
        ("hub:org-a/neox", "directory:/data/neox"),
        ("directory:/data/neox", "hub:org-a/neox"),
    ],
)
def test_so_are_two_repositories_of_one_name(tmp_path, first, second):
    run = Run.create(tmp_path / "run")
    record_model(run, Published(first), FACTS)
    refuse_other_origin(run, Published(first))
    for names_first in (
        refuse_other_origin,
        lambda run, published: record_model(run, published, FACTS),
    ):
        with pytest.raises(StoreError) as caught:
            names_first(run, Published(second))
        for origin in (first, second):
            assert origin.removeprefix("directory:") in str(caught.value)
    assert ("--model NAME=/data/neox" in str(caught.value)) == second.startswith("directory:")


def test_whoever_begins_at_the_same_time_is_refused_when_it_writes(seeds):
    """The second sweep planned while there was nothing yet: the row of the model decides."""
    run = Run.create(seeds / "new")
    record_model(run, Published("directory:/seed0/output", "output"), FACTS)
    with pytest.raises(StoreError, match="has the same name"):
        record_model(run, Published("directory:/seed1/output", "output"), FACTS)


def test_rows_of_older_versions_do_not_say_whose_they_are(seeds):
    run = Run(seeds / "run")
    shutil.rmtree(run.path / "tables" / "models")
    for unit in list_units(run):
        _without_origin(unit.path)
    refuse_other_origin(run, Published("directory:/data/output", "output"))


def test_where_the_models_row_is_lost_the_units_say_whose_they_are(seeds):
    shutil.rmtree(seeds / "run" / "tables" / "models")
    with pytest.raises(StoreError, match="has the same name"):
        pt.sweep(request(str(seeds / "seed1" / "output"), seeds / "run"))


def _without_origin(path):
    import pyarrow.parquet as pq

    from pythia_traj.store.parquet import write_parquet

    footer = read_footer(path)
    del footer["origin"]
    write_parquet(path, pq.read_table(path, partitioning=None), footer)
