"""A real Slurm on this machine: munge, slurmctld and three slurmd nodes on loopback.

n1 and n2 (2 CPUs and 2 GPUs each) are the partitions `gpu`, the default, and `urgent`, which
preempts it. n3 (1 CPU, 1 GPU) is `blind`: it sees an empty directory where the others see what is
in `unseen`. The GPUs are null devices: allocation and `CUDA_VISIBLE_DEVICES` are real, CUDA is not.
"""

import contextlib
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

import psutil
import pytest

from tests.slurm import settings

T = TypeVar("T")

DAEMONS = ("munged", "slurmctld", "slurmd", "squeue", "unshare")
ACCOUNTING = ("slurmdbd", "mariadbd", "mariadb-install-db")
SYSTEM = f"{os.environ['PATH']}:/usr/sbin:/sbin"
"""Where programs are looked for: daemons are not on the path of every user."""

SLURMS = ("slurmd", "slurmstepd", "srun")
"""Programs of Slurm's own on a node. A step's daemon waits for seconds for an srun that was killed.
"""

DEBIAN = Path("/etc/debian_version")

UP = ("idle", "mixed", "allocated")
OVER = {"COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL"}
OVER |= {"DEADLINE", "OUT_OF_MEMORY"}

VIEW = """
mount --bind "$1/hosts" /etc/hosts || exit
[ -z "$2" ] || mount -t tmpfs -o size=1m tmpfs "$1/unseen" || exit
shift 2
exec "$@"
"""
"""How a daemon sees the file system: `sh -c VIEW sh DIRECTORY BLIND COMMAND`. Daemons listen on the
address that the host table gives to this machine's name; here that is 127.0.0.1 alone.
"""


class LabError(Exception):
    """A command of Slurm failed, or a daemon did not start."""


def required(*, accounting: bool = False) -> None:
    """Skips the test where a lab cannot start; fails it where Slurm could have been installed."""
    reason = missing(accounting=accounting)
    if reason is None:
        return
    reason = f"{reason}; on Debian, root installs Slurm with `sh tests/system_packages.sh`"
    if os.geteuid() == 0 and DEBIAN.exists():
        pytest.fail(reason)
    pytest.skip(reason)


def missing(*, accounting: bool = False) -> str | None:
    """Why a lab cannot start here, or None."""
    if os.geteuid() != 0:
        return "a Slurm of one's own needs root"
    wanted = DAEMONS + (ACCOUNTING if accounting else ())
    absent = [name for name in wanted if shutil.which(name, path=SYSTEM) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


class Lab:
    """Starts when it is entered; afterwards nothing of it is left, neither process nor file."""

    directory: Path
    environment: dict[str, str]
    private: bool
    """Whether daemons have a view of the file system of their own. Root of a container may not be
    allowed to mount: then daemons listen on all addresses, and n3 sees what the others see.
    """

    def __init__(self, *, accounting: bool = False) -> None:
        self.accounting = accounting
        self._keepers: dict[str, list[subprocess.Popen[bytes]]] = {}
        self._restarted = False

    def __enter__(self) -> Self:
        # Not below the tests' own directories: munge's socket has a limit of 107 characters.
        self.directory = Path(tempfile.mkdtemp(prefix="lab-"))
        self.environment = {**os.environ, "SLURM_CONF": str(self.directory / "slurm.conf")}
        mounting = subprocess.run(["unshare", "--mount", "true"], stderr=subprocess.DEVNULL)
        self.private = mounting.returncode == 0
        try:
            self._start_all()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        # Nodes first, and with them the jobs.
        for name in sorted(self._keepers, key=lambda name: name not in settings.NODES):
            self._kill(name)
        left = [f"{process.pid} {process.name()}" for process in self.processes()]
        shutil.rmtree(self.directory)
        if left:
            raise LabError(f"processes of the lab are left: {', '.join(left)}")

    def run(self, *command: str | Path, timeout: float = 30, check: bool = True) -> str:
        """What a client's command printed.

        Raises:
            LabError: With the standard error of a command that failed.
        """
        result = subprocess.run(
            command,
            env=self.environment,
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and result.returncode != 0:
            words = " ".join(map(str, command))
            raise LabError(f"{words}: exit status {result.returncode}: {result.stderr.strip()}")
        return result.stdout

    def queue(self, *options: str) -> list[list[str]]:
        """Job, state, reason, nodes and name of each task; also of those that have ended."""
        command = ("squeue", "-h", "-r", "--states=all", "-o", "%i|%T|%r|%N|%j", *options)
        return [line.split("|") for line in self.run(*command).splitlines()]

    def wait(self, condition: Callable[[], T], seconds: float = 60) -> T:
        """What the condition answers once that is true."""
        end = time.monotonic() + seconds
        while not (answer := condition()):
            if time.monotonic() > end:
                raise AssertionError(f"not so after {seconds:g} s\n{self._state()}")
            time.sleep(0.2)
        return answer

    def start_controller(self) -> None:
        """Waits until it answers."""
        self._restarted = True
        self._start("slurmctld", ["slurmctld", "-D"])
        self.wait(lambda: " is UP" in self.run("scontrol", "ping", check=False))

    def stop_controller(self, kill: bool = True) -> None:
        """Kills it, or has it save its state and end."""
        self._stop("slurmctld", kill)

    def start_node(self, name: str) -> None:
        """Waits until it takes jobs."""
        self._start_slurmd(name)
        self.wait(lambda: self._node(name) in UP)

    def stop_node(self, name: str, kill: bool = True) -> None:
        """Kills slurmd and the node's jobs, as if it lost power; or ends slurmd and no job."""
        self._stop(name, kill)

    def clear(self) -> None:
        """Starts what was stopped, ends all jobs and waits until every node is idle."""
        if self._restarted or self._daemon("slurmctld") is None:
            self._forget()
            self.start_controller()
            self._restarted = False
        for name in settings.NODES:
            if self._daemon(name) is None:
                self._start_slurmd(name)
        self.wait(self._is_empty)
        self.wait(self._is_idle)

    def processes(self) -> list[psutil.Process]:
        """All that live and were started by this lab: daemons, steps, jobs, commands."""
        return [process for process in psutil.process_iter() if self._is_of_lab(process)]

    def _is_of_lab(self, process: psutil.Process) -> bool:
        try:
            # A step's daemon has no environment left, but it does not change its directory.
            conf = process.environ().get("SLURM_CONF")
            return conf == self.environment["SLURM_CONF"] or process.cwd() == str(self.directory)
        except psutil.Error:
            return False

    def _forget(self) -> None:
        """Ends the controller and the nodes, and removes what they have saved.

        A controller that was killed may have saved that jobs run which have ended since: another
        one ends those only after a minute.
        """
        for name in (*settings.NODES, "slurmctld"):
            self._kill(name)
        for path in (self.directory / "state", *(self.directory / "spool").iterdir()):
            shutil.rmtree(path)
            path.mkdir()

    def _is_empty(self) -> bool:
        """Whether no job is active; those that are, are ended."""
        active = [job for job, state, *_ in self.queue() if state not in OVER]
        if active:
            self.run("scancel", "--user=root", check=False)
            # What traps TERM would live on for KillWait.
            for name in settings.NODES:
                for process in self._below(name):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        if process.name() not in SLURMS:
                            process.kill()
        return not active

    def _is_idle(self) -> bool:
        """Whether every node is; one that is down or drained is asked to resume."""
        states = {name: self._node(name) for name in settings.NODES}
        for name, state in states.items():
            if state.startswith(("down", "drain")):
                # A controller that was killed may have saved that a node is down which by now has
                # come back, and believes it for minutes.
                self.run("scontrol", "update", f"NodeName={name}", "State=RESUME", check=False)
        return set(states.values()) == {"idle"}

    def _node(self, name: str) -> str:
        """Its state: idle, mixed, allocated, down, ...; with a * while it does not answer."""
        return self.run("sinfo", "-h", "-N", "-n", name, "-o", "%T").split()[0]

    def _start_all(self) -> None:
        # munge refuses a socket that other users cannot reach.
        self.directory.chmod(0o755)
        nodes = [f"spool/{name}" for name in settings.NODES]
        for name in ("munge", "state", "dev", "log", "unseen", *nodes):
            (self.directory / name).mkdir(parents=True)
        for i in range(2):
            (self.directory / "dev" / f"nvidia{i}").symlink_to(os.devnull)
        version = tuple(map(int, re.findall(r"\d+", self.run(_program("slurmctld"), "-V"))))
        names = ("slurmctld", *settings.NODES, "slurmdbd", "mariadbd")
        ports = dict(zip(names, _free_ports(len(names)), strict=True))
        host = socket.gethostname()
        (self.directory / "hosts").write_text(f"127.0.0.1 localhost {host} {host.split('.')[0]}\n")
        texts = settings.files(
            self.directory, ports, version, accounting=self.accounting, private=self.private
        )
        for name, text in texts.items():
            (self.directory / name).write_text(text)
            (self.directory / name).chmod(0o600)
        self._start_munge()
        if self.accounting:
            self._start_accounting(ports)
        self.start_controller()
        self._restarted = False
        for name in settings.NODES:
            self._start_slurmd(name)
        self.wait(self._is_idle)

    def _start_munge(self) -> None:
        folder = self.directory / "munge"
        (folder / "key").write_bytes(os.urandom(1024))
        (folder / "key").chmod(0o600)
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed"}
        options = [f"--{option}={folder / name}" for option, name in files.items()]
        self._start("munged", ["munged", "-F", "--origin=127.0.0.1", *options])
        socket = f"--socket={folder / 'socket'}"
        self.wait(lambda: self.run("munge", "--no-input", socket, check=False))

    def _start_slurmd(self, name: str) -> None:
        self._start(name, ["slurmd", "-D", "-N", name])

    def _start_accounting(self, ports: dict[str, int]) -> None:
        folder = self.directory / "database"
        own = ["--no-defaults", f"--datadir={folder}", "--user=root"]
        own += ["--innodb-log-file-size=4M", "--innodb-flush-log-at-trx-commit=0"]
        self.run("mariadb-install-db", *own, "--skip-test-db", "--skip-name-resolve", "--force")
        reached = ["--bind-address=127.0.0.1", f"--port={ports['mariadbd']}"]
        reached += [f"--socket={folder / 'socket'}", "--skip-grant-tables"]
        self._start("mariadbd", ["mariadbd", *own, *reached])
        self.wait(lambda: _listens(ports["mariadbd"]))
        self._start("slurmdbd", ["slurmdbd", "-D"])
        self.wait(lambda: _listens(ports["slurmdbd"]))
        # slurmctld does not start before its cluster is registered.
        self.run("sacctmgr", "--immediate", "add", "cluster", "lab")

    def _start(self, name: str, command: list[str]) -> None:
        keeper = [sys.executable, "-IS", str(Path(__file__).with_name("keeper.py"))]
        keeper.append(str(os.getpid()))
        program = [_program(command[0]), *command[1:]]
        with (self.directory / "log" / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [*keeper, *self._view(name), *program],
                env=self.environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Of a session of its own: an interrupt from the terminal is for the tests.
                start_new_session=True,
            )
        self._keepers.setdefault(name, []).append(process)

    def _view(self, name: str) -> list[str]:
        """The command that runs a daemon in its view of the file system."""
        if not self.private:
            return []
        blind = "blind" if name == settings.BLIND else ""
        unshare = ["unshare", "--mount", "--propagation=slave"]
        return [*unshare, "sh", "-c", VIEW, "sh", str(self.directory), blind]

    def _below(self, name: str) -> list[psutil.Process]:
        """A daemon and all that it started."""
        found = []
        for keeper in self._keepers.get(name, []):
            with contextlib.suppress(psutil.NoSuchProcess):
                found += psutil.Process(keeper.pid).children(recursive=True)
        return found

    def _daemon(self, name: str) -> psutil.Process | None:
        """The daemon itself."""
        program = "slurmd" if name in settings.NODES else name
        keepers = [keeper.pid for keeper in self._keepers.get(name, [])]
        for process in self._below(name):
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name() == program and process.ppid() in keepers:
                    return process
        return None

    def _stop(self, name: str, kill: bool) -> None:
        if kill:
            self._kill(name)
        elif (daemon := self._daemon(name)) is not None:
            daemon.terminate()
            daemon.wait(30)

    def _kill(self, name: str) -> None:
        """Kills the daemon and all that it started."""
        keepers = self._keepers.pop(name, [])
        for keeper in keepers:
            keeper.terminate()
        for keeper in keepers:
            keeper.wait(30)

    def _state(self) -> str:
        """The nodes, the queue, and the end of each daemon's log."""
        texts = [self.run("sinfo", "-N", "-o", "%N %T %E", check=False)]
        texts.append(self.run("squeue", "--all", "--states=all", check=False))
        for path in sorted((self.directory / "log").iterdir()):
            texts += [f"{path.name}:", *path.read_text(errors="replace").splitlines()[-15:]]
        return "\n".join(texts)


def _program(name: str) -> str:
    return shutil.which(name, path=SYSTEM) or name


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _free_ports(n: int) -> list[int]:
    """Ports on which nothing listens, below those that the kernel gives to clients."""
    ports = random.sample(range(10000, 30000), 100)
    return [port for port in ports if not _listens(port)][:n]
