"""Sweeps on a real cluster that nothing disturbs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from sparsekit.mirror.names import run_id
from sparsekit.store.store import Store
from tests.mirror.offline import fits_told, mirrored, rows_of_fits
from tests.slurm.sweeping import SEVERAL, Asked, settled, states
from tests.waiting import PATIENCE

pytestmark = pytest.mark.slurm


def test_several_methods_from_a_snapshot_of_the_code(cluster: object, tmp_path: Path) -> None:
    asked = Asked(tmp_path, SEVERAL, pace=0, cold=True)
    sweep = asked.submit("cluster.snapshot=true", "cluster.options={begin:'now+8'}")
    module = Path(sweep.frozen["code"]["snapshot"]) / "sparsekit" / "sweeps" / "attempts.py"
    # By rename: a job may be reading it already.
    changed = module.with_suffix(".new")
    changed.write_text(module.read_text() + "\nprint('from the snapshot')\n")
    changed.replace(module)
    settled(sweep)
    assert states(sweep) == ["done"] * 3
    assert "from the snapshot" in Path(sweep.last_status("0000")["log"]).read_text()
    asked.conclude("none", injected=0)


def test_fits_as_jobs(cluster: object, tmp_path: Path) -> None:
    asked = Asked(tmp_path, ("method=swamp", "seed=0", "method.several_from=1"), pace=0)
    sweep = asked.submit("executor=jobs")
    settled(sweep)
    assert states(sweep) == ["done"]
    # The dense fit is the run's own; it hands over those of the cycle, and goes on after them.
    kinds = [note["kind"] for note in sweep.submissions()]
    assert kinds.count("fits") == kinds.count("continued") == 1
    (fits,) = (note["members"] for note in sweep.submissions() if note["kind"] == "fits")
    assert len(fits) == len(set(fits)) > 1
    assert all(sweep.last_status(fit)["job"] != sweep.last_status("0000")["job"] for fit in fits)
    asked.conclude("none", injected=0)


def test_shared_stages_are_computed_once(cluster: object, tmp_path: Path) -> None:
    """Each run tells wandb of the shared fit, and goes on with its own run of wandb when it is
    requeued."""
    asked = Asked(tmp_path, ("method=one_shot", "sparsity=0.5,0.7,0.9"), pace=0.2)
    sweep = asked.submit("logger=wandb", "logger.mode=offline", f"logger.patience={PATIENCE}")
    settled(sweep)
    assert states(sweep) == ["done"] * 3
    assert len(list(Store(asked.store).keys("fit"))) == 1 + 3
    # Who waits gives its place up, and comes back: nobody holds a processor for nothing.
    assert max(sweep.last_status(f"{number:04d}")["attempts"] for number in range(3)) > 1
    asked.conclude("none", injected=0)
    store = Store(asked.store)
    attempts = mirrored(store)
    for number, run in enumerate(sweep.runs):
        mine = [one for one in attempts if one.run.run_id == run_id(run["experiment"], run["name"])]
        tickets = [row["ticket"] for row in (sweep.record(number) or {})["rows"]]
        fits = [key for ticket in tickets for key in store.description(ticket)["inputs"]]
        told = [row for one in mine for row in fits_told(one)]
        assert sorted(told, key=_order) == sorted(rows_of_fits(store, *fits), key=_order)
        assert (mine[-1].exit_code, mine[-1].summary["state"]) == (0, "done")
        assert all(one.is_preempted for one in mine[:-1])
        assert mine[0].run.run_group.startswith(f"{sweep.name}/one_shot/sparsity ")
    assert len(attempts) > 3


def _order(row: Mapping[str, float]) -> tuple[float, float]:
    return row["num_kept"], row["step"]
