"""A request is cut into shards of equal cost; workers that do them make the rows of one sweep."""

import json
import shutil
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pythia_traj as pt
from pythia_traj.errors import ConfigError, StepsError, StoreError
from pythia_traj.hub.model import HubModel
from pythia_traj.store.events import read_events
from pythia_traj.store.layout import Run
from pythia_traj.store.unit import read_footer
from pythia_traj.stream.published import open_model
from pythia_traj.suites.catalog import catalog
from pythia_traj.sweeps.plan import NEW, make_plan
from pythia_traj.sweeps.requests import find_request, plan_sweep, record
from pythia_traj.sweeps.shards import Shard, steps_of
from pythia_traj.sweeps.worker import work
from tests.support import publish, random_model
from tests.sweeps.test_plan import Published
from tests.sweeps.test_sweep import REFERENCES

MODELS = (
    "pythia-1b",
    "pythia-70m",
    "pythia-70m-deduped",
    *(f"pythia-70m-seed{seed}" for seed in range(1, 8)),
)


def cut(steps, sizes, count):
    return [steps_of(Shard(index, count), steps, sizes) for index in range(count)]


def test_one_large_and_nine_small_models_make_four_shards_of_like_cost():
    records = [catalog()[name] for name in MODELS]
    steps = {record.name: record.steps for record in records}
    assert sum(map(len, steps.values())) == 10 * 154
    parameters = {record.name: record.size.n_parameters for record in records}
    shards = cut(steps, {name: 2 * count for name, count in parameters.items()}, 4)
    # Bytes to fetch grow with all parameters, products of matrices with those of the layers and of
    # the unembedding.
    embedding = {record.name: record.size.d_vocab * record.size.d_model for record in records}
    for cost in (parameters, {name: parameters[name] - embedding[name] for name in parameters}):
        totals = [sum(cost[name] * len(part[name]) for name in part) for part in shards]
        assert max(totals) <= 1.25 * sum(totals) / 4


REQUESTS = st.dictionaries(
    st.sampled_from("abcdef"),
    st.lists(st.integers(0, 200), min_size=1, max_size=30, unique=True).map(sorted),
    min_size=1,
)
SIZES = st.dictionaries(
    st.sampled_from("abcdef"), st.none() | st.integers(1, 50_000_000_000), min_size=6
)


@settings(deadline=None)
@given(REQUESTS, SIZES, st.integers(1, 200))
def test_every_step_is_in_one_shard_and_the_steps_of_a_shard_follow_each_other(steps, sizes, count):
    shards = cut(steps, sizes, count)
    line = [(model, step) for model, selected in steps.items() for step in selected]
    # Put together in order they are the line: each once, and what a shard has is a piece of it.
    assert [(m, step) for part in shards for m, found in part.items() for step in found] == line
    assert shards == cut(steps, sizes, count)


@settings(deadline=None)
@given(REQUESTS, SIZES, st.integers(1, 50))
def test_no_shard_costs_more_than_a_step_above_the_mean(steps, sizes, count):
    known = [size for size in sizes.values() if size is not None]
    mean = sum(known) // len(known) if known else 0
    cost = {m: 20_000_000 + (mean if sizes[m] is None else sizes[m]) for m in steps}
    totals = [sum(cost[m] * len(part[m]) for m in part) for part in cut(steps, sizes, count)]
    assert max(totals) <= sum(totals) / count + max(cost.values())


def test_more_shards_than_steps_leave_some_empty():
    parts = cut({"a": (0, 1), "b": (5,)}, {}, 7)
    assert len(parts) == 7
    assert sorted(part for part in map(str, parts) if part != "{}") == [
        "{'a': [0]}",
        "{'a': [1]}",
        "{'b': [5]}",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4/4", "shard 4/4: shards count from 0, so the last of 4 is 3/4"),
        ("0/0", "shard 0/0: there has to be at least one"),
        ("1", "--shard '1': write i/n, such as 0/4 for the first of four"),
        ("-1/4", "--shard '-1/4': write i/n, such as 0/4 for the first of four"),
    ],
)
def test_a_shard_that_does_not_exist_is_refused(text, message):
    with pytest.raises(ConfigError) as error:
        Shard.parse(text)
    assert str(error.value) == message


def test_an_array_with_gaps_is_refused_with_its_variables():
    task = {"SLURM_ARRAY_TASK_ID": "7", "SLURM_ARRAY_TASK_COUNT": "2", "SLURM_ARRAY_TASK_MIN": "3"}
    with pytest.raises(ConfigError, match=r"shard 4/2 \(SLURM_ARRAY_TASK_ID=7, .*\): shards count"):
        Shard.of_environment(task)


@pytest.fixture
def request_of(suite, tmp_path):
    """Builds a request about the tiny suite; its labels are not in the alphabet's order."""
    file = tmp_path / "references.py"
    file.write_text(REFERENCES)

    def build(out, **changed):
        return pt.SweepConfig(
            **{
                "model": str(suite),
                "steps": "all",
                "experiments": {
                    "loss": {"length": 32, "n": 4, "null_n": 2},
                    "induction": {"length": 20, "n": 4},
                    "growth": {"use": f"{file}:growth"},
                    "distance": {"use": f"{file}:distance"},
                },
                "out": tmp_path / out,
                "device": "cpu",
                **changed,
            }
        )

    return build


def rows(run):
    return pt.load(run, controls=True)


def do(config, *shards, **how):
    """Does shards one after the other, and nothing beyond them; returns the results."""
    run = Run.open(config.out)
    return [
        work(find_request(run, **how), Shard.parse(shard), takes_over=False) for shard in shards
    ]


def test_the_plans_of_all_shards_hold_every_unit_once_and_what_they_compare_with(request_of):
    config = request_of("run")
    record(config)
    recorded = find_request(Run.open(config.out))
    asked, needed = [], []
    for index in range(3):
        plan, _ = plan_sweep(recorded.config, recorded, part=recorded.steps_of(Shard(index, 3)))
        asked += [unit.name for unit in plan.todo if not unit.cached]
        needed.append([(unit.label, unit.step) for unit in plan.todo if unit.cached])
        places = {(unit.label, unit.step): at for at, unit in enumerate(plan.todo)}
        for unit in plan.todo:
            for other in unit.row_references.values():
                assert places[unit.label, other] < places[unit.label, unit.step]
    whole, _ = plan_sweep(config)
    assert sorted(asked) == sorted(unit.name for unit in whole.todo)
    # The tiny suite's four steps in three shards: 0; 1 and 2; 4.
    assert needed == [[], [("growth", 0)], [("growth", 0), ("growth", 1), ("growth", 2)]]


def test_a_part_may_begin_after_thousands_of_steps_that_compare_with_the_one_before(
    request_of, tmp_path
):
    steps = tuple(range(3000))
    config = request_of("run", experiments={"growth": {"use": f"{tmp_path}/references.py:growth"}})
    plan = make_plan(config, [Published("m", steps)], lambda unit: NEW, part={"m": (2999,)})
    assert [unit.step for unit in plan.todo] == list(steps)
    assert [unit.step for unit in plan.todo if not unit.cached] == [2999]


@pytest.mark.parametrize("order", [("0/2", "1/2"), ("1/2", "0/2")])
def test_two_shards_in_any_order_give_the_rows_of_one_sweep_to_the_bit(request_of, order):
    whole, parts = request_of("whole"), request_of("parts")
    pt.sweep(whole)
    record(parts)
    first, second = do(parts, *order)
    assert first.failed + second.failed == []
    assert rows(whole.out).equals(rows(parts.out))
    items = [pt.load(config.out, table="items") for config in (whole, parts)]
    assert items[0].equals(items[1])
    status = pt.status(parts.out)
    assert (status.done, status.left) == (16, 0)
    again = pt.sweep(parts)
    assert (len(again.done), len(again.skipped)) == (0, 16)


def test_what_is_done_does_not_change_who_does_what(request_of):
    config = request_of("run", experiments={"induction": {"length": 20, "n": 4}})
    record(config)
    (second,) = do(config, "1/2")
    # A worker that begins later, and finds half of the request done, has the same shard.
    (first,) = do(config, "0/2")
    assert [unit.step for unit in second.done] == [2, 4]
    assert [unit.step for unit in first.done] == [0, 1]
    (repeated,) = do(config, "1/2")
    assert not repeated.done
    assert [unit.step for unit in repeated.skipped] == [2, 4]


def test_a_training_run_that_goes_on_does_not_change_who_does_what(request_of, own_suite):
    config = request_of("run", model=str(own_suite), experiments={"induction": {"length": 20}})
    record(config)
    (own_suite / "step4").rename(own_suite / "elsewhere")
    (own_suite / "step8").symlink_to(own_suite / "step0")
    with pytest.raises(StepsError, match="step 4 of request [0-9a-f]+ is not published any more"):
        do(config, "0/2")
    (own_suite / "elsewhere").rename(own_suite / "step4")
    first, second = do(config, "0/2", "1/2")
    assert [unit.step for unit in (*first.done, *second.done)] == [0, 1, 2, 4]


def test_a_step_of_another_model_is_refused_also_where_it_is_alone_in_its_shard(
    request_of, own_suite
):
    shutil.rmtree(own_suite / "step4")
    publish(own_suite / "step4", random_model(4, num_hidden_layers=1))
    config = request_of("run", model=str(own_suite), experiments={"induction": {"length": 20}})
    record(config)
    (alone,) = do(config, "3/4")
    whole = pt.sweep(request_of("whole", model=str(own_suite), experiments=config.experiments))
    assert [(unit.name, why) for unit, why in alone.failed] == [
        (unit.name, why) for unit, why in whole.failed
    ]
    assert [unit.step for unit, _ in alone.failed] == [4]


def test_the_size_of_a_steps_weights_is_known_without_a_connection(suite):
    known, directory = open_model("pythia-1b"), open_model(str(suite))
    assert known.weight_bytes(512) == 2 * catalog()["pythia-1b"].size.n_parameters
    assert directory.weight_bytes(4) == (suite / "step4" / "model.safetensors").stat().st_size
    assert HubModel("me/tiny", record=None, refresh=False).weight_bytes(0) is None


def test_every_row_says_which_shard_job_host_and_attempt_it_is_from(request_of, monkeypatch):
    monkeypatch.setenv("PBS_JOBID", "12[1].server")
    config = request_of("run", experiments={"induction": {"length": 20, "n": 4}})
    record(config)
    recorded = find_request(Run.open(config.out))
    work(recorded, Shard.of_environment({"PBS_ARRAY_INDEX": "1"}, 2), takes_over=False)
    footer = read_footer(Run.open(config.out).unit_path("tiny", "induction", 4))
    assert footer["shard"] == "1/2"
    assert footer["job"] == "12[1].server"
    assert footer["attempt"] == 1
    assert {"host", "worker", "device", "threads"} <= footer.keys()
    begun = next(event for event in read_events(Run.open(config.out)))
    assert (begun["event"], begun["request"]) == ("requested", recorded.name)
    assert (begun["shard"], begun["told_by"]) == ("1/2", "PBS_ARRAY_INDEX=1")
    pt.sweep(config)
    footer = read_footer(Run.open(config.out).unit_path("tiny", "induction", 0))
    assert footer["shard"] == "0/1"


def test_the_latest_request_is_the_one_that_was_asked_for_last(request_of):
    first = request_of("run", experiments={"induction": {"length": 20, "n": 4}})
    second = request_of("run", steps="0", experiments={"induction": {"length": 24, "n": 4}})
    names = []
    for config in (first, second, first):
        names.append(record(config)[0])
        time.sleep(0.01)
    assert names[0] == names[2] != names[1]
    run = Run.open(first.out)
    assert find_request(run).name == names[0]
    chosen = find_request(run, names[1], prefetch=0)
    assert chosen.config == second.model_copy(update={"prefetch": 0})
    assert chosen.steps == {"tiny": [0]}
    with pytest.raises(StoreError, match="has no request 'latest'"):
        find_request(run, "latest")


def test_a_request_that_is_missing_or_damaged_is_refused(request_of):
    config = request_of("run")
    run = Run.create(config.out)
    with pytest.raises(StoreError, match="has no request: record one with pythia-traj sweep"):
        find_request(run)
    name, _ = record(config)
    path = run.path / "requests" / f"{name}.json"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(StoreError, match=r"json is damaged \(.*\): record the request again"):
        find_request(run)


def test_a_request_of_an_earlier_version_has_no_sizes_and_is_cut_into_equal_numbers(request_of):
    config = request_of("run")
    name, _ = record(config)
    path = config.out / "requests" / f"{name}.json"
    document = json.loads(path.read_text())
    assert document.pop("weight_bytes")["tiny"] > 10_000
    path.write_text(json.dumps(document))
    recorded = find_request(Run.open(config.out))
    assert recorded.steps_of(Shard(1, 2)) == {"tiny": [2, 4]}
