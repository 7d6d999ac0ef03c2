"""One fit on the devices of several nodes: the ranks of each are started by the node itself."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from lightning.pytorch.plugins.environments import LightningEnvironment

from sparsekit.core.fit_spec import FitSpec
from sparsekit.store.identity import describe, keys_in
from sparsekit.store.store import SCRATCH, Store
from sparsekit.system import interruption
from sparsekit.system.files import checksum
from sparsekit.system.team import Call, Team
from sparsekit.training.checkpoint_files import LAST

PATIENCE_SECONDS = 120.0


class Rendezvous(LightningEnvironment):
    """Where the ranks of all nodes find each other, and which node this is."""

    def __init__(self, call: Call, node: int) -> None:
        super().__init__()
        self.call = call
        self.node = node

    @property
    def main_address(self) -> str:
        return self.call.host

    @property
    def main_port(self) -> int:
        return self.call.port

    def node_rank(self) -> int:
        return self.node


@dataclasses.dataclass(frozen=True)
class Nodes:
    """The nodes of a fit, as the trainer is told of them."""

    number: int = 1
    environment: LightningEnvironment = dataclasses.field(default_factory=LightningEnvironment)


@contextlib.contextmanager
def as_leader(team: Team | None, spec: FitSpec, folder: Path) -> Iterator[Nodes]:
    """Call the other nodes to take part, and yield the nodes on which to train in `folder`."""
    if team is None:
        yield Nodes()
        return
    saved = folder / SCRATCH / LAST
    work = {
        "spec": describe(spec),
        "folder": str(folder),
        "saved": checksum(saved) if saved.exists() else None,
    }
    call = team.call(work)
    with team.part(call.number):
        yield Nodes(team.size, Rendezvous(call, team.rank))


@contextlib.contextmanager
def as_worker(team: Team, call: Call, store: Store) -> Iterator[Nodes]:
    """Wait until this node sees what the leader sees, and yield the nodes on which to train."""
    with team.part(call.number):
        saved = Path(call.work["folder"]) / SCRATCH / LAST
        _until_seen(saved, call.work["saved"])
        for key in keys_in(call.work["spec"]):
            _wait(partial(store.has, key), f"{key} in {store.root}")
        yield Nodes(team.size, Rendezvous(call, team.rank))


def _until_seen(saved: Path, digest: str | None) -> None:
    """Wait until a file system that remembers what was there before shows the leader's state."""

    def is_seen() -> bool:
        with contextlib.suppress(FileNotFoundError):
            return checksum(saved) == digest
        return digest is None

    _wait(is_seen, str(saved))


def _wait(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        interruption.check()
        if time.monotonic() > deadline:
            raise FileNotFoundError(
                f"{what} is not what the first node of the job sees, after {PATIENCE_SECONDS:g} s; "
                "runtime.store must be one folder on all nodes"
            )
        time.sleep(0.5)
