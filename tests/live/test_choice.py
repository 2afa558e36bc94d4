"""What a reader chose: its form in an address, and what of it a state has."""

from dataclasses import fields

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pythia_traj.errors import ConfigError
from pythia_traj.live.choice import Choice, numbers_of
from pythia_traj.live.offered import offered
from pythia_traj.live.watched import State, Watched
from tests.live.made import made_run

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
SEVERAL_WORDS = st.lists(WORDS, max_size=3, unique=True).map(tuple)
HEADS = st.tuples(st.integers(0, 9999), st.integers(0, 9999)).map("L{0[0]}H{0[1]}".format)

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

CHOICES = st.builds(
    Choice,
    experiment=st.just("") | WORDS,
    models=SEVERAL_WORDS,
    labels=SEVERAL_WORDS,
    metric=st.just("") | WORDS,
    variant=st.just("") | WORDS,
    layers=st.just("") | WORDS,
    heads=st.just("") | WORDS,
    controls=st.booleans(),
    several=st.sampled_from(["lines", "band"]),
    followed=st.lists(HEADS, max_size=4, unique=True).map(tuple),
)


@UNHURRIED
@given(CHOICES)
@example(Choice())
@example(Choice(experiment="a&b=c;d", models=("<script>", "%00", "é+ "), metric='"#?'))
def test_a_choice_is_the_same_after_it_was_an_address(choice):
    query = choice.as_query()
    assert Choice.from_query(query) == choice
    assert Choice.from_query(f"?{query}") == choice


def test_the_default_is_an_empty_address():
    assert Choice().as_query() == ""
    assert Choice.from_query("") == Choice()


@UNHURRIED
@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: data.decode("latin-1")))
@example("models=%ff&models=%00&several=%3Cscript%3E&controls=&followed=L1H2%0A")
@example("experiment&&&==&metric=a&metric=b")
@example("&".join(f"followed=L{i}H{i}" for i in range(10_000)))
@example("layers=" + "9" * 100_000)
def test_any_address_is_a_choice_that_is_one_again(query):
    choice = Choice.from_query(query)
    assert choice.several in ("lines", "band")
    assert len(choice.followed) == len(choice.followed_heads) == len(set(choice.followed))
    assert sum(len(str(getattr(choice, one.name))) for one in fields(choice)) < 40_000
    assert Choice.from_query(choice.as_query()) == choice


def test_what_is_not_a_head_is_not_followed():
    query = "followed=L1H2&followed=L1&followed=l1h2&followed=L1H2x&followed=L99999H1&followed=L3H4"
    assert Choice.from_query(query).followed_heads == [(1, 2), (3, 4)]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("", None),
        ("  ", None),
        ("7", {7}),
        (" 0-3 , 7", {0, 1, 2, 3, 7}),
        ("2 - 2", {2}),
        ("0-9999", set(range(10_000))),
        ("1,1,0-1", {0, 1}),
    ],
    ids=["empty", "spaces", "one", "range-and-one", "range-of-one", "all", "twice"],
)
def test_numbers_and_ranges_are_read(text, numbers):
    assert numbers_of(text, "layers") == numbers


@pytest.mark.parametrize(
    "text",
    ["5-2", "-1", "1-", ",", "1,,2", "a", "1.5", "1-2-3", "10000", "٣", "<script>", "1;2", "0x1"],
    ids=lambda text: ascii(text),
)
def test_other_texts_are_refused_in_a_sentence(text):
    with pytest.raises(ConfigError, match="^layers .*: give numbers and ranges, such as 0-3,7$"):
        numbers_of(text, "layers")


def test_the_work_and_the_message_are_bounded_however_long_the_text_is():
    assert len(numbers_of(",".join(["0-9999"] * 50), "layers")) == 10_000
    for text in (",".join(["0-9999"] * 100_000), "x" * 100_000):
        with pytest.raises(ConfigError) as refused:
            numbers_of(text, "heads")
        assert len(str(refused.value)) < 200


@pytest.fixture(scope="module")
def state(rows_of, tmp_path_factory):
    """Two models and two labels of each experiment, of which the second model has one."""
    folder = tmp_path_factory.mktemp("offered")
    first = made_run(folder / "first", rows_of(models=("a", "b"), steps=(0, 512)))
    second = made_run(
        folder / "second", rows_of(models=("a",), labels=("other", "ind7"), steps=(0,))
    )
    watched = Watched([first.path, second.path])
    watched.look()
    return watched.state


def test_all_is_offered_where_nothing_was_asked(state):
    found = offered(state, Choice())
    assert found.experiments == ("loss", "induction")
    assert found.choice == Choice(experiment="loss")
    assert found.models == ("b", "first/a", "second/a")
    assert found.labels == ("loss-stdlib", "other")
    assert found.metrics[0] == "nll"
    assert found.variants == ()


def test_what_is_not_there_is_left_out_and_what_is_stays(state):
    asked = Choice(
        experiment="induction",
        models=("nobody", "b"),
        labels=("ind25", "loss-stdlib"),
        metric="prefix_matching",
        variant="two_halves",
        layers="0",
        controls=False,
        several="band",
        followed=("L0H1",),
    )
    found = offered(state, asked)
    assert found.choice.models == ("b",)
    assert found.choice.labels == ("ind25",)
    assert found.choice.metric == "prefix_matching"
    assert "two_halves" in found.variants
    kept = ("experiment", "variant", "layers", "controls", "several", "followed")
    assert all(getattr(found.choice, name) == getattr(asked, name) for name in kept)
    away = offered(state, Choice(experiment="induction", metric="accuracy", variant="<b>"))
    assert (away.choice.metric, away.choice.variant) == ("", "")
    assert offered(state, Choice(experiment="nope")).choice.experiment == "loss"


def test_all_of_them_is_the_same_as_none(state):
    asked = Choice(experiment="loss", models=("b", "first/a", "second/a"), labels=("nope",))
    assert offered(state, asked).choice == Choice(experiment="loss")


def test_metrics_and_variants_are_those_of_what_is_chosen(state):
    of_one = offered(state, Choice(experiment="induction", metric="nll"))
    assert of_one.variants == ("two_halves",)
    assert len(offered(state, Choice(experiment="induction")).variants) > 1


def test_nothing_is_offered_before_anything_is_measured():
    asked = Choice(experiment="loss", metric="nll", models=("a",))
    found = offered(State(), asked)
    assert (found.experiments, found.models, found.metrics) == ((), (), ())
