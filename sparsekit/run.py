"""`python -m sparsekit.run`: compose -> check -> rehearse -> run -> print the table.

Only the standard library is imported before it is known that something will run: help, listings
and misspelt names are answered at once.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from sparsekit.configuration.config import ConfigError
from sparsekit.system.files import Damaged
from sparsekit.system.importing import uncollected
from sparsekit.system.leaving import leave_after
from sparsekit.system.printing import mask_tracebacks, remark
from sparsekit.system.refusals import refusal_in
from sparsekit.system.streams import outlive_readers

PROGRAM = "python -m sparsekit.run"
HELP = ("--help", "-h")
OPTIONS = (
    "-m", "--zip KEY,KEY", "--exclude KEY=VALUE,...", "--sweep FILE",
    "--cfg job", "--dry-run", "--config-dir FOLDER",
)  # fmt: skip
LISTED = (
    "experiment", "method", "prune", "view", "penalty", "merge", "control", "distillation", "model",
    "data", "task", "train", "callbacks",
)  # fmt: skip
ADDED = ("experiment", "control", "distillation", "callbacks")
INTRODUCTION = f"""\
sparsekit: exact, resumable, shared experiments with sparse neural networks

  {PROGRAM} +experiment=quickstart             a minute on a laptop: table and picture
  {PROGRAM} +experiment=imp_cifar10 seed=1     anything is overridable: key=value
  {PROGRAM} method=imp data=mnist              any method, model, data set and training
  {PROGRAM} -m method=imp,random seed=0,1,2    every combination
  {PROGRAM} --sweep experiments/quickstart/sweep.yaml   the combinations in a file
  {PROGRAM} +experiment=quickstart --dry-run   what would run, and what is there already
  {PROGRAM} method=imp --cfg job               the whole configuration
  python -m sparsekit.report PATHS...          tables and plots of finished results

Running the same command again computes only what is missing, also after a crash.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; exit status: 0 all runs finished, 1 some failed, 2 mistake, 130 Ctrl-C."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    known = [text for text in given if text not in HELP]
    try:
        options = _Parser().parse_intermixed_args(known)
        asks_nothing = options == _Parser().parse_args(_folders(options))
        if asks_nothing or known != given:
            print(listing(options.config_dir))
            return 0
        options.given = given
        return _main(options)
    except (ConfigError, Damaged) as error:
        from sparsekit.store.published import published_message

        remark(f"error: {published_message(str(error), given)}")
        return 2
    except OSError as error:
        refusal = refusal_in(error)
        if refusal is None:
            raise
        remark(f"error: {refusal}; the same command goes on from here")
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130


def _folders(options: argparse.Namespace) -> list[str]:
    return [text for folder in options.config_dir for text in ("--config-dir", str(folder))]


def listing(folders: Sequence[Path] = ()) -> str:
    """Return an introduction, and the options of each group with one line each."""
    from sparsekit.configuration.compose import list_groups, summary

    groups = list_groups(folders)
    lines = [INTRODUCTION]
    for group in LISTED:
        lines.append(f"{'+' if group in ADDED else ''}{group}=")
        lines += [f"  {name:<24} {summary(file)}" for name, file in groups[group].items()]
    others = sorted(set(groups) - set(LISTED))
    lines += [f"{group}=  {', '.join(groups[group])}" for group in others]
    return "\n".join(lines)


def _main(options: argparse.Namespace) -> int:
    from sparsekit.configuration.compose import compose_one, compose_runs
    from sparsekit.configuration.overrides import is_sweep, pairs, refuse_repetition
    from sparsekit.configuration.sweep_files import NO_FILE, read_sweep, refuse_clash
    from sparsekit.store.published import published_override

    several = [text for text in options.overrides if is_sweep(text)]
    if several and not options.multirun:
        raise ConfigError(f"{several[0]!r} asks for several runs; add -m")
    refuse_repetition(options.overrides)
    if options.cfg:
        _refuse_several(options)
        _print_config(compose_one(options.overrides, options.config_dir).config)
        return 0
    sweep = read_sweep(options.sweep) if options.sweep else NO_FILE
    refuse_clash(sweep, options.overrides)
    runs = compose_runs(
        options.overrides,
        options.config_dir,
        sweep=sweep,
        zipped=[keys.split(",") for keys in options.zip],
        excluded=[pairs(text) for text in options.exclude],
    )
    if not options.dry_run:
        from sparsekit.sweeps.refusing import refuse

        refuse(runs)
    print(f"{len(runs)} run{'s' * (len(runs) != 1)}; importing PyTorch", file=sys.stderr)
    if options.dry_run:
        with uncollected():
            from sparsekit.sweeps.forecast import forecast

        print(forecast(runs))
        return 0
    with uncollected():
        from sparsekit.sweeps.launch import launch

    command = f"{PROGRAM} {shlex.join(map(published_override, options.given))}"
    return launch(runs, command=command, label=sweep.name or None)


def _refuse_several(options: argparse.Namespace) -> None:
    for name in ("sweep", "zip", "exclude"):
        if getattr(options, name):
            raise ConfigError(f"--cfg job shows one configuration; leave out --{name}")


def _print_config(config: Mapping[str, Any]) -> None:
    from omegaconf import OmegaConf

    from sparsekit.store.published import published

    print(OmegaConf.to_yaml(OmegaConf.create(published(config))), end="")


class _Parser(argparse.ArgumentParser):
    """Options of the command; a mistake is a ConfigError like any other."""

    def __init__(self) -> None:
        super().__init__(prog=PROGRAM, add_help=False, allow_abbrev=False)
        self.add_argument("overrides", nargs="*")
        self.add_argument("-m", "--multirun", action="store_true")
        self.add_argument("--zip", action="append", default=[])
        self.add_argument("--exclude", action="append", default=[])
        self.add_argument("--sweep", type=Path)
        self.add_argument("--cfg", choices=["job"])
        self.add_argument("--dry-run", action="store_true")
        self.add_argument("--config-dir", "-cd", action="append", type=Path, default=[])

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message}; the options are {', '.join(OPTIONS)}, --help")


if __name__ == "__main__":
    mask_tracebacks()
    outlive_readers()
    leave_after(main)
