"""The section `cluster` of a config -> parameters of submitit, which are options of sbatch."""

from collections.abc import Sequence
from typing import Any

from pythia_traj.cluster.scripts import up
from pythia_traj.resources import Cluster

_WARNING = 60
"""Seconds between the signal that announces the end of a task and the end, at least.

Slurm may send it up to a minute earlier.
"""

_FINISHING = 30.0
"""Seconds that a worker has to finish its unit after that signal, at most."""


def warning_seconds(cluster: Cluster) -> int:
    """How long before its time limit a task is told; less for tasks of a few minutes."""
    return min(_WARNING, (cluster.seconds or 0) // 4)


def finishing_seconds(cluster: Cluster) -> float:
    """How long a worker may go on with the unit that it has in hand."""
    return min(_FINISHING, warning_seconds(cluster) / 2)


def parameters(cluster: Cluster, tasks: int, after: Sequence[str] = ()) -> dict[str, Any]:
    """What each task of an array of workers asks for.

    Args:
        tasks: how many there are.
        after: what the array waits for, in the words of `--dependency`.
    """
    # First sbatch's options: it reads them down to the first other line.
    directives = [f"#SBATCH {line}" for line in cluster.directives]
    asked = _common(cluster, directives) | {
        "partition": cluster.partition,
        "gres": f"gpu:{cluster.gpus}" if cluster.gpus else None,
        "array_parallelism": cluster.at_once or tasks,
    }
    if after:
        asked["dependency"] = ",".join(after)
        # Where what it waits for has failed it would wait for ever.
        asked["additional_parameters"] |= {"kill-on-invalid-dep": "yes"}
    return asked


def fetch_parameters(cluster: Cluster) -> dict[str, Any]:
    """What the job asks for that downloads; directives are of the workers."""
    return _common(cluster, []) | {"partition": cluster.fetch}


def _common(cluster: Cluster, directives: Sequence[str]) -> dict[str, Any]:
    # srun takes no cpus from its job since Slurm 22.05.
    cpus = [] if cluster.cpus is None else [f"--cpus-per-task={cluster.cpus}"]
    # Where the job does not inherit an environment (SBATCH_EXPORT=NONE), the worker still gets what
    # the set-up exports.
    words = ["--export=ALL", *cpus]
    return {
        "account": cluster.account,
        "qos": cluster.qos,
        "cpus_per_task": cluster.cpus,
        "mem": None if cluster.memory is None else f"{up(cluster.memory, 1024)}K",
        "time": up(cluster.seconds or 0, 60),
        "signal_delay_s": warning_seconds(cluster),
        "stderr_to_stdout": True,
        # submitit's own mark, by which some clusters charge.
        "wckey": None,
        # Some clusters requeue no job that does not ask for it.
        "additional_parameters": {"requeue": True},
        "setup": [*directives, "set -e", *cluster.setup],
        "srun_args": words,
    }
