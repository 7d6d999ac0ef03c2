"""A record is not believed where what it names is gone: its run is to be started again."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sparsekit.run import main
from sparsekit.status.views import view_sweep
from sparsekit.store.store import Store
from sparsekit.sweeps import launch, member
from sparsekit.sweeps.liveness import observe
from sparsekit.sweeps.records import Sweep, list_sweeps
from tests.conftest import TINY
from tests.sweeps.fake_slurm import FakeSlurm


@pytest.fixture(scope="module")
def done_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("done")
    assert main(["-m", *TINY, "method=one_shot", "seed=0,1", f"runtime.store={folder}"]) == 0
    return folder


@pytest.fixture
def done(done_once: Path, tmp_path: Path) -> Sweep:
    """A sweep of two runs that are done."""
    shutil.copytree(done_once, tmp_path / "runs")
    (sweep,) = list_sweeps(tmp_path / "runs")
    assert [sweep.is_done(number) for number in range(2)] == [True, True]
    return sweep


def behind(sweep: Sweep, number: int) -> list[str]:
    """Stages of one run alone."""
    one, other = (set((sweep.record(n) or {})["stages"]) for n in (number, 1 - number))
    return sorted(one - other)


def test_records_name_all_that_their_results_were_made_from(done: Sweep) -> None:
    kinds = {key.partition("-")[0] for key in behind(done, 0)}
    assert kinds == {"init", "pruned", "fit", "ticket"}


def test_a_run_without_its_results_is_lost(done: Sweep) -> None:
    store = Store(done.root)
    for key in behind(done, 1):
        kept = store.root / "aside"
        store.path(key).rename(kept)
        assert [done.is_done(number) for number in range(2)] == [True, False]
        view = view_sweep(done)
        assert view.counts == {"done": 1, "lost": 1}
        assert view.runs[1].reason == f"it was done, but {key} is not in the store"
        kept.rename(store.path(key))
    assert view_sweep(done).counts == {"done": 2}
    done.cancel(["0001"])
    shutil.rmtree(store.root / "stages" / "fit")
    assert "and 1 more are not in the store" in observe(done)[0].reason
    assert [one.state for one in observe(done)] == ["lost", "cancelled"]


def test_such_a_run_is_computed_again_where_others_are_left_alone(done: Sweep) -> None:
    store = Store(done.root)
    lost = next(key for key in behind(done, 1) if key.startswith("fit"))
    shutil.rmtree(store.path(lost))
    times = {key: store.path(key).stat().st_mtime_ns for key in behind(done, 0)}
    for number in range(2):
        assert member.run_member(done.folder, number) == "done"
    assert store.has(lost)
    assert done.is_done(1)
    assert times == {key: store.path(key).stat().st_mtime_ns for key in behind(done, 0)}


def test_such_a_run_is_submitted_again(done_once: Path, tmp_path: Path, slurm: FakeSlurm) -> None:
    where = ["cluster=slurm", f"runtime.store={tmp_path / 'runs'}"]
    shutil.copytree(done_once, tmp_path / "runs")
    typed = ["-m", *TINY, "method=one_shot", "seed=0,1", *where]
    assert main(typed) == 0
    assert slurm.submitted() == {}, "all is done"
    (sweep,) = list_sweeps(tmp_path / "runs")
    shutil.rmtree(Store(sweep.root).path(behind(sweep, 1)[0]))
    assert launch.start(sweep, range(2)) == 0
    first = sweep.submissions()[0]
    assert (first["kind"], first["members"]) == ("runs", ["0001"])
