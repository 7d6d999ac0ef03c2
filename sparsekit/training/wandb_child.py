"""The process that talks to wandb: one JSON line in, one call out.

["open", {...}]  ["log", {...}]  ["close", {...}]
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sparsekit.system.interruption import SIGNALS
from sparsekit.system.streams import outlive_readers

OFF = ("x_disable_stats", "x_disable_meta", "x_disable_machine_info", "disable_git", "disable_code")


def main(lines: Iterable[str]) -> int:
    """Mirror the fits told on `lines`; 1 if wandb is missing.

    It yields to the training: lowest priority, and it measures and collects nothing beyond
    what it is told. A cluster sends its signals to every process of a job; what ends the training
    reaches this one through `lines`. wandb's own service ends at a SIGTERM of its own whatever one
    does: the mirror then ends early, and goes on with the fit.
    """
    os.nice(19)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        import wandb
    except ImportError:
        print("warning: wandb is not installed; nothing is mirrored", file=sys.stderr)
        return 1
    run = None
    for line in lines:
        what, content = json.loads(line)
        if what == "open":
            run = _open(wandb, content)
        elif run is not None and what == "log":
            run.log(content, step=content["step"])
        elif run is not None and what == "close":
            run.summary.update({k: v for k, v in content.items() if k == "error"})
            if content.get("preempted"):
                run.mark_preempting()
            run.finish(exit_code=content["exit_code"])
            run = None
    return 0


def _open(wandb: Any, content: dict[str, Any]) -> Any:
    mode = content.pop("mode")
    if mode == "auto":
        mode = os.environ.get("WANDB_MODE") or ("online" if wandb.api.api_key else "offline")
    Path(content["dir"]).mkdir(parents=True, exist_ok=True)
    settings = wandb.Settings(**dict.fromkeys(OFF, True), console="off", x_save_requirements=False)
    return wandb.init(mode=mode, resume="allow", settings=settings, **content)


if __name__ == "__main__":
    outlive_readers()
    sys.exit(main(sys.stdin))
