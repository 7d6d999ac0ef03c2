"""Half a minute of random faults, or more; `scripts/fault_run.py` goes on as long as one likes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scripts.fault_run import fault_run
from tests.slurm import warm_jobs

pytestmark = pytest.mark.slurm


def test_half_a_minute_of_random_faults(own_cluster: Any, tmp_path: Path) -> None:
    result = fault_run(
        own_cluster, tmp_path / "out", methods=["imp", "random"], seed=9,
        minutes=0.5, mean_pause=4, num_sweeps=1, least_kinds=4,
        more=(f"cluster.python='{warm_jobs.python()}'",),
    )  # fmt: skip
    assert result.complaints() == []
    came = [one for one in result.injected if one.sweeps]
    assert len({one.kind for one in came}) >= 4
    assert result.rows()["all"][:2] == [len(came), 2 * len(result.outcomes)]
    assert all(outcome.stages > 3 for outcome in result.outcomes)
