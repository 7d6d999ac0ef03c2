"""`python -m sparsekit.export RUN format=FORMAT`: a stored network as files for elsewhere."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sparsekit.system.files import Damaged
from sparsekit.system.importing import uncollected
from sparsekit.system.leaving import leave_after
from sparsekit.system.printing import mask_tracebacks, remark, say
from sparsekit.system.refusals import told
from sparsekit.system.streams import printed

if TYPE_CHECKING:
    from sparsekit.inference.manifest import Export

PROGRAM = "python -m sparsekit.export"
FOLDER = "exports"
SETTINGS = {
    "format": str, "out": Path, "batch_size": int, "threads": int, "dtype": str, "store": Path,
    "cycle": int, "data": Path,
}  # fmt: skip
EPILOG = """\
  python -m sparsekit.export ticket-... format=condensed batch_size==1
  python -m sparsekit.export runs/named/custom/RUN.json format=delta dtype=bfloat16
  python -m sparsekit.export exports/ticket-...-delta format=onnx out=model

RUN is what sparsekit.load takes: a key, the folder of a stage, a record, an export. Formats:
  condensed      the kept weights row by row, and what runs them: sparsekit.inference.load
  dense_mask     all weights, and the masks
  csr            values, column indices and row pointers
  two_four       2 of every 4 weights and their positions; for masks that are 2:4
  bitmap, delta  for storage: a bit for every weight; or the gaps, where these are smaller
  torch_export   a program of PyTorch (.pt2)
  onnx           a model of ONNX; pip install 'sparsekit[onnx]'
Settings: out (else exports/KEY-FORMAT), dtype=bfloat16 for stored values, batch_size and threads
that it is run with, store and cycle as in sparsekit.load, data for the examples it is compared on.
docs/inference.md says more.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit status: 0 exported, 1 something is damaged or refused, 2 a mistake."""
    options = _parser().parse_args(arguments)
    with uncollected():
        from sparsekit.inference.files import DamagedExport
        from sparsekit.store.sealing import CorruptResult
    try:
        _export(options.run, _settings(options.settings))
    except (Damaged, CorruptResult, DamagedExport) as error:
        return told(error, status=1)
    except (OSError, ValueError, LookupError) as error:
        return told(error, status=2)
    except KeyboardInterrupt:
        remark("interrupted; nothing was exported")
        return 130
    return 0


def _export(run: str, given: dict[str, Any]) -> None:
    with uncollected():
        from sparsekit.exports.exporting import NUM_INPUTS, export
        from sparsekit.exports.formats import FORMATS, format_named
        from sparsekit.exports.original import original
        from sparsekit.exports.settings import Settings

    if "format" not in given:
        raise ValueError(f"say format=..., one of {', '.join(FORMATS)}")
    name = given["format"]
    asked = {key: given[key] for key in ("batch_size", "threads", "dtype") if key in given}
    settings = Settings(**asked)
    format_named(name).require(settings)
    places = {key: given[key] for key in ("store", "cycle", "data") if key in given}
    found = original(run, **places, num_inputs=max(NUM_INPUTS, settings.batch_size))
    out = given.get("out", Path(FOLDER) / f"{found.key}-{name}")
    made, was_there = export(found, name, out, settings)
    say(f"{out}{' is there already' if was_there else ''}")
    for line in _lines(made):
        say(line)


def _lines(export: Export) -> list[str]:
    """Say what was measured of an export when it was made."""
    found, settings = export.manifest["measured"], export.manifest["settings"]
    share = found["bytes"] / found["bytes_of_dense"]
    lines = [
        f"  on disk     {found['bytes']:,} bytes, {share:.3f} of {found['bytes_of_dense']:,} as "
        f"dense float32; {found['kept']:,} of {found['prunable']:,} weights are kept",
        f"  difference  at most {found['largest_difference']:.2g} in outputs up to "
        f"{found['largest_output']:.3g}, {found['compared_on']}",
    ]
    if "layers" in found:
        kinds = ", ".join(f"{number} {kind}" for kind, number in found["layers"].items())
        lines.append(f"  layers      {kinds}: what was measured to be the fastest together")
    if "seconds" not in found:
        return [*lines, "  latency     that of the dense network, which it is decoded to"]
    mine, dense = (1000 * found[name] for name in ("seconds", "seconds_of_dense"))
    threads = settings["threads"]
    clock = "CPU time of 1 thread" if threads == 1 else f"wall time of {threads} threads"
    return [
        *lines,
        f"  latency     {mine:.3f} ms; the dense network takes {dense:.3f} ms, {dense / mine:.2f} "
        f"times as long (medians, in turns, batch {settings['batch_size']}, {clock})",
    ]


def _settings(texts: Sequence[str]) -> dict[str, Any]:
    """Return what was typed as NAME=VALUE; ValueError, with the names there are, for a mistake."""
    given: dict[str, Any] = {}
    for text in texts:
        name, is_given, value = text.partition("=")
        if not is_given or name not in SETTINGS or not value:
            known = ", ".join(f"{one}=" for one in SETTINGS)
            raise ValueError(f"{text!r} is no setting; there are {known}")
        if name in given:
            raise ValueError(f"{name}= is given twice")
        try:
            given[name] = SETTINGS[name](value)
        except ValueError as error:
            raise ValueError(f"{text}: expected a whole number") from error
    return given


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Write a stored network in a format that is used elsewhere, and check it.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", help="a key, a stage's folder, a record, an export")
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="format=..., and others")
    return parser


if __name__ == "__main__":
    mask_tracebacks()
    leave_after(functools.partial(printed, main))
