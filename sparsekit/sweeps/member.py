"""What the jobs of a sweep run: one run, one fit of a run, or the controller that looks after them.

    python -m sparsekit.sweeps.member FOLDER NUMBER    one run, for the processes of cluster=local

Only the standard library is imported until it is known that there is something to compute.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsekit.store.holding import StillHeld
from sparsekit.store.store import Store
from sparsekit.sweeps import scheduler
from sparsekit.sweeps.attempts import job_number, run_attempt
from sparsekit.sweeps.batch import Refused
from sparsekit.sweeps.records import Sweep, member_of, number_of
from sparsekit.system import interruption
from sparsekit.system.fit_jobs import FitJobs
from sparsekit.system.importing import uncollected
from sparsekit.system.interruption import Stopped, received
from sparsekit.system.leaving import leave_after
from sparsekit.system.printing import mask_tracebacks, remark
from sparsekit.system.secrets import masked_here
from sparsekit.system.streams import outlive_readers

if TYPE_CHECKING:
    from sparsekit.core.fit_spec import FitSpec
    from sparsekit.runs.runner import PreparedRun
    from sparsekit.system.team import Team

EXIT = {"done": 0, "failed": 1, "cancelled": 0, "waiting": 75, "parked": 75, "stopped": 143}
ORIGIN = ("created", "command", "folder", "user", "code")
"""Of a sweep, what its runs note of how they were asked for."""
PATIENCE = 5.0
MOST_LOOKS = 20


def main(arguments: Sequence[str]) -> int:
    """Run one run of a sweep in this process; exit status 75 asks to be started again later."""
    folder, number = Path(arguments[0]), int(arguments[1])
    state = run_member(folder, number, log=_local_log(folder, number))
    _tell(Sweep(folder), member_of(number), state)
    return EXIT[state]


def slurm_run(folder: Path, number: int) -> None:
    """Run one run in a job of SLURM, which goes back into the queue if there is more to do."""

    def attempt(team: Team | None) -> str:
        return run_member(folder, number, log=_slurm_log(folder), team=team)

    _on_its_nodes(Sweep(folder), member_of(number), attempt)


def slurm_fit(folder: Path, member: str, item: Mapping[str, Any]) -> None:
    """Compute one fit of a run, given the description of its spec, in a job of SLURM."""
    sweep = Sweep(folder)

    def attempt(team: Team | None) -> str:
        def work() -> None:
            with uncollected():
                from sparsekit.configuration import config
                from sparsekit.runs.runner import fit_of

            spec: FitSpec = config.build(item)
            fit_of(_prepared(sweep, member, team))(spec)

        if _still_waits(sweep, member):
            return "waiting"
        return run_attempt(
            sweep, member, work, log=_slurm_log(folder), stale_after=sweep.stale_after
        )

    _on_its_nodes(sweep, member, attempt)


def slurm_controller(folder: Path, patience: int) -> None:
    """Submit again what was lost, and the next controller, in a small job of SLURM."""
    from sparsekit.sweeps.controller import look_after

    outlive_readers()
    _or_again(functools.partial(look_after, Sweep(folder), patience=patience))


def slurm_watchdog(folder: Path) -> None:
    """Look for lost runs in a small job of SLURM."""
    from sparsekit.sweeps.controller import watchdog

    outlive_readers()
    _or_again(functools.partial(watchdog, Sweep(folder)))


def _or_again(look: Callable[[], None]) -> None:
    """Look at a sweep; where that, or what follows it, is refused, in this same job again later.

    It is in the queue already: no limit keeps it from going back there.
    """
    try:
        look()
    except RuntimeError as error:
        job, times = job_number(), int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        remark(f"{error}; looked at again {MOST_LOOKS - times} times")
        if job is None or times >= MOST_LOOKS or not scheduler.requeue(job):
            raise


def run_member(
    folder: Path, number: int, *, log: str | None = None, team: Team | None = None
) -> str:
    """Run one run of a sweep until it is done or must leave; how it ended."""
    sweep, member = Sweep(folder), member_of(number)
    if sweep.is_done(number):
        return "done"
    if sweep.is_cancelled(member):
        return "cancelled"
    if _still_waits(sweep, member):
        return "waiting"

    def work() -> None:
        with uncollected():
            from sparsekit.runs.runner import run_prepared

        prepared = _prepared(sweep, member, team)
        run_prepared(prepared, prepared.name)

    return run_attempt(sweep, member, work, log=log, stale_after=sweep.stale_after)


def shown_by(prepared: PreparedRun, sweep: Sweep, member: str) -> PreparedRun:
    """Return the same run, shown as one of the sweep, whose fits write their progress into it.

    Its record says how it was asked for.
    """
    from sparsekit.training.progress_file import progress_file

    shown = functools.partial(progress_file, file=str(sweep.progress(member)))
    return dataclasses.replace(
        prepared,
        observers=(*prepared.observers, shown),
        mirror=None if prepared.mirror is None else prepared.mirror.in_sweep(sweep.name),
        origin={name: sweep.frozen[name] for name in ORIGIN if name in sweep.frozen},
    )


def _on_its_nodes(sweep: Sweep, member: str, attempt: Callable[[Team | None], str]) -> None:
    """Run `attempt` on the first node of the job; on the others take part in what that asks."""
    outlive_readers()
    if os.environ.get("SLURM_NNODES", "1") == "1":
        _leave(sweep, member, attempt(None))
        return
    from sparsekit.system.team import team_here

    team = team_here(sweep.folder / "teams", member)
    if not team.is_leader:
        _take_part(team, sweep, member)
        return
    with team:
        state = attempt(team)
    _leave(sweep, member, state)


def _take_part(team: Team, sweep: Sweep, member: str) -> None:
    """Take part in the fits of the job, until its first node has no more."""
    from sparsekit.training.trainer import take_part

    interruption.listen()
    prepared = _prepared(sweep, member, team)
    for call in team.calls():
        try:
            take_part(call, team=team, store=prepared.store, runtime=prepared.runtime)
        except (Exception, Stopped):
            # The first node is told, and records it; this log is for people who look here.
            remark(masked_here(traceback.format_exc()))


def _prepared(sweep: Sweep, member: str, team: Team | None = None) -> PreparedRun:
    """Prepare a run as it was frozen, with what a member of a sweep does differently."""
    from sparsekit.runs.runner import prepare_run, thawed

    prepared = shown_by(prepare_run(thawed(sweep.whole_run(number_of(member)))), sweep, member)
    prepared.runtime.limit_threads_()
    executor = prepared.executor
    if isinstance(executor, FitJobs):
        submit = functools.partial(_submit_fits, sweep, member, prepared.store, executor.rounds)
        executor = dataclasses.replace(executor, submit=submit)
    return dataclasses.replace(prepared, executor=executor, patience=PATIENCE, team=team)


def _submit_fits(
    sweep: Sweep,
    member: str,
    store: Store,
    rounds: int,
    function: Callable[[Any], str],
    items: Sequence[Any],
) -> list[str]:
    from sparsekit.sweeps.controller import submit_fits
    from sparsekit.training.fit import fit_stage

    stages = {fit_stage(item).key: item for item in items}
    missing = {f"{member}.{key}": item for key, item in stages.items() if not store.has(key)}
    if len(missing) > 1:
        try:
            submit_fits(sweep, member, missing, rounds=rounds)
        except (Refused, StillHeld) as error:
            # A limit of the queue is no error of the run, which has a job to compute them in.
            remark(f"{error}; this job computes the fits itself")
    return [function(item) for item in items]


def _still_waits(sweep: Sweep, member: str) -> bool:
    """Say, without importing PyTorch, whether others still compute what this member waits for."""
    key = sweep.last_status(member).get("waits_for")
    return key is not None and Store(sweep.root, sweep.stale_after).is_in_work(key)


def _leave(sweep: Sweep, member: str, state: str) -> None:
    """Go back into the queue if there is more to do; else exit as SLURM should record it.

    After SIGTERM alone SLURM decides: it requeues what it preempts, and ends what was cancelled. If
    requeuing is forbidden, the controller submits the run again.
    """
    _tell(sweep, member, state)
    again = state == "waiting" or (state == "stopped" and "SIGUSR2" in received())
    job = job_number()
    if again and job is not None and not scheduler.requeue(job):
        remark(f"job {job} cannot be requeued; it will be submitted again")
    if state == "failed":
        sys.exit(1)


def _tell(sweep: Sweep, member: str, state: str) -> None:
    """Print the last words of a log."""
    status = sweep.last_status(member)
    if state == "failed" and status.get("error"):
        remark(status["error"])
    reason = status.get("reason", "").partition("\n")[0]
    remark(f"{sweep.name} {member}: {state} {reason}")


def _slurm_log(folder: Path) -> str:
    return str(folder / "jobs" / f"{job_number()}_0_log.out")


def _local_log(folder: Path, number: int) -> str:
    return str(folder / "jobs" / f"{member_of(number)}.log")


if __name__ == "__main__":
    mask_tracebacks()
    outlive_readers()
    leave_after(functools.partial(main, sys.argv[1:]))
