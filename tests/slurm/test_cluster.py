"""The test cluster does what clusters do."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.slurm.cluster import Cluster

pytestmark = pytest.mark.slurm
TICKING = """
echo attempt ${SLURM_RESTART_COUNT:-0} >>attempts
while true; do date >>ticks; sleep 0.2; done
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where jobs are submitted and write to."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def submit(cluster: Cluster, script: str, *options: str) -> str:
    return cluster.run("sbatch", "--parsable", "--output=out-%a", *options, f"--wrap={script}")


def state(cluster: Cluster, job: str) -> str:
    return next((f"{row.state} {row.reason}" for row in cluster.jobs() if row.job == job), "gone")


def text(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def test_a_job_runs_and_is_remembered(cluster: Cluster, folder: Path) -> None:
    script = "srun --mpi=none printenv SLURMD_NODENAME CUDA_VISIBLE_DEVICES; exit 3"
    job = submit(cluster, script, "--nodelist=n2", "--gres=gpu:1")
    cluster.wait(lambda: state(cluster, job) == "gone" or "COMPLETING" in state(cluster, job))
    assert text(folder / "out-4294967294").split() == ["n2", "0"]
    command = ("sacct", "--noheader", "--parsable2", "--allocations", f"--jobs={job}")
    cluster.wait(lambda: cluster.run(*command, "--format=State,ExitCode") == "FAILED|3:0")


def test_an_array_has_members(cluster: Cluster, folder: Path) -> None:
    submit(cluster, "echo $SLURM_ARRAY_TASK_ID", "--array=0-3%2")
    outs = [folder / f"out-{member}" for member in range(4)]
    cluster.wait(lambda: [text(out).strip() for out in outs] == ["0", "1", "2", "3"])


def test_a_job_is_requeued(cluster: Cluster, folder: Path) -> None:
    job = submit(cluster, TICKING)
    cluster.wait(lambda: (folder / "ticks").exists())
    cluster.run("scontrol", "requeue", job)
    cluster.wait(lambda: state(cluster, job) == "PENDING BeginTime")
    cluster.wait(lambda: text(folder / "attempts") == "attempt 0\nattempt 1\n")
    cluster.run("scancel", job)


def test_a_job_of_debug_evicts_one_of_preempt(cluster: Cluster, folder: Path) -> None:
    script = """srun --mpi=none bash -c 'trap "echo warned >warned" USR2; touch on
        while true; do sleep 0.1; done'"""
    where = ("--nodelist=n3", "--cpus-per-task=4")
    low = submit(cluster, script, *where, "--partition=preempt", "--signal=USR2@9")
    cluster.wait(lambda: (folder / "on").exists())
    high = submit(cluster, "sleep 1000", *where)
    cluster.wait(lambda: state(cluster, high) == "RUNNING None")
    assert text(folder / "warned") == "warned\n"
    assert state(cluster, low).startswith("PENDING")
    cluster.run("scancel", low, high)


def test_jobs_die_with_their_node_and_come_back(own_cluster: Cluster, folder: Path) -> None:
    cluster = own_cluster
    job = submit(cluster, TICKING, "--nodelist=n4")
    cluster.wait(lambda: (folder / "ticks").exists())
    cluster.kill_node("n4")
    last = text(folder / "ticks")
    cluster.start_node("n4")
    cluster.wait(lambda: state(cluster, job) == "PENDING BeginTime")
    assert text(folder / "ticks") == last
    cluster.run("scancel", job)


def test_jobs_outlive_a_cut_and_the_controller(own_cluster: Cluster, folder: Path) -> None:
    cluster = own_cluster
    job = submit(cluster, TICKING, "--nodelist=n1")
    cluster.wait(lambda: (folder / "ticks").exists())
    cluster.stop_controller()
    with pytest.raises(RuntimeError, match="is DOWN"):
        cluster.run("scontrol", "ping")
    cluster.cut_node("n1")
    length = len(text(folder / "ticks"))
    cluster.start_controller()
    cluster.start_node("n1")
    assert len(text(folder / "ticks")) > length
    assert text(folder / "attempts") == "attempt 0\n"
    cluster.run("scancel", job)


def test_what_breaks_the_cluster_is_refused_to_others(cluster: Cluster) -> None:
    with pytest.raises(AssertionError, match="own_cluster"):
        cluster.kill_node("n1")


def test_another_cluster_lives_beside_and_never_counts_jobs_twice(
    cluster: Cluster, tmp_path: Path
) -> None:
    other = Cluster(tmp_path / "o")
    there = ("env", f"SLURM_CONF={other.configuration}")
    jobs = []
    for _ in range(2):
        other.start(nodes=1, accounting="none")
        try:
            assert cluster.run(*there, "sinfo", "-h", "-p", "debug", "-o", "%N") == "n1"
            jobs.append(int(cluster.run(*there, "srun", "--mpi=none", "printenv", "SLURM_JOB_ID")))
            with pytest.raises(RuntimeError, match="accounting storage is disabled"):
                cluster.run(*there, "sacct")
        finally:
            other.purge()
        assert not other.folder.exists()
    assert jobs[1] > jobs[0]
    assert cluster.run("scontrol", "ping").endswith("is UP")
