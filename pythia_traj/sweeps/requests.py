"""A request and its run: what there is to do, written by whoever asks, read by the workers.

What is recorded holds all that decides which worker does what: the explicit steps, and the size of
a step's weights. Neither is looked up again, as a training run may go on meanwhile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pythia_traj.checkpoint import PublishedModel
from pythia_traj.config import SweepConfig
from pythia_traj.errors import ConfigError, StepsError, StoreError, nearest
from pythia_traj.store.done import read_request, request_files
from pythia_traj.store.layout import Run
from pythia_traj.store.parquet import DamagedError
from pythia_traj.stream.published import open_model
from pythia_traj.sweeps.existing import Existing
from pythia_traj.sweeps.plan import Plan, make_plan
from pythia_traj.sweeps.shards import Shard, Steps, steps_of
from pythia_traj.toy.missing import refuse_missing, train_if_missing


@dataclass(frozen=True)
class Recorded:
    """A request as a run holds it.

    Attributes:
        name: of its file, `requests/<name>.json`.
        config: the request, with how this worker does it.
        steps: the steps of each model.
        weight_bytes: of one step of each model, None where it is not known.
    """

    name: str
    config: SweepConfig
    steps: Steps
    weight_bytes: Mapping[str, int | None]

    def steps_of(self, shard: Shard) -> Steps:
        """The steps that a shard has to do, done or not."""
        return steps_of(shard, self.steps, self.weight_bytes)

    def check_published(self, models: Sequence[PublishedModel]) -> None:
        """Checks that the models still have the steps.

        Raises:
            ConfigError: the request has no steps of a model.
            StepsError: a model has lost a step.
        """
        for published in models:
            if published.model not in self.steps:
                raise ConfigError(
                    f"request {self.name} has no steps of {published.model}: its directory was"
                    " renamed, so record the request again"
                )
            gone = set(self.steps[published.model]) - set(published.steps)
            if gone:
                raise StepsError(
                    f"{published.model}: step {min(gone)} of request {self.name} is not published"
                    " any more: record the request again"
                )


def plan_sweep(
    config: SweepConfig,
    recorded: Recorded | None = None,
    *,
    part: Steps | None = None,
    train: bool = True,
) -> tuple[Plan, list[PublishedModel]]:
    """What a sweep would do, or a worker that does a part of a recorded request.

    Writes nothing into the run, loads no model, and finds what is done without a connection.

    Args:
        part: the steps to do, of each model; None are all.
        train: whether the toy suite that the request wants is trained where it does not exist yet;
            otherwise such a request is refused.

    Raises:
        PythiaTrajError: the request is wrong.
    """
    (train_if_missing if train else refuse_missing)(config)
    models = [open_model(name, config.source, refresh=config.refresh) for name in config.model]
    existing = Existing(Run.find(config.out), models)
    if recorded is not None:
        recorded.check_published(models)
    steps = None if recorded is None else recorded.steps
    plan = make_plan(config, models, existing.why_todo, steps=steps, part=part)
    return replace(plan, warnings=existing.warnings(config, plan)), models


def plan(config: SweepConfig) -> Plan:
    """What a sweep would do; writes nothing and reads no weights.

    Raises:
        PythiaTrajError: the request is wrong.
    """
    return plan_sweep(config, train=False)[0]


def record(config: SweepConfig) -> tuple[str, Plan]:
    """Writes a request into its run, for workers, and measures nothing.

    Returns:
        the request's name, and what there is to do.

    Raises:
        PythiaTrajError: the request is wrong, or writing fails.
    """
    plan, models = plan_sweep(config)
    return record_request(Run.create(config.out), config, models, plan.steps), plan


def record_request(
    run: Run, config: SweepConfig, models: Sequence[PublishedModel], steps: Steps
) -> str:
    """Writes what is to be measured into the run, as its latest request; returns its name."""
    return run.record_request(document_of(config, models, steps))


def document_of(
    config: SweepConfig, models: Sequence[PublishedModel], steps: Steps
) -> dict[str, Any]:
    """What a run holds of a request."""
    return {
        **config.requested(),
        "explicit_steps": {model: list(selected) for model, selected in steps.items()},
        "weight_bytes": {
            published.model: _weight_bytes(published, steps[published.model])
            for published in models
        },
    }


def find_request(run: Run, name: str | None = None, **how: Any) -> Recorded:
    """Reads a request of a run.

    Args:
        name: its name; None is the one that was asked for last.
        how: settings that are not part of a request: the device, room for checkpoints.

    Raises:
        StoreError: there is none, or it is damaged.
        ConfigError: this version cannot do it.
    """
    files = {path.stem: path for path in request_files(run)}
    if not files:
        raise StoreError(
            f"{run.path} has no request: record one with pythia-traj sweep --record-only"
        )
    if name is None:
        name = max(files, key=lambda name: (files[name].stat().st_mtime_ns, name))
    elif name not in files:
        raise StoreError(f"{run.path} has no request {name!r}: {nearest(name, files)}")
    try:
        request = read_request(files[name])
    except DamagedError as error:
        raise StoreError(f"{files[name]} is damaged ({error}): record the request again") from None
    settings = {**(request.model_extra or {}), "experiments": request.experiments}
    return Recorded(
        name,
        SweepConfig(**{**settings, "out": run.path, **how}),
        {model: sorted(set(selected)) for model, selected in request.explicit_steps.items()},
        request.weight_bytes,
    )


def _weight_bytes(published: PublishedModel, steps: Sequence[int]) -> int | None:
    """Of one step: a model's checkpoints are of one size."""
    sizes = (published.weight_bytes(step) for step in steps)
    return next((size for size in sizes if size is not None), None)
