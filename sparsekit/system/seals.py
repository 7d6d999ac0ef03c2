"""Seals: what this user wrote can be told from what came from elsewhere, or was changed since.

A seal is a keyed digest. The key lies in the user's own folder for state, outside of any store, so
that whoever may write to a store, or sends one, cannot make a seal. Where there is no such folder,
as with a home that cannot be written, nothing is sealed, and nothing counts as sealed.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

KEY_SIZE = 32


def seal(text: str) -> str | None:
    """Return this user's seal of a text; None where there can be no key."""
    key = _key() or _new_key()
    return None if key is None else _digest(key, text)


def is_sealed(text: str, found: object) -> bool:
    """Say whether `found` is this user's seal of a text."""
    key = _key()
    return (
        key is not None
        and isinstance(found, str)
        and hmac.compare_digest(_digest(key, text).encode(), found.encode(errors="replace"))
    )


def _digest(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _file() -> Path:
    """Return where the key lies; RuntimeError where nobody knows this user's home.

    Several users may share a home: each has a key of its own.
    """
    given = os.environ.get("XDG_STATE_HOME", "")
    folder = Path(given) if os.path.isabs(given) else Path.home() / ".local" / "state"
    return folder / "sparsekit" / f"{os.geteuid()}.key"


def _key() -> bytes | None:
    """Read the key; None where there is none that only this user can read and write."""
    with contextlib.suppress(OSError, RuntimeError):
        descriptor = os.open(_file(), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            is_private = status.st_uid == os.geteuid() and not status.st_mode & 0o077
            key = file.read(KEY_SIZE + 1) if stat.S_ISREG(status.st_mode) and is_private else b""
            return key if len(key) == KEY_SIZE else None
    return None


def _new_key() -> bytes | None:
    """Make a key, unless another process makes one meanwhile; None where that is not possible."""
    with contextlib.suppress(OSError, RuntimeError):
        file = _file()
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(temporary, flags, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as opened:
                opened.write(secrets.token_bytes(KEY_SIZE))
                opened.flush()
                os.fsync(descriptor)
            _keep_first(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)
    return _key()


def _keep_first(temporary: Path, file: Path) -> None:
    """Put a new key in its place, unless one is there: a link, and not a rename, tells at once."""
    try:
        os.link(temporary, file)
    except FileExistsError:
        return
    except OSError:  # file systems without hard links
        if not file.exists():
            os.replace(temporary, file)
