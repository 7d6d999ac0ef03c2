"""`python -m sparsekit.study NAMES PATHS...`: studies of results that are there already."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparsekit.configuration.config import ConfigError
from sparsekit.store.store import CorruptResult
from sparsekit.system.files import Damaged
from sparsekit.system.importing import uncollected
from sparsekit.system.leaving import leave_after
from sparsekit.system.printing import damage_lines, mask_tracebacks, remark, say
from sparsekit.system.refusals import refusal_in
from sparsekit.system.secrets import masked_here
from sparsekit.system.streams import printed

PROGRAM = "python -m sparsekit.study"
EPILOG = """\
  python -m sparsekit.study calibration,classes runs
  python -m sparsekit.study '{_target_: my_studies.mine, split: val}' runs/named/custom --every
  python -m sparsekit.study exemplars,connectivity runs --against dense
  python -m sparsekit.report runs --studies        what they found

Nothing is trained, and no result changes. What was studied before, with the same settings, is found
in the store. docs/evaluation.md says what each measures.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit status: 0 all were studied, 1 some could not be, 2 a mistake."""
    options = _parser().parse_intermixed_args(arguments)
    try:
        return _main(options)
    except (ConfigError, Damaged, CorruptResult, OSError, ValueError) as error:
        remark(f"error: {_plain(error)}")
        return 2
    except KeyboardInterrupt:
        remark("interrupted; the same command goes on from here")
        return 130


def _main(options: argparse.Namespace) -> int:
    from sparsekit.configuration.compose import compose_one
    from sparsekit.report.collect import read_records

    strange = [text for text in options.settings if not text.startswith("runtime.")]
    if strange:
        raise ConfigError(f"{strange[0]}: only settings of runtime. are asked for here")
    runtime_node = compose_one(options.settings).config["runtime"]
    damaged: list[str] = []
    records = read_records(options.paths, note=damaged.append)
    with uncollected():
        from sparsekit.configuration import config
        from sparsekit.runs import comparing
        from sparsekit.runs.studying import study_named

    compared = {name: comparing.comparison_named(name) for name in options.studies}
    studies = [
        study_named(name, list(comparing.KNOWN)) for name, one in compared.items() if one is None
    ]
    comparisons = [one for one in compared.values() if one is not None]
    if options.against is not None and not comparisons:
        raise ConfigError("--against is for what compares: exemplars, connectivity, mask_overlap")
    for one in comparisons:
        comparing.require_against(one, options.against)
    runtime = config.build(runtime_node)
    runtime.limit_threads_()
    for line in damage_lines(damaged):
        remark(line)
    failed = len(damaged)
    failed += _study(records, studies, runtime, options) if studies else 0
    failed += _compare(records, comparisons, runtime, options, damaged)
    say(f"look: python -m sparsekit.report {' '.join(map(str, options.paths))} --studies")
    return int(failed > 0)


def _study(
    records: Sequence[Any], studies: Sequence[Any], runtime: Any, options: argparse.Namespace
) -> int:
    """Study each run for itself; return how many could not be."""
    from sparsekit.runs.studying import study_record

    failed = 0
    for record in records:
        try:
            for one in study_record(record, studies, runtime, every=options.every):
                say(f"{record.file.stem} cycle {one.cycle}: {_told(one.outcomes)}")
        except (ValueError, CorruptResult, OSError) as error:
            remark(f"{record.file.stem}: {_plain(error)}")
            failed += 1
    return failed


def _compare(
    records: Sequence[Any],
    comparisons: Sequence[Any],
    runtime: Any,
    options: argparse.Namespace,
    damaged: Sequence[str],
) -> int:
    """Compare groups of results; return how many were refused."""
    from sparsekit.runs.comparing import compare, name_of

    failed = 0
    for function in comparisons:
        for one in compare(
            records,
            function,
            runtime,
            against=options.against,
            every=options.every,
            damaged=damaged,
        ):
            say(f"{one.what}: {_told({name_of(function): one.reason})}")
            failed += one.is_refused
    return failed


def _plain(error: Exception) -> str:
    return masked_here(refusal_in(error) or str(error), is_prose=True)


def _told(outcomes: Any) -> str:
    return ", ".join(
        name if reason is None else f"{name} not made: {reason}"
        for name, reason in outcomes.items()
    )


def _names(text: str) -> list[str]:
    return [text] if text.lstrip().startswith("{") else text.split(",")


class _Place(argparse.Action):
    """Sorts what is typed after the names: settings have an equals sign, the rest are paths."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        settings = [one for one in values if "=" in one and not Path(one).exists()]
        namespace.settings = settings
        namespace.paths = [Path(one) for one in values if one not in settings]
        if not namespace.paths:
            parser.error("give stores, folders in named/, or records")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Measure finished results further, without training anything.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "studies", type=_names, metavar="NAMES", help="with commas between, or one {_target_: ...}"
    )
    parser.add_argument(
        "paths",
        nargs="+",
        action=_Place,
        metavar="PATHS",
        help="stores, folders in named/, records; and settings such as runtime.accelerator=gpu",
    )
    parser.add_argument(
        "--every", action="store_true", help="every cycle of a run, not only its last"
    )
    parser.add_argument(
        "--against",
        metavar="METHOD",
        help="what exemplars, connectivity and mask_overlap hold the others against: a method, or "
        "a path to other results",
    )
    return parser


if __name__ == "__main__":
    mask_tracebacks()
    leave_after(functools.partial(printed, main))
