"""What can be added by one file, is: each kind of change is made here from one file, and runs."""

from pathlib import Path

import pytest
from pythia_traj.experiments.ablation import kinds_of_ablation

import pythia_traj as pt
from pythia_traj import figures
from pythia_traj.data import tasks as folder_of_tasks
from pythia_traj.data.prompts import tasks
from pythia_traj.engines import ablations
from pythia_traj.errors import ConfigError, DataError
from pythia_traj.figures.charts import charts
from tests.adding import added_files

ROOT = Path(__file__).parents[1]

NOT_YET = {
    "a suite with other branch names": "branches of the Hub are read as step<N> in hub/model, and"
    " the catalogue is one file for all suites",
    "a weight format": "which files are weights stands in suites/files, how they are read in"
    " models/tensors: two rooms, of which the lower one knows no torch",
    "a processing option": "the options are the four of HookedTransformer, which fills parameters"
    " by them: a fifth is a change of models/fold and of the field in processing",
    "an executor": "there are no executors: a sweep runs in the process that was started",
    "a view of the dashboard": "the report is one page; there is no live dashboard",
}
"""Changes that take more than one file, and why. One that has become possible leaves this list."""

ELSEWHERE = {"an architecture": "tests/architectures/test_second.py"}
"""Changes that are made in a test file of their own."""


def sweep(suite, out, **experiments):
    result = pt.sweep(
        pt.SweepConfig(
            model=str(suite), steps="0,1", device="cpu", experiments=experiments, out=out
        )
    )
    assert not result.failed
    return out


def test_a_metric_in_an_experiment(suite, tmp_path):
    source = (ROOT / "experiments" / "induction.py").read_text()
    line = '    for layer, pattern in enumerate(acts.layers("pattern")):\n        measured = {\n'
    own = line + '            ("last_token", "two_halves"): pattern[..., -1].mean(-1),\n'
    assert source.count(line) == 1
    (tmp_path / "mine.py").write_text(source.replace(line, own))
    use = {"use": str(tmp_path / "mine.py"), "n": 3, "length": 9}
    run = sweep(suite, tmp_path / "run", mine=use, induction={"n": 3, "length": 9})
    rows = pt.load(run, metric="last_token")
    assert set(rows.label) == {"mine"}
    assert rows.value.between(0, 1).all()
    both = pt.load(run, metric="prefix_matching", controls=True)
    one, other = (
        both[both.label == label].drop(columns="label").reset_index(drop=True)
        for label in ("mine", "induction")
    )
    assert one.equals(other)


FIGURE = '''
import plotly.graph_objects as go
from pythia_traj.analysis.text import loss_on_text
from pythia_traj.figures.charts import Chart
from pythia_traj.figures.drawable import drawable
from pythia_traj.figures.lines import over_steps
from pythia_traj.figures.style import Quantity

def squared(rows) -> go.Figure:
    """The square of the loss."""
    chosen = drawable(loss_on_text(rows), "loss")
    squares = chosen.assign(value=chosen.value**2)
    return over_steps(squares, Quantity("loss squared", "nats squared"))

CHARTS = Chart("loss", 15, "The loss squared", "A figure of one's own.", squared)
'''


def test_a_figure(suite, tmp_path, monkeypatch):
    run = sweep(suite, tmp_path / "run", loss={"n": 2, "length": 16, "null_n": 1})
    with added_files(figures, tmp_path / "more", charts, monkeypatch) as write:
        write("mine", FIGURE)
        headings = [chart.heading for chart in charts()["loss"]]
        assert headings[:3] == ["Loss on text", "The loss squared", "Accuracy on text"]
        pt.report(run, tmp_path / "with.html")
    pt.report(run, tmp_path / "without.html")
    assert "The loss squared" in (tmp_path / "with.html").read_text()
    assert "The loss squared" not in (tmp_path / "without.html").read_text()


TASK = '''
"""Tokens in pairs: after the first of a pair comes the second."""

from pythia_traj.data.tasks.prompt import Prompt
from pythia_traj.data.tasks.task import Task, in_words

def prompts(rng):
    """Endless items."""
    while True:
        a, b, c = (int(number) for number in rng.choice(200, 3, replace=False))
        yield Prompt((a, b, a), (c, b, c), ((b,),), ((c,),))

TASK = Task("pairs", in_words(prompts), metric="prob_diff")
'''


def test_a_task(suite, tmp_path, monkeypatch):
    with added_files(folder_of_tasks, tmp_path / "more", tasks, monkeypatch) as write:
        write("pairs", TASK)
        on_pairs = {"use": "behaviour", "task": "pairs", "n": 6}
        run = sweep(suite, tmp_path / "run", pairs=on_pairs)
        rows = pt.load(run, label="pairs", metric="prob_diff")
        assert rows.n.tolist() == [6, 6]
    with pytest.raises(DataError, match="pairs"):
        sweep(suite, tmp_path / "another", pairs=on_pairs)


KIND = '''
"""Outputs of the other sign."""

from pythia_traj.engines.ablation import Replacement
from pythia_traj.engines.ablations.kind import AblationKind

def _of_other_sign(sources):
    clean = sources.clean
    return Replacement([-one for one in clean.z], [-one for one in clean.mlp_out])

def _mean_after_the_other(sources):
    sources.means(by_position=True)
    return sources.means(by_position=False).replacement(sources.clean)

KIND = (
    AblationKind("negated", _of_other_sign),
    AblationKind("mean_again", _mean_after_the_other, passes=3),
)
'''


def test_an_ablation_kind(suite, tmp_path, monkeypatch):
    with added_files(ablations, tmp_path / "more", kinds_of_ablation, monkeypatch) as write:
        write("negated", KIND)
        settings = {"task": "repeats", "n": 2, "kinds": "negated,zero,mean,mean_again", "top": 0}
        run = sweep(suite, tmp_path / "run", ablation=settings)
        effects = pt.load(run, metric="effect", step=1).set_index("variant").value
        assert effects["negated"].notna().all()
        assert (effects["negated"].to_numpy() != effects["zero"].to_numpy()).any()
        # The means of one kind stay apart from those of the other.
        assert (effects["mean_again"].to_numpy() == effects["mean"].to_numpy()).all()
    with pytest.raises(ConfigError, match="unknown kind 'negated'"):
        sweep(suite, tmp_path / "another", ablation=settings)


def test_each_kind_of_change_is_made_or_listed_with_a_reason():
    made = {
        "a metric in an experiment": test_a_metric_in_an_experiment,
        "a figure": test_a_figure,
        "an ablation kind": test_an_ablation_kind,
        "a task": test_a_task,
    }
    asked = {
        "a metric in an experiment",
        "a figure",
        "a task",
        "a suite with other branch names",
        "an ablation kind",
        "a weight format",
        "an executor",
        "a view of the dashboard",
        "a processing option",
        "an architecture",
    }
    assert made.keys() | NOT_YET.keys() | ELSEWHERE.keys() == asked
    assert all((ROOT / path).is_file() for path in ELSEWHERE.values())
