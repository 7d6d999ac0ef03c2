"""Who this process belongs to, also where nobody has told the system that user's name."""

from __future__ import annotations

import os
import pwd
import stat
from pathlib import Path

VARIABLES = ("LOGNAME", "USER", "LNAME", "USERNAME")


def user_name() -> str:
    """Return the name of this process's user.

    The system's, because variables may be another's, as after `su`. A user id of a container may
    have none; then it is what the environment says, else the number.
    """
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        told = (os.environ.get(name) for name in VARIABLES)
        return next((name for name in told if name), str(os.getuid()))


def name_of(uid: int) -> str:
    """Return the name of a user id, or the number where the system knows none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def denied(path: Path) -> str:
    """Say whose a path is that this user may not use, and what would help."""
    try:
        found, above = path.lstat(), path.parent.stat()
    except OSError:
        # Not even to be looked at: what keeps us out is a folder above it.
        return denied(path.parent) if path != path.parent else str(path)
    is_sticky = bool(above.st_mode & stat.S_ISVTX)
    sticky = f", in {path.parent}, where only owners replace what is theirs" if is_sticky else ""
    return (
        f"{path} belongs to {name_of(found.st_uid)} ({stat.filemode(found.st_mode)}{sticky}), and "
        f"{user_name()} may not use it; whoever shares a store sets umask 002 and, for what is "
        f"there already, chmod -R g+rwX"
    )
