"""wandb hears everything and can change nothing: slow, dead or missing, results are the same."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sparsekit import sync
from sparsekit.mirror import feeder, media
from sparsekit.mirror.logger import Wandb
from sparsekit.report.compare import differences
from sparsekit.runs import runner
from sparsekit.runs.runner import PreparedRun, run_prepared
from sparsekit.store.named import read_record
from sparsekit.store.store import Store
from sparsekit.system import interruption
from sparsekit.training.checkpoints import Checkpoints
from sparsekit.training.observing import RunningFit
from tests.mirror.offline import Mirrored, fits_told, mirrored, rows_of_fits
from tests.mirror.server import serving
from tests.system.processes import ended, forked, wait_for
from tests.waiting import PATIENCE, wait_until

WANDB = ("logger=wandb", f"logger.patience={PATIENCE}")
Build = Callable[..., PreparedRun]


@pytest.fixture(autouse=True)
def nobody_is_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "home" / ".netrc"))
    feeder.child_of.cache_clear()
    yield
    feeder.child_of.cache_clear()


def finish(store: Store, patience: float = PATIENCE) -> int | None:
    """Let the child finish, as at the end of the program; its exit status, -9 where it was killed.

    Who would wait for a child that has ended, or is not there, would hang.
    """
    child = feeder.child_of(str(store.root / "wandb"), patience)
    child.finish()
    return child.process.poll() if child.process else None


def test_a_run_of_wandb_says_what_the_store_says(tiny: Build) -> None:
    """Without a key it is offline; its steps are cycles, with the epochs of each of their fits. A
    fit of two runs is in both. What is told already is not told again."""
    asked = ("method=one_shot", "train.epochs=3", "seed=4", *WANDB)
    jobs = [tiny(*asked, f"sparsity={sparsity}") for sparsity in (0.5, 0.8)]
    store = jobs[0].store
    for job in (*jobs, jobs[0]):
        run_prepared(job, "test")
    assert finish(store) == 0
    runs = {told.run.run_id: told for told in mirrored(store)}
    assert list(runs) == [f"{job.name}-custom" for job in jobs]
    for job, told in zip(jobs, runs.values(), strict=True):
        record = read_record(store.record("custom", job.name))
        tickets = [row["ticket"] for row in record["rows"]]
        fits = [key for ticket in tickets for key in store.description(ticket)["inputs"]]
        assert fits_told(told) == rows_of_fits(store, *fits)
        cycles = [row for row in told.rows if "cycle/test_accuracy" in row]
        assert [row["cycle"] for row in cycles] == [0, 1]
        reached = [store.read(ticket, "metrics.json") for ticket in tickets]
        for name in ("test_accuracy", "sparsity_prunable", "itop"):
            assert [row[f"cycle/{name}"] for row in cycles] == [one[name] for one in reached]
        layer = reached[1]["layers"]["1.weight"]
        assert cycles[1]["layers/density/1_weight"] == layer["kept"] / layer["size"]
        assert len({row["row"] for row in told.rows}) == len(told.rows)
        assert told.summary["test_accuracy"] == reached[1]["test_accuracy"]
        assert told.summary["sparsity"] == reached[1]["sparsity_prunable"]
        assert told.summary["state"] == "done"
        assert (told.exit_code, told.is_preempted) == (0, False)
        assert told.axes["fits/*"] == "epoch"
        assert told.axes["cycle/*"] == "cycle"
        assert {path.split("/")[1] for path in told.files} == {"images", "table"}
        expected = json.loads(json.dumps(dict(job.run.config)))
        assert {k: v for k, v in told.config.items() if k not in ("_wandb", "about")} == expected
    first, second = (told.run for told in runs.values())
    assert first.display_name != second.display_name
    assert first.run_group == "custom/one_shot/sparsity 0.5"
    assert (first.job_type, first.tags[0]) == ("one_shot", "custom")
    assert not (store.root / "wandb" / "live" / first.run_id).exists()
    noted = SimpleNamespace(Image=lambda picture: picture)
    drawn = media.figures_of(noted, store.record("custom", jobs[0].name), store.root / "wandb")
    assert drawn["figure/accuracy"].size > (400, 200), "it is there without its file"


def plain(tiny: Build) -> Store:
    job = tiny("train.epochs=2", store="plain")
    run_prepared(job, "test")
    return job.store


MISSING = (
    "import sys; sys.modules['wandb'] = None;"
    "from sparsekit.mirror.child import main; sys.exit(main(sys.stdin))"
)
SLEEP = f"import sys, time; time.sleep({PATIENCE})"
BROKEN = {
    "never reads": (SLEEP, 0.5, -signal.SIGKILL),
    "ignores the end": (f"import sys; sys.stdin.read(); {SLEEP}", 0.5, -signal.SIGKILL),
    "crashes at once": ("import sys; sys.exit(3)", PATIENCE, 3),
    "crashes later": ("import sys; sys.stdin.readline(); sys.exit(3)", PATIENCE, 3),
    "is missing": (MISSING, PATIENCE, 1),
}


@pytest.mark.parametrize(("code", "patience", "ending"), BROKEN.values(), ids=BROKEN)
def test_a_broken_wandb_changes_nothing_and_is_not_waited_for(
    tiny: Build, monkeypatch: pytest.MonkeyPatch, code: str, patience: float, ending: int
) -> None:
    expected = plain(tiny)
    monkeypatch.setattr(feeder, "COMMAND", (sys.executable, "-c", code))
    job = tiny("train.epochs=2", "logger=wandb", f"logger.patience={patience}", store="broken")
    assert run_prepared(job, "test")["status"] == "done"
    assert finish(job.store, patience) == ending
    assert differences(expected, job.store) == []
    assert len(list(job.store.keys("fit"))) == 1


def test_a_command_that_does_not_exist_changes_nothing(
    tiny: Build, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = plain(tiny)
    monkeypatch.setattr(feeder, "COMMAND", ("/nonexistent/python",))
    job = tiny("train.epochs=2", *WANDB, store="broken")
    assert run_prepared(job, "test")["status"] == "done"
    assert finish(job.store) is None
    assert differences(expected, job.store) == []
    assert "warning: wandb cannot be started" in capfd.readouterr().err


def test_the_mirror_itself_changes_nothing(tiny: Build) -> None:
    expected = plain(tiny)
    job = tiny("train.epochs=2", *WANDB, store="mirrored")
    run_prepared(job, "test")
    finish(job.store)
    assert differences(expected, job.store) == []
    assert len(mirrored(job.store)) == 1


def test_telling_never_waits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """To a child that does not read: who waited would hang."""
    monkeypatch.setattr(feeder, "COMMAND", (sys.executable, "-c", SLEEP))
    child = feeder.Child(tmp_path, 0.5)
    for _ in range(50):
        child.tell("log", {"more than fits into the pipe": "x" * 100_000})
    child.finish()
    assert child.process is not None
    assert child.process.poll() == -signal.SIGKILL


def test_a_child_that_is_killed_takes_its_own_children_along(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    note = tmp_path / "pid"
    code = (
        f"import os, subprocess, time; p = subprocess.Popen(['sleep', '{PATIENCE}']);"
        f"open('{note}.new', 'w').write(str(p.pid)); os.rename('{note}.new', '{note}');"
        f"time.sleep({PATIENCE})"
    )
    monkeypatch.setattr(feeder, "COMMAND", (sys.executable, "-c", code))
    child = feeder.Child(tmp_path, 0.5)
    wait_for(note)
    child.finish()
    grandchild = Path(f"/proc/{note.read_text()}/stat")

    def gone() -> bool:
        try:
            return ") Z " in grandchild.read_text()
        except OSError:
            return True

    wait_until(gone, "it lives on")


def test_the_child_steps_back_for_the_training(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(feeder, "COMMAND", (sys.executable, "-c", NICENESS))
    child = feeder.Child(tmp_path, PATIENCE)
    child.finish()
    assert child.process is not None
    assert child.process.returncode == 19


NICENESS = (
    "import os, sys; sys.modules['wandb'] = None;"
    "from sparsekit.mirror.child import main; main([]); sys.exit(os.nice(0))"
)


def test_a_resumed_run_continues_the_same_run(tiny: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    job = tiny("train.epochs=3", "runtime.checkpoint_seconds=0", *WANDB)

    def live_and_die() -> None:
        save = Checkpoints.save

        def last_save(self: Checkpoints, fit: RunningFit) -> None:
            save(self, fit)
            if fit.step == 30:
                finish(job.store)
                os.kill(os.getpid(), signal.SIGKILL)

        Checkpoints.save = last_save  # type: ignore[method-assign]
        run_prepared(job, "test")

    assert ended(forked(live_and_die)) == -signal.SIGKILL
    run_prepared(job, "test")
    finish(job.store)
    before, after = mirrored(job.store)
    assert before.run.run_id == after.run.run_id
    assert fits_told(before)
    assert fits_told(before) + fits_told(after) == rows_of_fits(job.store, *job.store.keys("fit"))
    # It ended without a word: that is not a failure of the run, and not its end either.
    assert (before.summary["state"], before.is_preempted) == ("lost", True)
    uploaded_whole(job.store, before, after, monkeypatch)


def uploaded_whole(
    store: Store, before: Mirrored, after: Mirrored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command that uploads makes one run of two attempts, with each row once and in order."""
    with serving() as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
        assert sync.main([str(store.root)]) == 0
    (rows,) = server.histories.values()
    assert [row["row"] for row in rows] == [row["row"] for row in before.rows + after.rows]
    assert [row["_step"] for row in rows] == list(range(len(rows)))
    assert list(server.exit_codes.values()) == [[1, 0]]


def test_a_run_that_was_asked_to_end_is_preempted_and_has_not_failed(tiny: Build) -> None:
    job = tiny("train.epochs=3", *WANDB)

    def live_and_stop() -> None:
        look = Checkpoints.save_or_stop

        def asked(self: Checkpoints, fit: RunningFit) -> None:
            if fit.step == 30:
                os.kill(os.getpid(), signal.SIGTERM)
            look(self, fit)

        Checkpoints.save_or_stop = asked  # type: ignore[method-assign]
        interruption.listen()
        with pytest.raises(interruption.Stopped):
            run_prepared(job, "test")
        finish(job.store)

    assert ended(forked(live_and_stop)) == 0
    run_prepared(job, "test")
    finish(job.store)
    before, after = mirrored(job.store)
    assert (before.summary["state"], after.summary["state"]) == ("interrupted", "done")
    assert (before.is_preempted, after.is_preempted) == (True, False)
    assert (before.exit_code, after.exit_code) == (1, 0)


@pytest.mark.usefixtures("warm_spawn")
def test_fits_of_other_processes_are_told_too(tiny: Build) -> None:
    """Of workers, and of ranks: each epoch once, with its particle."""
    workers = tiny(
        "method=soup", "method.cycles=1", "method.num_particles=2", "executor=workers",
        "executor.num_workers=2", *WANDB,
    )  # fmt: skip
    ranks = tiny("method=dense", "runtime.devices=2", *WANDB)
    run_prepared(workers, "test")
    run_prepared(ranks, "test")
    finish(workers.store)
    by_id = {told.run.run_id: told for told in mirrored(workers.store)}
    assert len(by_id) == 2
    for job in (workers, ranks):
        told = by_id[f"{job.name}-custom"]
        (*_, last) = read_record(job.store.record("custom", job.name))["rows"]
        fits = job.store.description(last["ticket"])["inputs"]
        rows = [row for row in told.rows if row.get("fit") in fits]
        assert [(row["fit"], row["particle"]) for row in rows] == [
            (key, particle) for particle, key in enumerate(fits)
        ]
        name = f"fits/c{last['cycle']}p{len(fits) - 1}/val_accuracy"
        assert rows[-1][name] == job.store.read(fits[-1], "history.json")[-1]["val_accuracy"]


def test_what_went_wrong_is_told_without_keys(tiny: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_PASSWORD", "of-mine-alone-1")
    job = tiny(*WANDB)

    def draw(*given: Any, **settings: Any) -> str:
        raise RuntimeError("no network with of-mine-alone-1")

    monkeypatch.setattr(runner, "ensure_init", draw)
    with pytest.raises(RuntimeError):
        run_prepared(job, "test")
    finish(job.store)
    (told,) = mirrored(job.store)
    assert told.summary["error"] == "RuntimeError: no network with <masked>"
    assert (told.summary["state"], told.exit_code) == ("failed", 1)
    assert not told.is_preempted


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match=r"logger\.mode='loud' is not one of auto, online"):
        Wandb(mode="loud")  # type: ignore[arg-type]
