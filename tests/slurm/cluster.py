"""A cluster of this test run's own: `slurm/test-cluster.sh` in a folder that goes with the run."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import random
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

from tests.waiting import wait_until

SCRIPT = Path(__file__).parents[2] / "slurm" / "test-cluster.sh"
NODES = 4
PORTS_BEFORE_NODES = 11
SETTINGS = {"GRACE": "10", "KILL_WAIT": "5", "LINK": "no"}
# Where no node is lost, a busy machine may keep a daemon silent.
SLURMD_TIMEOUT = {True: "600", False: "15"}
Value = TypeVar("Value")


class Row(NamedTuple):
    """What `squeue` says of a job, or of one member of an array."""

    job: str
    name: str
    partition: str
    state: str
    reason: str
    node: str


@dataclasses.dataclass
class Cluster:
    """A running cluster, as tests see it. What others use too may not be broken."""

    folder: Path
    is_shared: bool = True

    @property
    def configuration(self) -> Path:
        return self.folder / "etc" / "slurm.conf"

    def start(self, *, nodes: int = NODES, accounting: str = "slurmdbd") -> None:
        """Up, with all nodes; RuntimeError says why that is not possible here."""
        port = str(_free_ports(PORTS_BEFORE_NODES + nodes))
        chosen = {"PORT": port, "NODES": str(nodes), "ACCOUNTING": accounting}
        timeout = SLURMD_TIMEOUT[self.is_shared]
        self._script("start", **SETTINGS, **chosen, SLURMD_TIMEOUT=timeout)

    def purge(self) -> None:
        """Ended, and its folder deleted."""
        self._script("purge")

    def kill_node(self, name: str) -> None:
        """Power cut: all that runs on the node dies at once."""
        self._break("kill-node", name)

    def cut_node(self, name: str) -> None:
        """Network cut: the cluster loses sight of the node, whose jobs go on."""
        self._break("cut-node", name)

    def start_node(self, name: str) -> None:
        """The node is back, and may be used."""
        self._break("start-node", name)

    def stop_controller(self) -> None:
        """FitJobs go on; nothing can be submitted or asked."""
        self._break("stop-controller")

    def start_controller(self) -> None:
        """The controller is back, and has heard from its nodes."""
        self._break("start-controller")

    def stop_accounting(self) -> None:
        """Nothing can be asked about jobs that have ended."""
        self._break("stop-accounting")

    def start_accounting(self) -> None:
        """The accounting is back."""
        self._break("start-accounting")

    def run(self, *command: str) -> str:
        """What a command prints; CalledProcessError where it fails."""
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr or done.stdout}")
        return done.stdout.strip()

    def jobs(self) -> list[Row]:
        """All jobs that wait or run, members of arrays one by one."""
        printed = self.run("squeue", "--noheader", "--array", "--all", "--format=%i|%j|%P|%T|%r|%N")
        return [Row(*line.split("|")) for line in printed.splitlines()]

    def wait(self, condition: Callable[[], Value]) -> Value:
        """The first true value of `condition`; AssertionError shows the queue if there is none."""
        return wait_until(condition, lambda: str(self.jobs()), every=0.2)

    def _break(self, *command: str) -> None:
        assert not self.is_shared, "a test that breaks a cluster asks for the fixture `own_cluster`"
        self._script(*command)

    def _script(self, *command: str, **settings: str) -> None:
        chosen = {"DIRECTORY": str(self.folder), **settings}
        environment = {f"TEST_CLUSTER_{name}": value for name, value in chosen.items()}
        # Not captured by a pipe: daemons that kept it open would keep us waiting.
        with tempfile.TemporaryFile("w+") as output:
            done = subprocess.run(
                ["bash", str(SCRIPT), *command],
                env={**os.environ, **environment},
                stdout=output,
                stderr=output,
            )
            if done.returncode:
                output.seek(0)
                raise RuntimeError(f"{SCRIPT.name} {' '.join(command)}: {output.read().strip()}")


def folder_of_this_run() -> Path:
    """One for all workers of a test run; short, because sockets lie in it."""
    name = os.environ.get("PYTEST_XDIST_TESTRUNUID", str(os.getpid()))
    return Path(tempfile.gettempdir()) / f"sparsekit-slurm-{name}"


def join(folder: Path) -> IO[str]:
    """As long as the file is open, clusters in `folder` stay; after the last user they are purged.

    However the users end: a process waits for the locks that go with them.
    """
    while True:
        is_first = not folder.exists()
        folder.mkdir(exist_ok=True)
        users = _locked(folder / "users", fcntl.LOCK_SH)
        if _is_still_there(folder / "users", users):
            break
        users.close()
    if is_first:
        purge = (
            'for one in "$1"/*/; do TEST_CLUSTER_DIRECTORY=$one bash "$0" purge; done; rm -r "$1"'
        )
        subprocess.Popen(
            ["flock", str(folder / "users"), "sh", "-c", purge, str(SCRIPT), str(folder)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    return users


@contextlib.contextmanager
def own(folder: Path) -> Iterator[Cluster]:
    """A cluster that nobody else uses, as long as it is needed."""
    cluster = Cluster(folder / uuid.uuid4().hex[:8], is_shared=False)
    try:
        # One after the other, because free ports are found by looking.
        with _locked(folder / "start", fcntl.LOCK_EX):
            cluster.start()
        yield cluster
    finally:
        cluster.purge()


def shared(folder: Path) -> Cluster:
    """The cluster of this run, which the first who asks starts."""
    cluster = Cluster(folder / "cluster")
    with _locked(folder / "start", fcntl.LOCK_EX):
        if not (folder / "ready").exists():
            cluster.start()
            (folder / "ready").touch()
    return cluster


def _locked(path: Path, kind: int) -> IO[str]:
    file = path.open("a")
    fcntl.flock(file, kind)
    return file


def _is_still_there(path: Path, file: IO[str]) -> bool:
    return path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))


def _free_ports(number: int) -> int:
    """The first of `number` ports in a row that nobody uses, below those given out by Linux."""
    while True:
        first = random.randrange(20_000, 32_000)
        if all(_is_free(port) for port in range(first, first + number)):
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
