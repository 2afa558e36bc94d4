"""The runner: rows for every unit, once; a kill at any moment costs nothing but time; a damaged
step costs its own units.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

import pythia_traj as pt
from pythia_traj.errors import ConfigError, DataError, DeviceError, StoreError
from pythia_traj.store.events import read_events
from pythia_traj.store.layout import Run
from pythia_traj.store.unit import read_footer

SMALL = {"induction": {"length": 20, "n": 6}, "loss": {"length": 64, "n": 6, "null_n": 4}}


def request(suite, out, **settings):
    return pt.SweepConfig(
        **{
            "model": str(suite),
            "steps": "all",
            "experiments": SMALL,
            "out": out,
            "device": "cpu",
            **settings,
        }
    )


def rows_of(run: Path) -> pd.DataFrame:
    return pt.load(run, controls=True)


def test_every_unit_is_written_and_a_repeated_sweep_skips_all(suite, tmp_path):
    first = pt.sweep(request(suite, tmp_path / "run"))
    assert (len(first.done), len(first.skipped), len(first.failed)) == (8, 0, 0)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.parquet")}
    again = pt.sweep(request(suite, tmp_path / "run"))
    assert (len(again.done), len(again.skipped)) == (0, 8)
    assert files == {
        path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.parquet")
    }
    rows = rows_of(tmp_path / "run")
    assert set(rows.step) == {0, 1, 2, 4}
    assert (rows.tokens == rows.step * 2048).all()
    assert set(rows.suite) == {"random"}


REPEAT = """
import sys, socket
def refuse(*args, **kwargs): raise AssertionError("a connection was opened")
socket.socket.connect = refuse
socket.create_connection = refuse
from pythia_traj.cli import main
try: main(["sweep", *sys.argv[1:]])
except SystemExit as end: assert not end.code, end.code
loaded = {"torch", "transformer_lens", "transformers"} & set(sys.modules)
from pythia_traj import models
assert not any(name.startswith("pythia_traj.models.") for name in sys.modules), "a model was loaded"
"""


def test_a_repeated_finished_sweep_loads_no_model_and_opens_no_connection(suite, tmp_path):
    pt.sweep(request(suite, tmp_path / "run"))
    sets = [
        f"--set={label}.{name}={value}"
        for label, given in SMALL.items()
        for name, value in given.items()
    ]
    command = [
        "--model",
        str(suite),
        "--steps",
        "all",
        "--experiment",
        "induction,loss",
        *sets,
        "--out",
        str(tmp_path / "run"),
    ]
    ended = subprocess.run([sys.executable, "-c", REPEAT, *command], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "0 done, 8 already there, 0 failed" in ended.stdout


def test_a_unit_records_what_it_was_made_of(suite, tmp_path):
    pt.sweep(request(suite, tmp_path / "run"))
    footer = read_footer(Run(tmp_path / "run").unit_path("tiny", "loss", 4))
    assert footer["made_of"]["parameters"]["length"] == 64
    assert footer["made_of"]["processing"]["fold_ln"] is False
    assert footer["made_of"]["data"]["source"] == "stdlib"
    assert len(footer["made_of"]["data"]["sha256"]) == 64
    assert footer["vocabulary"] == {
        "rows": 300,
        "tokenizer": footer["vocabulary"]["tokenizer"],
        "softmax": 300,
    }
    assert footer["bos"] is False
    assert footer["tf32"] is False
    assert footer["threads"] == torch.get_num_threads()
    assert "compute" in footer["seconds"]
    # Fetching and swapping are booked where they happened: on the first units of the step.
    assert {"fetch", "swap", "compute"} <= footer["seconds"].keys()
    assert (
        "fetch"
        not in read_footer(Run(tmp_path / "run").unit_path("tiny", "induction", 4))["seconds"]
    )
    assert footer["versions"]["torch"] == torch.__version__
    assert footer["source"]["files"]
    assert footer["attempt"] == 1


def redone(result):
    return {unit.name for unit in result.done}


def test_only_the_units_concerned_are_redone(own_suite, tmp_path):
    out = tmp_path / "run"
    pt.sweep(request(own_suite, out))
    assert redone(
        pt.sweep(request(own_suite, out, experiments={**SMALL, "loss": {**SMALL["loss"], "n": 5}}))
    ) == {f"own/loss/step{step}" for step in (0, 1, 2, 4)}
    pt.sweep(request(own_suite, out))
    weights = own_suite / "step2" / "model.safetensors"
    os.utime(weights)
    assert redone(pt.sweep(request(own_suite, out))) == {"own/loss/step2", "own/induction/step2"}
    assert len(redone(pt.sweep(request(own_suite, out, dtype="bfloat16")))) == 8


def test_a_new_version_of_an_experiment_or_other_processing_is_measured_anew(suite, tmp_path):
    source = '''
from pythia_traj.experiment import experiment
from pythia_traj.processing import FOLDED, RAW
from pythia_traj.values import Key, Rows

@experiment(version={version}, processing={processing})
def norm(model) -> Rows:
    """The norm of the output matrix."""
    rows = Rows()
    rows.add(Key("norm"), float(model.W_out.detach().norm()))
    return rows
'''
    values = {}
    for name, version, processing in (
        ("a", 1, "RAW"),
        ("b", 2, "RAW"),
        ("c", 2, "FOLDED"),
        ("d", 2, "FOLDED"),
    ):
        file = tmp_path / f"{name}.py"
        file.write_text(source.format(version=version, processing=processing))
        result = pt.sweep(
            request(suite, tmp_path / "run", experiments={"norm": {"use": str(file)}})
        )
        assert len(result.done) == (0 if name == "d" else 4)
        values[name] = rows_of(tmp_path / "run").value.tolist()
    assert values["a"] == values["b"] != values["c"]


def test_a_later_request_adds_units_and_deletes_none(suite, tmp_path):
    out = tmp_path / "run"
    pt.sweep(request(suite, out, steps="0", experiments={"induction": SMALL["induction"]}))
    pt.sweep(request(suite, out, steps="4", experiments={"loss": SMALL["loss"]}))
    rows = rows_of(out)
    assert set(zip(rows.experiment, rows.step, strict=True)) == {("induction", 0), ("loss", 4)}
    assert len(list((out / "requests").glob("*.json"))) == 2


def test_sharing_a_forward_pass_changes_no_bit(suite, tmp_path):
    together = {
        "one": {"use": "induction", "length": 20, "n": 6},
        "two": {"use": "induction", "length": 20, "n": 6},
    }
    pt.sweep(request(suite, tmp_path / "together", experiments=together))
    pt.sweep(request(suite, tmp_path / "alone", experiments={"one": together["one"]}))
    shared, alone = rows_of(tmp_path / "together"), rows_of(tmp_path / "alone")
    columns = [name for name in shared.columns if name != "label"]
    one = shared[shared.label == "one"][columns].reset_index(drop=True)
    assert one.value.equals(alone.value)
    assert shared[shared.label == "two"].value.tolist() == pytest.approx(
        alone.value.tolist(), nan_ok=True, abs=0
    )
    footer = read_footer(Run(tmp_path / "together").unit_path("tiny", "one", 0))
    assert footer["shared_with"] == ["two"]


def test_a_damaged_step_fails_its_own_units_and_is_retried(own_suite, tmp_path):
    weights = own_suite / "step2" / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:2000])
    first = pt.sweep(request(own_suite, tmp_path / "run"))
    assert {unit.name for unit, _ in first.failed} == {"own/induction/step2", "own/loss/step2"}
    assert all("model.safetensors is truncated" in error for _, error in first.failed)
    assert len(first.done) == 6
    assert pt.status(tmp_path / "run").failed == 2
    weights.write_bytes(whole)
    second = pt.sweep(request(own_suite, tmp_path / "run"))
    assert (len(second.done), len(second.skipped), len(second.failed)) == (2, 6, 0)
    assert pt.status(tmp_path / "run").failed == 0
    assert read_footer(Run(tmp_path / "run").unit_path("own", "loss", 2))["attempt"] == 2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "config.json is missing"),
        (
            lambda folder: (folder / "config.json").write_text('{"model_type": "llama"}'),
            "architecture llama",
        ),
        (
            lambda folder: (folder / "tokenizer.json").write_text("{}"),
            "tokenizer.json is not a usable tokenizer.json",
        ),
        (lambda folder: (folder / "model.safetensors").unlink(), "holds no weights"),
    ],
)
def test_the_first_step_may_be_the_damaged_one(own_suite, tmp_path, damage, message):
    damage(own_suite / "step0")
    result = pt.sweep(request(own_suite, tmp_path / "run"))
    assert {unit.name for unit, _ in result.failed} == {"own/induction/step0", "own/loss/step0"}
    assert all(message in error for _, error in result.failed)
    assert len(result.done) == 6
    for step in (1, 2, 4):
        damage(own_suite / f"step{step}")
    result = pt.sweep(request(own_suite, tmp_path / "other"))
    assert (len(result.failed), len(result.done)) == (8, 0)
    assert all(message in error for _, error in result.failed)


def test_a_unit_whose_reference_failed_fails_and_the_sweep_goes_on(own_suite, tmp_path):
    (tmp_path / "refs.py").write_text(REFERENCES)
    (own_suite / "step0" / "model.safetensors").write_bytes(b"broken")
    experiments = {"growth": {"use": f"{tmp_path / 'refs.py'}:growth"}, "loss": SMALL["loss"]}
    result = pt.sweep(request(own_suite, tmp_path / "run", steps="1,4", experiments=experiments))
    failed = {unit.step: error for unit, error in result.failed}
    assert "truncated" in failed[0]
    assert failed[1] == "own/growth/step1 compares with step 0, whose unit failed"
    assert {unit.name for unit in result.done} == {"own/loss/step1", "own/loss/step4"}


def test_a_table_of_an_earlier_version_is_not_left_beside_newer_rows(suite, tmp_path):
    source = '''
from pythia_traj.experiment import experiment
from pythia_traj.schema import Column
from pythia_traj.values import Key, Rows

@experiment(
    version={version}, tables={{"norms": (Column("of_layer", "int16", False, "a layer"),)}}
)
def norms(model) -> Rows:
    """Norms of W_in."""
    rows = Rows()
    rows.add(Key("norm"), 1.0)
    {table}
    return rows
'''
    run = tmp_path / "run"
    for version, table in ((1, 'rows.table("norms", {"of_layer": [0, 1]})'), (2, "")):
        file = tmp_path / f"norms{version}.py"
        file.write_text(source.format(version=version, table=table))
        pt.sweep(request(suite, run, experiments={"norms": {"use": str(file)}}))
        assert bool(list((run / "tables" / "norms").rglob("*.parquet"))) == (version == 1)


def test_an_experiment_that_raises_fails_alone_and_leaves_its_traceback(suite, tmp_path):
    file = tmp_path / "broken.py"
    file.write_text(
        "from pythia_traj.experiment import experiment\n"
        "@experiment(version=1)\n"
        "def broken(model):\n"
        '    """Fails."""\n'
        "    return [1, 2][5]\n"
    )
    result = pt.sweep(
        request(
            suite,
            tmp_path / "run",
            steps="0",
            experiments={"broken": {"use": str(file)}, "loss": SMALL["loss"]},
        )
    )
    assert [(unit.label, error) for unit, error in result.failed] == [
        ("broken", "IndexError: list index out of range")
    ]
    assert [unit.label for unit in result.done] == ["loss"]
    (failure,) = [
        event for event in read_events(Run(tmp_path / "run")) if event["event"] == "failed"
    ]
    assert "return [1, 2][5]" in failure["traceback"]


def test_data_that_cannot_be_made_ends_the_sweep_before_any_step(suite, tmp_path):
    with pytest.raises(
        DataError, match=r"induction: .* two halves of 90 tokens needs a context of 180 tokens"
    ):
        pt.sweep(request(suite, tmp_path / "run", experiments={"induction": {"length": 90}}))
    assert rows_of(tmp_path / "run").empty


def test_a_device_that_is_not_there_is_refused_before_anything_is_written(suite, tmp_path):
    with pytest.raises(DeviceError, match="this machine has no device 'cuda:77': use auto, cpu"):
        pt.sweep(request(suite, tmp_path / "run", device="cuda:77"))
    with pytest.raises(ConfigError, match="unknown device 'gpu': use auto, cpu, cuda or cuda:1"):
        pt.sweep(request(suite, tmp_path / "run", device="gpu"))
    assert not (tmp_path / "run").exists()


REFERENCES = '''
from pythia_traj.experiment import experiment
from pythia_traj.processing import RAW
from pythia_traj.values import Key, Rows

@experiment(version=1, processing=RAW, references=("init", "final"))
def distance(model, reference_models) -> Rows:
    """Distance of W_E from its reference."""
    rows = Rows()
    own = model.W_E.detach().clone()
    for name in reference_models.steps:
        distance = (own - reference_models[name].W_E.detach()).norm()
        rows.add(Key("distance", reference=name), float(distance))
    rows.add(Key("norm"), float(model.W_E.detach().norm()))
    return rows

@experiment(version=1, processing=RAW, row_references=("previous",))
def growth(model, reference_rows) -> Rows:
    """Norm of W_E, and its change since the previous published step."""
    rows = Rows()
    norm = float(model.W_E.detach().norm())
    rows.add(Key("norm"), norm)
    if "previous" in reference_rows:
        before = reference_rows["previous"]
        rows.add(Key("change"), norm - float(before[before.metric == "norm"].value.iloc[0]))
    return rows
'''


def test_references_serve_other_steps_weights_beside_the_models_own(suite, tmp_path):
    (tmp_path / "refs.py").write_text(REFERENCES)
    pt.sweep(
        request(
            suite,
            tmp_path / "run",
            steps="1,4",
            experiments={"distance": {"use": f"{tmp_path / 'refs.py'}:distance"}},
        )
    )
    weights = {
        ckpt.step: ckpt.model.W_E.detach().clone()
        for ckpt in pt.checkpoints(suite, device="cpu", **dict.fromkeys(OPTIONS, False))
    }
    rows = rows_of(tmp_path / "run")
    found = rows[rows.metric == "distance"].set_index(["step", "reference"]).value
    for step in (1, 4):
        assert found[step, "init"] == pytest.approx((weights[step] - weights[0]).norm().item())
        assert found[step, "final"] == pytest.approx((weights[step] - weights[4]).norm().item())
        assert rows[(rows.metric == "norm") & (rows.step == step)].value.item() == pytest.approx(
            weights[step].norm().item()
        )


OPTIONS = ("fold_ln", "center_writing_weights", "center_unembed", "fold_value_biases")


def test_a_row_never_depends_on_which_other_steps_were_asked_for(suite, tmp_path):
    (tmp_path / "refs.py").write_text(REFERENCES)
    growth = {"growth": {"use": f"{tmp_path / 'refs.py'}:growth"}}
    pt.sweep(request(suite, tmp_path / "all", experiments=growth))
    pt.sweep(request(suite, tmp_path / "one", steps="4", experiments=growth))
    full, alone = rows_of(tmp_path / "all"), rows_of(tmp_path / "one")
    assert set(alone.step) == {4}
    assert alone.value.tolist() == full[full.step == 4].value.tolist()
    assert list((tmp_path / "one" / "cache").rglob("step-000002.parquet"))
    shutil.rmtree(tmp_path / "one" / "cache")
    assert not pt.sweep(request(suite, tmp_path / "one", steps="4", experiments=growth)).done


KILLED = """
import sys, pythia_traj as pt
config = pt.SweepConfig.from_yaml(sys.argv[1])
pt.sweep(config)
"""


@pytest.mark.slow
def test_killed_five_times_at_random_moments_the_rows_are_those_of_an_undisturbed_run(
    suite, tmp_path
):
    settings = {"model": str(suite), "steps": "all", "device": "cpu", "experiments": SMALL}
    for name in ("calm", "killed"):
        (tmp_path / f"{name}.yaml").write_text(
            json.dumps({**settings, "out": str(tmp_path / name)})
        )
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "calm.yaml")], check=True)
    generator = random.Random(0)
    metrics = tmp_path / "killed" / "metrics"
    for kill in range(5):
        process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "killed.yaml")])
        # Wait until it has written one more unit, then kill at a random moment of the next ones:
        # also in mid-write.
        deadline = time.monotonic() + 60
        while (
            len(list(metrics.rglob("*.parquet"))) < min(kill + 1, 7)
            and process.poll() is None
            and time.monotonic() < deadline
        ):
            time.sleep(0.002)
        time.sleep(generator.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "killed.yaml")], check=True)
    for table in (None, "items"):
        calm, killed = (
            pt.load(tmp_path / name, table=table, controls=True) for name in ("calm", "killed")
        )
        assert len(calm)
        pd.testing.assert_frame_equal(calm, killed, check_exact=True)
    assert not list((tmp_path / "killed" / ".tmp").iterdir())


def test_the_models_of_a_run_are_a_table_that_joins(suite, tmp_path):
    pt.sweep(request(suite, tmp_path / "run", steps="0"))
    models = pt.load(tmp_path / "run", table="models")
    (model,) = models.to_dict("records")
    assert (model["model"], model["n_layers"], model["n_heads"], model["d_vocab"]) == (
        "tiny",
        2,
        4,
        300,
    )
    assert (model["n_parameters"], model["n_steps"], model["tokens_per_step"]) == (36_352, 4, 2048)
    joined = rows_of(tmp_path / "run").merge(models, on="model", suffixes=("", "_of_model"))
    assert len(joined) == len(rows_of(tmp_path / "run"))


def test_two_workers_on_one_run_never_corrupt_it(suite, tmp_path):
    settings = {
        "model": str(suite),
        "steps": "all",
        "device": "cpu",
        "experiments": SMALL,
        "out": str(tmp_path / "run"),
    }
    (tmp_path / "run.yaml").write_text(json.dumps(settings))
    workers = [
        subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "run.yaml")])
        for _ in range(2)
    ]
    assert [worker.wait() for worker in workers] == [0, 0]
    pt.sweep(request(suite, tmp_path / "calm"))
    pd.testing.assert_frame_equal(
        rows_of(tmp_path / "run"), rows_of(tmp_path / "calm"), check_exact=True
    )


def test_status_counts_names(suite, tmp_path):
    pt.sweep(request(suite, tmp_path / "run"))
    found = pt.status(tmp_path / "run")
    assert (found.done, found.running, found.failed, found.left) == (8, 0, 0, 0)
    (tmp_path / "run" / "metrics" / "model=tiny" / "label=loss" / "step-000002.parquet").unlink()
    found = pt.status(tmp_path / "run")
    assert (found.done, found.left) == (7, 1)
    assert found.units["tiny/loss/step2"] == "left"
    with pytest.raises(StoreError, match="is not a run directory"):
        pt.status(tmp_path)


def test_references_are_rows_of_the_same_parameters(suite, tmp_path):
    source = REFERENCES.replace(
        "def growth(model, reference_rows)", "def growth(model, reference_rows, *, scale: int = 1)"
    )
    (tmp_path / "refs.py").write_text(source.replace("norm = float(", "norm = scale * float("))
    use = f"{tmp_path / 'refs.py'}:growth"
    pt.sweep(request(suite, tmp_path / "run", experiments={"growth": {"use": use, "scale": 5}}))
    pt.sweep(
        request(
            suite, tmp_path / "run", steps="4", experiments={"growth": {"use": use, "scale": 1}}
        )
    )
    pt.sweep(
        request(
            suite, tmp_path / "calm", steps="4", experiments={"growth": {"use": use, "scale": 1}}
        )
    )
    changed, calm = (pt.load(tmp_path / name, step=4) for name in ("run", "calm"))
    assert changed.value.tolist() == calm.value.tolist()


@pytest.mark.parametrize(
    "bad",
    [
        "rows.add(Key(5), 1.0)",
        'rows.table("t", {"a": [1], "b": [1, 2]})',
    ],
)
def test_rows_that_no_table_can_hold_fail_their_unit(suite, tmp_path, bad):
    (tmp_path / "odd.py").write_text(
        "from pythia_traj.experiment import experiment\n"
        "from pythia_traj.values import Key, Rows\n"
        "@experiment(version=1)\n"
        "def odd(model):\n"
        '    """Odd."""\n'
        "    rows = Rows()\n"
        f"    {bad}\n"
        "    return rows\n"
    )
    experiments = {"odd": {"use": str(tmp_path / "odd.py")}, "loss": SMALL["loss"]}
    result = pt.sweep(request(suite, tmp_path / "run", steps="0", experiments=experiments))
    assert [unit.label for unit, _ in result.failed] == ["odd"]
    assert "its rows cannot be written" in result.failed[0][1]
    assert [unit.label for unit in result.done] == ["loss"]
    assert not list((tmp_path / "run" / "metrics" / "model=tiny" / "label=odd").glob("*"))


def test_a_moved_corpus_is_the_same_corpus(suite, tmp_path, monkeypatch):
    (tmp_path / "corpus.txt").write_text("def measure(model, step): return model(step)\n" * 400)
    monkeypatch.chdir(tmp_path)
    for corpus, done in (("corpus.txt", 1), ("./corpus.txt", 0), (str(tmp_path / "corpus.txt"), 0)):
        experiments = {"loss": {**SMALL["loss"], "corpus": corpus}}
        assert (
            len(pt.sweep(request(suite, tmp_path / "run", steps="0", experiments=experiments)).done)
            == done
        )
