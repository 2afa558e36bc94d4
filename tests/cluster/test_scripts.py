"""Scripts for schedulers: each is run as its scheduler runs it, and says all that was asked."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import pythia_traj as pt
from pythia_traj.cluster.scripts import KINDS, script
from pythia_traj.errors import ConfigError
from pythia_traj.resources import KNOWN, Cluster
from pythia_traj.schedulers import SCHEDULERS, SHARDS

NEEDED = {
    "kubernetes": {"image": "me/traj:1", "volume": "runs"},
    "skypilot": {"partition": "pool", "gpus": 0},
    "pbs": {},
    "lsf": {},
}
"""What each needs."""

RUN = Path("/data/runs/mine")
COMMAND = ("pythia-traj", "worker", "/data/runs/mine", "--shards", "4")


def made(kind, jobs=4, name="mine", command=COMMAND, directory=RUN, **asked):
    return script(kind, command, jobs, name, Cluster(**NEEDED[kind] | asked), directory)


def expanded(text):
    """As Kubernetes reads a container's command: $$ is a $, and $(NAME) the variable's value."""
    known = {"JOB_COMPLETION_INDEX": "index"}
    pattern = re.compile(r"\$\$|\$\(([^)]*)\)")
    return pattern.sub(
        lambda found: "$" if found[1] is None else known.get(found[1], found[0]), text
    )


def task(kind, written, index, jobs, folder):
    """What the scheduler starts for one task: words, standard input, variables, directory."""
    text = written.text
    if kind == "kubernetes":
        (container,) = yaml.safe_load(text)["spec"]["template"]["spec"]["containers"]
        words = [expanded(word) for word in container["command"]]
        return words, None, {"JOB_COMPLETION_INDEX": index}, "/"
    if kind == "skypilot":
        words = ["/bin/bash", "-c", yaml.safe_load(text)["run"]]
        return words, None, {"SKYPILOT_JOB_RANK": index, "SKYPILOT_NUM_JOBS": jobs}, "/"
    if kind == "pbs":
        array = {"PBS_ARRAY_INDEX": index} if "#PBS -J 0-" in text else {}
        return ["/bin/bash"], text, {"PBS_O_WORKDIR": folder, **array}, "/"
    return ["/bin/bash"], text, {"LSB_JOBINDEX": index + 1, "LSB_JOBINDEX_END": jobs}, folder


def start(kind, written, index, jobs, folder):
    words, given, variables, cwd = task(kind, written, index, jobs, folder)
    ours = {name for one in SCHEDULERS for name in (one.index, one.count)} | {SHARDS}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment |= {name: str(value) for name, value in variables.items()}
    return subprocess.run(
        words, input=given, env=environment, cwd=cwd, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_its_tasks_do_all_units_of_a_request(kind, jobs, suite, tmp_path, cli):
    run = tmp_path / "it's $(a) run; #1" / "run"
    asking = ("--model", suite, "--steps", "all", "--experiment", "induction")
    small = ("--set", "induction.length=20", "--set", "induction.n=4")
    assert cli("sweep", *asking, *small, "--out", run, "--record-only")[0] == 0
    (name,) = (path.stem for path in (run / "requests").glob("*.json"))
    program = Path(sys.executable).with_name("pythia-traj")
    command = [str(program), "worker", str(run), "--request", name, "--shards", str(jobs)]
    written = made(kind, jobs, command=command, directory=run, setup=["export OMP_NUM_THREADS=1"])
    for index in range(jobs):
        ended = start(kind, written, index, jobs, tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert f"shard {index}/{jobs}" in ended.stderr
    status = pt.status(run)
    assert (status.done, status.left, status.failed) == (4, 0, 0)


@pytest.mark.parametrize("jobs", [1, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_a_task_is_told_its_number_after_its_set_up(kind, jobs, tmp_path):
    """The worker's own way of reading it; `python` in place of `pythia-traj`."""
    said = "import os; from pythia_traj.schedulers import find_task as f; print(f(os.environ, N))"
    command = [sys.executable, "-c", said.replace("N", str(jobs))]
    setup = ["echo first >&2", 'echo "$HOME $$" >&2; export A=b']
    written = made(kind, jobs, command=command, directory=tmp_path / "run", setup=setup)
    for index in range(jobs):
        ended = start(kind, written, index, jobs, tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert f"Task(index={index}, count={jobs}," in ended.stdout
        first, second = ended.stderr.splitlines()
        assert first == "first"
        assert re.fullmatch(rf"{os.environ['HOME']} [0-9]+", second)


@pytest.mark.parametrize("kind", KINDS)
def test_a_task_whose_set_up_fails_starts_no_worker(kind, tmp_path):
    command = ["touch", str(tmp_path / "started")]
    written = made(kind, command=command, directory=tmp_path / "run", setup=["false", "true"])
    assert start(kind, written, 0, 4, tmp_path).returncode == 1
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_a_tasks_status_and_signals_are_the_workers(kind, tmp_path):
    written = made(kind, command=["sh", "-c", "exit 3"], directory=tmp_path / "run")
    assert start(kind, written, 0, 4, tmp_path).returncode == 3
    own = made(kind, command=["sh", "-c", "echo $PPID"], directory=tmp_path / "run")
    # The shell was replaced: the parent of the worker is what started the shell.
    assert start(kind, own, 0, 4, tmp_path).stdout == f"{os.getpid()}\n"


HOSTILE = [
    "with a space",
    "it's",
    'a "quote"',
    "$(touch pwned)",
    "`touch pwned`",
    "a; touch pwned",
    "a # b",
    "$HOME $$ ${HOME} $(JOB_COMPLETION_INDEX)",
    "-rf",
    "back\\slash \\n",
    "{file} %I *",
    "naïve 日本",
    "key: value",
    "&& touch pwned ||",
]


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("kind", KINDS)
def test_hostile_words_reach_the_worker_as_they_are(kind, hostile, tmp_path):
    # Kubernetes mounts nothing where a path has a colon.
    folder = tmp_path / hostile.replace(":", ".")
    folder.mkdir()
    run = folder / "run"
    show = "import os, sys; print(repr((sys.argv[1:], os.getcwd())))"
    command = [sys.executable, "-c", show, str(run), hostile]
    written = made(kind, name=hostile, command=command, directory=run)
    ended = start(kind, written, 0, 4, folder)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == f"{([str(run), hostile], str(folder))!r}\n"
    assert list(folder.iterdir()) == []
    # The user pastes this line.
    line = written.submit.replace("bsub <", "bsub")
    assert shlex.split(line)[-1] == str(run / written.file)
    assert written.text.isascii() or hostile == "naïve 日本"


@pytest.mark.parametrize("character", ["\n", "\r", "\x00", "\x1b", "\u2028", "\udcff"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_path_that_would_end_a_line_is_refused(kind, character):
    hostile = f"/data/a{character}#BSUB -P other/run"
    for given in (
        {"command": ["pythia-traj", "worker", hostile]},
        {"directory": Path(hostile)},
    ):
        with pytest.raises(ConfigError, match="cannot stand in a job script: rename it") as error:
            made(kind, **given)
        assert error.value.args[0].isprintable()


@pytest.mark.parametrize(
    ("given", "plain"),
    [
        ("mine", "mine"),
        ("Pythia_70m/loss", "pythia-70m-loss"),
        ("2024", "traj-2024"),
        ("", "traj"),
        ("日本", "traj"),
        ('a"\n#PBS -A other', "a-pbs-a-other"),
        ("x" * 90, "x" * 40),
        ("x" * 39 + "--y", "x" * 39),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_a_name_is_one_that_every_scheduler_takes(kind, given, plain):
    text = made(kind, name=given).text
    found = {
        "kubernetes": lambda: yaml.safe_load(text)["metadata"]["generateName"],
        "skypilot": lambda: yaml.safe_load(text)["name"] + "-",
        "pbs": lambda: re.search(r"^#PBS -N (.*)$", text, re.M)[1] + "-",
        "lsf": lambda: re.search(r'^#BSUB -J "(.*)\[1-4\]"$', text, re.M)[1] + "-",
    }
    assert found[kind]() == f"{plain}-"


EACH = {
    "partition": "other",
    "account": "physics",
    "qos": "high",
    "gpus": 2,
    "cpus": 4,
    "memory": "16GB",
    "time": "4:00:30",
    "at_once": 3,
    "directives": ["labels: {a: b}"],
    "setup": ["module load cuda"],
    "image": "me/other:2",
    "volume": "others",
    "fetch": "internet",
}


@pytest.mark.parametrize("setting", EACH)
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_asked_for_is_in_the_script_or_refused(kind, setting):
    assert set(EACH) == set(Cluster.model_fields)
    asked = {setting: EACH[setting]}
    if kind == "skypilot" and setting == "gpus":
        asked["directives"] = ["accelerators: H100:2"]
    if setting in KNOWN[kind]:
        one, plain = made(kind, **asked), made(kind)
        assert (one.text, one.submit) != (plain.text, plain.submit)
        return
    with pytest.raises(ConfigError) as error:
        made(kind, **asked)
    able = [other for other in KNOWN if setting in KNOWN[other]]
    assert able
    assert str(error.value) == (
        f"cluster.{setting}: {kind} cannot be asked for it ({' and '.join(able)} can): leave it"
        f" out, or give --set cluster.{setting}=null"
    )
    assert error.value.key == ("cluster", setting)
    made(kind, **{setting: None})


ALL = {
    **{"partition": "gpu", "account": "physics", "gpus": 1, "cpus": 4, "memory": "16GB"},
    **{"time": "1-12:00:30", "at_once": 2, "setup": ["module load cuda"]},
}
BODY = "module load cuda\nexec pythia-traj worker /data/runs/mine --shards 4\n"


def test_a_job_of_pbs():
    written = made("pbs", **ALL, directives=["-l place=free", "-m n"])
    assert written.text == (
        "#!/bin/bash\n"
        "#PBS -S /bin/bash\n"
        "#PBS -N mine\n"
        "#PBS -j oe\n"
        "#PBS -l select=1:ncpus=4:ngpus=1:mem=15625000kb\n"
        "#PBS -l walltime=36:00:30\n"
        "#PBS -q gpu\n"
        "#PBS -A physics\n"
        "#PBS -J 0-3%2\n"
        "#PBS -l place=free\n"
        "#PBS -m n\n"
        "set -e\n"
        'cd -- "$PBS_O_WORKDIR"\n'
        f"{BODY}"
    )
    assert (written.file, written.submit) == (
        "scripts/job.pbs",
        "qsub /data/runs/mine/scripts/job.pbs",
    )


def test_pbs_refuses_an_array_of_one_task_so_it_gets_none():
    text = made("pbs", jobs=1, gpus=0, at_once=2).text
    assert "#PBS -J" not in text
    assert "#PBS -l select=1\n" in text
    assert "export PBS_ARRAY_INDEX=0\n" in text
    assert "PBS_ARRAY_INDEX" not in made("pbs", jobs=2).text


@pytest.mark.parametrize("kind", ["pbs", "lsf"])
def test_as_many_at_once_as_there_are_is_no_limit(kind):
    assert "%3" in made(kind, at_once=3).text
    assert made(kind, at_once=4) == made(kind, at_once=5) == made(kind)


def test_a_job_of_lsf():
    written = made("lsf", **ALL, directives=["-app traj"])
    assert written.text == (
        "#!/bin/bash\n"
        '#BSUB -J "mine[1-4]%2"\n'
        "#BSUB -o mine.%J.%I.out\n"
        "#BSUB -n 4\n"
        '#BSUB -R "span[hosts=1]"\n'
        '#BSUB -gpu "num=1"\n'
        "#BSUB -M 15625000KB\n"
        '#BSUB -R "rusage[mem=15625000KB]"\n'
        "#BSUB -W 2161\n"
        "#BSUB -q gpu\n"
        "#BSUB -P physics\n"
        "#BSUB -app traj\n"
        "set -e\n"
        f"{BODY}"
    )
    assert (written.file, written.submit) == (
        "scripts/job.lsf",
        "bsub < /data/runs/mine/scripts/job.lsf",
    )
    assert '#BSUB -J "mine[1]"\n' in made("lsf", jobs=1, at_once=2).text


def test_a_job_of_kubernetes():
    asked = {name: value for name, value in ALL.items() if name not in ("partition", "account")}
    written = made("kubernetes", **asked)
    container = {
        "name": "worker",
        "image": "me/traj:1",
        "command": ["/bin/sh", "-c", f"set -e\ncd -- /data/runs\n{BODY}"],
        "resources": {
            "requests": {"cpu": 4, "memory": 16 * 10**9},
            "limits": {"memory": 16 * 10**9, "nvidia.com/gpu": 1},
        },
        "volumeMounts": [{"name": "run", "mountPath": "/data/runs"}],
    }
    assert yaml.safe_load(written.text) == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"generateName": "mine-"},
        "spec": {
            "completionMode": "Indexed",
            "completions": 4,
            "parallelism": 2,
            "backoffLimitPerIndex": 2,
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "activeDeadlineSeconds": 36 * 3600 + 30,
                    "containers": [container],
                    "volumes": [{"name": "run", "persistentVolumeClaim": {"claimName": "runs"}}],
                }
            },
        },
    }
    # People read it: the shell is a block of lines.
    block = "- |\n          set -e\n          cd -- /data/runs\n          module load cuda\n"
    assert block in written.text
    assert (written.file, written.submit) == (
        "scripts/kubernetes.yaml",
        "kubectl create -f /data/runs/mine/scripts/kubernetes.yaml",
    )
    few = yaml.safe_load(made("kubernetes", at_once=9, gpus=0).text)["spec"]
    assert few["parallelism"] == 4
    assert few["template"]["spec"]["containers"][0]["resources"] == {"requests": {}, "limits": {}}


def test_a_job_of_skypilot():
    written = made(
        "skypilot",
        partition="gpus",
        gpus=1,
        cpus=4,
        memory="16GB",
        image="me/traj:1",
        setup=["module load cuda"],
        directives=["accelerators: H100", "infra: k8s"],
    )
    assert yaml.safe_load(written.text) == {
        "name": "mine",
        "resources": {
            **{"cpus": "4+", "memory": "15+", "image_id": "docker:me/traj:1"},
            **{"accelerators": "H100", "infra": "k8s"},
        },
        "run": f"set -e\ncd -- /data/runs\n{BODY}",
    }
    assert (written.file, written.submit) == (
        "scripts/skypilot.yaml",
        "sky jobs launch --pool gpus --num-jobs 4 /data/runs/mine/scripts/skypilot.yaml",
    )
    assert set(yaml.safe_load(made("skypilot").text)) == {"name", "run"}


@pytest.mark.parametrize(
    ("accelerators", "gpus"),
    [
        ("H100", 1),
        ("H100:2", 2),
        ("{H100: 2, A100: 2}", 2),
        ("{'L4:2', 'H100:2'}", 2),
        ("[L4:1, H100]", 1),
    ],
)
def test_skypilot_is_asked_for_cards_by_name(accelerators, gpus):
    line = f"accelerators: {accelerators}"
    read = yaml.safe_load(made("skypilot", gpus=gpus, directives=[line]).text)["resources"]
    assert read == yaml.safe_load(line)
    with pytest.raises(ConfigError, match=r"^cluster.gpus: 3: skypilot asks for GPUs by name: gi"):
        made("skypilot", gpus=3, directives=[line])


@pytest.mark.parametrize(
    ("kind", "asked", "message"),
    [
        ("slurmm", {}, "script: unknown scheduler 'slurmm': known: kubernetes, lsf, pbs, skypilot"),
        (
            "kubernetes",
            {"image": None},
            "cluster.image is missing: kubernetes needs the image of a container that has"
            " pythia-traj",
        ),
        (
            "kubernetes",
            {"volume": None},
            "cluster.volume is missing: kubernetes needs the PersistentVolumeClaim that holds the"
            " run",
        ),
        (
            "skypilot",
            {"partition": None},
            "cluster.partition is missing: skypilot needs the name of a pool: sky jobs pool apply"
            " -p NAME pool.yaml",
        ),
        (
            "skypilot",
            {"gpus": 1},
            "cluster.gpus: 1: skypilot asks for GPUs by name: give cluster.directives:"
            " ['accelerators: H100:1'], or gpus: 0 and none",
        ),
        (
            "skypilot",
            {"directives": ["accelerators"]},
            "cluster.directives.0: 'accelerators': skypilot takes lines of resources:, each name"
            " once, such as accelerators: H100",
        ),
        (
            "skypilot",
            {"cpus": 2, "directives": ["infra: k8s", "cpus: 4"]},
            "cluster.directives.1: 'cpus: 4': skypilot takes lines of resources:, each name once,"
            " such as accelerators: H100",
        ),
    ],
)
def test_what_cannot_be_written_is_said_in_one_line(kind, asked, message):
    with pytest.raises(ConfigError) as error:
        script(kind, COMMAND, 4, "mine", Cluster(**NEEDED.get(kind, {}) | asked), RUN)
    assert str(error.value) == message


@pytest.mark.parametrize("run", ["/run", "/da:ta/run"])
def test_kubernetes_mounts_a_volume_where_it_can(run):
    with pytest.raises(ConfigError, match="kubernetes mounts a volume where the run lies, which"):
        made("kubernetes", directory=Path(run))


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_has_tasks_and_a_run_has_a_whole_path(kind):
    with pytest.raises(ConfigError, match="jobs: 0: a job has at least 1 task"):
        made(kind, jobs=0)
    with pytest.raises(ConfigError, match="runs/mine is not an absolute path"):
        made(kind, directory=Path("runs/mine"))
