"""`python -m sparsekit.bench RUN`: how fast a stored network is on this machine, and could be."""

from __future__ import annotations

import argparse
import datetime
import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sparsekit.bench.asked import Asked, asked
from sparsekit.system.files import Damaged
from sparsekit.system.importing import uncollected
from sparsekit.system.leaving import leave_after
from sparsekit.system.printing import mask_tracebacks, remark, say
from sparsekit.system.refusals import require_writable, told
from sparsekit.system.streams import printed

if TYPE_CHECKING:
    from sparsekit.bench.comparing import Compared

PROGRAM = "python -m sparsekit.bench"
EPILOG = """\
  python -m sparsekit.bench ticket-... batch_sizes=1,16 threads=1
  python -m sparsekit.bench runs/named/custom/RUN.json dtype=bfloat16 against=eager,onnxruntime
  python -m sparsekit.bench ticket-... out=speed.md figure=speed.svg

RUN is what sparsekit.load takes: a key, the folder of a stage, a record. Settings:
  batch_sizes=1,16   examples at once
  threads=1          of the CPU; one is measured in its CPU time, several in wall time
  dtype=float32      or bfloat16: how the values of our layers are stored
  against=           some of eager, compiled, csr, onnxruntime; else all of them
  rounds=15          in each of them every way has its turn
  out=, figure=      a file for the tables (Markdown), and one for the picture (svg, pdf or png)
  store=, cycle=     as in sparsekit.load
docs/inference.md says how to read the table.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit status: 0 measured, 1 something is damaged, 2 a mistake."""
    options = _parser().parse_args(arguments)
    try:
        settings = asked(options.settings)
        for path in (settings.out, settings.figure):
            if path is not None:
                require_writable(path.parent)
        with uncollected():
            from sparsekit.inference.files import DamagedExport
            from sparsekit.store.sealing import CorruptResult
    except (ValueError, OSError) as error:
        return told(error, status=2)
    try:
        _bench(options.run, settings)
    except (Damaged, CorruptResult, DamagedExport) as error:
        return told(error, status=1)
    except (OSError, ValueError, LookupError) as error:
        return told(error, status=2)
    except KeyboardInterrupt:
        remark("interrupted; nothing was written")
        return 130
    return 0


def _bench(run: str, settings: Asked) -> None:
    with uncollected():
        import torch

        from sparsekit.bench.comparing import compare
        from sparsekit.bench.subjects import stored_subject
        from sparsekit.bench.writing import lines, table
        from sparsekit.measuring.tables import markdown, plain

    dtype = getattr(torch, settings.dtype)
    key, at = stored_subject(
        run, store=settings.store, cycle=settings.cycle, dtype=dtype, threads=settings.threads
    )
    results = []
    for batch_size in settings.batch_sizes:
        remark(f"measuring batches of {batch_size}")
        results.append(compare(at(batch_size), settings.against, rounds=settings.rounds))
    below = lines(results)
    about = _about(key, settings)
    say("\n".join([*about, "", table(results, plain), "", *below]))
    if settings.out is not None:
        command = f"`{PROGRAM} {run} {' '.join(_typed(settings))}`"
        settings.out.write_text(_page(key, [command, *about], table(results, markdown), below))
    if settings.figure is not None:
        _draw(results, settings)


def _about(key: str, settings: Asked) -> list[str]:
    from sparsekit.inference.library import description
    from sparsekit.measuring.hardware import hardware, load, versions

    threads = settings.threads
    clock = "CPU time of the thread" if threads == 1 else "wall time"
    return [
        f"{key}, {datetime.date.today()}",
        f"{hardware()} ({load()})",
        f"{threads} thread{'s' * (threads != 1)}, {clock}, {settings.rounds} rounds in turns; "
        f"{versions()}",
        f"kernels: {description()}; values stored as {settings.dtype}",
    ]


def _page(key: str, about: Sequence[str], rows: str, lines: Sequence[str]) -> str:
    from sparsekit.bench.writing import NOTES

    points = "\n".join(f"- {line}" for line in lines)
    return "\n\n".join([f"# How fast {key} is", *about, rows, points, *NOTES]) + "\n"


def _draw(results: Sequence[Compared], settings: Asked) -> None:
    from sparsekit.bench.ways import OURS
    from sparsekit.report.figures.latency import Bar, draw_latency

    assert settings.figure is not None
    bars = []
    for one in results:
        for way in one.times:
            taken, least = one.seconds(way), one.limits[way].seconds
            ms = [1000 * value for value in (taken.median, taken.lower, taken.upper, least)]
            bars.append(Bar(one.batch_size, way, *ms))
    draw_latency(settings.figure, bars, OURS)


def _typed(settings: Asked) -> list[str]:
    """Return what the settings that differ from the defaults look like when they are typed."""
    usual = vars(Asked())
    return [
        f"{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name, value in vars(settings).items()
        if value != usual[name] and name not in ("store", "out", "figure")
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Measure how fast a stored network is, dense and sparse.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="a key, a stage's folder, a record")
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="see below")
    return parser


if __name__ == "__main__":
    mask_tracebacks()
    leave_after(functools.partial(printed, main))
