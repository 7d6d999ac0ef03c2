"""`python -m sparsekit.status`: look at sweeps, and act on them.

PyTorch is imported only where `retry` starts runs; looking needs the store, and SLURM if there is
one, but no server.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparsekit.status import acting, garbage, logs, lookup, why
from sparsekit.status.lookup import Unknown, run_of, runs_of, store_of, sweep_of
from sparsekit.status.pages import PROGRAM, runs_page, store_option, sweeps_page
from sparsekit.status.views import StoreView, SweepView, view_store, view_sweep
from sparsekit.store import claims
from sparsekit.sweeps.freezing import settle
from sparsekit.system.files import Damaged
from sparsekit.system.leaving import leave_after
from sparsekit.system.printing import mask_tracebacks, remark, say
from sparsekit.system.refusals import refusal_in
from sparsekit.system.streams import printed

EPILOG = f"""\
and to act:
  {PROGRAM} retry SWEEP [--failed] [--trust] [RUN...]    start again what is missing
  {PROGRAM} cancel SWEEP [RUN...]              end what is not done
  {PROGRAM} logs SWEEP RUN [--lines N] [--fits]
  {PROGRAM} why KEY [--depth N]                what a stage was made of, and for whom
  {PROGRAM} gc [--delete] [--days N]           what nothing refers to
  {PROGRAM} adopt                              make a copy of a store one of its own

SWEEP may be the beginning of a name, RUN a number or the name of a record.
"""
SECONDS = 5.0
CLEAR = "\x1b[H\x1b[2J"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status.

    0; 1 if `--watch` ends while runs are missing, or an action could not be completed; 2 for a
    mistake in the command; 130 after Ctrl-C.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    common.add_argument(
        "--store", type=Path, metavar="FOLDER", help="else $SPARSEKIT_STORE, or runs"
    )
    chosen, rest = common.parse_known_args(given)
    name = rest[0] if rest and rest[0] in ACTIONS else None
    parser = _parser(name, common)
    options = parser.parse_args(rest[1:] if name else rest)
    options.store = chosen.store
    try:
        return (ACTIONS[name].act if name else _look)(options)
    except (Unknown, acting.Refused, Damaged) as error:
        return _mistake(str(error))
    except OSError as error:
        return _mistake(refusal_in(error) or str(error))
    except KeyboardInterrupt:
        return 130


def _parser(name: str | None, common: argparse.ArgumentParser) -> argparse.ArgumentParser:
    if name is not None:
        action = ACTIONS[name]
        parser = argparse.ArgumentParser(
            prog=f"{PROGRAM} {name}", description=action.help, parents=[common], allow_abbrev=False
        )
        for flags, settings in action.arguments.items():
            parser.add_argument(*flags.split(), **settings)
        return parser
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="The sweeps of a store, or the runs of a sweep.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[common],
        allow_abbrev=False,
    )
    parser.add_argument("sweep", nargs="?", metavar="SWEEP")
    parser.add_argument("--json", action="store_true", help="everything, for programs")
    parser.add_argument(
        "--watch", nargs="?", type=_positive, const=SECONDS, metavar="SECONDS",
        help="look again every so often (%(const)s), until nothing is under way",
    )  # fmt: skip
    return parser


def _look(options: argparse.Namespace) -> int:
    if options.watch is None:
        say(_page(options, _view(options)))
        return 0
    if options.json:
        return _mistake("--watch is for people, --json for programs; leave out one of them")
    while True:
        view = _view(options)
        print(CLEAR if sys.stdout.isatty() else "", end="")
        say(_page(options, view) + ("" if sys.stdout.isatty() else "\n"))
        if not any(one.is_live for one in _of(view)):
            return int(any(one.is_missing for one in _of(view)))
        time.sleep(options.watch)


def _view(options: argparse.Namespace) -> SweepView | StoreView:
    root = store_of(options.store)
    sweep = sweep_of(root, options.sweep) if options.sweep else lookup.only_one(root)
    if sweep is not None:
        return view_sweep(sweep)
    sweeps, damaged = lookup.readable_sweeps(root)
    return StoreView(str(root), tuple(view_store(sweeps)), tuple(damaged))


def _page(options: argparse.Namespace, view: SweepView | StoreView) -> str:
    store = store_option(options.store)
    if options.json:
        return json.dumps(dataclasses.asdict(view), indent=1)
    if isinstance(view, SweepView):
        return runs_page(view, store=store, width=_width())
    return sweeps_page(view, store=store, width=_width())


def _of(view: SweepView | StoreView) -> Sequence[SweepView]:
    return [view] if isinstance(view, SweepView) else view.sweeps


def _width() -> int | None:
    """Return the terminal's width; None if the text goes elsewhere, uncut."""
    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        return shutil.get_terminal_size().columns
    return None


def _retry(options: argparse.Namespace) -> int:
    sweep = sweep_of(store_of(options.store), options.sweep)
    numbers = runs_of(sweep, options.runs)
    return acting.retry(sweep, numbers, only_failed=options.failed, trusted=options.trust)


def _cancel(options: argparse.Namespace) -> int:
    sweep = sweep_of(store_of(options.store), options.sweep)
    return acting.cancel(sweep, runs_of(sweep, options.runs))


def _logs(options: argparse.Namespace) -> int:
    sweep = sweep_of(store_of(options.store), options.sweep)
    number = run_of(sweep, options.run)
    say(logs.logs_page(sweep, number, num_lines=options.lines, fits=options.fits))
    return 0


def _why(options: argparse.Namespace) -> int:
    root = store_of(options.store)
    key = why.full_key(root, options.key)
    say(why.why_page(root, key, depth=options.depth, width=_width()))
    return 0


def _gc(options: argparse.Namespace) -> int:
    root = store_of(options.store)
    found = garbage.find_garbage(root, days=options.days)
    if options.delete and found.garbage:
        now = claims.time_of_server(root)
        found = garbage.find_garbage(root, days=options.days, now=now)
        garbage.delete(found.garbage, root)
    days = f" --days {options.days:g}" if options.days != 1 else ""
    again = f"{PROGRAM} gc --delete{days}{store_option(options.store)}"
    say(garbage.page(found, root, deleted=options.delete, again=again))
    return int(options.delete and found.is_blocked)


def _adopt(options: argparse.Namespace) -> int:
    root = store_of(options.store)
    original = settle(root)
    if original is None:
        say(f"{root} is a store of its own")
    else:
        say(f"{root} was a copy of {original}, and is a store of its own now")
    return 0


@dataclasses.dataclass(frozen=True)
class Action:
    """A word on the command line: what it does, and its arguments."""

    act: Callable[[argparse.Namespace], int]
    help: str
    arguments: Mapping[str, Mapping[str, Any]]


def _positive(text: str) -> float:
    seconds = float(text)
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text} is not positive")
    return seconds


def _natural(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0")
    return int(text)


def _days(text: str) -> float:
    days = float(text)
    if not days >= 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return days


def _mistake(text: str) -> int:
    remark(f"error: {text}")
    return 2


SWEEP: Mapping[str, Any] = {"metavar": "SWEEP"}
RUNS: Mapping[str, Any] = {"metavar": "RUN", "nargs": "*"}
ACTIONS: Mapping[str, Action] = {
    "retry": Action(
        _retry,
        "Start again what failed, was cancelled or lost, or was never begun, where the sweep says. "
        "That imports and calls what the sweep's configuration names.",
        {"sweep": SWEEP, "runs": RUNS,
         "--failed": {"action": "store_true", "help": "only what failed"},
         "--trust": {"action": "store_true", "help": "also a sweep of another user, or one "
                     "that was copied here or changed: call what it names"}},
    ),
    "cancel": Action(
        _cancel, "End what is not done; what is finished stays.", {"sweep": SWEEP, "runs": RUNS}
    ),
    "logs": Action(
        _logs,
        "The end of a run's log, where its logs lie, and the error that ended it.",
        {"sweep": SWEEP, "run": {"metavar": "RUN"},
         "--lines": {"type": _natural, "default": 20, "metavar": "N", "help": "how many, 20"},
         "--fits": {"action": "store_true", "help": "of fits that are jobs of their own, too"}},
    ),
    "why": Action(
        _why,
        "What a stage was made of, when, whether it is whole, and which runs refer to it.",
        {"key": {"metavar": "KEY", "help": "or the beginning of one"},
         "--depth": {"type": _natural, "default": 3, "metavar": "N", "help": "of the tree, 3"}},
    ),
    "gc": Action(
        _gc,
        "List what nothing refers to, work that was abandoned, and damaged results.",
        {"--delete": {"action": "store_true", "help": "delete it; without it nothing changes"},
         "--days": {"type": _days, "default": 1.0, "metavar": "N", "help": "only older than, 1"}},
    ),
    "adopt": Action(
        _adopt, "Make a copy a store of its own, which has nothing to do with the original.", {}
    ),
}  # fmt: skip


if __name__ == "__main__":
    mask_tracebacks()
    leave_after(functools.partial(printed, main))
