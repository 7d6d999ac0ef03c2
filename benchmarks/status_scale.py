"""How long a look at a large sweep takes: `python -m benchmarks.status_scale`.

Whole processes, from start to exit: `status` of a thousand finished runs, of a thousand that are at
work on other machines, and `gc` of a store of 20,000 stages of which half is garbage. The files are
written here, of the sizes that IMP on a ResNet leaves; nothing was trained. The floor is a process
that imports nothing.
"""

from __future__ import annotations

import dataclasses
import getpass
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import timing
from benchmarks.start_up import Command, execute
from sparsekit.configuration.compose import compose_one
from sparsekit.configuration.identity import identity_of
from sparsekit.store.identity import stage_key
from sparsekit.sweeps.freezing import freeze
from sparsekit.sweeps.records import Sweep, member_of

TYPED = ("method=imp", "model=resnet18_cifar", "data=cifar10", "cluster=slurm")
FLOOR = "pass"
LOOK = ("-m", "sparsekit.status")
NUM_LAYERS = 20
DAY = 86400.0
NUM_CYCLES = 10
TARGET_SECONDS, RUNNING_SECONDS = 2.0, 3.0


def write_sweep(store: Path, num_runs: int, *, done: bool) -> Sweep:
    """A sweep of so many seeds, with the records of finished runs or the signs of running ones."""
    run = dataclasses.asdict(compose_one(TYPED))
    config = json.loads(json.dumps(run["config"]))
    config["runtime"]["store"] = str(store)
    runs = [
        {
            **run,
            "number": number,
            "experiment": "scale",
            "name": f"imp-seed{number}-00000000",
            "differs": {"seed": str(number)},
            "config": {**config, "seed": number},
        }
        for number in range(num_runs)
    ]
    about = {"created": time.time(), "command": "python -m sparsekit.run", "code": {}}
    where = {"user": getpass.getuser(), "cluster": config["cluster"]}
    sweep = freeze(store, "scale", {**about, **where, "runs": runs})
    members = [member_of(number) for number in range(num_runs)]
    half = max(1, num_runs // 2)
    for first in range(0, num_runs, half):
        sweep.submitted(sweep.submit("runs", members[first : first + half]), str(1000 + first))
    for number, member in enumerate(members):
        _write_run(sweep, number, member, done=done)
    return sweep


def _write_run(sweep: Sweep, number: int, member: str, *, done: bool) -> None:
    run = sweep.runs[number]
    tickets = [_key("ticket", run=number, cycle=cycle) for cycle in range(NUM_CYCLES)]
    rows = [
        {"cycle": c, "sparsity": 1 - 0.8**c, "ticket": ticket, "studies": {}, "is_result": True}
        for c, ticket in enumerate(tickets[: None if done else NUM_CYCLES // 2])
    ]
    identity = {name: run[name] for name in ("experiment", "choices", "overrides", "variant")}
    record = {
        **identity,
        "seed": number,
        "config": identity_of(run["config"]),
        "status": "done" if done else "running",
        "rows": rows,
        "error": None,
    }
    _write(sweep.root / "named" / run["experiment"] / f"{run['name']}.json", record)
    layers = {f"layer{n}.conv.weight": {"kept": n, "size": 9 * n} for n in range(NUM_LAYERS)}
    metrics = {"val_accuracy": 0.9, "test_accuracy": 0.9, "layers": layers}
    stages = sweep.root / "stages" / "ticket"
    for row in rows:  # a run is done if all its results are there
        _write(stages / row["ticket"] / "description.json", {})
    _write(stages / rows[-1]["ticket"] / "metrics.json", metrics)
    status = {
        "state": "done" if done else "running",
        "reason": "", "error": None, "job": f"1000_{number}", "node": f"n{number % 9}",
        "pid": number + 1, "log": str(sweep.folder / "jobs" / f"1000_{number}_0_log.out"),
        "begun": time.time(), "attempts": 1, "seconds": 100.0, "idle_attempts": 0, "position": None,
    }  # fmt: skip
    _write(sweep.folder / "members" / f"{member}.json", status)
    told = {"key": _key("fit", run=number), "cycle": 5, "particle": 0, "time": time.time()}
    steps = {"step": 40, "last_step": 900, "validation": 0.8}
    _write(sweep.progress(member), {**told, **steps})
    if not done:
        owner = sweep.claims / member / f"abcdef012345.{number + 1}.123456.00000000"
        owner.mkdir(parents=True)
        (owner / "heartbeat").touch()
        # Nobody goes on touching it while the rounds last.
        os.utime(owner / "heartbeat", (time.time() + DAY, time.time() + DAY))


def write_stages(root: Path, num_stages: int) -> int:
    """Chains of stages, every other one named by a record; how many stages are named by none."""
    config = {"task": json.loads(json.dumps(compose_one(TYPED).config["model"])), "pad": "x" * 1500}
    num_garbage, length = 0, 3 * NUM_CYCLES + 1
    for first in range(0, num_stages, length):
        inputs: tuple[str, ...] = ()
        for place in range(min(length, num_stages - first)):
            kind = "init" if not place else ("pruned", "fit", "ticket")[(place - 1) % 3]
            key = _key(kind, chain=first, place=place)
            body = {"kind": kind, "key": key, "config": config, "inputs": inputs, "version": 1}
            made = {"started": 0.0, "finished": 1.0, "session": "x"}
            folder = root / "stages" / kind / key
            _write(folder / "description.json", {**body, "provenance": made, "files": {}})
            (folder / "state.safetensors").write_bytes(b"0" * 100)
            inputs = (key,)
        if first // length % 2:
            num_garbage += place + 1
        else:
            record = {"status": "done", "config": {}, "seed": first, "rows": [{"ticket": key}]}
            _write(root / "named" / "scale" / f"{first}.json", record)
    return num_garbage


def _key(kind: str, **of: int) -> str:
    return stage_key({"kind": kind, "config": of})


def _write(path: Path, content: Mapping[str, Any]) -> None:
    # Not as the store does it: nothing here has to survive, and syncing takes longer than all else.
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, sort_keys=True))


def commands(folder: Path, num_runs: int, num_stages: int) -> dict[str, Command]:
    """The processes to time; what they look at is written."""
    for name in ("done", "running"):
        write_sweep(folder / name, num_runs, done=name == "done")
    num_garbage = write_stages(folder / "stages", num_stages)
    stored = f"gc of {num_stages:,} stages, {num_garbage:,} of them garbage"
    return {
        FLOOR: Command(("-c", FLOOR), at_most=None),
        f"{num_runs:,} done": Command(
            (*LOOK, "--store", str(folder / "done")), at_most=TARGET_SECONDS
        ),
        f"{num_runs:,} running": Command(
            (*LOOK, "--store", str(folder / "running")), at_most=RUNNING_SECONDS
        ),
        f"{num_runs:,} running, --json": Command(
            (*LOOK, "--json", "--store", str(folder / "running")), at_most=RUNNING_SECONDS
        ),
        stored: Command((*LOOK, "gc", "--store", str(folder / "stages")), at_most=None),
    }


def check(folder: Path, num_runs: int) -> str:
    """That all runs are seen as what they are; AssertionError else."""
    from sparsekit.status.views import view_store

    for name in ("done", "running"):
        (sweep,) = (folder / name / "sweeps").iterdir()
        (view,) = view_store([Sweep(sweep)])
        assert view.counts == {name: num_runs}, view.counts
    return f"All {num_runs:,} runs are seen as done, and as running."


def main(arguments: Sequence[str] | None = None) -> int:
    """Write what there is to look at, and measure every process."""
    options = timing.read_options(__doc__ or "", arguments, rounds=9)
    num_runs, num_stages = (6, 62) if options.quick else (1000, 20_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        processes = commands(folder, num_runs, num_stages)
        seen = check(folder, num_runs)
        ways: dict[str, Callable[[], float]] = {
            name: timing.timed(partial(execute, command, folder, options.threads), options.clock)
            for name, command in processes.items()
        }
        times = timing.interleave(ways, rounds=options.rounds, warm_up=0 if options.quick else 1)
    verdicts = [
        timing.at_most(f"seconds of `{name}`", timing.spread(times[name]), command.at_most)
        for name, command in processes.items()
        if command.at_most is not None
    ]
    table = timing.markdown(timing.HEAD, timing.rows(times, base=FLOOR))
    introduction = "Wall time of whole processes; ratios to a Python that imports nothing."
    timing.report("Status of large sweeps", [introduction, table, seen, *verdicts], options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
