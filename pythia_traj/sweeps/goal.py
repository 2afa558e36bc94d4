"""Whose onset is sought: the metric of a label, and which of its trajectories.

induction.prefix_matching               # LABEL.METRIC, or EXPERIMENT.METRIC
variant=two_halves,layer=3,head=5       # words and numbers in key columns
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from pythia_traj.analysis.adaptive.rule import BUDGET, LEAST_BUDGET
from pythia_traj.analysis.adaptive.trajectory import Where
from pythia_traj.analysis.named import where_of
from pythia_traj.config import SweepConfig
from pythia_traj.errors import ConfigError, nearest
from pythia_traj.outside import shown


@dataclass(frozen=True)
class Goal:
    """What is sought, checked against a request.

    Attributes:
        label: under which the request has the experiment.
        metric: its metric.
        where: of which variant, part, layer, head.
        budget: how many steps of a model may be measured in all.
    """

    label: str
    metric: str
    where: Where = field(default_factory=dict)
    budget: int = BUDGET

    @classmethod
    def of(
        cls,
        config: SweepConfig,
        target: str,
        where: Where | Iterable[str] = (),
        budget: int | None = None,
    ) -> "Goal":
        """Reads what a user says.

        Args:
            target: `LABEL.METRIC` or `EXPERIMENT.METRIC`.
            where: words and numbers by name, or texts such as `layer=3,head=5`.
            budget: BUDGET if not given.

        Raises:
            ConfigError: the request has no such label, a column is unknown, its experiment keeps no
                items, or the budget is too small.
        """
        label, metric = _split(config, target)
        experiment = config.experiments[label].experiment
        if experiment.reads and not experiment.items:
            raise ConfigError(
                f"--refine {target}: {experiment.name} keeps no values of items, without which an"
                " onset has no interval: declare it with items=True"
            )
        budget = BUDGET if budget is None else budget
        if isinstance(budget, bool) or budget < LEAST_BUDGET:
            raise ConfigError(
                f"--budget {budget}: a search begins with {LEAST_BUDGET} steps: give at least"
                f" {LEAST_BUDGET}"
            )
        return cls(label, metric, where_of(where, "--refine-where"), budget)

    @property
    def name(self) -> str:
        """In messages."""
        return f"{self.label}.{self.metric}"


def _split(config: SweepConfig, target: str) -> tuple[str, str]:
    """The label and the metric of `LABEL.METRIC`."""
    by_name = {label: label for label in config.experiments}
    used: dict[str, list[str]] = {}
    for label, request in config.experiments.items():
        used.setdefault(request.experiment.name, []).append(label)
    by_name |= {
        name: labels[0] for name, labels in used.items() if len(labels) == 1 and name not in by_name
    }
    for name in sorted(by_name, key=len, reverse=True):
        metric = target.removeprefix(f"{name}.")
        if metric not in (target, ""):
            return by_name[name], metric
    name = target.partition(".")[0]
    if name in by_name:
        raise ConfigError(
            f"--refine {shown(target)}: it names no metric: write LABEL.METRIC, such as"
            f" {name}.nll; pythia-traj describe RUN lists the metrics of a run"
        )
    if len(used.get(name, ())) > 1:
        raise ConfigError(
            f"--refine {shown(target)}: the request has {name} under several labels: give one of"
            f" {', '.join(used[name])}"
        )
    raise ConfigError(
        f"--refine {shown(target)}: the request has no label {shown(name)}:"
        f" {nearest(name, by_name)}"
    )
