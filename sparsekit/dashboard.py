"""`python -m sparsekit.dashboard`: the dashboard of a project on Weights & Biases, from code."""

from __future__ import annotations

import argparse
import functools
import os
from collections.abc import Sequence
from pathlib import Path

from sparsekit.mirror.keys import has_key
from sparsekit.mirror.workspace import definition, workspace
from sparsekit.report.collect import last_of, read_records, results_of
from sparsekit.report.reading import metric_of
from sparsekit.system.files import Damaged, write_json
from sparsekit.system.leaving import leave_after
from sparsekit.system.printing import mask_tracebacks, remark, say
from sparsekit.system.streams import printed
from sparsekit.tasks.metric import ACCURACY, Metric

PROGRAM = "python -m sparsekit.dashboard"
EPILOG = """\
  python -m sparsekit.dashboard runs                      write dashboard.json; needs no network
  python -m sparsekit.dashboard runs --publish --entity ME

PATHS are stores, folders in named/, or records, whose primary metrics are shown; without any,
accuracy. Panels find fits, layers and studies by the names that runs give them, so that the same
dashboard serves the runs to come. docs/wandb.md says more.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit status: 0, or 2 for a mistake."""
    options = _parser().parse_args(arguments)
    try:
        made = workspace(
            _metrics(options.paths),
            entity=options.entity,
            project=options.project,
            name=options.name,
        )
        if not options.publish:
            write_json(options.output, definition(made))
            say(f"{options.output}: written; --publish puts it on the server")
            return 0
        if not has_key():
            raise ValueError("there is no key for wandb: type `wandb login`, or set WANDB_API_KEY")
        if not options.entity:
            raise ValueError("--publish needs --entity, the user or team that owns the project")
        say(f"published: {made.save().url}")
    except (Damaged, OSError, ValueError) as error:
        remark(f"error: {error}")
        return 2
    return 0


def _metrics(paths: Sequence[Path]) -> list[Metric]:
    """Return the primary metrics of the last results below `paths`, each once."""
    if not paths:
        return [ACCURACY]
    results = results_of(last_of(read_records(paths)))
    return list(dict.fromkeys(metric_of(one.metrics) for one in results)) or [ACCURACY]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="Write or publish the dashboard of a project on Weights & Biases.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATHS")
    parser.add_argument("--project", default="sparsekit", help="default sparsekit")
    parser.add_argument("--entity", default=os.environ.get("WANDB_ENTITY", ""), metavar="NAME")
    parser.add_argument("--name", default="sparsekit", help="of the dashboard")
    parser.add_argument(
        "--output", type=Path, default=Path("dashboard.json"), metavar="FILE",
        help="where its definition is written (default dashboard.json)",
    )  # fmt: skip
    parser.add_argument("--publish", action="store_true", help="save it on the server instead")
    return parser


if __name__ == "__main__":
    mask_tracebacks()
    leave_after(functools.partial(printed, main))
