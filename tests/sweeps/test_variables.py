"""What users have set for the commands of SLURM does not change what they are asked."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from sparsekit.sweeps import scheduler
from sparsekit.system.users import user_name

PROGRAM = f"""#!{sys.executable}
import json, os, sys
print(json.dumps(sorted(os.environ)), file=open(sys.argv[0] + ".told", "w"))
"""
COMMANDS = ("squeue", "sacct", "scontrol", "scancel")
USERS = (
    "SQUEUE_FORMAT", "SQUEUE_FORMAT2", "SQUEUE_STATES", "SQUEUE_USERS", "SQUEUE_ARRAY",
    "SACCT_FORMAT", "SLURM_TIME_FORMAT", "SLURM_CLUSTERS", "SLURM_BITSTR_LEN", "SLURM_JOB_ID",
    "SLURMD_NODENAME", "SCANCEL_STATE", "SCANCEL_INTERACTIVE", "SCONTROL_ALL", "SBATCH_PARTITION",
    "SRUN_DEBUG",
)  # fmt: skip
KEPT = ("SLURM_CONF", "SLURM_JWT", "MY_SLURM_NOTES")


def test_variables_of_users_do_not_reach_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for command in COMMANDS:
        (tmp_path / command).write_text(PROGRAM)
        (tmp_path / command).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    for name in (*USERS, *KEPT):
        monkeypatch.setenv(name, "x")
    scheduler.queue([user_name()])
    scheduler.accounts(["1"])
    scheduler.seconds_left("1")
    scheduler.requeue("1")
    scheduler.cancel(["1"])
    for command in COMMANDS:
        told = (tmp_path / f"{command}.told").read_text()
        assert [name for name in USERS if f'"{name}"' in told] == []
        assert [name for name in KEPT if f'"{name}"' in told] == list(KEPT)
    assert os.environ["SQUEUE_FORMAT"] == "x"
