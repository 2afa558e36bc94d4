"""What docs/budget.py computes is what sweeps, the hub, files and the CLI say."""

import json
import re
from collections import Counter
from pathlib import Path

import budget
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import pythia_traj as pt
from pythia_traj.data.roles import ORDERED
from pythia_traj.store.layout import Run
from pythia_traj.suites.catalog import SIZES, Size, catalog
from pythia_traj.sweeps.requests import find_request, plan_sweep, record_request
from pythia_traj.sweeps.shards import Shard
from pythia_traj.sweeps.worker import work
from tests.data.test_roles import word_tokenizer
from tests.hub.fixtures import online as online
from tests.hub.fixtures import serve as serve
from tests.hub.publish import publish_steps, random_pythia
from tests.hub.repository import Repository
from tests.support import random_model, write_distinct

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "cluster.md").read_text()
STEPS = (0, 1, 143_000)


def sweep(model="pythia-14m", steps="all", file="induction.yaml", jobs=1, **settings):
    settings = {"out": "RUN", "model": model, "steps": steps, **settings}
    return budget.Sweep("one", pt.SweepConfig.from_yaml(budget.CONFIGS / file, **settings), jobs)


@pytest.fixture
def published(tmp_path, serve):
    """A hub with three steps of a known model."""
    write_distinct(tmp_path / "steps", STEPS)
    for folder in (tmp_path / "steps").glob("step*"):
        word_tokenizer(ORDERED["days"][0]).save(str(folder / "tokenizer.json"))
    repository = Repository(catalog()["pythia-14m"].repo)
    publish_steps(repository, tmp_path / "steps")
    return serve(repository)


SMALL = {
    "induction.yaml": ("induction.n=4", "loss.n=4"),
    "suite-circuits.yaml": (
        *("behaviour.n=8", "heads.n=8", "heads_of_repeats.n=8", "circuit.n=8"),
        *("circuit.sizes=5", "circuit.circuit=5"),
    ),
}


@pytest.mark.parametrize("file", SMALL)
def test_requests_files_and_folders_are_those_of_a_sweep(file, published, tmp_path, cli):
    small = [word for setting in SMALL[file] for word in ("--set", setting)]
    asked = ("--model", "pythia-14m", "--steps", ",".join(map(str, STEPS)), "--device", "cpu")
    run = tmp_path / "run"
    status, _, error = cli("sweep", budget.CONFIGS / file, *asked, "--out", run, *small)
    assert status == 0, error
    computed = sweep(steps="0,1,last", file=file)
    assert computed.units == len(list(run.glob("metrics/**/*.parquet")))
    paths = list(run.rglob("*"))
    files = [path for path in paths if path.is_file()]
    assert budget.run_files(computed) == len(files), files
    assert budget.run_folders(computed) == 1 + len(paths) - len(files)
    kinds = Counter(record.kind for record in published.requests if record.origin == "hub")
    # Weights that other steps are compared with are asked for once more.
    again = file == "suite-circuits.yaml"
    assert budget.file_requests(computed) + again == kinds.pop("resolve")
    assert budget.listings_together(computed) == sum(kinds.values()), kinds


def test_another_task_adds_a_log_a_claim_and_three_files():
    alone, three_more = (budget.inodes(sweep(jobs=jobs)) for jobs in (1, 4))
    assert three_more - alone == 3 * (1 + 1 + 3)
    of_a_run = budget.run_files(sweep()) + budget.run_folders(sweep())
    # A claim, three files of the task, three of its array, whose folder lies in that of all jobs.
    assert alone - of_a_run == 1 + 3 + 3 + 2


def test_a_table_that_a_parameter_asks_for_counts_where_it_does():
    assert budget.unit_tables(sweep().config.experiments["loss"]) == [None, "items"]
    asked = sweep(experiments={"loss": {"per_token": True}})
    assert budget.unit_tables(asked.config.experiments["loss"]) == [None, "items", "tokens"]


def test_bytes_are_those_of_the_dry_run(cli, tmp_path):
    file = budget.CONFIGS / "pythia-suite.yaml"
    status, printed, error = cli(
        *("submit", file, "--executor", "inline", "--out", tmp_path / "run", "--dry-run", "--json")
    )
    assert status == 0, error
    suite = sweep(pt.SweepConfig.from_yaml(file).model)
    assert json.loads(printed)["bytes"] == suite.total(budget.weight_bytes)
    assert json.loads(printed)["todo"] == suite.units


def test_files_hold_weights_and_masks(tmp_path):
    random_pythia(tmp_path / "14m", "14m", seed=0)
    size = (tmp_path / "14m" / "model.safetensors").stat().st_size
    assert 0 < size - budget.file_bytes(SIZES["14m"]) < 50_000  # header, small buffers


@pytest.mark.parametrize(("size", "files"), [("14m", 1), ("2.8b", 1), ("6.9b", 2), ("12b", 3)])
def test_a_large_checkpoint_is_several_files(size, files):
    assert budget.weight_files(SIZES[size]) == files


def test_tasks_with_a_cache_each_list_every_model_of_their_shard():
    one = sweep("pythia-70m")
    assert budget.listings_apart(one) == budget.listings_together(one) == 156
    assert budget.listings_apart(sweep("pythia-70m", jobs=4)) == 4 * 156
    two = sweep(("pythia-70m", "pythia-70m-deduped"), jobs=2)
    assert budget.listings_apart(two) == budget.listings_together(two) == 2 * 156
    # The middle one of three tasks has steps of both.
    two = sweep(("pythia-70m", "pythia-70m-deduped"), jobs=3)
    assert budget.listings_apart(two) == 4 * 156


@pytest.mark.parametrize("shared", [True, False])
def test_workers_ask_for_listings_as_often_as_it_says(shared, published, tmp_path, monkeypatch):
    small = {"induction": {"n": 2, "length": 20}}
    two = sweep(steps="0,1,last", jobs=2, experiments=small, out=tmp_path / "run", device="cpu")
    plan, models = plan_sweep(two.config)
    record_request(Run.create(tmp_path / "run"), two.config, models, plan.steps)
    for i in range(two.jobs):
        if not shared:
            monkeypatch.setenv("PYTHIA_TRAJ_CACHE", str(tmp_path / f"cache-{i}"))
        recorded = find_request(Run.open(tmp_path / "run"), device="cpu")
        assert work(recorded, Shard(i, two.jobs), takes_over=False).done
    asked = sum(record.kind in ("refs", "tree") for record in published.requests)
    assert asked == (budget.listings_together if shared else budget.listings_apart)(two)


def test_the_last_step_is_listed_whether_it_is_asked_for_or_not():
    assert budget.listings((0, 1)) == budget.listings((0, 1, 143_000)) == 5


def test_as_many_tasks_begin_together_as_are_answered_within_a_workers_patience():
    count = budget.tasks_at_once(1000, catalog()["pythia-70m"].steps)
    # At once, and after each of the windows that a worker waits for.
    answered = 1000 * (1 + 15 * 60 // 300)
    assert count * 156 <= answered < (count + 1) * 156


def test_minutes_are_those_of_windows():
    assert budget.minutes_at(500, 500) == 5
    assert budget.minutes_at(500, 1750) == 17.5


def test_operations_are_those_that_torch_counts_without_attention():
    size = Size("tiny", 2, 32, 4, 1e-3, d_vocab=1000)
    request = sweep(experiments={"loss": {"n": 2, "null_n": 1, "length": 64}})
    model = random_model(
        vocab_size=1000, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        intermediate_size=128,
    )  # fmt: skip
    model.set_attn_implementation("eager")  # The counter does not see the other one.
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        model(torch.zeros((3, 64), dtype=torch.long))
    attention = 3 * 2 * 4 * 64**2 * 32  # sequences, layers; queries by keys, pattern by values
    counted = counter.get_total_flops() - attention
    assert budget.operations(request.config.experiments["loss"], size) == counted


def test_operations_grow_with_passes_and_layers():
    circuits = sweep(file="suite-circuits.yaml").config.experiments
    for name in circuits:
        small, large = (budget.operations(circuits[name], SIZES[one]) for one in ("70m", "1b"))
        assert 0 < small < large, name
    repeated = circuits["heads"].model_copy(
        update={"parameters": {**circuits["heads"].parameters, "n": 50}}
    )
    assert budget.operations(repeated, SIZES["70m"]) == pytest.approx(
        budget.operations(circuits["heads"], SIZES["70m"]) / 2, rel=0.02
    )
    weights = sweep(experiments={"weights": {}}).config.experiments["weights"]
    assert budget.operations(weights, SIZES["70m"]) == 0


def test_a_step_holds_its_gpu_for_the_slower_of_network_and_experiments():
    quick, slow = sweep(), sweep(file="suite-circuits.yaml")
    size = SIZES["1b"]
    assert budget.network_seconds(size) == 2 * size.n_parameters / budget.CONNECTION
    assert budget.compute_seconds(quick, size) < budget.network_seconds(size)
    assert budget.held_seconds(quick, size) == budget.network_seconds(size)
    assert budget.held_seconds(slow, size) == budget.compute_seconds(slow, size)
    assert budget.compute_seconds(slow, size) > budget.network_seconds(size)


def test_the_configs_of_suites_have_all_their_models():
    sizes = {"14m", "31m"}
    named = {
        "polypythias": [one for one in catalog().values() if one.suite == "polypythias"],
        "pythia-suite": [
            one
            for one in catalog().values()
            if one.suite == "pythia" and one.size.name not in sizes
        ],
    }
    for file, records in named.items():
        config = pt.SweepConfig.from_yaml(budget.CONFIGS / f"{file}.yaml")
        assert set(config.model) == {record.name for record in records}
    assert [len(records) for records in named.values()] == [51, 16]


def test_a_model_that_is_not_in_the_catalogue_is_refused(suite):
    with pytest.raises(ValueError, match=f"not in the catalogue: {suite}"):
        _ = sweep(str(suite)).models


def test_numbers_in_the_text_of_the_page_are_those_of_its_tables():
    poly, suite = budget.sweeps("induction.yaml")[1:]
    twelve = 154 * 2 * budget.weight_bytes(SIZES["12b"])
    assert f"Its weights are {suite.total(budget.weight_bytes) / 1e12:.1f} TB" in PAGE
    assert f"each of {suite.checkpoints:,} checkpoints. {twelve / 1e12:.1f} TB of" in PAGE
    assert f"## PolyPythias: {len(poly.models)} models, 154 steps" in PAGE
    assert f"## The Pythia suite: {len(suite.models)} models, 154 steps" in PAGE
    assert (
        f"A model is {budget.listings(poly.steps['pythia-70m-seed1'])} requests to the API" in PAGE
    )
    assert f"all 154 are {round(154 / 12)} times those of `log:12`" in PAGE
    assert f"{budget.SHARE:.0%} of the {budget.A100_FP32 / 1e12} TFLOP/s".replace("%", " %") in PAGE
    assert f"12 x {budget.CONNECTION / 1e6:.0f} MB/s" in PAGE
    assert 12 <= budget.SITE / budget.CONNECTION < 13
    for one in (poly, suite):
        assert re.search(rf"--executor slurm --jobs {one.jobs} ", PAGE)
    (anonymous, files), (token, more) = budget.LIMITS.values()
    assert (
        f"{anonymous} without a token and {token:,} with one, and for files, {files:,} and" in PAGE
    )
    assert f"{files:,} and {more:,}." in PAGE
