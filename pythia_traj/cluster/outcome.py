"""What became of a submission whose workers were watched here."""

from collections.abc import Iterable, Mapping

from pythia_traj.cluster.children import End
from pythia_traj.cluster.executor import Outcome, Submission
from pythia_traj.sweeps.record import SweepResult
from pythia_traj.sweeps.requests import plan_sweep


def outcome_of(
    submission: Submission, ended: Mapping[str, End], notes: Iterable[str] = ()
) -> Outcome:
    """What was done, failed, and is left.

    Args:
        ended: how units ended, as the workers' logs say.
        notes: see `Outcome`.
    """
    plan, config = submission.plan, submission.config
    result = SweepResult(config.out, skipped=list(plan.done), warnings=list(plan.warnings))
    todo: set[str] = set()
    if any(unit.name not in ended for unit in plan.todo):
        # Other processes may have done them: that, only the files say.
        fresh = config.model_copy(update={"refresh": False})
        todo = {unit.name for unit in plan_sweep(fresh)[0].todo}
    left = []
    for unit in plan.todo:
        end = ended.get(unit.name)
        if end is None and unit.name in todo:
            left.append(unit)
        elif end is None or end.state == "done":
            result.done.append(unit)
        else:
            (result.failed if end.state == "failed" else result.defective).append(
                (unit, end.why or "")
            )
    return Outcome(result, tuple(left), tuple(notes))
