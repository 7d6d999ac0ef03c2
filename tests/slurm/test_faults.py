"""What a cluster does to a sweep; in each case every result comes in the end, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from sparsekit.store.store import Store
from sparsekit.sweeps.jobs import jobs_of
from sparsekit.sweeps.liveness import observe
from sparsekit.sweeps.records import Sweep
from tests.slurm.sweeping import SEVERAL, Asked, settled, states, training, wait
from tests.waiting import PATIENCE, wait_until

pytestmark = pytest.mark.slurm
BOTH = ("0000", "0001")
HIGHER = ("--cpus-per-task=4", "--mem=1G", "--wrap=sleep 3", "--output=/dev/null")


def next_attempt(sweep: Sweep, member: str, attempts: int) -> bool:
    return bool(sweep.last_status(member).get("attempts", 0) > attempts)


@pytest.mark.parametrize("partition", ["preempt", "preempt0", "scavenge"])
def test_evicted_by_a_higher_partition(own_cluster: Any, tmp_path: Path, partition: str) -> None:
    """On a cluster of its own: jobs of others on the node would keep the higher one waiting."""
    asked = Asked(tmp_path, pace=0.5)
    sweep = asked.submit(f"cluster.partition={partition}", "cluster.options.nodelist=n4")
    wait(lambda: training(sweep, "0000"))
    subprocess.run(["sbatch", "--nodelist=n4", *HIGHER], check=True)
    wait(lambda: next_attempt(sweep, "0000", 1))
    settled(sweep)
    asked.conclude(f"evicted from {partition} by a higher partition", injected=1)


def test_time_limit_hit_twice(cluster: Any, tmp_path: Path) -> None:
    """The fit takes more than two limits, although SLURM looks at limits twice a minute only."""
    asked = Asked(tmp_path, ("method=random", "seed=0"), pace=5)
    sweep = asked.submit("resources.minutes=2", "cluster.signal_seconds=40")
    settled(sweep)
    assert sweep.last_status("0000")["attempts"] >= 3, "the limit was not hit twice"
    assert len(list(Store(asked.store).keys("fit"))) == 1
    asked.conclude("time limit", injected=sweep.last_status("0000")["attempts"] - 1)


@pytest.mark.parametrize("accounting", [True, False])
def test_members_cancelled(cluster: Any, tmp_path: Path, accounting: bool) -> None:
    path = os.environ["PATH"] if accounting else without_accounting(tmp_path)
    asked = Asked(tmp_path, ("method=random", "seed=0,1,2"), pace=0.3, path=path)
    sweep = asked.submit("cluster.parallelism=2", "cluster.rounds=0")
    wait(lambda: training(sweep, "0000"))
    array = sweep.last_status("0000")["job"].partition("_")[0]
    subprocess.run(["scancel", f"{array}_0", f"{array}_2"], check=True)
    settled(sweep)
    printed = json.loads(asked.status(sweep.name, "--json"))
    told = [one["state"] for one in printed["runs"]]
    # Without accounting nobody can tell that a member that had begun was not just evicted.
    assert told == ["cancelled" if accounting else "done", "done", "cancelled"]
    asked.status("retry", sweep.name)
    settled(sweep)
    kind = "with" if accounting else "without"
    asked.conclude(f"scancel of a running and a pending member, {kind} sacct", injected=2)


def without_accounting(folder: Path) -> str:
    """A PATH on which everything can be found but sacct."""
    place = folder / "bin"
    place.mkdir()
    for part in os.environ["PATH"].split(":"):
        for file in Path(part).glob("*") if Path(part).is_dir() else ():
            if file.name != "sacct" and not (place / file.name).exists():
                (place / file.name).symlink_to(file)
    return str(place)


@pytest.mark.parametrize(
    ("what", "state", "reason"),
    [
        ("raise", "failed", "told to fail"),
        ("exit", "failed", "SystemExit(3)"),
        ("die", "lost", "SLURM says FAILED 3:0"),
        ("memory", "lost", "SLURM says"),
    ],
)
def test_a_member_that_fails(
    cluster: Any, tmp_path: Path, what: str, state: str, reason: str
) -> None:
    # SLURM counts the memory of the processes that it started, not that of forks of others.
    asked = Asked(tmp_path, ("method=random", "seed=0,1"), pace=0, cold=what == "memory")
    asked.harm.write_text(json.dumps({"step": 40, "what": what}))
    sweep = asked.submit("cluster.rounds=1", "resources.memory_gb=2")
    first, second = settled(sweep)
    assert (first.state, second.state) == (state, "done")
    assert reason in first.reason
    assert first.last_status["log"] in asked.status("logs", sweep.name, "0")
    if state == "failed":
        assert "troubled.py" in first.last_status["error"]
        assert "troubled.py" in asked.status("logs", sweep.name, "0")
    attempts = first.last_status["attempts"]
    # An error would only come again; a job that just ended is given another chance.
    assert attempts == (1 if state == "failed" else 2)
    asked.harm.unlink()
    asked.status("retry", sweep.name)
    settled(sweep)
    asked.conclude(f"member that does this: {what}", injected=attempts)


def test_processes_killed(cluster: Any, tmp_path: Path) -> None:
    asked = Asked(tmp_path, SEVERAL, pace=0.15)
    sweep = asked.submit("cluster.patrol_minutes=1")
    for attempt in (1, 2):
        wait(lambda: training(sweep, "0000"))
        os.kill(sweep.last_status("0000")["pid"], signal.SIGKILL)
        wait(lambda attempt=attempt: next_attempt(sweep, "0000", attempt))
    settled(sweep)
    asked.conclude("kill -9 of a job's processes", injected=2)


def test_a_node_is_lost(own_cluster: Any, tmp_path: Path) -> None:
    asked = Asked(tmp_path, pace=0.15)
    sweep = asked.submit("cluster.options.nodelist=n4")
    wait(lambda: training(sweep, "0000"))
    own_cluster.kill_node("n4")
    time.sleep(5)
    own_cluster.start_node("n4")
    settled(sweep)
    assert sweep.last_status("0000")["attempts"] > 1
    asked.conclude("a node dies with its jobs, and comes back", injected=1)


def test_a_daemon_is_lost_and_its_jobs_go_on(own_cluster: Any, tmp_path: Path) -> None:
    asked = Asked(tmp_path, pace=0.5)
    sweep = asked.submit("cluster.options.nodelist=n3")
    wait(lambda: training(sweep, "0000"))
    own_cluster.cut_node("n3")
    wait(lambda: "n3" in own_cluster.run("sinfo", "-h", "-N", "-t", "down", "-o", "%N"))
    own_cluster.start_node("n3")
    settled(sweep)
    asked.conclude("kill -9 of a node's daemon, given up by SLURM", injected=1)


@pytest.mark.parametrize("place", ["nothing", "sweep.json", "submissions/*.json"])
def test_the_submitting_process_is_lost(cluster: Any, tmp_path: Path, place: str) -> None:
    """Before anything is written, when the sweep is frozen, and when it submits it."""
    asked = Asked(tmp_path, pace=0)
    process = asked.start()
    if place != "nothing":
        frozen = asked.store / "sweeps"
        wait_until(lambda: list(frozen.glob(f"*/{place}")), "nothing is frozen", every=0.002)
    process.kill()
    process.wait()
    if "submissions" in place:
        settled(asked.sweep)  # until then its note is believed: it could be on its way to SLURM
    sweep = asked.submit()
    settled(sweep)
    asked.conclude("kill -9 of the submitting process", injected=1)


def test_killed_between_submission_and_its_note(cluster: Any, tmp_path: Path) -> None:
    asked = Asked(tmp_path, pace=0.1)
    sweep = asked.submit()
    (note,) = (one for one in sweep.submissions() if one["kind"] == "runs")
    sweep.submitted(note, job=None)
    wait(lambda: training(sweep, "0000"))
    assert "running" in states(sweep)
    assert "nothing to submit" in asked.start().communicate()[0]
    settled(sweep)
    asked.conclude("kill -9 after sbatch, before the number was noted", injected=1)


def test_submitted_twice_at_once(cluster: Any, tmp_path: Path) -> None:
    asked = Asked(tmp_path, pace=0)
    both = [asked.start() for _ in range(2)]
    printed = [process.communicate(timeout=PATIENCE)[0] for process in both]
    assert sorted("nothing to submit" in text for text in printed) == [False, True]
    sweep = asked.sweep
    settled(sweep)
    assert [sweep.last_status(member)["attempts"] for member in BOTH] == [1, 1]
    asked.conclude("the same sweep submitted twice at once", injected=1)


def test_the_controller_of_the_cluster_restarts(own_cluster: Any, tmp_path: Path) -> None:
    asked = Asked(tmp_path)
    sweep = asked.submit()
    wait(lambda: training(sweep, "0000"))
    own_cluster.stop_controller()
    assert "running" in states(sweep)
    time.sleep(3)
    own_cluster.start_controller()
    settled(sweep)
    asked.conclude("slurmctld restarted under load", injected=1)


def test_a_fit_that_is_a_job_is_killed(cluster: Any, tmp_path: Path) -> None:
    asked = Asked(tmp_path, ("method=swamp", "seed=0", "method.several_from=1"), pace=0.15)
    sweep = asked.submit("executor=jobs")

    def fits() -> list[str]:
        return sorted(file.stem for file in (sweep.folder / "members").glob("0000.*.json"))

    wait(lambda: fits() and training(sweep, fits()[0]))
    os.kill(sweep.last_status(fits()[0])["pid"], signal.SIGKILL)
    settled(sweep)
    asked.conclude("kill -9 of a fit that is a job", injected=1)


def test_sigterm_is_the_only_warning(cluster: Any, tmp_path: Path) -> None:
    asked = Asked(tmp_path, ("method=random", "seed=0"), pace=0.2)
    sweep = asked.submit("cluster.rounds=0")
    wait(lambda: training(sweep, "0000"))
    subprocess.run(["scancel", "--signal=TERM", sweep.last_status("0000")["job"]], check=True)
    wait(lambda: next_attempt(sweep, "0000", 1))
    assert len(list(Store(asked.store).keys("fit"))) == 0
    settled(sweep)
    asked.conclude("SIGTERM alone", injected=1)


def test_requeuing_is_forbidden(cluster: Any, tmp_path: Path) -> None:
    asked = Asked(tmp_path, ("method=random", "seed=0"), pace=0.2)
    sweep = asked.submit("cluster.options={no_requeue:true}", "cluster.rounds=0")
    for attempt in (1, 2):
        wait(lambda: training(sweep, "0000"))
        subprocess.run(["scancel", "--signal=USR2", sweep.last_status("0000")["job"]], check=True)
        wait(lambda attempt=attempt: next_attempt(sweep, "0000", attempt))
    settled(sweep)
    asked.conclude("warned where requeuing is forbidden", injected=2)


def test_cancelled_by_command_and_taken_up_again(cluster: Any, tmp_path: Path) -> None:
    asked = Asked(tmp_path)
    sweep = asked.submit()
    wait(lambda: training(sweep, "0000"))
    asked.status("cancel", sweep.name)
    wait(lambda: not jobs_of(sweep) and states(sweep) == ["cancelled", "cancelled"])
    assert all(one.is_missing for one in observe(sweep))
    asked.status("retry", sweep.name)
    settled(sweep)
    asked.conclude("cancelled and taken up again", injected=2)
