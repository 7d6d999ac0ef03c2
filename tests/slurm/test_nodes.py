"""Fits that are trained on several nodes together; in each case the result is as on one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sparsekit.sweeps.records import Sweep
from tests.slurm.sweeping import Asked, settled, training, wait

pytestmark = pytest.mark.slurm
RUN = ("method=random", "seed=0", "runtime.accelerator=cpu")


def on_node(job: str, number: int) -> int:
    """Process that a job, which has a task on each of its nodes, runs on one of them."""
    wanted = {f"SLURM_JOB_ID={job}", f"SLURM_PROCID={number}"}
    for folder in Path("/proc").iterdir():
        try:
            is_task = b"sparsekit.sweeps.job" in (folder / "cmdline").read_bytes()
            environment = set((folder / "environ").read_text().split("\0")) if is_task else set()
        except (OSError, UnicodeDecodeError):
            continue
        if wanted <= environment:
            return int(folder.name)
    raise AssertionError(f"job {job} has no process on node {number}")


def num_attempts(sweep: Sweep) -> int:
    return int(sweep.last_status("0000").get("attempts", 0))


def test_warned_and_robbed_of_a_node(cluster: Any, tmp_path: Path) -> None:
    asked = Asked(tmp_path, RUN, pace=0.3, alike=("runtime.devices=2",))
    sweep = asked.submit("resources.nodes=2")
    wait(lambda: training(sweep, "0000"))
    subprocess.run(["scancel", "--signal=USR2", sweep.last_status("0000")["job"]], check=True)
    wait(lambda: num_attempts(sweep) == 2 and training(sweep, "0000"))
    os.kill(on_node(sweep.last_status("0000")["job"], 1), signal.SIGKILL)
    wait(lambda: num_attempts(sweep) == 3 and training(sweep, "0000"))
    os.kill(on_node(sweep.last_status("0000")["job"], 0), signal.SIGKILL)
    settled(sweep)
    assert num_attempts(sweep) == 4
    asked.conclude("a fit on two nodes: warned, kill -9 on either", injected=3)


def test_an_error_on_the_second_node_is_one_of_the_run(cluster: Any, tmp_path: Path) -> None:
    asked = Asked(tmp_path, RUN, pace=0, alike=("runtime.devices=2",))
    asked.harm.write_text(json.dumps({"step": 40, "what": "raise", "node": 1}))
    sweep = asked.submit("resources.nodes=2")
    (seen,) = settled(sweep)
    assert seen.state == "failed"
    assert "1 of 2 nodes failed\n--- node 1" in seen.last_status["error"]
    assert "this run was told to fail" in seen.last_status["error"]
    asked.harm.unlink()
    asked.status("retry", sweep.name)
    settled(sweep)
    asked.conclude("an error on the second of two nodes", injected=1)
