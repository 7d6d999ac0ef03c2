"""Worker processes that read examples, and leave a cluster's signals to the process they serve."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from sparsekit.data.batches import to_device
from sparsekit.data.shared_memory import require_semaphores, shared_memory

SIGNALS = (signal.SIGTERM, signal.SIGUSR2, signal.SIGHUP)

Sample = tuple[int, int | None]
"""(position in the data set, seed of its augmentation or None)."""


def loaded(
    dataset: Dataset[Any],
    batches: Iterable[list[Sample]],
    *,
    num_workers: int,
    device: torch.device,
    collate: Callable[[list[Any]], Any] = default_collate,
) -> Iterator[tuple[Any, Any]]:
    """Read batches of (inputs, targets) in worker processes and bring them to `device`.

    `dataset` is indexed by a `Sample`. The batches do not depend on the number of workers.
    """
    loader = DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=collate,
        worker_init_fn=_leave_signals,
        pin_memory=device.type == "cuda",
        # A generator of its own, or the loader would draw from the global one at every start.
        generator=torch.Generator(),
    )
    with shared_memory():
        if num_workers:
            require_semaphores(4 * (num_workers + 1))
        with _signals_held():
            read = iter(loader)  # starts the processes
        for inputs, targets in read:
            yield to_device(inputs, device), to_device(targets, device)


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Keep `SIGNALS` back from this thread, and for good from the processes it starts meanwhile.

    A loader's process, until it can leave them, would die of them, of SIGTERM by a
    handler of PyTorch's.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _leave_signals(worker: int) -> None:
    """Leave the signals that announce the end, of a job or a terminal, to the main process.

    It saves a checkpoint first; workers that die before that would end the epoch with an error.
    Only their parent ends workers, when it does: to a parent that leaves in the middle of an epoch
    and waits for them, workers that ignored its SIGTERM too would be a wait without end.
    """
    if sys.platform == "darwin":  # no clusters there, and no sigwaitinfo
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    parent = os.getppid()

    def wait() -> None:
        while signal.sigwaitinfo(SIGNALS).si_pid != parent:
            pass
        os._exit(0)

    threading.Thread(target=wait, daemon=True, name="sparsekit-signals").start()
