"""`compare`: two models of runs, or several seeds; the numbers are the library's."""

import json
import shutil

import pandas as pd
import pytest

import pythia_traj as pt
from pythia_traj.analysis.comparison.by_index import names_heads
from pythia_traj.errors import AnalysisError
from tests.analysis.trajectories import shuffled
from tests.support import publish, random_model

EXPERIMENTS = {
    "induction": {"n": 8, "length": 10},
    "loss": {"length": 16, "n": 8, "null_n": 2},
}


def swept(model, out, experiments=EXPERIMENTS, steps="all"):
    pt.sweep(
        pt.SweepConfig(
            model=str(model), steps=steps, device="cpu", experiments=experiments, out=out
        )
    )
    return out


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Three suites that differ in their weights alone."""
    root = tmp_path_factory.mktemp("compare")
    for seed in range(3):
        for step in (0, 1, 2, 4):
            publish(root / f"seed{seed}" / f"step{step}", random_model(10 * seed + step))
        facts = {"suite": "random", "tokens_per_step": 2048}
        (root / f"seed{seed}" / "suite.json").write_text(json.dumps(facts))
    return [root / f"seed{seed}" for seed in range(3)]


@pytest.fixture(scope="module")
def runs(models, tmp_path_factory):
    root = tmp_path_factory.mktemp("compared")
    return [swept(model, root / f"run{i}") for i, model in enumerate(models)]


def test_two_runs_are_shown_beside_each_other(cli, runs, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = cli("compare", *runs[:2])
    assert (code, err) == (0, "")
    assert out.startswith("seed0 and seed1, at the last step that both have\n")
    (line,) = [line for line in out.splitlines() if line.startswith("loss · nll ")]
    assert "items" in line
    assert "[" in line
    assert "Differences are seed1 minus seed0. Intervals are of 95 %" in out
    assert "Heads as distributions" in out
    assert "prefix_matching · two_halves" in out


@pytest.mark.parametrize("seeds", [False, True])
def test_on_a_narrow_terminal_numbers_are_whole_and_the_rest_is_named(
    cli, runs, monkeypatch, seeds
):
    monkeypatch.setenv("COLUMNS", "80")
    more = ["--seeds"] if seeds else []
    code, out, _ = cli("compare", *runs[: 3 if seeds else 2], *more)
    assert code == 0
    document = json.loads(cli("compare", *runs[: 3 if seeds else 2], *more, "--json")[1])
    value = "mean" if seeds else "difference"
    (one,) = [
        one for one in document["metrics"] if (one["label"], one["metric"]) == ("loss", "nll")
    ]
    assert f"{one[value]:.4g} [{one['low']:.4g}, {one['high']:.4g}]" in out
    left = "step, range, seeds" if seeds else "step, paired by, largest, at"
    assert f"Not shown in 109 characters or fewer: {left}." in out
    table = [line for line in out.splitlines() if not line.startswith(("Diff", "Int", "Not"))]
    assert max(map(len, table)) <= 80
    # Cells of one letter, that made tables of hundreds of lines.
    assert len(table) < 3 * (len(document["metrics"]) + len(document["heads"]))


def test_its_document_has_the_numbers_of_the_library(cli, runs):
    code, out, err = cli("compare", *runs[:2], "--label", "loss", "--metric", "nll", "--json")
    assert (code, err) == (0, "")
    document = json.loads(out)
    assert [side["name"] for side in document["models"]] == ["seed0", "seed1"]
    (one,) = document["metrics"]
    rows = [pt.load(run, label="loss", metric="nll", position=None) for run in runs[:2]]
    items = tuple(pt.load(run, label="loss", metric="nll", table="items") for run in runs[:2])
    found = pt.compare(*rows, items=items)
    last = found.iloc[-1]
    assert (one["at"], one["difference"], one["low"]) == (
        last["at"],
        last["difference"],
        last["low"],
    )
    assert one["paired"]
    largest = pt.largest_difference(found).iloc[0]
    assert (one["largest_at"], one["largest_high"]) == (largest["at"], largest["high"])
    assert document["heads"] == []


@pytest.mark.parametrize("by", ["tokens", "loss"])
def test_they_can_be_aligned_by_what_is_equal(cli, runs, by):
    code, out, _ = cli("compare", *runs[:2], "--align", by, "--metric", "nll", "--json")
    assert code == 0
    document = json.loads(out)
    assert document["by"] == by
    assert {one["metric"] for one in document["metrics"]} == {"nll"}
    if by == "loss":
        own = next(one for one in document["metrics"] if one["label"] == "loss")
        assert own["difference"] == pytest.approx(0, abs=1e-9)


def test_heads_alone_are_compared_as_distributions(cli, runs):
    code, out, _ = cli("compare", *runs[:2], "--metric", "prefix_matching", "--json")
    assert code == 0
    document = json.loads(out)
    heads = [pt.load(run, metric="prefix_matching", variant="two_halves") for run in runs[:2]]
    one = next(one for one in document["heads"] if one["variant"] == "two_halves")
    last = [rows[rows["step"] == rows["step"].max()]["value"] for rows in heads]
    assert [one["max_first"], one["max_second"]] == [values.max() for values in last]
    assert "head" not in one
    assert 0 < one["p"] <= 1


def test_seeds_are_shown_as_bands(cli, runs, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    code, out, err = cli("compare", *runs, "--seeds", "--metric", "nll", "--metric", "bos")
    assert (code, err) == (0, "")
    assert out.startswith("3 seeds (seed0, seed1, seed2), at the last step that all have\n")
    assert "sd of seeds" in out
    assert "bos (max) · two_halves" in out
    document = json.loads(cli("compare", *runs, "--seeds", "--json")[1])
    one = next(
        one for one in document["metrics"] if one["label"] == "loss" and one["metric"] == "nll"
    )
    rows = [pt.load(run, label="loss", metric="nll", position=None) for run in runs]
    last = [rows.loc[rows["step"].idxmax(), "value"] for rows in rows]
    assert one["mean"] == pytest.approx(sum(last) / 3)
    assert (one["seeds"], document["seeds"]) == (3, True)


def test_onsets_of_both_are_shown_when_asked(cli, runs):
    code, out, _ = cli("compare", *runs[:2], "--label", "loss", "--onsets", "--json")
    assert code == 0
    found = json.loads(out)["onsets"]
    assert {"status_first", "step_second", "octaves", "verdict"} <= set(found[0])
    # Four steps are too few for an onset.
    assert {one["status_first"] for one in found} == {"refused"}


def onsets_of(side, status, **more):
    """The columns of one side of a table of onsets."""
    shown = {"status": status, "step": None, "low": None, "high": None, "flags": ""}
    shown |= {"words": f"the words of {side}", **more}
    return {f"{name}_{side}": value for name, value in shown.items()}


def with_onsets(monkeypatch, *metrics):
    """Has `compare` find these onsets."""
    from pythia_traj.analysis.comparison import runs as module

    table = pd.DataFrame(
        [
            {"label": "loss", "metric": f"m{i}", "octaves": None, "verdict": "", **one}
            for i, one in enumerate(metrics)
        ]
    )
    verdicts = [one.get("verdict") for one in metrics]
    table["verdict"] = pd.Series(verdicts, dtype=object)
    monkeypatch.setattr(module, "_dated", lambda *_: table)


@pytest.mark.parametrize("by", ["step", "tokens"])
def test_statuses_flags_and_sentences_of_both_onsets_are_shown(cli, runs, monkeypatch, by):
    monkeypatch.setenv("COLUMNS", "200")
    dated = {"step": 40.0, "low": 32, "high": 64}
    with_onsets(
        monkeypatch,
        onsets_of("first", "several", flags="several_crossings")
        | onsets_of("second", "onset", **dated, flags="still_rising"),
        onsets_of("first", "onset", **dated) | onsets_of("second", "unsure", low=8, high=64),
        onsets_of("first", "onset", **dated)
        | onsets_of("second", "onset", **dated)
        | {"octaves": 0.0, "verdict": "tied"},
        onsets_of("first", "none") | onsets_of("second", "refused"),
    )
    code, out, _ = cli("compare", *runs[:2], "--onsets", "--metric", "nll", "--align", by)
    assert code == 0
    shown = [line.split() for line in out[out.index("\nOnsets") :].splitlines()]
    assert ["m0", "seed0", "several", "several_crossings"] in shown
    assert ["m0", "seed1", "onset", "40", "32..64", "still_rising"] in shown
    assert ["m1", "seed1", "unsure", "8..64"] in shown
    assert ["m2", "seed1", "onset", "40", "32..64", "0", "tied"] in shown
    told = [line for line in out.splitlines() if "the words of" in line]
    assert told == [
        "m0, seed0: the words of first",
        "m0, seed1: the words of second",
        "m1, seed1: the words of second",
        "m3, seed0: the words of first",
        "m3, seed1: the words of second",
    ]
    assert "1 metrics take off in neither" in out
    assert ("They are by step, and not at the same tokens." in out) is (by == "tokens")


def test_two_models_of_one_run_are_compared_too(cli, models, tmp_path):
    run = tmp_path / "both"
    for model in models[:2]:
        swept(model, run, {"loss": EXPERIMENTS["loss"]})
    code, out, _ = cli("compare", run, "--metric", "accuracy", "--json")
    assert code == 0
    assert [side["name"] for side in json.loads(out)["models"]] == ["seed0", "seed1"]


@pytest.mark.parametrize("names", [("seed0", "seed1"), ("seed1", "seed0")])
def test_the_first_model_that_is_named_is_the_first(cli, runs, names):
    some = [word for name in names for word in ("--model", name)]
    code, out, _ = cli("compare", *runs[:2], *some, "--metric", "nll", "--json")
    assert code == 0
    document = json.loads(out)
    assert [side["name"] for side in document["models"]] == list(names)
    rows = pt.load(runs[int(names[1][-1])], label="loss", metric="nll", position=None)
    one = next(one for one in document["metrics"] if one["label"] == "loss")
    assert one["second"] == rows.loc[rows["step"].idxmax(), "value"]


@pytest.mark.parametrize("by", ["step", "tokens"])
def test_a_metric_can_be_named_with_its_label_or_experiment(cli, models, runs, tmp_path, by):
    other = {"mine": {"use": "loss", **EXPERIMENTS["loss"]}, "loss": EXPERIMENTS["loss"]}
    pair = [swept(model, tmp_path / f"{i}", other) for i, model in enumerate(models[:2])]

    def shown(*names):
        more = [word for name in names for word in ("--metric", name)]
        code, out, _ = cli("compare", *pair, *more, "--align", by, "--json")
        assert code == 0
        return {(one["label"], one["metric"]) for one in json.loads(out)["metrics"]}

    assert shown("mine.nll") == {("mine", "nll")}
    assert shown("loss.nll") == {("mine", "nll"), ("loss", "nll")}
    assert shown("mine.nll", "accuracy") == {
        ("mine", "nll"),
        ("mine", "accuracy"),
        ("loss", "accuracy"),
    }
    code, _, err = cli("compare", pair[0], runs[1], "--metric", "mine.nll")
    assert (code, err.count("\n")) == (1, 1)
    assert "no metric in common under the same label: the first has mine nll, the sec" in err


def test_other_settings_are_a_warning_and_nothing_is_paired(cli, models, runs, tmp_path):
    other = swept(models[1], tmp_path / "other", {"loss": {**EXPERIMENTS["loss"], "seed": 1}})
    code, out, err = cli("compare", runs[0], other, "--metric", "nll", "--label", "loss")
    assert code == 0
    assert "warning: loss was measured with different settings (data.seed: 0, 1" in err
    document = json.loads(cli("compare", runs[0], other, "--metric", "nll", "--json")[1])
    assert not any(one["paired"] for one in document["metrics"])


def test_runs_whose_models_have_one_name_are_told_apart(cli, models, runs, tmp_path):
    copy = shutil.copytree(models[1], tmp_path / "seed0")
    run = swept(copy, tmp_path / "run", {"loss": EXPERIMENTS["loss"]})
    document = json.loads(cli("compare", runs[0], run, "--metric", "nll", "--json")[1])
    assert [side["name"] for side in document["models"]] == ["run0/seed0", "run/seed0"]
    assert document["metrics"][0]["difference"] != 0


WRONG = {
    "the same run twice": (["{0}", "{0}"], "run0 is given twice: compare it with another run"),
    "one model": (["{0}"], "one model cannot be compared with itself (seed0): give two runs"),
    "three models": (["{0}", "{1}", "{2}"], "there are 3 models (seed0, seed1, seed2): choose two"),
    "no run": (["{0}", "{0}/log"], "log is not a run directory"),
    "no such metric": (["{0}", "{1}", "--metric", "nlll"], "no metric 'nlll': did you mean nll"),
    "no such model": (
        ["{0}", "{1}", "--model", "x"],
        "no run has a model 'x': known: seed0, seed1",
    ),
    "no such metric of a label": (
        ["{0}", "{1}", "--metric", "los.nll"],
        "no run has 'los.nll': did you mean loss.nll",
    ),
    "a label of the loss without a loss": (
        ["{0}", "{1}", "--loss-label", "loss"],
        "--loss-label loss with --align step: only --align loss uses a loss",
    ),
    "onsets of seeds": (
        ["{0}", "{1}", "{2}", "--seeds", "--onsets"],
        "--onsets with seeds: onsets are compared between two models",
    ),
    "no such alignment": (["{0}", "{1}", "--align", "flops"], "align by step, tokens or loss"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_compared_is_a_sentence(cli, runs, case):
    arguments, said = WRONG[case]
    code, out, err = cli("compare", *(word.format(*runs) for word in arguments))
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert said in err
    assert err.count("\n") == 1


def test_no_common_metric_and_no_common_step_are_sentences(cli, models, runs, tmp_path):
    early = swept(models[1], tmp_path / "early", {"loss": EXPERIMENTS["loss"]}, steps="0")
    late = swept(models[2], tmp_path / "late", {"loss": EXPERIMENTS["loss"]}, steps="last")
    assert (
        "no step in common (first has step 0; second has step 4)" in cli("compare", early, late)[2]
    )
    other = swept(models[1], tmp_path / "metric", {"other": {"use": "loss", **EXPERIMENTS["loss"]}})
    err = cli("compare", late, other)[2]
    assert "no metric in common under the same label: the first has loss accuracy; " in err


def test_heads_of_a_run_are_recognised(runs):
    rows = pt.load(runs[0])
    assert set(rows.loc[names_heads(rows), "metric"]) >= {"prefix_matching", "bos"}
    assert not names_heads(rows[rows["label"] == "loss"]).any()


def test_metrics_whose_variants_differ_are_not_common_and_the_rest_is_shown(runs, monkeypatch):
    from pythia_traj.analysis.comparison import runs as module

    read = module.read_sides

    def renamed(*arguments, **where):
        sides, notes = read(*arguments, **where)
        rows = sides[1].rows.assign(variant="another")
        return [sides[0], module.replace(sides[1], rows=rows)], notes

    monkeypatch.setattr(module, "read_sides", renamed)
    with pytest.raises(AnalysisError, match="the first has induction bos two_halves; "):
        module.compare_runs(runs[:2])


@pytest.mark.parametrize("seeds", [False, True])
def test_permuting_the_heads_of_one_model_changes_nothing_that_is_shown(runs, monkeypatch, seeds):
    from pythia_traj.analysis.comparison import runs as module

    plain = module.compare_runs(runs[: 3 if seeds else 2], seeds=seeds)
    read = module.read_sides

    def permuted(*arguments, **where):
        sides, notes = read(*arguments, **where)
        return [module.replace(sides[0], rows=shuffled(sides[0].rows, 1)), *sides[1:]], notes

    monkeypatch.setattr(module, "read_sides", permuted)
    other = module.compare_runs(runs[: 3 if seeds else 2], seeds=seeds)
    for table in ("metrics", "heads"):
        # The order of the rows is that in which the metrics came.
        found = [
            getattr(one, table).astype(str).sort_values(list(getattr(one, table).columns))
            for one in (plain, other)
        ]
        assert len(found[0]) > 8
        assert found[0].reset_index(drop=True).equals(found[1].reset_index(drop=True))
