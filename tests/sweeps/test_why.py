"""Why a unit is redone: a dry run says it, and a sweep writes it into the log."""

import json
import os
import shutil

import pytest

from pythia_traj.store.events import read_events
from pythia_traj.store.layout import Run
from pythia_traj.store.parquet import read_parquet, write_parquet
from pythia_traj.sweeps.changes import changes

NORMS = '''
from pythia_traj.data.repeated import RepeatedTokens
from pythia_traj.experiment import experiment
from pythia_traj.processing import FOLDED, RAW
from pythia_traj.values import Key, Rows

@experiment({settings})
def {name}(model, {positional}*, {parameters}) -> Rows:
    """The norm of the embedding."""
    rows = Rows()
    rows.add(Key("norm"), float(model.W_E.detach().norm()))
    return rows
'''

FIRST = {
    "name": "norms",
    "settings": "version=3",
    "positional": "",
    "parameters": "length: int = 32, task: str = 'one'",
}
WITH_DATA = {
    **FIRST,
    "settings": "version=3, data=RepeatedTokens(n=4, length=32)",
    "positional": "data, ",
    "parameters": "scale: int = 1",
}
WITH_REFERENCE = {
    **FIRST,
    "settings": "version=3, references=('final',)",
    "positional": "reference_models, ",
}


@pytest.fixture
def swept(cli, own_suite, tmp_path):
    """Sweeps the suite with an experiment of a file, `swept(experiment, *more arguments)`."""

    def sweep(words, *more):
        # What a file defines is imported once: another definition is another file.
        file = tmp_path / f"norms{len(list(tmp_path.glob('*.py')))}.py"
        file.write_text(NORMS.format(**words))
        config = tmp_path / "config.yaml"
        config.write_text(json.dumps({"experiments": {"own": {"use": str(file)}}}))
        arguments = ["--model", own_suite, "--steps", "all", "--device", "cpu"]
        code, out, err = cli("sweep", config, *arguments, "--out", tmp_path / "run", *more)
        assert code == 0, err
        return out

    return sweep


def step_file(run, step):
    return Run(run).unit_path("own", "own", step)


def with_footer(run, step, **facts):
    """As another version has written it."""
    whole = read_parquet(step_file(run, step), None)
    footer = whole.footer.model_dump(exclude_unset=True) | facts
    write_parquet(step_file(run, step), whole.table(), footer)


def older_schema(root, run):
    for step in (1, 2):
        made_of = read_parquet(step_file(run, step), None).footer.made_of
        with_footer(run, step, made_of=made_of | {"schema": 1}, digest="older")


def trained_again(root, run):
    os.utime(root / "step2" / "model.safetensors")


def other_files(root, run):
    (root / "step2" / "tokenizer.json").unlink()
    os.utime(root / "step2" / "config.json")


def one_more_step(root, run):
    shutil.copytree(root / "step4", root / "step8")


def damaged(root, run):
    step_file(run, 1).write_bytes(b"PAR1")


def not_recorded(root, run):
    with_footer(run, 0, made_of={}, digest=None)
    with_footer(run, 1, source={})
    with_footer(run, 4, digest="of another form")


VERSION_4 = {**FIRST, "settings": "version=4"}
ALL = (0, 1, 2, 4)

# name: (measured by, asked for with, and by, what happened between, the reason of each step)
CASES = {
    "version": (FIRST, VERSION_4, (), None, dict.fromkeys(ALL, "version 3 -> 4")),
    "parameters": (
        FIRST,
        FIRST,
        ("--set", "own.length=64", "--set", "own.task=two"),
        None,
        dict.fromkeys(ALL, "parameters: length 32 -> 64, task 'one' -> 'two'"),
    ),
    "a parameter that is new": (
        FIRST,
        {**VERSION_4, "parameters": "length: int = 32, task: str = 'one', k: int = 1"},
        (),
        None,
        dict.fromkeys(ALL, "version 3 -> 4; parameters: k absent -> 1"),
    ),
    "a long value": (
        FIRST,
        FIRST,
        ("--set", f"own.task={'0a' * 32}"),
        None,
        dict.fromkeys(ALL, "parameters: task changed"),
    ),
    "another experiment": (
        FIRST,
        {**VERSION_4, "name": "other", "parameters": "k: int = 1"},
        (),
        None,
        dict.fromkeys(ALL, "experiment 'norms' -> 'other'"),
    ),
    "dtype": (
        FIRST,
        FIRST,
        ("--dtype", "bfloat16"),
        None,
        dict.fromkeys(ALL, "dtype 'float32' -> 'bfloat16'"),
    ),
    "processing": (
        FIRST,
        {**FIRST, "settings": "version=3, processing=RAW"},
        (),
        None,
        dict.fromkeys(
            ALL,
            "processing: fold_ln True -> False, center_writing_weights True -> False,"
            " center_unembed True -> False and 1 more",
        ),
    ),
    "data": (
        WITH_DATA,
        WITH_DATA,
        ("--seed", "1"),
        None,
        dict.fromkeys(ALL, "data: seed 0 -> 1"),
    ),
    "references": (
        WITH_REFERENCE,
        WITH_REFERENCE,
        (),
        one_more_step,
        dict.fromkeys(ALL, "references: final 4 -> 8"),
    ),
    "schema": (FIRST, FIRST, (), older_schema, dict.fromkeys((1, 2), "schema 1 -> 2")),
    "files": (
        FIRST,
        FIRST,
        (),
        trained_again,
        {2: "files: changed since (model.safetensors)"},
    ),
    "other files": (
        FIRST,
        FIRST,
        (),
        other_files,
        {2: "files: changed since (config.json, tokenizer.json)"},
    ),
    "files of a reference": (
        {**WITH_REFERENCE, "settings": "version=3, references=('step:2',)"},
        {**WITH_REFERENCE, "settings": "version=3, references=('step:2',)"},
        (),
        trained_again,
        {
            0: "files of reference step:2: changed since (model.safetensors)",
            1: "files of reference step:2: changed since (model.safetensors)",
            2: "files: changed since (model.safetensors)",
            4: "files of reference step:2: changed since (model.safetensors)",
        },
    ),
    "damage": (FIRST, FIRST, (), damaged, {1: "its files are damaged"}),
    "what older versions left out": (
        FIRST,
        FIRST,
        (),
        not_recorded,
        {
            0: "what it was made of is not recorded",
            1: "files: which ones were used is not recorded",
            4: "its digest is another one",
        },
    ),
}


def in_words(reasons):
    """The lines of a dry run."""
    lines = []
    for why in dict.fromkeys(reasons.values()):
        steps = [step for step, said in reasons.items() if said == why]
        which = f"{len(steps)} steps, {steps[0]} to {steps[-1]}"
        lines.append(f"redone: own/own, {which if len(steps) > 1 else f'step {steps[0]}'}: {why}")
    return lines


@pytest.mark.parametrize(("before", "now", "more", "change", "reasons"), CASES.values(), ids=CASES)
def test_a_dry_run_says_why_and_the_sweep_notes_it(
    swept, own_suite, tmp_path, before, now, more, change, reasons
):
    swept(before)
    if change is not None:
        change(own_suite, tmp_path / "run")
    plan = json.loads(swept(now, *more, "--dry-run", "--json"))
    assert plan["why"] == {f"own/own/step{step}": why for step, why in reasons.items()}
    assert plan["counts"] == {
        "new": len(plan["todo"]) - len(reasons),
        "redone": len(reasons),
        "done": len(plan["done"]),
    }
    lines = swept(now, *more, "--dry-run").splitlines()
    assert [line for line in lines if line.startswith("redone")] == in_words(reasons)
    begun = len(list(read_events(Run(tmp_path / "run"))))
    swept(now, *more)
    events = list(read_events(Run(tmp_path / "run")))[begun:]
    started = {event["unit"]: event for event in events if event["event"] == "started"}
    assert set(started) == set(plan["todo"])
    assert {unit: event["why"] for unit, event in started.items() if "why" in event} == plan["why"]
    plan = json.loads(swept(now, *more, "--dry-run", "--json"))
    assert (plan["todo"], plan["why"]) == ([], {})


def test_where_nothing_is_redone_nothing_is_said_of_it(swept, tmp_path):
    before = swept(FIRST, "--steps", "0", "--dry-run")
    swept(FIRST, "--steps", "0")
    more = swept(FIRST, "--dry-run")
    plan = json.loads(swept(FIRST, "--dry-run", "--json"))
    assert plan["counts"] == {"new": 3, "redone": 0, "done": 1}
    assert plan["why"] == {}
    swept(FIRST)
    finished = swept(FIRST, "--dry-run")
    assert all("redone" not in said for said in (before, more, finished))
    assert all("why" not in event for event in read_events(Run(tmp_path / "run")))


def test_the_columns_of_a_dry_run_are_named_by_what_they_show(swept):
    heads = next(line for line in swept(FIRST, "--dry-run").splitlines() if "to do" in line)
    assert heads.split()[:2] == ["model", "label"]


def test_converted_rows_of_a_directory_are_done_as_long_as_its_files_are_the_same(
    swept, own_suite, tmp_path
):
    swept(FIRST)
    for step in ALL:
        with_footer(tmp_path / "run", step, converted={"schema": 1, "digest": "older"})
    assert json.loads(swept(FIRST, "--dry-run", "--json"))["todo"] == []
    trained_again(own_suite, tmp_path / "run")
    plan = json.loads(swept(FIRST, "--dry-run", "--json"))
    assert plan["why"] == {"own/own/step2": "files: changed since (model.safetensors)"}


def test_rows_that_only_references_need_have_reasons_of_their_own(swept, tmp_path):
    words = {
        **FIRST,
        "settings": "version=3, row_references=('final',)",
        "positional": "reference_rows, ",
    }
    swept(words, "--steps", "0")
    plan = json.loads(swept(words, "--steps", "1", "--dry-run", "--json"))
    assert (plan["todo"], plan["why"]) == (["own/own/step1"], {})
    later = {**words, "settings": words["settings"].replace("3", "4")}
    plan = json.loads(swept(later, "--steps", "0,1", "--dry-run", "--json"))
    assert plan["todo"] == [f"own/own/step{step}" for step in (4, 0, 1)]
    assert plan["why"] == dict.fromkeys(("own/own/step4", "own/own/step0"), "version 3 -> 4")


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"version": 1}, {"version": 1.0}, "version 1 -> 1.0"),
        ({"parameters": {"k": 1}}, {"parameters": {"k": True}}, "parameters: k 1 -> True"),
        ({"data": None}, {"data": {"seed": 0}}, "data None -> {'seed': 0}"),
        ({"data": {}}, {"data": {"files": {"a": 1}}}, "data: files absent -> {'a': 1}"),
        ({"data": {"f": {"a": 1}}}, {"data": {"f": {"a": 2}}}, "data: f.a 1 -> 2"),
        ({"groups": "first"}, {}, "groups 'first' -> absent"),
    ],
)
def test_changes_are_told_apart_as_digests_tell_them(before, now, said):
    same = {"experiment": "norms"}
    assert changes(same | before, same | now) == said
