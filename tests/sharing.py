"""A store that two users share, as it is on a group's disk: setgid, and umask 002.

Only root can be other users. Elsewhere these tests are skipped; what a user sees of files that are
another one's is also tested with files whose permissions were taken away.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.processes import ended, forked

ALICE, BOB, GROUP = 23456, 23457, 34567
"""Nobody has these numbers: as in a container, the system knows no names for them."""
NAMES = {ALICE: "alice", BOB: "bob"}
WHY = "only root can be two other users"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason=WHY)


def group_folder() -> Iterator[Path]:
    """A folder of the group's, below one that every user may enter."""
    place = Path(tempfile.mkdtemp(prefix="sparsekit-shared-"))
    place.chmod(0o755)
    folder = place / "group"
    folder.mkdir()
    os.chown(folder, ALICE, GROUP)
    folder.chmod(0o2775)
    yield folder
    shutil.rmtree(place)


def begun_as(uid: int, function: Callable[[], object], *, umask: int = 0o002) -> int:
    """Process number of a child that calls `function` as another user of the group."""

    def be_that_user() -> None:
        os.setgroups([])
        os.setgid(GROUP)
        os.setuid(uid)
        os.umask(umask)
        os.environ |= {name: NAMES[uid] for name in ("USER", "LOGNAME")}
        os.environ |= {"HOME": "/", "XDG_STATE_HOME": f"/tmp/sparsekit-state-of-{uid}"}
        function()

    return forked(be_that_user)


def done_as(uid: int, function: Callable[[], object], *, umask: int = 0o002) -> int:
    """Exit status of such a child: 0, or 1 if `function` raised."""
    return ended(begun_as(uid, function, umask=umask))
