"""What sharing a store saved: `python -m benchmarks.work_saved STORE [--experiment NAME]`.

Read from the records of finished runs and the costs of the stages that they consist of. Asked for:
the stages of every run added up, which is what the runs would compute in stores of their own.
Computed: each stage once. Seconds are those that the stored fits took, counted once for every run
that asks for them or once in all, so both sums rest on the same measurements.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from sparsekit.store.named import records_of
from sparsekit.store.store import Store
from sparsekit.system.files import Damaged

HEADER = (
    "| method | runs | stages asked for | computed | fits asked for | computed "
    "| training FLOPs saved | seconds, each alone | shared | time saved |\n" + "|---" * 10 + "|"
)
EACH = "all, by a store for each method"
TOGETHER = "all, sharing one store"


@dataclasses.dataclass(frozen=True)
class Cost:
    """What computing one stage took: seconds of fits only, operations of whatever counts them."""

    seconds: float
    operations: float


@dataclasses.dataclass(frozen=True)
class Saved:
    """Totals of some runs, each alone and with what they share computed once."""

    runs: int
    stages: tuple[int, int]
    fits: tuple[int, int]
    seconds: tuple[float, float]
    operations: tuple[float, float]


def saved(runs: Sequence[Iterable[str]], cost: Mapping[str, Cost]) -> Saved:
    """Add up the stages of runs as often as they are asked for, and each once.

    >>> one, two = Cost(1.0, 10.0), Cost(2.0, 20.0)
    >>> saved([["fit-a"], ["fit-a", "fit-b"]], {"fit-a": one, "fit-b": two}).seconds
    (4.0, 3.0)
    """
    asked = Counter(key for run in runs for key in set(run))
    fits = {key: times for key, times in asked.items() if key.startswith("fit-")}
    return Saved(
        runs=len(runs),
        stages=(asked.total(), len(asked)),
        fits=(sum(fits.values()), len(fits)),
        seconds=_twice({key: cost[key].seconds for key in asked}, asked),
        operations=_twice({key: cost[key].operations for key in asked}, asked),
    )


def _twice(cost: Mapping[str, float], asked: Mapping[str, int]) -> tuple[float, float]:
    return sum(cost[key] * times for key, times in asked.items()), sum(cost.values())


def rows(records: Iterable[Mapping[str, Any]], cost: Mapping[str, Cost]) -> dict[str, Saved]:
    """Return what was saved within each method, by all methods, and by sharing among them."""
    by_method: dict[str, list[Sequence[str]]] = {}
    for record in records:
        name = record["labels"].get("run") or record["labels"]["method"]
        by_method.setdefault(name, []).append(record["stages"])
    found = {name: saved(runs, cost) for name, runs in sorted(by_method.items())}
    together = saved([run for runs in by_method.values() for run in runs], cost)
    apart = dataclasses.replace(
        together,
        stages=(together.stages[0], sum(one.stages[1] for one in found.values())),
        fits=(together.fits[0], sum(one.fits[1] for one in found.values())),
        seconds=(together.seconds[0], sum(one.seconds[1] for one in found.values())),
        operations=(together.operations[0], sum(one.operations[1] for one in found.values())),
    )
    return {**found, EACH: apart, TOGETHER: together}


def line(name: str, one: Saved) -> str:
    """Format one row of the table."""
    counts = [one.runs, *one.stages, one.fits[0], one.fits[1]]
    shares = [f"{1 - done / asked:.0%}" for asked, done in (one.operations, one.seconds)]
    seconds = [f"{value:,.0f}" for value in one.seconds]
    cells = [name, *(f"{number:,}" for number in counts), shares[0], *seconds, shares[1]]
    return f"| {' | '.join(cells)} |"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 2 if a store has no finished run of what is asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--experiment", help="only runs of this experiment")
    options = parser.parse_args(arguments)
    store = Store(options.store)
    found, _ = records_of(options.store)
    done = [one for one in found.values() if one["status"] == "done"]
    wanted = [one for one in done if options.experiment in (None, one["experiment"])]
    if not wanted:
        names = ", ".join(sorted({one["experiment"] for one in done})) or "none"
        print(f"error: {options.store}: no finished runs; experiments: {names}", file=sys.stderr)
        return 2
    try:
        cost = {key: _cost(store, key) for one in wanted for key in one["stages"]}
    except (Damaged, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(HEADER)
    for name, one in rows(wanted, cost).items():
        print(line(name, one))
    return 0


@cache
def _cost(store: Store, key: str) -> Cost:
    if "cost.json" not in store.description(key)["files"]:
        return Cost(0.0, 0.0)
    written = store.read(key, "cost.json")
    seconds = written["seconds"] if key.startswith("fit-") else 0.0
    return Cost(seconds, written.get("training_flops", 0.0))


if __name__ == "__main__":
    sys.exit(main())
