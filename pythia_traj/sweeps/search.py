"""A search for the onset of one metric of one model: what it knows, and which step it wants next.

It reads the rows of a run and chooses; `refining` measures. All that it chooses follows from the
rows that are there, so a search that was killed goes on where it was.
"""

from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pythia_traj.analysis.adaptive.rule import START, Choice, Gap, choose, gaps
from pythia_traj.analysis.adaptive.trajectory import (
    Dated,
    Trajectory,
    choose_trajectory,
    date,
    of_metric,
    rows_of,
)
from pythia_traj.analysis.onsets.half import FEWEST_ITEMS
from pythia_traj.analysis.onsets.onset import Onset
from pythia_traj.errors import AnalysisError, ConfigError, StoreError
from pythia_traj.steps import select
from pythia_traj.store.layout import Run
from pythia_traj.store.read import read_run
from pythia_traj.store.records import Refinement, Round
from pythia_traj.store.refinements import read_refinement, write_refinement
from pythia_traj.sweeps.goal import Goal

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Found:
    """How a search ended.

    Attributes:
        model: whose onset it is.
        goal: what was sought.
        trajectory: which of the metric's was followed; None where no step could be measured.
        onset: of all measured steps; None where too few could be measured.
        left_out: how many items are missing at some measured step, and so left out.
        steps: those measured, from before included.
        published: how many there were to choose from.
        end: why it ended, one of `analysis.adaptive.rule.ENDS`.
        gaps: where nothing was measured, the widest first: a second crossing or a dip there was not
            seen.
        record: the file that holds its choices.
    """

    model: str
    goal: Goal
    trajectory: Trajectory | None
    onset: Onset | None
    left_out: int
    steps: tuple[int, ...]
    published: int
    end: Choice
    gaps: tuple[Gap, ...]
    record: Path


class Search:
    """A search on one model."""

    def __init__(
        self, goal: Goal, model: str, published: Iterable[int], measured: Iterable[int]
    ) -> None:
        """Begins with what is measured.

        Args:
            published: the steps from which it may choose.
            measured: those of them at which the run has all labels of the request.
        """
        self.goal, self.model = goal, model
        self.measured = set(measured)
        self._all = tuple(sorted(published))
        self._lost: set[int] = set()
        self._trajectory: Trajectory | None = None
        self._values: dict[int, pd.DataFrame] = {}
        """The trajectory's items by step."""
        self._dated: Dated | None = None

    @property
    def steps(self) -> list[int]:
        """The steps that can be measured: without those that failed."""
        return [step for step in self._all if step not in self._lost]

    @property
    def _onset(self) -> Onset | None:
        return None if self._dated is None else self._dated.onset

    @property
    def _budget(self) -> int:
        """What failed was paid for too."""
        return self.goal.budget - len(self._lost)

    def choose(self, run: Run | None) -> Choice:
        """What to measure next, by all rows that are there.

        Raises:
            ConfigError: the rows have no such metric, or too few items.
        """
        self._look(run)
        return choose(self.steps, self.measured, self._onset, self._budget)

    def note(self, run: Run, choice: Choice) -> None:
        """Records a choice in the run, before it is measured."""
        write_refinement(run, self._noted(run, choice))

    def took(self, steps: Collection[int], lost: Collection[int]) -> None:
        """Notes that steps were measured, and that others, lost, cannot be."""
        self._lost.update(lost)
        self.measured = self.measured.union(steps).difference(lost)

    def found(self, run: Run, end: Choice) -> Found:
        """How it ended; the run's record says it too."""
        steps = tuple(sorted(self.measured))
        gaps_left = tuple(gaps(self._all, steps))
        ended = {
            "why": end.why,
            "in_words": end.in_words,
            "onset": None if self._onset is None else asdict(self._onset),
            "steps": list(steps),
            "published": len(self._all),
            "gaps": [[gap.low, gap.high, gap.unmeasured] for gap in gaps_left],
        }
        path = write_refinement(run, self._noted(run, end).model_copy(update={"ended": ended}))
        return Found(
            self.model,
            self.goal,
            self._trajectory,
            self._onset,
            0 if self._dated is None else self._dated.left_out,
            steps,
            len(self._all),
            end,
            gaps_left,
            path,
        )

    def _look(self, run: Run | None) -> None:
        """Reads what is new, and dates it once the first steps are measured."""
        if run is None or not self.measured:
            return
        start = self.measured.intersection(select(START, self.steps))
        if self._trajectory is None:
            items = self._first_items(run, start or {min(self.measured)})
            if not start.issuperset(select(START, self.steps)):
                return
            # Of the first steps alone, so that others measured before change no choice.
            self._trajectory = choose_trajectory(items, self.goal.where)
        for step in sorted(self.measured.difference(self._values)):
            self._values[step] = self._items_at(run, step, self._trajectory)
        # Where the metric has no value there is nothing to date.
        self.took((), {step for step in self.measured if self._values[step].empty})
        if self.measured.issuperset(select(START, self.steps)):
            self._dated = self._date()

    def _first_items(self, run: Run, steps: Collection[int]) -> "pd.DataFrame":
        """The items of all the metric's trajectories that may be meant."""
        # Refused where no row at all has the metric.
        self._read(run, steps, None, metric=self.goal.metric)
        items = self._read(run, steps)
        items = items[items["metric"] == self.goal.metric]
        if items.empty:
            raise ConfigError(
                f"--refine {self.goal.name}: its experiment keeps no items of this metric, without"
                " which an onset has no interval: declare it with items=True"
            )
        try:
            items = of_metric(items, self.goal.where)
        except AnalysisError as error:
            raise ConfigError(f"--refine-where {error}") from None
        known = items["cluster"].notna().all()
        if (n := items["cluster" if known else "item"].nunique()) < FEWEST_ITEMS:
            raise ConfigError(
                f"--refine {self.goal.name}: it has {n} independent items, and an onset needs"
                f" {FEWEST_ITEMS}: raise --set {self.goal.label}.n"
            )
        return items

    def _items_at(self, run: Run, step: int, trajectory: Trajectory) -> "pd.DataFrame":
        items = self._read(run, [step])
        return rows_of(items[items["metric"] == self.goal.metric], trajectory.key)

    def _read(
        self, run: Run, steps: Iterable[int], table: str | None = "items", **where: Any
    ) -> "pd.DataFrame":
        try:
            return read_run(
                run.path,
                table=table,
                controls=True,
                model=self.model,
                label=self.goal.label,
                step=sorted(steps),
                **where,
            ).frame
        except StoreError as error:
            raise ConfigError(f"--refine {self.goal.name}: {error}") from None

    def _date(self) -> Dated:
        import pandas as pd

        try:
            return date(pd.concat([self._values[step] for step in sorted(self.measured)]))
        except AnalysisError as error:
            raise ConfigError(f"--refine {self.goal.name}: {error}") from None

    def _noted(self, run: Run, choice: Choice) -> Refinement:
        """The record, with a choice as its last round unless it stands there already."""
        started = Refinement(
            model=self.model,
            label=self.goal.label,
            metric=self.goal.metric,
            where=dict(self.goal.where),
        )
        record = read_refinement(run, started)
        if self._trajectory is not None:
            record = record.model_copy(update={"trajectory": dict(self._trajectory.key)})
        last = record.rounds[-1].steps if record.rounds else []
        if not choice.steps or last == list(choice.steps):
            return record
        onset = None if self._onset is None else asdict(self._onset)
        chosen = Round(
            steps=list(choice.steps), why=choice.why, measured=len(self.measured), onset=onset
        )
        return record.model_copy(update={"rounds": [*record.rounds, chosen], "ended": {}})
