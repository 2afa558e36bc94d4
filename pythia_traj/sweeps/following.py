"""A sweep of a directory that a training run is writing: each checkpoint when it is whole.

`suites.arrivals` says what is whole; here each arrival is planned like a sweep of those steps, and
measured in one session, so that the model is built once. At the end the whole directory is planned
like a sweep: so the rows are those of a sweep afterwards.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Protocol, runtime_checkable

from pythia_traj.config import SweepConfig
from pythia_traj.errors import CheckpointError
from pythia_traj.steps import selects
from pythia_traj.store.done import read_requests, request_files
from pythia_traj.store.layout import Run
from pythia_traj.suites.arrivals import Arrivals, Look
from pythia_traj.suites.ending import Ending
from pythia_traj.suites.growing import GrowingModel
from pythia_traj.sweeps.existing import Existing
from pythia_traj.sweeps.failure import Failure
from pythia_traj.sweeps.followable import model_to_follow, steps_to_wait_for
from pythia_traj.sweeps.journal import REMOVED
from pythia_traj.sweeps.plan import Plan, Unit, make_plan
from pythia_traj.sweeps.progress import watched_by
from pythia_traj.sweeps.record import Observer, Recorder, SweepResult
from pythia_traj.sweeps.requests import record_request
from pythia_traj.sweeps.runner import Desk, ModelSweep
from pythia_traj.sweeps.shards import WHOLE
from pythia_traj.sweeps.worker import Worker

LOOK_SECONDS = 1.0
"""Between two looks at the directory."""


@runtime_checkable
class Watcher(Protocol):
    """An observer that also wants to know what is waited for, and what is left out."""

    def said(self, sentence: str) -> None:
        """A sentence for whoever watches, once."""


@dataclass(frozen=True)
class Followed:
    """How following a directory ended.

    Attributes:
        result: what was measured, skipped and failed.
        removed: the steps whose checkpoints were removed before they were measured, each with what
            is known of it.
        end: why it ended, in words.
    """

    result: SweepResult
    removed: dict[int, str]
    end: str

    def _repr_html_(self) -> str:
        """In a notebook."""
        from pythia_traj.sweeps.shown import followed_as_html

        return followed_as_html(self)


def follow(
    config: SweepConfig, *, until: int | None = None, observer: Observer | None = None
) -> Followed:
    """Measures the checkpoints of a training run as they appear, each once it is whole.

    It returns when the training has ended and all that is there is measured. An interruption loses
    at most the units in work: the same call goes on from there.

    Args:
        config: the request; its model is the directory, which need not exist yet.
        until: the step with which the training ends, where no `trainer_state.json` says so; with
            it, none is read.
        observer: receives the progress; one that has a method `said` also what is waited for.
            Without one, a notebook shows a bar.

    Returns:
        what was measured, and which checkpoints were removed before that.

    Raises:
        PythiaTrajError: the request is wrong, or writing fails.
    """
    with watched_by(observer) as watching:
        return _Following(config, until, watching).measure()


class _Record(Recorder):
    """A unit has not failed if its checkpoint was removed or rewritten while it was read."""

    def __init__(self, *arguments: Any, following: "_Following") -> None:
        super().__init__(*arguments)
        self._following = following

    def failed(self, units: Iterable[Unit], failure: Failure) -> None:
        """Notes that units failed, unless that is why."""
        # A traceback is of an experiment's own error, whatever became of the files since.
        is_of_files = failure.trace is None or failure.message.startswith("FileNotFoundError")
        for unit in units:
            became = self._following.became(unit) if is_of_files else None
            if became is None:
                super().failed([unit], failure)
            elif became[0] == "removed":
                self.removed([unit], self._following.lost(unit, became[1]))
            else:
                self.put_off([unit], f"step {became[1]} was written anew while it was read")
                self._following.again(unit, became[1])


@dataclass
class _Following:
    """One directory, followed to its end."""

    config: SweepConfig
    until: int | None
    observer: Observer
    removed: dict[int, str] = field(default_factory=dict)
    end: str = ""

    def __post_init__(self) -> None:
        self._published: GrowingModel = model_to_follow(self.config)
        self._arrivals = Arrivals(self._published.directory)
        self._ending = Ending(self._published.directory)
        self._held = steps_to_wait_for(self.config)
        self._worker = Worker(
            self.config, WHOLE, self.observer, records=partial(_Record, following=self)
        )
        run = Run.find(self.config.out)
        self._others = set() if run is None else {path.stem for path in request_files(run)}
        """The requests that the run had before."""
        self._own: str | None = None
        """The request of the last round, where the run did not have it before."""
        self._said: set[str] = set()
        self._desk: Desk | None = None

    def measure(self) -> Followed:
        """Follows the directory to its end."""
        with self._worker.at_work:
            desk = self._begin()
            rounds = self._rounds(desk)
            while (first := next(rounds, None)) is not None:
                self._measure(desk, first, rounds)
            self._worker.result.skipped += desk.in_hand.done
        return Followed(self._worker.result, self.removed, self.end)

    def became(self, unit: Unit) -> tuple[str, int] | None:
        """What has become of the first checkpoint that a unit needs and that is not as it was."""
        for step in (unit.step, *unit.references.values()):
            what = self._arrivals.became(step)
            if what == "removed" or (what is not None and not self.end):
                return what, step
        return None

    def lost(self, unit: Unit, step: int) -> str:
        """Notes that a unit's checkpoint was removed, or one that it is compared with."""
        why = (
            f"step {step}, with which step {unit.step} is compared, was removed"
            if step != unit.step
            else f"step {step} was removed before it was measured"
        )
        self.removed[unit.step] = why
        self._say(why)
        return why

    def again(self, unit: Unit, step: int) -> None:
        """Waits until the checkpoints of a unit are whole again."""
        self._arrivals.again({unit.step, step})

    def _begin(self) -> Desk:
        """Makes the run before anything has arrived: what is wrong with it shows now."""
        published = self._published
        # Whether rows of this name are of this directory is seen by the checkpoints it has.
        self._arrivals.look(time.monotonic())
        published.revisions.update(self._arrivals.there)
        self._desk = desk = self._worker.desk([published], {published.model: ()})
        published.revisions.clear()
        assert self._worker.recorded is not None
        self._put_down(desk, self._worker.recorded.name)
        for step in self._lost_before(desk.run):
            self._lose(desk, step, f"step {step} was removed before it was measured")
        desk.recorder.planned(Plan({}, (), ()))
        return desk

    def _lost_before(self, run: Run) -> list[int]:
        """Steps that an interrupted call has requested, and that were removed since."""
        model, labels = self._published.model, self.config.experiments
        requests = read_requests(run, {}).values()
        wanted = {step for one in requests for step in one.explicit_steps.get(model, ())}
        return [
            step
            for step in sorted(wanted - self._arrivals.there.keys())
            if any(not run.unit_path(model, label, step).exists() for label in labels)
        ]

    def _lose(self, desk: Desk, step: int, why: str) -> None:
        """Notes a step whose checkpoint was removed: nobody waits for its units."""
        self.removed[step] = why
        self._say(why)
        for label in self.config.experiments:
            if not desk.run.unit_path(self._published.model, label, step).exists():
                name = f"{self._published.model}/{label}/step{step}"
                desk.recorder.log.write(REMOVED, unit=name, error=why)

    def _measure(self, desk: Desk, first: Sequence[Unit], rounds: Iterator[Sequence[Unit]]) -> None:
        """A round, and those after it as long as there is a model to measure them on."""
        published = self._published
        asked = (*self._asked_for(published.revisions), *_steps(first))
        steps = sorted({step for step in asked if published.has(step)})
        sweep = ModelSweep(desk, published, steps, first, self.config.experiments, grows=True)
        sweep.prepare()
        if isinstance(sweep.problem, CheckpointError) and not self.end:
            # A checkpoint was removed while it was looked at.
            self._arrivals.again(unit.step for unit in first)
        else:
            sweep.measure(self._further(sweep, steps, rounds))

    def _further(
        self, sweep: ModelSweep, steps: Sequence[int], rounds: Iterator[Sequence[Unit]]
    ) -> Iterator[Sequence[Unit]]:
        """The next rounds, unless the checkpoint that the model would be built from is gone."""
        done = len(self._worker.result.done)
        while sweep.has_model and (
            len(self._worker.result.done) > done or all(map(self._published.has, steps))
        ):
            units = next(rounds, None)
            if units is None:
                return
            sweep.add(_steps(units))
            yield units

    def _rounds(self, desk: Desk) -> Iterator[tuple[Unit, ...]]:
        """The units of each arrival; when the next is asked for, they were measured."""
        while not self.end:
            part = self._wait(desk)
            left: Collection[int] = part
            while left:
                yield from self._units(desk, left)
                left = self._left(desk)

    def _wait(self, desk: Desk) -> list[int]:
        """The steps that have arrived; at the end, all that are there."""
        held: dict[int, str] = {}
        while True:
            look = self._arrivals.look(time.monotonic())
            for step in self._asked_for(look.removed):
                self._lose(desk, step, f"step {step} was removed before it was whole")
            held |= look.arrived
            if held and (self._held <= held.keys() | self._published.revisions.keys()):
                return self._take(held)
            self._show(look)
            why = self._why_ended()
            if why is not None and look.is_still:
                self.end = why
                self._say(why)
                return self._take({**held, **self._arrivals.there})
            time.sleep(LOOK_SECONDS)

    def _take(self, arrived: dict[int, str]) -> list[int]:
        """Adds steps to the model; returns those of all that are there and were asked for."""
        is_first = not self._published.revisions
        self._published.add(arrived)
        for step in arrived:
            # One that was removed may be written again.
            self.removed.pop(step, None)
        if is_first and arrived:
            self._published = self._published.described()
        return self._asked_for(arrived)

    def _asked_for(self, steps: Collection[int]) -> list[int]:
        if not self._published.revisions:
            # How many tokens a step has is read with the first one.
            return sorted(steps)
        tokens = self._published.tokens_per_step
        return [
            step
            for step in sorted(steps)
            if selects(self.config.steps, step, tokens_per_step=tokens)
        ]

    def _why_ended(self) -> str | None:
        there = self._arrivals.there
        if self.until is None:
            return self._ending.why(there)
        newest = max(there, default=-1)
        return f"step {newest} is there" if newest >= self.until else None

    def _show(self, look: Look) -> None:
        """What is waited for; a checkpoint that stays incomplete is named once."""
        self._say(f"waiting for checkpoints in {self._published.directory}")
        self.observer.working("waiting for the next checkpoint")
        if look.is_still:
            for step, why in look.pending.items():
                self._say(f"waiting for step {step}: {why}")

    def _say(self, sentence: str) -> None:
        """A sentence for the user and the log, once."""
        if sentence in self._said:
            return
        self._said.add(sentence)
        if self._desk is not None:
            self._desk.recorder.log.write("note", level="info", message=sentence)
        if isinstance(self.observer, Watcher):
            self.observer.said(sentence)

    def _units(self, desk: Desk, part: Collection[int]) -> Iterator[tuple[Unit, ...]]:
        """What there is to do at some steps, if anything, put down in the run's requests."""
        published, config, run = self._published, self.config, desk.run
        existing = Existing(run, [published])
        steps = {published.model: self._asked_for(published.revisions)}
        plan = make_plan(
            config, [published], existing.why_todo, steps=steps, part={published.model: [*part]}
        )
        plan = replace(plan, warnings=existing.warnings(config, plan))
        self._put_down(desk, record_request(run, config, [published], steps))
        result = self._worker.result
        result.warnings += [one for one in plan.warnings if one not in result.warnings]
        known = {*result.done, *result.skipped}
        result.skipped += [unit for unit in plan.done if unit.step in part and unit not in known]
        failed = {unit for unit, _ in (*result.failed, *result.defective)}
        todo = tuple(unit for unit in plan.todo if unit not in failed)
        if todo:
            desk.recorder.planned(replace(plan, todo=todo))
            yield todo

    def _put_down(self, desk: Desk, request: str) -> None:
        """The request of the round before, which is a part of this one, is not kept."""
        if request not in self._others and request != self._own:
            desk.recorder.takes_up(request)
            if self._own is not None:
                desk.run.drop_request(self._own)
            self._own = request

    def _left(self, desk: Desk) -> set[int]:
        """The steps that another process had in hand, when it has put one of them down."""
        left, desk.in_hand.left = desk.in_hand.left, []
        if left:
            self._worker.wait_for(left)
        return {unit.step for unit in left}


def _steps(units: Iterable[Unit]) -> list[int]:
    """The steps that units are about, those that they are compared with included."""
    return sorted({step for unit in units for step in (unit.step, *unit.references.values())})
