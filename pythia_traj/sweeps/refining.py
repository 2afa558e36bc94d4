"""A sweep that chooses its steps: round by round it measures where the onset is still open.

`search` chooses, by the rule of `analysis.adaptive.rule`; here each choice is planned like a sweep
of those steps, and measured in one session, so that the model is built once.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from pythia_traj.analysis.adaptive.rule import Choice
from pythia_traj.analysis.adaptive.trajectory import Where
from pythia_traj.checkpoint import PublishedModel
from pythia_traj.config import SweepConfig
from pythia_traj.store.layout import Run
from pythia_traj.sweeps.existing import Existing
from pythia_traj.sweeps.goal import Goal
from pythia_traj.sweeps.plan import Plan, Unit, make_plan
from pythia_traj.sweeps.progress import watched_by
from pythia_traj.sweeps.record import Observer, SweepResult
from pythia_traj.sweeps.requests import plan_sweep, record_request
from pythia_traj.sweeps.runner import Desk, ModelSweep
from pythia_traj.sweeps.search import Found, Search
from pythia_traj.sweeps.shards import WHOLE
from pythia_traj.sweeps.worker import Worker


@dataclass(frozen=True)
class Refined:
    """How a sweep that chose its steps ended.

    Attributes:
        result: what was measured, skipped and failed.
        found: the onset of each model, with how it was sought.
    """

    result: SweepResult
    found: tuple[Found, ...]

    def _repr_html_(self) -> str:
        """In a notebook."""
        from pythia_traj.sweeps.shown import refined_as_html

        return refined_as_html(self)


@dataclass(frozen=True)
class Preview:
    """What a search on one model would begin with.

    Attributes:
        model: its name.
        published: the steps from which it may choose.
        measured: how many of them are measured already.
        choice: what it would measure first, or why it would end at once.
        most: how many steps it could still measure.
        weight_bytes: of one step; None where it is not known.
    """

    model: str
    published: tuple[int, ...]
    measured: int
    choice: Choice
    most: int
    weight_bytes: int | None


def refine(
    config: SweepConfig,
    target: str,
    *,
    where: Where | Iterable[str] = (),
    budget: int | None = None,
    observer: Observer | None = None,
) -> Refined:
    """Measures few steps of each model, chosen so that they find the onset that all would.

    All experiments of the request are measured at the chosen steps. What is there already is not
    measured again and costs nothing but its place in the budget: the same call goes on from an
    interruption, and measures nothing once the search has ended.

    Args:
        config: the request; its steps are those that may be chosen, `all` as a rule.
        target: whose onset: `LABEL.METRIC`, such as `induction.prefix_matching`.
        where: which of the metric's trajectories, by key columns: `{"layer": 3, "head": 5}`.
        budget: how many steps of a model may be measured in all; 30 if not given.
        observer: receives the progress; without one, a notebook shows a bar.

    Returns:
        the onset of each model, and what was measured.

    Raises:
        PythiaTrajError: the request is wrong, or writing fails.
    """
    goal = Goal.of(config, target, where, budget)
    with watched_by(observer) as watching:
        worker = Worker(config, WHOLE, watching)
        with worker.at_work:
            plan, models = worker.plan()
            worker.result.warnings += plan.warnings
            rounds = _Rounds(worker, models, _searches(config, goal, plan))
            found = rounds.measure()
            worker.result.skipped += [unit for unit in plan.done if rounds.has(unit)]
    return Refined(worker.result, found)


def preview(
    config: SweepConfig,
    target: str,
    *,
    where: Where | Iterable[str] = (),
    budget: int | None = None,
) -> tuple[Plan, list[PublishedModel], list[Preview]]:
    """What `refine` would do first, of each model; writes nothing.

    Returns:
        the plan of the first rounds, the models, and how each search would begin.

    Raises:
        PythiaTrajError: the request is wrong.
    """
    goal = Goal.of(config, target, where, budget)
    plan, models = plan_sweep(config, train=False)
    run, previews = Run.find(config.out), []
    first: dict[str, tuple[int, ...]] = {}
    for published, search in zip(models, _searches(config, goal, plan), strict=True):
        choice = search.choose(run)
        first[search.model] = choice.steps
        previews.append(
            Preview(
                search.model,
                tuple(search.steps),
                len(search.measured),
                choice,
                max(goal.budget - len(search.measured), 0) if choice.steps else 0,
                published.weight_bytes(search.steps[0]),
            )
        )
    return _plan_of(config, run, models, first, first), models, previews


def _searches(config: SweepConfig, goal: Goal, plan: Plan) -> list[Search]:
    """A search for each model, which knows the steps at which the run has all labels."""
    done: dict[tuple[str, int], set[str]] = {}
    for unit in plan.done:
        done.setdefault((unit.model, unit.step), set()).add(unit.label)
    return [
        Search(
            goal, model, steps, [s for s in steps if done.get((model, s)) == {*config.experiments}]
        )
        for model, steps in plan.steps.items()
    ]


def _plan_of(
    config: SweepConfig,
    run: Run | None,
    models: list[PublishedModel],
    steps: Mapping[str, Collection[int]],
    part: Mapping[str, Collection[int]],
) -> Plan:
    """The plan of some steps, `part`, of all that are requested so far."""
    existing = Existing(run, models)
    in_order = [{m: sorted(chosen) for m, chosen in given.items()} for given in (steps, part)]
    return make_plan(config, models, existing.why_todo, steps=in_order[0], part=in_order[1])


class _Rounds:
    """The rounds of all models, one model after the other."""

    def __init__(
        self, worker: Worker, models: list[PublishedModel], searches: list[Search]
    ) -> None:
        self._worker, self._models, self._searches = worker, models, searches
        self._steps = {search.model: set(search.measured) for search in searches}
        """Those that the request is about so far."""
        self._ends: dict[str, Choice] = {}

    def has(self, unit: Unit) -> bool:
        """Whether a unit is at a step of the searches."""
        return unit.step in self._steps[unit.model]

    def measure(self) -> tuple[Found, ...]:
        """Goes on with all searches to their ends."""
        config, run = self._worker.config, Run.find(self._worker.config.out)
        choices = {search.model: search.choose(run) for search in self._searches}
        if run is not None and not any(choice.steps for choice in choices.values()):
            self._worker.observer.planned(Plan({}, (), ()))
            return tuple(search.found(run, choices[search.model]) for search in self._searches)
        for model, choice in choices.items():
            self._steps[model].update(choice.steps)
        desk = self._worker.desk(self._models, self._sorted())
        sweeps = []
        for published, search in zip(self._models, self._searches, strict=True):
            rounds = self._of_model(desk, published, search)
            if (first := next(rounds, None)) is not None:
                steps = search.steps
                sweep = ModelSweep(desk, published, steps, first, config.experiments)
                sweeps.append((sweep, rounds))
        for sweep, _ in sweeps:
            sweep.prepare()
        while sweeps:
            # Dropped with its model when it is done.
            sweep, rounds = sweeps.pop(0)
            sweep.measure(rounds)
        self._worker.result.skipped += desk.in_hand.done
        return tuple(search.found(desk.run, self._ends[search.model]) for search in self._searches)

    def _of_model(
        self, desk: Desk, published: PublishedModel, search: Search
    ) -> Iterator[tuple[Unit, ...]]:
        """The units of each round of a model; when the next is asked for, they were measured."""
        while (choice := search.choose(desk.run)).steps:
            if not search.measured:
                # The first step alone shows whether the metric is there.
                choice = Choice(choice.steps[:1], choice.why)
            self._steps[search.model].update(choice.steps)
            search.note(desk.run, choice)
            left: Collection[int] = choice.steps
            while left:
                yield from self._units(desk, published, left)
                left = self._left(desk, search.model)
            search.took(choice.steps, self._lost(search))
        self._ends[search.model] = choice

    def _units(
        self, desk: Desk, published: PublishedModel, steps: Collection[int]
    ) -> Iterator[tuple[Unit, ...]]:
        """What there is to do at some steps, if anything, put down in the run's requests."""
        config, model = self._worker.config, published.model
        plan = _plan_of(config, desk.run, [published], {model: self._steps[model]}, {model: steps})
        record_request(desk.run, config, self._models, self._sorted())
        if plan.todo:
            references = [step for unit in plan.todo for step in unit.references.values()]
            requested = (*plan.steps[model], *references)
            published.expect(requested, defects=config.on_defect == "measure")
            desk.recorder.planned(plan)
            yield plan.todo

    def _left(self, desk: Desk, model: str) -> set[int]:
        """The steps that another process had in hand, when it has put one of them down."""
        left, desk.in_hand.left = desk.in_hand.left, []
        if left:
            self._worker.wait_for(left)
        return {unit.step for unit in left if unit.model == model}

    def _lost(self, search: Search) -> set[int]:
        """The steps at which what is sought could not be measured."""
        result, label = self._worker.result, search.goal.label
        return {
            unit.step
            for unit, _ in (*result.failed, *result.defective)
            if unit.model == search.model and unit.label == label
        }

    def _sorted(self) -> dict[str, list[int]]:
        return {model: sorted(steps) for model, steps in self._steps.items()}
