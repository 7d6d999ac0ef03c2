"""A sweep on disk: what was asked for, frozen, and the last status of every job.

STORE/sweeps/NAME/
  sweep.json          the runs with their whole configurations, where and how they are to run;
                      sweep.UID.json: as another user asked for the same runs
  private.json        what is masked in that, for its user only (see private.py)
  members/MEMBER.json last status of the job of a member, which is a run or a fit of one
  progress/MEMBER.json how far its fit is; cancelled/MEMBER: it was cancelled
  claims/MEMBER/        who works at a member (see claims.py)
  submissions/ID.json which members were submitted as which job; written before and after
  jobs/               scripts and logs of the jobs; code/: the snapshot, where one was asked for

Every file is replaced in one step, so that a reader always sees a complete one. One that is
damaged all the same counts as none; `sweeps/damage.py` names it. Nothing here decides whether a
run is done: its record in the store does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.store import place
from sparsekit.store.claims import is_held
from sparsekit.store.holding import holding
from sparsekit.store.named import NAMED, read_record
from sparsekit.store.results import missing_results
from sparsekit.sweeps.frozen import read_frozen
from sparsekit.sweeps.parts import SweepFolder
from sparsekit.sweeps.parts import member_of as member_of
from sparsekit.sweeps.parts import number_of as number_of
from sparsekit.sweeps.private import put_together
from sparsekit.system.files import Damaged, refuse_links, touch, write_json
from sparsekit.system.users import user_name

FOLDER = "sweeps"
FROZEN, OWN = "sweep.json", "sweep.{}.json"
SUBMISSION = "submission"
PREFIX = "sparsekit"
RENAMED = {"lives": "attempts", "idle_lives": "idle_attempts"}
"""Fields of a status by their names in earlier releases, which read those files too."""


@dataclasses.dataclass(frozen=True)
class Sweep(SweepFolder):
    """A folder of files; see the top of this module."""

    @property
    def file(self) -> Path:
        """What was asked for, as this user asked for it, or else whoever was the first to."""
        own = self.folder / OWN.format(os.geteuid())
        return own if os.path.lexists(own) else self.folder / FROZEN

    @functools.cached_property
    def frozen(self) -> dict[str, Any]:
        """What was asked for: `created`, `command`, `cluster`, `code`, `runs`; the first `user`.

        Damaged where that cannot be read, FileNotFoundError where it is not there.
        """
        refuse_links(self.root, self.folder)
        return read_frozen(self.file)

    @functools.cached_property
    def whole(self) -> dict[str, Any]:
        """The same with what only this user may read; NotReadable where that cannot be read."""
        return put_together(self.file, self.frozen)

    def whole_run(self, number: int) -> dict[str, Any]:
        """Return a run with what only this user may read, for the store where it lies now."""
        return _in_store(self.whole["runs"][number], self.root)

    @functools.cached_property
    def runs(self) -> list[dict[str, Any]]:
        """`number`, `name`, `experiment`, `differs` and what makes the run, in order.

        They are for the store in which the sweep lies now, wherever it was when it was frozen.
        """
        return [_in_store(run, self.root) for run in self.frozen["runs"]]

    @functools.cached_property
    def original(self) -> str | None:
        """Path of the store that this one is a copy of; None for a store of its own.

        In a copy nothing is under way: jobs and processes that it names are the original's.
        """
        if place.id_of(self.root) is not None:
            return place.original_of(self.root)
        # Stores of earlier releases have no id, but their sweeps name the store they are for.
        made_for = (
            (self.frozen["runs"] or [{}])[0].get("config", {}).get("runtime", {}).get("store")
        )
        there = Path(made_for or self.root) / FOLDER / self.name
        is_other = there.is_dir() and not there.samefile(self.folder)
        return str(made_for) if is_other else None

    def record(self, number: int) -> dict[str, Any] | None:
        """Read what a run wrote about its results; None before it has begun."""
        try:
            return dict(read_record(self.record_file(number)))
        except (Damaged, OSError):
            return None

    def record_file(self, number: int) -> Path:
        """Return where a run writes about its results."""
        run = self.runs[number]
        return self.root / NAMED / run["experiment"] / f"{run['name']}.json"

    def is_done(self, number: int) -> bool:
        """Say whether all results of the run are published; nothing else is believed."""
        record = self.record(number)
        if record is None or record["status"] != "done":
            return False
        return not missing_results(self.root, record)

    def last_status(self, member: str) -> dict[str, Any]:
        """Return what the job at a member last recorded; empty if none has begun."""
        status: dict[str, Any] = self.read("members", f"{member}.json") or {}
        return {RENAMED.get(name, name): value for name, value in status.items()}

    def write_status(self, member: str, content: Mapping[str, Any]) -> None:
        """Replace the status of a member."""
        before = {old: content[new] for old, new in RENAMED.items() if new in content}
        write_json(self.made("members") / f"{member}.json", {**content, **before})

    def progress(self, member: str) -> Path:
        """Return the file in which a member's fit writes its progress."""
        return self.folder / "progress" / f"{member}.json"

    def last_progress(self, member: str) -> dict[str, Any] | None:
        """Return what a member's fit last wrote; None where none has begun."""
        return self.read("progress", f"{member}.json")

    def cancel(self, members: Iterable[str]) -> None:
        """Note that members were cancelled."""
        folder = self.made("cancelled")
        for member in members:
            touch(folder / member)

    def is_cancelled(self, member: str) -> bool:
        """Say whether a member was cancelled."""
        return os.path.lexists(self.folder / "cancelled" / member)

    def reset(self, members: Iterable[str]) -> None:
        """Forget what went wrong at members and at their fits, so that they can be tried again.

        Members that a process is working on are left alone.
        """
        if not (self.folder / "members").exists() and not self.submissions():
            return
        folder, statuses = self.made("reset"), self.made("members")
        last = self._last_order()
        for member in members:
            if is_held(self.claims, member, stale_after=self.stale_after):
                continue
            write_json(folder / f"{member}.json", last)
            (self.made("cancelled") / member).unlink(missing_ok=True)
            for file in statuses.glob(f"{member}.*.json"):
                file.unlink(missing_ok=True)
            status = self.last_status(member)
            spent = {n: value for n, value in status.items() if n in ("attempts", "seconds")}
            self.write_status(member, spent)

    def last_reset(self, member: str) -> int:
        """Return the `order` of the last submission before a member, or the run of a fit, was asked
        to be retried; -1 for never.

        Earlier releases wrote a time, by the clock of some machine. That is not believed.
        """
        last = self.read("reset", f"{member.partition('.')[0]}.json")
        return last if isinstance(last, int) else -1

    @property
    def stale_after(self) -> float:
        """Seconds without heartbeat after which a job of this sweep is taken for dead."""
        return float(self.runs[0]["config"]["runtime"].get("stale_seconds", 60.0))

    @property
    def claims(self) -> Path:
        """Folder of the claims on members; made by the first claim."""
        return self.folder / "claims"

    def submissions(self) -> list[dict[str, Any]]:
        """Read the submissions of this very store, oldest first; none in a copy.

        `id`, `kind`, `members`, `job`, `order` and `time`; `store`, `user` and `uid`, in which and
        by whom, and the `folder` from which. The number of a `job` is None if it was never written
        down. `order` counts submissions, for the machines that submit have clocks of their own;
        those of earlier releases have none, nor do they name a store.
        """
        if self.original is not None:
            return []
        store = place.id_of(self.root)
        return [note for note in self.noted_submissions() if note.get("store") in (None, store)]

    def noted_submissions(self) -> list[dict[str, Any]]:
        """Read every submission, also those of the store that this one was copied from."""
        notes = (self.read("submissions", name) for name in self.names("submissions"))
        known = [note for note in notes if note is not None]
        return sorted(known, key=lambda note: (note.get("order", 0), note["time"]))

    def users(self, submissions: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
        """Return all users whose jobs may be of this sweep, given its submissions.

        By number, but for those of earlier releases, which wrote down a name.
        """
        return tuple(sorted({self.user_of(note) for note in submissions}))

    def user_of(self, note: Mapping[str, Any]) -> str:
        """Return the number of the user in whose queue a submission is; the name if it has none."""
        return str(note.get("uid", note.get("user", self.frozen["user"])))

    def job_name(self, submission: str) -> str:
        """Return the name of the jobs of a submission, given its id."""
        return f"{PREFIX}.{self.name}.{submission}"

    def submission_of(self, job_name: str) -> str:
        """Return the id of the submission that a job is of; empty if it is none of this sweep."""
        begin = self.job_name("")
        return job_name.removeprefix(begin) if job_name.startswith(begin) else ""

    @contextlib.contextmanager
    def submitting(self) -> Iterator[None]:
        """Let one process at a time submit jobs of a sweep; the next finds them in the queue.

        StillHeld where somebody else does not come to an end.
        """
        what = f"{self.name}: submitting jobs"
        with holding(self.claims, SUBMISSION, stale_after=self.stale_after, what=what):
            yield

    def submit(
        self, kind: str, members: Sequence[str], *, folder: str | None = None
    ) -> dict[str, Any]:
        """Note that members are about to be submitted; the job's number follows by `submitted`."""
        note = {"id": uuid.uuid4().hex[:8], "kind": kind, "members": list(members), "job": None}
        whose = {"store": place.id_of(self.root), "user": user_name(), "uid": os.geteuid()}
        where = {"folder": folder or os.getcwd()}
        when = {"order": self._last_order() + 1, "time": time.time()}
        return self._note({**note, **whose, **where, **when})

    def submitted(self, note: Mapping[str, Any], job: str) -> dict[str, Any]:
        """Note the number of the job that a submission became."""
        return self._note({**note, "job": job})

    def unsubmit(self, note: Mapping[str, Any]) -> None:
        """Forget a submission that the scheduler does not have, and what its jobs were to do."""
        (self.folder / "jobs" / f"{note['id']}.json").unlink(missing_ok=True)
        self.note_file(note).unlink(missing_ok=True)

    def note_file(self, note: Mapping[str, Any]) -> Path:
        """Return the file of a submission."""
        return self.folder / "submissions" / f"{note['id']}.json"

    def _last_order(self) -> int:
        return max((note.get("order", 0) for note in self.noted_submissions()), default=0)

    def _note(self, note: dict[str, Any]) -> dict[str, Any]:
        self.made("submissions")
        write_json(self.note_file(note), note)
        return note


def find_sweep(root: Path, name: str) -> Sweep:
    """Find the sweep named `name`, or the only one that begins with it; LookupError if none."""
    names = [sweep.name for sweep in list_sweeps(root)]
    near = [other for other in names if other == name] or [o for o in names if o.startswith(name)]
    if len(near) == 1:
        return Sweep(root / FOLDER / near[0])
    what = "several sweeps begin like that" if near else "no such sweep"
    raise LookupError(f"{name}: {what} in {root}; there are {', '.join(near or names) or 'none'}")


def list_sweeps(root: Path) -> list[Sweep]:
    """List all sweeps of a store, the latest last; also those that cannot be read."""
    ages: dict[Path, float] = {}
    for folder in (root / FOLDER).glob("[!.]*"):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            try:
                ages[folder] = os.lstat(folder / FROZEN).st_mtime
            except PermissionError:  # it may be one: whoever reads it is told
                ages[folder] = os.lstat(folder).st_mtime
    return [Sweep(folder) for folder in sorted(ages, key=lambda one: (ages[one], one))]


def _in_store(run: dict[str, Any], root: Path) -> dict[str, Any]:
    config = run.get("config", {})
    runtime = {**config.get("runtime", {}), "store": str(root.absolute())}
    return {**run, "config": {**config, "runtime": runtime}}
