"""Folders, names and permissions of a store that somebody else made or filled."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sparsekit.report.__main__ import main as report
from sparsekit.status.__main__ import main
from sparsekit.status.garbage import delete, find_garbage
from sparsekit.store import claims
from sparsekit.store.place import id_of
from sparsekit.sweeps.freezing import settle
from sparsekit.sweeps.records import member_of
from sparsekit.system.files import Damaged, write_json
from tests.sharing import ALICE, BOB, done_as, group_folder, needs_root
from tests.status.sweeps import Asked, status
from tests.status.test_damaged_files import ESCAPES
from tests.status.test_gc import found, given_up
from tests.status.test_states import forgotten
from tests.system.test_folders import nested

shared = pytest.fixture(group_folder, name="shared")


@pytest.fixture
def endless(finished: Asked) -> Iterator[Asked]:
    """A store in which everything is removed afterwards, which pytest could not."""
    yield finished
    subprocess.run(["rm", "-rf", finished.store], check=True)


def test_folders_that_are_nested_without_end(
    endless: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    """All is shown as ever, and what may go is deleted whole."""
    finished = endless
    sweep = finished.sweep.folder
    kept = [finished.store / "named" / "custom", sweep, sweep / "members"]
    gone = [
        finished.store / "corrupt",
        finished.store / "work" / ".trash.1",
        finished.store / "work" / f"fit-{'0' * 20}" / "nobody.0.0.1" / "scratch",
    ]
    for place in (*kept, *gone):
        nested(place, 1500)
    key = next(path.name for path in (finished.store / "stages" / "ticket").iterdir())
    for action in ((), (sweep.name,), ("why", key), ("gc", "--days", "0")):
        assert status(capsys, finished.store, *action).status == 0
    assert report([str(finished.store)]) == 0
    delete(find_garbage(finished.store, days=0).garbage, finished.store)
    assert [place for place in gone if any(place.rglob("a"))] == []
    assert finished.here() == 0
    assert os.listdir(finished.store / "work") == []


def test_a_sweep_whose_name_is_a_command(
    finished: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is suggested can be pasted into a shell."""
    forgotten(finished.sweep, 0)
    hostile = finished.sweep.folder.rename(finished.sweep.folder.with_name("x; touch pwned"))
    printed = status(capsys, finished.store, hostile.name).out
    suggested = [line for line in printed.splitlines() if line.startswith("try again: ")]
    assert suggested
    for line in suggested:
        assert hostile.name in shlex.split(line)
        assert "touch" not in shlex.split(line)


def test_who_is_at_work_cannot_command_the_terminal(
    finished: Asked, capsys: pytest.CaptureFixture[str]
) -> None:
    forgotten(finished.sweep, 0)
    member, owner = member_of(0), "0123456789ab.7.8.9"
    place = finished.sweep.claims / member / owner
    place.mkdir(parents=True)
    write_json(place / "heartbeat", {"owner": owner, "user": ESCAPES})
    file = finished.sweep.folder / "members" / f"{member}.json"
    write_json(file, {**json.loads(file.read_text()), "node": ESCAPES})
    answer = status(capsys, finished.store, "cancel", finished.sweep.name, "0")
    assert answer.status == 1
    assert "who alone can end it" in answer.out
    assert all(one.isprintable() or one in "\n\t" for one in answer.out)


@pytest.mark.parametrize("what", ["work", "claims"])
def test_claims_behind_a_link_stay_those_of_the_original(what: str, finished: Asked) -> None:
    """A copy may have a link to where the original keeps what it works on."""
    here = {"work": finished.store / "work", "claims": finished.sweep.claims}[what]
    here.mkdir(exist_ok=True)
    held = claims.claim(here, "0000", stale_after=60.0)
    assert held is not None
    copy = Path(shutil.copytree(finished.store, finished.store.with_name("copy")))
    there = copy / here.relative_to(finished.store)
    shutil.rmtree(there)
    there.symlink_to(here)
    with pytest.raises(Damaged, match="is a link out of the store"):
        settle(copy)
    assert held.is_dir()
    assert id_of(copy) == id_of(finished.store)


@needs_root
@pytest.mark.parametrize("part", ["named/custom", "sweeps/*"])
def test_what_others_keep_to_themselves_may_be_needed(
    part: str, finished: Asked, shared: Path
) -> None:
    """A second user looks at all that is not private, and deletes nothing that may be needed."""
    given_up(finished, 2)
    assert found(finished)
    store = Path(shutil.copytree(finished.store, shared / "runs"))
    for path in (store, *store.rglob("*")):
        os.chown(path, BOB, -1)
    (hidden,) = store.glob(part)
    os.chown(hidden, ALICE, -1)
    hidden.chmod(0o700)

    def look() -> None:
        findings = find_garbage(store, days=0)
        assert findings.is_blocked
        assert any(str(hidden) in text for text in findings.damaged)
        assert not any("stages" in one.path.parts for one in findings.garbage)

    def look_again() -> None:
        assert not find_garbage(store, days=0).is_blocked

    assert done_as(BOB, look) == 0
    hidden.chmod(0o755)
    assert done_as(BOB, look_again) == 0


PARTS = (
    ".", "named", "named/custom", "named/custom/dense*seed0*.json", "sweeps", "sweeps/*",
    "sweeps/*/sweep.json", "sweeps/*/members", "sweeps/*/claims", "stages", "stages/ticket",
    "stages/ticket/*", "stages/fit/*/description.json", "work", "corrupt", "store.json",
)  # fmt: skip


@needs_root
@pytest.mark.parametrize("part", PARTS)
def test_a_second_user_is_told_in_a_line_what_is_not_theirs_to_see(
    part: str, finished: Asked, shared: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As after a first user with umask 077."""
    store = Path(shutil.copytree(finished.store, shared / "runs"))
    for folder in ("work", "corrupt", "sweeps/x/claims"):
        (store / folder.replace("x", finished.sweep.name)).mkdir(exist_ok=True)
    for path in (store, *store.rglob("*")):
        os.chown(path, BOB, -1)
    for hidden in store.glob(part) if part != "." else (store,):
        os.chown(hidden, ALICE, -1)
        hidden.chmod(0o700 if hidden.is_dir() else 0o600)
    sweep = finished.sweep.name
    key = next(path.name for path in (finished.store / "stages" / "ticket").iterdir())

    def look() -> None:
        for action in ((), (sweep,), ("why", key), ("gc",), ("logs", sweep, "0")):
            assert main([*action, "--store", str(store)]) in (0, 2), action
        assert report([str(store)]) in (0, 2)

    capfd.readouterr()
    assert done_as(BOB, look) == 0, capfd.readouterr()
    told = "".join(capfd.readouterr())
    assert "Traceback" not in told
    assert "writes it anew" not in told, "nothing is damaged, and no command could write there"
