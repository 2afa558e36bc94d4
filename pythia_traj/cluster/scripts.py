"""Job scripts of schedulers that we do not talk to: written, and submitted by the user.

Each kind is a row of a table: the name of its file, the line that submits it, and the function that
writes it. `resources.KNOWN` says what it can be asked for. All run the same shell: the lines of
set-up, then the worker, which takes its shard from the scheduler's variables (`schedulers`).

Nothing is read or written here. What a script says is from the manuals of

- Kubernetes: Jobs, `completionMode: Indexed`, `backoffLimitPerIndex` (from 1.29 on)
- SkyPilot: "Using a Pool of Workers" and the YAML specification
- OpenPBS: qsub(1B), pbs_resources(7B)
- IBM Spectrum LSF 10.1: bsub, job arrays; units of memory are known from 10.1.0.2 on
"""

import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pythia_traj.errors import ConfigError, nearest
from pythia_traj.outside import shown
from pythia_traj.resources import Cluster
from pythia_traj.yamlfile import parse_yaml

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What would end a line of a script, or cannot be written into one."""

_LONGEST_NAME = 40
"""Characters of a job's name. Kubernetes adds a suffix and the index, and takes 63 in all."""

_RETRIES = 2
"""How often Kubernetes starts a failed task again, which skips what is done."""


@dataclass(frozen=True)
class Script:
    """A job script.

    Attributes:
        text: the whole of it.
        file: the name of its file in the run's directory.
        submit: the line of shell by which the user submits it.
    """

    text: str
    file: str
    submit: str


@dataclass(frozen=True)
class _Job:
    """What a script is written of; `name` is fit for all schedulers."""

    command: Sequence[str]
    jobs: int
    name: str
    cluster: Cluster
    directory: Path

    @property
    def limit(self) -> int | None:
        """How many tasks run at once, where that is fewer than there are."""
        most = self.cluster.at_once
        return most if most is not None and most < self.jobs else None

    def body(self, *before: str) -> str:
        """The shell of a task. The worker takes its place, and so gets the scheduler's signals."""
        lines = ("set -e", *before, *self.cluster.setup, f"exec {shlex.join(self.command)}")
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True)
class _Kind:
    """A scheduler.

    Attributes:
        file: the name of the script's file.
        submit: the line that submits it; `{file}` is its path.
        write: makes the script's text.
    """

    file: str
    submit: str
    write: Callable[[_Job], str]


def script(
    kind: str, command: Sequence[str], jobs: int, name: str, cluster: Cluster, directory: Path
) -> Script:
    """The script of a job whose tasks are workers of one request.

    Tasks of PBS and LSF begin where the script is submitted, those of Kubernetes and SkyPilot in
    the directory that holds the run.

    Args:
        kind: `kubernetes`, `skypilot`, `pbs` or `lsf`.
        command: of each task, `pythia-traj worker RUN --shards N`, with the run's absolute path.
        jobs: how many tasks there are.
        name: of the job; what a scheduler does not take in a name is left out.
        cluster: what is asked for.
        directory: the run's, absolute; the script's file is to lie in it.

    Raises:
        ConfigError: the kind is unknown, it cannot be asked for something that is set, or lacks
            something that it needs.
    """
    if kind not in KINDS:
        raise ConfigError(f"script: unknown scheduler {shown(kind)}: {nearest(kind, KINDS)}")
    if jobs < 1:
        raise ConfigError(f"jobs: {jobs}: a job has at least 1 task")
    if not directory.is_absolute():
        raise ConfigError(f"{directory} is not an absolute path: tasks begin elsewhere")
    for word in (*command, str(directory)):
        if _CONTROL.search(word):
            raise ConfigError(
                f"{shown(word)} holds a line break or a control character, which cannot stand in a"
                " job script: rename it"
            )
    cluster.refuse_unknown(kind)
    made = KINDS[kind]
    job = _Job(command, jobs, plain_name(name), cluster, directory)
    submit = made.submit.format(
        file=shlex.quote(str(directory / made.file)), jobs=jobs, pool=cluster.partition
    )
    return Script(made.write(job), made.file, submit)


def plain_name(name: str) -> str:
    """A name of lower-case letters, digits and hyphens that begins with a letter."""
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    named = words if words[:1].isalpha() else f"traj-{words}"
    return named[:_LONGEST_NAME].strip("-")


def up(number: int, unit: int) -> int:
    """How many units hold a number."""
    return -(-number // unit)


def _pbs(job: _Job) -> str:
    asked = job.cluster
    chunk = ["select=1"]
    if asked.cpus is not None:
        chunk.append(f"ncpus={asked.cpus}")
    if asked.gpus:
        chunk.append(f"ngpus={asked.gpus}")
    if asked.memory is not None:
        chunk.append(f"mem={up(asked.memory, 1024)}kb")
    most = "" if job.limit is None else f"%{job.limit}"
    options = [
        # Users' login shells differ.
        "-S /bin/bash",
        f"-N {job.name}",
        "-j oe",
        f"-l {':'.join(chunk)}",
        f"-l walltime={asked.time}" if asked.time else None,
        f"-q {asked.partition}" if asked.partition else None,
        f"-A {asked.account}" if asked.account else None,
        f"-J 0-{job.jobs - 1}{most}" if job.jobs > 1 else None,
    ]
    # PBS refuses an array of one task, and so would not say its index.
    alone = ["export PBS_ARRAY_INDEX=0"] if job.jobs == 1 else []
    return _shell("PBS", options, asked.directives, job.body('cd -- "$PBS_O_WORKDIR"', *alone))


def _lsf(job: _Job) -> str:
    asked = job.cluster
    indices = f"1-{job.jobs}" if job.jobs > 1 else "1"
    most = "" if job.limit is None else f"%{job.limit}"
    memory = None if asked.memory is None else f"{up(asked.memory, 1024)}KB"
    options = [
        f'-J "{job.name}[{indices}]{most}"',
        f"-o {job.name}.%J.%I.out",
        f"-n {asked.cpus}" if asked.cpus else None,
        '-R "span[hosts=1]"' if asked.cpus else None,
        f'-gpu "num={asked.gpus}"' if asked.gpus else None,
        f"-M {memory}" if memory else None,
        f'-R "rusage[mem={memory}]"' if memory else None,
        f"-W {up(asked.seconds, 60)}" if asked.seconds else None,
        f"-q {asked.partition}" if asked.partition else None,
        f"-P {asked.account}" if asked.account else None,
    ]
    return _shell("BSUB", options, asked.directives, job.body())


def _shell(prefix: str, options: Sequence[str | None], directives: Sequence[str], body: str) -> str:
    asked = [*(option for option in options if option is not None), *directives]
    return "\n".join(["#!/bin/bash", *(f"#{prefix} {option}" for option in asked), body])


def _kubernetes(job: _Job) -> str:
    asked = job.cluster
    asked.need(
        "kubernetes",
        image="the image of a container that has pythia-traj",
        volume="the PersistentVolumeClaim that holds the run",
    )
    mount = str(job.directory.parent)
    if mount == "/" or ":" in mount:
        raise ConfigError(
            f"{job.directory}: kubernetes mounts a volume where the run lies, which cannot be"
            f" {mount}: move the run"
        )
    memory = None if asked.memory is None else int(asked.memory)
    requests = _given({"cpu": asked.cpus, "memory": memory})
    limits = _given({"memory": memory, "nvidia.com/gpu": asked.gpus or None})
    container = {
        "name": "worker",
        "image": asked.image,
        # Kubernetes itself reads $(NAME) here, and takes $$ for a $.
        "command": ["/bin/sh", "-c", job.body(_into(mount)).replace("$", "$$")],
        "resources": {"requests": requests, "limits": limits},
        "volumeMounts": [{"name": "run", "mountPath": mount}],
    }
    pod = {
        "restartPolicy": "Never",
        **_given({"activeDeadlineSeconds": asked.seconds}),
        "containers": [container],
        "volumes": [{"name": "run", "persistentVolumeClaim": {"claimName": asked.volume}}],
    }
    return _document(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            # A job of a name that exists could not be submitted again.
            "metadata": {"generateName": f"{job.name}-"},
            "spec": {
                "completionMode": "Indexed",
                "completions": job.jobs,
                "parallelism": job.limit or job.jobs,
                "backoffLimitPerIndex": _RETRIES,
                "template": {"spec": pod},
            },
        }
    )


def _skypilot(job: _Job) -> str:
    asked = job.cluster
    asked.need("skypilot", partition="the name of a pool: sky jobs pool apply -p NAME pool.yaml")
    resources: dict[str, Any] = _given(
        {
            "cpus": None if asked.cpus is None else f"{asked.cpus}+",
            "memory": None if asked.memory is None else f"{up(asked.memory, 2**30)}+",
            "image_id": None if asked.image is None else f"docker:{asked.image}",
        }
    )
    for i, line in enumerate(asked.directives):
        resources |= _setting(line, i, resources)
    if _cards(resources.get("accelerators")) != {asked.gpus}:
        raise ConfigError(
            f"cluster.gpus: {asked.gpus}: skypilot asks for GPUs by name: give"
            f" cluster.directives: ['accelerators: H100:{asked.gpus or 1}'], or gpus: 0 and none",
            ("cluster", "gpus"),
        )
    # A pool's workers ignore `setup:` of a job.
    return _document(
        {
            "name": job.name,
            **_given({"resources": resources or None}),
            "run": job.body(_into(str(job.directory.parent))),
        }
    )


def _setting(line: str, i: int, known: Mapping[str, Any]) -> dict[str, Any]:
    """A directive of SkyPilot as a setting of `resources:`."""
    setting = parse_yaml(line, f"cluster.directives.{i}: {shown(line)}")
    if not isinstance(setting, dict) or set(setting) & set(known):
        raise ConfigError(
            f"cluster.directives.{i}: {shown(line)}: skypilot takes lines of resources:, each name"
            " once, such as accelerators: H100",
            ("cluster", "directives", i),
        )
    return setting


def _cards(accelerators: Any) -> set[int]:
    """How many GPUs `accelerators:` asks for, by each of the cards that it allows."""
    if accelerators is None:
        return {0}
    if isinstance(accelerators, Mapping):
        pairs = accelerators.items()
        accelerators = [name if count is None else f"{name}:{count}" for name, count in pairs]
    words = accelerators if isinstance(accelerators, list) else [accelerators]
    counts = (str(word).partition(":")[2] or "1" for word in words)
    return {int(count) if count.isdecimal() else -1 for count in counts}


def _into(directory: str) -> str:
    return f"cd -- {shlex.quote(directory)}"


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


class _Dumper(yaml.SafeDumper):
    """YAML with shell as a block of lines."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    return dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    )


_Dumper.add_representer(str, _text)


def _document(value: Mapping[str, Any]) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)


KINDS: Mapping[str, _Kind] = {
    "kubernetes": _Kind(
        "scripts/kubernetes.yaml",
        "kubectl create -f {file}",
        _kubernetes,
    ),
    "skypilot": _Kind(
        "scripts/skypilot.yaml",
        "sky jobs launch --pool {pool} --num-jobs {jobs} {file}",
        _skypilot,
    ),
    "pbs": _Kind(
        "scripts/job.pbs",
        "qsub {file}",
        _pbs,
    ),
    "lsf": _Kind(
        "scripts/job.lsf",
        "bsub < {file}",
        _lsf,
    ),
}
"""Schedulers by name."""
