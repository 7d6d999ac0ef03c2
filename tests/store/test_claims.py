"""Many processes at one stage: it is computed once, and the dead are succeeded by the living."""

from __future__ import annotations

import os
import platform
import signal
import threading
import time
from pathlib import Path

import pytest

from sparsekit.store import claims
from sparsekit.store import store as store_module
from sparsekit.store.identity import Stage
from sparsekit.store.store import Store
from tests.system.processes import ended, forked, kill, wait_for
from tests.waiting import PATIENCE, wait_until

STAGE = Stage("fit", {"epochs": 1})
STALE = 10 * PATIENCE


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Who would wait for a heartbeat to be stale would hang."""
    return Store(tmp_path / "runs", stale_after=STALE)


def place(store: Store) -> Path:
    return store.root / "work" / STAGE.key


def the_claim(store: Store) -> Path:
    (folder,) = place(store).iterdir()
    return folder


def write_result(folder: Path) -> None:
    (folder / "result.json").write_text('{"by": 0}')


def stuck_owner(store: Store) -> int:
    """A process that has saved a checkpoint and never comes further."""
    saved = store.root.parent / "saved"

    def compute(folder: Path) -> None:
        (folder / "result.json").write_text("half of it")
        (folder / "scratch" / "last.ckpt").write_text("step 7")
        saved.touch()
        time.sleep(PATIENCE)

    pid = forked(lambda: store.ensure(STAGE, compute))
    wait_for(saved)
    return pid


def pretend_other_machine(store: Store) -> Path:
    """The claim as it would look had another machine made it."""
    folder = the_claim(store)
    renamed = folder.with_name("0123456789ab" + folder.name[12:])
    return folder.rename(renamed)


def age(folder: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(folder / "heartbeat", (then, then))


class Finding:
    """A compute that remembers what it found in its work folder."""

    def __init__(self) -> None:
        self.scratch: dict[str, str] = {}
        self.others: list[str] = []

    def __call__(self, folder: Path) -> None:
        files = [path for path in (folder / "scratch").rglob("*") if path.is_file()]
        self.scratch = {path.name: path.read_text() for path in files}
        self.others = sorted(set(os.listdir(folder)) - {"scratch", "heartbeat"})
        write_result(folder)


def test_who_waits_for_a_stage_says_for_whom(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(store_module, "LAST_POLL", 1.2 * store_module.FIRST_POLL)
    assert claims.claim(store.root / "work", STAGE.key, stale_after=STALE) is not None
    with pytest.raises(store_module.Busy):
        Store(store.root, stale_after=STALE, patience=0.0).ensure(STAGE, write_result)
    with pytest.raises(store_module.Busy):
        Store(store.root, stale_after=STALE, patience=0.2).ensure(STAGE, write_result)
    told = f"{STAGE.key} is being computed by process {os.getpid()} on {platform.node()}"
    assert [told in message for message in caplog.messages] == [True]


@pytest.mark.parametrize("num_processes", [2, 8])
def test_processes_that_ask_at_once_compute_once(
    store: Store, tmp_path: Path, num_processes: int
) -> None:
    stages = [Stage("fit", {"number": number}) for number in range(5)]
    go = tmp_path / "go"

    def work() -> None:
        def compute(folder: Path) -> None:
            with (tmp_path / "diary").open("a") as diary:
                diary.write(folder.parent.name + "\n")
            time.sleep(0.02)
            write_result(folder)

        wait_for(go)
        for stage in stages:
            assert store.ensure(stage, compute) == stage.key

    processes = [forked(work) for _ in range(num_processes)]
    go.touch()
    assert [ended(pid) for pid in processes] == [0] * num_processes
    computed = (tmp_path / "diary").read_text().split()
    assert sorted(computed) == sorted(stage.key for stage in stages)
    assert list((store.root / "work").iterdir()) == []
    assert all(store.has(stage.key) for stage in stages)


def test_threads_that_ask_at_once_compute_once(store: Store) -> None:
    calls = []

    def compute(folder: Path) -> None:
        calls.append(folder)
        time.sleep(0.05)
        write_result(folder)

    threads = [threading.Thread(target=store.ensure, args=(STAGE, compute)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1


def test_an_error_of_the_owner_passes_the_stage_on_to_who_waits(
    store: Store, tmp_path: Path
) -> None:
    begun = tmp_path / "begun"

    def fail(folder: Path) -> None:
        (folder / "scratch" / "last.ckpt").write_text("step 3")
        begun.touch()
        time.sleep(0.2)
        raise ValueError("out of memory")

    def live() -> None:
        with pytest.raises(ValueError, match="out of memory"):
            store.ensure(STAGE, fail)

    owner = forked(live)
    wait_for(begun)
    finding = Finding()
    assert store.ensure(STAGE, finding) == STAGE.key
    assert ended(owner) == 0
    assert finding.scratch == {"last.ckpt": "step 3"}


def test_a_killed_owner_is_succeeded_at_once_with_its_checkpoint(store: Store) -> None:
    kill(stuck_owner(store))
    finding = Finding()
    store.ensure(STAGE, finding)
    assert finding.scratch == {"last.ckpt": "step 7"}
    assert finding.others == []
    assert sorted(store.description(STAGE.key)["files"]) == ["result.json"]


def test_a_living_owner_is_waited_for_however_old_its_heartbeat(store: Store) -> None:
    owner = stuck_owner(store)
    age(the_claim(store), 2 * STALE)
    assert claims.claim(store.root / "work", STAGE.key, stale_after=1.0) is None
    kill(owner)


def test_one_of_many_succeeds_a_killed_owner(store: Store, tmp_path: Path) -> None:
    kill(stuck_owner(store))
    go = tmp_path / "go"

    def work() -> None:
        def compute(folder: Path) -> None:
            with (tmp_path / "diary").open("a") as diary:
                diary.write((folder / "scratch" / "last.ckpt").read_text() + "\n")
            write_result(folder)

        wait_for(go)
        store.ensure(STAGE, compute)

    processes = [forked(work) for _ in range(8)]
    go.touch()
    assert [ended(pid) for pid in processes] == [0] * 8
    assert (tmp_path / "diary").read_text() == "step 7\n"


@pytest.mark.parametrize("moment", ["claimed", "computed", "described", "sealed"])
def test_a_death_at_any_moment_leaves_something_to_go_on_from(store: Store, moment: str) -> None:
    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def live_and_die() -> None:
        if moment == "claimed":
            store_module._prepare = die
        elif moment == "computed":
            store_module.seal = die
        elif moment == "described":
            Path.unlink = die  # type: ignore[method-assign,assignment]
        else:
            seal = store_module.seal
            store_module.seal = lambda *given: die(seal(*given))
        store.ensure(STAGE, write_result)

    assert ended(forked(live_and_die)) == -signal.SIGKILL
    calls = []
    store.ensure(STAGE, lambda folder: calls.append(write_result(folder)))
    assert len(calls) == 1
    assert sorted(store.description(STAGE.key)["files"]) == ["result.json"]
    assert not (store.root / "corrupt").exists()


def test_half_written_files_of_the_dead_are_not_published(store: Store) -> None:
    kill(stuck_owner(store))
    (the_claim(store) / ".history.json.0abc").write_text("{")
    (the_claim(store) / "folder").mkdir()
    store.ensure(STAGE, write_result)
    assert sorted(os.listdir(store.path(STAGE.key))) == ["description.json", "result.json"]


def test_an_owner_of_another_machine_is_waited_for_until_its_heartbeat_is_stale(
    store: Store,
) -> None:
    kill(stuck_owner(store))
    folder = pretend_other_machine(store)
    work = store.root / "work"
    age(folder, 50)
    assert claims.claim(work, STAGE.key, stale_after=STALE) is None
    age(folder, 2 * STALE)
    adopted = claims.claim(work, STAGE.key, stale_after=STALE)
    assert adopted is not None
    assert not folder.exists()
    assert (adopted / "scratch" / "last.ckpt").read_text() == "step 7"
    assert claims._silence(adopted) < STALE, "its heartbeat is that of the new owner"


def test_waiting_ends_when_the_heartbeat_of_another_machine_stops(store: Store) -> None:
    kill(stuck_owner(store))
    folder = pretend_other_machine(store)
    started = time.time()
    os.utime(folder / "heartbeat", (started, started))
    Store(store.root, stale_after=0.4).ensure(STAGE, write_result)
    assert time.time() - started > 0.35


def test_an_owner_of_another_machine_that_died_while_publishing(store: Store) -> None:
    kill(stuck_owner(store))
    folder = pretend_other_machine(store)
    (folder / "heartbeat").unlink()
    assert claims.claim(store.root / "work", STAGE.key, stale_after=STALE) is None
    os.utime(folder, (time.time() - 2 * STALE,) * 2)
    assert claims.claim(store.root / "work", STAGE.key, stale_after=STALE) is not None


def test_the_heartbeat_is_touched_while_a_stage_is_computed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "BEAT_SECONDS", 0.01)

    def compute(folder: Path) -> None:
        age(folder, 2 * STALE)
        wait_until(lambda: claims._silence(folder) < STALE, "nobody touches the heartbeat")
        write_result(folder)

    store.ensure(STAGE, compute)
    assert not any(t.name == "sparsekit-heartbeat" for t in threading.enumerate())


def suspended_owner(store: Store, outcome: Path, *, error: bool) -> int:
    """A process that is suspended in the middle of writing its result and its checkpoint."""
    saved = store.root.parent / "saved"

    def compute(folder: Path) -> None:
        with (folder / "result.json").open("w") as result, (folder / "scratch/a").open("w") as file:
            file.write("checkpoint")
            file.flush()
            result.write("{")
            result.flush()
            saved.touch()
            os.kill(os.getpid(), signal.SIGSTOP)
            result.write("wrong")
            file.write("wrong")
        if error:
            raise RuntimeError("the loss is not a number")

    def work() -> None:
        outcome.write_text(store.ensure(STAGE, compute))

    pid = forked(work)
    wait_for(saved)
    os.waitpid(pid, os.WUNTRACED)
    return pid


@pytest.mark.parametrize("error", [False, True])
@pytest.mark.parametrize("early", [False, True])
def test_a_suspended_owner_that_was_replaced_does_no_harm(
    store: Store, tmp_path: Path, early: bool, error: bool
) -> None:
    """It wakes up `early`, while its successor computes, or after that has published."""
    pid = suspended_owner(store, tmp_path / "outcome", error=error)
    folder = pretend_other_machine(store)
    age(folder, 2 * STALE)
    found = []

    def compute(folder: Path) -> None:
        (folder / "result.json").write_text('{"by": "the successor"}')
        if early:
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.3)
        found.append((folder / "scratch" / "a").read_text())

    store.ensure(STAGE, compute)
    if not early:
        os.kill(pid, signal.SIGCONT)
    assert ended(pid) == 0
    assert (tmp_path / "outcome").read_text() == STAGE.key
    assert found == ["checkpoint"]
    assert store.read(STAGE.key, "result.json") == {"by": "the successor"}
    assert list((store.root / "work").iterdir()) == []


def test_a_replaced_owner_publishes_nothing_even_if_its_folder_is_there_again(
    store: Store,
) -> None:
    def compute(folder: Path) -> None:
        folder.rename(folder.with_name(f"nobody.0.0.{'0' * 8}"))
        folder.mkdir()
        (folder / "result.json").write_text("a part")

    with pytest.raises(FileNotFoundError, match="heartbeat"):
        store.ensure(STAGE, compute)
    assert not store.has(STAGE.key)


def test_a_rename_that_happened_but_is_reported_to_have_failed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS repeats a request whose answer is lost; the second time the source is gone."""
    rename = os.rename

    def unlucky(source: Path, target: Path) -> None:
        rename(source, target)
        raise FileNotFoundError(source)

    calls = []
    monkeypatch.setattr(os, "rename", unlucky)
    store.ensure(STAGE, lambda folder: calls.append(write_result(folder)))
    assert len(calls) == 1
    assert store.has(STAGE.key)
    assert list((store.root / "work").glob("[!.]*")) == []


def test_the_owner_before_is_adopted_although_the_rename_is_reported_to_have_failed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    kill(stuck_owner(store))
    rename = os.rename

    def unlucky(source: Path, target: Path) -> None:
        rename(source, target)
        raise FileNotFoundError(source)

    monkeypatch.setattr(os, "rename", unlucky)
    assert claims.claim(store.root / "work", STAGE.key, stale_after=STALE) is not None


def test_a_result_published_between_look_and_claim_is_not_computed_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = store_module.claim

    def slow_claim(work: Path, key: str, *, stale_after: float) -> Path | None:
        monkeypatch.setattr(store_module, "claim", real)
        assert Store(store.root).ensure(STAGE, write_result) == key
        return real(work, key, stale_after=stale_after)

    def never(_: Path) -> None:
        raise AssertionError("computed twice")

    monkeypatch.setattr(store_module, "claim", slow_claim)
    assert store.ensure(STAGE, never) == STAGE.key
    assert list((store.root / "work").iterdir()) == []


def test_a_process_number_used_again_is_not_taken_for_the_owner(store: Store) -> None:
    kill(stuck_owner(store))
    machine, _, started, rest = the_claim(store).name.split(".")
    assert started.isdigit()
    the_claim(store).rename(place(store) / f"{machine}.{os.getpid()}.{started}0.{rest}")
    assert claims.claim(store.root / "work", STAGE.key, stale_after=STALE) is not None


def test_processes_that_tell_nothing_are_judged_by_their_heartbeat(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on systems without /proc, or with other users' processes hidden in it."""
    owner = stuck_owner(store)

    def hidden(path: str) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(claims, "_read", hidden)
    machine = claims._machine()
    folder = the_claim(store).rename(place(store) / f"{machine}.{owner}.unknown.0abc")
    work = store.root / "work"
    assert claims.claim(work, STAGE.key, stale_after=STALE) is None
    age(folder, 2 * STALE)
    adopted = claims.claim(work, STAGE.key, stale_after=STALE)
    assert adopted is not None
    assert adopted.name.startswith(f"{machine}.{os.getpid()}.unknown.")
    kill(owner)
    adopted.rename(folder)
    os.utime(folder / "heartbeat")
    assert claims.claim(work, STAGE.key, stale_after=STALE) is not None, "its process is gone"


def test_foreign_files_next_to_a_claim_are_ignored(store: Store) -> None:
    kill(stuck_owner(store))
    (place(store) / ".nfs0000001").touch()
    (place(store) / "notes.txt").touch()
    assert store.ensure(STAGE, write_result) == STAGE.key


def test_machines_have_different_names(monkeypatch: pytest.MonkeyPatch) -> None:
    here = claims._machine()
    monkeypatch.setattr(os, "readlink", lambda _: "pid:[1]")
    container = claims._machine()
    monkeypatch.setattr(claims, "_read", lambda _: "another boot")
    assert len({here, container, claims._machine()}) == 3
