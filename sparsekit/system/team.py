"""The nodes of one job that train a fit together: the first is the leader, the others its workers.

Every node runs one process. The leader alone claims, computes and publishes. Where a fit is to be
trained it calls the workers, and each starts its own ranks of that fit. They talk through a
key-value store of PyTorch in the leader's process, whose address is in a file of the sweep.

As soon as a node's part of a fit ends unfinished, all others end theirs. What the leader
raises tells of all nodes: a RuntimeError where one failed, Stopped where they were asked to end or
where one was lost. The next attempt then resumes from the last checkpoint.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import multiprocessing
import os
import socket
import threading
import time
import traceback
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch.distributed as dist

from sparsekit.system import interruption
from sparsekit.system.files import read_json, write_json
from sparsekit.system.interruption import Stopped
from sparsekit.system.printing import remark
from sparsekit.system.schema import mapping, text, truth, whole

POLL_SECONDS = 0.2
ANSWER_SECONDS = 30.0
LEAVE_SECONDS = 5.0
SECONDS_UNTIL_TOLD = 60.0
_over = mapping({}, {"over": truth})
_address = mapping({"host": text(r"[\w.:-]+", "a host"), "port": whole(1, 65535)})
OVER, LEFT = "over", "left"
DONE, STOPPED, FAILED, ENDED = "done", "stopped", "failed", "ended"


@dataclasses.dataclass(frozen=True)
class Call:
    """Fit `number` of this attempt: what to train, and where its ranks find each other."""

    number: int
    work: Mapping[str, Any]
    host: str
    port: int


class Team:
    """This node among `size`; number 0 is the leader. `file` is of this attempt of the job only.

    To be used as a context by the leader; the workers' calls end with it.
    """

    def __init__(self, file: Path, *, rank: int, size: int) -> None:
        if not 0 <= rank < size:
            raise ValueError(f"rank={rank} is not one of 0 to {size - 1}")
        self.file = file
        self.rank = rank
        self.size = size
        self.num_calls = 0
        self._store: dist.TCPStore | None = None

    @property
    def is_leader(self) -> bool:
        return self.rank == 0

    def __enter__(self) -> Team:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.file, {"over": True})
        if self._store is not None:
            self._store.set(OVER, "")
            self._wait_for([f"{LEFT}/{rank}" for rank in range(1, self.size)], LEAVE_SECONDS)
            self._store = None

    def call(self, work: Mapping[str, Any]) -> Call:
        """Ask the workers to take part in `work`, plain data."""
        store = self._opened()
        call = Call(self.num_calls, work, socket.gethostname(), free_port())
        self.num_calls += 1
        store.set(f"call/{call.number}", json.dumps(dataclasses.asdict(call)))
        return call

    def calls(self) -> Iterator[Call]:
        """Yield the leader's calls; ConnectionError if the leader disappears without closing."""
        try:
            self._store = self._met()
            while self._store is not None:
                key = f"call/{self.num_calls}"
                while not (is_called := self._store.check([key])) and not self._store.check([OVER]):
                    time.sleep(POLL_SECONDS)
                if not is_called:
                    self._store.set(f"{LEFT}/{self.rank}", "")
                    return
                self.num_calls += 1
                yield Call(**json.loads(self._store.get(key)))
        except dist.DistError as error:
            self._refuse_silence(error)

    @contextlib.contextmanager
    def part(self, number: int) -> Iterator[None]:
        """Do this node's part in a call, tell the others how it ended, and end if theirs fail."""
        assert self._store is not None, "there is a call"
        watch = _Watch(self, number)
        try:
            with watch:
                yield
        except BaseException as error:
            self.tell(number, *_outcome(error, was_ended=watch.has_ended))
            if self.is_leader:
                raise self._reason(number) from error
            raise
        self.tell(number, DONE)
        if self.is_leader:
            self._wait_for(self._outcomes(number).values(), ANSWER_SECONDS)

    def tell(self, number: int, state: str, text: str = "") -> None:
        """Tell how the part of this node ended; `text`: of a failure the traceback."""
        assert self._store is not None, "there is a call"
        outcome = {"state": state, "text": text, "host": socket.gethostname()}
        with contextlib.suppress(dist.DistError):
            self._store.set(self._outcomes(number)[self.rank], json.dumps(outcome))

    def told(self, number: int) -> dict[int, dict[str, str]]:
        """Return how the parts of all nodes have ended so far, by node."""
        assert self._store is not None, "there is a call"
        keys = self._outcomes(number)
        found = {rank: key for rank, key in keys.items() if self._store.check([key])}
        return {rank: json.loads(self._store.get(key)) for rank, key in found.items()}

    def _opened(self) -> dist.TCPStore:
        if self._store is None:
            host = socket.gethostname()
            self._store = dist.TCPStore(host, 0, is_master=True, wait_for_workers=False)
            self.file.parent.mkdir(parents=True, exist_ok=True)
            write_json(self.file, {"host": host, "port": self._store.port})
        return self._store

    def _met(self) -> dist.TCPStore | None:
        """Connect to the leader's store; None if the leader has nothing to call for."""
        # Listed, not asked for by name: NFS may remember for a while that a name was not there.
        folder, since, is_told = self.file.parent, time.monotonic(), False
        while not (folder.is_dir() and self.file.name in os.listdir(folder)):
            if not is_told and time.monotonic() - since > SECONDS_UNTIL_TOLD:
                # It ends with the job at the latest: srun ends all nodes when one fails.
                remark(f"waiting for the first node of the job to call, by {self.file}")
                is_told = True
            time.sleep(POLL_SECONDS)
        address = _read_address(self.file)
        if address.get("over"):
            return None
        return dist.TCPStore(address["host"], address["port"], is_master=False)

    def _refuse_silence(self, error: Exception) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS
        while not _read_address(self.file).get("over"):
            if time.monotonic() > deadline:
                raise ConnectionError(f"the first node of the job is gone: {error}") from error
            time.sleep(POLL_SECONDS)

    def _outcomes(self, number: int) -> dict[int, str]:
        """Return the keys under which the nodes tell how their parts ended."""
        return {rank: f"outcome/{number}/{rank}" for rank in range(self.size)}

    def _wait_for(self, keys: Collection[str], seconds: float) -> None:
        """Wait until the workers have told all of this, or it takes too long, or time is up."""
        assert self._store is not None, "there is a call"
        deadline = time.monotonic() + seconds
        while not self._store.check(list(keys)) and time.monotonic() < deadline:
            if interruption.asked():
                return
            time.sleep(POLL_SECONDS)

    def _reason(self, number: int) -> BaseException:
        """Return why a call has failed, by what all nodes say of it."""
        self._wait_for(self._outcomes(number).values(), ANSWER_SECONDS)
        if interruption.asked():
            return Stopped(interruption.received())
        told = self.told(number)
        lost = [rank for rank in range(self.size) if rank not in told]
        if lost:
            return Stopped((f"the loss of node {', '.join(map(str, lost))} of the job",))
        failed = {rank: one for rank, one in told.items() if one["state"] == FAILED}
        listing = [f"--- node {rank}, {one['host']}\n{one['text']}" for rank, one in failed.items()]
        if listing:
            return RuntimeError("\n".join([f"{len(failed)} of {self.size} nodes failed", *listing]))
        signals = [one["text"] for one in told.values() if one["state"] == STOPPED]
        return Stopped(tuple(dict.fromkeys(signals)))


class _Watch:
    """Ends the ranks that this process has started when another node's part ended unfinished."""

    def __init__(self, team: Team, number: int) -> None:
        self.team = team
        self.number = number
        self.has_ended = False
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True, name="sparsekit-team")

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._done.wait(POLL_SECONDS):
            if not self._all_is_well():
                if not self.has_ended:
                    # At once: this part may be waiting for something else.
                    self.has_ended = True
                    self.team.tell(self.number, ENDED)
                for child in multiprocessing.active_children():
                    child.kill()

    def _all_is_well(self) -> bool:
        try:
            told = self.team.told(self.number)
        except dist.DistError:
            return False
        return all(one["state"] == DONE for one in told.values())


def team_here(folder: Path, member: str) -> Team:
    """Return the team of the SLURM job that this process is in, which has one task on each node.

    `folder`: for the file by which they find each other, on a file system they share.
    """
    size = int(os.environ["SLURM_NNODES"])
    attempt = f"{os.environ['SLURM_JOB_ID']}-{os.environ.get('SLURM_RESTART_COUNT', '0')}"
    file = folder / f"{member}-{attempt}.json"
    return Team(file, rank=int(os.environ["SLURM_PROCID"]), size=size)


def _read_address(file: Path) -> Mapping[str, Any]:
    """Read where the leader's store is, or that it is over; ValueError for another file."""
    content: Mapping[str, Any] = read_json(file)
    _over(content, file.name)
    if not content.get("over"):
        _address(content, file.name)
    return content


def free_port() -> int:
    """Return a port on which nobody listens here."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _outcome(error: BaseException, *, was_ended: bool) -> tuple[str, str]:
    if isinstance(error, Stopped):
        return STOPPED, ", ".join(error.signals)
    if was_ended:
        return ENDED, ""
    return FAILED, "".join(traceback.format_exception(error))
