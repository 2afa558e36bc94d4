"""What a notebook shows: plans, results and runs as HTML, and a bar while it works."""

import os
import re
import sys
from html.parser import HTMLParser

import nbformat
import pytest
from nbclient import NotebookClient

import pythia_traj as pt
from pythia_traj import notebook
from pythia_traj.store.layout import Run
from pythia_traj.sweeps.following import Followed
from pythia_traj.sweeps.progress import NotebookBar, watched_by
from pythia_traj.sweeps.record import Silent, SweepResult
from tests.support import publish_suite

HOSTILE = "<script>alert(1)</script>"
MARKUP = {"b", "div", "p", "progress", "table", "tbody", "td", "th", "thead", "tr"}


class Tags(HTMLParser):
    """Checks that the markup is ours and closed, and collects the text of cells."""

    def __init__(self, html):
        super().__init__()
        self.open, self.cells = [], []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert tag in MARKUP
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("td", "th"):
            self.cells.append(data)


def cells(shown):
    return Tags(shown._repr_html_()).cells


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A request whose directories and experiment have names like markup."""
    root = tmp_path_factory.mktemp("hostile")
    folder = root / "<b onclick=x>"
    suite = publish_suite(folder / "toy", (0, 1))
    (folder / "bad.py").write_text(
        "from pythia_traj.experiment import experiment\n"
        "from pythia_traj.processing import RAW\n"
        "@experiment(version=1, processing=RAW)\n"
        f"def bad(model):\n    'Fails.'\n    raise ValueError({HOSTILE!r})\n"
    )
    experiments = {
        "induction": {"length": 10, "n": 4},
        "bad": {"use": str(folder / "bad.py")},
    }
    return pt.SweepConfig(
        model=str(suite), steps="all", experiments=experiments, out=folder / "run", device="cpu"
    )


@pytest.fixture(scope="module")
def result(hostile):
    assert "4 units to do, 0 done" in pt.plan(hostile)._repr_html_()
    return pt.sweep(hostile)


def test_a_plan_shows_what_there_is_to_do(result, hostile):
    plan = pt.plan(hostile)
    rows = "model label to do again done toy bad 2 0 0 toy induction 0 0 2"
    assert " ".join(cells(plan)) == rows
    changed = pt.SweepConfig(
        model=hostile.model,
        steps="all",
        experiments={"induction": {"length": 12, "n": 4}},
        out=hostile.out,
    )
    assert "length" in cells(pt.plan(changed))[-1]


def test_a_result_shows_counts_and_why_units_failed_as_text(result):
    shown = result._repr_html_()
    assert "2 done, 0 already there, 2 failed" in shown
    assert "&lt;b onclick=x&gt;" in shown
    found = cells(result)
    assert "toy/bad/step0" in found
    assert f"ValueError: {HOSTILE}" in found
    assert HOSTILE not in shown


def test_a_run_shows_its_state(result, hostile):
    found = cells(pt.status(hostile.out))
    rows = "model label done running failed left toy bad 0 0 2 0 toy induction 2 0 0 0"
    assert " ".join(found).startswith(rows)
    assert f"ValueError: {HOSTILE}" in found
    assert "Workers:" in pt.status(hostile.out)._repr_html_()
    Run(hostile.out).unit_path("toy", "induction", 0).write_text("damaged")
    assert "damaged files" in pt.status(hostile.out, check=True)._repr_html_()


def test_what_was_followed_shows_its_end_and_what_was_removed(tmp_path):
    followed = Followed(SweepResult(tmp_path), {3: f"step 3 {HOSTILE}"}, f"the end {HOSTILE}")
    assert cells(followed)[-2:] == ["3", f"step 3 {HOSTILE}"]
    assert f"the end {notebook.text(HOSTILE)}" in followed._repr_html_()


def test_what_was_refined_shows_the_onset_of_each_model(tmp_path):
    from pythia_traj.analysis.adaptive.rule import Choice
    from pythia_traj.sweeps.goal import Goal
    from pythia_traj.sweeps.refining import Refined
    from pythia_traj.sweeps.search import Found

    goal = Goal.of(
        pt.SweepConfig(model="m", steps="all", experiments="induction", out="o"),
        "induction.nll",
        (),
        None,
    )
    found = Found(HOSTILE, goal, None, None, 0, (0, 1), 154, Choice((), "budget"), (), tmp_path)
    row = cells(Refined(SweepResult(tmp_path), (found,)))[6:12]
    assert row == [HOSTILE, "induction.nll", "too few steps", "2 of 154"]


def test_a_long_table_is_cut_and_says_so():
    shown = notebook.table(("n",), [(i,) for i in range(100)])
    assert shown.count("<tr>") == 21
    assert "and 80 more" in shown
    assert notebook.table(("n",), []) == ""


def test_control_characters_and_credentials_are_not_shown():
    assert notebook.text("a\x1b[31m\u202eb\nc") == "a\\x1b[31m\\u202eb c"
    assert "secret" not in notebook.text("https://me:secret@hub.example")
    assert notebook.text("\"'&") == "&quot;&#x27;&amp;"


class Place:
    """A place that keeps what was shown there."""

    def __init__(self):
        self.shown = []

    def show(self, content):
        Tags(content)
        self.shown.append(content)


def test_a_bar_says_what_is_done_and_how_it_ended(hostile):
    place = Place()
    drawn = NotebookBar(place)
    plan = pt.plan(hostile.model_copy(update={"out": hostile.out.parent / "other"}))
    drawn.planned(plan)
    drawn.working(HOSTILE)
    for i, unit in enumerate(plan.todo):
        drawn.ended(unit, "why" if i == 0 else None)
    drawn.end()
    assert len(place.shown) == 2, "it draws a few times a second"
    assert place.shown[0].startswith('<div><progress value="0" max="4">')
    assert re.search(r'value="4" max="4".* 4 of 4: [0-9.]+ s, 1 not measured', place.shown[-1])


def test_outside_a_notebook_nothing_is_shown(capsys):
    with watched_by(None) as observer:
        assert isinstance(observer, Silent)
    given = Silent()
    with watched_by(given) as observer:
        assert observer is given
    assert capsys.readouterr() == ("", "")


def test_a_terminals_ipython_is_not_a_notebook(monkeypatch):
    pytest.importorskip("IPython")
    import IPython
    import IPython.display

    class Terminal:
        """A shell without a kernel."""

    monkeypatch.setattr(IPython, "get_ipython", Terminal)
    assert "IPython.display" in sys.modules
    assert notebook.spot() is None
    monkeypatch.setattr(Terminal, "kernel", object(), raising=False)
    assert notebook.spot() is not None


@pytest.mark.slow
def test_a_notebook_draws_a_bar_in_one_place_and_shows_the_result(suite, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONWARNINGS", os.environ.get("PYTHONWARNINGS", "ignore"))
    book = nbformat.v4.new_notebook()
    source = f"""
import pythia_traj as pt
config = pt.SweepConfig(
    model={str(suite)!r}, steps="all", out="run", device="cpu",
    experiments={{"induction": {{"length": 10, "n": 4}}}},
)
"""
    book.cells = [
        nbformat.v4.new_code_cell(text)
        for text in (source, "pt.plan(config)", "pt.sweep(config)", "pt.status('run')")
    ]
    NotebookClient(
        book, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    ).execute()
    _, plan, sweep, status = (
        [output.data["text/html"] for output in cell.outputs if "data" in output]
        for cell in book.cells
    )
    assert "4 units to do" in "".join(plan)
    drawn, result = sweep
    assert re.search(r'<progress value="4" max="4">.* 4 of 4: [0-9.]+ s', drawn)
    assert "4 done, 0 already there, 0 failed" in result
    assert "4 done, 0 running" in "".join(status)
    printed = [o for cell in book.cells for o in cell.outputs if o.output_type == "stream"]
    assert printed == []
