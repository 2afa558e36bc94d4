"""A sweep, or a worker that does one shard of it and then what nobody else works on."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pythia_traj.checkpoint import PublishedModel
from pythia_traj.config import SweepConfig
from pythia_traj.standins import check_installed
from pythia_traj.store.events import read_events
from pythia_traj.store.layout import Run
from pythia_traj.sweeps.claims import Claims, InHand
from pythia_traj.sweeps.existing import Existing, renew_models
from pythia_traj.sweeps.heartbeat import beating
from pythia_traj.sweeps.journal import FAILED
from pythia_traj.sweeps.plan import Plan, Unit
from pythia_traj.sweeps.progress import watched_by
from pythia_traj.sweeps.record import Observer, Recorder, Silent, SweepResult
from pythia_traj.sweeps.requests import Recorded, document_of, plan_sweep
from pythia_traj.sweeps.runner import Desk, ModelSweep
from pythia_traj.sweeps.shards import WHOLE, Shard, Steps
from pythia_traj.sweeps.stopping import Stop
from pythia_traj.sweeps.upkeep import settle

if TYPE_CHECKING:
    import torch

_LOOK_SECONDS = 1.0
"""Between two looks at a step that another worker has in hand."""


def sweep(config: SweepConfig, *, observer: Observer | None = None) -> SweepResult:
    """Measures every model at every selected step with every experiment, and stores the rows.

    Units that exist already are skipped. Those that another process has in hand are waited for, and
    measured here if it dies.

    An interruption loses at most the units in work: the same call goes on from there.

    Args:
        config: the request.
        observer: receives the progress; without one, a notebook shows a bar.

    Returns:
        what was done, skipped and failed.

    Raises:
        PythiaTrajError: the request is wrong, or writing fails.
    """
    with watched_by(observer) as watching:
        worker = Worker(config, WHOLE, watching)
        with worker.at_work:
            left = worker.do(*worker.plan())
            while left:
                worker.wait_for(left)
                left = worker.do(*worker.plan(_steps_of(left)))
    return worker.result


def work(
    recorded: Recorded,
    shard: Shard,
    *,
    takes_over: bool = True,
    observer: Observer | None = None,
    stop: Stop | None = None,
) -> SweepResult:
    """Does one shard of a request that a run holds, then what no living worker has in hand.

    It needs no other worker: what its units compare with in other shards is taken from the run, or
    measured into the run's cache where it is missing.

    Args:
        recorded: see `requests.find_request`.
        shard: its part.
        takes_over: whether it goes on with units of other shards. Those that failed are not tried
            again.
        observer: receives the progress.
        stop: is asked before each unit.

    Returns:
        what was done, skipped and failed, and what other workers have in hand.

    Raises:
        PythiaTrajError: the request is wrong, or writing fails.
        Interrupted: it was asked to stop.
    """
    worker = Worker(recorded.config, shard, observer or Silent(), recorded, stop)
    with worker.at_work:
        left = worker.do(*worker.plan(recorded.steps_of(shard)))
        if takes_over:
            left = worker.do(*worker.plan_of_others())
    worker.result.left += left
    return worker.result


class Worker:
    """One process's part in a request: `sweep`, `refining` and `following` use its steps."""

    def __init__(
        self,
        config: SweepConfig,
        shard: Shard,
        observer: Observer,
        recorded: Recorded | None = None,
        stop: Stop | None = None,
        records: Callable[..., Recorder] = Recorder,
    ) -> None:
        """`records` makes the record of what becomes of the units."""
        self._stop, self._records = stop or Stop(), records
        self.config, self.shard, self.observer, self.recorded = config, shard, observer, recorded
        self.result = SweepResult(config.out)
        self.at_work = ExitStack()
        self._run: Run | None = None
        self._recorder: Recorder | None = None
        self._request: dict[str, Any] | None = None
        """What was written into the run; None for a request that it held already."""

    def plan(self, part: Steps | None = None) -> tuple[Plan, list[PublishedModel]]:
        """What there is to do of a part of the request; None is all of it."""
        return plan_sweep(self.config, self.recorded, part=part)

    def plan_of_others(self) -> tuple[Plan, list[PublishedModel]]:
        """What there is to do in the whole request and has not failed, from its other end."""
        plan, models = self.plan()
        failed = _failed(self._opened)
        todo = [unit for unit in plan.todo if unit.name not in failed]
        if not any(unit.row_references for unit in todo):
            # Whoever has the shard comes from its beginning.
            todo = _from_the_end(todo, self.shard)
            models = [*reversed(models)]
        return replace(plan, todo=tuple(todo), done=(), warnings=()), models

    def do(self, plan: Plan, models: Sequence[PublishedModel]) -> list[Unit]:
        """Measures the units of a plan; returns those that other workers have in hand."""
        self.result.skipped += plan.done
        self.result.warnings += plan.warnings
        if not plan.todo:
            self._enter(models, plan.steps)
            self.observer.planned(plan)
            return []
        desk = self.desk(models, plan.steps)
        desk.recorder.planned(plan)
        desk.in_hand.make_room(plan.todo)
        self._measure(desk, plan, models)
        self.result.skipped += desk.in_hand.done
        return desk.in_hand.left

    def desk(self, models: Sequence[PublishedModel], steps: Steps) -> Desk:
        """What measuring needs: the device, the run with its request, the record.

        Args:
            steps: those that are requested of each model.
        """
        device = self._device()
        run = self._enter(models, steps)
        recorder = self._recording()
        claims = Claims(run, recorder.log.worker)
        # Its heart beats: from here on nobody else begins to change files of finished units.
        settle(claims, self.observer.working)
        if self._request is not None:
            # Whoever did so until now may have changed the requests too.
            run.record_request(self._request)
        in_hand = InHand(claims, Existing(run, models), self.observer.working)
        return Desk(self.config, run, device, self.observer, recorder, in_hand, self._stop)

    def _enter(self, models: Sequence[PublishedModel], steps: Steps) -> Run:
        """Makes the run, if it is not there, and writes the request into it."""
        if self._run is None:
            self._run = Run.create(self.config.out)
            self._run.remove_leftovers()
            renew_models(self._run, models)
        if self.recorded is None:
            self._request = document_of(self.config, models, steps)
            name = self._run.record_request(self._request)
            self.recorded = Recorded(name, self.config, steps, {})
        return self._run

    def wait_for(self, left: Iterable[Unit]) -> None:
        """Returns when another worker has put down one of its steps, or is dead."""
        claims = Claims(self._opened, "")
        steps = {(unit.model, unit.step) for unit in left}
        names = ", ".join(f"{model} step {step}" for model, step in sorted(steps))
        self.observer.working(f"waiting for another process: {names}")
        while all(claims.is_held(*one) for one in steps):
            time.sleep(_LOOK_SECONDS)

    def _measure(self, desk: Desk, plan: Plan, models: Sequence[PublishedModel]) -> None:
        sweeps = []
        for published in models:
            todo = [unit for unit in plan.todo if unit.model == published.model]
            if todo:
                # A reference is checked like a requested step.
                references = [step for unit in todo for step in unit.references.values()]
                steps = (*plan.steps[published.model], *references)
                published.expect(steps, defects=self.config.on_defect == "measure")
                sweeps.append(ModelSweep(desk, published, steps, todo))
        for one in sweeps:
            one.prepare()
        while sweeps:
            # Dropped with its data when it is done.
            sweeps.pop(0).measure()

    def _device(self) -> "torch.device":
        # Only a worker with something to do loads torch.
        check_installed()
        from pythia_traj.models.device import pick_device

        return pick_device(self.config.device)

    def _recording(self) -> Recorder:
        """The record of this worker; it begins with the first unit that there is to do."""
        if self._recorder is None:
            assert self.recorded is not None
            recorder = self._records(
                self._opened, self.observer, self.result, self.recorded.name, self.shard
            )
            self.at_work.enter_context(recorder.noting())
            self.at_work.enter_context(recorder.working())
            self.at_work.enter_context(beating(recorder.log))
            self._recorder = recorder
        return self._recorder

    @property
    def _opened(self) -> Run:
        assert self._run is not None
        return self._run


def _steps_of(units: Iterable[Unit]) -> Steps:
    found: dict[str, set[int]] = defaultdict(set)
    for unit in units:
        found[unit.model].add(unit.step)
    return {model: sorted(steps) for model, steps in found.items()}


def _failed(run: Run) -> set[str]:
    """The units whose last event is that they failed, or were left out for a defect."""
    last = {event["unit"]: event["event"] for event in read_events(run) if event.get("unit")}
    return {unit for unit, event in last.items() if event in FAILED}


def _from_the_end(todo: Sequence[Unit], shard: Shard) -> list[Unit]:
    """Units with the last steps first; each worker begins at a place of its own.

    Workers that finish at the same time would else open the same checkpoints ahead.
    """
    by_step: dict[tuple[str, int], list[Unit]] = defaultdict(list)
    for unit in todo:
        by_step[unit.model, unit.step].append(unit)
    found: list[Unit] = []
    for model in dict.fromkeys(unit.model for unit in todo):
        steps = [units for (name, _), units in reversed(by_step.items()) if name == model]
        first = len(steps) * shard.index // shard.count
        found += [unit for units in (*steps[first:], *steps[:first]) for unit in units]
    return found
