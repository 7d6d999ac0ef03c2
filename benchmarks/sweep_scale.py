"""How large a sweep may be before it runs: `python -m benchmarks.sweep_scale`.

A thousand runs are composed and checked, built, planned and rehearsed, as the command does before
the first of them is trained; and a store of many stages is listed and asked for one of them.
Two sweeps: one method at as many learning rates as runs, and eight methods at an eighth as many
seeds. The model is a small perceptron: what is measured are configurations, not networks.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import timing
from sparsekit.configuration.compose import compose_runs
from sparsekit.configuration.overrides import value_of
from sparsekit.runs.planning import Share, share_out
from sparsekit.runs.runner import prepare_run, rehearse_all
from sparsekit.store.identity import Stage
from sparsekit.store.store import Store
from sparsekit.system.files import write_json

METHODS = ("dense", "one_shot", "imp", "random", "snip", "set", "rigl", "soup")
COMMON = ("model=mlp", "data=digits", "logger=none", "runtime.accelerator=cpu")
BEFORE_REHEARSAL = ("compose and check", "build", "plan")
STEPS = (*BEFORE_REHEARSAL, "rehearse")
TOGETHER = "together, without rehearsal"
KINDS = ("pruned", "fit", "ticket", "study")
TARGET_SECONDS = 30.0
STORE_TARGET_SECONDS = 2.0


def sweeps(num_runs: int, store: Path) -> dict[str, list[str]]:
    """What is typed for each sweep of `num_runs` runs."""
    places = [*COMMON, f"runtime.store={store}"]
    rates = ",".join(str((1000 + number) / 10000) for number in range(num_runs))
    seeds = ",".join(map(str, range(num_runs // len(METHODS))))
    return {
        "learning rates": [*places, "method=imp", f"train.schedule.peak={rates}"],
        "methods and seeds": [*places, f"method={','.join(METHODS)}", f"seed={seeds}"],
    }


def steps(typed: Sequence[str], made: dict[str, Any]) -> dict[str, Callable[[], object]]:
    """The steps from what is typed to what may be trained; each goes on with what is `made`."""

    def compose() -> None:
        value_of.cache_clear()  # a command has parsed nothing yet
        made["runs"] = compose_runs(typed)

    def build() -> None:
        made["jobs"] = [prepare_run(run) for run in made["runs"]]

    def plan() -> None:
        made["shares"] = list(share_out(made["jobs"]))

    def rehearse() -> None:
        rehearse_all(made["jobs"])

    return dict(zip(STEPS, (compose, build, plan, rehearse), strict=True))


def measure_sweep(
    typed: Sequence[str], options: timing.Options
) -> tuple[dict[str, list[float]], list[Share]]:
    """Seconds of every step, and of those before the rehearsal together; what was planned."""
    made: dict[str, Any] = {}
    ways = {name: timing.timed(work, options.clock) for name, work in steps(typed, made).items()}
    times = timing.interleave(ways, rounds=options.rounds, warm_up=0)
    together = [sum(parts) for parts in zip(*(times[n] for n in BEFORE_REHEARSAL), strict=True)]
    return {**times, TOGETHER: together}, made["shares"]


def fill(store: Store, num_stages: int) -> str:
    """Publish stages as a run does, a small file in each; the key of the one in the middle."""

    def compute(folder: Path) -> None:
        write_json(folder / "metrics.json", {"val_accuracy": 0.5})

    stages = [Stage(KINDS[i % len(KINDS)], {"number": i}) for i in range(num_stages)]
    return [store.ensure(stage, compute) for stage in stages][num_stages // 2]


def look(store: Store, num_stages: int) -> None:
    """List every key; RuntimeError unless all are there."""
    found = sum(1 for kind in KINDS for _ in store.keys(kind))
    if found != num_stages:
        raise RuntimeError(f"the store lists {found} of {num_stages} stages")


def ask(store: Store, key: str) -> None:
    """Verify one stage; RuntimeError unless it is intact."""
    if not store.has(key):
        raise RuntimeError(f"the store has lost {key}")


def measure_store(
    store: Store, num_stages: int, options: timing.Options
) -> tuple[dict[str, list[float]], float]:
    """Seconds of listing a store and of asking for one stage; and of publishing a stage."""
    started = options.clock()
    key = fill(store, num_stages)
    each = (options.clock() - started) / num_stages
    ways = {
        "list all keys": partial(look, store, num_stages),
        "ask for one": partial(ask, store, key),
    }
    timed = {name: timing.timed(work, options.clock) for name, work in ways.items()}
    return timing.interleave(timed, rounds=options.rounds), each


def sweep_part(name: str, typed: Sequence[str], options: timing.Options) -> list[str]:
    """The section of one sweep."""
    times, shares = measure_sweep(typed, options)
    total = sum(shares, Share(0, 0, 0, 0, 0))
    size = f"{len(shares):,} runs, {total.stages:,} stages, {total.to_compute:,} of them different"
    verdict = f"seconds to compose, check, build and plan {name}"
    return [
        f"### {name.capitalize()}\n\n{size}; ratios to the first three steps together.",
        timing.markdown(timing.HEAD, timing.rows(times, base=TOGETHER)),
        timing.at_most(verdict, timing.spread(times[TOGETHER]), TARGET_SECONDS),
    ]


def store_part(times: timing.Times, num_stages: int, each: float) -> list[str]:
    """The section of the store."""
    verdicts = [
        timing.at_most(f"seconds to {name}", timing.spread(times[name]), STORE_TARGET_SECONDS)
        for name in times
    ]
    head = f"### A store of {num_stages:,} stages\n\nPublishing one took {timing.shown(each)}."
    table = timing.markdown(timing.HEAD, timing.rows(times, base="list all keys"))
    return [head, table, "\n".join(verdicts)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure both sweeps and the store; every sweep's first round also loads data and model."""
    options = timing.read_options(__doc__ or "", arguments, rounds=3, clocks=("wall", "cpu"))
    num_runs, num_stages = (16, 40) if options.quick else (1000, 20_000)
    parts: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        asked: Mapping[str, list[str]] = sweeps(num_runs, folder / "none")
        for title, typed in asked.items():
            parts += sweep_part(title, typed, options)
        times, each = measure_store(Store(folder / "runs"), num_stages, options)
    parts += store_part(times, num_stages, each)
    timing.report("Sweeps before they run", parts, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
