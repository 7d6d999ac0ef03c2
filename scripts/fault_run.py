"""Disturb sweeps at random on a test cluster of its own, and tell what was lost.

    python -m scripts.fault_run --seed 1 --minutes 20 --page docs/reliability.md

The seed decides the order of the faults and the sweeps; when a fault comes and whom it hits depends
on the machine too. When the time is over everything is left to settle, and each result is compared
with that of an undisturbed run. Exit status 1: something was lost or differs.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparsekit.runs import runner  # noqa: F401  imported before anything is forked
from sparsekit.sweeps.snapshot import provenance
from tests.faults.campaign import Injected, inject_all
from tests.faults.drawing import FILES, commands, draws
from tests.faults.kinds import KINDS
from tests.faults.result import Result, require_place, write_into
from tests.faults.settling import outcomes, settle
from tests.faults.world import World
from tests.slurm.cluster import Cluster, folder_of_this_run, join, own

SETTLING_MINUTES = 60.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; 1 where something was lost or differs, 2 for a mistake in what was typed."""
    options = _parser().parse_args(arguments)
    try:
        methods = _methods(options.methods)
        _refuse_old(options.output)
        if options.page is not None:
            require_place(options.page)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    result = on_its_own_cluster(options, methods)
    _write(result, options.output, options.page)
    return int(bool(result.complaints()))


def on_its_own_cluster(options: argparse.Namespace, methods: Sequence[str]) -> Result:
    """Do the fault run that the options describe, on a cluster that goes with this process."""
    with join(folder_of_this_run()), own(folder_of_this_run()) as cluster:
        os.environ["SLURM_CONF"] = str(cluster.configuration)
        return fault_run(
            cluster, options.output, methods=methods, seed=options.seed,
            minutes=options.minutes, mean_pause=options.pause, num_sweeps=options.sweeps,
        )  # fmt: skip


def fault_run(
    cluster: Cluster,
    folder: Path,
    *,
    methods: Sequence[str],
    seed: int,
    minutes: float,
    mean_pause: float,
    num_sweeps: int,
    more: tuple[str, ...] = (),
    least_kinds: int = 0,
) -> Result:
    """Inject faults for so many minutes, let all settle, and compare.

    `more`: what sweeps are asked for besides, which changes no result. `least_kinds`: how many
    kinds of faults are to come, if need be by taking longer.
    """
    begun = time.monotonic()
    asked_for = {"seed": seed, "minutes of faults": f"{minutes:g}"}
    world = World(folder.absolute(), cluster, commands(seed, methods), num_sweeps, more)
    faults = draws(seed, list(KINDS), mean_pause=mean_pause)
    injected = inject_all(
        world, faults, KINDS, seconds=60 * minutes, tell=_tell, least_kinds=least_kinds
    )
    print(f"{len(world.asked)} sweeps; settling", flush=True)
    settle(world, seconds=60 * SETTLING_MINUTES)
    settled = (time.monotonic() - begun) / 60
    found, unexpected = outcomes(world)
    took = {"minutes until all had settled": f"{settled:.0f}"}
    about = {**asked_for, **took, **_circumstances(cluster)}
    return Result(about, list(KINDS), injected, found, unexpected)


def _circumstances(cluster: Cluster) -> dict[str, Any]:
    code = provenance()
    changed = " with changes" if code["changed"] else ""
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{os.cpu_count()} CPU cores, {platform.machine()}, {platform.system()}, "
        f"{cluster.run('sinfo', '--version')}, Python {platform.python_version()}",
        "commit": f"{(code['commit'] or 'unknown')[:7]}{changed}",
    }


def _tell(one: Injected) -> None:
    hit = "no victim" if one.sweeps is None else f"sweeps {', '.join(map(str, one.sweeps)) or '-'}"
    print(f"{one.seconds:7.1f} s  {one.kind}: {hit}", flush=True)


def _write(result: Result, folder: Path, page: Path | None) -> None:
    text = result.as_markdown()
    (folder / "result.json").write_text(json.dumps(result.as_json(), indent=1) + "\n")
    (folder / "result.md").write_text(text + "\n")
    print(text)
    for complaint in result.complaints():
        print(complaint, file=sys.stderr)
    if page is not None:
        write_into(page, text)


def _methods(names: str) -> list[str]:
    chosen = list(FILES) if names == "all" else names.split(",")
    if unknown := [name for name in chosen if name not in FILES]:
        raise ValueError(f"--methods: no method {', '.join(unknown)}; all, or {', '.join(FILES)}")
    return chosen


def _refuse_old(folder: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if any(folder.iterdir()):
            raise ValueError(f"--output {folder} is not empty")
    folder.mkdir(parents=True, exist_ok=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m scripts.fault_run",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--seed", type=int, default=0)
    add("--minutes", type=float, default=20.0, help="of faults (%(default)g)")
    add("--methods", default="all", metavar="A,B", help="of configs/method (all)")
    add("--sweeps", type=int, default=3, help="at a time (%(default)d)")
    add("--pause", type=float, default=10.0, help="mean seconds between faults (%(default)g)")
    add(
        "--output",
        type=Path,
        default=Path("runs/fault-run"),
        metavar="FOLDER",
        help="for the store, logs, result.json and result.md (%(default)s)",
    )
    add("--page", type=Path, help="a document that shows the last result, to be brought up to date")
    return parser


if __name__ == "__main__":
    sys.exit(main())
