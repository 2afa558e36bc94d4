"""The published suites as data."""

import math

import numpy as np
import pytest

import pythia_traj as pt
from pythia_traj import schema
from pythia_traj.architectures.tensors import parameter_count
from pythia_traj.errors import SuiteError
from pythia_traj.suites.catalog import SIZES, catalog, look_up, unknown_model

PUBLISHED_COUNTS = {
    "70m": 18_915_328,
    "160m": 85_056_000,
    "410m": 302_311_424,
    "1b": 805_736_448,
    "1.4b": 1_208_602_624,
}
"""Parameters without embeddings, as the models' cards give them."""


def test_every_suite_is_complete():
    suites = {}
    for record in catalog().values():
        suites.setdefault(record.suite, []).append(record)
    assert {name: len(records) for name, records in suites.items()} == {
        "pythia": 10 + 8,
        "pythia-v0": 16,
        "polypythias": 5 * 9 + 6,
    }
    assert all(
        len(record.steps) == (143 if record.suite == "pythia-v0" else 154)
        for record in catalog().values()
    )


@pytest.mark.parametrize("record", catalog().values(), ids=lambda record: record.name)
def test_every_record_is_consistent(record):
    assert list(record.steps) == sorted(set(record.steps))
    assert record.steps[-1] == 143_000
    assert record.size.d_model % record.size.n_heads == 0
    assert look_up(record.name) is record
    assert look_up(record.repo) is record
    for alias in record.aliases:
        assert look_up(alias) is record
    assert not (record.deduped and record.suite == "polypythias")


@pytest.mark.parametrize("size", SIZES.values(), ids=lambda size: size.name)
def test_parameters_are_counted_as_from_a_config(size):
    config = {
        "architectures": ["GPTNeoXForCausalLM"],
        "hidden_size": size.d_model,
        "num_hidden_layers": size.n_layers,
        "num_attention_heads": size.n_heads,
        "intermediate_size": 4 * size.d_model,
        "max_position_embeddings": 2048,
        "vocab_size": size.d_vocab,
    }
    assert size.n_parameters == parameter_count(config)
    if size.name in PUBLISHED_COUNTS:
        assert size.n_parameters - 2 * size.d_vocab * size.d_model == PUBLISHED_COUNTS[size.name]


def test_the_learning_rate_warms_up_and_falls_to_a_tenth():
    record = look_up("pythia-70m")
    rates = [record.learning_rate(step) for step in record.steps]
    assert rates[0] == 0
    assert (
        record.learning_rate(1430)
        == record.size.peak_lr
        == max(map(record.learning_rate, range(0, 143_001, 10)))
    )
    assert record.learning_rate(715) == pytest.approx(record.size.peak_lr / 2)
    assert record.learning_rate((143_000 + 1430) // 2) == pytest.approx(record.size.peak_lr * 0.55)
    assert rates[-1] == pytest.approx(record.size.peak_lr / 10)
    later = [record.learning_rate(step) for step in range(2000, 143_001, 1000)]
    assert later == sorted(later, reverse=True)
    assert all(math.isfinite(rate) for rate in rates)


@pytest.mark.parametrize(
    ("name", "share"),
    [
        ("pythia-12b", 0.1),
        ("pythia-12b-v0", 0),
        ("pythia-6.9b-deduped-v0", 0),
        ("pythia-2.8b-v0", 0.1),
    ],
)
def test_the_rate_of_the_two_largest_v0_models_falls_to_nothing(name, share):
    record = look_up(name)
    assert record.learning_rate(143_000) == pytest.approx(record.size.peak_lr * share)


def test_a_schedule_has_the_rate_at_its_steps_and_marks_warm_up_and_the_second_epoch():
    record = look_up("pythia-70m-deduped")
    schedule = record.schedule()
    assert schedule.lr == tuple(map(record.learning_rate, schedule.steps))
    assert (schedule.steps[0], schedule.steps[-1]) == (0, 143_000)
    assert schedule.warmup_end in schedule.steps
    assert max(schedule.lr) == record.learning_rate(schedule.warmup_end) == record.size.peak_lr
    # 207e9 tokens of 1024 x 2048 a step.
    assert schedule.second_epoch == 98_705
    assert 143_000 / schedule.second_epoch == pytest.approx(1.45, abs=0.005)
    # Between its points a straight line is close enough.
    for step in range(0, 143_000, 97):
        straight = float(np.interp(step, schedule.steps, schedule.lr))
        assert straight == pytest.approx(record.learning_rate(step), abs=1e-3 * record.size.peak_lr)


def test_the_pile_is_seen_once():
    seen_again = {name for name, one in catalog().items() if one.schedule().second_epoch}
    assert seen_again == {name for name, one in catalog().items() if one.deduped}


def test_old_names_are_v0_models():
    assert look_up("pythia-19m").name == "pythia-70m-v0"
    assert look_up("EleutherAI/pythia-13b-deduped").name == "pythia-12b-deduped-v0"
    assert look_up("Pythia-1B-deduped").name == "pythia-1b-deduped"
    assert look_up("me/pythia-70m") is None


def test_an_unknown_name_is_answered_with_the_nearest():
    assert isinstance(unknown_model("x"), SuiteError)
    assert "did you mean pythia-1b-deduped" in str(unknown_model("pythia-1b-dedupd"))


def test_the_table_of_models_has_the_columns_of_the_schema():
    models = pt.published_models()
    assert models.columns.tolist() == ["model", *(column.name for column in schema.MODELS)]
    nulls = {column.name for column in schema.MODELS if models[column.name].isna().any()}
    assert nulls == {"seed", "data_seed", "weight_seed"}
    seeds = models[models.suite == "polypythias"]
    assert (seeds[["seed", "data_seed", "weight_seed"]].notna().sum(axis=1) == 1).all()
