"""How a fit shows that it is alive: a bar on a terminal, else a line now and then."""

from __future__ import annotations

import sys
import time
from typing import Any

from tqdm import tqdm

from sparsekit.training.observing import Observer, RunningFit
from sparsekit.training.settings import Runtime


class Progress:
    """Shows steps, the last validation and the time left."""

    def __init__(self, runtime: Runtime) -> None:
        self.style = _style(runtime.progress)
        self.every_seconds = runtime.progress_seconds
        self.bar: tqdm[Any] | None = None
        self.next_line = time.monotonic() + self.every_seconds

    @property
    def observer(self) -> Observer:
        """What the fit calls."""
        if self.style == "none":
            return Observer()
        return Observer(start=self.begin, step=self.advance, end=self.close, failure=self.close)

    def begin(self, fit: RunningFit) -> None:
        """Draw the bar, if there is to be one."""
        if self.style == "bar" and fit.is_rank_zero:
            self.bar = tqdm(
                total=fit.last_step, initial=fit.step, unit="step", leave=False, mininterval=0.2
            )

    def advance(self, fit: RunningFit) -> None:
        """Show one more step, or print a line if one is due."""
        if not fit.is_rank_zero:
            return
        if self.bar is not None:
            self.bar.update(fit.step - self.bar.n)
        elif self.style == "lines" and time.monotonic() >= self.next_line:
            print(_line(fit), file=sys.stderr, flush=True)
            self.next_line = time.monotonic() + self.every_seconds

    def close(self, fit: RunningFit, error: BaseException | None = None) -> None:
        """Remove the bar."""
        if self.bar is not None:
            self.bar.close()


def _line(fit: RunningFit) -> str:
    primary, value = fit.module.task.primary, fit.validation
    latest = "" if value is None else f", validation {primary.text(value)}"
    return f"    step {fit.step} of {fit.last_step}{latest}"


def _style(asked: str) -> str:
    if asked == "auto":
        return "bar" if sys.stderr.isatty() else "lines"
    return asked
