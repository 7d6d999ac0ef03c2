"""The process that talks to wandb. It is told on its input what there is to look at in the store:

["open", {...}]  ["fits", {...}]  ["cycle", {...}]  ["close", {...}], a line each.
"""

from __future__ import annotations

import functools
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from sparsekit.mirror import rows
from sparsekit.mirror.keys import has_key
from sparsekit.mirror.live import LiveFiles
from sparsekit.mirror.media import figures_of, media_of
from sparsekit.mirror.names import FOLDER
from sparsekit.mirror.told import ROW, Told, read_told
from sparsekit.store.store import Store
from sparsekit.system.interruption import SIGNALS
from sparsekit.system.secrets import masked_here
from sparsekit.system.streams import outlive_readers

OFF = ("x_disable_stats", "x_disable_meta", "x_disable_machine_info", "disable_git", "disable_code")
SECONDS_BETWEEN_LOOKS = 1.0
FEWEST_IN_A_CURVE = 3
LOST = {"state": "lost"}


def main(lines: Iterable[str]) -> int:
    """Mirror the runs told on `lines`; 1 if wandb is missing.

    It yields to the training: lowest priority, and it measures and collects nothing beyond
    what it is told. A cluster sends its signals to every process of a job; what ends the training
    reaches this one through `lines`. wandb's own service ends at a SIGTERM of its own whatever one
    does: the mirror then ends early, and the next attempt tells what is missing.
    """
    os.nice(19)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        import wandb
    except ImportError:
        print("warning: wandb is not installed; nothing is mirrored", file=sys.stderr)
        return 1
    teller = Teller(wandb)
    for line in _with_pauses(lines):
        try:
            if line is None:
                teller.look()
            else:
                teller.hear(*json.loads(line))
        except Exception as error:
            _warn(error)
    return 0


def _warn(error: Exception, what_then: str = "") -> None:
    told = masked_here(f"{type(error).__name__}: {error}")
    print(f"warning: wandb: {told}{what_then}", file=sys.stderr, flush=True)


def _with_pauses(lines: Iterable[str]) -> Iterator[str | None]:
    """Yield the lines, and None whenever there was none for a while and at their end."""
    waiting: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        for line in lines:
            waiting.put(line)
        waiting.put(None)

    threading.Thread(target=read, daemon=True).start()
    while True:
        try:
            line = waiting.get(timeout=SECONDS_BETWEEN_LOOKS)
        except queue.Empty:
            yield None
            continue
        if line is None:
            # Whoever ends without a word about it was killed.
            yield json.dumps(["close", LOST])
            return
        yield line


class Teller:
    """Tells wandb of one run after the other, of each row once."""

    def __init__(self, wandb: Any) -> None:
        self.wandb = wandb
        self.opening: dict[str, Any] | None = None
        self.run: Any = None
        self.told = Told()
        self.live: LiveFiles | None = None
        self.summary: dict[str, Any] = {}
        self.is_cut_off = False

    def hear(self, what: str, content: dict[str, Any]) -> None:
        """Do what a line asks for."""
        if what == "open":
            self.open(content)
        elif what == "fits" and self.live is not None:
            self.live.expect(content["cycle"], content["keys"])
        elif what == "cycle" and self.live is not None:
            self.cycle(content)
        elif what == "close" and self.live is not None:
            self.close(content, self.live)

    def open(self, opening: dict[str, Any]) -> None:
        """Begin with a run; with nothing but reading where an earlier attempt has told it all."""
        self.opening = opening
        root = Path(opening["dir"])
        self.store, self.folder = Store(root), root / FOLDER
        self.told = read_told(root, opening["id"])
        self.live = LiveFiles(root, opening["id"])
        self.summary = {}
        if not self.told.is_finished:
            self.begin()

    def begin(self) -> None:
        """Open the run of wandb, unless it is open."""
        if self.run is not None or self.opening is None:
            return
        try:
            self.run = self.init(dict(self.opening))
        except Exception:
            self.opening = self.live = None  # nothing more of this run: each try takes minutes
            raise
        self.told.next_step = max(self.told.next_step, self.run.step)
        for name in (*rows.AXES, *rows.KEYS):
            self.run.define_metric(name, hidden=True, summary="none")
        for family, axis in rows.STEP_OF.items():
            summary = "none" if axis != "cycle" else None
            self.run.define_metric(family, step_metric=axis, summary=summary)
        self.run.summary["state"] = "running"

    def init(self, opening: dict[str, Any]) -> Any:
        """Begin a run of wandb; offline from now on where nobody answers."""
        mode = opening.pop("mode")
        if mode == "auto":
            mode = os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
        Path(opening["dir"]).mkdir(parents=True, exist_ok=True)
        settings = self.wandb.Settings(
            **dict.fromkeys(OFF, True),
            console="off",
            x_save_requirements=False,
            init_timeout=opening.pop("seconds_to_connect"),
        )
        begin = functools.partial(self.wandb.init, resume="allow", settings=settings, **opening)
        if mode == "offline" or self.is_cut_off:
            return begin(mode="offline")
        try:
            return begin(mode=mode)
        except Exception as error:
            _warn(error, "; it goes on offline")
            self.is_cut_off = True
            self.wandb.teardown()  # its service still tries, and has the id as long as it does
            return begin(mode="offline")

    def tell(self, row: dict[str, Any]) -> None:
        """Add a row to the history, unless it is there."""
        if row[ROW] in self.told.rows:
            return
        self.begin()
        self.run.log(row, step=self.told.next_step, commit=True)
        self.told.rows.add(row[ROW])
        self.told.next_step += 1

    def look(self) -> None:
        """Tell what fits have written meanwhile."""
        if self.live is not None:
            for row in self.live.new_rows():
                self.tell(row)

    def cycle(self, record_row: dict[str, Any]) -> None:
        """Tell all there is of a cycle that is done."""
        self.look()
        for row in rows.cycle_rows(self.store, record_row):
            self.tell(row)
        if not record_row["is_result"]:
            return
        ticket, number = record_row["ticket"], record_row["cycle"]
        self.summary = {**rows.measures(self.store, ticket), "cycles": number + 1, "ticket": ticket}
        name = f"media/{ticket}/c{number}"
        if name not in self.told.rows:
            self.tell({ROW: name, "cycle": number, **media_of(self.wandb, self.store, ticket)})

    def close(self, content: dict[str, Any], live: LiveFiles) -> None:
        """Say how the attempt ended: failed, or, where the run goes on later, preempted."""
        self.look()
        state = content["state"]
        if state == "done" and self.opening is not None:
            self.draw(self.opening)
        if self.run is None and not (self.told.is_finished and state == "done"):
            self.begin()
        if self.run is not None:
            self.run.summary.update({**self.summary, **content})
            # wandb calls a run preempted that announces it, and then ends as if it had failed.
            if state not in ("done", "failed"):
                self.run.mark_preempting()
            self.run.finish(exit_code=0 if state == "done" else 1)
        if state == "done":
            live.remove()
        self.run = self.opening = self.live = None

    def draw(self, opening: dict[str, Any]) -> None:
        """Show the curve of a run of several results, as a report draws it."""
        name = f"figure/{self.summary.get('ticket')}"
        if name not in self.told.rows and self.summary.get("cycles", 0) >= FEWEST_IN_A_CURVE:
            about = opening["config"]["about"]
            record = self.store.record(about["experiment"], about["name"])
            self.tell({ROW: name, **figures_of(self.wandb, record, self.folder)})


if __name__ == "__main__":
    outlive_readers()
    sys.exit(main(sys.stdin))
