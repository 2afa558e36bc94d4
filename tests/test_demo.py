"""The demo's promises: a real training run, measured, stored and drawn; a notebook on top of it."""

import os
import shlex
import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from nbclient import NotebookClient

import pythia_traj as pt
from pythia_traj.cli.main import app

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def rows(demo):
    return pt.load(demo / "run", controls=True)


def test_it_ends_naming_the_report_and_the_parquet_directory(demo):
    printed = (demo / "printed.txt").read_text().splitlines()
    assert printed[-2] == "report: run/report.html"
    assert printed[-1] == "198 done, 0 already there, 0 failed; Parquet: run/metrics"
    assert (demo / "run" / "report.html").stat().st_size > 1_000_000


def test_it_measures_at_least_twenty_steps_the_early_ones_log_spaced(rows):
    steps = sorted(rows.step.unique())
    assert len(steps) >= 20
    assert steps[:11] == [0, *(2**i for i in range(10))]


def test_induction_heads_form(rows):
    scores = (
        rows[(rows.metric == "prefix_matching") & (rows.variant == "two_halves")]
        .groupby("step")
        .value.max()
    )
    assert scores.iloc[0] <= 0.1
    assert scores.iloc[-1] >= 0.5


def test_the_second_copy_becomes_predictable(rows):
    chosen = rows[(rows.metric == "nll") & (rows.variant == "two_halves") & rows.control.isna()]
    first, second = (
        chosen[chosen.part == copy].set_index("step").value
        for copy in ("first_copy", "second_copy")
    )
    assert second.iloc[0] >= 0.95 * first.iloc[0]
    assert second.iloc[-1] <= first.iloc[-1] / 3


def test_the_findings_name_the_heads_the_copies_the_removal_and_the_circuit(demo, rows):
    found = pt.findings(demo / "run")
    assert [one.metric for one in found] == ["prefix_matching", "nll", "effect", "circuit_size"]
    heads = rows[(rows.metric == "prefix_matching") & (rows.variant == "two_halves")]
    last = heads[heads.control.isna() & (heads.step == heads.step.max())]
    highest = last.loc[last.value.idxmax()]
    assert f"L{highest['layer']}H{highest['head']}" in found[0].words
    assert not [one for one in found if "nan" in one.words]


def test_the_induction_heads_are_needed_once_they_are_there(rows):
    """The bounds of benchmarks/toy_circuits.py, on its first seed."""
    effect = rows[(rows.metric == "effect") & (rows.part == "top2") & (rows.target == "nll")]
    effect = effect.assign(control=effect.control.astype(object).fillna(""))
    for kind in ("mean", "resample"):
        real, control = (
            effect[(effect.variant == kind) & (effect.control == control)].set_index("step").value
            for control in ("", "matched")
        )
        assert abs(real.iloc[0]) <= 0.02
        assert real.iloc[-1] > max(1, control.iloc[-1])


def test_its_circuit_is_faithful_at_the_end_and_nothing_before_the_onset(rows):
    circuit = rows[(rows.variant == "eap_ig") & rows.control.isna()]
    faithful = (
        circuit[(circuit.metric == "faithfulness_normalised") & (circuit["size"] == 60)]
        .set_index("step")
        .value
    )
    assert faithful.iloc[-1] >= 0.8
    early = circuit[(circuit.reference == "final") & (circuit.step <= 32)]
    assert early[early.metric == "transfer_faithfulness"].value.isna().all()
    with_circuit = early[early.metric == "nll"].set_index("step").value
    corrupted = rows[
        (rows.experiment == "attribution") & (rows.metric == "nll") & (rows.control == "corrupted")
    ]
    corrupted = corrupted.set_index("step").loc[with_circuit.index]
    assert ((with_circuit - corrupted.value).abs() <= 3 * corrupted.stderr).all()


def test_its_induction_heads_have_that_role_and_no_head_has_any_before(rows):
    """The bounds of benchmarks/claims.py."""
    timeline = pt.role_timeline(rows)
    has = timeline[timeline.has_role]
    last = has[(has.role == "induction") & (has.step == timeline.step.max())]
    assert {(1, 1), (1, 2)} <= set(last[["layer", "head"]].itertuples(index=False, name=None))
    assert set(timeline.step) >= {0, 1, 2, 4, 8, 16, 32, 64}
    assert has.step.min() > 64
    decided = rows[rows.metric == "heads_significant"]
    undefined = decided.groupby(["target", "step"], observed=True).value.apply(
        lambda values: values.isna().any()
    )
    assert len(undefined) == 5 * rows.step.nunique()
    assert undefined.mean() <= 0.1


def test_the_control_shows_no_induction(rows):
    control = rows[
        (rows.metric == "nll")
        & (rows.variant == "two_halves")
        & (rows.control == "shuffled")
        & (rows.part == "second_copy")
    ]
    assert control.set_index("step").value.iloc[-1] > 4


def test_loss_on_unseen_text_falls_and_order_is_why(rows):
    loss = rows[(rows.metric == "nll") & (rows.experiment == "loss") & rows.position.isna()]
    text = loss[loss.control.isna() & loss.part.isna()].set_index("step").value
    shuffled = loss[loss.control == "shuffled"].set_index("step").value
    assert text.iloc[0] > 5.5
    assert text.iloc[-1] < 3.5 < shuffled.iloc[-1]


def test_the_in_context_learning_score_is_null_and_says_why(rows):
    scores = rows[rows.metric.isin(["icl_score", "icl_window"])]
    assert len(scores)
    assert scores.value.isna().all()
    assert set(scores.reason) == {
        "context too short: 64 tokens, 501 are needed",
        "context too short: 64 tokens, 550 are needed",
    }


SAID = {
    "trajectory.ipynb": "largest difference from the stored values",
    "hooks.ipynb": "done, 0 already there",
    "ablation_and_onset.ipynb": "- ",
    "comparing.ipynb": "done, 0 already there",
}
"""Something that each notebook prints."""


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", SAID)
def test_a_notebook_runs_on_it(demo, tmp_path, monkeypatch, name):
    monkeypatch.setenv("PYTHIA_TRAJ_RUN", str(demo / "run"))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.setenv("PYTHONWARNINGS", os.environ.get("PYTHONWARNINGS", "ignore"))
    notebook = nbformat.read(ROOT / "notebooks" / name, as_version=4)
    NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    printed = "".join(
        output.get("text", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if "text" in output
    )
    assert SAID[name] in printed


LEFT_OUT = {"toy", "demo", "dashboard", "publish"}
"""Commands of the README that train, wait until they are ended, or ask the Hub."""


def test_the_readmes_commands_run(demo, tmp_path, monkeypatch, capsys):
    """Every line of the README's block of commands that does not train, wait or ask the Hub."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "toy").symlink_to(demo / "toy")
    shutil.copytree(ROOT / "tests" / "store" / "schema1" / "run", tmp_path / "runs" / "old")
    monkeypatch.chdir(tmp_path)
    readme = (ROOT / "README.md").read_text()
    section = (
        readme.partition("## At the command line")[2].partition("```sh\n")[2].partition("```")[0]
    )
    lines = section.replace("\\\n", " ").splitlines()
    commands = [shlex.split(line, comments=True) for line in lines if line.strip()]
    ran = set()
    for program, name, *arguments in commands:
        assert program == "pythia-traj"
        if name not in LEFT_OUT and not {"pythia-70m", "--follow"} & set(arguments):
            answers = ["--yes"] if name == "remove" else []
            assert app([name, *arguments, *answers], standalone_mode=False) in (None, 0)
            ran.add(name)
    assert ran == {
        *("models", "cache", "steps", "experiments", "sweep", "status", "describe", "report"),
        *("convert", "doctor", "schema", "submit", "worker", "onset", "compare", "plot"),
        *("export", "merge", "compact", "remove"),
    }
    assert (tmp_path / "first.html").exists()
    assert len(pd.read_csv("first.csv")) == len(pt.load("runs/first"))
    assert set(pt.load("runs/first").label.unique()) == {"induction", "loss"}
    assert set(pt.load("runs/both").label.unique()) == {"induction"}
    config = readme.partition("```yaml\n")[2].partition("```")[0]
    (tmp_path / "induction.yaml").write_text(config)
    app(["sweep", "induction.yaml", "--out", "runs/induction"], standalone_mode=False)
    assert set(pt.load("runs/induction").label.unique()) == {"induction", "short"}
    assert "0 failed" in capsys.readouterr().out
