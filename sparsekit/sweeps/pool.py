"""The runs of a sweep in processes of this machine, some at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from sparsekit.store import claims
from sparsekit.sweeps.attempts import at_work_elsewhere
from sparsekit.sweeps.clusters import Local
from sparsekit.sweeps.member import EXIT
from sparsekit.sweeps.records import Sweep, member_of
from sparsekit.system import interruption
from sparsekit.system.files import open_log, refuse_links
from sparsekit.system.gpus import visible_gpus
from sparsekit.system.importing import TRAINING
from sparsekit.system.printing import remark
from sparsekit.system.warm import Cold, Process, Warm, adopting

POLL_SECONDS = 0.1
SECONDS_TO_WAIT = 2.0
AGAIN = EXIT["waiting"]
MEMBER = "sparsekit.sweeps.member"


@dataclasses.dataclass
class _Pool:
    """What is running, what is still to run, and how the others ended."""

    sweep: Sweep
    cluster: Local
    open_runs: list[tuple[float, int]]
    running: dict[int, tuple[subprocess.Popen[bytes] | Process, int]]
    states: dict[int, str]
    told: set[int] = dataclasses.field(default_factory=set)
    warm: Warm | None = None


def run_pool(sweep: Sweep, numbers: Sequence[int], cluster: Local) -> dict[int, str]:
    """Run these runs in processes; return the state of each: done, failed, stopped or waiting.

    A run that waits for a stage of another one makes room, and is started again later. When this
    process is asked to end, it asks all of them: each saves and leaves.
    """
    interruption.listen()
    pool = _Pool(sweep, cluster, [(0.0, number) for number in numbers], {}, {})
    with _warmed(pool):
        try:
            while (pool.open_runs and not interruption.asked()) or pool.running:
                _begin(pool)
                _collect(pool, num_runs=len(numbers))
                if interruption.asked():
                    _ask_all(pool)
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            _ask_all(pool)
            for process, _ in pool.running.values():
                process.wait()
            raise
    for _, number in pool.open_runs:
        pool.states[number] = "stopped"
    return pool.states


@contextlib.contextmanager
def _warmed(pool: _Pool) -> Iterator[None]:
    """Let processes be forked from an interpreter that is warm, where several are to compute.

    Not where there are GPUs: importing may wake their driver, which then works in no fork.
    """
    several = sum(not pool.sweep.is_done(number) for _, number in pool.open_runs) > 1
    if not several or visible_gpus():
        yield
        return
    with adopting() as is_possible, contextlib.ExitStack() as opened:
        if is_possible:
            with contextlib.suppress(Cold):
                pool.warm = Warm(TRAINING, {**os.environ, **_surroundings(pool.cluster, 0)})
                opened.callback(pool.warm.close)
        yield


def _begin(pool: _Pool) -> None:
    free = sorted(set(range(pool.cluster.processes)) - {slot for _, slot in pool.running.values()})
    ready = [one for one in pool.open_runs if one[0] <= time.monotonic()]
    if interruption.asked():
        return
    try:
        if pool.warm is not None and not pool.warm.is_ready():
            return
    except Cold:
        pool.warm = None
    for slot, one in zip(free, ready, strict=False):
        pool.open_runs.remove(one)
        pool.running[one[1]] = (_process(pool, one[1], slot), slot)


def _process(pool: _Pool, number: int, slot: int) -> subprocess.Popen[bytes] | Process:
    log = pool.sweep.folder / "jobs" / f"{member_of(number)}.log"
    refuse_links(pool.sweep.root, log.parent)
    log.parent.mkdir(parents=True, exist_ok=True)
    arguments, differs = [str(pool.sweep.folder), str(number)], _surroundings(pool.cluster, slot)
    command, environment = [sys.executable, "-m", MEMBER, *arguments], {**os.environ, **differs}
    with open_log(log) as file, interruption.held():
        if pool.warm is not None:
            try:
                return pool.warm.begin(MEMBER, arguments, differs, file)
            except Cold:
                pool.warm = None
        # Not of the terminal's group: Ctrl-C asks this process, which asks each of them once.
        return subprocess.Popen(command, stdout=file, stderr=file, env=environment, process_group=0)


def _surroundings(cluster: Local, slot: int) -> dict[str, str]:
    """Return the environment of a process: its share of the cores, and its GPU if there are any."""
    num_cores = max(1, len(os.sched_getaffinity(0)) // cluster.processes)
    threads = os.environ.get("OMP_NUM_THREADS", str(num_cores))
    gpus = visible_gpus()
    shown = {"CUDA_VISIBLE_DEVICES": gpus[slot // cluster.per_gpu % len(gpus)]} if gpus else {}
    return {"OMP_NUM_THREADS": threads, **shown}


def _collect(pool: _Pool, *, num_runs: int) -> None:
    polled = {number: process.poll() for number, (process, _) in pool.running.items()}
    for number, code in polled.items():
        if code is None:
            continue
        del pool.running[number]
        if code == AGAIN and not interruption.asked():
            pool.open_runs.append((time.monotonic() + SECONDS_TO_WAIT, number))
            _say_what_for(pool, number)
            continue
        pool.states[number] = _state(pool.sweep, number, code)
        _say(pool, number, num_runs)


def _state(sweep: Sweep, number: int, code: int) -> str:
    if sweep.is_done(number):
        return "done"
    state = str(sweep.last_status(member_of(number)).get("state"))
    return state if state not in ("running", "None") else f"lost (exit status {code})"


def _ask_all(pool: _Pool) -> None:
    for process, _ in pool.running.values():
        process.terminate()


def _say(pool: _Pool, number: int, num_runs: int) -> None:
    run, state = pool.sweep.runs[number], pool.states[number]
    what = "" if state == "done" else f": {_why(pool.sweep, number)}"
    remark(f"[{len(pool.states)}/{num_runs}] {run['name']} {state}{what}")


def _say_what_for(pool: _Pool, number: int) -> None:
    """Say once of a run what it waits for."""
    member = member_of(number)
    if number not in pool.told:
        pool.told.add(number)
        is_elsewhere = claims.holder(pool.sweep.claims, member) != ""
        reason = pool.sweep.last_status(member).get("reason")
        why = at_work_elsewhere(pool.sweep, member) if is_elsewhere else reason
        remark(f"{pool.sweep.runs[number]['name']} waits: {why}")


def _why(sweep: Sweep, number: int) -> str:
    status = sweep.last_status(member_of(number))
    log = Path(sweep.folder / "jobs" / f"{member_of(number)}.log")
    return f"{status.get('error') or status.get('reason')}; log: {log}"
