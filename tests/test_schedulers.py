"""Each scheduler's variables, as it sets them, say which task a process is."""

import pytest

from pythia_traj.errors import ConfigError
from pythia_traj.schedulers import SCHEDULERS, find_task, job_id

SLURM = {
    "SLURM_JOB_ID": "4713",
    "SLURM_ARRAY_JOB_ID": "4711",
    "SLURM_ARRAY_TASK_ID": "2",
    "SLURM_ARRAY_TASK_COUNT": "4",
    "SLURM_ARRAY_TASK_MIN": "0",
    "SLURM_ARRAY_TASK_MAX": "3",
    "SLURM_ARRAY_TASK_STEP": "1",
}
SKYPILOT = {"SKYPILOT_JOB_RANK": "2", "SKYPILOT_NUM_JOBS": "4", "SKYPILOT_TASK_ID": "sky-7"}
KUBERNETES = {"JOB_COMPLETION_INDEX": "2"}
PBS = {"PBS_ARRAY_INDEX": "2", "PBS_JOBID": "12[2].server"}
LSF = {
    "LSB_JOBINDEX": "3",
    "LSB_JOBINDEX_END": "4",
    "LSB_JOBINDEX_STEP": "1",
    "LSB_JOBID": "99",
}
TORCHRUN = {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "TORCHELASTIC_RUN_ID": "none"}
ENVIRONMENTS = {
    "Slurm": SLURM,
    "SkyPilot": SKYPILOT,
    "Kubernetes": KUBERNETES,
    "PBS": PBS,
    "LSF": LSF,
    "torchrun": TORCHRUN,
}
SILENT = ("Kubernetes", "PBS")
"""They do not say how many tasks there are."""


def index_and_count(environment, shards=None):
    task = find_task(environment, shards)
    return task.index, task.count


def test_every_scheduler_of_the_table_has_an_environment_here():
    assert [one.name for one in SCHEDULERS] == list(ENVIRONMENTS)


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_a_schedulers_variables_say_the_task(name):
    assert index_and_count(ENVIRONMENTS[name], 4 if name in SILENT else None) == (2, 4)


@pytest.mark.parametrize("name", SILENT)
def test_where_the_scheduler_does_not_say_how_many_a_variable_of_ours_does(name):
    environment = ENVIRONMENTS[name]
    with pytest.raises(ConfigError, match=r"give --shards N, or PYTHIA_TRAJ_SHARDS=N$"):
        find_task(environment)
    told = find_task({**environment, "PYTHIA_TRAJ_SHARDS": "8"})
    assert (told.index, told.count) == (2, 8)
    assert told.told_by.endswith("=2, PYTHIA_TRAJ_SHARDS=8")


def test_a_rank_without_the_world_size_is_not_enough():
    with pytest.raises(ConfigError, match="RANK does not say how many shards there are"):
        find_task({"RANK": "1"})


def test_an_array_of_slurm_may_begin_anywhere():
    from_one = {**SLURM, "SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_MIN": "1"}
    assert index_and_count(from_one) == (3, 4)


def test_some_tasks_of_an_array_are_submitted_again_with_the_number_of_all():
    again = {**SLURM, "SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_MIN": "3"}
    assert index_and_count({**again, "SLURM_ARRAY_TASK_COUNT": "1"}, shards=4) == (3, 4)
    assert index_and_count({**LSF, "LSB_JOBINDEX": "4"}, shards=8) == (3, 8)


@pytest.mark.parametrize("environment", [SLURM, LSF])
def test_numbers_that_do_not_follow_each_other_are_refused(environment):
    stride = next(name for name in environment if name.endswith("_STEP"))
    with pytest.raises(ConfigError, match=f"{stride}=2: the numbers of the array have to follow"):
        find_task({**environment, stride: "2"})


def test_a_job_of_lsf_that_is_not_an_array_says_nothing():
    with pytest.raises(ConfigError, match=r"which shard\? Give --shard i/n"):
        find_task({**LSF, "LSB_JOBINDEX": "0"})


def test_of_two_schedulers_the_order_of_the_table_decides_and_the_log_says_so():
    told = find_task({**TORCHRUN, **SLURM, "RANK": "0"})
    assert (told.index, told.count) == (2, 4)
    assert told.told_by == (
        "SLURM_ARRAY_TASK_ID=2, SLURM_ARRAY_TASK_COUNT=4, SLURM_ARRAY_TASK_STEP=1,"
        " SLURM_ARRAY_TASK_MIN=0; RANK ignored"
    )


def test_without_any_variable_the_message_says_what_to_give():
    with pytest.raises(ConfigError) as error:
        find_task({"PATH": "/bin"})
    assert str(error.value) == (
        "which shard? Give --shard i/n, such as --shard 0/4; no scheduler says it (none of"
        " SLURM_ARRAY_TASK_ID, SKYPILOT_JOB_RANK, JOB_COMPLETION_INDEX, PBS_ARRAY_INDEX,"
        " LSB_JOBINDEX, RANK is set)"
    )


@pytest.mark.parametrize("value", ["", "two", "-1", "1.0", "9" * 30, "²"])
def test_a_value_that_is_not_a_number_is_refused(value):
    with pytest.raises(ConfigError, match="RANK=.*: it has to be a whole number"):
        find_task({"RANK": value, "WORLD_SIZE": "4"})


@pytest.mark.parametrize(
    ("environment", "expected"),
    [(SLURM, "4711_2"), (SKYPILOT, "sky-7"), (PBS, "12[2].server"), (LSF, "99"), ({}, None)],
)
def test_the_jobs_id_is_the_schedulers(environment, expected):
    assert job_id(environment) == expected
    assert job_id({**TORCHRUN, **environment}) == (expected or "none")
