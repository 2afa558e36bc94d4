"""What a sweep of a published suite takes: bytes, requests, files, operations, hours.

    python docs/budget.py

All of it is computed: from the catalogue of suites, from what experiments declare, and from the
rates below, whose sources stand beside them. Nothing is measured, so it stands here, beside
generate.py, which puts its tables into cluster.md, and not among the benchmarks. Hours are
estimates until a run has measured its own first units; `pythia-traj submit --dry-run` then says
what the rest of it will take.
"""

import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

from markup import table
from rich.filesize import decimal
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.trainers import WordLevelTrainer

from pythia_traj.config import ExperimentRequest, SweepConfig
from pythia_traj.data.tasks import ioi
from pythia_traj.experiment import Passes, Shape
from pythia_traj.hub.model import HubModel
from pythia_traj.hub.retry import RetryPolicy
from pythia_traj.steps import select
from pythia_traj.store.layout import Run
from pythia_traj.suites.catalog import LAST_STEP, ModelRecord, Size, look_up
from pythia_traj.sweeps.shards import Shard, Steps, steps_of
from pythia_traj.vocabulary import Vocabulary

CONFIGS = Path(__file__).parents[1] / "configs"

CONTEXT = 2048
"""Positions of every Pythia."""

LARGEST_FILE = 10e9
"""Bytes above which a published checkpoint is several files.

It was the default of `save_pretrained(max_shard_size=)` in transformers when they were published.
"""

SMALL_REQUESTS = 2 * 2
"""For config and tokenizer, two each: once for each model whose branches all have the same."""

WINDOW = 300
"""Seconds in which the Hub counts requests."""

LIMITS = {"anonymous": (500, 3000), "with a token": (1000, 5000)}
"""Requests to the API, and for files, in a window: of an address, and of a free account.

Source: https://huggingface.co/docs/hub/rate-limits, which says that it is as of September 2025 and
that both are subject to change.
"""

WAIT = int(RetryPolicy().retry_after)
"""Seconds that a worker waits for one answer, where the Hub asks it to."""

A100_FP32 = 19.5e12
"""Operations per second without tensor cores at most (NVIDIA A100 datasheet, 1758950).

PyTorch multiplies float32 matrices without TF32 unless it is told otherwise.
"""

SHARE = 0.3
"""The part of them that is assumed to be reached."""

CONNECTION = 100e6
"""Bytes per second that are assumed to reach one task: most of a connection of 1 Gbit/s."""

SITE = 1.25e9
"""Bytes per second that are assumed to reach the cluster: a connection of 10 Gbit/s."""

JOB_FILES = 3
"""Files of a task beside its log of events: what submitit is given and returns, and its output."""

_ONLY_WITH = {("loss", "tokens"): "per_token"}
"""Tables that an experiment writes only where a parameter asks for them."""

_RUN = Run(Path("RUN"))


@dataclass(frozen=True)
class Sweep:
    """A sweep whose cost is computed.

    Attributes:
        title: what tables call it.
        config: the request.
        jobs: how many tasks do it.
    """

    title: str
    config: SweepConfig
    jobs: int = 1

    @cached_property
    def models(self) -> dict[str, ModelRecord]:
        """What the catalogue knows of its models, by name.

        Raises:
            ValueError: it does not know one of them.
        """
        found = [look_up(name) for name in self.config.model]
        if None in found:
            raise ValueError(f"not in the catalogue: {self.config.model[found.index(None)]}")
        return {record.name: record for record in found if record is not None}

    @cached_property
    def steps(self) -> Steps:
        """The steps of each model."""
        return {
            name: select(self.config.steps, record.steps) for name, record in self.models.items()
        }

    @property
    def checkpoints(self) -> int:
        """How many there are, of all models."""
        return sum(map(len, self.steps.values()))

    @property
    def units(self) -> int:
        """Each label at each checkpoint."""
        return self.checkpoints * len(self.config.experiments)

    def total(self, of_size: Callable[[Size], float]) -> float:
        """The sum over all checkpoints of what one of a size takes."""
        return sum(len(self.steps[name]) * of_size(one.size) for name, one in self.models.items())

    def largest(self, of_size: Callable[[Size], float]) -> float:
        """The most that one checkpoint takes."""
        return max(of_size(record.size) for record in self.models.values())


def weight_bytes(size: Size) -> int:
    """Of a checkpoint: float16 parameters, as `submit --dry-run` counts them."""
    found = HubModel.of(ModelRecord(f"pythia-{size.name}", "pythia", size)).weight_bytes(LAST_STEP)
    assert found is not None  # Known of every model of the catalogue.
    return found


def file_bytes(size: Size) -> int:
    """Of a checkpoint's files, which hold each layer's causal mask too, a byte an entry.

    Masks of safetensors cross the network once (hub.md); on disk each file has its own.
    """
    return weight_bytes(size) + size.n_layers * CONTEXT**2


def weight_files(size: Size) -> int:
    """Of a checkpoint."""
    return math.ceil(file_bytes(size) / LARGEST_FILE)


def listings(steps: Sequence[int]) -> int:
    """Requests to the API for a model: its branches, `main`, each step, and the last step.

    hub.md says when they are asked, tests/hub/test_sweep.py counts them.
    """
    return 2 + len({*steps, LAST_STEP})


def listings_together(sweep: Sweep) -> int:
    """Requests to the API of tasks that share a cache, where each listing is asked for once."""
    return sum(map(listings, sweep.steps.values()))


def listings_apart(sweep: Sweep) -> int:
    """Requests to the API of tasks that have a cache each.

    Files are compared among all steps of a model, so each task lists those of every model of which
    its shard has a step.
    """
    sizes = {name: weight_bytes(record.size) for name, record in sweep.models.items()}
    parts = (steps_of(Shard(i, sweep.jobs), sweep.steps, sizes) for i in range(sweep.jobs))
    return sum(listings(sweep.steps[name]) for part in parts for name in part)


def file_requests(sweep: Sweep) -> int:
    """Requests for files; the bytes of large ones then come from another host, uncounted."""
    return int(sweep.total(weight_files)) + SMALL_REQUESTS * len(sweep.models)


def minutes_at(limit: int, requests: int) -> float:
    """How long requests take at so many in a window."""
    return requests / limit * WINDOW / 60


def tasks_at_once(limit: int, steps: Sequence[int]) -> int:
    """How many tasks with a cache each can begin together and all be answered in time.

    Each begins with the listings of a model. While a worker waits for an answer, the limit is
    renewed as often as a window fits into WAIT.
    """
    return (1 + WAIT // WINDOW) * limit // listings(steps)


def unit_tables(request: ExperimentRequest) -> list[str | None]:
    """What a unit has a file for: its metrics, which are None, then tables by name."""
    experiment = request.experiment
    own = [
        name
        for name in experiment.tables
        if request.parameters.get(_ONLY_WITH.get((experiment.name, name), ""), True)
    ]
    return [None, *(["items"] if experiment.items else []), *own]


def run_files(sweep: Sweep) -> int:
    """Files of a finished run that one worker did."""
    return sum(len(paths) * steps for paths, steps in _paths(sweep))


def run_folders(sweep: Sweep) -> int:
    """Folders of a finished run, its own among them."""
    paths = [path for paths, _ in _paths(sweep) for path in paths]
    paths += [_RUN.claim_path(name, LAST_STEP) for name in sweep.models]
    paths.append(_RUN.path / ".tmp" / "file")
    above = {folder for path in paths for folder in path.parents}
    return sum(folder.is_relative_to(_RUN.path) for folder in above)


def _paths(sweep: Sweep) -> Iterator[tuple[list[Path], int]]:
    """Files of a step of each model, with how many steps have such; then those of the whole run."""
    for name, steps in sweep.steps.items():
        yield (
            [
                _RUN.unit_path(name, label, LAST_STEP, table=kind)
                for label, request in sweep.config.experiments.items()
                for kind in unit_tables(request)
            ],
            len(steps),
        )
    whole = ("run.json", "requests/digest.json", "log/worker.jsonl")
    yield [*map(_RUN.path.joinpath, whole), *map(_RUN.model_path, sweep.models)], 1


def inodes(sweep: Sweep) -> int:
    """Files and folders of a run while its tasks work.

    Each task has its own log of events and a claim, beside the files of submitit. The array has its
    script twice, array.json, and a folder in that of all jobs.
    """
    logs = sweep.jobs - 1
    claims = sweep.jobs
    array = 3 + 2
    return run_files(sweep) + run_folders(sweep) + logs + claims + sweep.jobs * JOB_FILES + array


def operations(request: ExperimentRequest, size: Size) -> float:
    """Of the matrix products of a unit: two for each token and each weight that it passes.

    Passes are counted as `sweep --dry-run` counts them. What attention does beside its weights, and
    an experiment on weights alone, are not counted.
    """
    data = request.data
    if data is None:
        return 0.0
    bound = _bound(data, size.d_vocab)
    sequences = sum(map(len, bound.groups.values()))
    length = sum(tokens.size for tokens in bound.groups.values()) / sequences
    passes, positions = _passes(request, bound, size)
    layers = size.n_layers * 12 * size.d_model**2 * length
    unembedding = size.d_model * size.d_vocab * (positions or length)
    return float(2 * (passes.layers * layers + passes.reads * unembedding))


def _passes(request: ExperimentRequest, bound: Any, size: Size) -> tuple[Passes, int | None]:
    """Those of a unit, and how many positions of a sequence are unembedded; None for all."""
    experiment, parameters = request.experiment, request.parameters
    if experiment.passes is None:
        sequences = sum(map(len, bound.groups.values()))
        is_unembedded = {"loss", "correct"} & set(experiment.reads_with(parameters))
        return Passes(sequences, sequences if is_unembedded else 0), None
    heads = size.n_layers, size.n_heads, size.d_model, size.d_model // size.n_heads
    shape = Shape(*heads, d_mlp=4 * size.d_model, element_size=4, hooks=frozenset())
    reads = [len(batch.reads) for batch in getattr(bound, "batches", ())]
    return experiment.passes(shape, bound, **experiment.own(parameters)), max(reads, default=1)


@cache
def _bound(data: Any, d_vocab: int) -> Any:
    """Data for a vocabulary of that size."""
    return data.bind(Vocabulary(d_vocab, CONTEXT, _words()), seed=0)


@cache
def _words() -> Tokenizer:
    """A tokenizer of whole words, so that none is fetched.

    It cuts the prompts as Pythia's does, for which their words are a token each; text and random
    tokens have the length that is asked for with any tokenizer.
    """
    unknown = "[UNK]"
    tokenizer = Tokenizer(WordLevel(unk_token=unknown))
    tokenizer.pre_tokenizer = Whitespace()
    texts = [*ioi.TEMPLATES.values(), *ioi.NAMES, *ioi.PLACES, *ioi.THINGS]
    tokenizer.train_from_iterator(texts, WordLevelTrainer(special_tokens=[unknown]))
    return tokenizer


def compute_seconds(sweep: Sweep, size: Size) -> float:
    """Of all experiments at a step, at the assumed rate."""
    requests = sweep.config.experiments.values()
    return sum(operations(one, size) for one in requests) / (SHARE * A100_FP32)


def network_seconds(size: Size) -> float:
    """Until the weights of a step have reached a task, at the assumed rate."""
    return weight_bytes(size) / CONNECTION


def held_seconds(sweep: Sweep, size: Size) -> float:
    """For which a step holds a GPU: the next weights come meanwhile, so the slower one counts."""
    return max(compute_seconds(sweep, size), network_seconds(size))


def sweeps(file: str, steps: str = "all") -> list[Sweep]:
    """The sweeps of cluster.md, with the experiments of a file of `configs/`."""
    examples = [
        ("pythia-1b-deduped", ("pythia-1b-deduped",), 2),
        ("PolyPythias", _config("polypythias.yaml").model, 8),
        ("the Pythia suite", _config("pythia-suite.yaml").model, 32),
    ]
    return [
        Sweep(title, _config(file, model=models, steps=steps, out=_RUN.path), jobs)
        for title, models, jobs in examples
    ]


def _config(file: str, **settings: Any) -> SweepConfig:
    return SweepConfig.from_yaml(CONFIGS / file, **settings)


def of_weights() -> str:
    """The table of what depends on models and steps alone: bytes and requests."""
    rows: list[tuple[str, Callable[[Sweep], str]]] = [
        ("models", lambda one: f"{len(one.models):,}"),
        ("checkpoints", lambda one: f"{one.checkpoints:,}"),
        ("weights, in float16 as published", lambda one: _bytes(one.total(weight_bytes))),
        ("their files, with causal masks", lambda one: _bytes(one.total(file_bytes))),
        ("the largest checkpoint", lambda one: _bytes(one.largest(weight_bytes))),
        ("its model in float32", lambda one: _bytes(2 * one.largest(weight_bytes))),
        ("hours for the weights at 10 Gbit/s", lambda one: _hours(one.total(weight_bytes) / SITE)),
        ("requests for files", lambda one: f"{file_requests(one):,}"),
        *_at_limits(1, file_requests),
        ("requests to the API, one cache", lambda one: f"{listings_together(one):,}"),
        *_at_limits(0, listings_together),
        ("tasks", lambda one: f"{one.jobs:,}"),
        ("requests to the API, a cache for each task", lambda one: f"{listings_apart(one):,}"),
        *_at_limits(0, listings_apart),
        ("such tasks that can begin together", _together),
    ]
    found = sweeps("induction.yaml")
    return table(
        ("all steps of", *(one.title for one in found)),
        [(name, *map(cell, found)) for name, cell in rows],
    )


def _at_limits(
    kind: int, requests: Callable[[Sweep], int]
) -> Iterator[tuple[str, Callable[[Sweep], str]]]:
    """A row for each of LIMITS: the minutes that requests take, to the API or for files."""
    for who, limits in LIMITS.items():
        limit = limits[kind]
        yield (
            f"... in minutes, {who}: {limit:,} in five",
            partial(_minutes, limit=limit, requests=requests),
        )


def _minutes(one: Sweep, *, limit: int, requests: Callable[[Sweep], int]) -> str:
    return f"{math.ceil(minutes_at(limit, requests(one))):,}"


def of_experiments() -> str:
    """The table of what depends on experiments too: files and hours."""
    head = ("experiments", "steps", "models", "units", "files", "inodes", "operations")
    hours = ("hours of computing", "of the network", "GPU hours")
    rows = [
        (f"`{file}`", f"`{steps}`", *_of_experiments(one))
        for file, steps in (("induction.yaml", "all"), ("suite-circuits.yaml", "log:12"))
        for one in sweeps(file, steps)
    ]
    return table((*head, *hours), rows)


def _of_experiments(one: Sweep) -> tuple[str, ...]:
    counts = (f"{count:,}" for count in (one.units, run_files(one), inodes(one)))
    compute = one.total(partial(compute_seconds, one))
    seconds = (compute, one.total(network_seconds), one.total(partial(held_seconds, one)))
    return one.title, *counts, f"{compute * SHARE * A100_FP32:.1e}", *map(_hours, seconds)


def _together(one: Sweep) -> str:
    """How many tasks with a cache each can begin together, by LIMITS."""
    steps = max(one.steps.values(), key=len)
    return ", ".join(f"{tasks_at_once(api, steps)} {who}" for who, (api, _) in LIMITS.items())


def _bytes(count: float) -> str:
    return decimal(round(count))


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.0f}" if hours >= 10 else f"{hours:.1f}"


def main() -> None:
    """Prints both tables."""
    sys.stdout.write(f"{of_weights()}\n\n{of_experiments()}\n")


if __name__ == "__main__":
    main()
