"""What the daemons of the lab read: the texts of their configuration files, by file name."""

from collections.abc import Mapping
from pathlib import Path

NODES = {"n1": 2, "n2": 2, "n3": 1}
"""CPUs, and as many GPUs, of each node."""

BLIND = "n3"
"""The node that does not see `unseen`."""


def files(
    directory: Path,
    ports: Mapping[str, int],
    version: tuple[int, ...],
    *,
    accounting: bool,
    private: bool,
) -> dict[str, str]:
    """The configuration files of a lab in this directory, whose daemons have these ports.

    With `private`, daemons listen on the address of this machine's name, which they see as
    127.0.0.1.
    """
    # With IPv6, addresses resolve too on a machine that has none but 127.0.0.1.
    addresses = f"{'NoInAddrAny,NoCtldInAddrAny,' if private else ''}EnableIPv6"
    texts = {
        "slurm.conf": _slurm(directory, ports, addresses, accounting),
        "gres.conf": "".join(
            f"NodeName={name} Name=gpu File={directory}/dev/nvidia[0-{n - 1}]\n"
            for name, n in NODES.items()
        ),
        # Nothing here uses cgroups, yet slurmd looks for a version of them. Before 23.02 it cannot
        # be told not to.
        "cgroup.conf": f"CgroupPlugin={'disabled' if version >= (23, 2) else 'cgroup/v1'}\n",
    }
    if accounting:
        texts["slurmdbd.conf"] = _slurmdbd(directory, ports, addresses)
    return texts


def _slurm(directory: Path, ports: Mapping[str, int], addresses: str, accounting: bool) -> str:
    """The times are short. A task is requeued when its credential has expired: 5 s, of which Slurm
    takes no fewer, instead of 120. A node is given up after two failed calls of `MessageTimeout`
    and `SlurmdTimeout`: 14 s, instead of 5 minutes.
    """
    nodes = "\n".join(
        f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={ports[name]} CPUs={n}"
        f" Sockets=1 CoresPerSocket={n} ThreadsPerCore=1 RealMemory=8000 Gres=gpu:{n}"
        for name, n in NODES.items()
    )
    seeing = ",".join(name for name in NODES if name != BLIND)
    storage = "accounting_storage/none"
    if accounting:
        storage = f"""accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={ports["slurmdbd"]}
AccountingStoragePass={directory}/munge/socket"""
    return f"""ClusterName=lab
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={ports["slurmctld"]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={directory}/munge/socket,cred_expire=5
CommunicationParameters={addresses}
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool/%n
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
MpiDefault=none
SwitchType=switch/none
MailProg=/bin/true
SlurmdParameters=config_overrides
ReturnToService=2
MessageTimeout=4
SlurmdTimeout=5
KillWait=5
MinJobAge=300
MaxArraySize=6
InactiveLimit=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=0,bf_interval=1
SlurmctldParameters=preempt_send_user_signal
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
AccountingStorageType={storage}
GresTypes=gpu
{nodes}
PartitionName=gpu Nodes={seeing} Default=YES MaxTime=INFINITE PriorityTier=1 GraceTime=15
PartitionName=urgent Nodes={seeing} MaxTime=INFINITE PriorityTier=10 PreemptMode=OFF
PartitionName=blind Nodes={BLIND} MaxTime=INFINITE
"""


def _slurmdbd(directory: Path, ports: Mapping[str, int], addresses: str) -> str:
    return f"""AuthType=auth/munge
AuthInfo=socket={directory}/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={ports["slurmdbd"]}
CommunicationParameters={addresses}
SlurmUser=root
PidFile={directory}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={ports["mariadbd"]}
StorageUser=root
StorageLoc=slurm
"""
