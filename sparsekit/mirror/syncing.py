"""Uploading what was told offline: with wandb's own command, the attempts at each run in order."""

from __future__ import annotations

import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from sparsekit.mirror.feeder import surroundings
from sparsekit.mirror.names import FOLDER
from sparsekit.mirror.told import records
from sparsekit.system.secrets import masked_here

COMMAND = (sys.executable, "-m", "wandb", "sync")
MANY = ("--include-synced", "--include-online")
ATTEMPT = re.compile(r"(?P<offline>offline-)?run-(?P<time>\d{8}_\d{6})-(?P<id>.+)")
RUNS_AT_ONCE = 20
NOT_FOR_IT = ("WANDB_MODE", "WANDB_SILENT", "WANDB_QUIET", "WANDB_DISABLED")
LAST_LINES = 3


@dataclasses.dataclass(frozen=True)
class Attempt:
    """A folder of wandb: what one attempt at a run has told."""

    folder: Path
    identity: str
    is_offline: bool

    @property
    def file(self) -> Path:
        """Where everything is that was told."""
        return self.folder / f"run-{self.identity}.wandb"

    def is_synced(self) -> bool:
        """Say whether wandb has uploaded all that there is by now, by the mark that it leaves."""
        mark = self.file.with_suffix(".wandb.synced")
        try:
            return mark.stat().st_mtime_ns >= self.file.stat().st_mtime_ns
        except FileNotFoundError:
            return False

    def has_ended(self) -> bool:
        """Say whether it was told how the attempt ended."""
        return any(one.WhichOneof("record_type") == "exit" for one in records(self.file))


def open_attempts(root: Path, identities: Collection[str] | None) -> dict[str, list[Attempt]]:
    """Return what is to be uploaded, by run and in order of time.

    Of these runs alone, if they are given. An attempt that was online counts where it ended without
    a word: its last rows may not have arrived.
    """
    found: dict[str, list[Attempt]] = {}
    for attempt in sorted(_attempts(root), key=lambda one: one.folder.name.split("run-")[1]):
        if identities is not None and attempt.identity not in identities:
            continue
        if not attempt.is_synced() and (attempt.is_offline or not attempt.has_ended()):
            found.setdefault(attempt.identity, []).append(attempt)
    return found


def _attempts(root: Path) -> Iterator[Attempt]:
    for folder in (root / FOLDER).glob("*run-*"):
        parts = ATTEMPT.fullmatch(folder.name)
        if parts is not None and not folder.is_symlink():
            attempt = Attempt(folder, parts["id"], is_offline=bool(parts["offline"]))
            if attempt.file.is_file() and not attempt.file.is_symlink():
                yield attempt


def sync(root: Path, runs: dict[str, list[Attempt]], seconds: float) -> Iterator[tuple[str, str]]:
    """Upload, and yield each run with the reason why it could not be; "" for one that is there.

    wandb stops at the first file that it cannot read, and says so in no exit status: what it leaves
    unmarked is tried again alone. Each call may take `seconds`; nothing is ever removed.
    """
    names = list(runs)
    for begin in range(0, len(names), RUNS_AT_ONCE):
        batch = names[begin : begin + RUNS_AT_ONCE]
        reason = _upload(root, [one for name in batch for one in runs[name]], seconds)
        for name in batch:
            alone = "" if _is_there(runs[name]) else reason
            if alone and len(batch) > 1:
                left = [one for one in runs[name] if not one.is_synced()]
                alone = _upload(root, left, seconds)
            yield name, alone


def _is_there(attempts: Sequence[Attempt]) -> bool:
    return all(attempt.is_synced() for attempt in attempts)


def _upload(root: Path, attempts: Sequence[Attempt], seconds: float) -> str:
    """Let wandb upload attempts; return why not all of them are there, "" where they are."""
    command = [*COMMAND, *MANY, *(str(attempt.folder.absolute()) for attempt in attempts)]
    given = surroundings((root / FOLDER).absolute())
    environment = {name: value for name, value in given.items() if name not in NOT_FOR_IT}
    environment["WANDB_DIR"] = str(root.absolute())
    try:
        ended = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"wandb was not done after {seconds:g} s: no answer from {_server()}?"
    except OSError as error:
        return f"wandb cannot be started: {error}"
    if _is_there(attempts):
        return ""
    said = ended.stdout.decode(errors="replace").strip().splitlines()[-LAST_LINES:]
    return masked_here(" ".join(said), is_prose=True) or f"exit status {ended.returncode}"


def _server() -> str:
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")
