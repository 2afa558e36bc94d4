"""The rows of a choice, and the figures that they are drawn as."""

import numpy as np
import pandas as pd
import pytest
from scipy.special import stdtrit

import pythia_traj as pt
from pythia_traj.errors import AnalysisError, ConfigError
from pythia_traj.figures.data import data_of
from pythia_traj.live import view
from pythia_traj.live.choice import Choice
from pythia_traj.live.view import Views, rows_of, why_not
from pythia_traj.live.watched import State, Watched
from pythia_traj.reports.drawings import sections_of
from pythia_traj.store.layout import Run
from tests.live.made import made_run, write_units

SEEDS = ("seed1", "seed2", "seed3")
MAPS = "Prefix matching of every head"


def state_of(path):
    watched = Watched([path])
    watched.look()
    return watched.state


@pytest.fixture(scope="module")
def state(small_run):
    return state_of(small_run)


@pytest.fixture(scope="module")
def seeds(rows_of, tmp_path_factory):
    """Three models that differ in their losses by 0, 1 and 3."""
    rows = rows_of(models=SEEDS, steps=(0, 512, 1000))
    apart = rows["model"].map(dict(zip(SEEDS, (0.0, 1.0, 3.0), strict=True))).astype(float)
    path = tmp_path_factory.mktemp("seeds") / "run"
    return state_of(made_run(path, rows.assign(value=rows["value"] + apart)).path)


def test_layers_and_heads_choose_among_rows_that_have_some(state):
    every = state.rows("induction")
    rows = rows_of(state, Choice(experiment="induction", layers="1", heads="0,2-3"))
    assert set(rows["layer"].dropna()) == {1}
    assert set(rows["head"].dropna()) == {0, 2, 3}
    assert rows["layer"].isna().sum() == every["layer"].isna().sum() > 0
    assert len(rows) < len(every)


def test_layers_that_no_row_has_leave_those_of_the_whole_model(state):
    rows = rows_of(state, Choice(experiment="induction", layers="99"))
    assert rows["layer"].isna().all()
    assert len(rows) > 0


@pytest.mark.parametrize("field", ["layers", "heads"])
def test_layers_or_heads_that_are_not_numbers_are_refused(state, field):
    choice = Choice(experiment="induction", **{field: "7-2"})
    with pytest.raises(ConfigError, match=f"^{field} '7-2': give numbers and ranges"):
        rows_of(state, choice)
    assert why_not(state, choice).startswith(f"{field} '7-2'")


def test_a_variant_leaves_what_has_none(state):
    rows = rows_of(state, Choice(experiment="induction", variant="detect_head_mul"))
    assert set(rows["variant"].dropna()) == {"detect_head_mul"}
    rows = rows_of(state, Choice(experiment="loss", metric="accuracy"))
    assert set(rows["metric"]) == {"accuracy"}


def test_controls_are_left_out_where_they_are_not_wanted(state):
    some = rows_of(state, Choice(experiment="loss", controls=False))
    assert some["control"].isna().all()
    assert rows_of(state, Choice(experiment="loss"))["control"].notna().any()


def test_models_and_labels_choose_rows(seeds):
    rows = rows_of(seeds, Choice(experiment="loss", models=("seed1", "seed3")))
    assert set(rows["model"]) == {"seed1", "seed3"}
    assert rows_of(seeds, Choice(experiment="loss", labels=("ind25",))).empty
    told = why_not(seeds, Choice(experiment="loss", labels=("ind25",)))
    assert told == "no row has all of this: choose more models, layers or heads"
    assert why_not(seeds, Choice(experiment="loss")) == ""


def test_seeds_are_their_mean_with_the_interval_of_that_mean(seeds):
    rows = rows_of(seeds, Choice(experiment="loss", several="band", metric="nll"))
    assert set(rows["model"]) == {"mean of 3 seeds"}
    of_all = rows["control"].isna() & rows["position"].isna()
    at = rows[of_all & (rows["step"] == 512)].iloc[0]
    every = seeds.rows("loss")
    own = every[(every["metric"] == "nll") & every["control"].isna() & every["position"].isna()]
    own = own[own["step"] == 512].set_index("model")["value"]
    assert at["value"] == pytest.approx(own["seed1"] + 4 / 3)
    reach = stdtrit(2, 0.975) * np.std([0.0, 1.0, 3.0], ddof=1) / np.sqrt(3)
    assert at["high"] - at["value"] == pytest.approx(reach)
    assert at["value"] - at["low"] == pytest.approx(reach)
    assert (at["n"], at["clusters"], at["tokens"]) == (3, 3, 512 * 2_097_152)
    assert pd.isna(at["stderr"])


def test_two_seeds_have_a_mean_without_an_interval(seeds):
    choice = Choice(experiment="loss", several="band", models=("seed1", "seed2"))
    rows = rows_of(seeds, choice)
    assert set(rows["model"]) == {"mean of 2 seeds"}
    assert rows["low"].isna().all()


def test_heads_of_one_number_are_not_alike_in_two_seeds(seeds):
    rows = rows_of(seeds, Choice(experiment="induction", several="band"))
    assert len(rows) > 0
    assert rows["head"].isna().all()


def test_one_model_is_no_band_and_the_reason_is_said(state):
    choice = Choice(experiment="loss", several="band")
    with pytest.raises(AnalysisError, match="bands of seeds: the rows are of 1 model"):
        rows_of(state, choice)
    assert "give those of two or more" in why_not(state, choice)
    with pytest.raises(AnalysisError):
        Views().charts(state, choice)


@pytest.mark.parametrize("experiment", ["loss", "induction"])
def test_the_drawings_are_those_of_a_report(state, small_run, experiment):
    rows = pt.load(small_run, controls=True, mixed=True, experiment=experiment)
    (section,) = sections_of(rows)
    views, choice = Views(), Choice(experiment=experiment)
    places = range(len(views.charts(state, choice)))
    drawn = [views.drawing(state, choice, place) for place in places]
    drawings = [one for one in drawn if one is not None]
    assert [one.heading for one in drawings] == [one.heading for one in section.drawings]
    for ours, theirs in zip(drawings, section.drawings, strict=True):
        assert ours.caption == theirs.caption
        for own, other in zip(ours.panels, theirs.panels, strict=True):
            assert (own.of, own.reason) == (other.of, other.reason)
            figures = [one.figure and one.figure.to_json() for one in (own, other)]
            assert figures[0] == figures[1]


def test_a_metric_has_a_figure_of_its_own(state):
    views = Views()
    (chart,) = views.charts(state, Choice(experiment="loss", metric="accuracy"))
    assert chart.heading == "accuracy"


def followed(state, *heads, **more):
    choice = Choice(experiment="induction", followed=heads, **more)
    return Views().followed(state, choice)


def test_a_followed_head_is_exactly_the_trajectory_of_its_row_in_the_map(small_rows, tmp_path):
    of_heads = small_rows[small_rows["metric"] == "prefix_matching"]
    ends = {"low": of_heads["value"] - 0.1, "high": of_heads["value"] + 0.2}
    run = made_run(tmp_path / "run", of_heads.assign(**ends)).path
    drawings = followed(state_of(run), "L1H2")
    drawing = next(one for one in drawings if one.heading == f"Followed: {MAPS}")
    (panel,) = drawing.panels
    shown = data_of(panel.figure)
    assert set(shown["variant"]) == {"two_halves"}
    where = {"metric": "prefix_matching", "variant": "two_halves", "layer": 1, "head": 2}
    for control, some in shown.groupby(shown["control"].fillna(""), sort=False):
        own = pt.load(run, control=control or None, **where)
        for column in ("step", "tokens", "value", "stderr", "low", "high", "n"):
            np.testing.assert_allclose(
                some[column].to_numpy(float), own[column].to_numpy(float), err_msg=column
            )
    assert set(shown["control"].dropna()) == {"shuffled"}
    assert len(shown) == 2 * 4


def test_each_map_of_heads_has_its_followed_lines_and_at_most_three(state):
    drawings = followed(state, "L1H1", "L0H3")
    assert 1 < len(drawings) <= 3
    for one in drawings:
        data = data_of(one.panels[0].figure)
        assert set(zip(data["layer"], data["head"], strict=True)) == {(1, 1), (0, 3)}
        assert one.caption.startswith("L1H1, L0H3, ")


def test_followed_heads_of_several_models_are_told_apart(seeds):
    data = data_of(followed(seeds, "L1H1")[0].panels[0].figure)
    assert set(data["model"]) == {*SEEDS}


def test_a_head_that_is_not_there_is_said(state):
    (panel,) = followed(state, "L9H9")[0].panels
    assert panel.figure is None
    assert "L9H9" in panel.reason


def test_nothing_is_followed_where_no_map_shows_heads(state, seeds):
    assert followed(state) == []
    assert Views().followed(state, Choice(experiment="loss", followed=("L0H0",))) == []
    assert followed(seeds, "L1H1", several="band") == []


def test_what_was_drawn_is_drawn_again_only_where_rows_changed(run, rows_of, monkeypatch):
    drawn = []
    original = view.drawing_of
    monkeypatch.setattr(view, "drawing_of", lambda *of: drawn.append(of) or original(*of))
    watched, views = Watched([run.path]), Views()
    watched.look()
    choice = Choice(experiment="loss")
    first = views.drawing(watched.state, choice, 0)
    watched.look()
    assert views.drawing(watched.state, choice, 0) is first
    assert len(drawn) == 1
    write_units(run, rows_of(steps=(4000,)).query("experiment == 'induction'"))
    watched.look()
    assert views.drawing(watched.state, choice, 0) is first
    write_units(run, rows_of(steps=(4000,)).query("experiment == 'loss'"))
    watched.look()
    again = views.drawing(watched.state, choice, 0)
    assert again is not first
    assert 4000 in data_of(again.panels[0].figure)["step"].to_list()
    assert len(drawn) == 2


def test_followed_heads_draw_the_charts_no_second_time(state, monkeypatch):
    views = Views()
    drawing = views.drawing(state, Choice(experiment="induction"), 0)
    with_heads = Choice(experiment="induction", followed=("L0H0",))
    assert views.drawing(state, with_heads, 0) is drawing


def test_what_is_offered_is_new_where_another_experiment_came(tmp_path, rows_of):
    run = Run.create(tmp_path / "run")
    watched, views = Watched([run.path]), Views()
    watched.look()
    assert views.offered(watched.state, Choice()).experiments == ()
    rows = rows_of(steps=(0, 512))
    write_units(run, rows[rows["experiment"] == "induction"])
    watched.look()
    assert views.offered(watched.state, Choice()).experiments == ("induction",)
    chosen = Choice(experiment="induction")
    assert views.offered(watched.state, chosen).experiments == ("induction",)
    write_units(run, rows[rows["experiment"] == "loss"])
    watched.look()
    assert views.offered(watched.state, chosen).experiments == ("loss", "induction")


def test_what_is_kept_is_bounded_and_old_rows_are_not_kept_beside_new_ones(state, run, monkeypatch):
    views, watched = Views(), Watched([run.path])
    for i in range(view._KEPT + 50):
        views.once(f"sent {i}", state, Choice(), object)
    assert len(views._kept) == view._KEPT
    choices = [Choice(experiment="loss", heads=str(i)) for i in range(20)]
    of_each = len(views.rows(state, choices[0]))
    monkeypatch.setattr(view, "MOST_ROWS", 3 * of_each)
    for choice in choices:
        assert len(views.rows(state, choice)) == of_each > 0
    assert [choice for what, choice in views._kept if what == "rows"] == choices[-3:]
    views = Views()
    for step in (0, 512, 1000):
        run.unit_path("pythia-70m-deduped", "loss-stdlib", step).unlink()
        watched.look()
        views.rows(watched.state, Choice(experiment="loss"))
    assert len(views._kept) == 1


def test_an_experiment_that_is_not_there_has_no_charts(state):
    for of in (state, State()):
        for name in ("", "unheard_of"):
            assert Views().charts(of, Choice(experiment=name)) == ()
            assert Views().followed(of, Choice(experiment=name, followed=("L0H0",))) == []
            assert Views().drawing(of, Choice(experiment=name), 5) is None


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=["nan", "inf", "minus-inf"])
def test_values_that_are_not_numbers_are_drawn_or_said(tmp_path, small_rows, value):
    rows = small_rows.assign(value=value, stderr=value)
    state = state_of(made_run(tmp_path / "run", rows).path)
    for experiment in state.experiments:
        views, choice = Views(), Choice(experiment=experiment)
        for place in range(len(views.charts(state, choice))):
            drawing = views.drawing(state, choice, place)
            for panel in drawing.panels if drawing else ():
                assert panel.reason or panel.figure.to_json()


def test_one_step_is_drawn(tmp_path, rows_of):
    state = state_of(made_run(tmp_path / "run", rows_of(steps=(512,))).path)
    views, choice = Views(), Choice(experiment="induction", followed=("L0H0",))
    charts = views.charts(state, choice)
    assert any(views.drawing(state, choice, place) for place in range(len(charts)))
    assert data_of(views.followed(state, choice)[0].panels[0].figure)["step"].to_list() == [512] * 2
