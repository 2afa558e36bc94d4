"""How a run was measured, in words: everything from its rows and footers, nothing imported."""

import importlib.util
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import pandas as pd
import pytest

import pythia_traj as pt
from pythia_traj.analysis.findings.dated import dated
from pythia_traj.reports.described import Description, description_of
from pythia_traj.reports.methods import Methods, methods_of
from pythia_traj.store.done import Found
from pythia_traj.store.read import read_run
from pythia_traj.store.records import ExperimentSource, Footer
from tests.analysis.findings.phase_change import Planted, with_heads
from tests.test_bibliography import parse

MINE = '''
"""One of a user's own."""

from pythia_traj.experiment import experiment
from pythia_traj.processing import RAW
from pythia_traj.values import Key, Rows


@experiment(version=3, processing=RAW, cites="Me & <b>You</b> 2031")
def glow(model, *, bright: float = 0.5) -> Rows:
    """How it glows."""
    rows = Rows()
    rows.add(Key("glow"), bright)
    return rows
'''


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    file = tmp_path_factory.mktemp("mine") / "mine.py"
    file.write_text(MINE)
    return file


@pytest.fixture(scope="module")
def found(suite, mine, tmp_path_factory):
    """A run of three steps of the tiny suite, as it is read."""
    out = tmp_path_factory.mktemp("methods") / "run"
    config = pt.SweepConfig(
        model=str(suite),
        steps="0,2,4",
        experiments={
            "short": {"use": "induction", "length": 20, "n": 8, "seed": 7},
            "loss": {"length": 32, "n": 8},
            "ablation": {"task": "repeats", "n": 12, "top": 2},
            "glow": {"use": str(mine), "bright": 0.75},
        },
        out=out,
        device="cpu",
    )
    assert not pt.sweep(config).failed
    return read_run(out, controls=True), pt.load(out, table="models")


def methods(found, **changed):
    read, models = found
    onsets = dated(read.frame, None)
    return methods_of(read.frame, changed.get("footers", read.footers), onsets, models)


def of_label(found, label):
    return next(one for one in methods(found).experiments if one.label == label)


def test_the_model_is_named_with_its_directory_its_size_and_its_steps(found, suite):
    (model,) = methods(found).models
    assert model.name == suite.name
    assert model.published_at == str(suite)
    assert model.parameters == f"{int(found[1]['n_parameters'].iloc[0]):,}"
    assert model.steps == "3 steps, from 0 to 4"
    assert model.commits == ""


def test_experiments_have_their_version_summary_parameters_conventions_and_cites(found):
    short = of_label(found, "short")
    assert (short.name, short.units) == ("induction", "3 units")
    assert short.version == str(head_version("induction"))
    assert dict(short.parameters) | {"length": "20", "n": "8", "seed": "7"} == dict(
        short.parameters
    )
    assert "two_halves" in short.conventions
    assert short.controls == ("shuffled",)
    assert short.seeds == ("7",)
    assert short.cites == ("Olsson et al. 2022",)
    assert short.defined_in.startswith("pythia_traj.experiments.induction (sha256 ")
    assert of_label(found, "loss").processing == "as trained"
    assert "fold_ln" in of_label(found, "ablation").processing


def head_version(name):
    from pythia_traj.discovery import find

    return find(name).version


@pytest.mark.parametrize("label", ["short", "loss", "ablation"])
def test_the_summary_and_cites_are_those_of_the_experiment_itself(found, label):
    from pythia_traj.bibliography import cited
    from pythia_traj.discovery import find

    described = of_label(found, label)
    experiment = find(described.name)
    assert described.summary == experiment.description
    assert described.cites == cited(experiment.cites)


def test_every_packaged_experiment_is_described_as_it_describes_itself():
    from pythia_traj.discovery import discover

    for name, experiment in discover().items():
        says = description_of(name, None)
        assert (says.summary, says.cites) == (experiment.description, experiment.cites), name


def test_an_experiment_of_a_users_file_is_described_from_its_footer_alone(found, mine):
    glow = of_label(found, "glow")
    assert (glow.name, glow.version, glow.parameters) == ("glow", "3", (("bright", "0.75"),))
    assert glow.defined_in.startswith("mine.py (sha256 ")
    assert (glow.summary, glow.cites) == ("How it glows.", ("Me & <b>You</b> 2031",))
    assert glow.processing == "as trained"


def test_data_and_compared_steps_are_told(found):
    text = of_label(found, "loss")
    assert dict(text.data)["source"] == "stdlib"
    assert len(dict(text.data)["sha256"]) == 64
    assert "seed" not in dict(text.data)
    some = [
        Footer(made_of={"references": {"final": 1600, "previous": step}}) for step in (512, 1000)
    ]
    rows = Planted("toy").put("loss", "nll", 3.0).rows
    footers = {Found("toy", Path("x"), "loss", i): one for i, one in enumerate(some)}
    (experiment,) = methods_of(rows, footers, dated(rows)).experiments
    assert experiment.compared_with == ("final (step 1,600)", "previous")


def test_a_users_experiment_with_the_name_of_ours_is_not_described_as_ours():
    theirs = ExperimentSource(file="mine.py", sha256="0" * 64, packaged=False)
    assert description_of("induction", theirs).summary == ""
    ours = ExperimentSource(file="pythia_traj.experiments.induction", sha256="0", packaged=True)
    assert description_of("induction", ours).summary
    assert description_of("induction", None).summary
    assert description_of("gone", None).summary == ""


def test_a_path_in_a_footer_leads_to_no_file(tmp_path):
    file = tmp_path / "glow.py"
    file.write_text(MINE)
    (folder,) = importlib.util.find_spec("pythia_traj.experiments").submodule_search_locations
    around = os.path.relpath(tmp_path, folder)
    for said in (str(file.with_suffix("")), f"{around}/glow", "a b", ""):
        assert description_of("glow", ExperimentSource(file=said, sha256="0", packaged=True)) == (
            Description()
        )
        assert description_of(said, None) == Description()


def test_an_experiment_behind_an_entry_point_is_described_if_its_bytes_are_those_that_measured(
    tmp_path, monkeypatch
):
    from hashlib import sha256
    from importlib.metadata import EntryPoint

    folder = tmp_path / "glowing"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (folder / "inner.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("glow", "glowing.inner:glow", "pythia_traj.experiments")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: [entry])
    digest = sha256((folder / "inner.py").read_bytes()).hexdigest()
    source = ExperimentSource(file="inner.py", sha256=digest, packaged=False)
    assert description_of("glow", source).summary == "How it glows."
    assert description_of("glow", source).cites == "Me & <b>You</b> 2031"
    other = source.model_copy(update={"sha256": "0" * 64})
    assert description_of("glow", other).summary == ""


def test_packages_device_precision_and_seeds_are_those_of_the_footers(found):
    made, footer = methods(found), next(iter(found[0].footers.values()))
    assert dict(made.versions) == footer.versions
    assert made.device == "cpu"
    assert made.dtype == "float32"
    assert set(made.seeds) == {"0", "7"}
    assert len(made.processing) == 2


def test_what_differs_between_units_is_listed(found):
    footers = dict(found[0].footers)
    one = next(iter(footers))
    other = footers[one].model_copy(
        update={
            "versions": {**footers[one].versions, "torch": "9.9"},
            "name": "NVIDIA H200",
            "device": "cuda",
            "made_of": {**footers[one].made_of, "dtype": "bfloat16"},
        }
    )
    made = methods(found, footers={**footers, one: other})
    assert dict(made.versions)["torch"].endswith(", 9.9") or "9.9, " in dict(made.versions)["torch"]
    assert set(made.device.split(", ")) == {"cpu", "cuda (NVIDIA H200)"}
    assert set(made.dtype.split(", ")) == {"bfloat16", "float32"}


def test_references_are_those_of_experiments_packages_and_tests(found):
    made = methods(found)
    text = "\n".join(made.references)
    for title in (
        "In-context Learning and Induction Heads",
        "Interpretability in the Wild",
        "TransformerLens",
    ):
        assert title in text
    entries = parse(made.bibtex)
    assert len(entries) == len(made.references)
    assert "Emergent and Predictable" not in text


def test_what_tests_and_errors_rest_on_is_cited_where_they_are_made():
    planted = with_heads(Planted())
    titles = ("Controlling the False Discovery Rate", "Variance estimation for complex surveys")
    rows = planted.rows

    def cited_in(rows, items):
        text = "\n".join(methods_of(rows, {}, dated(rows, items)).references)
        return tuple(title in text for title in titles)

    assert cited_in(rows, None) == (False, False)
    assert cited_in(rows, planted.items) == (True, False)
    rows["clusters"] = 8
    assert cited_in(rows, None) == (False, True)


def test_commits_and_the_size_of_a_published_model_are_told():
    rows = Planted("pythia-70m").put("loss", "nll", 3.0).rows
    commits = pd.Categorical([f"{i:040x}" for i in range(len(rows))])
    rows = rows.assign(commit=commits, suite=pd.Categorical(["pythia"] * len(rows)))
    found = Found("pythia-70m", Path("x"), "loss", 0)
    footer = Footer(origin="hub:EleutherAI/pythia-70m", made_of={"experiment": "loss"})
    made = methods_of(rows, {found: footer}, dated(rows))
    (model,) = made.models
    assert (model.suite, model.published_at) == ("pythia", "EleutherAI/pythia-70m")
    assert model.parameters == "70,426,624"
    assert model.commits == "19 commits, such as 000000000000, 000000000000, 000000000000"
    assert any("Pythia: A Suite" in line for line in made.references)
    one = rows.assign(commit="a" * 40)
    assert methods_of(one, {found: footer}, dated(one)).models[0].commits == "commit " + "a" * 40
    local = footer.model_copy(update={"origin": "directory:/data/pythia-70m"})
    assert methods_of(rows, {found: local}, dated(rows)).models[0].parameters == ""


def test_a_model_with_the_runs_name_in_front_has_its_footers():
    rows = Planted("early-run/toy").put("loss", "nll", 3.0).rows
    footer = Footer(origin="directory:/data/toy")
    made = methods_of(rows, {Found("early-run/toy", Path("x"), "loss", 0): footer}, dated(rows))
    assert made.models[0].published_at == "/data/toy"


def test_a_model_does_not_take_the_footers_of_another_with_the_same_last_name():
    rows = Planted("early-run/toy").put("loss", "nll", 3.0).rows
    footer = Footer(origin="directory:/data/toy")
    made = methods_of(rows, {Found("toy", Path("x"), "loss", 0): footer}, dated(rows))
    assert made.models[0].published_at == ""


def source(file, digit):
    says = f"What {file} measures."
    return ExperimentSource(file=file, sha256=digit * 64, packaged=False, description=says)


def test_one_label_of_two_runs_for_two_experiments_is_described_as_two():
    one = Planted("a/toy").put("glow", "gleam", 3.0, label="own", variant="dim")
    other = Planted("b/toy").put("shine", "gleam", 3.0, label="own", variant="bright")
    rows = pd.concat([one.rows, other.rows], ignore_index=True)
    footers = {
        Found(model, Path(model), "own", step): Footer(
            made_of={"experiment": name, "parameters": {name: step}},
            experiment_source=source(f"{name}.py", digit),
        )
        for model, name, digit in (("b/toy", "shine", "1"), ("a/toy", "glow", "2"))
        for step in (0, 1)
    }
    glow, shine = methods_of(rows, footers, dated(rows)).experiments
    assert (glow.label, glow.name, glow.summary) == ("own", "glow", "What glow.py measures.")
    assert (glow.conventions, glow.parameters, glow.units) == (
        ("dim",),
        (("glow", "0; 1"),),
        "2 units",
    )
    assert (shine.label, shine.name, shine.conventions) == ("own", "shine", ("bright",))


def test_one_experiment_of_two_files_is_described_as_two():
    one = Planted("a").put("glow", "gleam", 3.0, label="own", variant="dim")
    other = Planted("b").put("glow", "gleam", 3.0, label="own", variant="bright")
    rows = pd.concat([one.rows, other.rows], ignore_index=True)
    footers = {
        Found(model, Path(model), "own", 0): Footer(
            made_of={"experiment": "glow"}, experiment_source=source("glow.py", digit)
        )
        for model, digit in (("a", "1"), ("b", "2"))
    }
    found = methods_of(rows, footers, dated(rows)).experiments
    assert [one.conventions for one in found] == [("dim",), ("bright",)]
    assert [one.defined_in for one in found] == [
        f"glow.py (sha256 {digit * 12})" for digit in ("1", "2")
    ]


HOSTILE = "<script>&\"'</script> } {"


def test_hostile_texts_come_out_as_they_are():
    rows = Planted(HOSTILE).put(HOSTILE, HOSTILE, 3.0, label=HOSTILE, variant=HOSTILE).rows
    made_of = {
        "experiment": HOSTILE,
        "version": [1],
        "parameters": {HOSTILE: HOSTILE, "none": None},
        "data": {"inner": [{"seed": HOSTILE}]},
        "processing": {HOSTILE: True},
        "dtype": HOSTILE,
    }
    source = ExperimentSource(file=HOSTILE, sha256="0", packaged=False)
    footer = Footer(
        made_of=made_of,
        origin=HOSTILE,
        name=HOSTILE,
        versions={HOSTILE: HOSTILE},
        experiment_source=source,
    )
    found = Found(HOSTILE, Path("x"), HOSTILE, 0)
    made = methods_of(rows, {found: footer}, dated(rows))
    (experiment,), (model,) = made.experiments, made.models
    assert (model.name, model.published_at) == (HOSTILE, HOSTILE)
    assert (experiment.label, experiment.name, experiment.processing) == (HOSTILE,) * 3
    assert dict(experiment.parameters) == {HOSTILE: HOSTILE, "none": "not set"}
    assert experiment.data[0][0] == "inner"
    assert (experiment.version, experiment.seeds) == ("[1]", (HOSTILE,))
    assert experiment.conventions == (HOSTILE,)
    assert made.versions == ((HOSTILE, HOSTILE),)


@pytest.mark.parametrize("rows", [Planted().rows, pd.DataFrame()])
def test_no_rows_and_footers_give_empty_methods(rows):
    made = methods_of(rows, {}, dated(rows))
    assert made == Methods((), (), (), "", "", (), (), (), (), "")
    assert all(not getattr(made, one.name) for one in fields(made))


def test_a_footer_without_anything_is_described():
    rows = Planted("toy").put("loss", "nll", 3.0).rows
    made = methods_of(rows, {Found("toy", Path("x"), "loss", 0): Footer()}, dated(rows))
    (experiment,) = made.experiments
    assert (experiment.label, experiment.name, experiment.version) == ("loss", "", "")
    assert replace(made.models[0], steps="") == replace(
        made.models[0], steps="", published_at="", parameters="", commits=""
    )


def test_methods_are_made_without_torch_and_without_importing_an_experiment(found, suite):
    run = next(iter(found[0].footers)).path.parents[3]
    code = f"""
import sys
from pythia_traj.store.read import read_run
from pythia_traj.analysis.findings.dated import dated
from pythia_traj.reports.methods import methods_of
read = read_run({str(run)!r}, controls=True)
made = methods_of(read.frame, read.footers, dated(read.frame))
assert made.experiments[0].summary
print(sorted(name for name in sys.modules if name == "torch" or "experiments." in name))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
