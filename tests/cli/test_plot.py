"""`plot`: which rows are drawn, into which file, and what is refused in one sentence."""

import inspect
import re
import shutil

import pandas as pd
import pytest

import pythia_traj as pt
from pythia_traj.cli.plot import plot as command
from pythia_traj.errors import FigureError, PythiaTrajError
from pythia_traj.figures import data_of
from pythia_traj.reports import plot as module
from pythia_traj.suites.schedules import Schedule
from tests.chromium import in_chromium

MINE = '''
from pythia_traj.experiment import experiment
from pythia_traj.processing import RAW
from pythia_traj.values import Key, Rows

@experiment(version=1, processing=RAW)
def norms(model, *, scale: int = 1) -> Rows:
    """Norms of W_in."""
    rows = Rows()
    norm = scale * float(model.W_in.detach().norm())
    for variant in ("frobenius", "spectral"):
        rows.add(Key("norm", variant), norm)
        rows.add(Key("norm", variant, control="shuffled"), norm / 2)
        rows.add(Key("norm", variant, control="init"), norm / 3)
        rows.add(Key("norm", variant, part="first_copy"), norm / 4)
    for layer in range(2):
        for head in range(4):
            for variant in ("frobenius", "spectral"):
                rows.add(Key("by_head", variant, "head", layer=layer, head=head), norm + head)
    for layer in range(2):
        for head in range(4):
            of_head = {"component": "head", "layer": layer, "head": head}
            for part in (None, "fold_1"):
                rows.add(Key("by_part", part=part, **of_head), norm + head)
            rows.add(Key("by_part", control="shuffled", **of_head), -norm)
    rows.undefined(Key("nothing"), "context too short")
    return rows
'''


@pytest.fixture(scope="module")
def run(suite, tmp_path_factory):
    root = tmp_path_factory.mktemp("plot")
    (root / "mine.py").write_text(MINE)
    experiments = {
        "norms": {"use": f"{root / 'mine.py'}:norms"},
        "double": {"use": f"{root / 'mine.py'}:norms", "scale": 2},
    }
    models = [str(suite), f"other={suite}"]
    request = {"model": models, "steps": "0,1,2", "device": "cpu", "experiments": experiments}
    assert not pt.sweep(pt.SweepConfig(**request, out=root / "run")).failed
    return root / "run"


@pytest.fixture
def drawn(monkeypatch):
    """The rows of which figures were drawn."""
    seen, draw = [], module.metric_figure

    def spy(rows):
        seen.append(rows)
        return draw(rows)

    monkeypatch.setattr(module, "metric_figure", spy)
    return seen


@pytest.fixture
def drawn_figures(monkeypatch):
    """The figures that were written."""
    seen, write = [], module.write_figure

    def spy(figure, *where, **how):
        seen.append(figure)
        write(figure, *where, **how)

    monkeypatch.setattr(module, "write_figure", spy)
    return seen


def words(rows, column):
    return {None if word != word else word for word in rows[column].astype(object).unique()}


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("norm", {"norms", "double"}),
        ("norms.norm", {"norms", "double"}),
        ("double.norm", {"double"}),
    ],
)
def test_a_metric_is_named_alone_with_its_label_or_its_experiment(
    cli, run, drawn, tmp_path, name, labels
):
    path = tmp_path / "norm.html"
    assert cli("plot", run, name, "-o", path) == (0, f"figure: {path}\n", "")
    (rows,) = drawn
    assert words(rows, "label") == labels
    assert words(rows, "metric") == {"norm"}
    assert words(rows, "control") == {None, "shuffled", "init"}
    assert path.read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("options", "column", "expected"),
    [
        (["--model", "other"], "model", {"other"}),
        (["--model", "other", "--model", "tiny"], "model", {"other", "tiny"}),
        (["--variant", "spectral"], "variant", {"spectral"}),
        (["--control", "init"], "control", {None, "init"}),
        (["--control", "none"], "control", {None}),
        (["--where", "part=first_copy"], "part", {"first_copy"}),
        (["--where", "part=null,layer=null"], "part", {None}),
        (["--where", "part=None"], "part", {None}),
        (["--where", "part=none"], "part", {None}),
        (["--where", "control=init"], "control", {"init"}),
    ],
)
def test_options_choose_rows(cli, run, drawn, tmp_path, options, column, expected):
    code, _, err = cli("plot", run, "norm", "-o", tmp_path / "norm.html", *options)
    assert (code, err) == (0, "")
    assert words(drawn[0], column) == expected


@pytest.mark.parametrize(
    ("metric", "options", "said"),
    [
        ("nrm", [], r"has no metric 'nrm': did you mean norm\?"),
        ("norms", [], "'norms' is a label or an experiment: give a metric, norms.norm"),
        ("dubble.norm", [], r"has no 'dubble.norm': did you mean double.norm\?"),
        ("norm", ["--model", "tinny"], r"have no model 'tinny': did you mean tiny\?"),
        ("norm", ["--variant", "spectrl"], r"have no variant 'spectrl': did you mean spectral\?"),
        ("norm", ["--control", "shufled"], r"have no control 'shufled': did you mean shuffled\?"),
        ("nothing", [], r"nothing: no value, context too short \(12 rows\)"),
        ("norm", ["--where", "prt=x"], r"--where 'prt': unknown column: did you mean part\?"),
        ("norm", ["--where", "layer=x"], "--where layer=x: layer is a whole number"),
        ("norm", ["--where", "layer"], "--where 'layer': write NAME=VALUE"),
        (
            "norm",
            ["--where", "part=first_cop"],
            r"have no part 'first_cop': did you mean first_copy\?",
        ),
        ("norm", ["--where", "layer=7"], "no row has all of this: layer=7, metric='norm'"),
        (
            "norms.by_head",
            ["--model", "tiny"],
            r"a figure draws one label, these rows hold double, norms: choose by LABEL.METRIC$",
        ),
        (
            "double.by_head",
            ["--model", "tiny"],
            r"draws one variant, these rows hold frobenius, spectral: choose by --variant frob",
        ),
        (
            "double.by_head",
            ["--variant", "spectral"],
            r"draws one model, these rows hold other, tiny: choose by --model other$",
        ),
        (
            "double.by_part",
            ["--model", "tiny"],
            r"draws one part, these rows hold fold_1, none: choose by --where part=none$",
        ),
        (
            "norm",
            ["--variant", "spectral", "--where", "variant=frobenius"],
            "--where variant=frobenius and --variant are both given: give one",
        ),
        (
            "norm",
            ["--control", "init", "--where", "control=none"],
            "--where control=none and --control are both given: give one",
        ),
        ("norm", ["--width", "poster"], "width 'poster': give one of page, column"),
    ],
)
def test_what_cannot_be_drawn_is_one_sentence(cli, run, tmp_path, metric, options, said):
    code, out, err = cli("plot", run, metric, "-o", tmp_path / "out.html", *options)
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert re.search(said, err), err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["norm", "norm.gif", "norm.pdf.bak"])
def test_another_suffix_is_refused_before_anything_is_read(cli, tmp_path, name):
    code, _, err = cli("plot", tmp_path / "no-run", "norm", "-o", tmp_path / name)
    assert code == 1
    assert "figures are written as .html, .svg, .pdf or .png" in err


def test_what_is_not_a_run_is_refused(cli, tmp_path):
    code, _, err = cli("plot", tmp_path, "norm", "-o", tmp_path / "norm.html")
    assert (code, "is not a run directory" in err) == (1, True)


def test_without_chrome_a_sentence_says_what_to_install(cli, run, tmp_path, monkeypatch):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "nowhere"))
    code, out, err = cli("plot", run, "norm", "-o", tmp_path / "norm.pdf")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "no Chrome was found" in err
    assert "pip install 'pythia-traj[figures]'" in err
    assert not list(tmp_path.iterdir())


@in_chromium
def test_a_pdf_is_written_by_the_command(cli, run, tmp_path):
    path = tmp_path / "deep" / "norm.pdf"
    code, out, err = cli("plot", run, "norm", "-o", path, "--width", "column")
    assert (code, out, err) == (0, f"figure: {path}\n", "")
    assert path.read_bytes().startswith(b"%PDF")
    assert list(path.parent.iterdir()) == [path]


def test_what_was_left_out_is_a_warning(cli, run, tmp_path):
    damaged = shutil.copytree(run, tmp_path / "run")
    (damaged / "metrics/model=tiny/label=norms/step-000001.parquet").write_bytes(b"")
    code, _, err = cli("plot", damaged, "norm", "-o", tmp_path / "norm.html")
    assert code == 0
    assert err.startswith("warning: left out 1 damaged file")


def test_the_training_of_a_suite_that_does_not_say_is_not_drawn(cli, run, tmp_path):
    code, _, err = cli("plot", run, "norm", "-o", tmp_path / "norm.html", "--training")
    told = "the training of other, tiny is not drawn: its learning rate is not known"
    assert (code, err) == (0, f"warning: {told}\n")
    assert "end of warm-up" not in (tmp_path / "norm.html").read_text()


OF_HEADS = ("double.by_part", "--model", "tiny", "--where")


def test_a_control_that_was_asked_for_and_is_not_in_a_map_is_a_warning(cli, run, tmp_path):
    path = tmp_path / "map.html"
    given = (*OF_HEADS, "part=none", "-o", path)
    code, _, err = cli("plot", run, *given, "--control", "shuffled", "--control", "none")
    told = "the figure shows the measurement without the control shuffled"
    assert (code, err) == (
        0,
        f"warning: {told}: --where control=shuffled draws the control alone\n",
    )
    assert cli("plot", run, *given)[2] == "", "it was not asked for"
    code, _, err = cli("plot", run, "double.norm", "-o", path, "--control", "shuffled")
    assert (code, err) == (0, "")


def test_a_control_alone_is_drawn(cli, run, tmp_path, drawn_figures):
    given = (*OF_HEADS, "control=shuffled", "-o", tmp_path / "map.html")
    assert cli("plot", run, *given)[0::2] == (0, "")
    shown = data_of(drawn_figures[0])
    assert {*shown["control"]} == {"shuffled"}
    assert (shown["value"] < 0).all()


def test_training_that_a_map_does_not_show_is_a_warning(cli, run, tmp_path, monkeypatch):
    known = dict.fromkeys(("tiny", "other"), Schedule((0, 2), (0.0, 1e-3), 1))
    monkeypatch.setattr(module, "schedules_of", lambda models: known)
    path = tmp_path / "norm.html"
    code, _, err = cli("plot", run, *OF_HEADS, "part=none", "-o", path, "--training")
    assert (code, err.count("\n")) == (0, 1)
    assert "warning: the training is not drawn: it stands beside lines over steps" in err
    assert cli("plot", run, "double.norm", "-o", path, "--training")[0::2] == (0, "")
    assert "learning rate" in path.read_text()


def test_the_library_has_the_options_of_the_command(run, tmp_path):
    of_command = set(inspect.signature(command).parameters) - {"output"} | {"path"}
    assert of_command == set(inspect.signature(pt.plot).parameters)
    figure = pt.plot(run, "double.norm", tmp_path / "norm.html", variant=["spectral"])
    assert {*data_of(figure)["variant"]} == {"spectral"}
    assert (tmp_path / "norm.html").exists()


def test_rows_of_load_are_drawn_in_one_line_as_those_of_the_run(run):
    rows = pt.load(run, controls=True)
    for choice in (
        {"metric": "double.norm", "variant": ["spectral"]},
        {"metric": "double.by_part", "model": ["other"], "where": {"part": "fold_1"}},
        {"metric": "double.norm", "where": ["part=none,variant=frobenius"], "model": ["other"]},
    ):
        of_rows, of_run = pt.plot(rows, **choice), pt.plot(run, **choice)
        pd.testing.assert_frame_equal(
            data_of(of_rows), data_of(of_run), check_dtype=False, check_categorical=False
        )
    alone = pt.load(run, metric="norm", label="double", variant="spectral")
    assert len(data_of(pt.plot(alone)))


def test_what_is_not_drawn_of_rows_is_a_warning(run):
    rows = pt.load(run, controls=True, metric="norm")
    with pytest.warns(UserWarning, match="the training of other, tiny is not drawn"):
        pt.plot(rows, "double.norm", variant=["spectral"], training=True)


REFUSED_ROWS = {
    "unknown metric": ({"metric": "nrom"}, "this DataFrame has no metric 'nrom': did you mean"),
    "a label": ({"metric": "double"}, "'double' is a label or an experiment: give a metric"),
    "no such row": (
        {"metric": "norm", "where": {"part": "fold_9"}},
        "no row of this DataFrame has all of this: part='fold_9'",
    ),
    "several metrics": ({}, r"draws one metric, these rows hold .*: choose by metric='[a-z_]+'$"),
    "several labels": (
        {"metric": "norms.by_head", "model": ["tiny"]},
        r"draws one label, .*: choose by metric='LABEL.METRIC'$",
    ),
    "several variants": (
        {"metric": "double.by_head", "model": ["tiny"]},
        r"draws one variant, .*: choose by variant=\['frobenius'\]$",
    ),
    "several parts": (
        {"metric": "double.by_part", "model": ["tiny"]},
        r"draws one part, .*: choose by where=\{'part': None\}$",
    ),
}


@pytest.mark.parametrize("case", REFUSED_ROWS)
def test_rows_that_cannot_be_drawn_are_refused(run, case):
    choice, said = REFUSED_ROWS[case]
    with pytest.raises(PythiaTrajError, match=said):
        pt.plot(pt.load(run, controls=True), **choice)


def test_another_frame_than_of_load_and_a_run_without_a_metric_are_refused(run):
    with pytest.raises(FigureError, match=r"have no column model, label.*: give rows of pythia_tr"):
        pt.plot(pd.DataFrame({"step": [1], "value": [2.0]}))
    with pytest.raises(FigureError, match="give a metric; pythia_traj.describe"):
        pt.plot(run)


def test_every_figure_is_one_line_on_a_frame():
    """All but what draws rows that another function chose, and what is drawn on a figure."""
    needing_more = {
        name: [*inspect.signature(draw).parameters]
        for name, draw in vars(pt.figures).items()
        if inspect.isfunction(draw)
        and [p.name for p in inspect.signature(draw).parameters.values() if p.default is p.empty]
        != ["rows"]
    }
    assert set(needing_more) == {
        "attention_pattern",
        "data_of",
        "heads_over_steps",
        "layers_over_steps",
        "over_steps",
        "parts_over_steps",
        "with_training",
    }
