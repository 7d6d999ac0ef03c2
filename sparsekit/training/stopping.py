"""Ending a fit that was asked to end: by the one owner of the signals, on all ranks at one step."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Sequence
from typing import NoReturn

import torch
import torch.distributed
from lightning.pytorch import LightningModule, Trainer
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from sparsekit.system import interruption

Group = torch.distributed.ProcessGroup
STATUS = {128 + number: number.name for number in interruption.SIGNALS}
"""Exit status of a rank that saved and stopped -> what asked it to; as shells have it."""


def train_(trainer: Trainer, module: LightningModule) -> None:
    """Do `trainer.fit(module)`, without Lightning's signal handlers in a process that listens.

    Raises Stopped if the ranks of a fit have stopped, or one of them died while the fit was asked
    to end: until ranks have found each other they do not listen, and have nothing to save.
    """
    if interruption.listening():
        # Its handler would end the fit at the next batch, with SystemExit and without saving.
        trainer._signal_connector.register_signal_handlers = _register_none  # type: ignore[method-assign]
    ranks = trainer.world_size > 1
    try:
        with interruption.passed_on() if ranks else contextlib.nullcontext():
            trainer.fit(module)
    except (ProcessExitedException, ProcessRaisedException) as error:
        interruption.check()
        status = error.exit_code if isinstance(error, ProcessExitedException) else None
        if status in STATUS:
            raise interruption.Stopped((STATUS[status],)) from error
        raise


def first_signal() -> int:
    """Return the number of the first signal that asked this process to end; 0 if none has."""
    return signal.Signals[interruption.received()[0]] if interruption.asked() else 0


def group_of_ranks(trainer: Trainer) -> Group | None:
    """Return the ranks of a fit as a group of CPU processes, so that no GPU has to wait for it."""
    if trainer.world_size == 1:
        return None
    group = torch.distributed.new_group(backend="gloo")
    assert isinstance(group, Group), "every rank of the fit is in it"
    return group


def agreed(values: Sequence[int], group: Group | None) -> list[int]:
    """Return the largest of each of `values` over all ranks."""
    if group is None:
        return list(values)
    everywhere = torch.tensor(values)
    torch.distributed.all_reduce(everywhere, torch.distributed.ReduceOp.MAX, group=group)
    return everywhere.tolist()


def stop(number: int, group: Group | None) -> NoReturn:
    """Leave a fit that is saved: Stopped, or the exit status of a rank once all ranks are here."""
    if group is None:
        raise interruption.Stopped(interruption.received())
    torch.distributed.barrier(group)
    raise SystemExit(128 + number)


def stopped(error: BaseException) -> bool:
    """Say whether a fit, or a rank of one, has left by `stop`."""
    is_rank = isinstance(error, SystemExit) and error.code in STATUS
    return is_rank or isinstance(error, interruption.Stopped)


def _register_none() -> None:
    """Install no handlers, in place of Lightning's; travels to the ranks with it."""
