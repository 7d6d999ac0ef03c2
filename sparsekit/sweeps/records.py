"""A sweep on disk: what was asked for, frozen, and the last status of every job.

STORE/sweeps/NAME/
  sweep.json          the runs with their whole configurations, where and how they are to run
  private.json        what is masked in that, for its user only (see private.py)
  members/MEMBER.json last status of the job of a member, which is a run or a fit of one
  progress/MEMBER.json how far its fit is; cancelled/MEMBER: it was cancelled
  claims/MEMBER/        who works at a member (see claims.py)
  submissions/ID.json which members were submitted as which job; written before and after
  jobs/               scripts and logs of the jobs; code/: the snapshot, where one was asked for

Every file is replaced in one step, so that a reader always sees a complete one. Nothing here
decides whether a run is done: its record in the store does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.store.claims import claim, heartbeat, is_held, release
from sparsekit.sweeps.private import SALT, NotReadable, put_together, taken_apart, write_private
from sparsekit.system import seals
from sparsekit.system.files import parsed, read_json, spelled, write_json
from sparsekit.system.users import user_name

FOLDER = "sweeps"
FROZEN = "sweep.json"
SUBMISSION = "submission"
SEAL = "seal"
PREFIX = "sparsekit"
RENAMED = {"lives": "attempts", "idle_lives": "idle_attempts"}
"""Fields of a status by their names in earlier releases, which read those files too."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A folder of files; see the top of this module."""

    folder: Path

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def root(self) -> Path:
        """Of the store that the sweep belongs to."""
        return self.folder.parent.parent

    @functools.cached_property
    def frozen(self) -> dict[str, Any]:
        """What was asked for: `created`, `command`, `user`, `cluster`, `code` and `runs`."""
        content: dict[str, Any] = read_json(self.folder / FROZEN)
        return content

    @functools.cached_property
    def whole(self) -> dict[str, Any]:
        """The same with what only this user may read; NotReadable where that cannot be read."""
        return put_together(self.folder, self.frozen)

    @property
    def runs(self) -> list[dict[str, Any]]:
        """`number`, `name`, `experiment`, `differs` and what makes the run, in order."""
        return self.frozen["runs"]

    def record(self, number: int) -> dict[str, Any] | None:
        """Read what a run wrote about its results; None before it has begun."""
        run = self.runs[number]
        return _read(self.root / "named" / run["experiment"] / f"{run['name']}.json")

    def is_done(self, number: int) -> bool:
        """Say whether the run has published its last result; nothing else is believed."""
        record = self.record(number)
        return record is not None and record["status"] == "done"

    def last_status(self, member: str) -> dict[str, Any]:
        """Return what the job at a member last recorded; empty if none has begun."""
        status: dict[str, Any] = _read(self.folder / "members" / f"{member}.json") or {}
        return {RENAMED.get(name, name): value for name, value in status.items()}

    def write_status(self, member: str, content: Mapping[str, Any]) -> None:
        """Replace the status of a member."""
        (self.folder / "members").mkdir(parents=True, exist_ok=True)
        before = {old: content[new] for old, new in RENAMED.items() if new in content}
        write_json(self.folder / "members" / f"{member}.json", {**content, **before})

    def progress(self, member: str) -> Path:
        """Return the file in which a member's fit writes its progress."""
        return self.folder / "progress" / f"{member}.json"

    def cancel(self, members: Iterable[str]) -> None:
        """Note that members were cancelled."""
        (self.folder / "cancelled").mkdir(exist_ok=True)
        for member in members:
            (self.folder / "cancelled" / member).touch()

    def is_cancelled(self, member: str) -> bool:
        """Say whether a member was cancelled."""
        return (self.folder / "cancelled" / member).exists()

    def reset(self, members: Iterable[str]) -> None:
        """Forget what went wrong at members and at their fits, so that they can be tried again.

        Members that a process is working on are left alone.
        """
        if not (self.folder / "members").exists() and not self.submissions():
            return
        (self.folder / "reset").mkdir(exist_ok=True)
        last = self._last_order()
        for member in members:
            if is_held(self.claims, member, stale_after=self.stale_after):
                continue
            write_json(self.folder / "reset" / f"{member}.json", last)
            (self.folder / "cancelled" / member).unlink(missing_ok=True)
            for file in (self.folder / "members").glob(f"{member}.*.json"):
                file.unlink(missing_ok=True)
            spent = {
                k: v for k, v in self.last_status(member).items() if k in ("attempts", "seconds")
            }
            self.write_status(member, spent)

    def last_reset(self, member: str) -> int:
        """Return the `order` of the last submission before a member, or the run of a fit, was asked
        to be retried; -1 for never.

        Earlier releases wrote a time, by the clock of some machine. That is not believed.
        """
        last = _read(self.folder / "reset" / f"{member.partition('.')[0]}.json")
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
        """Read every submission, oldest first: `id`, `kind`, `members`, `job`, `order` and `time`.

        The number of a `job` is None if it was never written down. `order` counts submissions, for
        the machines that submit have clocks of their own; those of earlier releases have none.
        """
        files = (self.folder / "submissions").glob("*.json")
        found = [content for file in files if (content := _read(file))]
        return sorted(found, key=lambda content: (content.get("order", 0), content["time"]))

    def users(self, submissions: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
        """Return the names of all users whose jobs may be of this sweep, given its submissions."""
        noted = {note["user"] for note in submissions if "user" in note}
        return tuple(sorted({self.frozen["user"], *noted}))

    def job_name(self, submission: str) -> str:
        """Return the name of the jobs of a submission, given its id."""
        return f"{PREFIX}.{self.name}.{submission}"

    def submission_of(self, job_name: str) -> str:
        """Return the id of the submission that a job is of; empty if it is none of this sweep."""
        begin = self.job_name("")
        return job_name.removeprefix(begin) if job_name.startswith(begin) else ""

    @contextlib.contextmanager
    def submitting(self) -> Iterator[None]:
        """Let one process at a time submit jobs of a sweep; the next finds them in the queue."""
        while (place := claim(self.claims, SUBMISSION, stale_after=self.stale_after)) is None:
            time.sleep(0.5)
        try:
            with heartbeat(place):
                yield
        finally:
            release(place)

    def submit(self, kind: str, members: Sequence[str]) -> dict[str, Any]:
        """Note that members are about to be submitted; the job's number follows by `submitted`."""
        note = {"id": uuid.uuid4().hex[:8], "kind": kind, "members": list(members), "job": None}
        order = self._last_order() + 1
        return self._note({**note, "user": user_name(), "order": order, "time": time.time()})

    def submitted(self, note: Mapping[str, Any], job: str) -> dict[str, Any]:
        """Note the number of the job that a submission became."""
        return self._note({**note, "job": job})

    def unsubmit(self, note: Mapping[str, Any]) -> None:
        """Forget a submission that the scheduler refused."""
        (self.folder / "submissions" / f"{note['id']}.json").unlink(missing_ok=True)

    def _last_order(self) -> int:
        return max((note.get("order", 0) for note in self.submissions()), default=0)

    def _note(self, note: dict[str, Any]) -> dict[str, Any]:
        (self.folder / "submissions").mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "submissions" / f"{note['id']}.json", note)
        return note


def freeze(root: Path, label: str, content: Mapping[str, Any]) -> Sweep:
    """Write the sweep of these runs in the store `root`; the same runs are always the same sweep.

    A sweep that was frozen before is replaced: where and how runs are computed may differ.
    """
    names = sorted(f"{run['experiment']}/{run['name']}" for run in content["runs"])
    digest = hashlib.sha256("\n".join(names).encode(errors="surrogateescape")).hexdigest()[:8]
    short = re.sub(r"[^\w.+-]", "-", label)[:60].lstrip("-") or "sweep"
    sweep = Sweep(root / FOLDER / f"{short}-{digest}")
    sweep.folder.mkdir(parents=True, exist_ok=True)
    public, hidden = taken_apart(content)
    write_private(sweep.folder, hidden)
    seal = seals.seal(_sealed_text({**content, **_salt(hidden)}))
    write_json(sweep.folder / FROZEN, {**public, SEAL: seal})
    return Sweep(sweep.folder)


def is_sealed(sweep: Sweep) -> bool:
    """Say whether this user froze a sweep, as it is."""
    try:
        whole = sweep.whole
    except NotReadable:
        return False
    return seals.is_sealed(_sealed_text(whole), whole.get(SEAL))


def _salt(hidden: Mapping[str, Any]) -> dict[str, Any]:
    return {SALT: hidden[SALT]} if hidden else {}


def _sealed_text(frozen: Mapping[str, Any]) -> str:
    """Spell what is frozen in the way it is read again, where names are texts."""
    text = spelled({name: value for name, value in frozen.items() if name != SEAL})
    return spelled(parsed(text))


def find_sweep(root: Path, name: str) -> Sweep:
    """Find the sweep named `name`, or the only one that begins with it; LookupError if none."""
    names = [sweep.name for sweep in list_sweeps(root)]
    near = [other for other in names if other == name] or [o for o in names if o.startswith(name)]
    if len(near) == 1:
        return Sweep(root / FOLDER / near[0])
    what = "several sweeps begin like that" if near else "no such sweep"
    raise LookupError(f"{name}: {what} in {root}; there are {', '.join(near or names) or 'none'}")


def list_sweeps(root: Path) -> list[Sweep]:
    """List all sweeps of a store, the latest last."""
    folders = [file.parent for file in (root / FOLDER).glob(f"*/{FROZEN}")]
    return [Sweep(f) for f in sorted(folders, key=lambda f: (f / FROZEN).stat().st_mtime)]


def member_of(number: int) -> str:
    """Return the name of the member of a run.

    >>> member_of(7)
    '0007'
    """
    return f"{number:04d}"


def number_of(member: str) -> int:
    """Return the number of the run that a member belongs to.

    >>> number_of("0007"), number_of("0007.fit-3f69")
    (7, 7)
    """
    return int(member.partition(".")[0])


def differing(runs: Iterable[Sequence[str]]) -> list[dict[str, str]]:
    """Return, per run, the overrides that are not the same for all.

    >>> differing([["method=imp", "seed=0"], ["method=imp", "seed=1"]])
    [{'seed': '0'}, {'seed': '1'}]
    """
    pairs = [{_bare(text): text.partition("=")[2] for text in texts} for texts in runs]
    keys = list(dict.fromkeys(key for one in pairs for key in one))
    several = [key for key in keys if len({one.get(key) for one in pairs}) > 1]
    return [{key: one[key] for key in several if key in one} for one in pairs]


def _bare(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except FileNotFoundError:
        return None
