"""`python -m sparsekit.sync PATHS...`: upload to Weights & Biases what runs have told offline."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from pathlib import Path

from sparsekit.mirror.keys import has_key
from sparsekit.mirror.names import FOLDER, run_id
from sparsekit.mirror.syncing import Attempt, open_attempts, sync
from sparsekit.store.claims import is_held
from sparsekit.store.references import default_store
from sparsekit.sweeps.records import Sweep, list_sweeps, member_of
from sparsekit.system.files import Damaged
from sparsekit.system.leaving import leave_after
from sparsekit.system.printing import mask_tracebacks, remark, say
from sparsekit.system.streams import printed

PROGRAM = "python -m sparsekit.sync"
EPILOG = """\
  python -m sparsekit.sync runs                       all that is in a store
  python -m sparsekit.sync runs/sweeps/NAME --dry-run the runs of one sweep; only say which

Meant for a login node: compute nodes need no network. The attempts at a run are uploaded in order,
into one run of wandb. What is uploaded is marked and stays; the same command goes on where it was
interrupted. Runs that are under way are left for the next time. docs/wandb.md says more.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit status: 0 all is there, 1 some could not be uploaded, 2 a mistake."""
    options = _parser().parse_args(arguments)
    try:
        places = [_place(path) for path in options.paths or [default_store()]]
        if not options.dry_run and not has_key():
            raise ValueError("there is no key for wandb: type `wandb login`, or set WANDB_API_KEY")
        failed = [_sync(root, sweep, options) for root, sweep in places]
    except (Damaged, OSError, ValueError) as error:
        remark(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        remark("interrupted; the same command goes on from here")
        return 130
    return int(sum(failed) > 0)


def _place(path: Path) -> tuple[Path, Sweep | None]:
    """Return the store that a path names, and the sweep if it names one; else ValueError."""
    if (path / "sweep.json").is_file():
        sweep = Sweep(path.absolute())
        return sweep.root, sweep
    if not (path / FOLDER).is_dir():
        raise ValueError(f"{path} is neither a store with a folder {FOLDER}/ nor a sweep of one")
    return path, None


def _sync(root: Path, sweep: Sweep | None, options: argparse.Namespace) -> int:
    """Upload what is open below a store; return how many runs could not be uploaded."""
    chosen = None if sweep is None else {_identity(sweep, n) for n in range(len(sweep.runs))}
    runs = open_attempts(root, chosen)
    for name in _under_way(root, runs):
        say(f"{name}: under way; the next time")
        del runs[name]
    if options.dry_run:
        for name, attempts in runs.items():
            say(f"{name}: {', '.join(attempt.folder.name for attempt in attempts)}")
        return 0
    failed = 0
    for name, reason in sync(root, runs, options.seconds):
        say(f"{name}: {f'NOT uploaded: {reason}' if reason else _done(runs[name])}")
        failed += bool(reason)
    say(f"{root}: {len(runs) - failed} runs uploaded, {failed} failed")
    return failed


def _done(attempts: Sequence[Attempt]) -> str:
    num = len(attempts)
    return f"uploaded{f', {num} attempts' if num > 1 else ''}"


def _under_way(root: Path, runs: dict[str, list[Attempt]]) -> list[str]:
    """Return the runs that somebody works at, of those whose last attempt has not ended."""
    open_ended = {name for name, attempts in runs.items() if not attempts[-1].has_ended()}
    held = set()
    for sweep in list_sweeps(root) if open_ended else ():
        for number in range(len(sweep.runs)):
            name = _identity(sweep, number)
            if name in open_ended and is_held(
                sweep.claims, member_of(number), stale_after=sweep.stale_after
            ):
                held.add(name)
    return sorted(held)


def _identity(sweep: Sweep, number: int) -> str:
    return run_id(sweep.runs[number]["experiment"], sweep.runs[number]["name"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Upload to Weights & Biases what runs have told offline.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "paths", nargs="*", type=Path, metavar="PATHS",
        help="stores, or folders of sweeps in them; else $SPARSEKIT_STORE, or runs",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="upload nothing, say what would be")
    parser.add_argument(
        "--seconds", type=float, default=600.0, metavar="N",
        help="that wandb may take for some runs at once; it would try for days (default 600)",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    mask_tracebacks()
    leave_after(functools.partial(printed, main))
